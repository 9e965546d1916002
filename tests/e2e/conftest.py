"""One running system that the tests of this folder share; each test has spaces and cameras of its own."""

from collections.abc import Iterator

import pytest

from tests.system import System, running_system


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system on its defaults, but that a stalled body is given up after a short time."""
    deadlines = {"HUELLA_INGEST_BODY_DEADLINE_S": "15", "HUELLA_CLASSIFIER_BODY_DEADLINE_S": "15"}
    with running_system(tmp_path_factory.mktemp("e2e"), deadlines) as system:
        yield system
