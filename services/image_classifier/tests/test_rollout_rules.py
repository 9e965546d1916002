"""The rules of a rollout: who looks at a frame, what is concluded, and that both hold for any input."""

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.image_classifier.rollout.domain import (
    Bandit,
    Canary,
    InvalidRollout,
    Role,
    Rollout,
    Strategy,
    Variant,
    check,
    decide,
    shares,
    single,
)
from services.image_classifier.rollout.latency import bin_of, percentile
from services.image_classifier.rollout.statistics import (
    _log_mixture,
    _square_with,
    bounds,
    chances_of_best,
    difference,
    off_policy,
    propensities,
    stability_index,
)
from services.image_classifier.rollout.verdicts import Seen, compare, judge, judge_canary

A = Variant("m", "a", Role.CHAMPION, 0.5)
B = Variant("m", "b", Role.CANDIDATE, 0.5)


def rollout(strategy: Strategy, *variants: Variant, **changes: object) -> Rollout:
    return replace(Rollout(7, 7, strategy, variants or (A, B)), **changes)  # type: ignore[arg-type]  # a table's row


@given(st.sampled_from(Strategy), st.text(max_size=8), st.text(max_size=8))
def test_every_repeat_decides_alike_and_serves_exactly_one(strategy: Strategy, camera: str, receipt: str) -> None:
    policy = single("m", "a", 7) if strategy is Strategy.SINGLE else rollout(strategy)
    choice = decide(policy, camera, receipt)
    assert choice == decide(policy, camera, receipt)
    assert choice.served in policy.variants
    assert 0 < choice.propensity <= 1
    assert choice.served not in choice.shadows


@given(st.integers(0, 10_000))
def test_a_weight_of_zero_means_exactly_none(n: int) -> None:
    none, all_ = replace(A, weight=0.0), replace(B, weight=1.0)
    assert decide(rollout(Strategy.AB, none, all_), f"c{n}", "r").served == all_


def test_ab_is_sticky_by_camera_and_keeps_to_its_weights() -> None:
    policy = rollout(Strategy.AB, replace(A, weight=0.7), replace(B, weight=0.3))
    served = [decide(policy, f"camera-{n}", "any").served for n in range(4000)]
    assert served == [decide(policy, f"camera-{n}", "another").served for n in range(4000)]
    assert served.count(policy.variants[1]) / 4000 == pytest.approx(0.3, abs=0.03)


def test_another_root_draws_anew_and_another_revision_of_it_does_not() -> None:
    policy = rollout(Strategy.AB)
    served = [decide(policy, f"camera-{n}", "r").served for n in range(200)]
    assert served == [decide(replace(policy, revision=9), f"camera-{n}", "r").served for n in range(200)]
    assert served != [decide(replace(policy, root=8), f"camera-{n}", "r").served for n in range(200)]


def test_who_is_in_a_canarys_share_stays_in_it_as_it_grows() -> None:
    policy = rollout(Strategy.CANARY)
    frames = [f"r{n}" for n in range(4000)]
    inside: set[str] = set()
    for stage, share in enumerate(policy.canary.stages):
        now = {r for r in frames if decide(replace(policy, stage=stage), "c", r).served == B}
        assert inside <= now
        assert len(now) / 4000 == pytest.approx(share, abs=0.03)
        inside = now


def test_silent_serves_the_champion_alone_and_shows_candidates_their_share() -> None:
    policy = rollout(Strategy.SILENT, silent_share=0.25)
    choices = [decide(policy, "c", f"r{n}") for n in range(4000)]
    assert {choice.served for choice in choices} == {A}
    assert sum(bool(choice.shadows) for choice in choices) / 4000 == pytest.approx(0.25, abs=0.03)


def test_the_first_stage_of_a_canary_only_watches() -> None:
    choices = [decide(rollout(Strategy.CANARY), "c", f"r{n}") for n in range(100)]
    assert {choice.served for choice in choices} == {A}
    assert all(choice.shadows == (B,) for choice in choices)


def test_a_bandit_draws_by_its_belief_and_says_the_propensity() -> None:
    policy = rollout(Strategy.BANDIT)
    choices = [decide(policy, "c", f"r{n}", (0.1, 0.9)) for n in range(4000)]
    assert Counter(choice.served for choice in choices)[A] / 4000 == pytest.approx(0.1, abs=0.03)
    assert {(choice.served.version, choice.propensity) for choice in choices} == {("a", 0.1), ("b", 0.9)}


