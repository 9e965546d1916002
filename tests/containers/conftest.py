"""One stack of containers that the tests of this folder share, where a container engine is."""

import os
from collections.abc import Iterator

import pytest

from tests.containers.stack import Engine, Stack, find_engine, running_stack

NOT_ASKED = "containers take minutes: `make test-containers` runs these"
NO_ENGINE = "no container engine: install Docker with its compose plug-in, or name a stand-in in CONTAINERS_TOOL"


@pytest.fixture(scope="session")
def engine() -> Engine:
    if os.environ.get("TEST_CONTAINERS") != "1":
        pytest.skip(NOT_ASKED)
    engine = find_engine()
    if engine is None:
        pytest.skip(NO_ENGINE)
    return engine


@pytest.fixture(scope="session")
def system(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack under the name that the end-to-end tests know: they run on it unchanged."""
    with running_stack(engine, tmp_path_factory.mktemp("secrets")) as stack:
        yield stack
