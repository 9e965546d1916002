"""What headers say, and that nothing but the picture is served."""

import io
import random
import struct
from contextlib import suppress

import pytest
from PIL import Image

from services.camera_ingest.photo import BrokenPhoto, NotAPhoto, PhotoError, inspect, without_metadata
from services.camera_ingest.tests.photos import encode, exif, photo, png_chunk, png_header

FORMS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}


def drawn() -> Image.Image:
    """A picture with an up and a down, a left and a right."""
    image = Image.new("RGB", (40, 30), "white")
    image.paste((200, 0, 0), (0, 0, 20, 15))
    image.paste((0, 0, 200), (20, 15, 40, 30))
    return image


def stripped(image: bytes) -> bytes:
    return b"".join(without_metadata(image))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK"])
def test_the_header_tells_type_and_size(form: str, mode: str) -> None:
    if (form, mode) in {("JPEG", "RGBA"), ("PNG", "CMYK"), ("WEBP", "CMYK")}:
        pytest.skip("the format has no such pictures")
    found = inspect(encode(Image.new(mode, (123, 45)), form))
    assert (found.media_type, found.width, found.height) == (FORMS[form], 123, 45)


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"lossless": True}, {"quality": 1}, {"optimize": True, "restart_marker_blocks": 1}],
)
@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_write_a_format_is_read_and_survives_the_stripping(form: str, options: dict[str, object]) -> None:
    image = encode(drawn(), form, **options)
    assert (inspect(image).width, inspect(image).height) == (40, 30)
    assert pixels(stripped(image)) == pixels(image)


def pixels(image: bytes) -> bytes:
    with Image.open(io.BytesIO(image)) as opened:
        return opened.convert("RGB").tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_exif_tells_time_offset_and_orientation_in_each_format(form: str) -> None:
    written = exif("2026:11:22 10:00:00", "+01:00", orientation=6)
    found = inspect(encode(drawn(), form, exif=written)).exif
    assert (found.time_original, found.offset_original, found.orientation) == ("2026:11:22 10:00:00", "+01:00", 6)


@pytest.mark.parametrize("form", FORMS)
def test_position_serial_and_comments_are_not_served_and_the_picture_is_the_same(form: str) -> None:
    options = {"exif": exif("2026:11:22 10:00:00", position=True, orientation=1)}
    if form == "JPEG":
        options |= {"comment": b"SECRET-COMMENT", "xmp": b"<x>SECRET-XMP</x>"}
    if form == "WEBP":
        options |= {"xmp": b"<x>SECRET-XMP</x>"}
    image = encode(drawn(), form, **options)
    if form == "PNG":
        image = image[:33] + png_chunk(b"tEXt", b"Comment\x00SECRET-TEXT") + png_chunk(b"prVt", b"SECRET") + image[33:]
    assert b"SECRET" in image
    served = stripped(image)
    assert b"SECRET" not in served
    assert pixels(served) == pixels(image)
    with Image.open(io.BytesIO(served)) as opened:
        assert not opened.getexif()


def test_what_follows_a_jpeg_s_end_is_not_served() -> None:
    """Phones put whole second pictures and films there, with metadata of their own."""
    image = encode(drawn(), "JPEG")
    assert stripped(image + b"SECRET" + encode(drawn(), "JPEG", exif=exif(position=True))) == stripped(image)


def test_what_lies_between_the_scans_of_a_progressive_jpeg_is_not_served() -> None:
    image = encode(drawn(), "JPEG", progressive=True)
    second_scan = image.index(b"\xff\xda", image.index(b"\xff\xda") + 2)
    hidden = b"\xff\xfe" + struct.pack(">H", 8) + b"SECRET"
    served = stripped(image[:second_scan] + hidden + image[second_scan:])
    assert b"SECRET" not in served
    assert pixels(served) == pixels(image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_keeps_its_orientation_and_nothing_else_of_its_exif(orientation: int) -> None:
    served = stripped(encode(drawn(), "JPEG", exif=exif("2026:11:22 10:00:00", orientation=orientation, position=True)))
    with Image.open(io.BytesIO(served)) as opened:
        assert dict(opened.getexif()) == ({} if orientation == 1 else {0x0112: orientation})


@pytest.mark.parametrize("form", FORMS)
def test_the_colour_profile_is_kept(form: str) -> None:
    profile = b"profile" * 100
    with Image.open(io.BytesIO(stripped(encode(drawn(), form, icc_profile=profile, exif=exif())))) as opened:
        assert opened.info["icc_profile"] == profile


@pytest.mark.parametrize(
    "image",
    [b"", b"x", b"%PDF-1.7\n", b"GIF89a" + bytes(30), b"BM" + bytes(60), b"RIFF\x00\x00\x00\x00WAVE", b"<svg/>"],
)
def test_other_formats_are_no_photos(image: bytes) -> None:
    with pytest.raises(NotAPhoto):
        inspect(image)


@pytest.mark.parametrize("filler", [b"\xff\xd0", b"\xff\xe1\x00\x02"])
def test_a_jpeg_of_millions_of_segments_is_refused_after_the_first_thousands(filler: bytes) -> None:
    with pytest.raises(BrokenPhoto, match="more than 2000 segments"):
        inspect(b"\xff\xd8" + filler * 3_000)


def test_a_png_or_webp_of_a_million_chunks_is_refused_after_the_first_thousands() -> None:
    png = png_header(4, 4)[:33] + png_chunk(b"tEXt", b"") * 20_000
    webp = b"RIFF" + struct.pack("<I", 400_000) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(10)
    webp += (b"ICCP" + bytes(4)) * 20_000
    for image in (png, webp):
        with pytest.raises(BrokenPhoto, match="more than 10000 chunks"):
            inspect(image)
        with pytest.raises(BrokenPhoto, match="more than 10000 chunks"):
            list(without_metadata(image))


@pytest.mark.parametrize(
    "image",
    [
        photo()[:20],
        photo()[:150],
        photo(form="PNG")[:20],
        photo(form="WEBP")[:25],
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + b"\xff" * 100,
        b"\xff\xd8\xff\xc0\x00\x03\x08",
        png_header(0, 10),
        png_header(10, 10)[:29] + b"\x00\x00\x00\x00" + png_header(10, 10)[33:],
        photo(form="WEBP")[:23] + b"xxx" + photo(form="WEBP")[26:],
    ],
)
def test_a_broken_header_is_told_so(image: bytes) -> None:
    with pytest.raises(BrokenPhoto):
        inspect(image)


@pytest.mark.parametrize("form", FORMS)
def test_no_damage_makes_anything_but_a_photo_error(form: str) -> None:
    """Thousands of damaged photos, the same at each run."""
    chance = random.Random(7)
    whole = encode(drawn(), form, exif=exif("2026:11:22 10:00:00", "+01:00", 6, position=True), icc_profile=b"p" * 50)
    for _ in range(3000):
        image = bytearray(whole[: chance.randrange(len(whole) + 1)])
        for _ in range(chance.randrange(6)):
            if image:
                image[chance.randrange(len(image))] = chance.choice((0, 1, 0x7F, 0xD8, 0xD9, 0xDA, 0xE1, 0xFF))
        for read in (inspect, stripped):
            with suppress(PhotoError):
                read(bytes(image))
