"""What training does to photos, so that the model learns animals and not the habits of the photo collections.

Half of the collections are square, grey or white behind the subject, and their labels go with it. So every photo,
whatever its label, is cropped, stretched, mirrored, recoloured, greyed, blurred, made noisy and coarse, and sometimes
put behind bars. Composites follow one rule, whatever is combined: the truth of a composite is the `or` of its parts.
So neither a seam nor a pasted patch tells anything.
"""

import io
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from PIL import Image, ImageFilter

from services.image_classifier.training.photos import Photos, Pixels

T = TypeVar("T")
Truth = tuple[bool, bool]
SPECIES: Final = ("cat", "dog")

SIDE_BY_SIDE: Final = 0.16
"""The share of two photos side by side, at full strength."""
_GREY: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Pool:
    """Photos to draw from: the chosen ones, those of them that show no animal, and the boxed animals (photo, box).

    `chosen` is what an epoch sees; it names a photo as often as that.
    """

    photos: Photos
    chosen: list[int]
    scenes: list[int]
    animals: list[tuple[int, int]]

    @classmethod
    def of(cls, photos: Photos, without: tuple[str, ...] = (), repeated: tuple[tuple[str, int], ...] = ()) -> "Pool":
        """Choose all photos but those `without`, some `repeated` (source, times); copies no pixels."""
        times = dict(repeated)
        chosen = [
            i
            for i, photo in enumerate(photos.photos)
            if photo.source not in without
            for _ in range(times.get(photo.source, 1))
        ]
        scenes = [i for i in chosen if photos.photos[i].label == "none"]
        animals = [(i, k) for i in chosen for k in range(len(photos.photos[i].boxes))]
        return cls(photos, chosen, scenes, animals)


def example(
    random: np.random.Generator,
    pool: Pool,
    index: int,
    size: int,
    strength: float = 1.0,
    cut: float = 0.0,
    with_pasted: float = 0.2,
) -> tuple[Pixels, Truth]:
    """Make one training example around a photo: pixels (size, size, 3) and its truth (cat, dog).

    `strength`, from 0 to 1, is how often anything but a mild crop is done; `cut` is the share of CutMix at strength 1,
    and `with_pasted` that of photos with something pasted in.
    """
    if cut and random.random() < cut * strength:  # no number is drawn without CutMix, so that older runs stay the same
        picture, truth = cutmix(random, pool.photos, (index, _any(random, pool.chosen)), size)
        return (spoil(random, picture) if random.random() < strength else picture), truth
    kind = random.random()
    if kind < SIDE_BY_SIDE * strength:
        picture, truth = side_by_side(random, pool.photos, (index, _any(random, pool.chosen)), size)
    elif kind < (SIDE_BY_SIDE + with_pasted) * strength:
        picture, truth = pasted(random, pool, index, size)
    else:
        least = 0.6 - 0.3 * strength
        picture, truth = crop(random, pool.photos.pixels[index], size, least), pool.photos.photos[index].truth
    if random.random() < strength:
        picture = spoil(random, picture)
    return picture, truth


