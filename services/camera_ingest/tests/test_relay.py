"""The relay: what is offered, when, in which chunks, and what it does while the broker is away."""

import base64
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uuid_utils
from redis import Redis, RedisError
from redis.exceptions import ConnectionError as NoRedis
from sqlalchemy import Connection, select, update

from services.camera_ingest import ledger, metrics, registry, relay, store
from services.camera_ingest.domain import GAVE_UP, State
from services.camera_ingest.photo import Exif, Photo
from services.camera_ingest.relay import IDLE_S, QueueLengths, Relay
from services.camera_ingest.settings import Settings
from services.camera_ingest.tables import frames
from services.camera_ingest.tests.conftest import MakeSettings
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import running
from shared.broker import CLASSIFY_FRAMES, KEY_PREFIX, RECORD_ESTIMATES, create_redis
from shared.database import Database
from shared.messages import ClassifyFrames
from shared.testing import START_S, TokenFor, wait_until

BEGIN = datetime(2026, 11, 22, 10, tzinfo=UTC)
EMPTY = QueueLengths(0, 0)


@dataclass
class Desk:
    """A relay whose clock and queue the test holds: `queue` is what it sees, `sent` what it published."""

    database: Database
    settings: Settings
    at: datetime = BEGIN
    queue: QueueLengths | RedisError = EMPTY
    record_error: RedisError | None = None
    publish_error: Exception | None = None
    sent: list[ClassifyFrames] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.relay = Relay(self.settings, self.database, publish=self._publish, queue_length=self._length)

    def _length(self, name: str) -> int:
        if isinstance(self.queue, RedisError):
            raise self.queue
        if self.record_error and name == RECORD_ESTIMATES:
            raise self.record_error
        self.asked.append(name)
        return {CLASSIFY_FRAMES: self.queue.classify, RECORD_ESTIMATES: self.queue.record}[name]

    def _publish(self, message: dict[str, object]) -> None:
        if self.publish_error:
            raise self.publish_error
        self.sent.append(ClassifyFrames.model_validate(json.loads(json.dumps(message))))

    def arrive(self, *names: str) -> list[str]:
        """Let frames of these names be accepted now; return their receipts."""
        return [self._accept(name) for name in names]

    def _accept(self, name: str) -> str:
        receipt = str(uuid_utils.uuid7())
        frame = store.NewFrame(
            receipt,
            registry.Camera("c1", "k1"),
            name,
            None,
            None,
            self.at,
            self.at,
            "0" * 64,
            100,
            Photo("image/jpeg", 1, 1, Exif()),
        )
        self.database.write(lambda c: store.accept_frame(c, frame))
        return receipt

    def step(self, seconds: float = 0) -> list[list[str]]:
        """Let time pass, look once, and return the names of the frames in each chunk that was sent."""
        self.at += timedelta(seconds=seconds)
        before = len(self.sent)
        self.delay = self.relay.step()
        names = {row.receipt: row.frame_id for row in self.rows()}
        return [[names[frame.receipt] for frame in message.frames] for message in self.sent[before:]]

    def fetch(self, *receipts: str) -> None:
        self.database.write(lambda c: store.begin_attempts(c, receipts, self.at))

    def settle(self, *receipts: str) -> None:
        settlements = [ledger.Settlement(receipt, State.COUNTED) for receipt in receipts]
        self.database.write(lambda c: ledger.settle(c, settlements, self.at))

    def rows(self) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(select(frames).order_by(frames.c.frame_id)))

    def row(self, receipt: str) -> Any:
        return next(row for row in self.rows() if row.receipt == receipt)


