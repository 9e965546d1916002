"""The corrected frames as a training set, and the training's own reader of it."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import httpx

from services.image_classifier.main import create_app
from services.image_classifier.rollout import feedback
from services.image_classifier.settings import Settings
from services.image_classifier.tests.ingest_double import photo, tar_answer
from services.image_classifier.tests.rollout_worker import AT, feedback_row
from services.image_classifier.training import photos
from shared.database import Database
from shared.testing import TokenFor


class Pieces(httpx.SyncByteStream):
    """An answer that is sent while it is read, as over a network."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._content), 1000):
            yield self._content[start : start + 1000]


def asked(taken: Mapping[str, bytes], request: httpx.Request) -> dict[str, bytes]:
    """Return those photos that a request names and that are still kept."""
    return {one: taken[one] for one in json.loads(request.content)["receipts"] if one in taken}


async def test_an_export_is_what_the_training_reads(
    settings: Settings, database: Database, token_for: TokenFor, tmp_path: Path
) -> None:
    taken = {f"r{n}": photo(label) for n, label in enumerate(("cat", "dog", "none", "both", "cat", "dog"))}
    labels = {"r0": "cat", "r1": "dog", "r2": "none", "r3": "both", "r4": "dog", "r5": "unsure", "gone": "cat"}
    rows = [
        feedback_row(receipt, label, AT + timedelta(minutes=n)) for n, (receipt, label) in enumerate(labels.items())
    ]
    database.write(lambda connection: feedback.take(connection, rows, []))
    ingest = httpx.MockTransport(lambda request: httpx.Response(200, stream=Pieces(tar_answer(asked(taken, request)))))
    app = create_app(settings, ingest_transport=ingest)
    headers = {"Authorization": f"Bearer {token_for('viewer')}"}
    folder, url = tmp_path / "corrected", "/v1/feedback/export?format=tar&limit=4"
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://classifier", headers=headers) as viewer,
    ):
        while url:
            answer = await viewer.get(url)
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-tar")
            with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
                for member in tar:
                    unpacked, content = folder / member.name, tar.extractfile(member)
                    assert content is not None, member.name
                    unpacked.parent.mkdir(parents=True, exist_ok=True)
                    unpacked.write_bytes(content.read())
            url = answer.links.get("next", {}).get("url", "")
    found = {found.name: (found.label, content) for found, content in photos.read(folder)}
    # Nobody learns from a frame of which people were unsure, nor from one that is no longer kept.
    assert found == {
        f"{labels[receipt]}/{receipt}.jpg": (labels[receipt], taken[receipt])
        for receipt in ("r0", "r1", "r2", "r3", "r4")
    }


async def test_an_export_says_so_if_there_are_no_photos_to_be_had(
    settings: Settings, database: Database, token_for: TokenFor
) -> None:
    database.write(lambda connection: feedback.take(connection, [feedback_row("r1", "cat", AT)], []))
    app = create_app(settings, ingest_transport=httpx.MockTransport(lambda _: httpx.Response(500)))
    headers = {"Authorization": f"Bearer {token_for('viewer')}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://classifier", headers=headers) as viewer,
    ):
        for _ in range(3):  # a place that was not given back would run out
            answer = await viewer.get("/v1/feedback/export?format=tar")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
            assert "camera_ingest" in answer.json()["detail"]
