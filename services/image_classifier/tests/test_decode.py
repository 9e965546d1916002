import random
import struct
import tracemalloc
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from services.image_classifier.decode import UndecodableImage, decode
from services.image_classifier.domain import Quality

SIZE = 64


def scene(width: int = 640, height: int = 480) -> Image.Image:
    """Draw a picture whose four corners are red, green, blue and white, with sharp edges between them."""
    image = Image.new("RGB", (width, height), (90, 90, 90))
    draw = ImageDraw.Draw(image)
    for column, row, colour in ((0, 0, "red"), (1, 0, "lime"), (0, 1, "blue"), (1, 1, "white")):
        left, top = column * width * 2 // 3, row * height * 2 // 3
        draw.rectangle((left, top, left + width // 3, top + height // 3), fill=colour)
    return image


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def corners(data: bytes) -> list[str]:
    """Name the corners of the decoded picture, clockwise from top left."""
    pixels = decode(data, SIZE).pixels
    edge = SIZE // 8
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    places = ((edge, edge), (edge, -edge), (-edge, -edge), (-edge, edge))
    return [names[tuple(int(c > 128) for c in pixels[y, x])] for y, x in places]  # type: ignore[index]  # RGB


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_every_format_gives_the_whole_picture_squashed_to_the_square(kind: str, options: dict[str, Any]) -> None:
    picture = decode(encoded(scene(), kind, **options), SIZE)
    assert picture.pixels.shape == (SIZE, SIZE, 3)
    assert picture.pixels.dtype == np.uint8
    assert picture.quality is Quality.OK
    assert corners(encoded(scene(), kind, **options)) == ["red", "green", "white", "blue"]


@pytest.mark.parametrize("width_height", [(1, 1), (3, 4000), (4000, 3), (17, 33), (1280, 720), (4000, 3000)])
def test_every_shape_gives_the_same_square(width_height: tuple[int, int]) -> None:
    assert decode(encoded(scene(*width_height)), SIZE).pixels.shape == (SIZE, SIZE, 3)


def test_exif_orientation_is_applied_so_that_up_is_up() -> None:
    expected = corners(encoded(scene()))
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for kind in ("JPEG", "PNG", "WEBP"):
        for orientation, turn in undo.items():
            exif = Image.Exif()
            exif[0x0112] = orientation
            stored = scene() if turn is None else scene().transpose(turn)
            assert corners(encoded(stored, kind, exif=exif)) == expected, (kind, orientation)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_counts_as_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert corners(encoded(scene(), exif=exif)) == corners(encoded(scene()))


# Pillow warns of what it skips; a camera that writes such EXIF must not lose its frames for it.
@pytest.mark.filterwarnings("ignore:(Corrupt|Possibly corrupt) EXIF data:UserWarning")
def test_broken_exif_does_not_lose_the_frame() -> None:
    data = encoded(scene(), exif=b"Exif\0\0" + b"II*\0\xff\xff\xff\xff garbage")
    assert corners(data) == corners(encoded(scene()))


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (scene().convert("L"), "JPEG"),
        (scene().convert("L"), "PNG"),
        (scene().convert("1"), "PNG"),
        (scene().convert("CMYK"), "JPEG"),
        (scene().convert("P"), "PNG"),
        (scene().convert("LA"), "PNG"),
        (scene().convert("RGBA"), "WEBP"),
        (Image.fromarray(np.asarray(scene().convert("L")).astype(np.uint16) * 257), "PNG"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.mode,
)
def test_every_mode_shows_what_the_rgb_picture_shows(image: Image.Image, kind: str) -> None:
    shown = decode(encoded(image, kind), SIZE).pixels.astype(int)
    reference = scene() if image.mode in ("CMYK", "P", "RGBA") else scene().convert("L").convert("RGB")
    expected = decode(encoded(reference, "PNG"), SIZE).pixels.astype(int)
    assert np.abs(shown - expected).mean() < 12


def test_a_16_bit_picture_costs_a_few_bytes_a_pixel_and_shows_its_high_bytes() -> None:
    deep = np.random.default_rng(11).integers(0, 65536, (1500, 2000), dtype=np.uint16)
    data = encoded(Image.fromarray(deep), "PNG")
    tracemalloc.start()
    try:
        shown = decode(data, SIZE).pixels
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most / deep.size < 12  # of which 2 are the picture itself
    high = encoded(Image.fromarray((deep >> 8).astype(np.uint8)), "PNG")
    assert np.array_equal(shown, decode(high, SIZE).pixels)


def test_what_transparency_hides_is_not_seen() -> None:
    hidden = scene().convert("RGBA")
    hidden.putalpha(0)
    assert np.ptp(decode(encoded(hidden, "PNG"), SIZE).pixels) == 0


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    data = encoded(scene(), kind, save_all=True, append_images=[Image.new("RGB", (640, 480), "red")], duration=100)
    assert corners(data) == corners(encoded(scene()))


def test_the_first_picture_of_a_multi_picture_jpeg_is_taken() -> None:
    data = encoded(scene(), "MPO", save_all=True, append_images=[Image.new("RGB", (640, 480), "red")])
    assert corners(data) == corners(encoded(scene()))


@pytest.mark.parametrize("size", [32, 128, 224])
def test_decoding_a_jpeg_at_reduced_scale_stays_within_two_grey_levels_of_decoding_it_whole(size: int) -> None:
    image = scene(1280, 720).filter(ImageFilter.GaussianBlur(1))
    jpeg = encoded(image, quality=90)
    whole = decode(encoded(Image.open(BytesIO(jpeg)), "PNG"), size).pixels.astype(int)
    assert np.abs(decode(jpeg, size).pixels.astype(int) - whole).mean() < 2.0


def bomb(width: int, height: int) -> bytes:
    """Make a PNG whose header claims a size that its few bytes don't hold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def with_scans(number: int) -> bytes:
    jpeg = encoded(scene(), progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + scan * (number - jpeg.count(b"\xff\xda")) + jpeg[-2:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 named .jpg", "not a JPEG, PNG or WebP image"),
        (encoded(scene(), "GIF"), "not a JPEG, PNG or WebP image"),
        (encoded(scene(), "TIFF"), "not a JPEG, PNG or WebP image"),
        (encoded(scene())[:60], "truncated or damaged header"),
        (encoded(scene())[:-1000], "truncated"),
        (encoded(scene(), progressive=True)[:-1000], "truncated"),
        (encoded(scene(), "PNG")[:-200], "truncated"),
        (encoded(scene(), "WEBP")[:-200], "truncated or damaged header"),
        (bomb(6400, 6400), "more than 40 megapixels"),
        (bomb(11000, 11000), "more than 40 megapixels"),
        (bomb(30000, 30000), "more than 40 megapixels"),
        (with_scans(65), "more than 64 scans in a JPEG"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
# 11,000 x 11,000 is where Pillow warns: the refusal must be the same whether warnings are errors or not.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bytes_that_are_no_good_image_are_refused_with_a_reason_for_operators(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableImage) as caught:
        decode(data, SIZE)
    assert caught.value.reason.startswith(reason)


def test_a_jpeg_of_as_many_scans_as_are_taken_is_taken() -> None:
    assert decode(with_scans(64), SIZE).pixels.shape == (SIZE, SIZE, 3)


def test_a_warning_turned_into_an_error_is_still_the_same_refusal() -> None:
    with pytest.raises(UndecodableImage, match="more than 40 megapixels"):
        decode(bomb(11000, 11000), SIZE)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_bytes_give_a_picture_or_a_reason_and_nothing_else(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    clean = encoded(scene(96, 64), kind, exif=exif)
    chance = random.Random(11)
    for _ in range(400):
        damaged = bytearray(clean)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with suppress(UndecodableImage):
            assert decode(bytes(damaged[: chance.randint(1, 2 * len(damaged))]), SIZE).pixels.shape == (SIZE, SIZE, 3)
