"""Aggregation's database: its tables."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.aggregation import tables
from shared.database import Database


def test_the_migrations_make_exactly_the_tables(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
