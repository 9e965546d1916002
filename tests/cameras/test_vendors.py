"""Each vendor's camera delivers; wrong credentials, cut bodies and hostile parts are told so and harm nobody."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from services.camera_ingest import metrics
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest
from services.camera_ingest.throttle import FAILURES
from shared.testing import wait_until
from shared.tokens import Role
from tests.cameras.vendors import (
    Axis,
    AxisOverBasic,
    Dahua,
    Esp32,
    Esp32WithDigest,
    Firmware,
    Gone,
    Hikvision,
    HikvisionRecorder,
    Menu,
    OnlyAnAddress,
    Stubborn,
)

OWN, COMMON, IN_PATH = "/v1/cameras/cam/frame", "/v1/frames", "/v1/frames/{secret}"
DIGEST: dict[str, Any] = {"authentication": "digest"}
# The camera, what is switched on for it, and the address in its menu.
VENDORS: dict[str, tuple[type[Firmware], dict[str, Any], str]] = {
    "Axis": (Axis, DIGEST, OWN),
    "Axis over Basic": (AxisOverBasic, {}, OWN),
    "Hikvision": (Hikvision, {}, OWN),
    "Hikvision at the common address": (Hikvision, {"mac": "4419b60a0102"}, COMMON),
    "a recorder's channel": (HikvisionRecorder, {"mac": "4419b60a0102", "channel": 2}, COMMON),
    "Dahua": (Dahua, DIGEST, OWN),
    "Dahua by its MAC address": (Dahua, {**DIGEST, "mac": "4419b60a0102"}, f"{COMMON}?mac=44:19:b6:0a:01:02"),
    "ESP32": (Esp32, {}, OWN),
    "ESP32 with Digest": (Esp32WithDigest, DIGEST, OWN),
    "only an address": (OnlyAnAddress, {"secret_in_path": True}, IN_PATH),
    "stubborn": (Stubborn, {"always_200": True}, COMMON),
}
every_vendor = pytest.mark.parametrize("vendor", VENDORS)


def install(ingest: Ingest, vendor: str, wrong: bool = False, **options: Any) -> Firmware:
    """Make the camera `cam` once, switch on what this vendor's needs, and type it into the menu."""
    firmware, chosen, path = VENDORS[vendor]
    made = ingest.client.put("/v1/cameras/cam", json={"space_id": "k1", **chosen}, headers=ingest.bearer(Role.ADMIN))
    ingest.secrets["cam"] = made.json().get("secret") or ingest.secrets["cam"]
    secret = "wrong-wrong-1234" if wrong else ingest.secrets["cam"]
    url = f"http://127.0.0.1:{ingest.parts.settings.port}{path.format(secret=secret)}"
    return firmware(Menu(url) if "secret_in_path" in chosen else Menu(url, "cam", secret), **options)


def nothing_is_left_but(ingest: Ingest, accepted: int) -> None:
    """Check that the books and the disk hold exactly the accepted frames."""
    wait_until("files are those of the frames", lambda: len(ingest.files()) == accepted)
    assert ingest.audit()["accepted"] == accepted


@every_vendor
def test_a_camera_of_each_vendor_delivers(ingest: Ingest, vendor: str) -> None:
    camera = install(ingest, vendor)
    images = [photo(1), photo(2, size=(1920, 1080)).ljust(700_000, b"\0")]
    for image in images:
        said = camera.send(image)
        assert said.status == (200 if vendor == "stubborn" else 201), said.body
        receipt = json.loads(said.body)["receipt"]
        assert ingest.parts.files.read(receipt) == image
        assert ingest.receipt(receipt)["camera_id"] == "cam"
    repeated = camera.send(images[0])
    assert repeated.status == 200
    nothing_is_left_but(ingest, 2)


@every_vendor
def test_wrong_credentials_are_told_so_and_harm_nobody(ingest: Ingest, vendor: str) -> None:
    stranger = install(ingest, vendor, wrong=True)
    for _ in range(FAILURES // (10 if vendor == "stubborn" else 1)):
        said = stranger.send(photo())
        assert (said.status, b"urn:huella:problem:unauthorized" in said.body) == (401, True)
    said = stranger.send(photo())
    assert (said.status, "Retry-After" in {name.title() for name in said.headers}) == (429, True)
    nothing_is_left_but(ingest, 0)
    assert install(ingest, vendor).send(photo()).status in (200, 201)


@every_vendor
@pytest.mark.parametrize("share", [0.0, 0.4, 0.95])
def test_a_cut_body_leaves_nothing_and_is_counted(ingest: Ingest, vendor: str, share: float) -> None:
    before = metrics.FRAMES.labels("client-gone")._value.get()
    camera = install(ingest, vendor, cut=share)
    with pytest.raises(Gone):
        camera.send(photo().ljust(400_000, b"\0"))
    if not camera.digest:  # one that waits to be asked is cut before anybody reads
        wait_until("it is counted", lambda: metrics.FRAMES.labels("client-gone")._value.get() == before + 1)
    nothing_is_left_but(ingest, 0)
    assert install(ingest, vendor).send(photo()).status in (200, 201)


HARM: dict[str, tuple[bytes, set[int]]] = {
    "a page": (b"<html>not a photo</html>" * 10, {415, 422}),
    "nothing": (b"", {422}),
    "half a header": (photo()[:100], {422}),
    "too many bytes": (photo().ljust(11_000_000, b"\0"), {413}),
    "boundaries without end": (photo() + b"\r\n--boundary\r\n\r\n--myboundary\r\n\r\n" * 10_000, {201, 422}),
    "a bomb of spaces": (photo() + b"\r\n--boundary" + b" " * 5_000_000, {201, 422}),
}


@every_vendor
@pytest.mark.parametrize("harm", HARM)
def test_hostile_content_has_a_clear_answer_and_harms_nobody(ingest: Ingest, vendor: str, harm: str) -> None:
    camera = install(ingest, vendor)
    content, expected = HARM[harm]
    try:
        said = camera.send(content)
    except Gone:  # refused by its length, before it was all sent
        assert harm == "too many bytes"
        accepted = 0
    else:
        verdict = json.loads(said.body).get("status", 201)
        assert verdict in expected, said.body
        assert said.status == (200 if vendor == "stubborn" else verdict)
        accepted = int(verdict == 201)
    nothing_is_left_but(ingest, accepted)
    assert install(ingest, vendor).send(photo()).status in (200, 201)


def test_a_stubborn_camera_lets_go_and_its_refusals_can_be_seen(ingest: Ingest) -> None:
    refused = install(ingest, "stubborn").send(b"no photo")
    assert (refused.status, refused.requests, json.loads(refused.body)["status"]) == (200, 1, 422)
    shown = ingest.get("/v1/cameras/cam").json()
    assert (shown["refused"], shown["last_refusal"]) == (1, "no-photo")


def first_challenge_alone(self: Firmware, asked: Any) -> str | None:
    nonce = asked[0].split('nonce="')[1].split('"')[0]
    return self._md5("huella", nonce).replace(", algorithm=MD5", "")


@pytest.mark.parametrize("read", [None, first_challenge_alone], ids=["MD5's challenge", "the first, whatever it asks"])
def test_digest_over_http_1_0_has_its_challenge_however_large_the_photo(
    ingest: Ingest, read: Callable[..., str | None] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole photo is sent before anybody listens; a connection that is reset then would be the end of it."""
    if read is not None:
        monkeypatch.setattr(Esp32WithDigest, "_answer", read)
    said = install(ingest, "ESP32 with Digest").send(photo().ljust(9_000_000, b"\0"))
    assert (said.status, said.requests) == (201, 2)