@given(st.lists(st.floats(0, 10), min_size=2, max_size=5).filter(lambda weights: sum(weights) > 0.01))
def test_shares_add_up_to_one(weights: list[float]) -> None:
    variants = tuple(
        Variant("m", str(n), Role.CANDIDATE if n else Role.CHAMPION, weight) for n, weight in enumerate(weights)
    )
    for strategy in (Strategy.AB, Strategy.CANARY, Strategy.BANDIT, Strategy.SILENT):
        chosen = variants[:2] if strategy is Strategy.CANARY else variants
        assert math.isclose(sum(shares(rollout(strategy, *chosen))), 1.0)


@pytest.mark.parametrize(
    "policy",
    [
        rollout(Strategy.SINGLE),
        rollout(Strategy.SILENT, A),
        rollout(Strategy.AB, A, replace(B, role=Role.CHAMPION)),
        rollout(Strategy.AB, B),
        rollout(Strategy.AB, A, replace(A, role=Role.CANDIDATE)),
        rollout(Strategy.AB, replace(A, weight=0.0), replace(B, weight=0.0)),
        rollout(Strategy.CANARY, A, B, replace(B, version="c")),
        rollout(Strategy.CANARY, canary=Canary(stages=())),
        rollout(Strategy.CANARY, canary=Canary(stages=(0.5, 0.2))),
        rollout(Strategy.CANARY, canary=Canary(stages=(0.5, 1.2))),
        rollout(Strategy.BANDIT, bandit=Bandit(floor=0.6)),
    ],
)
def test_a_rollout_that_contradicts_itself_is_refused(policy: Rollout) -> None:
    with pytest.raises(InvalidRollout):
        check(policy)


GOOD = Seen(decisions=500, calls=500, compared=500, agreed=480, latencies={bin_of(0.004): 500})
CHAMPION = Seen(decisions=500, latencies={bin_of(0.004): 500}, corrections=50, correct=48)
HICCUPS = {bin_of(0.004): 47, bin_of(0.3): 3}


@pytest.mark.parametrize(
    ("candidate", "age_s", "stage", "action", "reason"),
    [
        (GOOD, 10, 0, "wait", "bakes"),
        (Seen(), 700, 0, "wait", "0 compared frames"),
        (replace(GOOD, decisions=100, compared=100, agreed=98), 700, 0, "wait", "100 compared frames"),
        (replace(GOOD, agreed=390), 700, 0, "wait", "may still mean"),
        (replace(GOOD, latencies={bin_of(0.03): 29}), 700, 0, "wait", "29 timed calls"),
        (GOOD, 700, 0, "advance", "held"),
        (GOOD, 700, 3, "promote", "all stages"),
        (Seen(decisions=10, errors=10, calls=10, failed_calls=10), 1, 0, "roll_back", "Errors: 10 of 10"),
        (Seen(decisions=10, late=10, calls=10, failed_calls=10), 1, 0, "roll_back", "10 late"),
        (Seen(decisions=32, late=32, calls=2, failed_calls=2), 1, 0, "roll_back", "2 of 2 calls failed, 32 of 32"),
        (Seen(decisions=16, late=16, calls=1, failed_calls=1), 1, 0, "wait", "bakes"),
        (replace(GOOD, decisions=516, late=16, calls=41, failed_calls=1), 700, 0, "advance", "held"),
        (replace(GOOD, calls=0), 700, 3, "wait", "an older version"),
        (Seen(decisions=48, errors=48), 700, 0, "wait", "an older version"),
        (replace(GOOD, latencies=HICCUPS), 700, 0, "wait", "may still be chance"),
        (replace(GOOD, agreed=250), 1, 0, "roll_back", "Disagreement: 250 of 500"),
        (replace(GOOD, latencies={bin_of(0.03): 500}), 1, 0, "roll_back", "Latency"),
        (replace(GOOD, corrections=50, correct=20), 1, 1, "roll_back", "Corrections: people found 30 of 50"),
    ],
)
def test_a_canary_is_judged(candidate: Seen, age_s: float, stage: int, action: str, reason: str) -> None:
    verdict = judge_canary(Canary(), stage, age_s, CHAMPION, candidate)
    assert (verdict.action, reason in verdict.reason) == (action, True), verdict


