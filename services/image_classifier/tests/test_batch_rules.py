"""The rules of batches: names, turns, quotas, cells."""

from datetime import UTC, datetime, timedelta

import pytest

from services.image_classifier.batches.rules import (
    Held,
    Quota,
    Waiting,
    csv_cell,
    first_repeated,
    is_archive,
    is_litter,
    name_problem,
    over_quota,
    prefers_csv,
    turns,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "name", ["a.jpg", "kennels/k 1/Katze (1).JPG", "ünïcode/猫.png", "no-extension", "..cat.jpg", "a" * 255]
)
def test_an_ordinary_name_is_taken(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        *("", "a" * 256, "/etc/passwd", "../a.jpg", "a/../../b.jpg", "a//b.jpg", "./a.jpg", "a/.", "a/"),
        *("C:\\a.jpg", "c:a.jpg", "..\\a.jpg", "a\0.jpg", "a\n.jpg", "a\x1b[31m.jpg", "\u202egpj.exe"),
        *("inner.zip", "photos/INNER.ZIP", "a.tar.gz", "a.7z", "a.rar"),
    ],
)
def test_a_name_that_plays_tricks_or_is_an_archives_is_refused_with_a_reason(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize(
    ("beginning", "archive"),
    [
        (b"PK\x03\x04....", True),
        (b"\x1f\x8b\x08", True),
        (b"Rar!\x1a\x07\x01", True),
        (bytes(257) + b"ustar\x00", True),
        (b"\xff\xd8\xff\xe0", False),
        (b"\x89PNG\r\n\x1a\n", False),
        (b"", False),
    ],
)
def test_an_archive_is_known_by_its_beginning(beginning: bytes, archive: bool) -> None:
    assert is_archive(beginning) is archive


def test_what_systems_add_to_archives_is_litter_and_photos_are_not() -> None:
    assert all(
        map(is_litter, ["__MACOSX/._a.jpg", "x/__MACOSX/a", ".DS_Store", "a/.DS_Store", "a/Thumbs.db", "._a.jpg"])
    )
    assert not any(map(is_litter, ["a.jpg", "a/MACOSX.jpg", "thumbs.jpg"]))


def test_the_first_name_that_comes_twice_is_found() -> None:
    assert first_repeated(["a", "b", "a", "b"]) == "a"
    assert first_repeated(["a", "A", "b"]) is None
    assert first_repeated(["n\u0303.jpg", "\u00f1.jpg"]) == "\u00f1.jpg"  # they look alike


def waiting(client: str, number: int, served_s: float | None = None) -> Waiting:
    served = None if served_s is None else NOON + timedelta(seconds=served_s)
    return Waiting(f"{client}-{number}", client, NOON + timedelta(seconds=number), served)


@pytest.mark.parametrize(
    ("batches", "order"),
    [
        ([], []),
        ([waiting("a", 2), waiting("a", 1)], ["a-1", "a-2"]),
        ([waiting("a", 1, 5), waiting("b", 9)], ["b-9", "a-1"]),
        ([waiting("a", 1, 5), waiting("a", 2), waiting("b", 3, 4)], ["b-3", "a-1", "a-2"]),
        ([waiting("a", 1, 5), waiting("b", 3, 6)], ["a-1", "b-3"]),
    ],
)
def test_the_client_that_was_served_longest_ago_has_the_turn(batches: list[Waiting], order: list[str]) -> None:
    assert turns(batches) == order


def test_a_client_with_ten_batches_gets_every_second_turn_beside_one_with_one() -> None:
    served: dict[str, datetime | None] = dict.fromkeys([*(f"many-{n}" for n in range(10)), "few-0"])
    taken = []
    for second in range(20):
        batches = [Waiting(name, name.split("-")[0], NOON, at) for name, at in served.items()]
        first = turns(batches)[0]
        served[first] = NOON + timedelta(seconds=second)
        taken.append(first.split("-")[0])
    assert taken.count("few") == 10


@pytest.mark.parametrize(
    ("held", "inputs", "size", "exceeded"),
    [
        (Held(0, 0, 0, 0), 10, 100, None),
        (Held(1, 0, 0, 0), 10, 100, None),
        (Held(2, 0, 0, 0), 1, 1, "jobs"),
        (Held(1, 5, 0, 0), 6, 1, "inputs"),
        (Held(1, 5, 20, 60), 5, 30, None),
        (Held(1, 5, 20, 60), 5, 31, "own_bytes"),
        (Held(0, 0, 0, 40), 5, 60, None),
        (Held(0, 0, 0, 60), 5, 41, "bytes"),
    ],
)
def test_what_may_wait_is_bounded(held: Held, inputs: int, size: int, exceeded: str | None) -> None:
    assert over_quota(held, Quota(jobs=2, inputs=10, bytes=100), inputs, size) == exceeded


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("a.jpg", "a.jpg"),
        ("=cmd()", "'=cmd()"),
        ("+1", "'+1"),
        ("-1.jpg", "'-1.jpg"),
        ("@x", "'@x"),
        ("\uff1dx", "'\uff1dx"),
    ],
)
def test_no_spreadsheet_takes_a_name_for_a_formula(name: str, cell: str) -> None:
    assert csv_cell(name) == cell


@pytest.mark.parametrize(
    ("accept", "csv"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/csv", True),
        ("Text/CSV; charset=utf-8", True),
        ("text/csv, */*", True),
        ("text/csv, */*;q=0.1", True),
        ("text/*", True),
        ("text/csv;q=0", False),
        ("text/csv;q=0, */*", False),
        ("application/json, text/csv;q=0.1", False),
        ("application/json;q=0.5, text/csv", True),
        ("application/json, text/csv", False),
        ("text/csv;q=rubbish", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
    ],
)
def test_csv_is_for_who_would_rather_have_it(accept: str, csv: bool) -> None:
    assert prefers_csv(accept) is csv
