import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deploy.local import scenes
from deploy.local.scenes import LABELS, animals_of, draw, draw_scene, to_jpeg

SMALL = (320, 180)


@pytest.mark.parametrize("label", LABELS)
def test_the_same_seed_draws_the_same_picture_and_another_seed_another(label: str) -> None:
    first = to_jpeg(draw(label, 7, SMALL))
    scenes._room.cache_clear()
    assert to_jpeg(draw(label, 7, SMALL)) == first
    assert to_jpeg(draw(label, 8, SMALL)) != first


def test_a_camera_sees_the_same_room_at_every_moment_but_never_the_same_bytes() -> None:
    first, second = (draw_scene(3, (), moment, SMALL) for moment in (1, 2))
    assert first.tobytes() != second.tobytes()
    ratio = np.corrcoef(np.asarray(first).ravel(), np.asarray(second).ravel())[0, 1]
    assert ratio > 0.8


@pytest.mark.parametrize(
    ("label", "species"), [("none", []), ("cat", ["cat"]), ("dog", ["dog"]), ("both", ["cat", "dog"])]
)
def test_a_label_says_who_is_there(label: str, species: list[str]) -> None:
    assert [animal.species for animal in animals_of(label, 5)] == species


def test_an_unknown_label_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'raccoon'.*cat, dog, none, both"):
        animals_of("raccoon", 1)


def test_an_animal_changes_a_fair_part_of_the_picture() -> None:
    empty = np.asarray(draw_scene(4, (), 9, SMALL), dtype=int)
    for label in ("cat", "dog"):
        there = np.asarray(draw_scene(4, animals_of(label, 2), 9, SMALL), dtype=int)
        changed = (abs(there - empty).max(axis=2) > 60).mean()
        assert 0.01 < changed < 0.5, label


def test_the_command_writes_a_folder_a_label_of_the_size_asked_for(tmp_path: Path) -> None:
    result = CliRunner().invoke(scenes.app, [str(tmp_path), "--number", "5", "--size", "128x96", "--seed", "40"])
    assert result.exit_code == 0, result.output
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    assert written == [
        "both/scene-000043.jpg",
        "cat/scene-000040.jpg",
        "cat/scene-000044.jpg",
        "dog/scene-000041.jpg",
        "none/scene-000042.jpg",
    ]
    assert Image.open(io.BytesIO((tmp_path / written[0]).read_bytes())).size == (128, 96)


@pytest.mark.parametrize("size", ["huge", "10x10", "1280"])
def test_a_size_that_makes_no_sense_is_refused(tmp_path: Path, size: str) -> None:
    assert CliRunner().invoke(scenes.app, [str(tmp_path), "--size", size]).exit_code == 2
    assert not list(tmp_path.iterdir())
