"""What the committed model says of drawn scenes: `python -m deploy.local.judged` prints tables by pose, light and coat.

With `--keep folder` the scenes that it names wrong are there to look at: a person has to know them too.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from deploy.local.drawing.bodies import POSES, Body, Kind
from deploy.local.drawing.coats import CATS, DOGS
from deploy.local.drawing.rooms import Room
from deploy.local.drawing.stage import Placed
from deploy.local.photos import HOMES, ROOMS
from deploy.local.scenes import Scene, draw_scene, posed, to_jpeg, who
from services.image_classifier.decode import decode
from services.image_classifier.model_version import DEFAULT_FOLDER, ModelVersion

SIZE = (640, 360)
# The hour, and the side from which the camera looks: 1 is from the back wall, steeply down on animals that look away.
LOOKS = {"sun": (12.0, 0), "lamp": (20.5, 0), "infrared": (2.0, 0), "sun, from the back": (12.0, 1)}
NOBODY = ("nobody", "a visitor")
SPECIES: tuple[Kind, ...] = ("cat", "dog")

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Case:
    """One scene to judge: who is there and in which pose, how it is looked at, the coat, and the right label."""

    there: str
    look: str
    coat: str
    label: str
    scene: Scene
    side: int


def cases(animals: int) -> Iterator[Case]:
    """Give each species in each pose and look, `animals` of different coats; then both, and rooms with nobody."""
    rooms = [Room.of(seed, home=space in HOMES) for space, seed in ROOMS.items()]
    for number in range(animals):
        room = rooms[number % len(rooms)]
        for look, (hour, side) in LOOKS.items():
            for kind in SPECIES:
                coat = (CATS if kind == "cat" else DOGS)[number % len(CATS)].pattern
                for pose in POSES[kind]:
                    scene = Scene(room, (_placed(kind, number, pose),), hour)
                    yield Case(f"{kind}, {pose}", look, f"{kind}: {number % len(CATS)} {coat}", kind, scene, side)
            both = Scene(room, posed(room, who("both", number), number), hour)
            yield Case("cat and dog", look, "both", "both", both, side)
            for there in NOBODY:
                somebody = posed(room, who("none", number, visitor=there != "nobody"), number)
                yield Case(there, look, there, "none", Scene(room, somebody, hour), side)


def _placed(kind: Kind, number: int, pose: str) -> Placed:
    rng = np.random.default_rng([7, number, ord(kind[0]), *pose.encode()])
    turn = float(rng.normal(0, 0.75))
    gaze = float(np.clip(-turn * rng.uniform(0.3, 1), -0.95, 0.95))
    return Placed(
        Body(kind, number, pose, gaze), float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.15, 0.4)), np.pi / 2 + turn
    )


def table(heading: str, rows: dict[str, dict[str, Counter[str]]], right: dict[str, str]) -> str:
    """Return a table in Markdown: of each row and look how many were right, and what was said of the others."""
    lines = [f"| {heading} | {' | '.join(LOOKS)} |", "|---" * (len(LOOKS) + 1) + "|"]
    for name, looks in rows.items():
        cells = []
        for look in LOOKS:
            said = looks[look]
            wrong = ", ".join(f"{number} {label}" for label, number in said.most_common() if label != right[name])
            cells.append(f"{said[right[name]]} of {said.total()}{f': {wrong}' if wrong else ''}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


@app.command()
def judge(
    animals: Annotated[int, typer.Option(help="Animals of each species; nine have different coats.", min=1)] = 9,
    model: Annotated[Path, typer.Option(help="Folder of the model version.")] = DEFAULT_FOLDER,
    keep: Annotated[Path | None, typer.Option(help="Folder for the scenes that are named wrong.")] = None,
) -> None:
    """Print how often the model names drawn scenes right, and what it says instead."""
    version = ModelVersion.load(model)
    by_there: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    by_coat: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    right: dict[str, str] = {}
    for number, case in enumerate(cases(animals)):
        photo = to_jpeg(draw_scene(case.scene, case.side, number, SIZE))
        (said,) = version.predict([decode(photo, version.manifest.input_size)])
        by_there[case.there][case.look][said.label] += 1
        by_coat[case.coat][case.look][said.label] += 1
        right[case.there] = right[case.coat] = case.label
        if keep is not None and said.label != case.label:
            keep.mkdir(parents=True, exist_ok=True)
            name = f"{case.there}-{case.look}-{number:03d}-is-{said.label}.jpg".replace(", ", "-").replace(" ", "-")
            (keep / name).write_bytes(photo)
    print(table("who is there", by_there, right))
    print()
    print(table("coat", {name: by_coat[name] for name in sorted(by_coat) if ":" in name}, right))


if __name__ == "__main__":
    app()