@pytest.fixture
def desk(database: Database, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk(database, make_settings(chunk=4, max_chunks=3, window=20))
    monkeypatch.setattr(relay, "now", lambda: desk.at)
    return desk


def names(number: int, start: int = 0) -> list[str]:
    return [f"f{start + n:03}" for n in range(number)]


def test_a_message_says_what_the_classifier_needs(desk: Desk) -> None:
    (receipt,) = desk.arrive("a")
    assert desk.step() == [["a"]]
    message = desk.sent[0]
    assert message.images_url == f"{desk.settings.ingest_url}/v1/images"
    assert message.traceparent is not None
    assert len(message.traceparent) == 55
    frame = message.frames[0]
    assert (frame.receipt, frame.camera_id, frame.space_id, frame.observed_at) == (receipt, "c1", "k1", BEGIN)


def test_a_frame_is_offered_at_once_then_after_15_s_and_then_every_30_s(desk: Desk) -> None:
    desk.arrive("a")
    offered = [second for second in range(120) if desk.step(1 if second else 0)]
    assert offered == [0, 15, 45, 75, 105]
    assert desk.rows()[0].offers == 5


def test_a_settled_frame_is_not_offered_again(desk: Desk) -> None:
    (receipt,) = desk.arrive("a")
    desk.step()
    desk.settle(receipt)
    assert [desk.step(30) for _ in range(5)] == [[]] * 5


def test_nothing_is_rejected_however_long_no_worker_comes(desk: Desk) -> None:
    """Ten re-offer periods of offers that nobody fetches, and ten of fetches while nobody settles."""
    receipts = desk.arrive("a", "b")
    for _ in range(10):
        assert desk.step(31) == [["a", "b"]]
    for _ in range(10):
        desk.fetch(*receipts)
        desk.step(31)
    assert [(row.state, row.attempts) for row in desk.rows()] == [("accepted", 0)] * 2


def test_while_chunks_wait_only_full_ones_are_sent(desk: Desk) -> None:
    desk.queue = QueueLengths(1, 0)
    desk.arrive(*names(3))
    assert desk.step() == []
    assert desk.delay < 0.02  # and it looks again soon, without the database
    desk.arrive(*names(1, 3))
    desk.relay.wake(arrived=1)
    assert desk.step() == [names(4)]
    desk.arrive(*names(3, 10))
    desk.relay.wake(arrived=3)
    assert desk.step() == []
    desk.queue = QueueLengths(0, 0)
    assert desk.step() == [names(3, 10)]
    assert desk.delay == IDLE_S


def test_the_results_that_wait_are_asked_for_only_before_frames_are_offered(desk: Desk) -> None:
    assert desk.step() == []
    desk.arrive(*names(4))
    desk.queue = QueueLengths(4, 0)
    assert desk.step() == []
    assert desk.asked == [CLASSIFY_FRAMES] * 2
    desk.queue = EMPTY
    assert desk.step() == [names(4)]
    assert desk.asked == [CLASSIFY_FRAMES] * 3 + [RECORD_ESTIMATES]


def test_the_queue_is_never_filled_beyond_its_chunks(desk: Desk) -> None:
    desk.arrive(*names(19))
    desk.queue = QueueLengths(3, 0)
    assert desk.step() == []
    assert 0 < desk.delay <= 0.1
    desk.queue = QueueLengths(2, 0)
    assert desk.step() == [names(4)]
    desk.queue = QueueLengths(0, 0)
    assert desk.step() == [names(4, 4), names(4, 8), names(4, 12)]
    assert desk.step() == [names(3, 16)]


def test_no_more_than_a_window_is_offered_and_unsettled(desk: Desk) -> None:
    arrived = desk.arrive(*names(30))
    sent = [name for _ in range(10) for chunk in desk.step() for name in chunk]
    assert sent == names(20)
    assert desk.delay == IDLE_S
    desk.settle(*arrived[:5])
    assert [name for _ in range(3) for chunk in desk.step() for name in chunk] == names(5, 20)


def test_a_full_window_is_offered_again_all_the_same(desk: Desk) -> None:
    desk.arrive(*names(30))
    for _ in range(5):
        desk.step()
    again = [name for _ in range(3) for chunk in desk.step(16 if _ == 0 else 0) for name in chunk]
    assert sorted(again) == names(20)


def test_nothing_is_offered_again_while_results_wait_to_be_counted(desk: Desk) -> None:
    """So that an outage downstream makes neither repeated work nor an unbounded queue."""
    desk.arrive("a")
    desk.step()
    desk.arrive("b")
    desk.queue = QueueLengths(0, 3)
    assert desk.step(60) == [["b"]]
    assert [desk.step(60) for _ in range(3)] == [[]] * 3
    desk.queue = QueueLengths(0, 2)
    assert desk.step(1) == [["a", "b"]]


def test_poison_is_offered_alone_and_given_up_after_three_attempts_while_its_neighbours_count(desk: Desk) -> None:
    """The worker dies each time it decodes `f001`; all other frames of its chunk are innocent."""
    receipts = desk.arrive(*names(4))
    poison = receipts[1]
    assert desk.step() == [names(4)]
    desk.fetch(*receipts)  # the worker dies here
    desk.at += timedelta(seconds=1)
    (later,) = desk.arrive("later-0")
    desk.step()
    desk.settle(later)
    history = []
    for period in range(1, 4):
        chunks = desk.step(31) + desk.step()
        history.append(chunks)
        for message in desk.sent[-len(chunks) :] if chunks else []:
            (frame,) = message.frames
            desk.fetch(frame.receipt)
            if frame.receipt != poison:
                desk.settle(frame.receipt)
        desk.at += timedelta(seconds=1)
        (later,) = desk.arrive(f"later-{period}")
        desk.step()
        desk.settle(later)
    assert history == [[["f000"], ["f001"], ["f002"], ["f003"]], [["f001"]], []]
    row = desk.row(poison)
    assert (row.state, row.reason, row.attempts) == ("rejected", GAVE_UP, 3)
    assert {row.state for row in desk.rows() if row.receipt != poison} == {"counted"}
    with desk.database.read() as connection:
        assert ledger.audit(connection) == {"accepted": 8, "counted": 7, "rejected": 1, "in_flight": 0}


def test_many_poisons_neither_stop_the_others_nor_stay_for_ever(desk: Desk) -> None:
    """One worker, which a poison keeps busy for 4 s; 5 good frames each 2 s; more poisons than the queue holds."""
    poison, good, busy_until = desk.arrive(*(f"poison-{n}" for n in range(6))), 0, desk.at
    queue: list[list[str]] = []
    for moment in range(70):
        desk.arrive(*(f"good-{moment}-{n}" for n in range(5)))
        good += 5
        for _ in range(2):
            desk.queue = QueueLengths(len(queue), 0)
            before = len(desk.sent)
            desk.step(1)
            queue += [[frame.receipt for frame in message.frames] for message in desk.sent[before:]]
            while queue and busy_until <= desk.at:
                chunk = queue.pop(0)
                desk.fetch(*chunk)
                if set(chunk) & set(poison):
                    busy_until = desk.at + timedelta(seconds=4)
                else:
                    desk.settle(*chunk)
    states = Counter(row.state for row in desk.rows() if row.receipt not in poison)
    assert {desk.row(receipt).state for receipt in poison} == {State.REJECTED}
    assert states[State.COUNTED] > good - 60, states
    assert not states[State.REJECTED]


def test_a_window_of_frames_that_can_not_end_gives_way(desk: Desk) -> None:
    """Say, their files are lost: they are fetched again and again, and nothing comes of it."""
    stuck = desk.arrive(*names(20))
    for _ in range(3):
        desk.step()
    good = desk.arrive("good")
    for _ in range(45):
        before = len(desk.sent)
        desk.step(10)
        offered = [frame.receipt for message in desk.sent[before:] for frame in message.frames]
        desk.fetch(*offered)
        desk.settle(*(receipt for receipt in offered if receipt not in stuck))
        good += desk.arrive(f"good-{desk.at.isoformat()}")
    assert {desk.row(receipt).state for receipt in stuck} == {State.REJECTED}
    assert sum(desk.row(receipt).state == State.COUNTED for receipt in good) > 20


def test_in_an_outage_a_full_window_lets_one_frame_through_now_and_then_and_gives_up_nothing(desk: Desk) -> None:
    desk.arrive(*names(60))
    for _ in range(60):
        before = len(desk.sent)
        desk.step(10)
        desk.fetch(*(frame.receipt for message in desk.sent[before:] for frame in message.frames))
    offered = [row for row in desk.rows() if row.offered_at is not None]
    assert 20 < len(offered) <= 20 + 600 / 45 + 1
    assert {row.state for row in desk.rows()} == {State.ACCEPTED}
    assert {row.attempts for row in desk.rows()} == {0}


def test_a_clock_that_is_put_back_makes_no_frame_wait(desk: Desk) -> None:
    desk.arrive("waits")
    assert desk.step() == [["waits"]]
    desk.arrive("new")
    assert sorted(name for chunk in desk.step(-3600) for name in chunk) == ["new", "waits"]


def test_a_frame_given_up_is_no_sign_that_the_way_is_clear_for_others(desk: Desk) -> None:
    (innocent,) = desk.arrive("a")
    desk.step()
    desk.fetch(innocent)
    desk.at += timedelta(seconds=1)
    (poison,) = desk.arrive("b")
    desk.step()

    def nearly_given_up(connection: Connection) -> None:
        values = {"attempts": 3, "next_offer_at": desk.at}
        connection.execute(update(frames).where(frames.c.receipt == poison).values(values))

    desk.database.write(nearly_given_up)
    desk.step(1)
    assert desk.row(poison).state == "rejected"
    desk.step(31)
    assert desk.row(innocent).attempts == 0


def test_an_attempt_does_not_count_when_only_earlier_offers_were_settled(desk: Desk) -> None:
    (early,) = desk.arrive("a")
    desk.step()
    (late,) = desk.arrive("b")
    desk.step(1)
    desk.fetch(late)
    desk.settle(early)
    assert desk.step(31) == [["b"]]
    assert desk.row(late).attempts == 0


def test_an_operator_s_new_offer_begins_anew(desk: Desk) -> None:
    (receipt,) = desk.arrive("a")
    desk.step()
    rejection = [ledger.Settlement(receipt, State.REJECTED, "no picture")]
    desk.database.write(lambda c: ledger.settle(c, rejection, desk.at))
    desk.database.write(lambda c: store.offer_again(c, receipt, desk.at))
    assert desk.step() == [["a"]]
    assert desk.step(14) == []
    assert desk.step(1) == [["a"]]


def test_a_broker_that_is_away_leaves_the_window_untouched(desk: Desk) -> None:
    desk.arrive(*names(6))
    desk.queue = NoRedis("away")
    assert [desk.step(60) for _ in range(5)] == [[]] * 5
    assert desk.delay == IDLE_S
    assert {row.offers for row in desk.rows()} == {0}
    desk.queue = QueueLengths(0, 0)
    assert desk.step() == [names(4), names(2, 4)]


def test_a_broker_that_goes_away_between_the_two_questions_costs_no_offer(desk: Desk) -> None:
    desk.arrive("a")
    desk.relay.wake(arrived=1)
    desk.record_error = NoRedis("away")
    assert desk.step() == []
    assert desk.rows()[0].offers == 0
    desk.record_error = None
    assert desk.step(1) == [["a"]]


def test_what_could_not_be_published_comes_due_again_by_itself(desk: Desk) -> None:
    desk.arrive("a")
    desk.publish_error = NoRedis("away")
    assert desk.step() == []
    desk.publish_error = None
    assert desk.step(1) == []
    assert desk.step(15) == [["a"]]


def test_an_outage_is_logged_once_and_counted_each_time(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    failures = metrics.RELAY_FAILURES.labels("look")
    before = failures._value.get()
    for error in [NoRedis("away")] * 4 + [None] + [NoRedis("away")] * 2:
        desk.queue = error or QueueLengths(0, 0)
        desk.arrive(f"at-{desk.at.timestamp()}")
        desk.step(1)
    assert failures._value.get() - before == 6
    assert capsys.readouterr().out.count("broker does not answer") == 2


def test_offers_and_repeated_offers_are_counted(desk: Desk) -> None:
    counters = [metrics.OFFERS.labels(kind) for kind in ("first", "again")]
    before = [counter._value.get() for counter in counters]
    desk.arrive("a", "b")
    desk.step()
    desk.step(15)
    assert [counter._value.get() - start for counter, start in zip(counters, before, strict=True)] == [2, 2]


def test_two_relays_never_claim_the_same_frame(desk: Desk) -> None:
    other = Desk(desk.database, desk.settings)
    desk.arrive(*names(12))
    desk.relay._settings = other.relay._settings = desk.settings.model_copy(update={"max_chunks": 1})
    for _ in range(3):
        desk.step()
        other.relay.step()
    sent = [frame.receipt for message in desk.sent + other.sent for frame in message.frames]
    assert len(sent) == len(set(sent)) == 12


def waiting(client: Redis) -> list[str]:
    """Return the receipts in the queue as a worker would find them, oldest message first."""
    messages: Any = client.lrange(KEY_PREFIX + CLASSIFY_FRAMES, 0, -1)
    bodies = [json.loads(base64.b64decode(json.loads(message)["body"])) for message in reversed(messages)]
    return [frame["receipt"] for body in bodies for frame in body[0][0]["frames"]]


def test_a_real_broker_that_forgets_everything_is_told_again(
    make_settings: MakeSettings, token_for: TokenFor, redis_url: str
) -> None:
    settings = make_settings(redis_url=redis_url, reoffer_after_s=0.5, reoffer_every_s=0.5)
    with running(settings, token_for) as ingest, create_redis(redis_url, START_S) as client:
        ingest.make_camera()
        receipt = ingest.accept("a")
        wait_until("the offer", lambda: waiting(client) == [receipt])
        client.flushall()
        wait_until("the second offer", lambda: waiting(client) == [receipt])
        second = ingest.accept("b", photo(1))
        seen: set[str] = set()

        def both_seen() -> bool:
            seen.update(waiting(client))
            client.flushall()  # as a worker would empty it; a chunk that isn't full waits for that
            return seen == {receipt, second}

        wait_until("both", both_seen)
        ingest.settle({"receipt": receipt, "state": "counted"}, {"receipt": second, "state": "counted"})
        assert ingest.receipt(receipt)["offers"] >= 2
        assert ingest.audit()["counted"] == 2


def test_the_relay_survives_what_nobody_thought_of(
    make_settings: MakeSettings, token_for: TokenFor, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[bool] = []
    real: Callable[..., Any] = relay.claim

    def fails_once(*arguments: Any) -> Any:
        if not failed:
            failed.append(True)
            raise ZeroDivisionError
        return real(*arguments)

    monkeypatch.setattr(relay, "claim", fails_once)
    with running(make_settings(redis_url=redis_url), token_for) as ingest, create_redis(redis_url, START_S) as client:
        ingest.make_camera()
        receipt = ingest.accept("a")
        wait_until("the offer", lambda: waiting(client) == [receipt])
        assert failed
        assert ingest.client.get("/readyz").json()["checks"]["relay"] == "ok"


def test_a_put_never_waits_for_the_broker(make_settings: MakeSettings, token_for: TokenFor) -> None:
    """The broker of these tests never answers; PUT and readiness do."""
    with running(make_settings(), token_for) as ingest:
        ingest.make_camera()
        assert ingest.put("a").status_code == 201
        assert ingest.client.get("/readyz").status_code == 200
