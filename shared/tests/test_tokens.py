"""Only tokens that say who, for whom, until when, signed by a trusted issuer that may grant the role, are believed."""

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared import tokens
from shared.tokens import BadToken, Identity, Keyring, Role, ServiceToken, Signer, make_keys

HERE = "camera_ingest"


def claims(**changes: object) -> dict[str, object]:
    now = int(time.time())
    whole = {"iss": "cli", "sub": "ana", "aud": "huella", "role": "viewer", "iat": now, "exp": now + 60, **changes}
    return {name: value for name, value in whole.items() if value is not None}


def signed(keys: Path, issuer: str = "cli", **changes: object) -> str:
    pem = (keys / "private" / f"{issuer}.pem").read_bytes()
    return jwt.encode(claims(**{"iss": issuer, **changes}), pem, algorithm="EdDSA", headers={"kid": issuer})


def test_a_good_token_names_its_bearer(keys: Path) -> None:
    assert Keyring(keys).identify(signed(keys), HERE) == Identity("ana", Role.VIEWER, "cli")


def test_a_token_that_was_believed_is_proven_anew_after_its_end_and_elsewhere(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = Keyring(keys)
    token = ServiceToken(Signer(keys, "aggregation"), HERE).header()["Authorization"].removeprefix("Bearer ")
    believed = keyring.identify(token, HERE)

    def prove(*_: object, **__: object) -> None:
        raise jwt.ExpiredSignatureError

    monkeypatch.setattr(jwt, "decode", prove)
    assert keyring.identify(token, HERE) == believed
    for other, service in ((token, "image_classifier"), (f"{token[:-4]}AAAA", HERE)):
        with pytest.raises(BadToken):
            keyring.identify(other, service)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 311)
    with pytest.raises(BadToken, match="expired"):
        keyring.identify(token, HERE)


def test_believed_tokens_are_bounded(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "REMEMBERED", 3)
    keyring = Keyring(keys)
    for number in range(10):
        keyring.identify(signed(keys, sub=f"person {number}"), HERE)
    assert len(keyring._believed) <= 3


def test_a_service_token_is_for_one_service(keys: Path) -> None:
    header = ServiceToken(Signer(keys, "aggregation"), HERE).header()
    token = header["Authorization"].removeprefix("Bearer ")
    assert Keyring(keys).identify(token, HERE) == Identity("aggregation", Role.SERVICE, "aggregation")
    with pytest.raises(BadToken):
        Keyring(keys).identify(token, "image_classifier")


def test_a_service_token_is_minted_again_before_it_ends(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = ServiceToken(Signer(keys, "aggregation"), HERE)
    first = token.header()
    assert token.header() == first
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 250)
    started = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: started + 250)
    assert token.header() != first


def none_signed(keys: Path) -> str:
    return jwt.encode(claims(), "", algorithm="none", headers={"kid": "cli"})


def public_key_as_secret(keys: Path) -> str:
    jwk = json.loads((keys / "trusted" / "cli.json").read_text())
    return jwt.encode(claims(), jwk["x"], algorithm="HS256", headers={"kid": "cli"})


def strange_key(keys: Path) -> str:
    return jwt.encode(claims(), Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": "cli"})


def named_as_another(keys: Path) -> str:
    pem = (keys / "private" / "aggregation.pem").read_bytes()
    return jwt.encode(claims(), pem, algorithm="EdDSA", headers={"kid": "cli"})


def tampered(keys: Path) -> str:
    head, _, signature = signed(keys).split(".")
    _, body, _ = signed(keys, role="admin").split(".")
    return f"{head}.{body}.{signature}"


def changed(issuer: str = "cli", **changes: object) -> Callable[[Path], str]:
    return lambda keys: signed(keys, issuer, **changes)


BAD: dict[str, Callable[[Path], str]] = {
    "expired": changed(exp=int(time.time()) - 60),
    "no expiry": changed(exp=None),
    "no subject": changed(sub=None),
    "no audience": changed(aud=None),
    "another audience": changed(aud="another"),
    "a person's token for one service": changed(aud=HERE),
    "another issuer than its key": changed(iss="aggregation"),
    "no role": changed(role=None),
    "unknown role": changed(role="root"),
    "role in another type": changed(role=["viewer"]),
    "the command line grants no service": changed(role="service", aud=HERE),
    "a service grants no admin": changed("aggregation", role="admin"),
    "a service's token for people": changed("aggregation", role="service"),
    "a service's token for another": changed("aggregation", role="service", aud="image_classifier"),
    "alg none": none_signed,
    "symmetric with the public key": public_key_as_secret,
    "a key of its own": strange_key,
    "another's name": named_as_another,
    "tampered": tampered,
    "not a token": lambda _: "not.a.token",
    "empty": lambda _: "",
    "not ASCII": lambda _: "ñ.ñ.ñ",
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
def test_bad_tokens_are_refused_without_repeating_them(keys: Path, make: Callable[[Path], str]) -> None:
    token = make(keys)
    with pytest.raises(BadToken) as refused:
        Keyring(keys).identify(token, HERE)
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize(
    ("has", "may"),
    [
        (Role.VIEWER, {Role.VIEWER}),
        (Role.OPERATOR, {Role.VIEWER, Role.OPERATOR}),
        (Role.ADMIN, {Role.VIEWER, Role.OPERATOR, Role.ADMIN}),
        (Role.SERVICE, {Role.SERVICE}),
    ],
)
def test_roles_have_the_rights_of_those_below_and_services_their_own(has: Role, may: set[Role]) -> None:
    assert {role for role in Role if Identity("x", has, "cli").may(role)} == may


def test_keys_are_private_made_once_and_trust_survives(tmp_path: Path) -> None:
    make_keys(tmp_path)
    token = Signer(tmp_path, "cli").mint("ana", Role.ADMIN)
    make_keys(tmp_path)
    assert Keyring(tmp_path).identify(token, HERE).role is Role.ADMIN
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "private").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700
    assert "PRIVATE" not in "".join(path.read_text() for path in (tmp_path / "trusted").iterdir())


def test_without_any_key_a_service_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make up"):
        Keyring(tmp_path)
