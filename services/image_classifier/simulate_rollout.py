"""Runs each policy against versions of known truth, and draws what it did: `simulate_rollout OUT [--seeds N]`.

The rules that run here are those of the service (domain, verdicts, statistics); frames, corrections and time are drawn.
A person corrects or confirms a frame with chance 0.1 and says so some hundred frames later.
"""

import argparse
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.image_classifier.rollout import domain
from services.image_classifier.rollout.domain import Bandit, Canary, Role, Rollout, Strategy, Variant
from services.image_classifier.rollout.latency import bin_of
from services.image_classifier.rollout.statistics import chances_of_best, propensities
from services.image_classifier.rollout.verdicts import Seen, compare, judge_canary

FRAMES_A_SECOND = 10
CORRECTED = 0.1
DELAY = 200
BULK = 10
CHAMPION_RIGHT = 0.90
CAMERAS = 24
CAMERAS_DIFFER = 0.03

Truth = Callable[[int], float]
TRUTHS: dict[str, Truth] = {
    "better": lambda frame: 0.97,
    "equal": lambda frame: CHAMPION_RIGHT,
    "worse": lambda frame: 0.75,
    "drifting": lambda frame: max(0.5, 0.97 - frame / 20_000),
}
"""The share of frames on which a candidate is right, by the number of frames so far."""

CHAMPION = Variant("huella", "1", Role.CHAMPION, 0.5)
CANDIDATE = Variant("huella", "2", Role.CANDIDATE, 0.5)


@dataclass(frozen=True, slots=True)
class Run:
    """What a policy did: a share of the candidate at each of `at` frames or corrections, and how it ended."""

    at: list[int]
    share: list[float]
    ended: str


def bandit(truth: Truth, seed: int, corrections: int = 500) -> Run:
    """Let a bandit learn from corrections that come late and of few frames."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    rules = Bandit()
    rollout = Rollout(1, seed, Strategy.BANDIT, (CHAMPION, CANDIDATE), bandit=rules)
    underway: deque[tuple[int, int, bool]] = deque()
    known: deque[tuple[int, bool]] = deque(maxlen=rules.memory)
    belief: Sequence[float] = (0.5, 0.5)
    at, share, frame = [0], [0.5], 0
    while at[-1] < corrections:
        frame += 1
        choice = domain.decide(rollout, "camera", f"{seed}-{frame}", belief)
        arm = rollout.variants.index(choice.served)
        right = chance.random() < (truth(frame) if arm else CHAMPION_RIGHT)
        if chance.random() < CORRECTED:
            underway.append((frame + chance.randrange(2 * DELAY), arm, right))
        fresh = [one for one in underway if one[0] <= frame]
        if len(fresh) >= BULK:
            underway = deque(one for one in underway if one[0] > frame)
            known.extend((arm, right) for _, arm, right in fresh)
            belief = propensities(_arms(known), rules.floor)
            at.append(at[-1] + len(fresh))
            share.append(belief[1])
    chances = chances_of_best(_arms(known))
    best = max((0, 1), key=chances.__getitem__)
    return Run(at, share, ("champion", "candidate")[best])


def _arms(known: Sequence[tuple[int, bool]]) -> list[tuple[int, int]]:
    return [(sum(right for one, right in known if one == arm), sum(one == arm for one, _ in known)) for arm in (0, 1)]


def canary(truth: Truth, seed: int, latency_s: float = 0.004) -> Run:
    """Let a canary go through its stages; the champion is right on other frames than the candidate."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    rules = Canary(bake_s=60, least_frames=300)
    rollout = Rollout(1, seed, Strategy.CANARY, (CHAMPION, CANDIDATE), canary=rules)
    ours, theirs, begun, frame = Seen(), Seen(), 0, 0
    at, share = [0], [rules.stages[0]]
    while True:
        frame += 1
        choice = domain.decide(rollout, "camera", f"{seed}-{frame}")
        looked = {choice.served.key, *(one.key for one in choice.shadows)}
        if CHAMPION.key in looked:
            theirs = _saw(theirs, 0.004 * chance.lognormvariate(0, 0.2), None)
        if CANDIDATE.key in looked:
            # Of what one gets wrong the other gets half right: errors are shared in part.
            same = chance.random() < 1 - (1 - truth(frame)) - (1 - CHAMPION_RIGHT) / 2
            ours = _saw(ours, latency_s * chance.lognormvariate(0, 0.2), same if len(looked) > 1 else None)
        if frame % FRAMES_A_SECOND:
            continue
        verdict = judge_canary(rules, rollout.stage, (frame - begun) / FRAMES_A_SECOND, theirs, ours)
        if verdict.action == "wait" and frame < 100_000:
            continue
        at.append(frame)
        if verdict.action != "advance":
            share.append(1.0 if verdict.action == "promote" else 0.0)
            return Run(at, share, verdict.action)
        rollout = replace(rollout, stage=rollout.stage + 1)
        share.append(rules.stages[rollout.stage])
        ours, theirs, begun = Seen(), Seen(), frame


