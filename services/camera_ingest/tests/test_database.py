"""Ingest's database: its tables."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.camera_ingest import tables
from shared.database import Database

# Indexes and what is unique stand in the migrations alone, since no query names them.
COLUMNS = {"include_object": lambda _object, _name, kind, _reflected, _other: kind in ("table", "column")}


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")  # not looked at here
def test_the_migrations_make_exactly_the_tables(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=COLUMNS), tables.metadata) == []
