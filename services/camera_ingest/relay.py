"""The relay: offers frames to the classifier until they are settled, whatever happens to the queue.

The queue is a doorbell that may forget. Only a few chunks are in it at a time; all that waits is in the database,
and a frame that is not settled in time is simply offered again.
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from kombu.exceptions import OperationalError as KombuError
from redis import RedisError
from sqlalchemy import ColumnElement, Connection, Row, case, func, literal, select, update

from services.camera_ingest import ledger, metrics
from services.camera_ingest.domain import GAVE_UP, DueFrame, GiveUp, Offer, State, decide, next_offer_at, plan_chunks
from services.camera_ingest.outage import Outage
from services.camera_ingest.settings import Settings
from services.camera_ingest.tables import frames, in_flight
from shared.broker import CLASSIFY_FRAMES, RECORD_ESTIMATES
from shared.database import Database, Instant, now
from shared.messages import ClassifyFrames, FrameToClassify, to_wire

log = structlog.get_logger(__name__)

IDLE_S = 1.0
GATHER_S = 0.005
FULL_S = 0.1

_COLUMNS = (
    frames.c.receipt,
    frames.c.camera_id,
    frames.c.space_id,
    frames.c.observed_at,
    frames.c.sha256,
    frames.c.offers,
    frames.c.offered_at,
    frames.c.attempt_at,
    frames.c.attempts,
)


@dataclass(frozen=True)
class QueueLengths:
    """Messages that wait for the classifier, and for the counting of its results."""

    classify: int
    record: int


@dataclass(frozen=True)
class Chunk:
    """Frames claimed for one message."""

    offered_at: datetime
    rows: list[Row[Any]]


@dataclass(frozen=True)
class Claim:
    """What one look at the due frames led to.

    `left` frames were seen and wait for a fuller chunk or an emptier queue; with `more`, others were not looked at.
    """

    chunks: list[Chunk]
    gave_up: list[str]
    left: int
    more: bool


def claim(connection: Connection, settings: Settings, queue: QueueLengths, at: datetime) -> Claim:
    """Take the frames that are due for as many chunks as the queue has room for, and set when each is due next.

    While results wait to be counted no frame is offered again: it may well be among them.
    """
    limit = (settings.max_chunks - queue.classify) * settings.chunk
    new = _due(connection, settings, at, min(limit, _room(connection, settings, at)), again=False)
    # What is offered again never takes all the room: new frames are what shows that the way is clear.
    share = limit - min(len(new), limit // 2)
    again = _due(connection, settings, at, share, again=True) if queue.record < settings.max_chunks else []
    rows = again + new[: limit - len(again)]
    by_receipt = {row.receipt: row for row in rows}
    progress = {
        began: connection.scalar(select(func.max(frames.c.offered_at)).where(frames.c.settled_at.between(began, at)))
        for began in {row.attempt_at for row in rows if row.attempt_at is not None}
    }
    decisions = [_decide(row, progress.get(row.attempt_at)) for row in rows]
    gave_up = [decision for decision in decisions if isinstance(decision, GiveUp)]
    for decision in gave_up:
        _give_up(connection, decision, at)
    offers = [decision for decision in decisions if isinstance(decision, Offer)]
    planned = plan_chunks(offers, queue.classify, chunk=settings.chunk, max_chunks=settings.max_chunks)
    chunks = []
    for number, chunk in enumerate(planned):
        # Each chunk has a moment of its own, since "offered after" is what poison is told by.
        moment = at + timedelta(microseconds=number)
        _mark_offered(connection, settings, chunk, moment)
        chunks.append(Chunk(moment, [by_receipt[offer.receipt] for offer in chunk]))
    left = len(offers) - sum(len(chunk) for chunk in planned)
    return Claim(chunks, [one.receipt for one in gave_up], left, more=len(rows) >= limit)


def _room(connection: Connection, settings: Settings, at: datetime) -> int:
    """Return how many frames may be offered for the first time.

    A full window in which nothing moves for two periods lets one new frame through: if that one is settled the fault
    is with the frames in the window, and only so can they be told from an outage and be given up.
    """
    offered = connection.scalar(select(func.count()).where(in_flight, frames.c.offered_at.is_not(None))) or 0
    if offered < settings.window:
        return settings.window - offered
    since = at - timedelta(seconds=2 * settings.reoffer_every_s)
    settled = select(frames.c.receipt).where(frames.c.settled_at.between(since, at)).limit(1)
    # Two offers: that is 45 s with the default times.
    tried = select(frames.c.receipt).where(in_flight, frames.c.offers <= 2, frames.c.offered_at > since).limit(1)
    return 0 if connection.execute(settled).first() or connection.execute(tried).first() else 1


def _due_times(settings: Settings, at: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return what makes a frame due: its time has come, or it is so far ahead that the clock was put back since.

    Two questions, not one with "or", so that each is a range of an index.
    """
    ahead = at + timedelta(seconds=2 * max(settings.reoffer_after_s, settings.reoffer_every_s))
    return frames.c.next_offer_at <= at, frames.c.next_offer_at > ahead


