"""Puts frames to ingest, as any camera does."""

import ssl
import threading
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
            with self._places:
                answer = self._client.put(
                    f"/v1/cameras/{camera.camera_id}/frames/{frame.frame_id}",
                    content=image,
                    headers={"Captured-At": frame.captured_at.isoformat().replace("+00:00", "Z")},
                    auth=(camera.camera_id, camera.secret),
                )
        except httpx.HTTPError as error:
            return Answer(Verdict.LATER, 0, f"does not answer ({type(error).__name__})")
        said = f"answered {answer.status_code}: {_detail(answer)}"
        asked_s = asked_wait_s(answer.headers.get("retry-after"), datetime.now(UTC))
        return Answer(judge(answer.status_code), answer.status_code, said, asked_s)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def trusted(ca_file: object) -> ssl.SSLContext:
    """Return whom to trust: the system's certificates, or those in the file alone. Raises OSError or ssl.SSLError."""
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


def _detail(answer: httpx.Response) -> str:
    try:
        document = answer.json()
    except ValueError:
        return answer.reason_phrase
    detail = document.get("detail") if isinstance(document, dict) else None
    return str(detail or answer.reason_phrase)[:MOST_TOLD]
