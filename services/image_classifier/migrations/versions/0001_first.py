"""The first tables of image_classifier: model versions, the rollout, what it did, and what people say of it."""

import sqlalchemy as sa
from alembic import op

from shared.database import Instant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_versions",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("frame_seconds", sa.Float),
        sa.Column("uploaded_by", sa.String(200), nullable=False),
        sa.Column("uploaded_at", Instant, nullable=False),
        sa.Column("changed_at", Instant, nullable=False),
    )
    op.create_index("model_versions_by_state", "model_versions", ["state", "uploaded_at"])
    op.create_table(
        "graphs",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "rollouts",
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("root", sa.Integer, nullable=False),
        sa.Column("strategy", sa.String(16), nullable=False),
        sa.Column("specification", sa.Text, nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("since", Instant, nullable=False),
    )
    op.create_table(
        "beliefs",
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("snapshot", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("since", Instant, nullable=False),
    )
    op.create_table(
        "decisions",
        sa.Column("receipt", sa.String(64), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("variant", sa.String(64), nullable=False),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("served", sa.Boolean, nullable=False),
        sa.Column("propensity", sa.Float, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("label", sa.String(8)),
        sa.Column("cat", sa.Float),
        sa.Column("dog", sa.Float),
        sa.Column("decided_at", Instant, nullable=False),
    )
    op.create_index("decisions_by_time", "decisions", ["decided_at"])
    op.create_table(
        "tallies",
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("variant", sa.String(64), primary_key=True),
        sa.Column("decisions", sa.BigInteger, nullable=False),
        sa.Column("served", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("late", sa.BigInteger, nullable=False),
        sa.Column("compared", sa.BigInteger, nullable=False),
        sa.Column("agreed", sa.BigInteger, nullable=False),
        sa.Column("shift", sa.Float, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_table(
        "latencies",
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("variant", sa.String(64), primary_key=True),
        sa.Column("bin", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "counted",
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("variant", sa.String(64), primary_key=True),
        sa.Column("stripe", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "feedback",
        sa.Column("receipt", sa.String(64), primary_key=True),
        sa.Column("label", sa.String(8)),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("received_at", Instant, nullable=False),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("space_id", sa.String(64), nullable=False),
        sa.Column("observed_at", Instant, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("variant", sa.String(64), nullable=False),
        sa.Column("estimate", sa.String(8), nullable=False),
        sa.Column("quality", sa.String(32), nullable=False),
        sa.Column("cat", sa.Float, nullable=False),
        sa.Column("dog", sa.Float, nullable=False),
    )
    op.create_index("feedback_by_arrival", "feedback", ["received_at"])
    op.create_index("feedback_by_revision", "feedback", ["revision"])
    op.create_index("feedback_by_time", "feedback", ["at", "receipt"])
    op.create_table(
        "spreads",
        sa.Column("camera_id", sa.String(64), primary_key=True),
        sa.Column("hour", Instant, primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("bin", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_index("spreads_by_hour", "spreads", ["hour"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("until", Instant, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("migrations only expand: restore a backup instead")
