"""One holder at a time of a named piece of work, among all processes of the service."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.image_classifier.tables import leases


def hold_lease(connection: Connection, name: str, holder: str, now: datetime, lease: timedelta) -> bool:
    """Take or keep the lease `name`; return whether `holder` has it, and then for half of `lease` at least.

    It is written anew once half is over, not at each look: a system where nothing happens leaves the disk alone.
    """
    mine = select(leases.c.until).where(leases.c.name == name, leases.c.holder == holder)
    until = connection.execute(mine).scalar_one_or_none()
    if until is not None and lease / 2 < until - now <= lease:
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
