"""The model version that is committed and used by default."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from services.image_classifier.decode import Picture, decode
from services.image_classifier.domain import FORCED, Quality, label
from services.image_classifier.exposure import exposed
from services.image_classifier.model_version import DEFAULT_FOLDER, ModelVersion

ROOT = Path(__file__).parents[3]
PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "val-000.tar"
needs_photos = pytest.mark.skipif(
    not PHOTOS.exists(), reason="no real photographs: put a tar of <label>/<name>.jpg at ../shared/data/val-000.tar"
)


@pytest.fixture(scope="module")
def model() -> ModelVersion:
    return ModelVersion.load(DEFAULT_FOLDER)


def photos(number: int) -> Iterator[tuple[str, bytes]]:
    """Yield labels and bytes of real photos, spread over the tar."""
    with tarfile.open(PHOTOS) as tar:
        names = sorted(name for name in tar.getnames() if name.endswith(".jpg"))
        for name in names[:: len(names) // number][:number]:
            content = tar.extractfile(name)
            assert content is not None
            yield name.split("/")[0], content.read()


def as_from_a_camera(image: Image.Image) -> bytes:
    """Encode a picture as a 720p camera would."""
    file = io.BytesIO()
    image.convert("RGB").resize((1280, 720), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()


def drawn(number: int) -> Iterator[Image.Image]:
    """Draw busy pictures with detail at every scale, so that reduced decoding has something to lose."""
    random = np.random.default_rng(12)
    for _ in range(number):
        coarse = Image.fromarray(random.integers(0, 256, (9, 16, 3), dtype=np.uint8)).resize((1280, 720))
        pen = ImageDraw.Draw(coarse)
        for _ in range(40):
            x, y, w, h = (int(v) for v in random.integers(10, 600, 4))
            colour = tuple(int(v) for v in random.integers(0, 256, 3))
            (pen.ellipse if random.random() < 0.5 else pen.rectangle)((x, y, x + w, y + h // 2), fill=colour)
        yield coarse.filter(ImageFilter.GaussianBlur(float(random.uniform(0.0, 2.0))))


def whole(data: bytes, size: int) -> Picture:
    """Decode a JPEG as decode() would without its short cuts."""
    seen = exposed(Image.open(io.BytesIO(data)).resize((size, size), Image.Resampling.BILINEAR))
    return Picture(np.asarray(seen.picture), seen.quality)


def chances(model: ModelVersion, pictures: list[Picture]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[p.probabilities.cat, p.probabilities.dog] for p in model.predict(pictures)])


def assert_short_cuts_hardly_matter(model: ModelVersion, frames: list[bytes]) -> None:
    size = model.manifest.input_size
    fast, slow = [decode(data, size) for data in frames], [whole(data, size) for data in frames]
    assert any(not np.array_equal(a.pixels, b.pixels) for a, b in zip(fast, slow, strict=True))
    assert np.abs(chances(model, fast) - chances(model, slow)).mean() < 0.02


def test_reduced_decoding_hardly_changes_what_the_model_says_of_drawn_pictures(model: ModelVersion) -> None:
    assert_short_cuts_hardly_matter(model, [as_from_a_camera(image) for image in drawn(30)])


@needs_photos
@pytest.mark.photos
def test_reduced_decoding_hardly_changes_what_the_model_says_of_photos(model: ModelVersion) -> None:
    assert_short_cuts_hardly_matter(model, [as_from_a_camera(Image.open(io.BytesIO(d))) for _, d in photos(60)])


@needs_photos
@pytest.mark.photos
def test_the_model_is_as_good_on_photos_as_its_manifest_says(model: ModelVersion) -> None:
    names, contents = zip(*photos(300), strict=True)
    pictures = [decode(content, model.manifest.input_size) for content in contents]
    said = [label(p.probabilities, FORCED, Quality.OK) for p in model.predict(pictures)]
    accuracy = np.mean([str(one) == name for one, name in zip(said, names, strict=True)])
    val = model.manifest.measured["val"]
    assert isinstance(val, dict)
    stated = val["accuracy"]
    assert isinstance(stated, float)
    assert stated >= 0.88
    assert accuracy == pytest.approx(stated, abs=0.05)  # 300 photos: three standard errors


@needs_photos
@pytest.mark.photos
def test_hardly_any_photo_that_a_person_can_judge_is_flagged(model: ModelVersion) -> None:
    flags = [decode(content, model.manifest.input_size).quality for _, content in photos(1000)]
    assert np.mean([flag is not Quality.OK for flag in flags]) <= 0.005


def test_neighbours_in_a_batch_never_change_a_probability(model: ModelVersion) -> None:
    random, size = np.random.default_rng(7), model.manifest.input_size
    pictures = [Picture(random.integers(0, 256, (size, size, 3), dtype=np.uint8), Quality.OK) for _ in range(64)]
    alone = np.concatenate([chances(model, [picture]) for picture in pictures])
    for batch in (2, 16, 64):
        parts = [chances(model, pictures[start : start + batch]) for start in range(0, 64, batch)]
        np.testing.assert_allclose(np.concatenate(parts), alone, atol=1e-5)


def test_the_model_version_fits_into_the_repository() -> None:
    assert sum(path.stat().st_size for path in DEFAULT_FOLDER.iterdir()) < 6_000_000


def test_loading_it_tells_nobody_and_leaves_no_trace_in_the_home_folder(tmp_path: Path) -> None:
    """The runtime's own reporting keeps an id of the machine at home before it sends anything, so that shows it."""
    script = (
        "from services.image_classifier.model_version import DEFAULT_FOLDER, ModelVersion; "
        "ModelVersion.load(DEFAULT_FOLDER)"
    )
    # A machine that tests has CI set, which alone would keep the runtime quiet.
    own = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in own}
    command = [sys.executable, "-c", script]
    subprocess.run(command, env={**kept, "HOME": str(tmp_path)}, cwd=ROOT, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []
