"""What the agent looks at in a photo: whether it is one, and its fingerprint."""

import io
import warnings

from PIL import Image, UnidentifiedImageError

from services.camera_agent.domain import FINGERPRINT

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_BYTES = 10 * 1024 * 1024
MOST_PIXELS = 40_000_000
"""What ingest takes by default; what it would refuse is not worth keeping."""


class NotAPhoto(Exception):
    """These bytes are no whole JPEG, PNG or WebP within the limits; the message says what is wrong with them."""


def fingerprint(image: bytes) -> bytes:
    """Return the photo in grey at `domain.FINGERPRINT`, one byte a cell. Raises NotAPhoto."""
    if len(image) > MOST_BYTES:
        raise NotAPhoto(f"has {len(image)} bytes; at most {MOST_BYTES} are taken")
    try:
        with warnings.catch_warnings():
            # Its own limits speak of twice our pixels; ours is checked before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(image), formats=FORMATS)
        with picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise NotAPhoto(f"has {picture.width} x {picture.height} pixels; at most {MOST_PIXELS} are taken")
            # A JPEG is decoded at a fraction of its size, for a fraction of the cost.
            picture.draft("L", (FINGERPRINT[0] * 2, FINGERPRINT[1] * 2))
            return picture.convert("L").resize(FINGERPRINT, Image.Resampling.BOX).tobytes()
    except UnidentifiedImageError:
        raise NotAPhoto(f"is no JPEG, PNG or WebP (it begins with {image[:16]!r})") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # What Pillow raises for broken images, depending on the format and on where they break.
        raise NotAPhoto(f"is broken: {error}") from None
