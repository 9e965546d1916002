"""The page's own rules, as tables."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.dashboard import charts, domain, history
from services.dashboard.domain import CameraSeen, Look
from services.dashboard.shapes import Change, Span, Stay
from services.dashboard.tiles import natural, told

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def stay(species: str, began: datetime, ended: datetime | None = None, number: int = 1) -> Stay:
    fields = {"id": "s", "space_id": "k1", "state": "available", "number_of_animals": number}
    return Stay.model_validate({**fields, "species": species, "from": began, "until": ended})


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("Marta", "marta"),
        (" MARTA  López ", "marta lópez"),
        ("\uff4dARTA", "marta"),
        ("Stra\u00dfe", "strasse"),
        ("x" * 99, "x" * 64),
    ],
)
def test_names_that_look_alike_are_compared_as_one(typed: str, key: str) -> None:
    assert domain.name_key(typed) == key


@pytest.mark.parametrize(
    ("password", "name", "good"),
    [
        ("four warm paws", "Marta", True),
        ("elevenchars", "Marta", False),
        ("a" * 12, "Marta", False),
        ("abab" * 5, "M", False),
        ("Marta Lopez Ruiz", "marta  lopez ruiz", False),
        ("x9" * 100 + "ab", "Marta", False),
    ],
)
def test_a_password_is_long_varied_and_not_the_name(password: str, name: str, good: bool) -> None:
    assert domain.good_password(password, name) is good


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_tries_are_counted_by_what_a_household_has(address: str, key: str) -> None:
    assert domain.address_key(address) == key


@pytest.mark.parametrize(("failures", "wait"), [(0, 0), (4, 0), (5, 1), (6, 2), (9, 16), (10, 30), (99, 30)])
def test_waits_double_up_to_a_bound(failures: int, wait: float) -> None:
    assert domain.wait_after(failures, 5, 30) == wait


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/review?after=1", "/review?after=1"),
        ("//evil.example", "/"),
        ("/\\evil", "/"),
        ("https://evil.example", "/"),
        ("/a\nb", "/"),
        ("", "/"),
        ("/" + "a" * 500, "/"),
    ],
)
def test_a_log_in_leads_to_our_own_pages_alone(path: str, leads_to: str) -> None:
    assert domain.safe_next(path) == leads_to


@pytest.mark.parametrize(
    ("cookie", "header", "language"),
    [
        (None, "", "en"),
        (None, "es-MX,es;q=0.9,en;q=0.8", "es"),
        (None, "fr, en;q=0.2, es;q=0.1", "en"),
        ("en", "es", "en"),
        ("xx", "es", "es"),
        (None, "es;q=nonsense", "en"),
    ],
)
def test_the_language_is_the_switch_s_else_the_browser_s(cookie: str | None, header: str, language: str) -> None:
    assert domain.chosen_language(cookie, header) == language


@pytest.mark.parametrize(
    ("occupancy", "faults", "cameras", "in_service", "reasons"),
    [
        ("cat", [], 1, True, []),
        ("cat", ["a"], 1, True, [("no_camera_sends", True)]),
        ("cat", ["a"], 2, True, [("camera_silent", True)]),
        ("stale", [], 0, True, [("stale", True)]),
        ("stale", [], 2, True, [("stale", True), ("blind", True)]),
        ("stale", ["a"], 2, True, [("camera_silent", True), ("stale", True)]),
        ("unsure", [], 1, True, [("unsure", False)]),
        ("unsure", ["a"], 2, True, [("camera_silent", True), ("unsure", False)]),
        ("stale", ["a"], 1, False, []),
    ],
)
def test_what_needs_a_look_the_gravest_first(
    occupancy: str, faults: list[str], cameras: int, in_service: bool, reasons: list[tuple[str, bool]]
) -> None:
    assert domain.looks(occupancy, faults, cameras, in_service) == [Look(*reason) for reason in reasons]


def test_a_camera_is_silent_after_its_space_s_time_and_the_newest_picture_is_shown() -> None:
    old = CameraSeen("a", "k1", NOW - 2 * HOUR, None, "r1")
    fresh = CameraSeen("b", "k1", NOW, None, "r2")
    never = CameraSeen("c", "k1", None, None, None)
    assert [domain.camera_fault(one, HOUR, NOW) for one in (old, fresh, never)] == ["silent", None, "never"]
    assert domain.latest([old, fresh, never]) == fresh
    assert domain.latest([never]) is None


@pytest.mark.parametrize(
    ("value", "cell"), [("=1+1", "'=1+1"), ("@x", "'@x"), ("-3", "'-3"), ("cat", "cat"), (3, "3"), (None, "")]
)
def test_a_spreadsheet_runs_nothing(value: object, cell: str) -> None:
    assert domain.csv_cell(value) == cell


def test_names_are_sorted_as_people_count() -> None:
    assert sorted(["K10", "k2", "K1", "yard"], key=natural) == ["K1", "k2", "K10", "yard"]


def test_today_is_told_from_stays_and_decisions_and_blindness_but_not_from_doubt() -> None:
    midnight = NOW - 12 * HOUR
    stays = [stay("cat", NOW - 20 * HOUR, NOW - HOUR), stay("dog", NOW - 2 * HOUR)]
    base = {"sequence": 1, "space_id": "k1"}
    changes = [
        Change.model_validate({**base, "written_at": NOW, "kind": "occupancy", "occupancy": "unsure"}),
        Change.model_validate({**base, "written_at": NOW, "kind": "occupancy", "occupancy": "stale"}),
        Change.model_validate({**base, "written_at": NOW - 3 * HOUR, "kind": "correction", "label": "cat"}),
        Change.model_validate({**base, "written_at": NOW - 13 * HOUR, "kind": "correction", "label": "cat"}),
        Change.model_validate({**base, "written_at": NOW, "kind": "a_kind_of_tomorrow"}),
    ]
    assert [(one.what, one.species) for one in told(stays, changes, midnight)] == [
        ("blind", None),
        ("left", "cat"),
        ("arrived", "dog"),
        ("corrected", None),
    ]


def span(occupancy: str, began: datetime, ended: datetime | None) -> Span:
    return Span.model_validate({"occupancy": occupancy, "from": began, "until": ended, "probability": 0.9})


def test_a_timeline_is_cut_to_its_window_and_shows_nothing_where_nothing_is_known() -> None:
    since = NOW - 10 * HOUR
    spans = [span("cat", NOW - 12 * HOUR, NOW - 9 * HOUR), span("dog", NOW - 5 * HOUR, None)]
    bands = charts.timeline(spans, since, NOW)
    assert [(band.occupancy, band.x, band.width) for band in bands] == [("cat", 0, 100), ("dog", 500, 500)]
    assert charts.timeline([span("cat", NOW - 20 * HOUR, NOW - 11 * HOUR)], since, NOW) == []


@pytest.mark.parametrize(("hours_ago", "shown"), [(0.5, 1), (3, 6), (7, 24), (90, 24)])
def test_a_new_space_s_timeline_is_as_long_as_what_is_known(hours_ago: float, shown: int) -> None:
    assert charts.shortest([span("cat", NOW - hours_ago * HOUR, None)], (1, 6, 24), NOW) == shown


def test_bars_stay_in_their_box_and_the_top_is_a_whole_number() -> None:
    days = [history.Day(date(2026, 11, day), day / 2, day / 4, day, 1) for day in range(1, 8)]
    for drawn in (charts.stacked(days), charts.paired(days)):
        assert drawn.top == int(drawn.top) >= 1
        assert all(bar.y >= 0 and bar.y + bar.height <= 100.01 and bar.x + bar.width <= 1000.01 for bar in drawn.bars)
    assert charts.stacked([]).bars == []


def test_animals_present_are_a_mean_over_the_day_and_a_stay_counts_its_animals() -> None:
    stays = [stay("cat", NOW - 37 * HOUR, NOW - 24 * HOUR), stay("dog", NOW - 6 * HOUR, None, number=2)]
    yesterday, today = history.by_day(stays, 2, NOW, UTC)
    assert (yesterday.cats, yesterday.dogs, yesterday.arrivals, yesterday.departures) == (0.5, 0, 0, 1)
    assert (today.cats, today.dogs, today.arrivals, today.departures) == (0, 1.0, 1, 0)


def test_on_the_first_day_the_mean_is_over_the_time_since_the_first_stay() -> None:
    (today,) = history.by_day([stay("cat", NOW - HOUR)], 1, NOW, UTC)
    assert today.cats == 1.0


def test_a_day_in_which_the_clock_changes_has_its_own_length() -> None:
    madrid = ZoneInfo("Europe/Madrid")
    long_day = datetime(2026, 10, 25, tzinfo=madrid)
    always = [stay("cat", long_day - 24 * HOUR)]
    days = history.by_day(always, 2, datetime(2026, 10, 26, 12, tzinfo=madrid), madrid)
    assert [(day.day.day, day.cats) for day in days] == [(25, 1.0), (26, 1.0)]


def test_lengths_and_medians_are_of_stays_that_ended() -> None:
    lasted = [0.5, 2, 30, 100, 200, 2000]
    stays = [stay("cat", NOW - hours * HOUR, NOW) for hours in lasted] + [stay("dog", NOW - HOUR)]
    assert [length.cats for length in history.lengths(stays)] == [1, 1, 1, 1, 1, 1]
    assert sum(length.dogs for length in history.lengths(stays)) == 0
    assert history.median_length(stays, "cat") == 100 * HOUR
    assert history.median_length(stays, "dog") is None
