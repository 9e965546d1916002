"""How often a log-in may be tried: by name and by address; in the database, so that every replica counts the same."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from services.dashboard.domain import address_key, name_key, wait_after
from services.dashboard.tables import tries
from shared.database import Database

FORGET = timedelta(hours=1)
MOST_KEYS = 10_000
FREE_BY_NAME = 5
FREE_BY_ADDRESS = 20
LONGEST_BY_NAME_S = 30.0  # short: a stranger who guesses must not lock the person out
LONGEST_BY_ADDRESS_S = 900.0


class Throttle:
    """Counts tries until they prove right; every method is one transaction and is called from a thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, name: str, address: str, now: datetime) -> float:
        """Count a try of a name from an address and return 0, or return in how many seconds one is looked at.

        It is counted before anybody looks at the password, so that tries at the same time can't outrun the count.
        """
        limits = {
            f"name {name_key(name)}": (FREE_BY_NAME, LONGEST_BY_NAME_S),
            f"address {address_key(address)}": (FREE_BY_ADDRESS, LONGEST_BY_ADDRESS_S),
        }

        def change(connection: sa.Connection) -> float:
            make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            fresh = [{"key": key, "number": 0, "last_at": now} for key in sorted(limits)]
            connection.execute(make(tries).on_conflict_do_nothing(index_elements=["key"]), fresh)
            query = sa.select(tries).where(tries.c.key.in_(limits)).order_by(tries.c.key).with_for_update()
            waits: list[float] = []
            for row in connection.execute(query).all():
                number = row.number if now - row.last_at < FORGET else 0
                due = row.last_at + timedelta(seconds=wait_after(number, *limits[row.key]) if number else 0)
                waits.append(max(0.0, (due - now).total_seconds()))
                if number != row.number:
                    connection.execute(sa.update(tries).where(tries.c.key == row.key).values(number=0))
            if not any(waits):
                counted = sa.update(tries).where(tries.c.key.in_(limits))
                connection.execute(counted.values(number=tries.c.number + 1, last_at=now))
            _forget(connection, now)
            return max(waits)

        wait_s: float = self._database.write(change)
        return wait_s

    def right(self, name: str, address: str) -> None:
        """Forget the tries of this name, and the one that its address was counted for it."""

        def change(connection: sa.Connection) -> None:
            connection.execute(sa.delete(tries).where(tries.c.key == f"name {name_key(name)}"))
            one_less = sa.update(tries).where(tries.c.key == f"address {address_key(address)}", tries.c.number > 0)
            connection.execute(one_less.values(number=tries.c.number - 1))

        self._database.write(change)


def _forget(connection: sa.Connection, now: datetime) -> None:
    """Remove what counts no more, and the oldest beyond MOST_KEYS: whoever sprays names must not fill the disk."""
    connection.execute(sa.delete(tries).where(tries.c.last_at < now - FORGET))
    kept = sa.select(tries.c.last_at).order_by(tries.c.last_at.desc()).offset(MOST_KEYS).limit(1)
    oldest = connection.execute(kept).scalar()
    if oldest is not None:
        connection.execute(sa.delete(tries).where(tries.c.last_at <= oldest))
