"""The dashboard's tables: people, their log-ins, and invitations. Secrets are here as SHA-256 or Argon2 only."""

import sqlalchemy as sa

from shared.database import Instant

metadata = sa.MetaData()

people = sa.Table(
    "people",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),  # the name as it is compared: folded, so no two look alike
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("password", sa.String(200), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("seen_at", Instant),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("person", sa.String(64), sa.ForeignKey("people.key", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("csrf", sa.String(64), nullable=False),
    sa.Column("began_at", Instant, nullable=False),
    sa.Column("used_at", Instant, nullable=False),
)

invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("invited_by", sa.String(64)),  # nobody: the first link
    sa.Column("until", Instant, nullable=False),
)

tries = sa.Table(
    "tries",
    metadata,
    sa.Column("key", sa.String(80), primary_key=True),  # `name ...` or `address ...`
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("last_at", Instant, nullable=False, index=True),
)
