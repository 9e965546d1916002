"""How often a variant was asked, of some frames at once, and how often that failed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("calls", "failed_calls"):
        op.add_column("tallies", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    raise NotImplementedError("migrations only expand: restore a backup instead")
