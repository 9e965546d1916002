"""What photos are grouped by in a report, and the ways in which they are made worse to see how the model bears it."""

from collections.abc import Callable
from io import BytesIO
from typing import Final

from PIL import Image

from services.image_classifier.decode import Picture
from services.image_classifier.training.photos import Photo

KINDS: Final = {
    "ra": "other animals: raccoons",
    "ka": "other animals: kangaroos",
    "he": "other animals: horses, sheep, elephants, insects",
    "pv": "other animals: pandas",
    "os": "people",
    "co": "bedding and clothes on floors and beds",
    "pl": "empty rooms",
    "on": "empty corridors, rooms and streets",
    "ik": "furniture",
    "sc": "indoor and outdoor scenes in grey",
    "in": "landscapes and buildings",
    "fl": "flowers",
    "tr": "single objects: waste",
    "sk": "mixed: horses, cars, ships, aircraft",
    "ya": "mixed: bicycles, cars, snakes",
    "cl": "mixed: objects, faces, animals",
    "cld": "mixed: objects, faces, animals",
}
"""What the photos without cat and dog show, by the source of the collection; nothing finer is known of a photo."""
NOT_MEASURED: Final = ("toys", "empty kennels and cages", "infra-red pictures", "ceiling cameras")
"""What shelters have and the collection has not, so that no report can say how the model does there."""


def kind(photo: Photo) -> str:
    """Name what a photo without an animal shows, as far as its source tells."""
    return KINDS.get(photo.source, f"source {photo.source}")


def brightness(picture: Picture) -> str:
    """Name how light a picture was taken, by the mean of its values."""
    edges = (60, 90, 120, 150)
    for low, high in zip((0, *edges[:-1]), edges, strict=True):
        if picture.mean < high:
            return f"{low:03} to {high:03}"
    return f"{edges[-1]} and more"


def animal_share(photo: Photo) -> str | None:
    """Name which share of the picture the boxes of its one animal cover; None without exactly one box."""
    if len(photo.boxes) != 1:
        return None
    _, left, top, right, bottom = photo.boxes[0]
    percent = 100 * (right - left) * (bottom - top)
    for low, high in ((0, 10), (10, 20), (20, 40), (40, 60)):
        if percent < high:
            return f"{low:02} to {high} %"
    return "60 % and more"


def _recompressed(quality: int) -> Callable[[Image.Image], bytes]:
    def change(image: Image.Image) -> bytes:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return file.getvalue()

    return change


def _lit(factors: tuple[float, float, float], haze: int = 0) -> Callable[[Image.Image], bytes]:
    table = [round(value * factor + haze * (1 - factor)) for factor in factors for value in range(256)]

    def change(image: Image.Image) -> bytes:
        return _recompressed(85)(image.point(table))

    return change


LEFT: Final = {"a half": 1 / 2, "a quarter": 1 / 4, "an eighth": 1 / 8}
WORSE: Final = {
    "jpeg_quality": {f"{quality}": _recompressed(quality) for quality in (60, 40, 20, 10)},
    "light_left": {name: _lit((left, left, left)) for name, left in LEFT.items()},
    "contrast_left": {name: _lit((left, left, left), haze=200) for name, left in LEFT.items()},
    "lamp": {"warm": _lit((1.0, 0.75, 0.4)), "red": _lit((1.0, 0.25, 0.15)), "blue": _lit((0.1, 0.25, 1.0))},
}
