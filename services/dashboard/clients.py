"""The other services, as the page uses them: each call with the rights of the person for whom it is made.

ServiceDown
  the service did not answer in time, or answered that it can't now; carries its name.
Refused
  the service answered that the request is wrong or not allowed; carries the status and what to do.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from services.dashboard import shapes
from services.dashboard.store import Person
from shared.tokens import PEOPLE, Role, Signer

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=BaseModel)
TOKEN_S = 60
STREAM_S = 3600  # the stream of changes ends with its token, and is then opened anew
PAGES = 25


class ServiceDown(Exception):
    """A service can't be asked now."""

    def __init__(self, service: str) -> None:
        super().__init__(f"{service} does not answer")
        self.service = service


class Refused(Exception):
    """A service refused a request."""

    def __init__(self, service: str, status: int, detail: str) -> None:
        super().__init__(f"{service} answered {status}: {detail}")
        self.service = service
        self.status = status
        self.detail = detail


class Client:
    """What the three clients have in common; `transport` stands in for the network in tests."""

    service = ""

    def __init__(
        self, url: str, signer: Signer, timeout_s: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._signer = signer
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 2.0)),
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=10),
            transport=transport,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ready(self) -> dict[str, str]:
        """Return what the service says of its own parts: name → `ok` or `failed`. Raises ServiceDown."""
        try:
            answer = await self._http.get("/readyz")
            checks = answer.json().get("checks", {})
        except (httpx.HTTPError, ValueError, AttributeError):
            raise ServiceDown(self.service) from None
        return {str(name): str(state) for name, state in checks.items()}

    def _authorization(self, person: Person) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._signer.mint(person.name, person.role, PEOPLE, TOKEN_S)}"}

    async def _send(self, person: Person, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**options.pop("headers", {}), **self._authorization(person)}
        # A kept connection may have been closed meanwhile: asking twice for what changes nothing is safe.
        for last in (False, True) if method == "GET" else (True,):
            try:
                answer = await self._http.request(method, path, headers=headers, **options)
                break
            except httpx.HTTPError as error:
                if last or isinstance(error, httpx.TimeoutException):
                    log.warning("service does not answer", asked=self.service, kind=type(error).__name__)
                    raise ServiceDown(self.service) from None
        if answer.status_code >= 500:
            log.warning("service answers an error", asked=self.service, status=answer.status_code)
            raise ServiceDown(self.service)
        if answer.status_code >= 400:
            raise Refused(self.service, answer.status_code, _detail(answer))
        return answer

    async def _get(self, person: Person, path: str, shape: type[T], **parameters: object) -> T:
        answer = await self._send(person, "GET", path, params=_given(parameters))
        return self._read(answer, shape)

    def _read(self, answer: httpx.Response, shape: type[T]) -> T:
        try:
            return shape.model_validate_json(answer.content)
        except ValidationError as error:
            log.error("answer has another shape", asked=self.service, shape=shape.__name__, errors=error.error_count())
            raise ServiceDown(self.service) from None

    async def _list(self, person: Person, path: str, shape: type[T], most: int, **parameters: object) -> list[T]:
        """Follow a list's pages until its end or until `most` items."""
        found: list[T] = []
        cursor: str | None = None
        for _ in range(PAGES):
            limit = min(200, most - len(found))
            page = (
                await self._send(person, "GET", path, params=_given({**parameters, "limit": limit, "cursor": cursor}))
            ).json()
            try:
                found += [shape.model_validate(item) for item in page["items"]]
            except (ValidationError, KeyError, TypeError):
                log.error("answer has another shape", asked=self.service, shape=shape.__name__)
                raise ServiceDown(self.service) from None
            cursor = page.get("next")
            if not cursor or len(found) >= most:
                break
        return found


def _given(parameters: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items() if value is not None}


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail", ""))[:500]
    except (ValueError, AttributeError):
        return ""


def part(name: str) -> str:
    """Return a name as one part of a path, whatever characters it has."""
    return quote(name, safe="")


