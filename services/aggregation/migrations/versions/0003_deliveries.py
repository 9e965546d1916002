"""What people say, and how much was counted, on its way to the classifier; an estimate names its rollout's revision."""

import sqlalchemy as sa
from alembic import op

from shared.database import Instant

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("estimates", sa.Column("revision", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "deliveries",
        sa.Column("receipt", sa.String(64), primary_key=True),
        sa.Column("label", sa.String(8)),
        sa.Column("said_by", sa.String(200), nullable=False),
        sa.Column("said_at", Instant, nullable=False),
        sa.Column("next_try_at", Instant, nullable=False),
    )
    op.create_index("deliveries_due", "deliveries", ["next_try_at"])
    op.create_table(
        "variant_counts",
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("variant", sa.String(64), primary_key=True),
        sa.Column("stripe", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("migrations only expand: restore a backup instead")
