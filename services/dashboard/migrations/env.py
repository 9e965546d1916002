"""Alembic's way in; `shared.migrations.migrate` opens the connection and holds the lock."""

from services.dashboard.tables import metadata
from shared.migrations import run_migrations

run_migrations(metadata)
