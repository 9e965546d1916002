"""Alembic's way in; `shared.database.migrate` opens the connection and holds the lock."""

from services.dashboard.tables import metadata
from shared.database import run_migrations

run_migrations(metadata)
