"""Digest authentication: the rules by RFC 7616's own example, and cameras that have it beside those that don't."""

import hashlib
import re
from typing import Any

import httpx
import pytest

from services.camera_ingest import digest
from services.camera_ingest.digest import MD5, SHA256, Nonces, is_right, kept_of, read_answer
from services.camera_ingest.tests.conftest import MakeSettings
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest, running
from services.camera_ingest.throttle import FAILURES
from shared.testing import TokenFor
from shared.tokens import Role

# RFC 7616, 3.9.1
EXAMPLE = (
    'username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={algorithm}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{response}", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
ANSWERS = {
    MD5: "8ca523f5e9506fed4657c9700eebdbec",
    SHA256: "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
}


@pytest.mark.parametrize("algorithm", [MD5, SHA256])
def test_the_example_of_the_rfc_is_right_and_no_other_word_of_it(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "REALM", "http-auth@example.org")
    kept = kept_of("Mufasa", "Circle of Life")
    text = EXAMPLE.format(algorithm=algorithm, response=ANSWERS[algorithm])
    answer = read_answer(text)
    assert answer is not None
    assert is_right(answer, kept, "GET")
    assert not is_right(answer, kept, "PUT")
    assert not is_right(answer, kept_of("Mufasa", "circle of life"), "GET")
    for word, other in (("/dir/", "/dirs/"), ("00000001", "00000002"), ("7ypf", "7ypg"), ("f2/w", "f2/x")):
        changed = read_answer(text.replace(word, other))
        assert changed is not None
        assert not is_right(changed, kept, "GET")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "username",
        'username=, nonce="a"',
        'username="c1"',
        'username="c1", nonce="n", uri="/", response="r", qop=auth',
        'username="c1", nonce="n", uri="/", response="r", qop=auth-int, nc=1, cnonce="x"',
        'username="c1", nonce="n", uri="/", response="r", qop=auth, nc=-1, cnonce="x"',
        'username="c1", nonce="n", uri="/", response="r", qop=auth, nc=123456789, cnonce="x"',
        'username="c1", nonce="n", uri="/", response="r", algorithm=SHA-512-256',
        'username="c1", nonce="n", uri="/", response="r", algorithm=MD5-sess, qop=auth, nc=1, cnonce="x"',
        'username="c1", nonce="' + "n" * 3000 + '", uri="/", response="r"',
        ",,,=,=,=",
        '"' * 2000,
    ],
)
def test_what_is_no_answer_is_none(value: str) -> None:
    assert read_answer(value) is None


def test_nonces_are_known_to_every_process_with_the_key_and_to_no_other_and_end() -> None:
    now = 1_000_000.0
    here, there = (Nonces(b"k" * 32, clock=lambda: now) for _ in range(2))
    nonce = here.make()
    assert there.is_fresh(nonce)
    assert not Nonces(b"x" * 32, clock=lambda: now).is_fresh(nonce)
    assert not any(there.is_fresh(other) for other in ("", "!!", nonce[:-4], nonce + "AAAA", "A" * 40, "\xe9" * 40))
    now += digest.NONCE_S
    assert there.is_fresh(nonce)
    now += 1
    assert not there.is_fresh(nonce)
    now -= 2 * digest.NONCE_S
    assert not there.is_fresh(nonce)


def test_a_count_is_good_once_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    nonces = Nonces(b"k" * 32)

    def use(nonce: str, count: str) -> bool:
        return nonces.use(digest.Answer("c1", MD5, nonce, "/", "", count, ""))

    assert [use("n", count) for count in ("1", "00000001", "2", "a", "9", "")] == [True, False, True, True, False, True]
    assert [use("n", "ffffffff"), use("n", "")] == [False, False]
    monkeypatch.setattr(digest, "REMEMBERED", 5)
    assert all(use(f"n{number}", "1") for number in range(20))
    assert len(nonces._used) <= 6


def choose(ingest: Ingest, camera_id: str = "c1", **chosen: Any) -> dict[str, Any]:
    answer = ingest.client.put(
        f"/v1/cameras/{camera_id}", json={"space_id": "k1", **chosen}, headers=ingest.bearer(Role.ADMIN)
    )
    assert answer.status_code in (200, 201), answer.text
    if answer.json().get("secret"):
        ingest.secrets[camera_id] = answer.json()["secret"]
    return dict(answer.json())


def challenges(answer: httpx.Response) -> list[str]:
    return [value.split()[0] for value in answer.headers.get_list("www-authenticate")]


