"""The load generator tells the truth: about what was answered, and about what was asked too late."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.benchmarks.load import Job, Target, run_job
from tests.photos import solid

SLOW_S = 0.2


class Handler(BaseHTTPRequestHandler):
    """Answers by the path; keeps what it was sent."""

    protocol_version = "HTTP/1.1"
    bodies: list[bytes]

    def do_PUT(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))  # type: ignore[attr-defined]  # ours
        kind = self.path.split("/")[1]
        if kind == "slow":
            threading.Event().wait(SLOW_S)
        self.send_response({"refused": 503, "silent": 503}.get(kind, 201))
        if kind == "refused":
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.bodies = []  # type: ignore[attr-defined]  # what Handler keeps
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def target(server: ThreadingHTTPServer, kind: str) -> Target:
    return Target(server.server_address[1], "PUT", [(f"/{kind}/{{n}}", "none")])


def test_every_photo_has_bytes_of_its_own_and_is_counted(server: ThreadingHTTPServer) -> None:
    outcome = run_job(Job(target(server, "good"), 3, 0.5), [solid()], run=1)
    bodies = server.bodies  # type: ignore[attr-defined]  # as above
    assert outcome.good == len(bodies) == len(set(bodies)) > 0
    assert outcome.status == {"201": outcome.good}


@pytest.mark.parametrize(("kind", "silent"), [("refused", False), ("silent", True)])
def test_a_refusal_counts_as_silent_only_if_it_does_not_say_when_to_come_again(
    server: ThreadingHTTPServer, kind: str, silent: bool
) -> None:
    outcome = run_job(Job(target(server, kind), 1, 0.2), [solid()], run=1)
    assert outcome.good == 0
    assert outcome.silent_refusals == (outcome.status["503"] if silent else 0)


def test_in_an_open_loop_a_photo_that_waits_for_a_slow_answer_is_late(server: ThreadingHTTPServer) -> None:
    outcome = run_job(Job(target(server, "slow"), 1, 1.0, rate=20), [solid()], run=1)
    # One client carries at most five a second of the twenty that are due: each waits longer than the one before.
    assert outcome.latencies == sorted(outcome.latencies)
    assert outcome.latencies[-1] > 2 * SLOW_S
    assert outcome.good + outcome.unsent == 20
