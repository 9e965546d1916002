"""An uploaded champion runs in the processes that serve: one that ends them again and again is left alone at last.

A process that takes such a champion in says so first, and takes that back when it has lived with it for a while or ends
in good order. What is left over are deaths. One that ends itself because the champion does not answer says that too, at
whatever age. After enough deaths processes serve the version that they are shipped with until another revision comes.
Each function with a connection runs inside one transaction.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from services.image_classifier.tables import leases

YOUNG = timedelta(minutes=3)
"""What ends a process without a word counts only within this time of its start: later it is hardly the champion."""
DEATHS = 5
WITHIN = timedelta(days=1)
"""Deaths that are farther apart than this are no pattern: a machine may stand still now and then."""


def too_many(deaths: Sequence[datetime]) -> bool:
    """Return whether some DEATHS of these, which are in order, lie within a day; more deaths never make that untrue."""
    return any(last - first <= WITHIN for first, last in zip(deaths, deaths[DEATHS - 1 :], strict=False))


def deaths(connection: Connection, revision: int, at: datetime) -> list[datetime]:
    """Return when processes have died of the champion of a revision, in order.

    Of one that ended without a word that is known, and said, only once the time of its youth would be over.
    """
    ours = leases.c.name.startswith(f"start:{revision}:")
    query = select(leases.c.until).where(ours, leases.c.until < at).order_by(leases.c.until)
    return list(connection.execute(query).scalars())


def begin(connection: Connection, revision: int, process: str, at: datetime) -> bool:
    """Say that a process takes the champion of a revision in; return False if too many have died of it."""
    names = connection.execute(select(leases.c.name).where(leases.c.name.startswith("start:"))).scalars()
    # Those of a later revision stay: this process may be the last to follow.
    gone = [name for name in names if int(name.split(":")[1]) < revision]
    connection.execute(delete(leases).where(leases.c.name.in_(gone)))
    if too_many(deaths(connection, revision, at)):
        return False
    end(connection, revision, process)
    _put(connection, _name(revision, process), process, at + YOUNG)
    return True


def end(connection: Connection, revision: int, process: str) -> None:
    """Say that a process has outlived its start, or ends because it was asked to."""
    connection.execute(delete(leases).where(leases.c.name == _name(revision, process)))


def die(connection: Connection, revision: int, process: str, at: datetime) -> None:
    """Say that a process ends itself now because of the champion of a revision; it is one death, however young."""
    end(connection, revision, process)
    _put(connection, f"{_name(revision, process)}:died", process, at)


def _put(connection: Connection, name: str, process: str, until: datetime) -> None:
    connection.execute(insert(leases), {"name": name, "holder": process, "until": until})


def _name(revision: int, process: str) -> str:
    return f"start:{revision}:{process[:12]}"