def _saw(seen: Seen, seconds: float, same: bool | None) -> Seen:
    bins = dict(seen.latencies)
    place = bin_of(seconds)
    bins[place] = bins.get(place, 0) + 1
    return replace(
        seen,
        decisions=seen.decisions + 1,
        calls=seen.calls + 1,
        compared=seen.compared + (same is not None),
        agreed=seen.agreed + bool(same),
        latencies=bins,
    )


def ab(truth: Truth, seed: int, corrections: int = 2000) -> Run:
    """Compare two versions on corrected frames, looking at each correction; `share` is the candidate's lead.

    Some cameras are harder than others, for whichever version they have.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulation
    rollout = Rollout(1, seed, Strategy.AB, (CHAMPION, CANDIDATE))
    eases = [chance.uniform(-CAMERAS_DIFFER, CAMERAS_DIFFER) for _ in range(CAMERAS)]
    arms = [rollout.variants.index(domain.decide(rollout, f"camera-{n}", "").served) for n in range(CAMERAS)]
    known = [(0, 0)] * CAMERAS
    at, lead = [0], [0.0]
    for n in range(1, corrections + 1):
        camera = chance.randrange(CAMERAS)
        right = chance.random() < (truth(n * 10) if arms[camera] else CHAMPION_RIGHT) + eases[camera]
        known[camera] = known[camera][0] + right, known[camera][1] + 1
        sides = [[one for one, arm in zip(known, arms, strict=True) if arm == side and one[1]] for side in (0, 1)]
        champion, candidate = (Seen(correct=sum(one[0] for one in side), corrections=sum(one[1] for one in side),
                                    by_camera=tuple(side)) for side in sides)  # fmt: skip
        found = compare(rollout, champion, candidate)
        if found is None:
            continue
        at.append(n)
        lead.append(found.value)
        if found.p < 0.05:
            return Run(at, lead, "better" if found.value > 0 else "worse")
    return Run(at, lead, "no difference found")


def silent(truth: Truth, seed: int, frames: int = 2000) -> Run:
    """Compare a candidate that nobody hears; `share` is its agreement with the champion."""
    chance = random.Random(seed)  # noqa: S311 - a simulation
    agreed, at, share = 0, [0], [1.0]
    for n in range(1, frames + 1):
        agreed += chance.random() < truth(n) - (1 - CHAMPION_RIGHT) / 2
        if n % 20 == 0:
            at.append(n)
            share.append(agreed / n)
    return Run(at, share, f"agrees on {agreed / frames:.0%}")


def svg(title: str, horizontal: str, runs: dict[str, list[Run]]) -> str:
    """Return a line chart as SVG: a colour a truth, a line a seed; the y axis is 0 to 1, or -0.5 to 0.5 for leads."""
    colours = ("#0b7a75", "#5b5f97", "#b5460f", "#8a6d00")
    least = min(0.0, min(value for lines in runs.values() for run in lines for value in run.share))
    base, span = (-0.5, 1.0) if least < 0 else (0.0, 1.0)
    longest = max(run.at[-1] for lines in runs.values() for run in lines) or 1
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 360" font-family="sans-serif" font-size="12">',
        f'<title>{title}</title><rect width="640" height="360" fill="#fff"/>',
        f'<text x="60" y="20" font-size="14">{title}</text>',
        f'<text x="560" y="335" text-anchor="end">{longest} {horizontal}</text><text x="60" y="335">0</text>',
    ]
    for tick in (0.0, 0.5, 1.0):
        y = 310 - 270 * tick
        parts.append(f'<path d="M60 {y}H560" stroke="#ccc"/><text x="52" y="{y + 4}" text-anchor="end">')
        parts.append(f"{base + span * tick:.1f}</text>")
    for (name, lines), colour in zip(runs.items(), colours, strict=False):
        for run in lines:
            points = " ".join(
                f"{60 + 500 * x / longest:.1f},{310 - 270 * (min(max(y, base), base + span) - base) / span:.1f}"
                for x, y in zip(run.at, run.share, strict=True)
            )
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-opacity="0.5"/>')
        at = 30 + 16 * list(runs).index(name)
        parts.append(f'<text x="566" y="{at}" fill="{colour}">{name}</text>')
    return "".join([*parts, "</svg>\n"])


POLICIES: dict[str, tuple[Callable[[Truth, int], Run], str, str]] = {
    "silent": (silent, "frames", "silent: agreement with the champion"),
    "ab": (ab, "corrections", "ab: lead of the candidate until the sequential test ends"),
    "canary": (canary, "frames", "canary: share of the candidate, stage by stage"),
    "bandit": (bandit, "corrections", "bandit: share of the candidate"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write an SVG a policy into OUT, and say how each ended."""
    parser = argparse.ArgumentParser(prog="simulate_rollout", description=main.__doc__)
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each policy against each truth (default 10)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for policy, (simulate, horizontal, title) in POLICIES.items():
        runs = {name: [simulate(truth, seed) for seed in range(options.seeds)] for name, truth in TRUTHS.items()}
        (options.out / f"{policy}.svg").write_text(svg(title, horizontal, runs), encoding="utf-8")
        for name, lines in runs.items():
            ends = sorted({run.ended for run in lines})
            told = ", ".join(f"{end}: {sum(run.ended == end for run in lines)}" for end in ends)
            print(f"{policy:7} {name:9} {told}")  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()
