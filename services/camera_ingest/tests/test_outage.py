"""Trouble of the relay and the janitor in the log: its beginning, its end, and nothing between."""

import pytest

from services.camera_ingest.outage import Outage
from services.camera_ingest.tests.conftest import MakeSettings
from services.camera_ingest.tests.running import running
from shared.testing import TokenFor, wait_until


def test_an_outage_is_told_when_it_begins_and_when_it_ends_with_its_count(capsys: pytest.CaptureFixture[str]) -> None:
    outage = Outage("relay step")
    outage.over()
    for error in (OSError("away"), OSError("away"), ZeroDivisionError("another fault"), OSError("away")):
        outage.failed(error)
    outage.over()
    outage.over()
    outage.failed(OSError("away again"))
    said = capsys.readouterr().out
    assert (said.count("relay step failed"), said.count("ZeroDivisionError: another fault")) == (3, 1)
    assert said.count("relay step works again") == 1
    assert "failures=4" in said


def test_the_janitor_s_outage_is_told_once(
    make_settings: MakeSettings,
    token_for: TokenFor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running(make_settings(), token_for) as ingest:
        rounds: list[object] = []

        def measure(at: object) -> None:
            rounds.append(at)
            if len(rounds) <= 3:
                raise OSError("database away")

        monkeypatch.setattr(ingest.parts.capacity, "measure", measure)
        wait_until("rounds fail and work again", lambda: len(rounds) > 4)
    said = capsys.readouterr().out
    assert (said.count("janitor round failed"), said.count("janitor round works again")) == (1, 1)
