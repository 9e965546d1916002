"""A whole running system with two kennels, which the tests of a person's tasks share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.showing import PACE
from shared.testing import wait_until
from tests.browser.people import administrator
from tests.cameras import Camera
from tests.photos import named, recognised
from tests.system import System, running_system

TASK_S = 60.0


@dataclass
class Shelter:
    """A running system with two kennels, and the cookies of its administrator."""

    system: System
    address: str
    cameras: dict[str, Camera]
    marta: dict[str, object]

    def sends(self, camera: str, label: str, number: int = 3, seed: int = 1) -> list[str]:
        """Let a camera send photos and wait until they are counted; return their receipts."""
        names = [f"{label}-{seed}-{n}-{time.time_ns()}" for n in range(number)]
        photos = [named(recognised(label, seed + n), name) for n, name in enumerate(names)]
        receipts = [self.cameras[camera].put(name, photo) for name, photo in zip(names, photos, strict=True)]
        wait_until("they are settled", lambda: all(self._settled(receipt) for receipt in receipts), TASK_S)
        return receipts

    def looking_at(self, space: str) -> Camera:
        """Return a camera of a space that has no part in the other tests."""
        return self.system.camera(f"{space}-door", space)

    def _settled(self, receipt: str) -> bool:
        return bool(self.system.receipt(receipt)["state"] != "accepted")

    def shows(self, space: str, occupancy: str) -> None:
        """Wait until a space shows an occupancy."""
        wait_until(f"{space} shows {occupancy}", lambda: self.system.spaces()[space]["occupancy"] == occupancy, TASK_S)

    def stay(self, space: str) -> dict[str, Any]:
        """Return the newest open stay of a space."""
        stays = self.system.items(self.system.aggregation, "/v1/stays", open="true", space_id=space)
        return max(stays, key=lambda stay: str(stay["from"]))


@contextmanager
def running_shelter(browser: Any, data: Path) -> Iterator[Shelter]:
    """Run a shelter with a cat and a dog for the length of a `with`."""
    with running_system(data, PACE) as system:
        address = f"http://127.0.0.1:{system.base_port}"
        marta = administrator(browser, address, (system.data / "dashboard" / "first-link").read_text().strip())
        cameras = {}
        for space, name in (("k1", "Kennel 1"), ("k2", "Kennel 2")):
            system.space(space, name=name, purpose="adoption", stale_after_s=86_400)
            cameras[space] = system.camera(f"{space}-door", space)
        shelter = Shelter(system, address, cameras, marta)
        shelter.sends("k1", "cat")
        shelter.sends("k2", "dog")
        shelter.shows("k1", "cat")
        shelter.shows("k2", "dog")
        yield shelter
