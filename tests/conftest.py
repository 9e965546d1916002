"""What the tests that cross services need of pytest."""

import pytest

from tests.photos import REAL

NO_PHOTOS = f"no real photographs: put a tar of <label>/<name>.jpg at ../shared/data/{REAL.name} to enable this"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the real photographs where they are not."""
    if REAL.exists():
        return
    for item in items:
        if item.get_closest_marker("photos"):
            item.add_marker(pytest.mark.skip(reason=NO_PHOTOS))