@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from([0.05, 0.01]))
def test_bounds_hold_what_was_seen_and_narrow_with_more(successes: int, failures: int, alpha: float) -> None:
    trials = successes + failures
    low, high = bounds(successes, trials, alpha)
    assert 0 <= low <= (successes / trials if trials else 0.5) <= high <= 1
    wide = bounds(successes, trials, alpha / 10)
    assert wide[0] <= low + 1e-9
    assert wide[1] >= high - 1e-9


def test_looking_at_every_frame_seldom_fools_the_bounds() -> None:
    chance = random.Random(1)
    missed = 0
    for _ in range(200):
        wins = 0
        for n in range(1, 300):
            wins += chance.random() < 0.1
            low, high = bounds(wins, n, 0.05) if n % 5 == 0 else (0.0, 1.0)
            if not low <= 0.1 <= high:
                missed += 1
                break
    assert missed / 200 <= 0.05


def test_looking_at_every_correction_seldom_fools_the_test_of_a_difference() -> None:
    chance = random.Random(2)
    fooled = 0
    for _ in range(200):
        wins = [0, 0]
        for n in range(1, 400):
            for arm in (0, 1):
                wins[arm] += chance.random() < 0.85
            found = difference((wins[0], n), (wins[1], n), 0.05)
            assert found is not None
            if found.p < 0.05:
                fooled += 1
                break
    assert fooled / 200 <= 0.05


def _by_camera(chance: random.Random, cameras: list[tuple[float, int]], corrections: int) -> Iterator[list[Seen]]:
    """Give both sides' evidence after each twentieth correction of cameras, each (share right, side)."""
    known = [(0, 0)] * len(cameras)
    for n in range(1, corrections + 1):
        camera = chance.randrange(len(cameras))
        known[camera] = known[camera][0] + (chance.random() < cameras[camera][0]), known[camera][1] + 1
        if n % 20 == 0:
            sides = [[one for one, (_, at) in zip(known, cameras, strict=True) if at == side and one[1]]
                     for side in (0, 1)]  # fmt: skip
            yield [Seen(correct=sum(c for c, _ in one), corrections=sum(n for _, n in one), by_camera=tuple(one))
                   for one in sides]  # fmt: skip


def test_cameras_that_are_harder_than_others_seldom_fool_ab() -> None:
    chance = random.Random(6)
    fooled = 0
    for _ in range(100):
        cameras = [(chance.uniform(0.75, 0.99), n % 2) for n in range(8)]
        looks = (compare(rollout(Strategy.AB), *both) for both in _by_camera(chance, cameras, 1500))
        fooled += any(found is not None and found.p < 0.05 for found in looks)
    assert fooled / 100 <= 0.05


def test_ab_finds_a_better_version_on_cameras_that_differ() -> None:
    chance = random.Random(7)
    cameras = [(chance.uniform(0.75, 0.85) + 0.13 * (n % 2), n % 2) for n in range(24)]
    *_, (champion, candidate) = _by_camera(chance, cameras, 2000)
    found = compare(rollout(Strategy.AB), champion, candidate)
    assert found is not None
    assert found.p < 0.05
    assert 0 < found.low < 0.13 < found.high
    assert "m/b is better" in judge(rollout(Strategy.AB), 1, {A.key: champion, B.key: candidate}).reason


@pytest.mark.parametrize("cameras", [1, 2])
def test_a_camera_a_side_can_not_tell_versions_from_cameras(cameras: int) -> None:
    champion = Seen(correct=10, corrections=100, by_camera=((10, 100),))
    candidate = Seen(correct=100, corrections=100, by_camera=((100, 100),) if cameras > 1 else ())
    found = compare(rollout(Strategy.AB), champion, candidate)
    assert found is not None
    assert (found.low, found.high, found.p) == (-1.0, 1.0, 1.0)


@given(st.floats(0.01, 1e4), st.integers(1, 50), st.floats(0.01, 0.4))
def test_the_intervals_end_is_where_the_test_would_tell_a_difference(gain: float, freedom: int, alpha: float) -> None:
    square = _square_with(-math.log(alpha), gain, freedom)
    reached = _log_mixture(min(square, 1e12), gain, freedom)
    assert reached == pytest.approx(-math.log(alpha), abs=1e-6) if square < 1e9 else reached < -math.log(alpha) + 1e-3


