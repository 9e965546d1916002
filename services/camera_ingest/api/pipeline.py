"""How frames flow just now, and for how long they are kept: what operators look at."""

from fastapi import APIRouter
from pydantic import BaseModel, Field
from redis import RedisError

from services.camera_ingest import store
from services.camera_ingest.api.dependencies import Ingest, Parts
from shared.auth import Viewer
from shared.broker import CLASSIFY_FRAMES, RECORD_ESTIMATES
from shared.database import now
from shared.messages import isoformat

router = APIRouter(tags=["pipeline"])

RECENT = 200


class SettleSeconds(BaseModel):
    """Time from a frame's receipt to its settlement, over the newest settled frames."""

    p50: float
    p95: float


class Pipeline(BaseModel):
    """The way of frames: what waits, and when something last moved."""

    queues: dict[str, int | None] = Field(description="Messages waiting by queue; null while the broker is silent.")
    workers: dict[str, int] | None = Field(
        description="Workers that are connected to the broker just now, by service; null while it is silent."
    )
    unsettled: int
    oldest_unsettled_s: float | None = Field(description="Age of the oldest unsettled frame.")
    last_settled_at: str | None = Field(description="When one of the newest frames was last settled.")
    settle_seconds: SettleSeconds | None


class Retention(BaseModel):
    """Days for which images, and what is known of frames, are kept; less if the disk's quota is reached."""

    image_days: float
    row_days: float


@router.get("/v1/pipeline")
def get_pipeline(viewer: Viewer, parts: Ingest) -> Pipeline:
    """Return how frames flow just now."""
    at = now()
    with parts.database.read() as connection:
        unsettled, oldest = store.unsettled(connection)
        recent = store.newest_frames(connection, RECENT)
    seconds = sorted((row.settled_at - row.received_at).total_seconds() for row in recent if row.settled_at)
    settled = max((row.settled_at for row in recent if row.settled_at), default=None)
    return Pipeline(
        queues=_queues(parts),
        workers=_workers(parts),
        unsettled=unsettled,
        oldest_unsettled_s=max((at - oldest).total_seconds(), 0.0) if oldest else None,
        last_settled_at=isoformat(settled) if settled else None,
        settle_seconds=SettleSeconds(p50=_at(seconds, 0.5), p95=_at(seconds, 0.95)) if seconds else None,
    )


@router.get("/v1/retention")
def get_retention(viewer: Viewer, parts: Ingest) -> Retention:
    """Return for how long images and rows are kept."""
    return Retention(image_days=parts.settings.image_days, row_days=parts.settings.row_days)


def _queues(parts: Parts) -> dict[str, int | None]:
    names = (CLASSIFY_FRAMES, RECORD_ESTIMATES)
    try:
        return {name: parts.queue_length(name) for name in names}
    except RedisError:
        return dict.fromkeys(names)


def _workers(parts: Parts) -> dict[str, int] | None:
    try:
        return parts.workers()
    except RedisError:
        return None


def _at(ordered: list[float], share: float) -> float:
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 3)
