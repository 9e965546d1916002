"""An uploaded champion runs in the processes that serve: one that ends them again and again is left alone at last.

A process that takes such a champion in says so first, and takes that back when it has lived with it for a while or ends
in good order. What is left over are deaths. After enough of them processes serve the version that they are shipped with
until another revision comes. Each function runs inside one transaction and takes the connection first.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select

from services.image_classifier.tables import leases

YOUNG = timedelta(minutes=3)
"""Longer than a hanging task is let be, so that a process that is ended for one has died young."""
DEATHS = 5


def failed(connection: Connection, revision: int, at: datetime) -> bool:
    """Return whether too many processes have died of the champion of a revision."""
    ours = leases.c.name.startswith(f"start:{revision}:")
    deaths = connection.execute(select(func.count()).where(ours, leases.c.until < at)).scalar_one()
    return deaths >= DEATHS


def begin(connection: Connection, revision: int, process: str, at: datetime) -> bool:
    """Say that a process takes the champion of a revision in; return False if too many have died of it."""
    marks = leases.c.name.startswith("start:")
    ours = leases.c.name.startswith(f"start:{revision}:")
    connection.execute(delete(leases).where(marks, ~ours))
    if failed(connection, revision, at):
        return False
    connection.execute(delete(leases).where(leases.c.name == _name(revision, process)))
    row = {"name": _name(revision, process), "holder": process, "until": at + YOUNG}
    connection.execute(insert(leases), row)
    return True


def end(connection: Connection, revision: int, process: str) -> None:
    """Say that a process has outlived its start, or ends because it was asked to."""
    connection.execute(delete(leases).where(leases.c.name == _name(revision, process)))


def _name(revision: int, process: str) -> str:
    return f"start:{revision}:{process[:12]}"
