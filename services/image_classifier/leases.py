"""One holder at a time of a named piece of work, among all processes of the service."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.image_classifier.tables import leases


def hold_lease(
    connection: Connection, name: str, holder: str, now: datetime, lease: timedelta, *, whole: bool = False
) -> bool:
    """Take or keep the lease `name`; return whether `holder` has it, then for three quarters of `lease` at least.

    It is written anew once a quarter is over, not at each look, for each writing syncs the disk; with `whole` at once.
    """
    mine = select(leases.c.until).where(leases.c.name == name, leases.c.holder == holder)
    until = connection.execute(mine).scalar_one_or_none()
    if not whole and until is not None and 0.75 * lease < until - now <= lease:
        return True
    row = {"name": name, "holder": holder, "until": now + lease}
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    if connection.execute(make(leases).on_conflict_do_nothing(index_elements=["name"]), row).rowcount == 1:
        return True
    taken = connection.execute(
        update(leases)
        .where(leases.c.name == name, (leases.c.holder == holder) | (leases.c.until < now))
        .values(holder=holder, until=now + lease)
    )
    return taken.rowcount == 1