def test_a_real_difference_is_found_and_its_interval_holds_it() -> None:
    found = difference((800, 1000), (950, 1000), 0.05)
    assert found is not None
    assert found.p < 0.001
    assert found.low < 0.15 < found.high
    assert difference((0, 0), (1, 1), 0.05) is None


def test_the_chance_of_being_the_best_is_that_of_many_draws() -> None:
    arms = [(45, 50), (80, 100), (3, 4)]
    chance = random.Random(3)
    draws = Counter(
        max((chance.betavariate(wins + 1, n - wins + 1), place) for place, (wins, n) in enumerate(arms))[1]
        for _ in range(20_000)
    )
    for place, share in enumerate(chances_of_best(arms)):
        assert share == pytest.approx(draws[place] / 20_000, abs=0.015)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=2, max_size=4))
def test_propensities_add_up_and_keep_to_their_floor(counts: list[tuple[int, int]]) -> None:
    found = propensities([(wins, wins + losses) for wins, losses in counts], 0.05)
    assert sum(found) == pytest.approx(1)
    assert min(found) >= 0.05 - 1e-9


def test_what_another_policy_would_have_earned_is_told_from_the_log() -> None:
    chance = random.Random(4)
    log = []
    for _ in range(5000):
        arm = chance.random() < 0.2  # the logging policy tries the better arm one time in five
        log.append((arm, 0.2 if arm else 0.8, float(chance.random() < (0.9 if arm else 0.6))))
    value = off_policy(log)
    assert value.low < 0.9 < value.high
    assert off_policy([]).size == 0


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_what_another_policy_would_have_earned_stays_a_share_and_is_never_certain_of_few(reward: float) -> None:
    value = off_policy([(True, 0.5, reward)] * 3 + [(False, 0.5, reward)] * 2)
    assert (value.mean, value.size) == (reward, 5)
    assert 0.0 <= value.low <= reward <= value.high <= 1.0
    assert value.high - value.low > 0.3


def test_the_interval_of_another_policy_holds_the_truth_as_often_as_it_says_while_a_bandit_learns() -> None:
    chance = random.Random(8)
    held, runs = Counter[int](), 100
    for _ in range(runs):
        arms, belief, log = [[0, 0], [0, 0]], [0.5, 0.5], []
        for n in range(1, 101):
            arm = int(chance.random() < belief[1])
            right = chance.random() < (0.9, 0.97)[arm]
            log.append((arm, belief[arm], float(right)))
            arms[arm][0] += right
            arms[arm][1] += 1
            if n % 10 == 0:
                belief = propensities([(arms[0][0], arms[0][1]), (arms[1][0], arms[1][1])], 0.05)
        for arm in (0, 1):
            value = off_policy((chosen == arm, propensity, reward) for chosen, propensity, reward in log)
            held[arm] += value.low <= (0.9, 0.97)[arm] <= value.high
    assert min(held[0], held[1]) >= 0.93 * runs, held


def test_percentiles_are_within_a_tenth() -> None:
    times = [random.Random(5).lognormvariate(-5, 0.5) for _ in range(1000)]
    exact = sorted(times)[949]
    found = percentile(Counter(map(bin_of, times)))
    assert found == pytest.approx(exact, rel=0.11)
    assert percentile({}) is None


def test_a_spread_that_moved_has_a_large_stability_index() -> None:
    assert stability_index([100, 100, 100], [98, 101, 103]) < 0.1
    assert stability_index([100, 100, 100], [10, 90, 290]) > 0.25


def test_each_strategy_says_what_its_evidence_amounts_to() -> None:
    of_ten = [tuple((right + n % 2, 20) for n in range(10)) for right in (14, 18)]
    seen = {
        A.key: Seen(corrections=200, correct=145, by_camera=of_ten[0]),
        B.key: Seen(compared=10, agreed=9, corrections=200, correct=185, by_camera=of_ten[1]),
    }
    assert "agrees with the champion on 90.0%" in judge(rollout(Strategy.SILENT), 1, seen).reason
    assert "m/b is better by 20.0%" in judge(rollout(Strategy.AB), 1, seen).reason
    assert "m/b is found to be the best" in judge(rollout(Strategy.BANDIT), 1, seen).reason
    assert "nothing can be said" in judge(rollout(Strategy.AB), 1, {}).reason
    assert judge(single("m", "a"), 1, {}).action == "none"
