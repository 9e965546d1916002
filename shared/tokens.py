"""Who may do what: Ed25519-signed tokens, and the folder of keys that decides whom to believe.

A keys folder holds `private/<issuer>.pem` (mode 0600, only where that issuer runs) and `trusted/<issuer>.json`: a
JWK with the issuer's public key and `huella_roles`, the roles it may grant. People's and scripts' tokens have the
audience `huella`; a service's token names the one service that it is for and lasts five minutes.
"""

import base64
import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PEOPLE = "huella"
SERVICE_TOKEN_S = 300
ALGORITHM = "EdDSA"
LEEWAY_S = 10.0  # by which the clocks of two machines may differ
REMEMBERED = 1_000
"""Tokens whose signature is not proven again until they expire: proving one costs 0.1 ms."""


class Role(StrEnum):
    """Roles of people, each with the rights of those before it, and `service` for services."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    SERVICE = "service"


RANK = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}

ISSUERS: Mapping[str, tuple[Role, ...]] = {
    "cli": (Role.VIEWER, Role.OPERATOR, Role.ADMIN),
    "camera_ingest": (Role.SERVICE,),
    "image_classifier": (Role.SERVICE,),
    "aggregation": (Role.SERVICE,),
    "dashboard": (Role.VIEWER, Role.OPERATOR, Role.ADMIN),
}


class BadToken(Exception):
    """The token is not one that this service believes; the message says why in a few words, without the token."""


@dataclass(frozen=True)
class Identity:
    """Who calls: `subject` for the record, one role, and `until` when (seconds since 1970) the token is let in.

    A request is let in or not when it begins; only what goes on, as an event stream does, must look at `until`.
    """

    subject: str
    role: Role
    issuer: str
    until: float = field(default=math.inf, compare=False)

    def may(self, role: Role) -> bool:
        """Return whether this identity has the rights of `role`; services and people never stand in for each other."""
        if Role.SERVICE in (role, self.role):
            return role == self.role
        return RANK[self.role] >= RANK[role]


def make_keys(folder: Path, issuers: Mapping[str, Iterable[Role]] = ISSUERS) -> None:
    """Make the keys of issuers that have none yet, and write what others need to trust them."""
    private, trusted = folder / "private", folder / "trusted"
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    trusted.mkdir(parents=True, exist_ok=True)
    for issuer, roles in issuers.items():
        path = private / f"{issuer}.pem"
        if not path.exists():
            pem = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
        public = _read_private(path).public_key().public_bytes_raw()
        jwk = {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": ALGORITHM,
            "kid": issuer,
            "x": base64.urlsafe_b64encode(public).rstrip(b"=").decode(),
            "huella_roles": sorted(roles),
        }
        (trusted / f"{issuer}.json").write_text(json.dumps(jwk, indent=2) + "\n")


def _read_private(path: Path) -> Ed25519PrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path.name} is not an Ed25519 key")
    return key


class Signer:
    """Signs tokens as one issuer."""

    def __init__(self, folder: Path, issuer: str) -> None:
        self.issuer = issuer
        self._key = _read_private(folder / "private" / f"{issuer}.pem")

    def mint(self, subject: str, role: Role, audience: str = PEOPLE, lifetime_s: int = SERVICE_TOKEN_S) -> str:
        """Return a token that says `subject` has `role` at `audience` for the next `lifetime_s` seconds."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": subject,
            "aud": audience,
            "role": role.value,
            "iat": now,
            "exp": now + lifetime_s,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self.issuer})


class ServiceToken:
    """A service's own token for one other service, minted anew a minute before it ends."""

    def __init__(self, signer: Signer, audience: str) -> None:
        self._signer = signer
        self._audience = audience
        self._token = ""
        self._until = 0.0

    def header(self) -> dict[str, str]:
        """Return the `Authorization` header for the next request."""
        if time.monotonic() > self._until:
            self._token = self._signer.mint(self._signer.issuer, Role.SERVICE, self._audience)
            self._until = time.monotonic() + SERVICE_TOKEN_S - 60
        return {"Authorization": f"Bearer {self._token}"}


class Keyring:
    """The issuers that a service believes, read once from `trusted/`."""

    def __init__(self, folder: Path) -> None:
        self._keys: dict[str, jwt.PyJWK] = {}
        self._roles: dict[str, frozenset[str]] = {}
        self._believed: dict[bytes, Identity] = {}
        for path in sorted((folder / "trusted").glob("*.json")):
            jwk = json.loads(path.read_text())
            self._keys[jwk["kid"]] = jwt.PyJWK(jwk)
            self._roles[jwk["kid"]] = frozenset(jwk["huella_roles"])
        if not self._keys:
            raise FileNotFoundError(f"no trusted keys in {folder / 'trusted'}: `make up` makes them on one machine")

    def identify(self, token: str, service: str) -> Identity:
        """Return who the token speaks for, at `service`. Raises BadToken if it is not to be believed."""
        # By digest, so that no token is kept, and finding one takes no time that tells of others.
        name = hashlib.sha256(f"{service} {token}".encode()).digest()
        believed = self._believed.get(name)
        if believed is not None and time.time() < believed.until:
            return believed
        identity = self._prove(token, service)
        if len(self._believed) >= REMEMBERED:
            self._believed.clear()
        self._believed[name] = identity
        return identity

    def _prove(self, token: str, service: str) -> Identity:
        try:
            issuer = jwt.get_unverified_header(token).get("kid")
            key = self._keys.get(issuer or "")
            if key is None:
                raise BadToken("its issuer is not trusted here")
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=[PEOPLE, service],
                issuer=issuer,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
                leeway=LEEWAY_S,
            )
            role = Role(claims.get("role", ""))
        except jwt.ExpiredSignatureError:
            raise BadToken("it has expired") from None
        except (jwt.InvalidTokenError, ValueError) as error:
            raise BadToken(f"it is not valid ({type(error).__name__})") from None
        if role.value not in self._roles[key.key_id or ""]:
            raise BadToken("its issuer may not grant that role")
        if (role is Role.SERVICE) != (claims["aud"] == service):
            raise BadToken("its audience is another")
        return Identity(subject=str(claims["sub"]), role=role, issuer=str(issuer), until=claims["exp"] + LEEWAY_S)