class Ingest(Client):
    """camera_ingest: cameras, frames, the audit."""

    service = "camera_ingest"

    async def cameras(self, person: Person) -> list[shapes.Camera]:
        """Return every camera (at most 2,000)."""
        return await self._list(person, "/v1/cameras", shapes.Camera, 2000)

    async def camera(self, person: Person, camera_id: str) -> shapes.Camera:
        """Return one camera."""
        return await self._get(person, f"/v1/cameras/{part(camera_id)}", shapes.Camera)

    async def put_camera(
        self, person: Person, camera_id: str, space_id: str, switches: Mapping[str, str | bool | int | None]
    ) -> str | None:
        """Make or change a camera, with those of its `switches` that change; return a secret if it was given one."""
        chosen = {"space_id": space_id, **switches}
        answer = await self._send(person, "PUT", f"/v1/cameras/{part(camera_id)}", json=chosen)
        secret = answer.json().get("secret")
        return None if secret is None else str(secret)

    async def rotate_secret(self, person: Person, camera_id: str) -> str:
        """Give a camera a new secret and return it; the one before stays good until the next."""
        answer = await self._send(person, "POST", f"/v1/cameras/{part(camera_id)}/secrets")
        return str(answer.json()["secret"])

    async def revoke_old_secret(self, person: Person, camera_id: str) -> None:
        """Make all secrets of a camera but the newest invalid."""
        await self._send(person, "DELETE", f"/v1/cameras/{part(camera_id)}/secrets", params={"which": "old"})

    async def remove_camera(self, person: Person, camera_id: str) -> None:
        """Remove a camera; its frames stay."""
        await self._send(person, "DELETE", f"/v1/cameras/{part(camera_id)}")

    async def audit(self, person: Person) -> shapes.Audit:
        """Return the books."""
        return await self._get(person, "/v1/audit", shapes.Audit)

    async def rejected(self, person: Person, most: int) -> list[shapes.Receipt]:
        """Return the newest rejected frames."""
        return await self._list(person, "/v1/receipts", shapes.Receipt, most, state="rejected", newest_first="true")

    async def receipt(self, person: Person, receipt: str) -> shapes.Receipt:
        """Return a frame's fate."""
        return await self._get(person, f"/v1/receipts/{part(receipt)}", shapes.Receipt)

    async def offer_again(self, person: Person, receipt: str) -> None:
        """Offer a rejected frame to the classifier again."""
        await self._send(person, "POST", f"/v1/receipts/{part(receipt)}/offers")

    async def pipeline(self, person: Person) -> shapes.Pipeline:
        """Return how frames flow."""
        return await self._get(person, "/v1/pipeline", shapes.Pipeline)

    async def retention(self, person: Person) -> shapes.Retention:
        """Return for how long photos are kept."""
        return await self._get(person, "/v1/retention", shapes.Retention)

    async def image(self, person: Person, receipt: str) -> tuple[bytes, str]:
        """Return a photo without its metadata, and its media type."""
        answer = await self._send(person, "GET", f"/v1/receipts/{part(receipt)}/image")
        return answer.content, answer.headers.get("content-type", "application/octet-stream")


class Classifier(Client):
    """image_classifier: what the model says of a photo."""

    service = "image_classifier"

    async def predict(self, person: Person, image: bytes) -> shapes.Prediction:
        """Ask the model of one photo."""
        headers = {"Content-Type": "application/octet-stream"}
        answer = await self._send(person, "POST", "/v1/predictions", content=image, headers=headers, timeout=20)
        return self._read(answer, shapes.Prediction)

    async def rollout(self, person: Person) -> shapes.Rollout:
        """Return the rollout in force."""
        return await self._get(person, "/v1/rollout", shapes.Rollout)

    async def report(self, person: Person) -> shapes.RolloutReport:
        """Return its evidence."""
        return await self._get(person, "/v1/rollout/report", shapes.RolloutReport)

    async def changes(self, person: Person, most: int) -> list[shapes.Rollout]:
        """Return the newest changes of the rollout."""
        return await self._list(person, "/v1/rollout/revisions", shapes.Rollout, most)

    async def versions(self, person: Person) -> list[shapes.ModelVersion]:
        """Return the model versions that there are."""
        return await self._list(person, "/v1/models", shapes.ModelVersion, 200)

    async def put_rollout(self, person: Person, body: dict[str, object]) -> None:
        """Put a rollout in force."""
        await self._send(person, "PUT", "/v1/rollout", json=body)

    async def undo_rollout(self, person: Person, reason: str) -> None:
        """Take the last change of the rollout back."""
        await self._send(person, "POST", "/v1/rollout/undo", json={"reason": reason})


