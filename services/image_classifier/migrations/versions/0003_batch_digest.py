"""Batches: the digest of what was sent, by which the same one sent again is known."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("digest", sa.String(64)))


def downgrade() -> None:
    raise NotImplementedError("migrations only expand: restore a backup instead")
