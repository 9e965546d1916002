"""The queue's rules, one set for whoever publishes or consumes.

The broker is a doorbell that may forget: tasks are acknowledged on receipt, nothing is retried by Celery, and only
ingest's relay, and for batches the classifier's bell, offer again. Each setting's reason is beside it.
"""

from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from kombu.entity import Queue
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

CLASSIFY_FRAMES = "classify_frames"
CLASSIFY_BATCHES = "classify_batches"
RECORD_ESTIMATES = "record_estimates"
QUEUES = (CLASSIFY_FRAMES, CLASSIFY_BATCHES, RECORD_ESTIMATES)
KEY_PREFIX = "huella:"


def create_celery(name: str, url: str, *, worker: str | None = None) -> Celery:
    """Return a Celery app of the service `name` that knows the queues and the rules; it opens no connection yet.

    `worker` is what the broker lists its connections as, where a service has workers of several kinds.
    """
    app = Celery(name, set_as_current=False)
    app.conf.update(
        broker_url=url,
        broker_connection_timeout=3,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": KEY_PREFIX,
            # Each service keeps its own account of what it holds, so that it needs no rights to another's queue.
            "unacked_key": f"{name}:unacked",
            "unacked_index_key": f"{name}:unacked_index",
            "unacked_mutex_key": f"{name}:unacked_mutex",
            # By this the broker's list of connections tells whose workers are there, unless each has a user of its own.
            "client_name": None if urlsplit(url).username else worker or name,
            "priority_steps": [0],  # each queue is exactly one list, so its length can be read
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 15,
        },
        task_queues=[Queue(name) for name in QUEUES],  # type: ignore[no-untyped-call]  # kombu has no types
        task_create_missing_queues=False,  # a mistyped queue fails instead of losing messages
        task_default_queue=CLASSIFY_FRAMES,
        task_routes={name: {"queue": name} for name in QUEUES},
        task_acks_late=False,  # only the relay redelivers
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # solo can't; a result sent twice counts once
        worker_hijack_root_logger=False,
        worker_enable_remote_control=True,  # with gossip off too, a worker stays deaf after a reconnect
        worker_send_task_events=False,
    )
    return app


def worker_arguments(queue: str) -> list[str]:
    """Return the command line of a worker of `queue`, one message at a time."""
    return ["worker", "--pool=solo", "-Q", queue, "--without-gossip", "--without-mingle", "--loglevel=INFO"]


def create_redis(url: str, timeout_s: float = 1.0) -> Redis:
    """Return a client for looking at queues; it fails within a second or so (`timeout_s`) rather than hang."""
    return Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0))


def queue_length(client: Redis, queue: str) -> int:
    """Return how many messages wait in `queue`. Raises redis.RedisError if the broker does not answer."""
    length: Any = client.llen(KEY_PREFIX + queue)
    return int(length)


def workers(client: Redis, *services: str) -> dict[str, int]:
    """Return how many workers of each service are connected just now. Raises redis.RedisError.

    A worker, and nothing else, holds one connection that listens to Celery's remote control. Where each service has a
    user of its own, its workers of all kinds count as one.
    """
    listening = [one["name"] or one.get("user") for one in client.client_list(_type="pubsub")]
    return {service: listening.count(service) for service in services}


def messages_waiting(client: Redis, *queues: str) -> int | None:
    """Return how many messages wait in `queues`, or None while the broker does not answer."""
    try:
        return sum(queue_length(client, queue) for queue in queues)
    except RedisError:
        return None
