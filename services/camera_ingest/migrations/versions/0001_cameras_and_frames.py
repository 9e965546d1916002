"""Cameras and their secrets, frames, totals by hour, leases.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ACCEPTED = "next_offer_at IS NOT NULL"


def upgrade() -> None:
    op.create_table(
        "cameras",
        sa.Column("camera_id", sa.String(64), primary_key=True),
        sa.Column("space_id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "camera_secrets",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "camera_id",
            sa.String(64),
            sa.ForeignKey("cameras.camera_id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "frames",
        sa.Column("receipt", sa.String(36), primary_key=True),
        sa.Column("camera_id", sa.String(64), nullable=False),
        sa.Column("frame_id", sa.String(64), nullable=False),
        sa.Column("space_id", sa.String(64), nullable=False),
        sa.Column("captured_at", sa.BigInteger),
        sa.Column("captured_from", sa.String(8)),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("observed_at", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("media_type", sa.String(16), nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("reason", sa.String(200)),
        sa.Column("next_offer_at", sa.BigInteger),
        sa.Column("offered_at", sa.BigInteger),
        sa.Column("offers", sa.Integer, nullable=False),
        sa.Column("attempt_at", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("settled_at", sa.BigInteger),
        sa.Column("image_removed_at", sa.BigInteger),
        sa.UniqueConstraint("camera_id", "frame_id", name="uq_frames_camera_frame"),
        sa.CheckConstraint(
            "(state = 'accepted') = (next_offer_at IS NOT NULL)", name="ck_frames_offered_while_accepted"
        ),
    )
    op.create_index("ix_frames_camera_receipt", "frames", ["camera_id", "receipt"])
    op.create_index("ix_frames_camera_sha256", "frames", ["camera_id", "sha256"])
    op.create_index("ix_frames_settled", "frames", ["settled_at", "offered_at"])
    partial("ix_frames_new", ["next_offer_at", "receipt"], f"{ACCEPTED} AND offered_at IS NULL")
    partial("ix_frames_offered", ["next_offer_at", "receipt"], f"{ACCEPTED} AND offered_at IS NOT NULL")
    partial("ix_frames_rejected", ["receipt"], "state = 'rejected'")
    partial("ix_frames_kept", ["receipt"], "settled_at IS NOT NULL AND image_removed_at IS NULL")
    op.create_table(
        "frame_totals",
        sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("writer", sa.BigInteger, primary_key=True, autoincrement=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("accepted", "counted", "rejected", "digest_high", "digest_low", "image_bytes")
        ),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )


def partial(name: str, columns: list[str], condition: str) -> None:
    op.create_index(name, "frames", columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
