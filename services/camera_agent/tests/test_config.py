"""The agent's file: what it may say, and that each mistake is named with its line."""

from pathlib import Path

import pytest

from services.camera_agent.config import Config, ConfigError, load

GOOD = """\
ingest: http://10.0.0.2:8001/
spool:
  bytes: 600 MB
defaults:
  every_s: 5
  user: viewer
  password_env: CAMERA_PASSWORD
cameras:
  yard:
    source: rtsp://10.0.0.11/stream1
    secret_file: secrets/yard
  k1:
    source: http://10.0.0.12/snapshot.jpg
    secret_env: K1_SECRET
    auth: basic
    every_s: 1
  k2:
    source: folder:photos
    secret_env: K1_SECRET
    replay: {speed: 10, times: now}
"""
ENVIRONMENT = {"CAMERA_PASSWORD": "p4ssw0rd!", "K1_SECRET": "k1-secret-k1-secret"}


def read(folder: Path, text: str, environment: dict[str, str] = ENVIRONMENT) -> Config:
    (folder / "secrets").mkdir(exist_ok=True)
    (folder / "secrets" / "yard").write_text("yard-secret-yard\n")
    (folder / "photos").mkdir(exist_ok=True)
    file = folder / "cameras.yaml"
    file.write_text(text)
    return load(file, environment)


def problems(folder: Path, text: str, environment: dict[str, str] = ENVIRONMENT) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, environment)
    return [problem.replace(f"{folder}/cameras.yaml:", "") for problem in caught.value.problems]