def test_digest_is_asked_only_of_cameras_that_have_it(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    secret = ingest.make_camera("c2")
    assert challenges(ingest.put("a", auth=None)) == ["Basic"]
    switched = choose(ingest, "c2", authentication="digest")
    assert (switched["authentication"], switched["secrets"]) == ("digest", 2)
    assert switched["secret"] != secret
    asked = ingest.put("a", camera_id="c2", auth=None)
    assert challenges(asked) == ["Digest", "Digest"]
    algorithms = [re.findall("algorithm=([A-Z0-9-]+)", value) for value in asked.headers.get_list("www-authenticate")]
    assert algorithms == [["SHA-256"], ["MD5"]]
    assert challenges(ingest.put("a", auth=None)) == ["Basic"]
    for name in ("a", "b"):  # the second answers the challenge of the first
        auth = httpx.DigestAuth("c2", ingest.secrets["c2"])
        assert ingest.put(name, camera_id="c2", auth=auth).status_code == 201
    assert ingest.put("c", camera_id="c2", auth=("c2", secret)).status_code == 201  # what needs no challenge stays


def test_what_digest_needs_is_kept_only_while_it_is_switched_on(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each

    def kept() -> list[tuple[str | None, str | None]]:
        with ingest.parts.database.read() as connection:
            found = connection.exec_driver_sql("SELECT ha1_md5, ha1_sha256 FROM camera_secrets ORDER BY number")
            return [tuple(row) for row in found]

    assert kept() == [(None, None)]
    choose(ingest, authentication="digest")
    choose(ingest, authentication="digest")  # the same again changes nothing
    user = f"c1:huella:{ingest.secrets['c1']}".encode()
    expected = (hashlib.md5(user).hexdigest(), hashlib.sha256(user).hexdigest())
    assert kept() == [(None, None), expected]
    rotated = ingest.client.post("/v1/cameras/c1/secrets", headers=ingest.bearer(Role.ADMIN)).json()["secret"]
    for secret in (ingest.secrets["c1"], rotated):
        assert ingest.put(None, auth=httpx.DigestAuth("c1", secret)).status_code in (200, 201)
    choose(ingest, authentication="basic")
    assert kept() == [(None, None)] * 2
    assert challenges(ingest.put("a", auth=httpx.DigestAuth("c1", rotated))) == ["Basic"]
    assert ingest.put("a", auth=("c1", rotated)).status_code == 201


class Md5Only(httpx.DigestAuth):
    """A camera's Digest as most have it: MD5, by its own count, and without qop if it is from before RFC 2617."""

    def __init__(self, secret: str, *, nonce: str, count: int | None, uri: str = "/v1/cameras/c1/frame") -> None:
        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        middle = nonce if count is None else f"{nonce}:{count:08x}:cafe:auth"
        response = md5(f"{md5(f'c1:huella:{secret}')}:{middle}:{md5(f'PUT:{uri}')}")
        self.header = f'Digest username="c1", realm="huella", nonce="{nonce}", uri="{uri}", response="{response}"'
        if count is not None:
            self.header += f', qop=auth, nc={count:08x}, cnonce="cafe"'

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = self.header
        yield request


@pytest.fixture
def asked(ingest: Ingest) -> tuple[Ingest, str]:
    """An ingest whose camera has Digest, and a nonce."""
    choose(ingest, authentication="digest")
    challenge = ingest.put(None, auth=None).headers.get_list("www-authenticate")[1]
    return ingest, challenge.split('nonce="')[1].split('"')[0]


def test_an_answer_is_good_once_and_its_repeat_is_asked_anew_without_blame(asked: tuple[Ingest, str]) -> None:
    ingest, nonce = asked
    secret = ingest.secrets["c1"]
    assert ingest.put(None, auth=Md5Only(secret, nonce=nonce, count=1)).status_code == 201
    assert ingest.put(None, photo(1), auth=Md5Only(secret, nonce=nonce, count=2)).status_code == 201
    for _ in range(FAILURES + 2):
        repeated = ingest.put(None, photo(2), auth=Md5Only(secret, nonce=nonce, count=2))
        assert repeated.status_code == 401
        assert all("stale=true" in value for value in repeated.headers.get_list("www-authenticate"))
    assert ingest.audit()["accepted"] == 2


def test_the_form_without_a_count_uses_its_nonce_up(asked: tuple[Ingest, str]) -> None:
    ingest, nonce = asked
    answers = [ingest.put(None, auth=Md5Only(ingest.secrets["c1"], nonce=nonce, count=None)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 401]


def test_an_answer_for_another_address_another_nonce_or_with_another_secret_is_refused(
    asked: tuple[Ingest, str],
) -> None:
    ingest, nonce = asked
    secret = ingest.secrets["c1"]
    elsewhere = ingest.put("named", auth=Md5Only(secret, nonce=nonce, count=1))
    made_up = ingest.put(None, auth=Md5Only(secret, nonce="bWFkZSB1cA==", count=1))
    wrong = [ingest.put(None, auth=Md5Only("x" * 16, nonce=nonce, count=n)).status_code for n in range(FAILURES + 1)]
    assert [elsewhere.status_code, made_up.status_code] == [401, 401]
    assert wrong == [401] * FAILURES + [429]
    assert ingest.put(None, auth=Md5Only(secret, nonce=nonce, count=1)).status_code == 201
    assert ingest.audit()["accepted"] == 1


def test_two_processes_agree_on_nonces(make_settings: MakeSettings, token_for: TokenFor, database_url: str) -> None:
    with (
        running(make_settings(database_url=database_url), token_for) as one,
        running(make_settings(database_url=database_url), token_for) as other,
    ):
        one.make_camera()
        choose(one, authentication="digest")
        nonce = one.put(None, auth=None).headers["www-authenticate"].split('nonce="')[1].split('"')[0]
        assert other.put(None, auth=Md5Only(one.secrets["c1"], nonce=nonce, count=1)).status_code == 201


def test_the_challenge_does_not_tell_which_cameras_there_are(ingest: Ingest) -> None:
    strangers = [f"nobody-{number}" for number in range(40)]

    def kinds() -> list[str]:
        return [challenges(ingest.put("a", camera_id=name, auth=None))[0] for name in strangers]

    assert set(kinds()) == {"Basic"}  # as all cameras have it
    ingest.make_camera("c2")
    choose(ingest, "c2", authentication="digest")
    mixed = kinds()
    assert set(mixed) == {"Basic", "Digest"}  # as some have it
    assert mixed == kinds()
    choose(ingest, "c1", authentication="digest")
    assert set(kinds()) == {"Digest"}
    known, unknown = (ingest.put("a", camera_id=name, auth=(name, "wrong")) for name in ("c1", "nobody-1"))
    assert known.json() == unknown.json()
    assert [re.sub('nonce="[^"]+"', "", value) for value in known.headers.get_list("www-authenticate")] == [
        re.sub('nonce="[^"]+"', "", value) for value in unknown.headers.get_list("www-authenticate")
    ]
