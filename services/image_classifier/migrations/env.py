"""Runs this service's migrations on the connection that shared.database.migrate opened."""

from services.image_classifier.tables import metadata
from shared.database import run_migrations

run_migrations(metadata)
