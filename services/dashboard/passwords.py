"""Passwords of people: Argon2id, at most two at a time, and the same time for names that do not exist."""

import secrets
import threading

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

_hasher = PasswordHasher()  # RFC 9106's second recommendation: 64 MiB, 3 passes, 4 lanes
_at_once = threading.Semaphore(2)  # each takes 64 MiB, so that a flood of log-ins can't take the memory
_nobody = _hasher.hash(secrets.token_urlsafe(32))


def make_hash(password: str) -> str:
    """Return what is kept of a password."""
    with _at_once:
        return _hasher.hash(password)


def matches(kept: str | None, password: str) -> bool:
    """Return whether `password` is the one of which `kept` was made; None (nobody has that name) takes as long."""
    with _at_once:
        try:
            right = _hasher.verify(kept or _nobody, password)
        except VerificationError:
            return False
    return right and kept is not None


def outdated(kept: str) -> bool:
    """Return whether `kept` was made at a cost that is no longer today's."""
    return _hasher.check_needs_rehash(kept)
