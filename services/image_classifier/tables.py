"""The classifier's tables. Nobody else reads them; migrations/ brings a database here."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from shared.database import Instant

metadata = MetaData()

# Uploaded model versions; the shipped ones are folders (shipped.py).
versions = Table(
    "model_versions",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("manifest", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("frame_seconds", Float),
    Column("uploaded_by", String(200), nullable=False),
    Column("uploaded_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Index("model_versions_by_state", "state", "uploaded_at"),
)

# Apart, so that no reader of versions ever loads a graph by accident; versions may share one.
graphs = Table(
    "graphs",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

# Every change of the rollout; the newest is in force. `specification` is JSON: variants and the policy's settings.
rollouts = Table(
    "rollouts",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("root", Integer, nullable=False),  # the revision by which a person began it; stages share their root
    Column("strategy", String(16), nullable=False),
    Column("specification", Text, nullable=False),
    Column("author", String(200), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("since", Instant, nullable=False),
)

# What a bandit believes of its arms now, and so how often each is drawn: JSON, by revision.
beliefs = Table(
    "beliefs",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("snapshot", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("since", Instant, nullable=False),
)

# What each variant did with a frame while more than one version is in use.
decisions = Table(
    "decisions",
    metadata,
    Column("receipt", String(64), primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("model", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("variant", String(64), nullable=False),
    Column("camera_id", String(64), nullable=False),
    Column("served", Boolean, nullable=False),
    Column("propensity", Float, nullable=False),  # the chance with which the policy chose this version to be served
    Column("outcome", String(16), nullable=False),
    Column("label", String(8)),
    Column("cat", Float),
    Column("dog", Float),
    Column("decided_at", Instant, nullable=False),
    Index("decisions_by_time", "decided_at"),
)

# Running sums over all frames of a revision's variant; nothing here grows with the number of frames.
tallies = Table(
    "tallies",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("model", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("variant", String(64), primary_key=True),
    Column("decisions", BigInteger, nullable=False),
    Column("served", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("late", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False, server_default="0"),
    Column("failed_calls", BigInteger, nullable=False, server_default="0"),
    Column("compared", BigInteger, nullable=False),
    Column("agreed", BigInteger, nullable=False),
    Column("shift", Float, nullable=False),
    Column("seconds", Float, nullable=False),
)

SUMS = tuple(column.name for column in tallies.columns if not column.primary_key)

# Calls by the seconds that a frame took in them (latency.py).
latencies = Table(
    "latencies",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("model", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("variant", String(64), primary_key=True),
    Column("bin", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)

# What aggregation says it has counted, its writers added up; an earlier version of it tells them apart, by `stripe`.
counted = Table(
    "counted",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("model", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("variant", String(64), primary_key=True),
    Column("stripe", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)

# What people say of frames, with what had been counted of them; aggregation owns it and delivers it.
feedback = Table(
    "feedback",
    metadata,
    Column("receipt", String(64), primary_key=True),
    Column("label", String(8)),  # null: the correction was taken back
    Column("by", String(200), nullable=False),
    Column("at", Instant, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("camera_id", String(64), nullable=False),
    Column("space_id", String(64), nullable=False),
    Column("observed_at", Instant, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("model", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("variant", String(64), nullable=False),
    Column("estimate", String(8), nullable=False),
    Column("quality", String(32), nullable=False),
    Column("cat", Float, nullable=False),
    Column("dog", Float, nullable=False),
    Index("feedback_by_revision", "revision"),
    Index("feedback_by_time", "at", "receipt"),
    Index("feedback_by_arrival", "received_at"),
)

# How scores and images of each camera are spread, by hour: what drift is measured on.
spreads = Table(
    "spreads",
    metadata,
    Column("camera_id", String(64), primary_key=True),
    Column("hour", Instant, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("bin", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Index("spreads_by_hour", "hour"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("until", Instant, nullable=False),
)
