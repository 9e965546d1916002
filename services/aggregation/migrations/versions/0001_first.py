"""The first tables of aggregation."""

import sqlalchemy as sa
from alembic import op

from shared.database import Instant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spaces",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("stale_after_s", sa.Integer, nullable=False),
        sa.Column("in_service", sa.Boolean, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("frames", sa.BigInteger, nullable=False),
        sa.Column("newest_at", Instant),
        sa.Column("last_evidence_at", Instant),
        sa.Column("occupancy", sa.String(8), nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("posterior", sa.Text, nullable=False),
        sa.Column("due_at", Instant),
        sa.Column("closed_before", sa.BigInteger),
        sa.Column("checkpoint", sa.Text, nullable=False),
    )
    op.create_index("spaces_due", "spaces", ["due_at"])
    op.create_table(
        "estimates",
        sa.Column("receipt", sa.String(64), primary_key=True),
        sa.Column("space_id", sa.String(64), nullable=False),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("observed_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("hour", Instant, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("cat", sa.Float, nullable=False),
        sa.Column("dog", sa.Float, nullable=False),
        sa.Column("prior_cat", sa.Float, nullable=False),
        sa.Column("prior_dog", sa.Float, nullable=False),
        sa.Column("label", sa.String(8), nullable=False),
        sa.Column("quality", sa.String(32), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("variant", sa.String(64), nullable=False),
        sa.Column("late", sa.Boolean, nullable=False),
    )
    op.create_index("estimates_by_space", "estimates", ["space_id", "observed_at", "receipt"])
    op.create_index("estimates_by_hour", "estimates", ["hour"])
    op.create_table(
        "evidence",
        sa.Column("space_id", sa.String(64), primary_key=True),
        sa.Column("bucket", sa.BigInteger, primary_key=True),
        sa.Column("camera_id", sa.String(64), primary_key=True),
        sa.Column("images", sa.Text, nullable=False),
    )
    op.create_table(
        "corrections",
        sa.Column("receipt", sa.String(64), primary_key=True),
        sa.Column("label", sa.String(8), nullable=False),
        sa.Column("corrected_by", sa.String(200), nullable=False),
        sa.Column("corrected_at", Instant, nullable=False),
    )
    op.create_table(
        "correction_history",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("receipt", sa.String(64), nullable=False),
        sa.Column("label", sa.String(8)),
        sa.Column("corrected_by", sa.String(200), nullable=False),
        sa.Column("corrected_at", Instant, nullable=False),
    )
    op.create_index("correction_history_by_receipt", "correction_history", ["receipt", "id"])
    op.create_table(
        "stays",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("space_id", sa.String(64), nullable=False),
        sa.Column("species", sa.String(8), nullable=False),
        sa.Column("from_at", Instant, nullable=False),
        sa.Column("until_at", Instant),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("number_of_animals", sa.Integer, nullable=False),
        sa.Column("note", sa.String(500), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("recorded", sa.Boolean, nullable=False),
        sa.Column("decided_by", sa.String(200)),
        sa.Column("decided_at", Instant),
    )
    op.create_index("stays_by_space", "stays", ["space_id", "from_at", "id"])
    op.create_index("stays_by_time", "stays", ["from_at", "id"])
    op.create_index(
        "stays_open",
        "stays",
        ["space_id"],
        sqlite_where=sa.text("until_at IS NULL"),
        postgresql_where=sa.text("until_at IS NULL"),
    )
    op.create_table(
        "occupancy_spans",
        sa.Column("space_id", sa.String(64), primary_key=True),
        sa.Column("since", Instant, primary_key=True),
        sa.Column("occupancy", sa.String(8), nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
    )
    op.create_table(
        "changes",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("written_at", Instant, nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("space_id", sa.String(64), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
    )
    op.create_index("changes_by_time", "changes", ["written_at"])
    op.create_table(
        "counters",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "settlements",
        sa.Column("receipt", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("reason", sa.String(200)),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("next_try_at", Instant, nullable=False),
    )
    op.create_index("settlements_due", "settlements", ["next_try_at"])
    op.create_table(
        "hour_totals",
        sa.Column("hour", Instant, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(16), nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("until", Instant, nullable=False),
    )
    op.execute("INSERT INTO counters (name, value) VALUES ('changes', 0)")
    op.execute("INSERT INTO leases (name, holder, until) VALUES ('ticker', '', 0)")


def downgrade() -> None:
    raise NotImplementedError("migrations only expand: restore a backup instead")