def _due(connection: Connection, settings: Settings, at: datetime, limit: int, *, again: bool) -> list[Row[Any]]:
    if limit <= 0:
        return []
    offered = frames.c.offered_at.is_not(None) if again else frames.c.offered_at.is_(None)
    rows: list[Row[Any]] = []
    for due in _due_times(settings, at):
        rows = rows or list(
            connection.execute(
                select(*_COLUMNS)
                .where(due, offered)
                .order_by(frames.c.next_offer_at, frames.c.receipt)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
        )
    return rows


def _decide(row: Row[Any], latest_settled_offer: datetime | None) -> Offer | GiveUp:
    later = latest_settled_offer is not None and row.offered_at is not None and latest_settled_offer > row.offered_at
    return decide(DueFrame(row.receipt, row.offers, row.offered_at, row.attempt_at, row.attempts), later)


def _give_up(connection: Connection, decision: GiveUp, at: datetime) -> None:
    ledger.settle(connection, [ledger.Settlement(decision.receipt, State.REJECTED, GAVE_UP)], at)
    # Without its offer, this end is no sign to other frames that the way is clear.
    connection.execute(
        update(frames).where(frames.c.receipt == decision.receipt).values(attempts=decision.attempts, offered_at=None)
    )


def _mark_offered(connection: Connection, settings: Settings, chunk: list[Offer], moment: datetime) -> None:
    first, later = (
        next_offer_at(offers, moment, after_s=settings.reoffer_after_s, every_s=settings.reoffer_every_s)
        for offers in (1, 2)
    )
    connection.execute(
        update(frames)
        .where(frames.c.receipt.in_([offer.receipt for offer in chunk]))
        .values(
            offered_at=moment,
            offers=frames.c.offers + 1,
            next_offer_at=case((frames.c.offered_at.is_(None), literal(first, Instant)), else_=literal(later, Instant)),
            attempt_at=None,
            attempts=chunk[0].attempts,  # a frame with attempts is alone in its chunk; all others have none
        )
    )


class Relay:
    """The thread that claims and publishes. `publish` and `queue_length` reach the broker and may raise its errors."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        publish: Callable[[dict[str, object]], None],
        queue_length: Callable[[str], int],
    ) -> None:
        self._settings = settings
        self._database = database
        self._publish = publish
        self._queue_length = queue_length
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._arrived = 0
        self._left = 0
        self._waited = 0
        self._out = False
        self._outage = Outage("relay step")

    def start(self) -> None:
        """Begin to offer what is due."""
        self._thread.start()

    def stop(self) -> None:
        """End after the offer under way; what was claimed and not published comes due again."""
        self._stopped.set()
        self._wake.set()
        self._thread.join(timeout=30)

    def check(self) -> None:
        """Raise if the thread has ended."""
        if not self._thread.is_alive():
            raise RuntimeError("the relay has ended")

    def wake(self, arrived: int = 0) -> None:
        """Look at once, because frames arrived or were settled; called after the commit."""
        self._arrived += arrived
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                delay = self.step()
            except Exception as error:  # noqa: BLE001 - `Outage` logs it
                metrics.RELAY_FAILURES.labels("unexpected").inc()
                self._outage.failed(error)
                delay = IDLE_S
            else:
                self._outage.over()
            if delay < IDLE_S:
                self._stopped.wait(delay)
            else:
                self._wake.wait(delay)

    def step(self) -> float:
        """Look once, offer what may be offered now, and return in how many seconds to look again."""
        self._wake.clear()
        try:
            waiting = self._queue_length(CLASSIFY_FRAMES)
            full = waiting >= self._settings.max_chunks
            # That a chunk can't be full yet is known without the database.
            filling = waiting > 0 and self._left > 0 and self._left + self._arrived < self._settings.chunk
            if full or filling:
                self._waited += 1
                return min(FULL_S, GATHER_S * self._waited)
            self._waited = 0
            at, self._arrived, arrived = now(), 0, self._arrived
            if not arrived and not self._anything_due(at):
                self._left = 0
                return IDLE_S
            queue = QueueLengths(waiting, self._queue_length(RECORD_ESTIMATES))
        except RedisError as error:
            self._broker_failed("look", error)
            return IDLE_S
        claimed = self._database.write(lambda connection: claim(connection, self._settings, queue, at))
        self._left = claimed.left
        for receipt in claimed.gave_up:
            metrics.REJECTED.labels("relay").inc()
            metrics.SETTLED.labels(State.REJECTED.value).inc()
            log.warning("frame given up", receipt=receipt)
        for chunk in claimed.chunks:
            try:
                self._publish(self._message(chunk))
            except (KombuError, RedisError, OSError) as error:
                self._broker_failed("publish", error)  # what was claimed comes due again by itself
                return IDLE_S
            self._count(chunk)
        if self._out:
            self._out = False
            log.info("broker answers again")
        return GATHER_S if claimed.left or claimed.more else IDLE_S

    def _anything_due(self, at: datetime) -> bool:
        # One question for each of the two indexes.
        sides = (frames.c.offered_at.is_(None), frames.c.offered_at.is_not(None))
        with self._database.read() as connection:
            return any(
                connection.execute(select(frames.c.receipt).where(due, side).limit(1)).first() is not None
                for due in _due_times(self._settings, at)
                for side in sides
            )

    def _message(self, chunk: Chunk) -> dict[str, object]:
        message = ClassifyFrames(
            chunk=secrets.token_hex(16),
            offered_at=chunk.offered_at,
            images_url=f"{self._settings.ingest_url}/v1/images",
            frames=[
                FrameToClassify(
                    receipt=row.receipt,
                    camera_id=row.camera_id,
                    space_id=row.space_id,
                    observed_at=row.observed_at,
                    sha256=row.sha256,
                )
                for row in chunk.rows
            ],
            traceparent=f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
        )
        return to_wire(message)

    def _count(self, chunk: Chunk) -> None:
        metrics.CHUNKS.inc()
        again = sum(1 for row in chunk.rows if row.offers > 0)
        metrics.OFFERS.labels("again").inc(again)
        metrics.OFFERS.labels("first").inc(len(chunk.rows) - again)

    def _broker_failed(self, kind: str, error: Exception) -> None:
        metrics.RELAY_FAILURES.labels(kind).inc()
        if not self._out:
            self._out = True
            log.warning("broker does not answer; frames wait", kind=kind, error=type(error).__name__)
