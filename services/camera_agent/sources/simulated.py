"""`simulated:`: a drawn kennel, to try the agent and what comes after it where there is no camera."""

import io
import random
import zlib
from datetime import UTC, datetime
from threading import Event

from PIL import Image, ImageDraw, ImageFilter

from services.camera_agent.config import Camera
from services.camera_agent.entries import SIMULATED
from services.camera_agent.sources.photos import Photo, Photos, ticks

SIZE = (1280, 720)
CHAPTER_S = 120
"""How long who is there stays there, when the source does not say who."""
POSE_S = 20


def photos(camera: Camera, stopped: Event) -> Photos:
    """Give a drawn scene each `every_s` seconds; animals move every POSE_S seconds, else there is only noise."""
    wanted = camera.entry.source.removeprefix("simulated:")
    for _ in ticks(camera.entry.every_s, stopped):
        captured_at = datetime.now(UTC)
        yield Photo(captured_at, draw(camera.camera_id, wanted, captured_at.timestamp()))


def draw(camera_id: str, wanted: str, moment_s: float) -> bytes:
    """Return what the camera sees at a time (seconds since 1970) as JPEG; equal arguments give equal bytes.

    `wanted` is cat, dog, both, none, or empty for one after the other.
    """
    kennel = zlib.crc32(camera_id.encode())
    if not wanted:
        wanted = SIMULATED[1 + (int(moment_s // CHAPTER_S) + kennel) % (len(SIMULATED) - 1)]
    picture = _room(random.Random(kennel))  # noqa: S311 - pictures, not secrets
    pose = random.Random(kennel ^ int(moment_s // POSE_S))  # noqa: S311 - as above
    for species in ("cat", "dog"):
        if wanted in (species, "both"):
            _animal(ImageDraw.Draw(picture), species, pose)
    _bars(ImageDraw.Draw(picture))
    noise = random.Random(kennel ^ int(moment_s * 1e6)).randbytes(SIZE[0] * SIZE[1] // 4)  # noqa: S311 - as above
    grain = Image.frombytes("L", (SIZE[0] // 2, SIZE[1] // 2), noise).resize(SIZE).convert("RGB")
    output = io.BytesIO()
    Image.blend(picture.filter(ImageFilter.GaussianBlur(1)), grain, 0.06).save(output, "JPEG", quality=85)
    return output.getvalue()


def _room(seed: random.Random) -> Image.Image:
    wall = tuple(seed.randrange(130, 200) for _ in range(3))
    picture = Image.new("RGB", SIZE, wall)
    room = ImageDraw.Draw(picture)
    room.polygon([(0, 430), (1280, 430), (1280, 720), (0, 720)], fill=(118, 110, 102))
    room.rounded_rectangle((820, 440, 1180, 560), 40, fill=(92, 62, 58))
    room.ellipse((120, 600, 240, 650), fill=(170, 172, 178))
    room.ellipse((140, 606, 220, 636), fill=(120, 84, 52))
    return picture


def _animal(scene: ImageDraw.ImageDraw, species: str, seed: random.Random) -> None:
    """Draw a cat (small, pointed ears, long tail) or a dog (larger, hanging ears, a snout)."""
    big = 1.0 if species == "dog" else 0.62
    x, y = seed.randrange(150, 900), seed.randrange(470, 560)
    coat = seed.choice([(60, 52, 48), (176, 122, 70), (208, 196, 180), (110, 104, 100)])
    dark = tuple(int(part * 0.7) for part in coat)

    def at(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return x + left * big, y + top * big, x + right * big, y + bottom * big

    for leg in (20, 60, 190, 230):
        scene.rounded_rectangle(at(leg, 60, leg + 26, 150), 8, fill=dark)
    scene.ellipse(at(0, -40, 270, 90), fill=coat)
    scene.line([(x, y), (x - 70 * big, y - 90 * big)], fill=coat, width=int(20 * big))
    scene.ellipse(at(220, -130, 340, -20), fill=coat)
    if species == "dog":
        scene.ellipse(at(300, -85, 400, -30), fill=dark)
        scene.ellipse(at(222, -120, 262, -10), fill=dark)
    else:
        for left in (230, 295):
            scene.polygon(
                [at(left, -115, 0, 0)[:2], at(left + 18, -175, 0, 0)[:2], at(left + 40, -115, 0, 0)[:2]], coat
            )
    scene.ellipse(at(290, -95, 306, -79), fill=(20, 20, 20))


def _bars(scene: ImageDraw.ImageDraw) -> None:
    for x in range(40, SIZE[0], 160):
        scene.line([(x, 0), (x, SIZE[1])], fill=(70, 74, 78), width=7)
