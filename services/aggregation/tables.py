"""The tables that aggregation owns. Times are `Instant`s; what only Python looks into is JSON text."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from shared.database import Instant

metadata = MetaData()

spaces = Table(
    "spaces",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("stale_after_s", Integer, nullable=False),
    Column("in_service", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    # Grows with every change of the row or of its stays: what ETags are made of.
    Column("version", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    Column("newest_at", Instant),  # newest observed_at of any frame
    Column("last_evidence_at", Instant),
    Column("occupancy", String(8), nullable=False),
    Column("probability", Float, nullable=False),
    Column("since", Instant, nullable=False),
    Column("posterior", Text, nullable=False),
    Column("due_at", Instant),  # when time alone changes what is shown: the ticker's cue
    Column("closed_before", BigInteger),  # buckets before this one (seconds since 1970) are in the checkpoint
    Column("checkpoint", Text, nullable=False),
    Column("fold", String(32), nullable=False, server_default=""),  # names the last fold: see window.py
    Index("spaces_due", "due_at"),
)

estimates = Table(
    "estimates",
    metadata,
    Column("receipt", String(64), primary_key=True),
    Column("space_id", String(64), nullable=False),
    Column("camera_id", String(64), nullable=False),
    Column("observed_at", Instant, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("hour", Instant, nullable=False),  # in which the receipt was given
    Column("sha256", String(64), nullable=False),
    Column("cat", Float, nullable=False),
    Column("dog", Float, nullable=False),
    Column("prior_cat", Float, nullable=False),
    Column("prior_dog", Float, nullable=False),
    Column("label", String(8), nullable=False),
    Column("quality", String(32), nullable=False),
    Column("model", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("variant", String(64), nullable=False),
    Column("late", Boolean, nullable=False),  # came later than the horizon: history only
    Column("revision", Integer, nullable=False, server_default="0"),  # of the rollout that chose the version
    Index("estimates_by_space", "space_id", "observed_at", "receipt"),
    Index("estimates_by_hour", "hour"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("space_id", String(64), primary_key=True),
    Column("bucket", BigInteger, primary_key=True),
    Column("camera_id", String(64), primary_key=True),
    Column("images", Text, nullable=False),
)

corrections = Table(
    "corrections",
    metadata,
    Column("receipt", String(64), primary_key=True),
    Column("label", String(8), nullable=False),
    Column("corrected_by", String(200), nullable=False),
    Column("corrected_at", Instant, nullable=False),
)

correction_history = Table(
    "correction_history",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("receipt", String(64), nullable=False),
    Column("label", String(8)),  # none: the correction was undone
    Column("corrected_by", String(200), nullable=False),
    Column("corrected_at", Instant, nullable=False),
    Index("correction_history_by_receipt", "receipt", "id"),
)

stays = Table(
    "stays",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("space_id", String(64), nullable=False),
    Column("species", String(8), nullable=False),
    Column("from_at", Instant, nullable=False),
    Column("until_at", Instant),
    Column("state", String(16), nullable=False),
    Column("number_of_animals", Integer, nullable=False),
    Column("note", String(500), nullable=False),
    Column("version", Integer, nullable=False),
    Column("recorded", Boolean, nullable=False),  # its beginning never moves again
    Column("decided_by", String(200)),
    Column("decided_at", Instant),
    Index("stays_by_space", "space_id", "from_at", "id"),
    Index("stays_by_time", "from_at", "id"),
    Index("stays_open", "space_id", sqlite_where=text("until_at IS NULL"), postgresql_where=text("until_at IS NULL")),
)

spans = Table(
    "occupancy_spans",
    metadata,
    Column("space_id", String(64), primary_key=True),
    Column("since", Instant, primary_key=True),
    Column("occupancy", String(8), nullable=False),
    Column("probability", Float, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("written_at", Instant, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("space_id", String(64), nullable=False),
    Column("details", Text, nullable=False),
    Index("changes_by_time", "written_at"),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

settlements = Table(
    "settlements",
    metadata,
    Column("receipt", String(64), primary_key=True),
    Column("state", String(8), nullable=False),
    Column("reason", String(200)),
    Column("created_at", Instant, nullable=False),
    Column("next_try_at", Instant, nullable=False),
    Index("settlements_due", "next_try_at"),
)

# What people say, on its way to the classifier.
deliveries = Table(
    "deliveries",
    metadata,
    Column("receipt", String(64), primary_key=True),
    Column("label", String(8)),  # none: it was taken back
    Column("said_by", String(200), nullable=False),
    Column("said_at", Instant, nullable=False),
    Column("next_try_at", Instant, nullable=False),
    Index("deliveries_due", "next_try_at"),
)

# How many estimates of each version were counted, for the classifier's report; a row a writer, by its stripe.
variant_counts = Table(
    "variant_counts",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("model", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("variant", String(64), primary_key=True),
    Column("stripe", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)

hour_totals = Table(
    "hour_totals",
    metadata,
    Column("hour", Instant, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("digest", String(16), nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until", Instant, nullable=False),
)