class Aggregation(Client):
    """aggregation: spaces, what is in them, and what people decide."""

    service = "aggregation"

    async def status(self, person: Person, etag: str | None = None) -> tuple[shapes.Status | None, str | None]:
        """Return the adoption status and its ETag; None instead of the status if `etag` still names it."""
        headers = {"If-None-Match": etag} if etag else {}
        answer = await self._send(person, "GET", "/v1/adoption-status", headers=headers)
        if answer.status_code == 304:
            return None, etag
        return self._read(answer, shapes.Status), answer.headers.get("etag")

    async def put_space(self, person: Person, space_id: str, **fields: object) -> None:
        """Make or change a space."""
        await self._send(person, "PUT", f"/v1/spaces/{part(space_id)}", json=fields)

    async def space(self, person: Person, space_id: str) -> shapes.Space:
        """Return one space."""
        return await self._get(person, f"/v1/spaces/{part(space_id)}", shapes.Space)

    async def set_in_service(self, person: Person, space_id: str, in_service: bool) -> None:
        """Take a space out of service, or back."""
        await self._send(person, "PATCH", f"/v1/spaces/{part(space_id)}", json={"in_service": in_service})

    async def spans(self, person: Person, space_id: str, since: str) -> list[shapes.Span]:
        """Return what a space showed since a time (RFC 3339), by time."""
        spans = await self._list(person, f"/v1/spaces/{part(space_id)}/history", shapes.Span, 1000, since=since)
        return sorted(spans, key=lambda span: span.from_)

    async def estimates(self, person: Person, space_id: str, most: int) -> list[shapes.Estimate]:
        """Return the newest estimates of a space."""
        return await self._list(person, f"/v1/spaces/{part(space_id)}/estimates", shapes.Estimate, most)

    async def estimate(self, person: Person, receipt: str) -> shapes.Estimate:
        """Return the estimate of one frame."""
        return await self._get(person, f"/v1/estimates/{part(receipt)}", shapes.Estimate)

    async def reviews(self, person: Person, most: int) -> list[shapes.Reviewed]:
        """Return the newest frames that a person should look at."""
        return await self._list(person, "/v1/reviews", shapes.Reviewed, most)

    async def stays(self, person: Person, most: int, **filters: object) -> list[shapes.Stay]:
        """Return stays; filters: `space_id`, `since`, `open`."""
        return await self._list(person, "/v1/stays", shapes.Stay, most, **filters)

    async def decide_stay(self, person: Person, stay: str, version: str, **fields: object) -> None:
        """Decide about a stay as it was at `version`: `state`, `number_of_animals`, `note`. Raises Refused 412."""
        headers = {"If-Match": f'"{version}"'}
        await self._send(person, "PATCH", f"/v1/stays/{part(stay)}", json=fields, headers=headers)

    async def correct(self, person: Person, receipt: str, label: str) -> None:
        """Say what is on a photo."""
        await self._send(person, "PUT", f"/v1/estimates/{part(receipt)}/correction", json={"label": label})

    async def undo_correction(self, person: Person, receipt: str) -> None:
        """Take back what was said of a photo."""
        await self._send(person, "DELETE", f"/v1/estimates/{part(receipt)}/correction")

    async def reconciliation(self, person: Person) -> shapes.Reconciliation:
        """Compare this service's books with ingest's, by hour."""
        return await self._get(person, "/v1/reconciliation", shapes.Reconciliation)

    @asynccontextmanager
    async def events(self, last_id: str | None) -> AsyncIterator[AsyncIterator[str]]:
        """Give the lines of the stream of changes after `last_id`. Raises ServiceDown."""
        token = self._signer.mint("dashboard", Role.VIEWER, PEOPLE, STREAM_S)
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        # Its heartbeat comes every 15 s.
        timeout = httpx.Timeout(40, connect=2)
        try:
            async with self._http.stream(
                "GET", "/v1/adoption-status/events", headers=headers, timeout=timeout
            ) as answer:
                if answer.status_code != 200:
                    raise ServiceDown(self.service)
                yield answer.aiter_lines()
        except httpx.HTTPError:
            raise ServiceDown(self.service) from None
