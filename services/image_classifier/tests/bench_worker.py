"""What the worker's surroundings cost: `python -m services.image_classifier.tests.bench_worker [model folder]`.

Prints the CPU ms a frame, least of many rounds, of a bare loop (decode, one forward pass a chunk) and of the
handler as a worker runs it: message in, images over HTTP from another process, digests, decode, model, message out.
"""

import hashlib
import io
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from services.image_classifier import images
from services.image_classifier.classify import Tools, classify_frames
from services.image_classifier.decode import decode
from services.image_classifier.model_version import DEFAULT_FOLDER, ModelVersion
from services.image_classifier.rollout.journal import Entry
from services.image_classifier.rollout.lineup import alone
from services.image_classifier.tests.ingest_double import chunk, serve_ingest
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared import logs
from shared.tokens import ServiceToken, Signer, make_keys

CHUNK = 16
ROUNDS = 25


def scene(seed: int) -> bytes:
    """Draw a 1280x720 JPEG of about 150 kB: shapes, and the grain of a cheap sensor."""
    chance = np.random.default_rng(seed)
    image = Image.new("RGB", (1280, 720), tuple(chance.integers(60, 200, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y, w, h = chance.integers(10, [1280, 720, 200, 200]).tolist()
        draw.ellipse((x, y, x + w, y + h), fill=tuple(chance.integers(0, 255, 3).tolist()))
    grain = chance.normal(0, 6, (720, 1280, 3))
    noisy = Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
    out = io.BytesIO()
    noisy.save(out, "JPEG", quality=80)
    return out.getvalue()


def serve(photos: dict[str, bytes], pipe: Connection) -> None:
    """Serve the photos in a process of its own, so that its cost is not the worker's."""
    with serve_ingest(photos) as url:
        pipe.send(url)
        pipe.recv()


def cpu_ms_a_frame(**works: Callable[[], object]) -> dict[str, float]:
    """Return the least CPU time of each work over the rounds, in ms a frame; they take turns, so that noise is fair."""
    least = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            started = time.process_time()
            work()
            least[name] = min(least[name], time.process_time() - started)
    return {name: 1000 * seconds / CHUNK for name, seconds in least.items()}


def main() -> None:
    """Measure and print."""
    logs.configure("bench", level="warning")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
        if not folder.exists():
            folder = write_tiny_model(Path(name) / "tiny")
            print("There is no trained model yet: this is the tiny one of the tests.")
        model = ModelVersion.load(folder)
        make_keys(Path(name) / "keys")
        photos = {f"receipt-{n}": scene(n) for n in range(CHUNK)}
        print(f"{CHUNK} photos of {sum(map(len, photos.values())) / CHUNK / 1000:.0f} kB, model {folder.parent.name}")

        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve, args=(photos, theirs))
        server.start()
        url = ours.recv()
        token = ServiceToken(Signer(Path(name) / "keys", "image_classifier"), "camera_ingest")
        fetch = partial(images.fetch, images.create_client(10), token, deadline_s=30, image_bytes=10_000_000)
        published: list[dict[str, object]] = []
        in_force, entries = alone(model), list[Entry]()
        tools = Tools(url, lambda: in_force, decode, fetch, published.append, entries.append)
        message, url = chunk(photos, url), f"{url}/v1/images"
        size = model.manifest.input_size

        def fetch_alone() -> None:
            with fetch(url, list(photos)) as answer:
                for _ in answer.members:
                    pass

        cost = cpu_ms_a_frame(
            bare=lambda: model.predict([decode(content, size) for content in photos.values()]),
            digest=lambda: [hashlib.sha256(content).hexdigest() for content in photos.values()],
            fetch=fetch_alone,
            handler=lambda: classify_frames(message, tools),
        )
        ours.send("end")
        server.join()
        results = published[-1]["results"]
        assert isinstance(results, list)
        assert [result["outcome"] for result in results] == ["estimate"] * CHUNK
        print(f"bare decode and predict {cost['bare']:.2f}, handler {cost['handler']:.2f} CPU ms a frame, so ")
        print(f"surroundings {cost['handler'] - cost['bare']:.2f}, of which ", end="")
        print(f"fetching {cost['fetch']:.2f} and digests {cost['digest']:.2f}")


if __name__ == "__main__":
    main()
