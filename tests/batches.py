"""Batches for the tests that cross services: photos in a zip, sent, followed to the end, and their rows."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from shared.testing import wait_until
from tests.photos import REAL, drawn, named, real
from tests.system import System

LABELS = ("cat", "dog", "none")


def photos(number: int) -> dict[str, bytes]:
    """Return different photos by name: real ones where they are, else drawn ones."""
    if REAL.exists():
        found = [photo for label in LABELS for photo in real(label, -(-number // len(LABELS)))]
    else:
        found = [named(drawn(LABELS[n % 3], n % 12), str(n)) for n in range(number)]
    return {f"photos/{n:04}.jpg": found[n] for n in range(number)}


def small(number: int) -> dict[str, bytes]:
    """Return small drawn photos by name, each with bytes of its own."""
    return {f"{n:04}.jpg": named(drawn(LABELS[n % 3], n % 5, (320, 240)), str(n)) for n in range(number)}


def send(system: System, files: Mapping[str, bytes]) -> str:
    """Send photos as one zip; return the batch's address."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    headers = {"Content-Type": "application/zip"}
    answer = system.ask(
        lambda: system.classifier.post("/v1/batches", content=body.getvalue(), headers=headers, timeout=120)
    )
    assert answer.status_code == 202, answer.text
    assert answer.json()["total"] == len(files)
    return str(answer.headers["Location"])


def progress(system: System, batch: str) -> dict[str, Any]:
    """Return what a batch is at."""
    answer: dict[str, Any] = system.get(system.classifier, batch)
    return answer


def ended(system: System, batch: str) -> int:
    """Return how many inputs of a batch have ended."""
    at = progress(system, batch)
    return int(at["done"] + at["failed"])


def rows(system: System, batch: str, within_s: float = 120) -> list[dict[str, Any]]:
    """Wait until a batch is done and return all its rows. Raises TimeoutError."""
    wait_until("the batch is done", lambda: progress(system, batch)["state"] == "done", within_s, every_s=0.2)
    return list(system.items(system.classifier, f"{batch}/predictions", limit=200))
