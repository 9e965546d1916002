"""Bodies of `POST /v1/batches` and what their answers must be, for all tests of its API."""

import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from services.image_classifier.batches.tables import batches, contents, inputs
from services.image_classifier.settings import Settings
from services.image_classifier.tests.ingest_double import photo
from shared.database import Database

GOOD = photo("cat")
ZIP = {"Content-Type": "application/zip"}
Files = dict[str, bytes]
SPAN = {"since": "2026-11-22T10:00:00Z", "until": "2026-11-22T11:00:00Z"}


def zipped(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def many(number: int) -> Files:
    return {f"{n}.jpg": GOOD for n in range(number)}


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["type"], body["status"]) == (f"urn:huella:problem:{slug}", status)
    assert len(body["detail"]) > 40
    return body


def left(settings: Settings, database: Database) -> tuple[int, int, int, list[Path]]:
    """Return what there is of batches: rows, and files of the folder in which bodies are received."""
    with database.read() as connection:
        numbers = [connection.scalar(select(func.count()).select_from(t)) or 0 for t in (batches, inputs, contents)]
    return numbers[0], numbers[1], numbers[2], list(settings.scratch.iterdir())
