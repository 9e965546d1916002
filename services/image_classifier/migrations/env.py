"""Runs this service's migrations on the connection that shared.migrations.migrate opened."""

from services.image_classifier.batches.tables import batches
from shared.migrations import run_migrations

# All tables of the service are of one metadata; that of batches comes last, as it refers to the other.
run_migrations(batches.metadata)
