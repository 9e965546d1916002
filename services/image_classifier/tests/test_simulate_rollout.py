"""The policies against versions of known truth, by the rules that the service runs."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from services.image_classifier.simulate_rollout import POLICIES, TRUTHS, ab, bandit, canary, main, silent, svg


def test_a_bandit_finds_the_better_version_within_500_corrections_in_95_of_100_seeds() -> None:
    assert sum(bandit(TRUTHS["better"], seed).ended == "candidate" for seed in range(100)) >= 95


@pytest.mark.parametrize(("truth", "ended"), [("better", "promote"), ("equal", "promote"), ("worse", "roll_back")])
def test_a_canary_ends_as_it_should(truth: str, ended: str) -> None:
    assert [canary(TRUTHS[truth], seed).ended for seed in range(5)] == [ended] * 5


def test_a_slow_canary_goes_back_in_its_first_stage() -> None:
    run = canary(TRUTHS["better"], 1, latency_s=0.1)
    assert (run.ended, len(run.at)) == ("roll_back", 2)


def test_each_policy_is_drawn_against_each_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path), "--seeds", "1"])
    assert {path.name for path in tmp_path.iterdir()} == {f"{policy}.svg" for policy in POLICIES}
    told = capsys.readouterr().out
    for policy in POLICIES:
        text = (tmp_path / f"{policy}.svg").read_text(encoding="utf-8")
        ElementTree.fromstring(text)
        for truth in ("better", "worse", "equal", "drifting"):
            assert f">{truth}</text>" in text
            assert any(line.split()[:2] == [policy, truth] for line in told.splitlines())
        assert text.count("<polyline") == len(TRUTHS)


def test_the_pictures_are_well_formed(tmp_path: Path) -> None:
    picture = svg("t", "frames", {"better": [silent(TRUTHS["better"], 1, 100), ab(TRUTHS["better"], 1, 200)]})
    assert ElementTree.fromstring(picture).tag.endswith("svg")
