"""The tables of batches, beside those of the rest of the service (see ../tables.py)."""

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from services.image_classifier.tables import metadata
from shared.database import Instant

batches = Table(
    "batches",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("client", String(200), nullable=False),
    # BatchState, or one that nobody is shown: `receiving` until the last input is written, `removed` until all is gone.
    Column("state", String(16), nullable=False),
    Column("source", String(16), nullable=False),  # `upload`, or `receipts`: the inputs' names are then receipts
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("served_at", Instant),  # when a worker last took inputs of it
    # When an input last ended; while it is received, when some of it was last written.
    Column("progress_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("digest", String(64)),  # of what was sent: the same sent again with the same id is the same batch
    Index("batches_by_state", "state", "client"),
)

# An input and, once it ended, its result: one row, so there is never a second result.
inputs = Table(
    "batch_inputs",
    metadata,
    Column("batch_id", String(36), ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", String(255), nullable=False),
    # When a worker may take it; in the future while one has it or it is to be tried later. Null exactly when it ended.
    Column("claimable_at", Instant),
    Column("attempts", Integer, nullable=False),
    Column("label", String(8)),
    Column("cat", Float),
    Column("dog", Float),
    Column("quality", String(32)),
    Column("model", String(64)),
    Column("version", String(64)),
    Column("error", Text),  # before the end: what ended the last attempt, null if that ended its worker
    Column("ended_at", Instant),
    Index("batch_inputs_claimable", "claimable_at"),
    Index("batch_inputs_of_batch", "batch_id", "claimable_at"),
)

# An upload's bytes, there until the input has ended.
contents = Table(
    "batch_contents",
    metadata,
    Column("batch_id", String(36), ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)

# What the model saw, as a small JPEG, there as long as the result.
thumbnails = Table(
    "batch_thumbnails",
    metadata,
    Column("batch_id", String(36), ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)
