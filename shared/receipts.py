"""What a receipt says by itself, and how two ledgers of receipts are compared.

A receipt is a UUIDv7: its first 48 bits are the milliseconds since 1970 at which it was given (RFC 9562, 5.7).
"""

import hashlib
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

MODULUS = 2**64


def given_at(receipt: str) -> datetime:
    """Return when the receipt was given, in UTC. Raises ValueError if it is not a UUIDv7."""
    value = uuid.UUID(receipt)
    if value.version != 7:
        raise ValueError(f"{receipt} is not a UUIDv7")
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=value.int >> 80)


def hour_of(receipt: str) -> datetime:
    """Return the start of the hour in which the receipt was given, in UTC."""
    return given_at(receipt).replace(minute=0, second=0, microsecond=0)


def ledger_digest(receipts: Iterable[str], start: str = "0" * 16) -> str:
    """Return a digest of a set of receipts as 16 hex digits, continuing from the digest `start` of others.

    It is the sum modulo 2^64 of the first eight bytes of each receipt's SHA-256: the order does not matter, and the
    digests of two disjoint sets add up to that of their union, so rows that are pruned can leave their sum behind.
    """
    total = int(start, 16)
    for receipt in receipts:
        total += int.from_bytes(hashlib.sha256(receipt.encode()).digest()[:8], "big")
    return f"{total % MODULUS:016x}"
