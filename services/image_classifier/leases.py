"""One holder at a time of a named piece of work, among all processes of the service."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, update
from sqlalchemy.dialects import postgresql, sqlite

from services.image_classifier.tables import leases


def hold_lease(connection: Connection, name: str, holder: str, now: datetime, lease: timedelta) -> bool:
    """Take or keep the lease `name`; return whether `holder` has it until now + lease."""
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
