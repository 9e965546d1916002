"""The classifier's database: its tables, and the leases by which processes take turns."""

from datetime import UTC, datetime, timedelta

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.image_classifier import tables
from services.image_classifier.leases import hold_lease
from services.image_classifier.tables import leases
from shared.database import Database

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
LEASE = timedelta(seconds=10)


def test_the_migrations_make_exactly_the_tables(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_a_lease_has_one_holder_until_it_ends(database: Database) -> None:
    def hold(holder: str, at: datetime) -> bool:
        return database.write(lambda connection: hold_lease(connection, "ticker", holder, at, LEASE))

    assert hold("a", AT)
    assert not hold("b", AT + timedelta(seconds=5))
    assert hold("a", AT + timedelta(seconds=9))
    assert not hold("b", AT + timedelta(seconds=15))
    assert hold("b", AT + timedelta(seconds=20))


def test_a_lease_is_written_anew_when_a_quarter_is_over_the_clock_was_put_back_or_all_of_it_is_wanted(
    database: Database,
) -> None:
    def until_after(seconds: float, *, whole: bool = False) -> timedelta:
        at = AT + timedelta(seconds=seconds)
        assert database.write(lambda connection: hold_lease(connection, "ticker", "a", at, LEASE, whole=whole))
        with database.read() as connection:
            until: datetime = connection.execute(leases.select()).one().until
        return until - AT

    assert [until_after(seconds).seconds for seconds in (0, 2, 3, 5, 0)] == [10, 10, 13, 13, 10]
    assert until_after(1, whole=True).seconds == 11