def test_a_good_file_gives_its_cameras_with_defaults_and_secrets(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config.ingest == "http://10.0.0.2:8001"
    assert config.share_bytes == 200_000_000
    yard, k1, k2 = config.cameras
    assert (yard.camera_id, yard.secret, yard.password, yard.entry.every_s) == (
        "yard",
        "yard-secret-yard",
        "p4ssw0rd!",
        5,
    )
    assert (k1.secret, k1.entry.auth, k1.entry.every_s, k1.entry.user) == ("k1-secret-k1-secret", "basic", 1, "viewer")
    assert k2.folder == tmp_path / "photos"
    assert k2.entry.replay is not None
    assert k2.entry.replay.speed == 10


def test_no_secret_is_in_the_text_of_what_was_read(tmp_path: Path) -> None:
    text = repr(read(tmp_path, GOOD))
    assert "yard" in text
    assert not [secret for secret in ("yard-secret-yard", "p4ssw0rd!", "k1-secret") if secret in text]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("every_s: 1\n", "every_s: 0\n", "16: cameras.k1.every_s: Input should be greater than or equal to 0.1"),
        ("every_s: 1\n", "every_s: soon\n", "16: cameras.k1.every_s: Input should be a valid number"),
        ("every_s: 5\n", "every_s: 0\n", "5: defaults.every_s: Input should be greater than or equal to 0.1"),
        ("every_s: 1\n", "evry_s: 1\n", "16: cameras.k1.evry_s: is no key that is known here; known are every_s,"),
        ("every_s: 5\n", "source: 5\n", "5: defaults.source: is no key that is known here; known are every_s,"),
        ("spool:\n", "spoool:\n", "2: spoool: is no key that is known here; known are ingest,"),
        ("every_s: 1\n", "secret: abc\n", "16: cameras.k1.secret: secrets don't stand in this file: give secret_file"),
        ("every_s: 1\n", "every_s: 1\n    every_s: 2\n", "17: `every_s` is given twice; keep one"),
        ("    source: folder:photos\n", "", "17: cameras.k2.source: is missing"),
        ("folder:photos", "folder:elsewhere", "18: cameras.k2.source: there is no folder"),
        ("folder:photos", "ftp://10.0.0.3/x", "18: cameras.k2.source: must begin with one of rtsp:, http:"),
        ("folder:photos", "simulated:bird", "18: cameras.k2.source: simulated: takes cat, dog, both, none or nothing"),
        ("folder:photos", "simulated:cat", "20: cameras.k2.replay: is for sources of folder: only: remove it"),
        ("10.0.0.11/", "/", "10: cameras.yard.source: must be rtsp:// with a host"),
        ("rtsp://10", "rtsp://me:pw@10", "10: cameras.yard.source: must not hold a user or password: give `user`"),
        ("10.0.0.11/", "10.0.0.11:99999/", "10: cameras.yard.source: is no URL: Port out of range"),
        ("secrets/yard", "secrets/none", "11: cameras.yard.secret_file:"),
        ("    secret_file: secrets/yard\n", "", "9: cameras.yard: give either secret_file or secret_env"),
        ("K1_SECRET\n    auth", "K9\n    auth", "14: cameras.k1.secret_env: the environment has no K9: set it"),
        ("  user: viewer\n", "", "8: cameras.yard: a password needs its user: add `user`"),
        ("http://10.0.0.2:8001/", "10.0.0.2:8001", "1: ingest: must be http:// or https:// with a host"),
        ("http://10.0.0.2:8001/", "http://10.0.0.2/v1", "1: ingest: has a path: write scheme, host and port"),
        ("600 MB", "30 MB", "3: spool.bytes: gives each of 3 cameras 10000000 bytes, less than"),
        ("600 MB", "lots", "3: spool.bytes: could not parse value and unit from byte string"),
        ("  k1:\n", "  kennel one:\n", "12: cameras.kennel one: a camera's id has 1 to 64 of"),
        ("  k1:\n", "  ..:\n", "12: cameras...: a camera's id has 1 to 64 of"),
        ("every_s: 1\n", "every_s: 2026-13-45\n", "16: `2026-13-45` is no date or number that there is"),
        ("every_s: 1\n", "width: 0x_\n", "16: `0x_` is no date or number that there is"),
        ("every_s: 1\n", f"hosts: {'[' * 900 + ']' * 900}\n", "1: is nested too deeply"),
        ("/snapshot.jpg", "/s.jpg?user=a&password=b", "13: cameras.k1.source: must not hold a password: write {pass"),
        ("10.0.0.11/stream1", "10.0.0.11/?pwd=x", "10: cameras.yard.source: must not hold a password"),
        ("auth: basic", "ca_file: cameras.yaml", "15: cameras.k1.ca_file:"),
        ("  k1:\n", "  k1: &a\n", "12: anchors (&, *) are not taken; put what repeats under `defaults`"),
        ("cameras:\n", "cameras\n", "9: is not valid YAML here"),
        ("spool:\n", "spool: [\n", "is not valid YAML here"),
        ("speed: 10", "speed: -1", "20: cameras.k2.replay.speed: Input should be greater than 0"),
        ("every_s: 1\n", "every_s: 2026-01-01\n", "16: cameras.k1.every_s: Input should be a valid number"),
        ("every_s: 1\n", "hosts: media.local\n", "16: cameras.k1.hosts: Input should be a valid array"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_to_do(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert GOOD.count(old) == 1
    found = problems(tmp_path, GOOD.replace(old, new))
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize("text", ["", "- a list\n", "just words\n", "7\n"])
def test_a_file_of_another_shape_is_told_what_it_must_have(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == [
        "1: must have the keys `ingest` and `cameras`; services/camera_agent has an example"
    ]


def test_all_mistakes_are_named_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = (
        GOOD.replace("every_s: 5", "every_s: 0").replace("auth: basic", "auth: none").replace("speed: 10", "speed: 0")
    )
    assert [problem.partition(": ")[0] for problem in problems(tmp_path, text)] == ["5", "15", "20"]


def test_the_place_of_the_file_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    text = GOOD.replace("auth: basic", "auth: none").replace("every_s: 5", "every_s: 0")
    assert [problem.partition(": ")[0] for problem in problems(folder, text)] == ["5", "15"]


def test_a_password_may_have_its_place_in_the_address_and_is_in_no_text(tmp_path: Path) -> None:
    old = "source: http://10.0.0.12/snapshot.jpg"
    text = GOOD.replace(old, "source: http://10.0.0.12/api.cgi?user=admin&password={password}")
    camera = read(tmp_path, text).cameras[1]
    assert camera.address == "http://10.0.0.12/api.cgi?user=admin&password=p4ssw0rd%21"
    assert "p4ssw0rd" not in repr(camera)
    without = text.replace("  password_env: CAMERA_PASSWORD\n", "")
    assert any("has a place for a {password}: give password_file" in problem for problem in problems(tmp_path, without))


def test_an_empty_secret_is_no_secret(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD, {**ENVIRONMENT, "K1_SECRET": ""})
    assert "14: cameras.k1.secret_env: the secret there is empty or has characters that nobody can type" in found


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        load(tmp_path / "none.yaml", {})
