"""A model version: a folder with `model.onnx` and `manifest.json` that turns pictures into calibrated probabilities."""

import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from services.image_classifier import domain
from services.image_classifier.decode import Picture
from services.image_classifier.runtime import ort

DEFAULT_FOLDER: Final = Path(__file__).parent / "models" / "huella" / "1"
MAX_BATCH: Final = 64
MAX_MANIFEST_BYTES: Final = 1_000_000
MAX_MODEL_BYTES: Final = 256_000_000

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


Watch = Callable[[], AbstractContextManager[None]]
"""Surrounds each forward pass, which a graph may never end."""


class InvalidModelVersion(Exception):
    """A folder is not a model version that can serve; the message says what is wrong with it."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class SpeciesCalibration(_Frozen):
    """probability = sigmoid(logit / temperature + bias)."""

    temperature: Annotated[float, Field(gt=0.0, le=1000.0)]
    bias: Annotated[float, Field(ge=-1000.0, le=1000.0)]


class Calibration(_Frozen):
    """How the logits of each species become calibrated probabilities."""

    cat: SpeciesCalibration
    dog: SpeciesCalibration


class Priors(_Frozen):
    """The share of photos with a cat, and with a dog, among those that the probabilities were calibrated on."""

    cat: Annotated[float, Field(gt=0.0, lt=1.0)]
    dog: Annotated[float, Field(gt=0.0, lt=1.0)]


class SpeciesThresholds(_Frozen):
    """See domain.PresenceThresholds."""

    present_above: Share
    absent_below: Share

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        domain.PresenceThresholds(self.present_above, self.absent_below)
        return self


class ManifestThresholds(_Frozen):
    """The thresholds of each species."""

    cat: SpeciesThresholds
    dog: SpeciesThresholds


class Manifest(_Frozen):
    """The card of a model version (`manifest.json`); fields may be added, so unknown ones are ignored."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    schema_version: Literal[1] = Field(alias="schema")
    name: Name
    version: Name
    labels: tuple[Literal["cat"], Literal["dog"]]
    """The outputs of the graph, in their order."""
    input_size: Annotated[int, Field(ge=32, le=1024)]
    preprocessing: Literal["squash-rgb-uint8-nchw"]
    """Names the form of what decode.py gives; a graph that wants another can't be served by this code."""
    calibration: Calibration
    thresholds: ManifestThresholds
    priors: Priors
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of model.onnx, in hexadecimal."""
    trained_on: dict[str, JsonValue]
    measured: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model version says of one picture."""

    probabilities: domain.Probabilities
    label: domain.Label
    quality: domain.Quality


