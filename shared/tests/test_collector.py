"""The collector skips what was loaded and still finds garbage."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from shared.collector import YOUNG, collect_rarely


class Ring:
    """An object that only the cycle collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collector")
def test_what_is_loaded_is_skipped_and_new_garbage_is_still_found() -> None:
    collect_rarely()
    assert gc.get_freeze_count() > 1000
    found = weakref.ref(Ring())
    kept: list[list[int]] = [[] for _ in range(2 * YOUNG)]
    assert found() is None, f"not found while {len(kept)} objects were made"
