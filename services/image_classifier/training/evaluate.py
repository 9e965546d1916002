"""Measure a model version: `python -m services.image_classifier.training.evaluate DATA MODEL`, a JSON report on stdout.

With `--out FOLDER` the report is also written there, beside a page with plots and the model's worst mistakes. Needs no
torch: the graph runs as it does in service, on photos decoded as they are in service.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from tqdm import tqdm

from services.image_classifier.decode import Picture, UndecodableImage, decode
from services.image_classifier.domain import Quality
from services.image_classifier.model_version import ModelVersion, Prediction
from services.image_classifier.training import composites, groups
from services.image_classifier.training.augment import side_by_side
from services.image_classifier.training.measure import CONFIDENT, report, served, share
from services.image_classifier.training.page import write_page
from services.image_classifier.training.photos import DRAWN, Photo, Photos, read

MADE: Final = 400
"""How many pictures of a cat beside a dog are measured, as there are hardly any photos of both."""
WORSE: Final = 800
"""How many photos, evenly spread, are made worse in each way."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A photo, its bytes, what the model sees of it and what it says; it is asked whatever the quality is."""

    photo: Photo
    content: bytes
    picture: Picture
    said: Prediction

    @property
    def chances(self) -> tuple[float, float]:
        """The probabilities of cat and dog."""
        return self.said.probabilities.cat, self.said.probabilities.dog


def measured(model: ModelVersion, rows: Iterable[tuple[Photo, bytes]]) -> tuple[list[Measured], list[dict[str, str]]]:
    """Ask a model version of each photo; gives what it said, and the photos that could not be decoded, with reasons."""
    kept: list[tuple[Photo, bytes, Picture]] = []
    refused = []
    for photo, content in rows:
        try:
            kept.append((photo, content, decode(content, model.manifest.input_size)))
        except UndecodableImage as refusal:
            refused.append({"photo": photo.name, "reason": refusal.reason})
    said = model.predict([Picture(picture.pixels, Quality.OK) for _, _, picture in kept])
    return [Measured(*row, answer) for row, answer in zip(kept, said, strict=True)], refused


def evaluate(data: Path, folder: Path, *, everything: bool, out: Path | None = None) -> dict[str, Any]:
    """Measure a model version on a folder of photos: on `everything` there, or on its val split; README says what of.

    Drawn scenes count apart from photos. With `out`, the report and its page are written there too. Raises ValueError
    if there is nothing to measure.
    """
    model = ModelVersion.load(folder, threads=1)
    held_out = model.manifest.trained_on.get("held_out_sources", [])
    unseen = frozenset(held_out if isinstance(held_out, list) else [])
    wanted = (
        row
        for row in tqdm(read(data), desc="read", mininterval=2.0)
        if everything or row[0].split == "val" or row[0].source in unseen
    )
    rows, refused = measured(model, wanted)
    shown = [row for row in rows if (everything or row.photo.split == "val") and row.photo.source != DRAWN]
    drawn = [row for row in rows if row.photo.source == DRAWN and (everything or row.photo.split == "val")]
    elsewhere = [row for row in rows if row.photo.source in unseen]
    shown = shown or drawn
    if not shown:
        raise ValueError(f"{data} holds no photo to measure on")
    thresholds = {
        species: {"present_above": limits.present_above, "absent_below": limits.absent_below}
        for species, limits in (("cat", model.thresholds.cat), ("dog", model.thresholds.dog))
    }
    answer: dict[str, Any] = {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "digest": model.manifest.digest,
        "input_size": model.manifest.input_size,
        "thresholds": thresholds,
        "trained_on": model.manifest.trained_on,
        "photos": _report(model, shown),
        "never_trained_on": {"sources": sorted(unseen), **(_report(model, elsewhere) if elsewhere else {})},
        "by": {
            "source": _by(model, [*shown, *drawn], lambda row: row.photo.source),
            "source_never_trained_on": _by(model, elsewhere, lambda row: row.photo.source),
            "animal_share": _by(model, shown, lambda row: groups.animal_share(row.photo)),
            "brightness": _by(model, shown, lambda row: groups.brightness(row.picture)),
        },
        "worse": {name: _worse(model, shown, ways) for name, ways in groups.WORSE.items()},
        "hard_negatives": _hard_negatives({id(row): row for row in [*shown, *elsewhere]}.values()),
        "not_measured": list(groups.NOT_MEASURED),
        "composites": _composites(model, [row for row in shown if everything or row.photo.split == "val"]),
        "made": _made(model, shown),
        "quality": _quality(shown),
        "refused": refused,
    }
    if out is not None:
        write_page(out, answer, _mistakes([*shown, *elsewhere]))
    return answer


def _report(model: ModelVersion, rows: Sequence[Measured]) -> dict[str, Any]:
    return report(np.array([row.chances for row in rows]), [row.photo.label for row in rows], model.thresholds)


def _by(
    model: ModelVersion, rows: Sequence[Measured], name_of: Callable[[Measured], str | None]
) -> dict[str, dict[str, Any]]:
    found: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        name = name_of(row)
        if name is not None:
            found[name].append(row)
    return {name: _report(model, found[name]) for name in sorted(found)}


