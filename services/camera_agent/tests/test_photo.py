"""What is a photo, and what is none."""

import io

import pytest
from PIL import Image

from services.camera_agent import domain, photo
from services.camera_agent.photo import NotAPhoto, fingerprint
from services.camera_agent.tests.cameras import scene


def encoded(form: str, mode: str = "RGB", size: tuple[int, int] = (320, 240)) -> bytes:
    output = io.BytesIO()
    Image.new(mode, size).save(output, form)
    return output.getvalue()


@pytest.mark.parametrize(
    ("form", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB")]
)
def test_every_kind_of_photo_has_a_fingerprint(form: str, mode: str) -> None:
    assert len(fingerprint(encoded(form, mode))) == domain.FINGERPRINT[0] * domain.FINGERPRINT[1]


def test_sixteen_bits_are_read_too() -> None:
    assert len(fingerprint(encoded("PNG", "I;16"))) == domain.FINGERPRINT[0] * domain.FINGERPRINT[1]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "no JPEG"),
        (b"<html>log in first</html>", "no JPEG"),
        (scene(90, (1280, 720))[:3000], "broken"),
        (encoded("GIF", "P"), "no JPEG"),
        (encoded("PNG")[:60], "broken"),
        (bytes(photo.MOST_BYTES + 1), "bytes; at most"),
    ],
)
def test_what_is_no_photo_says_why(image: bytes, said: str) -> None:
    with pytest.raises(NotAPhoto, match=said):
        fingerprint(image)


@pytest.mark.filterwarnings("error")
def test_a_bomb_is_not_decoded() -> None:
    output = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(output, "PNG")
    with pytest.raises(NotAPhoto, match=r"pixels|broken"):
        fingerprint(output.getvalue())
    with pytest.raises(NotAPhoto, match="8000 x 8000 pixels"):
        fingerprint(encoded("PNG", "1", (8000, 8000)))
