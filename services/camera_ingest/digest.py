"""HTTP Digest authentication (RFC 7616) as rules: what is kept of a secret, what is asked, which answer is right.

Cameras do SHA-256 or, most of them, MD5 only, so both are offered with one nonce. A nonce is signed and carries its
time, so that every process with the same key agrees on it without keeping any. What a process does keep is how far
each nonce was used with it: there, nobody can send a camera's answer a second time.
"""

import base64
import hashlib
import hmac
import secrets
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.request import parse_http_list, parse_keqv_list

REALM = "huella"
MD5, SHA256 = "MD5", "SHA-256"
PREFERRED = (SHA256, MD5)
NONCE_S = 300.0
CLOCKS_DIFFER_S = 30.0
REMEMBERED = 10_000
LONGEST = 2048
ONCE = 2**32  # an answer without a count uses its nonce up
NONCE = struct.Struct(">Q6s")


@dataclass(frozen=True)
class Answer:
    """What a camera answers to a challenge; `count` is `nc` as sent, empty in the form of RFC 2069, without `qop`."""

    username: str
    algorithm: str
    nonce: str
    uri: str
    response: str
    count: str
    cnonce: str


def kept_of(username: str, secret: str) -> dict[str, str]:
    """Return what Digest needs of a secret, by algorithm: H(username:realm:secret). To Digest it is the secret."""
    return {algorithm: _hash(algorithm, f"{username}:{REALM}:{secret}") for algorithm in PREFERRED}


def challenges(nonce: str, stale: bool) -> list[str]:
    """Return the values of the `WWW-Authenticate` headers, the preferred algorithm's first."""
    end = ", stale=true" if stale else ""
    return [
        f'Digest realm="{REALM}", qop="auth", algorithm={algorithm}, nonce="{nonce}"{end}' for algorithm in PREFERRED
    ]


def read_answer(value: str) -> Answer | None:
    """Return what follows `Digest ` in an `Authorization` header, or None if it is not what we asked for."""
    if len(value) > LONGEST:
        return None
    try:
        given = parse_keqv_list(parse_http_list(value))
    except (ValueError, IndexError):  # a part without "=", or with nothing after it
        return None
    algorithm = given.get("algorithm", MD5).upper()
    counted = "qop" in given
    needed = ["username", "nonce", "uri", "response"] + (["nc", "cnonce"] if counted else [])
    if algorithm not in PREFERRED or given.get("qop", "auth") != "auth" or any(name not in given for name in needed):
        return None
    count = given["nc"] if counted else ""
    if counted and not (1 <= len(count) <= 8 and all(letter in "0123456789abcdefABCDEF" for letter in count)):
        return None
    cnonce = given["cnonce"] if counted else ""
    return Answer(given["username"], algorithm, given["nonce"], given["uri"], given["response"], count, cnonce)


def is_right(answer: Answer, kept: Mapping[str, str], method: str) -> bool:
    """Return whether the answer was made with the secret of which `kept_of` gave `kept`; compares in constant time."""
    request = _hash(answer.algorithm, f"{method}:{answer.uri}")
    middle = f"{answer.nonce}:{answer.count}:{answer.cnonce}:auth" if answer.count else answer.nonce
    expected = _hash(answer.algorithm, f"{kept[answer.algorithm]}:{middle}:{request}")
    return hmac.compare_digest(expected.encode(), answer.response.lower().encode())


def _hash(algorithm: str, text: str) -> str:
    if algorithm == SHA256:
        return hashlib.sha256(text.encode()).hexdigest()
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()  # RFC 7616's other algorithm


class Nonces:
    """Nonces made and known again with a key that all processes share."""

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock
        self._lock = threading.Lock()
        self._used: OrderedDict[str, int] = OrderedDict()

    def make(self) -> str:
        """Return a new nonce, good for NONCE_S seconds."""
        made = NONCE.pack(int(self._clock() * 1000), secrets.token_bytes(6))
        return base64.urlsafe_b64encode(made + self._sign(made)).decode()

    def is_fresh(self, nonce: str) -> bool:
        """Return whether a process with this key made the nonce within the last NONCE_S seconds."""
        try:
            raw = base64.urlsafe_b64decode(nonce)
        except ValueError:
            return False
        made, signature = raw[: NONCE.size], raw[NONCE.size :]
        if len(made) < NONCE.size or not hmac.compare_digest(self._sign(made), signature):
            return False
        milliseconds: int = NONCE.unpack(made)[0]
        age = self._clock() - milliseconds / 1000
        return -CLOCKS_DIFFER_S <= age <= NONCE_S

    def use(self, answer: Answer) -> bool:
        """Note a right answer; return whether its count is higher than any before with this nonce in this process."""
        count = int(answer.count, 16) if answer.count else ONCE
        with self._lock:
            if count <= self._used.get(answer.nonce, 0):
                return False
            self._used[answer.nonce] = count
            self._used.move_to_end(answer.nonce)
            if len(self._used) > REMEMBERED:
                self._used.popitem(last=False)
        return True

    def share_of(self, name: str) -> float:
        """Return a number in [0, 1) that is always the same for a name, and that nobody without the key can know."""
        return int.from_bytes(hmac.digest(self._key, b"name:" + name.encode(), "sha256")[:6]) / 2**48

    def _sign(self, made: bytes) -> bytes:
        return hmac.digest(self._key, b"nonce:" + made, "sha256")[:16]
