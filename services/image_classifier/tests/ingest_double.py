"""camera_ingest as the classifier sees it: photos drawn in one colour, and its answer to `POST /v1/images`."""

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image, ImageDraw

from shared.messages import ClassifyFrames, FrameToClassify, to_wire

COLOURS = {"cat": (230, 20, 20), "dog": (20, 20, 230), "both": (230, 20, 230), "none": (20, 90, 20)}
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def photo(label: str = "cat", size: tuple[int, int] = (64, 48), kind: str = "JPEG", comment: bytes = b"") -> bytes:
    """Draw what the tiny model calls `label`, sharp and in white light: behind bars; `comment` goes into a JPEG."""
    image = Image.new("RGB", size, COLOURS[label])
    draw = ImageDraw.Draw(image)
    for x in range(0, size[0], max(1, size[0] // 8)):
        draw.line((x, 0, x, size[1]), fill=(255, 255, 255), width=max(1, size[0] // 64))
    out = io.BytesIO()
    options = {"quality": 90, "comment": comment} if kind == "JPEG" else {}
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(photos: Mapping[str, bytes], ingest_url: str, **changes: object) -> dict[str, object]:
    """Return the `classify_frames` message that offers these photos by receipt; `changes` replace its fields."""
    frames = [
        FrameToClassify(
            receipt=receipt, camera_id="c1", space_id="k1", observed_at=NOON, sha256=hashlib.sha256(content).hexdigest()
        )
        for receipt, content in photos.items()
    ]
    message = ClassifyFrames(
        chunk="chunk-1",
        offered_at=NOON,
        images_url=f"{ingest_url}/v1/images",
        frames=frames,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    return to_wire(message) | changes


def tar_answer(photos: Mapping[str, bytes], states: Mapping[str, str] | None = None) -> bytes:
    """Return what ingest answers: an index of all states, and the photos of those that are accepted."""
    states = dict.fromkeys(photos, "accepted") if states is None else states
    index = [{"receipt": receipt, "state": state, "media_type": "image/jpeg"} for receipt, state in states.items()]
    members = [("index.json", json.dumps({"frames": index}).encode())]
    members += [(receipt, content) for receipt, content in photos.items() if states.get(receipt) == "accepted"]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@contextmanager
def serve_ingest(
    photos: Mapping[str, bytes], seen: Callable[[BaseHTTPRequestHandler], None] = lambda _: None
) -> Iterator[str]:
    """Serve `photos` on a loopback port and give ingest's URL; `seen` is called with each request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            seen(self)
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["receipts"]
            body = tar_answer({receipt: photos[receipt] for receipt in asked if receipt in photos})
            self.send_response(200)
            self.send_header("Content-Type", "application/x-tar")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
