"""The shapes of `/v1/rollout`: what people send, and what they get back."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.image_classifier.rollout import domain
from services.image_classifier.rollout.domain import Role, Rollout, Strategy
from services.image_classifier.rollout.store import Revision
from shared.messages import isoformat
from shared.problem import Problem

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]

EXAMPLE: dict[str, Any] = {
    "strategy": "canary",
    "variants": [
        {"model": "huella", "version": "1", "role": "champion"},
        {"model": "huella", "version": "2", "role": "candidate"},
    ],
    "canary": {"stages": [0.0, 0.05, 0.25, 0.5], "bake_s": 600},
    "reason": "version 2 knows infrared",
}


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Silent(_Shape):
    """`share` of the frames that candidates see."""

    share: Share = 1.0


class Ab(_Shape):
    """`alpha`: the chance of calling two equal versions different, however often one looks."""

    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05


class Canary(_Shape):
    """The schedule of shares and the guard rails; one with share 0 only watches."""

    stages: Annotated[list[Share], Field(min_length=1, max_length=20)] = [0.0, 0.05, 0.25, 0.5]
    bake_s: Annotated[float, Field(ge=1.0, le=30 * 86400.0)] = 600.0
    least_frames: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    shadow_share: Share = 0.2
    error_rate: Share = 0.02
    latency_factor: Annotated[float, Field(ge=1.0, le=1000.0)] = 3.0
    disagreement: Share = 0.25
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.01


class Bandit(_Shape):
    """`floor`: least share of an arm; `memory`: corrections remembered; `certainty`: chance at which one has won."""

    floor: Annotated[float, Field(ge=0.001, le=0.5)] = 0.05
    memory: Annotated[int, Field(ge=10, le=10_000)] = 2000
    certainty: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95


class VariantShape(_Shape):
    """A model version in use; `weight` is its part of the cameras under `ab`."""

    model: Word
    version: Word
    role: Role
    weight: Annotated[float, Field(ge=0.0, le=1_000_000.0)] = 1.0


class RolloutRequest(_Shape):
    """A rollout to put in force; the settings of other strategies are kept for when they are chosen."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": EXAMPLE})

    strategy: Strategy
    variants: Annotated[list[VariantShape], Field(min_length=1, max_length=8)]
    reason: Reason
    silent: Silent = Silent()
    ab: Ab = Ab()
    canary: Canary = Canary()
    bandit: Bandit = Bandit()


class RolloutPatch(_Shape):
    """What to change of the rollout in force; whatever is left out stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"ab": {"alpha": 0.01}, "reason": "be stricter"}}
    )

    reason: Reason
    strategy: Strategy | None = None
    variants: Annotated[list[VariantShape], Field(min_length=1, max_length=8)] | None = None
    silent: Silent | None = None
    ab: Ab | None = None
    canary: Canary | None = None
    bandit: Bandit | None = None


class Undo(_Shape):
    """Why the rollout in force is taken back."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "version 2 misses kittens"}})

    reason: Reason


class RolloutAnswer(BaseModel):
    """A revision of the rollout. `root` is the revision by which a person began it, `stage` that of a canary."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                **EXAMPLE,
                "revision": 4,
                "root": 4,
                "stage": 0,
                "author": "marta",
                "since": "2026-11-22T10:00:00.000000Z",
                "silent": {},
                "ab": {},
                "bandit": {},
                "shares": [1.0, 0.0],
            }
        }
    )

    revision: int
    root: int
    strategy: Strategy
    variants: list[VariantShape]
    silent: Silent
    ab: Ab
    canary: Canary
    bandit: Bandit
    stage: int
    shares: list[float]
    author: str
    reason: str
    since: str | None


def to_rollout(body: RolloutRequest) -> Rollout:
    """Return the rollout that a body asks for. Raises Problem 422 if it contradicts itself."""
    rollout = Rollout(
        0,
        0,
        body.strategy,
        tuple(domain.Variant(one.model, one.version, one.role, one.weight) for one in body.variants),
        body.silent.share,
        body.ab.alpha,
        domain.Canary(**(body.canary.model_dump() | {"stages": tuple(body.canary.stages)})),
        domain.Bandit(**body.bandit.model_dump()),
    )
    try:
        domain.check(rollout)
    except domain.InvalidRollout as error:
        raise Problem(422, "invalid-rollout", str(error)) from None
    return rollout


def to_request(rollout: Rollout, reason: str) -> RolloutRequest:
    """Return the body that would ask for a rollout."""
    return RolloutRequest(
        strategy=rollout.strategy,
        variants=[
            VariantShape(model=one.model, version=one.version, role=one.role, weight=one.weight)
            for one in rollout.variants
        ],
        reason=reason,
        silent=Silent(share=rollout.silent_share),
        ab=Ab(alpha=rollout.ab_alpha),
        canary=Canary.model_validate(
            {name: getattr(rollout.canary, name) for name in Canary.model_fields}
            | {"stages": list(rollout.canary.stages)}
        ),
        bandit=Bandit.model_validate({name: getattr(rollout.bandit, name) for name in Bandit.model_fields}),
    )


def patched(before: RolloutRequest, change: RolloutPatch) -> RolloutRequest:
    """Return a body with what `change` names put in, setting by setting."""
    said = {name: value for name in change.model_fields_set if (value := getattr(change, name)) is not None}
    for name in ("silent", "ab", "canary", "bandit"):
        if name in said:
            settings = said[name].model_dump(exclude_unset=True)
            said[name] = getattr(before, name).model_copy(update=settings)
    return before.model_copy(update=said)


def to_answer(found: Revision, *, chosen: bool = True) -> RolloutAnswer:
    """Return a revision as it is shown; `chosen` is False for the default, which nobody chose at any time."""
    rollout = found.rollout
    asked = to_request(rollout, found.reason)
    return RolloutAnswer(
        revision=rollout.revision,
        root=rollout.root,
        strategy=rollout.strategy,
        variants=asked.variants,
        silent=asked.silent,
        ab=asked.ab,
        canary=asked.canary,
        bandit=asked.bandit,
        stage=rollout.stage,
        shares=list(domain.shares(rollout, found.belief)),
        author=found.author,
        reason=found.reason,
        since=isoformat(found.since) if chosen else None,
    )