def crop(random: np.random.Generator, pixels: Pixels, shape: int | tuple[int, int], least: float) -> Pixels:
    """Cut a random part, of at least the share `least` of the area, mirrored half of the time, at (width, height)."""
    height, width = pixels.shape[:2]
    share, stretch = random.uniform(least, 1.0), np.exp(random.uniform(-0.35, 0.35))
    w, h = min(1.0, np.sqrt(share * stretch)) * width, min(1.0, np.sqrt(share / stretch)) * height
    left, top = random.uniform(0, width - w), random.uniform(0, height - h)
    target = (shape, shape) if isinstance(shape, int) else shape
    image = Image.fromarray(pixels).resize(target, Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.array(image)


def side_by_side(
    random: np.random.Generator,
    photos: Photos,
    pair: tuple[int, int],
    size: int,
    middle: float = 0.2,
    least: float = 0.45,
) -> tuple[Pixels, Truth]:
    """Put two photos, at least the share `least` of each, side by side; the seam is within `middle` of the centre."""
    cut = int(size * random.uniform(0.5 - middle, 0.5 + middle))
    picture = np.empty((size, size, 3), dtype=np.uint8)
    upright = random.random() < 0.65
    first, second = (photos.pixels[i] for i in pair)
    if upright:
        picture[:, :cut] = crop(random, first, (cut, size), least)
        picture[:, cut:] = crop(random, second, (size - cut, size), least)
    else:
        picture[:cut] = crop(random, first, (size, cut), least)
        picture[cut:] = crop(random, second, (size, size - cut), least)
    return picture, _either(photos.photos[pair[0]].truth, photos.photos[pair[1]].truth)


def pasted(random: np.random.Generator, pool: Pool, index: int, size: int) -> tuple[Pixels, Truth]:
    """Paste a small animal, or a patch of an empty scene, into a photo: mostly into a scene without animals."""
    scene = _any(random, pool.scenes) if pool.scenes and random.random() < 0.7 else index
    truth = pool.photos.photos[scene].truth
    picture = crop(random, pool.photos.pixels[scene], size, 0.45)
    if pool.animals and random.random() < 0.75:
        photo, box = _any(random, pool.animals)
        patch, species = cut_out(pool.photos, photo, box)
        truth = _either(truth, (species == "cat", species == "dog"))
    else:
        photo = _any(random, pool.scenes) if pool.scenes else index
        truth = _either(truth, pool.photos.photos[photo].truth)
        patch = crop(random, pool.photos.pixels[photo], 96, 0.3)
    most = 0.5 if any(pool.photos.photos[scene].truth) else 0.75  # an animal that is there should stay in sight
    return paste(random, picture, patch, random.uniform(0.25, most)), truth


def cutmix(
    random: np.random.Generator, photos: Photos, pair: tuple[int, int], size: int, in_sight: float = 0.5
) -> tuple[Pixels, Truth]:
    """Cover a rectangle of one photo with one of another (CutMix, Yun et al. 2019).

    The target is not the mixture of the paper, but what is to be seen: a species counts if at least the share
    `in_sight` of one of its boxes is left or shown, or, where a photo has no boxes, that share of the whole photo.
    """
    area, stretch = random.uniform(0.2, 0.6), np.exp(random.uniform(-0.5, 0.5))
    w, h = min(1.0, np.sqrt(area * stretch)), min(1.0, np.sqrt(area / stretch))
    to, of = ((random.uniform(0, 1 - w), random.uniform(0, 1 - h)) for _ in range(2))
    under, over = (
        np.array(Image.fromarray(photos.pixels[i]).resize((size, size), Image.Resampling.BILINEAR)) for i in pair
    )
    wide, high = int(w * size), int(h * size)
    (x, y), (left, top) = ((int(place[0] * size), int(place[1] * size)) for place in (to, of))
    under[y : y + high, x : x + wide] = over[top : top + high, left : left + wide]
    covered_by, shown_by = ((place[0], place[1], place[0] + w, place[1] + h) for place in (to, of))
    shown = [False, False]
    for i, window, inside in ((pair[0], covered_by, False), (pair[1], shown_by, True)):
        photo = photos.photos[i]
        whole = tuple((name, 0.0, 0.0, 1.0, 1.0) for name, there in zip(SPECIES, photo.truth, strict=True) if there)
        for species, *box in photo.boxes or whole:
            covered = _overlap((box[0], box[1], box[2], box[3]), window)
            if (covered if inside else 1.0 - covered) >= in_sight:
                shown[SPECIES.index(species)] = True
    return under, (shown[0], shown[1])


def _overlap(box: tuple[float, float, float, float], window: tuple[float, float, float, float]) -> float:
    """Give the share of a box that a window covers; both are left, top, right, bottom."""
    width = max(0.0, min(box[2], window[2]) - max(box[0], window[0]))
    height = max(0.0, min(box[3], window[3]) - max(box[1], window[1]))
    return width * height / max(1e-9, (box[2] - box[0]) * (box[3] - box[1]))


def cut_out(photos: Photos, photo: int, box: int) -> tuple[Pixels, str]:
    """Cut a boxed animal out of its photo."""
    species, left, top, right, bottom = photos.photos[photo].boxes[box]
    side = photos.pixels.shape[1]
    x, y = int(left * side), int(top * side)
    return photos.pixels[photo, y : max(y + 8, int(bottom * side)), x : max(x + 8, int(right * side))], species


def paste(random: np.random.Generator, picture: Pixels, patch: Pixels, share: float) -> Pixels:
    """Blend a patch, softly at its rim, into a random place; its longer side becomes `share` of the picture's."""
    size = picture.shape[0]
    height, width = patch.shape[:2]
    scale = share * size / max(height, width)
    return blend(random, picture, patch, max(6, int(width * scale)), max(6, int(height * scale)))


def blend(random: np.random.Generator, picture: Pixels, patch: Pixels, w: int, h: int) -> Pixels:
    """Blend a patch, made w by h pixels, softly at its rim into a random place of a picture that it fits into."""
    small = np.asarray(Image.fromarray(patch).resize((w, h), Image.Resampling.BILINEAR), dtype=np.float32)
    if random.random() < 0.5:
        small = small[:, ::-1]
    x, y = np.linspace(-1, 1, w, dtype=np.float32)[None, :], np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    power = random.choice((2.0, 4.0, 12.0))  # from an ellipse to nearly a rectangle
    rim = (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)
    mask = np.clip((1.0 - rim) / random.uniform(0.04, 0.3), 0.0, 1.0)[..., None]
    height, width = picture.shape[:2]
    left, top = int(random.integers(0, width - w + 1)), int(random.integers(0, height - h + 1))
    under = picture[top : top + h, left : left + w]
    picture[top : top + h, left : left + w] = (under * (1 - mask) + small * mask).astype(np.uint8)
    return picture


def spoil(random: np.random.Generator, picture: Pixels) -> Pixels:
    """Change colour, light, sharpness and noise; what is seen, and so the truth, stays."""
    size = picture.shape[0]
    if random.random() < 0.08:
        picture = _barred(random, picture)
    if random.random() < 0.12:
        coarse = max(24, int(size * random.uniform(0.3, 0.7)))
        image = Image.fromarray(picture).resize((coarse, coarse), Image.Resampling.BILINEAR)
        picture = np.array(image.resize((size, size), Image.Resampling.BILINEAR))
    elif random.random() < 0.1:
        picture = np.array(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(random.uniform(0.4, 1.6))))
    greyed = random.random()
    if greyed < 0.12 or greyed > 0.75:
        grey = (picture @ _GREY)[..., None]
        keep = 0.0 if greyed < 0.12 else random.uniform(0.3, 1.6)
        picture = np.clip(grey + keep * (picture - grey), 0, 255).astype(np.uint8)
    if random.random() < 0.7:
        picture = _recoloured(random, picture)
    if random.random() < 0.12:
        noise = random.normal(0.0, random.uniform(2.0, 14.0), (size, size, 1 if random.random() < 0.5 else 3))
        picture = np.clip(picture + noise.astype(np.float32), 0, 255).astype(np.uint8)
    if random.random() < 0.12:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=int(random.integers(15, 70)))
        picture = np.array(Image.open(file))
    return picture


