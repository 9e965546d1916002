from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFilter

from services.image_classifier.decode import Picture, decode
from services.image_classifier.domain import Quality
from services.image_classifier.tests.test_decode import encoded, scene

PLAIN = scene().point(lambda v: 16 + v * 5 // 9)
"""A picture of 16 to 157: nothing in it is burnt out, and nothing has to be changed."""


def squared(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Give what decode gives of a picture that it does not change."""
    return np.asarray(image.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR, reducing_gap=2.0))


def seen(image: Image.Image) -> Picture:
    return decode(encoded(image, "PNG"), 128)


def values(picture: Picture) -> npt.NDArray[np.int_]:
    return picture.pixels.astype(int)


@pytest.mark.parametrize(
    ("spoilt", "quality"),
    [
        (scene(), Quality.OK),
        (scene().convert("L"), Quality.OK),
        (scene().point(lambda v: v // 5), Quality.OK),
        (scene().point(lambda v: v // 16), Quality.DARK),
        (scene().point(lambda v: 150 + v // 5), Quality.OK),
        (scene().point(lambda v: 150 + v // 16), Quality.BLURRED),
        (scene().point(lambda v: 240 + v // 17), Quality.BLOWN_OUT),
        (scene().filter(ImageFilter.GaussianBlur(20)), Quality.OK),
        (scene().filter(ImageFilter.GaussianBlur(40)), Quality.BLURRED),
        (scene().filter(ImageFilter.GaussianBlur(60)).point(lambda v: v // 4), Quality.BLURRED),
        (Image.new("RGB", (640, 480), (120, 110, 100)), Quality.BLURRED),
    ],
    ids=[
        "sharp",
        "grey",
        "dim",
        "dark",
        "haze",
        "fog",
        "burnt out",
        "soft",
        "smeared",
        "smeared and dim",
        "covered lens",
    ],
)
def test_quality_tells_pictures_that_can_not_be_judged(spoilt: Image.Image, quality: Quality) -> None:
    assert decode(encoded(spoilt, quality=90), 128).quality is quality


@pytest.mark.parametrize("what", ["nothing", "a clock", "a gap at the rim", "light from one side"])
@pytest.mark.parametrize("noise", [0.0, 3.0, 6.0, 10.0])
@pytest.mark.parametrize("level", [15, 25, 40, 100])
@pytest.mark.parametrize("size", [(320, 240), (1280, 720)])
def test_a_covered_lens_is_never_judged_by_its_noise_or_by_what_is_at_its_rim(
    size: tuple[int, int], level: int, noise: float, what: str
) -> None:
    width, height = size
    image = Image.new("RGB", size, (level, level * 3 // 4, level // 2))
    pen = ImageDraw.Draw(image)
    if what == "a clock":
        pen.text((8, 8), "2026-11-28 18:03:22 CAM 4", fill=(255, 255, 255), font_size=height // 18)
    elif what == "a gap at the rim":
        pen.rectangle((0, 0, width // 100, height), fill=(200, 190, 180))
    elif what == "light from one side":
        image = Image.fromarray((np.asarray(image) + np.linspace(0, 35, width)[:, None]).astype(np.uint8))
    grain = np.random.default_rng(12).normal(0.0, noise, (height, width, 3))
    image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
    assert decode(encoded(image, quality=85), 128).quality in (Quality.DARK, Quality.BLURRED)


@pytest.mark.parametrize("image", [PLAIN, scene(), scene().convert("L")], ids=["plain", "bright", "grey"])
def test_a_picture_that_is_light_and_clear_is_seen_as_it_is(image: Image.Image) -> None:
    assert np.array_equal(seen(image).pixels, squared(image))


@pytest.mark.parametrize("divisor", [2, 3, 5])
def test_a_dark_picture_is_seen_as_light_as_others(divisor: int) -> None:
    dark, light = seen(PLAIN.point(lambda v: v // divisor)), seen(PLAIN)
    assert np.abs(values(dark) - values(light)).mean() < 12
    assert dark.mean == pytest.approx(light.mean / divisor, abs=1)  # which tell how it was taken
    assert dark.deviation == pytest.approx(light.deviation / divisor, abs=1)


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.0, 0.85, 0.65)], ids=["white", "warm"])
@pytest.mark.parametrize("haze", [110, 200])
def test_a_picture_behind_haze_is_seen_as_clear_as_others(haze: int, tint: tuple[float, float, float]) -> None:
    table: list[Any] = [round((haze + value / 6) * share) for share in tint for value in range(256)]
    hazy = seen(scene().point(table)).pixels
    span = np.percentile(hazy, 99, axis=(0, 1)) - np.percentile(hazy, 1, axis=(0, 1))
    assert span.max() == pytest.approx(130, abs=4)
    assert np.corrcoef(hazy.ravel(), squared(scene()).ravel())[0, 1] > 0.85


def test_what_is_dark_before_a_plain_ground_is_left_as_it_is() -> None:
    ground = (
        np.random.default_rng(12).normal(205, 2, (480, 640, 1)) - np.where(np.arange(480) < 200, 0, 26)[:, None, None]
    )
    room = Image.fromarray(ground.astype(np.uint8).repeat(3, axis=2))
    ImageDraw.Draw(room).rectangle((300, 220, 410, 330), fill=(50, 40, 30))  # a twenty-fifth of the picture
    assert np.array_equal(seen(room).pixels, squared(room))


def test_what_is_light_in_a_dark_picture_is_not_burnt_out() -> None:
    dark = PLAIN.point(lambda v: v // 4)
    ImageDraw.Draw(dark).rectangle((300, 220, 370, 290), fill=(170, 150, 120))  # a sixtieth of the picture
    animal = values(seen(dark))[62:74, 62:72].reshape(-1, 3).mean(axis=0)
    assert animal == pytest.approx((255, 225, 180), abs=3)


@pytest.mark.parametrize(("lamp", "channel"), [((1.0, 0.25, 0.15), 0), ((0.3, 0.08, 0.05), 0), ((0.1, 0.25, 1.0), 2)])
def test_a_picture_in_the_light_of_one_colour_is_seen_grey(lamp: tuple[float, float, float], channel: int) -> None:
    table: list[Any] = [round(value * share) for share in lamp for value in range(256)]
    shown = values(seen(scene().point(table)))
    assert np.ptp(shown, axis=2).max() == 0
    alone = values(seen(scene()))[..., channel]
    assert np.corrcoef(shown[..., 0].ravel(), alone.ravel())[0, 1] > 0.99


def test_a_picture_in_warm_light_keeps_its_colours() -> None:
    table: list[Any] = [round(value * share) for share in (1.0, 0.75, 0.4) for value in range(256)]
    assert np.ptp(values(seen(scene().point(table))), axis=2).max() > 100
