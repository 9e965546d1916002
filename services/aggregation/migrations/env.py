"""Runs this service's migrations on the connection that shared.migrations.migrate opened."""

from services.aggregation.tables import metadata
from shared.migrations import run_migrations

run_migrations(metadata)
