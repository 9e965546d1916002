"""What cameras need that push as they are: Digest, an address, a secret in the path, 200 to everything.

Only adds: what was written before, and by processes of the version before, has the defaults.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for column in (
        sa.Column("authentication", sa.String(8), nullable=False, server_default="basic"),
        sa.Column("mac", sa.String(17)),
        sa.Column("channel", sa.Integer),
        sa.Column("secret_in_path", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("always_200", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("refused", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_refusal", sa.String(64)),
        sa.Column("last_refused_at", sa.BigInteger),
    ):
        op.add_column("cameras", column)
    # A device without channels is one camera; null would not be equal to itself.
    op.create_index("uq_cameras_address", "cameras", ["mac", sa.text("coalesce(channel, -1)")], unique=True)
    op.add_column("camera_secrets", sa.Column("ha1_md5", sa.String(32)))
    op.add_column("camera_secrets", sa.Column("ha1_sha256", sa.String(64)))
    op.create_table(
        "shared_keys",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("key", sa.LargeBinary, nullable=False),
    )
