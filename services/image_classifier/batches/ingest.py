"""Asks camera_ingest which frames a camera sent in a span of time; their images are fetched by the workers."""

from datetime import datetime
from typing import Any

import httpx
import structlog

from services.image_classifier.batches.rules import INPUTS_LIMIT
from shared.messages import isoformat
from shared.problem import Problem, unavailable
from shared.tokens import ServiceToken

log = structlog.get_logger(__name__)

PAGE = 200


class IngestReceipts:
    """A client of camera_ingest's list of receipts; `transport` stands in for the network in tests."""

    def __init__(self, url: str, token: ServiceToken, transport: httpx.BaseTransport | None = None) -> None:
        self._token = token
        self._client = httpx.Client(base_url=url, timeout=10, transport=transport, trust_env=False)

    def of_camera(self, camera_id: str, since: datetime, until: datetime) -> list[str]:
        """Return the receipts of a camera's frames that were received from `since` to before `until`.

        Raises Problem 422 if they are more than a batch takes, 503 if camera_ingest does not answer.
        """
        found: list[str] = []
        query: dict[str, str | int] = {
            "camera_id": camera_id,
            "since": isoformat(since),
            "until": isoformat(until),
            "limit": PAGE,
        }
        while True:
            page = self._page(query)
            found += [str(item["receipt"]) for item in page["items"]]
            if len(found) > INPUTS_LIMIT:
                detail = f"{camera_id!r} sent more than {INPUTS_LIMIT:,} frames in this span. Ask for shorter spans."
                raise Problem(422, "too-many-inputs", detail)
            if not page["next"]:
                return found
            query["cursor"] = page["next"]

    def _page(self, query: dict[str, str | int]) -> dict[str, Any]:
        try:
            answer = self._client.get("/v1/receipts", params=query, headers=self._token.header())
            answer.raise_for_status()
            page: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            log.warning("receipts can't be had from camera_ingest", error=f"{type(error).__name__}: {error}"[:200])
            raise unavailable("camera_ingest does not tell its receipts just now. Send it again later.", 10) from None
        if "items" not in page or "next" not in page:
            raise Problem(502, "bad-gateway", "camera_ingest gave an answer that is no page. Its log may tell why.")
        return page

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
