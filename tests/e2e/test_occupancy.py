"""Photos that cameras put become the right adoption status, each of them counted, in whatever order they come."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from shared.database import now
from shared.messages import isoformat
from tests.cameras import Camera
from tests.photos import drawn, named, real
from tests.system import System

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

EVERY_S = 10.0
PHOTOS = 50
DRAWN = 12  # different ones of a space: a drawing takes most of a second of processor time
SHOWN = {"cat": "cat", "dog": "dog", "none": "empty", "both": "both"}
Story = Sequence[tuple[Camera, Sequence[bytes]]]


def times(number: int, until: datetime | None = None) -> list[str]:
    """Return the moments of `number` photos, one each EVERY_S seconds, the last of them now or at `until`."""
    last = until or now()
    return [isoformat(last - timedelta(seconds=EVERY_S * (number - 1 - n))) for n in range(number)]


def send(system: System, story: Story) -> None:
    """Let each camera put its photos, all cameras at once, and wait until every one is counted."""
    before = system.audit()
    moments = times(max(len(photos) for _, photos in story))

    def put_all(camera: Camera, photos: Sequence[bytes]) -> None:
        for number, (photo, moment) in enumerate(zip(photos, moments, strict=False)):
            camera.put(f"{number:04d}", photo, moment)

    with ThreadPoolExecutor(len(story)) as pool:
        for future in [pool.submit(put_all, camera, photos) for camera, photos in story]:
            future.result()
    after = system.wait_settled(before["accepted"] + sum(len(photos) for _, photos in story))
    assert after["rejected"] == before["rejected"]


def photos_of(label: str, source: str, number: int, seed: int) -> list[bytes]:
    """Return photos whose truth is `label`, real or drawn; for `both`, cats and dogs take turns before the camera."""
    if source == "drawn":
        return [named(drawn(label, seed=100 * seed + n % DRAWN), f"{label}-{n}") for n in range(number)]
    if label != "both":
        return real(label, number, seed)
    pairs = zip(real("cat", number - number // 2, seed), real("dog", number // 2, seed), strict=True)
    return [photo for pair in pairs for photo in pair]


@pytest.mark.parametrize("source", [pytest.param("real", marks=pytest.mark.photos), "drawn"])
def test_300_photos_by_6_cameras_become_the_status_of_6_spaces(system: System, source: str) -> None:
    truth = {f"{source}-{n}": label for n, label in enumerate(["cat", "dog", "none", "both", "cat", "dog"])}
    before = system.audit()
    cameras = [system.camera(f"camera-{space}", space) for space in truth]
    for space in truth:
        system.space(space)
    story = [
        (camera, photos_of(label, source, PHOTOS, seed))
        for seed, (camera, label) in enumerate(zip(cameras, truth.values(), strict=True))
    ]
    send(system, story)

    audit = system.audit()
    assert audit["accepted"] - before["accepted"] == PHOTOS * len(truth)
    assert audit["accepted"] == audit["counted"] + audit["rejected"] + audit["in_flight"]
    receipts = [receipt for camera in cameras for _, receipt in camera.log]
    assert {system.receipt(receipt)["state"] for receipt in receipts} == {"counted"}
    assert system.reconciliation()["agrees"]
    assert system.ledger(*cameras).lost == frozenset()
    spaces = system.spaces()
    wrong = {
        space: spaces[space]["occupancy"]
        for space, label in truth.items()
        if spaces[space]["occupancy"] != SHOWN[label]
    }
    assert not wrong


@pytest.mark.photos
def test_a_camera_that_sees_nothing_does_not_outvote_the_one_that_sees(system: System) -> None:
    """Two cameras look at one space with a cat; one of them has a view of an empty corner."""
    sees, blind = system.camera("sees", "disagreed"), system.camera("blind", "disagreed")
    send(system, [(sees, real("cat", 30, seed=11)), (blind, real("none", 30, seed=11))])
    assert system.spaces()["disagreed"]["occupancy"] == "cat"


@pytest.mark.photos
def test_a_frozen_camera_does_not_hold_a_cat_that_left(system: System) -> None:
    """One camera sends the same picture of a cat for ever, the other sees the room empty after the cat left."""
    frozen, alive = system.camera("frozen", "left"), system.camera("alive", "left")
    still = real("cat", 1, seed=12)
    send(system, [(frozen, still * PHOTOS), (alive, real("cat", 5, seed=13) + real("none", PHOTOS - 5, seed=13))])
    assert system.spaces()["left"]["occupancy"] == "empty"


@pytest.mark.photos
def test_a_frozen_camera_counts_once(system: System) -> None:
    """Thirty copies of one picture make nothing surer than one does."""
    photo = real("cat", 1, seed=14)
    once, often = system.camera("once", "once"), system.camera("often", "often")
    send(system, [(once, photo), (often, photo * 30)])
    spaces = system.spaces()
    assert spaces["often"]["probability"] <= spaces["once"]["probability"] + 0.02


@pytest.mark.photos
def test_order_and_repetition_change_nothing(system: System) -> None:
    """The same photos of the same moments, in order and shuffled with repeats, give the same status to the digit."""
    story = [*real("dog", 10, seed=15), *real("none", 10, seed=15), *real("cat", 10, seed=15)]
    shots = list(enumerate(zip(story, times(len(story)), strict=True)))
    shuffled = shots + random.Random(3).sample(shots, 10)
    random.Random(4).shuffle(shuffled)
    in_order, mixed = system.camera("in-order", "in-order"), system.camera("mixed", "mixed")
    before = system.audit()["accepted"]
    for camera, sequence in ((in_order, shots), (mixed, shuffled)):
        for number, (photo, moment) in sequence:
            camera.put(f"{number:04d}", photo, moment)
    assert len(set(mixed.log)) == len(shots)
    system.wait_settled(before + 2 * len(shots))
    spaces = system.spaces()
    assert spaces["in-order"]["occupancy"] == spaces["mixed"]["occupancy"]
    assert spaces["in-order"]["probability"] == pytest.approx(spaces["mixed"]["probability"], abs=1e-9)
    assert spaces["in-order"]["since"] == spaces["mixed"]["since"]
    assert spaces["in-order"]["frames"] == spaces["mixed"]["frames"] == len(shots)
