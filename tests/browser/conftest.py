"""A real browser: on the real page between the dashboard's fake services (`site`), or on a whole running system
(`shelter`). Skipped by name without a browser."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from services.dashboard.live import Live
from services.dashboard.main import FOLDER, create_app
from services.dashboard.settings import Settings
from services.dashboard.tests.fake_services import AGGREGATION, CLASSIFIER, INGEST, FakeServices
from shared.migrations import migrate
from shared.testing import free_port, wait_until
from shared.tokens import Keyring
from tests.browser.people import PATIENCE_MS, administrator, launched
from tests.browser.shelter import Shelter, running_shelter

sync_api: Any = pytest.importorskip("playwright.sync_api", reason="no playwright: `make setup` enables this")

Open = Callable[..., Any]
Person = Callable[..., Any]


class Site:
    """A running page with its address and its neighbours."""

    def __init__(self, address: str, services: FakeServices, first_link: Path, live: Live) -> None:
        self.address = address
        self.services = services
        self.first_link = first_link
        self.live = live


@pytest.fixture(scope="module")
def site(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page, served on loopback."""
    port = free_port()
    settings = Settings(
        data=tmp_path_factory.mktemp("data"),
        base_port=port,
        keys=keys,
        ingest_url=f"http://127.0.0.1:{INGEST}",
        classifier_url=f"http://127.0.0.1:{CLASSIFIER}",
        aggregation_url=f"http://127.0.0.1:{AGGREGATION}",
        request_timeout_s=5,
    )
    migrate(settings.database_url, FOLDER / "migrations")
    services = FakeServices(Keyring(keys))
    app = create_app(settings, services.transport())
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until("the page answers", lambda: server.started)
    yield Site(f"http://127.0.0.1:{port}", services, settings.folder / "first-link", app.state.parts.live)
    server.should_exit = True
    thread.join(timeout=15)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium."""
    with ExitStack() as stack:
        try:
            browser = stack.enter_context(launched(stack.enter_context(sync_api.sync_playwright())))
        except FileNotFoundError as error:
            pytest.skip(str(error))
        yield browser


@pytest.fixture
def open_page(site: Site, chromium: Any, log_in: dict[str, object]) -> Iterator[Open]:
    """A function that opens a page as the administrator Marta; fails on any error that the browser tells of."""
    contexts, errors = [], []

    def open_one(path: str, **options: object) -> Any:
        settings = {"locale": "en", "viewport": {"width": 1440, "height": 900}, **options}
        context = chromium.new_context(base_url=site.address, storage_state=log_in, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security" in line.text else None)
        site.live.changed()  # else the page may still show, for a second, what the test before had the services say
        page.goto(path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture(scope="module")
def log_in(site: Site, chromium: Any) -> dict[str, object]:
    """The cookies of the administrator Marta."""
    return administrator(chromium, site.address, site.first_link.read_text().strip())


@pytest.fixture(scope="session")
def shelter(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelter]:
    """A running shelter with a cat and a dog."""
    with running_shelter(chromium, tmp_path_factory.mktemp("system") / "data") as shelter:
        yield shelter


@pytest.fixture
def person(shelter: Shelter, chromium: Any) -> Iterator[Person]:
    """A function that opens a page in a browser of its own, as Marta unless `cookies` is None; no script may fail."""
    contexts, errors = [], []

    def open_page(path: str, cookies: object = shelter.marta, **options: object) -> Any:
        given = {"locale": "en", "viewport": {"width": 1440, "height": 900}, **options}
        context = chromium.new_context(base_url=shelter.address, storage_state=cookies, **given)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
