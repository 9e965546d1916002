"""Each fold of a space has a name, by which a worker knows that what it remembers of the space is still true."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("spaces", sa.Column("fold", sa.String(32), nullable=False, server_default=""))


def downgrade() -> None:
    raise NotImplementedError("migrations only expand: restore a backup instead")
