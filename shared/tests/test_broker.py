"""The queue's rules hold on a real Redis: one list a queue, JSON only, no result, refusals at once."""

import json
import subprocess
import sys
import time

import pytest
from kombu.exceptions import OperationalError
from redis import RedisError

from shared.broker import (
    CLASSIFY_FRAMES,
    QUEUES,
    create_celery,
    create_redis,
    messages_waiting,
    queue_length,
    worker_arguments,
    workers,
)
from shared.testing import START_S, free_port, wait_until


def test_each_task_goes_to_the_one_list_of_its_name(redis_url: str) -> None:
    celery = create_celery("tests", redis_url)
    with create_redis(redis_url, START_S) as redis, celery:
        for number, queue in enumerate(QUEUES, start=1):
            for _ in range(number):
                celery.send_task(queue, args=[{"schema": 1}])
            assert queue_length(redis, queue) == number == messages_waiting(redis, queue)
        keys = {key.decode() for key in redis.scan_iter() if redis.type(key) == b"list"}
        assert keys == {f"huella:{queue}" for queue in QUEUES}
        wire = json.loads(redis.lindex(f"huella:{CLASSIFY_FRAMES}", 0))
        assert wire["content-type"] == "application/json"


def test_an_unknown_queue_is_refused_rather_than_made(redis_url: str) -> None:
    celery = create_celery("tests", redis_url)
    with celery, pytest.raises(Exception, match="clasify"):
        celery.send_task("clasify_frames", queue="clasify_frames")


def test_a_broker_that_is_away_is_told_soon() -> None:
    url = f"redis://:x@127.0.0.1:{free_port()}/0"
    started = time.monotonic()
    with create_celery("tests", url) as celery, pytest.raises(OperationalError):
        celery.send_task(CLASSIFY_FRAMES, args=[{}])
    with create_redis(url) as redis:
        with pytest.raises(RedisError):
            queue_length(redis, CLASSIFY_FRAMES)
        assert messages_waiting(redis, CLASSIFY_FRAMES) is None
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("kind", "counted"),
    [
        ("", {"aggregation": 1, "another": 0, "camera_ingest": 0}),
        ("another", {"aggregation": 0, "another": 1, "camera_ingest": 0}),
    ],
)
def test_a_worker_is_counted_as_what_it_is_while_it_is_connected_and_nobody_else_is(
    redis_url: str, kind: str, counted: dict[str, int]
) -> None:
    program = (
        "import sys; from shared.broker import create_celery, worker_arguments; "
        "app = create_celery('aggregation', sys.argv[1], worker=sys.argv[2]); "
        "app.worker_main(worker_arguments('record_estimates'))"
    )
    publisher = create_celery("camera_ingest", redis_url)
    with create_redis(redis_url, START_S) as redis, publisher:
        publisher.send_task(CLASSIFY_FRAMES, args=[{"schema": 1}])
        nobody = dict.fromkeys(counted, 0)
        assert workers(redis, *counted) == nobody
        process = subprocess.Popen(
            [sys.executable, "-c", program, redis_url, kind], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        try:
            wait_until("it is there", lambda: workers(redis, *counted) == counted, 60)
        finally:
            process.kill()
            process.wait()
        wait_until("it is gone", lambda: workers(redis, *counted) == nobody, 60)


def test_only_the_relay_redelivers() -> None:
    conf = create_celery("tests", "redis://127.0.0.1:1/0").conf
    assert not conf.task_acks_late
    assert conf.task_ignore_result
    assert conf.result_backend is None
    assert list(conf.accept_content) == ["json"]
    assert conf.worker_disable_prefetch


def test_a_worker_keeps_remote_control_because_gossip_is_off() -> None:
    arguments = worker_arguments(CLASSIFY_FRAMES)
    assert "--without-gossip" in arguments
    assert create_celery("tests", "redis://127.0.0.1:1/0").conf.worker_enable_remote_control
    assert arguments[arguments.index("-Q") + 1] == CLASSIFY_FRAMES


def test_each_service_keeps_its_own_account_of_what_it_holds(redis_url: str) -> None:
    options = [create_celery(name, redis_url).conf.broker_transport_options for name in ("one", "two")]
    accounts = [{value for key, value in each.items() if key.startswith("unacked")} for each in options]
    assert len(accounts[0]) == len(accounts[1]) == 3
    assert not accounts[0] & accounts[1]
