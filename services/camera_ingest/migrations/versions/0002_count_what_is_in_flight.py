"""An index of the frames in flight, which are counted once a second.

Neither of the two indexes for what is due holds all of them, so counting read the whole table.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    condition = sa.text("next_offer_at IS NOT NULL")
    op.create_index("ix_frames_in_flight", "frames", ["receipt"], sqlite_where=condition, postgresql_where=condition)
