"""The tables of camera_ingest.

Partial indexes are reached through `next_offer_at` and `settled_at`, which are null or not by the frame's state: a
state given as a parameter would not let the database see that an index applies.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    false,
)
from sqlalchemy.dialects import postgresql, sqlite

from shared.database import Instant

metadata = MetaData()

cameras = Table(
    "cameras",
    metadata,
    Column("camera_id", String(64), primary_key=True),
    Column("space_id", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("authentication", String(8), nullable=False, server_default="basic"),  # basic, digest
    Column("mac", String(17)),  # of the device that sends, as aa:bb:cc:dd:ee:ff
    Column("channel", Integer),  # of that device
    Column("secret_in_path", Boolean, nullable=False, server_default=false()),
    Column("always_200", Boolean, nullable=False, server_default=false()),
    Column("refused", BigInteger, nullable=False, server_default="0"),  # frames refused behind an answer of 200
    Column("last_refusal", String(64)),
    Column("last_refused_at", Instant),
)

camera_secrets = Table(
    "camera_secrets",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("camera_id", String(64), ForeignKey("cameras.camera_id", ondelete="CASCADE"), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    # What Digest needs, kept only while its camera has Digest.
    Column("ha1_md5", String(32)),
    Column("ha1_sha256", String(64)),
)

shared_keys = Table(
    "shared_keys",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("key", LargeBinary, nullable=False),
)

frames = Table(
    "frames",
    metadata,
    Column("receipt", String(36), primary_key=True),
    Column("camera_id", String(64), nullable=False),
    Column("frame_id", String(64), nullable=False),
    Column("space_id", String(64), nullable=False),
    Column("captured_at", Instant),
    Column("captured_from", String(8)),  # header, event, exif, or null
    Column("received_at", Instant, nullable=False),
    Column("observed_at", Instant, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("media_type", String(16), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("state", String(8), nullable=False),
    Column("reason", String(200)),
    Column("next_offer_at", Instant),  # null exactly when settled
    Column("offered_at", Instant),  # the last offer; null again when given up or offered afresh
    Column("offers", Integer, nullable=False),
    Column("attempt_at", Instant),  # an attempt that began and is not finished
    Column("attempts", Integer, nullable=False),
    Column("settled_at", Instant),
    Column("image_removed_at", Instant),
)

in_flight = frames.c.next_offer_at.is_not(None)

frame_totals = Table(
    "frame_totals",
    metadata,
    Column("hour", Instant, primary_key=True, autoincrement=False),
    Column("writer", BigInteger, primary_key=True, autoincrement=False),
    Column("accepted", BigInteger, nullable=False),
    Column("counted", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    # The sums of the upper and lower halves of the counted receipts' digests: sums that can't overflow.
    Column("digest_high", BigInteger, nullable=False),
    Column("digest_low", BigInteger, nullable=False),
    Column("image_bytes", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until", Instant, nullable=False),
)


def insert_into(dialect: str, table: Table) -> Any:
    """Return an insert that knows ON CONFLICT, which SQLAlchemy keeps a dialect apart."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
