"""Puts frames to ingest, as any camera does."""

import json
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from services.camera_agent.config import Camera, Config
from services.camera_agent.domain import Verdict, asked_wait_s, judge
from services.camera_agent.spool import Kept

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
TOGETHER = 8
"""Uploads at a time: after an outage fifty cameras have something to say."""
MOST_TOLD = 300
MOST_ANSWERED = 64 * 1024
ANSWER_S = 10.0
"""For the whole of an answer's body, which would else hold one of the places as long as bytes come."""


@dataclass(frozen=True)
class Answer:
    """What ingest said: `said` is for the log, `status` 0 when it said nothing."""

    verdict: Verdict
    status: int
    said: str
    wait_s: float = 0.0


class Ingest:
    """The one ingest of this agent, for all cameras' threads."""

    def __init__(self, config: Config, transport: httpx.BaseTransport | None = None) -> None:
        """Raise OSError or ssl.SSLError if the file of trusted certificates is none; `transport` is for tests."""
        self._client = httpx.Client(
            base_url=config.ingest,
            headers={"Accept-Encoding": "identity"},
            timeout=TIMEOUT,
            trust_env=False,
            follow_redirects=False,
            verify=trusted(config.ingest_ca_file),
            limits=httpx.Limits(max_connections=TOGETHER, max_keepalive_connections=TOGETHER),
            transport=transport,
        )
        self._places = threading.BoundedSemaphore(TOGETHER)

    def put(self, camera: Camera, frame: Kept, image: bytes) -> Answer:
        """Put one frame and return what is to become of it; raises nothing that a network or a server can cause."""
        try:
            with (
                self._places,
                self._client.stream(
                    "PUT",
                    f"/v1/cameras/{camera.camera_id}/frames/{frame.frame_id}",
                    content=image,
                    headers={"Captured-At": frame.captured_at.isoformat().replace("+00:00", "Z")},
                    auth=(camera.camera_id, camera.secret),
                ) as answer,
            ):
                document = _document(_body(answer))
        except httpx.HTTPError as error:
            return Answer(Verdict.LATER, 0, f"does not answer ({type(error).__name__})")
        asked_s = asked_wait_s(answer.headers.get("retry-after"), datetime.now(UTC))
        return _understood(answer.status_code, answer.reason_phrase, document, frame.frame_id, asked_s)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def trusted(ca_file: object) -> ssl.SSLContext:
    """Return whom to trust: the system's certificates, or those in the file alone. Raises OSError or ssl.SSLError."""
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


def _understood(status: int, phrase: str, document: dict[str, object], frame_id: str, asked_s: float) -> Answer:
    """Return what an answer means. 200 alone means nothing: a frame is taken when its receipt is in the answer."""
    if status in (200, 201) and not (document.get("receipt") and document.get("frame_id") == frame_id):
        hidden = document.get("status")
        if not isinstance(hidden, int) or hidden < 400:
            said = f"answered {status} without a receipt, so it is no ingest: correct `ingest` in the file"
            return Answer(Verdict.MISCONFIGURED, status, said, asked_s)
        status = hidden  # a problem told as 200, to a camera that takes nothing else
    return Answer(judge(status), status, f"answered {status}: {document.get('detail') or phrase}"[:MOST_TOLD], asked_s)


def _body(answer: httpx.Response) -> bytes:
    """Return an answer's body; none if it is longer than any of ingest's, or drips."""
    body, deadline = bytearray(), time.monotonic() + ANSWER_S
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > MOST_ANSWERED or time.monotonic() > deadline:
            return b""
    return bytes(body)


def _document(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