def _worse(
    model: ModelVersion, rows: Sequence[Measured], ways: dict[str, Callable[[Image.Image], bytes]]
) -> dict[str, dict[str, Any]]:
    """Measure the same photos as they are, and after each way of making them worse."""
    some = [rows[i] for i in np.linspace(0, len(rows) - 1, min(WORSE, len(rows))).astype(int)]
    found = {"as they are": _served(model, some)}
    for name, change in ways.items():
        changed = ((r.photo, change(Image.open(BytesIO(r.content)).convert("RGB"))) for r in some)
        again, _ = measured(model, tqdm(changed, desc=name, total=len(some), mininterval=2.0))
        found[name] = _served(model, again)
    return found


def _served(model: ModelVersion, rows: Sequence[Measured]) -> dict[str, Any]:
    chances, labels = np.array([row.chances for row in rows]), [row.photo.label for row in rows]
    return served(chances, [row.picture.quality for row in rows], labels, model.thresholds)


def _hard_negatives(rows: Iterable[Measured]) -> dict[str, dict[str, Any]]:
    """Count false alarms among photos without cat and dog, by what they show."""
    found: dict[str, list[Measured]] = defaultdict(list)
    for row in rows:
        if row.photo.label == "none":
            found[groups.kind(row.photo)].append(row)
    return {
        name: {
            "photos": len(of),
            "called_an_animal": share([str(row.said.label) in ("cat", "dog", "both") for row in of]),
            "called_an_animal_above_0.9": share([max(row.chances) > CONFIDENT for row in of]),
            "unsure": share([str(row.said.label) == "unsure" for row in of]),
            "as": dict(sorted(Counter(str(row.said.label) for row in of).items())),
        }
        for name, of in sorted(found.items())
    }


def _composites(model: ModelVersion, rows: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    found: dict[str, list[tuple[str, Prediction]]] = defaultdict(list)
    frames = composites.frames([(row.photo, row.content) for row in rows])
    for kind, name, content in tqdm(frames, desc="composites", mininterval=2.0):
        picture = decode(content, model.manifest.input_size)
        found[kind].append((name, model.predict([Picture(picture.pixels, Quality.OK)])[0]))
    answer = {}
    for kind, of in found.items():
        chances = np.array([(said.probabilities.cat, said.probabilities.dog) for _, said in of])
        answer[kind] = report(chances, [name for name, _ in of], model.thresholds)
    return answer


def _made(model: ModelVersion, rows: Sequence[Measured]) -> dict[str, Any]:
    photos = Photos([row.photo for row in rows], np.stack([row.picture.pixels for row in rows]))
    of = {name: [i for i, photo in enumerate(photos.photos) if photo.label == name] for name in ("cat", "dog")}
    if not of["cat"] or not of["dog"]:
        return {}
    random, size = np.random.default_rng(1), model.manifest.input_size
    pairs = [(int(random.choice(of["cat"])), int(random.choice(of["dog"]))) for _ in range(MADE)]
    pictures = [Picture(side_by_side(random, photos, pair, size, 0.1, 0.85)[0], Quality.OK) for pair in pairs]
    chances = np.array([(said.probabilities.cat, said.probabilities.dog) for said in model.predict(pictures)])
    return {"cat_beside_dog": report(chances, ["both"] * MADE, model.thresholds)}


def _quality(rows: Sequence[Measured]) -> dict[str, Any]:
    """Count quality flags: nearly all photos of the collection can be judged by a person, so each is a false alarm."""
    return {str(flag): share([row.picture.quality is flag for row in rows]) for flag in Quality}


def _mistakes(rows: Sequence[Measured], most: int = 60) -> list[tuple[str, str, bytes]]:
    """Give (label, what was said, JPEG) of the photos about which the model is most certain and wrong."""
    wrong = [row for row in rows if str(row.said.label) not in (row.photo.label, "unsure")]
    wrong.sort(key=lambda row: -np.prod([max(chance, 1 - chance) for chance in row.chances]))
    return [(row.photo.label, _words(row), row.content) for row in wrong[:most]]


def _words(row: Measured) -> str:
    cat, dog = row.chances
    return f"{row.said.label} (cat {cat:.2f}, dog {dog:.2f})"


def main() -> None:
    """Read the command line and print the report."""
    parser = argparse.ArgumentParser(description="Measure a model version on labelled photos.")
    parser.add_argument("data", type=Path, help="folder of tars, or with a sub-folder a label")
    parser.add_argument("model", type=Path, help="folder with model.onnx and manifest.json")
    parser.add_argument("--out", type=Path, help="folder for report.json and index.html with plots and mistakes")
    given = parser.parse_args()
    # Tars carry a split of their own; a plain folder is taken to be photos that the model has not seen.
    everything = not any(given.data.glob("*.tar"))
    print(json.dumps(evaluate(given.data, given.model, everything=everything, out=given.out), indent=2))


if __name__ == "__main__":
    main()
