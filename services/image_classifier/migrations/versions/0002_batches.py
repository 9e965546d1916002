"""Batches: jobs, their inputs and results, the bytes of what is not predicted yet, and small pictures."""

import sqlalchemy as sa
from alembic import op

from shared.database import Instant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("served_at", Instant),
        sa.Column("progress_at", Instant, nullable=False),
        sa.Column("finished_at", Instant),
    )
    op.create_index("batches_by_state", "batches", ["state", "client"])
    op.create_table(
        "batch_inputs",
        sa.Column("batch_id", sa.String(36), sa.ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("claimable_at", Instant),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("label", sa.String(8)),
        sa.Column("cat", sa.Float),
        sa.Column("dog", sa.Float),
        sa.Column("quality", sa.String(32)),
        sa.Column("model", sa.String(64)),
        sa.Column("version", sa.String(64)),
        sa.Column("error", sa.Text),
        sa.Column("ended_at", Instant),
    )
    op.create_index("batch_inputs_claimable", "batch_inputs", ["claimable_at"])
    op.create_index("batch_inputs_of_batch", "batch_inputs", ["batch_id", "claimable_at"])
    for table in ("batch_contents", "batch_thumbnails"):
        op.create_table(
            table,
            sa.Column("batch_id", sa.String(36), sa.ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
            sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("content", sa.LargeBinary, nullable=False),
        )


def downgrade() -> None:
    raise NotImplementedError("migrations only expand: restore a backup instead")