def _recoloured(random: np.random.Generator, picture: Pixels) -> Pixels:
    level = np.linspace(0.0, 1.0, 256)
    gamma, contrast, light = np.exp(random.uniform(-0.4, 0.4)), random.uniform(0.7, 1.3), random.uniform(-0.12, 0.12)
    tint = random.uniform(0.87, 1.13, 3)
    out = np.empty_like(picture)
    for channel in range(3):
        table = np.clip(((level**gamma - 0.5) * contrast + 0.5 + light) * tint[channel], 0.0, 1.0) * 255
        out[..., channel] = table.astype(np.uint8)[picture[..., channel]]
    return out


def _barred(random: np.random.Generator, picture: Pixels) -> Pixels:
    """Draw the bars of a cage door."""
    size = picture.shape[0]
    step, thick = int(size * random.uniform(0.08, 0.25)), int(random.integers(1, 4))
    colour = random.integers(20, 230, 3, dtype=np.uint8)
    for start in range(int(random.integers(0, step)), size, step):
        picture[:, start : start + thick] = colour
        if thick < 3:
            picture[start : start + thick] = colour
    return picture


def _any(random: np.random.Generator, choices: list[T]) -> T:
    return choices[int(random.integers(len(choices)))]


def _either(first: Truth, second: Truth) -> Truth:
    return first[0] or second[0], first[1] or second[1]
