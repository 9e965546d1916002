"""What the first page shows: a tile a space, the ones that need a look first, and the shelter in numbers."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.dashboard.domain import CameraSeen, Look, camera_fault, latest, looks
from services.dashboard.shapes import Camera, Change, Space, Species, Status, Stay


@dataclass(frozen=True, slots=True)
class Tile:
    """A space with what is known of it; `photo` is the receipt of its latest photo."""

    space: Space
    stays: list[Stay]
    cameras: int
    faulty: list[str]
    looks: list[Look]
    photo: str | None


@dataclass(frozen=True, slots=True)
class Numbers:
    """The shelter in numbers: animals present, up for adoption, spaces free, arrivals and departures of today."""

    cats: int
    dogs: int
    cats_up: int
    dogs_up: int
    free: int
    arrived: int
    left: int


@dataclass(frozen=True, slots=True)
class Told:
    """Something that happened today: `arrived`, `left`, `decided`, `corrected` or `blind`."""

    at: datetime
    what: str
    space_id: str
    species: Species | None = None
    state: str | None = None


def told(today: Iterable[Stay], changes: Iterable[Change], midnight: datetime) -> list[Told]:
    """Return what happened since `midnight`, the newest first.

    Of occupancies only blindness, and of each space the last: an animal that came is a stay, and doubt comes and goes
    by the minute.
    """
    found: list[Told] = []
    blind: dict[str, Told] = {}
    for stay in today:
        found += [Told(stay.from_, "arrived", stay.space_id, stay.species)]
        found += [Told(stay.until, "left", stay.space_id, stay.species)] if stay.until else []
    for change in changes:
        if change.kind == "stay_decided":
            found.append(Told(change.written_at, "decided", change.space_id, change.species, change.state))
        elif change.kind == "correction":
            found.append(Told(change.written_at, "corrected", change.space_id))
        elif change.kind == "occupancy" and change.occupancy == "stale":
            if change.space_id in blind and blind[change.space_id].at > change.written_at:
                continue
            blind[change.space_id] = Told(change.written_at, "blind", change.space_id)
    found += blind.values()
    return sorted((one for one in found if one.at >= midnight), key=lambda one: one.at, reverse=True)


def seen(camera: Camera) -> CameraSeen:
    """Return what the rules need of a camera."""
    return CameraSeen(camera.camera_id, camera.space_id, camera.last_frame_at, camera.created_at, camera.last_receipt)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts `K2` before `K10`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name.casefold())]


def tiles(status: Status, cameras: Iterable[Camera], now: datetime) -> list[Tile]:
    """Return the tiles, those that need a look first (grave before others), else by name."""
    looking: dict[str, list[CameraSeen]] = {}
    for camera in cameras:
        looking.setdefault(camera.space_id, []).append(seen(camera))
    open_stays: dict[str, list[Stay]] = {}
    for stay in status.stays:
        open_stays.setdefault(stay.space_id, []).append(stay)
    found = [_tile(space, open_stays.get(space.id, []), looking.get(space.id, []), now) for space in status.spaces]
    return sorted(found, key=_order)


def _tile(space: Space, stays: list[Stay], cameras: Sequence[CameraSeen], now: datetime) -> Tile:
    silent_after = timedelta(seconds=space.stale_after_s)
    faulty = [camera.camera_id for camera in cameras if camera_fault(camera, silent_after, now)]
    newest = latest(cameras)
    return Tile(
        space,
        stays,
        len(cameras),
        faulty,
        looks(space.occupancy, faulty, len(cameras), space.in_service),
        newest.receipt if newest else None,
    )


def _order(tile: Tile) -> tuple[int, int, list[tuple[int, int, str]]]:
    gravity = 2 if not tile.looks else 0 if any(look.grave for look in tile.looks) else 1
    return (gravity, not tile.space.in_service, natural(tile.space.name))


def numbers(status: Status, today: Iterable[Stay], midnight: datetime) -> Numbers:
    """Add up what is present (open stays in spaces in service) and what came and went since `midnight`."""
    in_service = {space.id for space in status.spaces if space.in_service}
    animals = {"cat": 0, "dog": 0}
    for stay in status.stays:
        if stay.space_id in in_service:
            animals[stay.species] += stay.number_of_animals
    stays = list(today)
    return Numbers(
        cats=animals["cat"],
        dogs=animals["dog"],
        cats_up=status.totals.up_for_adoption.cats,
        dogs_up=status.totals.up_for_adoption.dogs,
        free=status.totals.spaces_free,
        arrived=sum(stay.from_ >= midnight for stay in stays),
        left=sum(stay.until is not None and stay.until >= midnight for stay in stays),
    )
