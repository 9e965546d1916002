"""Photos for the tests that cross services: real ones where `../shared/data` is, and drawn ones everywhere."""

import io
import random
import tarfile
from functools import cache

from PIL import Image

from deploy.local.scenes import draw, to_jpeg
from deploy.local.system import REPOSITORY
from services.image_classifier.decode import decode
from services.image_classifier.model_version import DEFAULT_FOLDER, ModelVersion

REAL = REPOSITORY.parent / "shared" / "data" / "val-000.tar"


@cache
def drawn(label: str, seed: int = 1, size: tuple[int, int] = (640, 480)) -> bytes:
    """Return a drawn kennel as JPEG; `label` is cat, dog, none or both."""
    return to_jpeg(draw(label, seed, size))


@cache
def recognised(label: str, seed: int = 1) -> bytes:
    """Return the first drawn kennel, from a seed on, that the committed model names right.

    For tests of what follows from an estimate: how often the model is right is measured elsewhere. Raises LookupError
    if it names none of a hundred right.
    """
    model = ModelVersion.load(DEFAULT_FOLDER)
    for candidate in range(seed, seed + 100):
        photo = drawn(label, candidate)
        (prediction,) = model.predict([decode(photo, model.manifest.input_size)])
        if prediction.label == label:
            return photo
    raise LookupError(f"the committed model recognises none of a hundred drawn kennels with {label}")


def named(jpeg: bytes, name: str) -> bytes:
    """Return the same picture with a comment in it, so that its bytes and digest are its own."""
    comment = name.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def real(label: str, number: int, seed: int = 7) -> list[bytes]:
    """Return `number` different real photos of a label, the same each time for the same seed."""
    with tarfile.open(REAL) as tar:
        names = sorted(name for name in tar.getnames() if name.startswith(f"{label}/"))
        chosen = random.Random(seed).sample(names, number)
        return [_read(tar, name) for name in chosen]


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def solid(width: int = 64, height: int = 48, colour: tuple[int, int, int] = (90, 120, 90)) -> bytes:
    """Return a small picture of one colour as JPEG."""
    output = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(output, "JPEG")
    return output.getvalue()
