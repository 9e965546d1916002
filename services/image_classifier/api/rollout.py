"""`/v1/rollout`: which versions are in use and why, its history, its evidence, and how it is changed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection

from services.image_classifier.api.database import Config, Db
from services.image_classifier.api.problems import problems
from services.image_classifier.api.rollout_shapes import (
    RolloutAnswer,
    RolloutPatch,
    RolloutRequest,
    Undo,
    patched,
    to_answer,
    to_request,
    to_rollout,
)
from services.image_classifier.rollout import domain, probation, store
from services.image_classifier.rollout.domain import Rollout, Strategy
from services.image_classifier.rollout.statistics import bounds, off_policy
from services.image_classifier.rollout.store import Revision
from services.image_classifier.rollout.verdicts import Seen, compare, judge
from services.image_classifier.settings import Settings
from services.image_classifier.versions import library
from services.image_classifier.versions.store import State
from shared.auth import Admin, Viewer
from shared.database import EPOCH, Database, clock
from shared.problem import Problem

router = APIRouter(prefix="/v1/rollout", tags=["rollout"])

NOBODY = "nobody chose: the version that the service is shipped with"


class RevisionPage(BaseModel):
    """Revisions, newest first; `next` is the cursor of the page after it, null at the end."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [], "next": "3"}})

    items: list[RolloutAnswer]
    next: str | None


class VariantReport(BaseModel):
    """What a variant did since a person began this rollout.

    `agreement`: share of compared frames on which it says what the champion says; `confidence_shift`: mean absolute
    difference of probabilities there; `correct` of `corrections` frames that people judged; `correct_low` and
    `correct_high`: where its true share lies, at every look, with 95 %; `latency_p95_seconds` and `seconds`: computing
    time of one frame, and of all.
    """

    model: str
    version: str
    role: domain.Role
    share: float
    decisions: int
    served: int
    counted: int
    errors: int
    late: int
    compared: int
    agreement: float | None
    confidence_shift: float | None
    corrections: int
    correct: int
    correct_low: float
    correct_high: float
    latency_p95_seconds: float | None
    seconds: float


class Comparison(BaseModel):
    """A candidate's share of correct frames minus the champion's, with an interval and a p-value that hold always.

    `size`: corrections of both; `cameras`: those that they are of, each side's counted.
    """

    model: str
    version: str
    size: int
    cameras: int
    difference: float
    low: float
    high: float
    p: float


class OffPolicy(BaseModel):
    """What serving a version alone would have earned, by inverse propensity from the bandit's log (95 % interval)."""

    model: str
    version: str
    value: float
    low: float
    high: float
    size: int


class Report(BaseModel):
    """The evidence of the rollout in force. People correct what strikes them: their sample is not a fair one.

    `deaths`: processes that the champion has ended; `left_alone`: whether those are so many that processes which start
    serve the shipped version instead.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "revision": 4,
                "strategy": "single",
                "variants": [],
                "verdict": "wait",
                "reason": "It bakes for 300 s more; 120 frames are compared.",
                "deaths": 0,
                "left_alone": False,
                "comparisons": [],
                "off_policy": [],
            }
        }
    )

    revision: int
    strategy: Strategy
    variants: list[VariantReport]
    verdict: str
    reason: str
    deaths: int
    left_alone: bool
    comparisons: list[Comparison]
    off_policy: list[OffPolicy]


@router.get("", responses=problems(401, 403, 422), summary="The rollout in force")
def get_rollout(caller: Viewer, db: Db, config: Config, response: Response) -> RolloutAnswer:
    """With its revision, who chose it, why and since when; revision 0 is the default that nobody chose."""
    found, chosen = _current(db, config)
    response.headers["ETag"] = f'"{found.rollout.revision}"'
    return to_answer(found, chosen=chosen)


@router.put("", responses=problems(401, 403, 409, 422), summary="Put a rollout in force")
def put_rollout(caller: Admin, body: RolloutRequest, db: Db, config: Config) -> RolloutAnswer:
    """Every worker follows within two seconds. Each call is a new revision."""
    asked = to_rollout(body)
    return _put(db, config, lambda _, __: asked, caller.subject, body.reason)


@router.patch("", responses=problems(401, 403, 409, 422), summary="Change the rollout in force")
def patch_rollout(caller: Admin, body: RolloutPatch, db: Db, config: Config) -> RolloutAnswer:
    """What is left out stays as it is, also within a policy's settings; a canary begins again at its first stage."""

    def merged(_: Connection, found: Revision) -> Rollout:
        return to_rollout(patched(to_request(found.rollout, body.reason), body))

    return _put(db, config, merged, caller.subject, body.reason)


@router.post("/undo", responses=problems(401, 403, 409, 422), summary="Take the last change back")
def undo_rollout(caller: Admin, body: Undo, db: Db, config: Config) -> RolloutAnswer:
    """What was in force before becomes a new revision; of a canary only its champion does: it would go on by itself."""

    def earlier(connection: Connection, found: Revision) -> Rollout:
        before = store.before(connection, found.rollout.root)
        if before is None and found.rollout.revision == domain.NOBODY:
            raise Problem(409, "nothing-to-undo", "Nobody has changed the rollout yet. PUT /v1/rollout changes it.")
        if before is None:
            return domain.single(config.model, config.version)
        if before.rollout.strategy is Strategy.CANARY:
            return domain.single(*before.rollout.champion.key)
        return replace(before.rollout, stage=0)

    return _put(db, config, earlier, caller.subject, body.reason)


@router.get("/revisions", responses=problems(401, 403, 422), summary="Every change, newest first")
def list_revisions(
    caller: Viewer,
    db: Db,
    limit: Annotated[int, Query(ge=1, le=200, description="Most items of a page.")] = 50,
    cursor: Annotated[int | None, Query(ge=1, description="`next` of the page before.")] = None,
) -> RevisionPage:
    """With author and reason; those of the author `canary` were made by the guard rails."""
    with db.read() as connection:
        found = store.revisions(connection, cursor, limit + 1)
    items = [to_answer(one) for one in found[:limit]]
    return RevisionPage(items=items, next=str(items[-1].revision) if len(found) > limit else None)


@router.get("/report", responses=problems(401, 403, 422), summary="The evidence so far")
def get_report(caller: Viewer, db: Db, config: Config, request: Request) -> Report:
    """By variant what it did, and what the policy concludes from it."""
    found, _ = _current(db, config)
    rollout = found.rollout
    with db.read() as connection:
        seen = store.seen(connection, rollout, whole=True)
        stage = seen if rollout.strategy is not Strategy.CANARY else store.seen(connection, rollout, whole=False)
        rewards = store.rewards(connection, rollout) if rollout.strategy is Strategy.BANDIT else []
        at = clock(connection)
        deaths = probation.deaths(connection, rollout.revision, at)
    verdict = judge(rollout, (at - found.since).total_seconds(), stage)
    left_alone = probation.too_many(deaths)
    ended = _ended(rollout.champion, len(deaths), f"{config.model}/{config.version}" if left_alone else "")
    champion = seen.get(rollout.champion.key, Seen())
    return Report(
        revision=rollout.revision,
        strategy=rollout.strategy,
        variants=[
            _variant(one, share, seen.get(one.key, Seen()))
            for one, share in zip(rollout.variants, domain.shares(rollout, found.belief), strict=True)
        ],
        verdict=verdict.action,
        reason=ended + verdict.reason,
        deaths=len(deaths),
        left_alone=left_alone,
        comparisons=[
            comparison
            for one in rollout.candidates
            if (comparison := _comparison(one, champion, seen.get(one.key, Seen()), rollout))
        ],
        off_policy=[_off_policy(one, rewards) for one in rollout.variants] if rewards else [],
    )


def _ended(champion: domain.Variant, deaths: int, instead: str) -> str:
    """Say which processes the champion has ended, and what those serve that start now, if not the champion."""
    if not deaths:
        return ""
    told = f"{champion.model}/{champion.version} has ended {deaths} {'process' if deaths == 1 else 'processes'}. "
    if instead:
        told += f"Those that start now serve {instead}, as shipped, until the rollout is changed. "
    return told


def _variant(variant: domain.Variant, share: float, seen: Seen) -> VariantReport:
    low, high = bounds(seen.correct, seen.corrections, 0.05)
    return VariantReport(
        model=variant.model,
        version=variant.version,
        role=variant.role,
        share=share,
        decisions=seen.decisions,
        served=seen.served,
        counted=seen.counted,
        errors=seen.errors,
        late=seen.late,
        compared=seen.compared,
        agreement=seen.agreed / seen.compared if seen.compared else None,
        confidence_shift=seen.shift / seen.compared if seen.compared else None,
        corrections=seen.corrections,
        correct=seen.correct,
        correct_low=low,
        correct_high=high,
        latency_p95_seconds=seen.latency_p95,
        seconds=seen.seconds,
    )


def _comparison(variant: domain.Variant, champion: Seen, seen: Seen, rollout: Rollout) -> Comparison | None:
    found = compare(rollout, champion, seen)
    if found is None:
        return None
    return Comparison(
        model=variant.model,
        version=variant.version,
        size=champion.corrections + seen.corrections,
        cameras=len(champion.by_camera) + len(seen.by_camera),
        difference=found.value,
        low=found.low,
        high=found.high,
        p=found.p,
    )


def _off_policy(variant: domain.Variant, rewards: list[tuple[tuple[str, str], bool, float]]) -> OffPolicy:
    value = off_policy((key == variant.key, propensity, float(right)) for key, right, propensity in rewards)
    return OffPolicy(
        model=variant.model,
        version=variant.version,
        value=value.mean,
        low=value.low,
        high=value.high,
        size=value.size,
    )


def _current(db: Database, config: Settings) -> tuple[Revision, bool]:
    with db.read() as connection:
        found = store.current(connection)
    return (_default(config), False) if found is None else (found, True)


def _default(config: Settings) -> Revision:
    return Revision(domain.single(config.model, config.version), "default", NOBODY, EPOCH)


def _put(
    db: Database, config: Settings, make: Callable[[Connection, Revision], Rollout], author: str, reason: str
) -> RolloutAnswer:
    """Put in force what `make` makes of the revision in force; nothing changes in between, here or elsewhere."""

    def change(connection: Connection) -> Revision:
        store.lock(connection)
        rollout = make(connection, store.current(connection) or _default(config))
        for variant in rollout.variants:
            found = library.find(config, connection, *variant.key)
            if found is None or found.state is not State.READY:
                state = "not there" if found is None else found.state.value
                detail = f"{variant.model}/{variant.version} is {state}. GET /v1/models lists those that are ready."
                raise Problem(409, "not-ready", detail)
        return store.add(connection, rollout, author, reason, clock(connection))

    return to_answer(db.write(change))
