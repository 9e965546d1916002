import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.image_classifier.decode import Picture
from services.image_classifier.domain import Label, Quality
from services.image_classifier.model_version import InvalidModelVersion, ModelVersion, read_manifest
from services.image_classifier.tests.tiny_model import SIZE, tiny_graph, write_tiny_model


def plain(red: int, green: int, blue: int, quality: Quality = Quality.OK) -> Picture:
    return Picture(np.full((SIZE, SIZE, 3), (red, green, blue), dtype=np.uint8), quality)


def noise(count: int, size: int = SIZE) -> list[Picture]:
    random = np.random.default_rng(7)
    return [Picture(random.integers(0, 256, (size, size, 3), dtype=np.uint8), Quality.OK) for _ in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny")


def test_pictures_become_calibrated_probabilities_and_labels_in_order(tmp_path: Path) -> None:
    calibration = {"cat": {"temperature": 2.0, "bias": 0.5}, "dog": {"temperature": 1.0, "bias": 0.0}}
    model = ModelVersion.load(write_tiny_model(tmp_path, calibration=calibration))
    cat, dog, both, none, dark = model.predict(
        [plain(144, 0, 0), plain(0, 0, 144), plain(200, 0, 200), plain(0, 60, 0), plain(144, 0, 0, Quality.DARK)]
    )
    assert [p.label for p in (cat, dog, both, none, dark)] == [*list(Label)[:4], Label.UNSURE]
    assert dark.quality is Quality.DARK
    assert cat.probabilities.cat == pytest.approx(1 / (1 + np.exp(-(2.0 / 2.0 + 0.5))))
    assert dog.probabilities.dog == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_no_probability_is_ever_exactly_0_or_1(folder: Path) -> None:
    (prediction,) = ModelVersion.load(folder).predict([plain(255, 0, 0)])
    assert 0.0 < prediction.probabilities.dog < prediction.probabilities.cat < 1.0


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 200])
def test_any_number_of_pictures_gets_as_many_predictions(folder: Path, count: int) -> None:
    assert len(ModelVersion.load(folder).predict(noise(count))) == count


def test_each_forward_pass_is_watched_the_first_ones_too(folder: Path) -> None:
    said: list[str] = []

    @contextmanager
    def watch() -> Iterator[None]:
        said.append("begins")
        yield
        said.append("ends")

    model = ModelVersion.load(folder, watch=watch)
    assert said == ["begins", "ends"] * 2, "its proof, of one picture and of three"
    model.predict(noise(65))
    assert said == ["begins", "ends"] * 4


def test_neighbours_in_a_batch_never_change_a_probability(folder: Path) -> None:
    model = ModelVersion.load(folder)
    pictures = noise(64, model.manifest.input_size)
    alone = np.array([[p.probabilities.cat, p.probabilities.dog] for x in pictures for p in model.predict([x])])
    for size in (2, 7, 16, 64):
        batches = [model.predict(pictures[start : start + size]) for start in range(0, 64, size)]
        together = np.array([[p.probabilities.cat, p.probabilities.dog] for batch in batches for p in batch])
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_threads_that_share_a_model_get_what_one_thread_gets(folder: Path) -> None:
    model = ModelVersion.load(folder)
    pictures = noise(40)
    expected = model.predict(pictures)
    with ThreadPoolExecutor(4) as pool:
        assert all(answer == expected for answer in pool.map(model.predict, [pictures] * 20))


def test_one_changed_byte_of_the_graph_is_refused(folder: Path) -> None:
    graph = bytearray((folder / "model.onnx").read_bytes())
    graph[-1] ^= 1
    (folder / "model.onnx").write_bytes(graph)
    with pytest.raises(InvalidModelVersion, match="SHA-256"):
        ModelVersion.load(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, "schema"),
        ({"name": "../elsewhere"}, "name"),
        ({"labels": ["dog", "cat"]}, "labels"),
        ({"preprocessing": "centre-crop"}, "preprocessing"),
        ({"input_size": 64}, "64, 64"),
        ({"digest": "0"}, "digest"),
        ({"priors": {"cat": 0.0, "dog": 0.5}}, "priors"),
        ({"thresholds": {s: {"present_above": 0.2, "absent_below": 0.8} for s in ("cat", "dog")}}, "order"),
        ({"calibration": {s: {"temperature": 0.0, "bias": 0.0} for s in ("cat", "dog")}}, "temperature"),
    ],
)
def test_a_manifest_that_can_not_be_served_is_refused_with_the_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidModelVersion, match=reason):
        ModelVersion.load(write_tiny_model(tmp_path, **change))


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (b"not a graph", "can't be loaded"),
        (b"", "can't be loaded"),
        (tiny_graph(outputs=1), "shape"),
        (tiny_graph(batch=1), "batch size must be free"),
        (tiny_graph(size=48), "32, 32"),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says_is_refused(tmp_path: Path, graph: bytes, reason: str) -> None:
    write_tiny_model(tmp_path, digest=sha256(graph).hexdigest())
    (tmp_path / "model.onnx").write_bytes(graph)
    with pytest.raises(InvalidModelVersion, match=reason):
        ModelVersion.load(tmp_path)


@pytest.mark.parametrize("missing", ["model.onnx", "manifest.json"])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(InvalidModelVersion, match=missing):
        ModelVersion.load(folder)


def test_fields_that_a_later_version_added_are_ignored(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_later": True}))
    assert read_manifest(folder).name == "tiny"
