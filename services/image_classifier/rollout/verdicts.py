"""What a policy concludes from what was seen: pure, so that every step can be checked against a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from services.image_classifier.rollout.domain import Canary, Rollout, Strategy, Variant
from services.image_classifier.rollout.latency import bin_of, percentile
from services.image_classifier.rollout.statistics import (
    DRAWN_ALONE,
    Difference,
    bounds,
    chances_of_best,
    clusters,
    difference,
)

LATENCY_CALLS = 30
"""Calls that must have been timed before a percentile is believed."""
SLOWEST = 0.05
"""The share of calls that are above the 95th percentile."""
LATENCY_SLACK_S = 0.005
"""A difference in latency under this is nobody's harm."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a variant did: frames decided, failed, compared with the champion, and judged by people.

    `calls` of some frames each, of which some failed; `latencies` has the others' seconds a frame, in bins.
    `by_camera` has (correct, corrections) of each camera of which people judged frames.
    """

    decisions: int = 0
    served: int = 0
    counted: int = 0
    errors: int = 0
    late: int = 0
    calls: int = 0
    failed_calls: int = 0
    compared: int = 0
    agreed: int = 0
    shift: float = 0.0
    seconds: float = 0.0
    latencies: Mapping[int, int] = field(default_factory=dict)
    corrections: int = 0
    correct: int = 0
    by_camera: tuple[tuple[int, int], ...] = ()

    @property
    def latency_p95(self) -> float | None:
        """Seconds of computing a frame that 95 % of the calls stay under."""
        return percentile(self.latencies)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do now, and why, in words for an operator."""

    action: Literal["wait", "advance", "promote", "roll_back", "none"]
    reason: str


def judge_canary(rules: Canary, stage: int, age_s: float, champion: Seen, candidate: Seen) -> Verdict:
    """Say whether a canary goes back, waits or goes on. `age_s`: seconds since this stage began."""
    broken = _broken_rail(rules, champion, candidate)
    if broken:
        return Verdict("roll_back", broken)
    if candidate.decisions and not candidate.calls:
        # Workers of a version before calls were counted: their failures are told by frame, and weigh nothing above.
        return Verdict("wait", f"Of {candidate.decisions} frames no call is told: its workers are of an older version.")
    frames = min(candidate.decisions, candidate.compared) if rules.shadow_share > 0 else candidate.decisions
    if age_s < rules.bake_s:
        return Verdict("wait", f"It bakes for {rules.bake_s - age_s:.0f} s more; {frames} frames are compared.")
    if frames < rules.least_frames:
        return Verdict("wait", f"It has {frames} compared frames of the {rules.least_frames} that a stage needs.")
    timed = _timed(champion, candidate)
    if timed < LATENCY_CALLS:
        return Verdict("wait", f"It has {timed} timed calls of the {LATENCY_CALLS} by which its latency is judged.")
    if _slow_calls(rules, champion, candidate) > SLOWEST * sum(candidate.latencies.values()):
        return Verdict("wait", f"{_latencies(rules, champion, candidate)} It may still be chance.")
    different = candidate.compared - candidate.agreed
    worst = bounds(different, candidate.compared, rules.alpha)[1]
    if candidate.compared and worst > rules.disagreement:
        return Verdict(
            "wait",
            f"It disagrees on {different} of {candidate.compared} frames, which may still mean {worst:.0%}; "
            f"it goes on once that is under {rules.disagreement:.0%}.",
        )
    share = rules.stages[stage]
    if stage + 1 < len(rules.stages):
        return Verdict("advance", f"All guard rails held at {share:.0%} over {frames} frames.")
    return Verdict("promote", f"All guard rails held in all stages, at {share:.0%} over {frames} frames.")


def _broken_rail(rules: Canary, champion: Seen, candidate: Seen) -> str | None:
    failed = candidate.errors + candidate.late
    if bounds(candidate.failed_calls, candidate.calls, rules.alpha)[0] > rules.error_rate:
        return (
            f"Errors: {candidate.failed_calls} of {candidate.calls} calls failed, {failed} of {candidate.decisions} "
            f"frames ({candidate.late} late); at most {rules.error_rate:.0%} may."
        )
    different = candidate.compared - candidate.agreed
    if bounds(different, candidate.compared, rules.alpha)[0] > rules.disagreement:
        return (
            f"Disagreement: {different} of {candidate.compared} compared frames are not what the champion says; "
            f"at most {rules.disagreement:.0%} may."
        )
    if _timed(champion, candidate) >= LATENCY_CALLS:
        slow, timed = _slow_calls(rules, champion, candidate), sum(candidate.latencies.values())
        if bounds(slow, timed, rules.alpha)[0] > SLOWEST:
            return f"Latency: {_latencies(rules, champion, candidate)}"
    wrong = candidate.corrections - candidate.correct
    champion_wrong = champion.corrections - champion.correct
    least = bounds(wrong, candidate.corrections, rules.alpha)[0]
    if champion.corrections and least > bounds(champion_wrong, champion.corrections, rules.alpha)[1]:
        return (
            f"Corrections: people found {wrong} of {candidate.corrections} wrong, "
            f"of the champion's {champion_wrong} of {champion.corrections}."
        )
    return None


def _slow_calls(rules: Canary, champion: Seen, candidate: Seen) -> int:
    """Count the candidate's calls that took longer a frame than 95 % of its calls may."""
    most = rules.latency_factor * (champion.latency_p95 or 0.0) + LATENCY_SLACK_S
    return sum(number for place, number in candidate.latencies.items() if place > bin_of(most))


def _latencies(rules: Canary, champion: Seen, candidate: Seen) -> str:
    ours, theirs = candidate.latency_p95 or 0.0, champion.latency_p95 or 0.0
    return (
        f"95 % of calls take up to {1000 * ours:.0f} ms a frame, the champion's {1000 * theirs:.0f} ms; "
        f"at most {rules.latency_factor:g} times as long is allowed."
    )


def _timed(champion: Seen, candidate: Seen) -> int:
    return min(sum(candidate.latencies.values()), sum(champion.latencies.values()))


def judge(rollout: Rollout, age_s: float, seen: Mapping[tuple[str, str], Seen]) -> Verdict:
    """Say what a rollout's evidence amounts to now; `age_s`: seconds since its revision began."""
    nothing = Seen()
    champion = seen.get(rollout.champion.key, nothing)
    if rollout.strategy is Strategy.SINGLE:
        return Verdict("none", f"{_name(rollout.champion)} serves every frame.")
    if rollout.strategy is Strategy.CANARY:
        candidate = seen.get(rollout.candidates[0].key, nothing)
        return judge_canary(rollout.canary, rollout.stage, age_s, champion, candidate)
    if rollout.strategy is Strategy.SILENT:
        return Verdict("none", " ".join(_silent(one, seen.get(one.key, nothing)) for one in rollout.candidates))
    if rollout.strategy is Strategy.AB:
        return Verdict(
            "none",
            " ".join(_compared(one, champion, seen.get(one.key, nothing), rollout) for one in rollout.candidates),
        )
    arms = [(seen.get(one.key, nothing).correct, seen.get(one.key, nothing).corrections) for one in rollout.variants]
    return Verdict("none", bandit_reason(rollout, arms))


def bandit_reason(rollout: Rollout, arms: Sequence[tuple[int, int]]) -> str:
    """Say which arm (correct, corrections) has won, or which leads."""
    chances = chances_of_best(arms)
    at = max(range(len(arms)), key=chances.__getitem__)
    name, n = _name(rollout.variants[at]), sum(trials for _, trials in arms)
    word = "is found to be the best" if chances[at] >= rollout.bandit.certainty else "leads"
    return f"{name} {word}, with a chance of {chances[at]:.1%} after {n} corrections."


def _silent(variant: Variant, seen: Seen) -> str:
    if not seen.compared:
        return f"{_name(variant)} has not been compared yet."
    return f"{_name(variant)} agrees with the champion on {seen.agreed / seen.compared:.1%} of {seen.compared} frames."


def compare(rollout: Rollout, champion: Seen, candidate: Seen) -> Difference | None:
    """Test whether people find a candidate right more often than the champion; None while one has no corrections.

    Under `ab` whole cameras were drawn, and one may be harder than another, so that is what chance is measured by.
    """
    by_camera = rollout.strategy is Strategy.AB
    alike = clusters(champion.by_camera, candidate.by_camera) if by_camera else DRAWN_ALONE
    ours, theirs = (candidate.correct, candidate.corrections), (champion.correct, champion.corrections)
    return difference(theirs, ours, rollout.ab_alpha, alike)


def _compared(variant: Variant, champion: Seen, seen: Seen, rollout: Rollout) -> str:
    found = compare(rollout, champion, seen)
    if found is None:
        return f"{_name(variant)} and the champion are not both corrected yet: nothing can be said."
    if found.p < rollout.ab_alpha:
        word = "better" if found.value > 0 else "worse"
        return f"{_name(variant)} is {word} by {abs(found.value):.1%} (p={found.p:.3g})."
    cameras = len(champion.by_camera) + len(seen.by_camera)
    return (
        f"{_name(variant)} can't be told from the champion yet ({found.value:+.1%}, p={found.p:.3g}, "
        f"by corrections of {cameras} cameras)."
    )


def _name(variant: Variant) -> str:
    return f"{variant.model}/{variant.version}"
