"""image_classifier's batches, as the page uses them: bodies go through as they come, none is held."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from services.dashboard import shapes
from services.dashboard.clients import Client, Refused, ServiceDown, part
from services.dashboard.store import Person

SEND_S = 900.0


class Batches(Client):
    """Many photos as one job."""

    service = "image_classifier"

    async def list(self, person: Person, cursor: str | None) -> shapes.BatchPage:
        """Return a page of batches, the newest first."""
        return await self._get(person, "/v1/batches", shapes.BatchPage, limit=20, cursor=cursor)

    async def batch(self, person: Person, batch_id: str) -> shapes.Batch:
        """Return one batch."""
        return await self._get(person, f"/v1/batches/{part(batch_id)}", shapes.Batch)

    async def predictions(self, person: Person, batch_id: str, limit: int, after: int) -> shapes.BatchPredictions:
        """Return what became of photos, from after the one of number `after`."""
        path = f"/v1/batches/{part(batch_id)}/predictions"
        return await self._get(person, path, shapes.BatchPredictions, limit=limit, cursor=after or None)

    async def thumbnail(self, person: Person, batch_id: str, number: int) -> bytes:
        """Return the small picture of a photo."""
        return (await self._send(person, "GET", f"/v1/batches/{part(batch_id)}/predictions/{number}/thumbnail")).content

    async def cancel(self, person: Person, batch_id: str) -> None:
        """End a batch; what is predicted stays."""
        await self._send(person, "PATCH", f"/v1/batches/{part(batch_id)}", json={"state": "cancelled"})

    async def remove(self, person: Person, batch_id: str) -> None:
        """Remove a batch with all that it has."""
        await self._send(person, "DELETE", f"/v1/batches/{part(batch_id)}", timeout=30)

    async def send(self, person: Person, body: AsyncIterator[bytes], headers: dict[str, str]) -> str:
        """Send a form of photos as the browser sends it; return the new batch's id."""
        # The service is silent until it has kept all of it.
        timeout = httpx.Timeout(SEND_S, connect=2)
        answer = await self._send(person, "POST", "/v1/batches", content=body, headers=headers, timeout=timeout)
        return self._read(answer, shapes.BatchSent).id

    @asynccontextmanager
    async def results(self, person: Person, batch_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the results as CSV, piece by piece. Raises ServiceDown, Refused."""
        headers = {"Accept": "text/csv", **self._authorization(person)}
        try:
            async with self._http.stream(
                "GET", f"/v1/batches/{part(batch_id)}/predictions", headers=headers, timeout=60
            ) as answer:
                if answer.status_code >= 500:
                    raise ServiceDown(self.service)
                if answer.status_code == 409:
                    raise Refused(self.service, 409, "The batch has not ended yet; its results come with its end.")
                if answer.status_code != 200:
                    raise Refused(self.service, answer.status_code, "There is no such batch.")
                yield answer.aiter_bytes()
        except httpx.HTTPError:
            raise ServiceDown(self.service) from None
