"""What a person does first of all in a browser: make an account by a link, and log in."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PASSWORD = "four warm paws here"
PATIENCE_MS = 30_000


@contextmanager
def launched(playwright: Any) -> Iterator[Any]:
    """Run Debian's Chromium for the length of a `with`. Raises FileNotFoundError where there is none."""
    found = shutil.which("chromium")
    if found is None:
        raise FileNotFoundError("no Chromium: `apt-get install chromium` enables this")
    browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.geteuid() == 0 else [])
    try:
        yield browser
    finally:
        browser.close()


def take_invitation(page: Any, link: str, name: str) -> None:
    """Make the account of somebody who was given a link."""
    page.goto(link)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The password again").fill(PASSWORD)
    page.get_by_role("button", name="Make my account").click()
    page.get_by_text("Your account is ready. Please log in.").wait_for()


def log_in(page: Any, name: str) -> None:
    """Fill in the log-in that the page shows."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()


def administrator(browser: Any, address: str, first_link: str) -> dict[str, object]:
    """Make the administrator Marta by the first link, log in, and return the browser's cookies."""
    context = browser.new_context(base_url=address, locale="en")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    take_invitation(page, first_link, "Marta")
    log_in(page, "Marta")
    page.get_by_role("heading", name="Now", exact=True).wait_for()
    state: dict[str, object] = context.storage_state()
    context.close()
    return state