class Reading:
    """How the logits of a version's graph are read: calibration, thresholds, labels."""

    def __init__(self, manifest: Manifest) -> None:
        self.thresholds = domain.Thresholds(
            cat=domain.PresenceThresholds(manifest.thresholds.cat.present_above, manifest.thresholds.cat.absent_below),
            dog=domain.PresenceThresholds(manifest.thresholds.dog.present_above, manifest.thresholds.dog.absent_below),
        )
        species = (manifest.calibration.cat, manifest.calibration.dog)
        self._temperature = np.array([s.temperature for s in species])
        self._bias = np.array([s.bias for s in species])

    def calibrated(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Turn logits (n, 2) into probabilities (n, 2), kept off 0 and 1, which no other evidence could outweigh."""
        scaled = np.clip(logits.astype(np.float64) / self._temperature + self._bias, -12.0, 12.0)
        chances: npt.NDArray[np.float64] = 1.0 / (1.0 + np.exp(-scaled))
        return chances

    def predictions(self, logits: npt.NDArray[np.float32], pictures: Sequence[Picture]) -> list[Prediction]:
        """Give one prediction a picture, in order, from its row of logits."""
        predictions = []
        for picture, (cat, dog) in zip(pictures, self.calibrated(logits).tolist(), strict=True):
            probabilities = domain.Probabilities(cat=cat, dog=dog)
            label = domain.label(probabilities, self.thresholds, picture.quality)
            predictions.append(Prediction(probabilities, label, picture.quality))
        return predictions


class ModelVersion:
    """A loaded model version; `predict` may be called from several threads at once."""

    def __init__(self, manifest: Manifest, session: ort.InferenceSession, watch: Watch = nullcontext) -> None:
        self.manifest = manifest
        self._watch = watch
        self._reading = Reading(manifest)
        self._session = session
        self._input = session.get_inputs()[0].name

    @classmethod
    def load(cls, folder: Path, threads: int = 1, watch: Watch = nullcontext) -> "ModelVersion":
        """Read a model version and prove that it can serve.

        `threads` is what one `predict` may use; `watch` surrounds whatever its graph is asked. Raises
        InvalidModelVersion if a file is missing or too large, the digest differs, the manifest is not valid, or the
        graph does not take and give what the manifest says.
        """
        return cls.from_graph(read_manifest(folder), read_graph(folder), threads, watch)

    @classmethod
    def from_graph(
        cls, manifest: Manifest, graph: bytes, threads: int = 1, watch: Watch = nullcontext
    ) -> "ModelVersion":
        """Make a version of the bytes of its graph, as `load` does. Raises InvalidModelVersion."""
        if not hmac.compare_digest(hashlib.sha256(graph).hexdigest(), manifest.digest):
            raise InvalidModelVersion("the graph is not the one that its manifest describes (SHA-256)")
        # The very bytes that were verified are loaded.
        model = cls(manifest, _session(graph, threads), watch)
        model._check()
        return model

    def logits(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the graph on uint8 pixels (n, size, size, 3), n up to MAX_BATCH; gives uncalibrated float32 (n, 2)."""
        planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        with self._watch():
            answer: npt.NDArray[np.float32] = self._session.run(None, {self._input: planes})[0]
        return answer

    def predict(self, pictures: Sequence[Picture]) -> list[Prediction]:
        """Give one prediction a picture, in order.

        Each picture has the manifest's `input_size`; any number of them, run in batches of MAX_BATCH.
        """
        predictions: list[Prediction] = []
        for start in range(0, len(pictures), MAX_BATCH):
            batch = pictures[start : start + MAX_BATCH]
            logits = self.logits(np.stack([picture.pixels for picture in batch]))
            predictions += self._reading.predictions(logits, batch)
        return predictions

    def calibrated(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Turn logits (n, 2) into probabilities (n, 2); see Reading."""
        return self._reading.calibrated(logits)

    @property
    def thresholds(self) -> domain.Thresholds:
        """What decides between labels."""
        return self._reading.thresholds

    def _check(self) -> None:
        size = self.manifest.input_size
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or list(inputs[0].shape[1:]) != [3, size, size]:
            raise InvalidModelVersion(f"the graph must take one uint8 tensor (n, 3, {size}, {size})")
        if isinstance(inputs[0].shape[0], int):
            raise InvalidModelVersion("the graph's batch size must be free")
        if len(outputs) != 1 or outputs[0].type != "tensor(float)":
            raise InvalidModelVersion("the graph must give one float tensor")
        for n in (1, 3):
            grey = np.full((n, size, size, 3), 128, dtype=np.uint8)
            try:
                answer = self.logits(grey)
            except Exception as error:  # as in _session
                raise InvalidModelVersion(f"the graph fails on {n} grey pictures: {error}") from error
            if answer.shape != (n, 2) or not np.isfinite(answer).all():
                raise InvalidModelVersion(f"{n} grey pictures give shape {answer.shape} or numbers not finite")


def read_manifest(folder: Path) -> Manifest:
    """Read and validate a folder's `manifest.json`. Raises InvalidModelVersion."""
    try:
        return Manifest.model_validate_json(_read(folder / "manifest.json", MAX_MANIFEST_BYTES))
    except ValidationError as error:
        raise InvalidModelVersion(f"{folder / 'manifest.json'}: {error}") from error


def read_graph(folder: Path) -> bytes:
    """Return the bytes of a folder's `model.onnx`. Raises InvalidModelVersion."""
    return _read(folder / "model.onnx", MAX_MODEL_BYTES)


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise InvalidModelVersion(f"{path} can't be read: {error.strerror}") from error
    if len(content) > limit:
        raise InvalidModelVersion(f"{path} is larger than {limit} bytes")
    return content


def _session(graph: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads must not spin: several services share the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Tensors may be kept in files, by default in any below the folder that the process works in; below this lies none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    # onnxruntime's errors have no common type in its public interface; each means that the graph can't be served.
    except Exception as error:
        raise InvalidModelVersion(f"model.onnx can't be loaded: {error}") from error
