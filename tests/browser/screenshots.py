"""`make screenshots`: every page at two widths, light and dark, of the demo with drawn scenes, in build/screenshots.

The demo's shelter with what a shelter has besides: a camera that went silent, one that never sent, a photo that nobody
can read, a reserved animal, a correction, a batch; the log-in, an invitation, the menu, a secret shown once; and the
page while a service is away. `--docs` makes the two pictures that the README shows.
"""

import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from PIL import Image
from playwright.sync_api import sync_playwright

from deploy.local.photos import DrawnPhotos
from deploy.local.scenes import draw, to_jpeg
from deploy.local.showing import PACE, Demo, opened
from deploy.local.story import SPACES, Story
from deploy.local.system import REPOSITORY
from deploy.local.system import System as Local
from shared.testing import wait_until
from tests.batches import send
from tests.browser.people import PATIENCE_MS, administrator, launched
from tests.system import System, running_system

OUT = REPOSITORY / "build" / "screenshots"
DOCS_FOLDER = REPOSITORY / "docs" / "pictures"
WIDTHS = {1440: 900, 390: 844}
THEMES = ("light", "dark")
SHOWN_S = 100.0  # for how long the demo goes on before the first picture
PAGES = {
    "now": "/",
    "space": "/spaces/room",
    "space-stale": "/spaces/puppies",
    "review": "/review",
    "try": "/try",
    "batches": "/batches",
    "models": "/models",
    "history": "/history",
    "health": "/health",
    "setup": "/setup",
    "camera": "/cameras/k1-front",
    "camera-waiting": "/cameras/yard-gate",
    "people": "/people",
    "me": "/me",
    "nothing-here": "/spaces/nowhere",
}
STRANGERS = {"login": "/login"}  # with what is only known once it was made: the invitation
OUTAGE = {"now-outage": "/", "health-outage": "/health", "space-outage": "/spaces/k1"}
DOCS = {"now-1440-light": "page-now.webp", "space-390-dark": "page-phone.webp"}
PHONE_HEIGHT = 1500
LARGEST_BYTES = 150_000

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def patient(system: System) -> None:
    """Let no space of the demo look blind only because this machine draws its photos slowly."""
    for space in system.items(system.aggregation, "/v1/spaces"):
        if space["id"] != "puppies":
            system.space(space["id"], name=space["name"], purpose=space["purpose"], stale_after_s=900)


def trouble(system: System) -> None:
    """Add to the demo's shelter what needs a look."""
    system.space("puppies", name="Puppy room", stale_after_s=20)
    silent = system.camera("puppies-door", "puppies")
    for number in range(4):
        silent.put(f"p{number}", to_jpeg(draw("dog", 90 + number, (1280, 720))))
    silent.put("torn", to_jpeg(draw("dog", 99, (1280, 720)))[:-9000])
    system.camera("yard-gate", "yard")
    photos = {
        f"{label}-{n}.jpg": to_jpeg(draw(label, 70 + n, (640, 360))) for label in ("cat", "dog") for n in range(3)
    }
    send(system, {**photos, "torn.jpg": photos["cat-0.jpg"][:-4000]})


def decisions(system: System) -> None:
    """Decide about a stay and correct a photo, as an operator would."""
    stay = next(system.items(system.aggregation, "/v1/stays", open="true", space_id="room"))
    fields = {"state": "reserved", "number_of_animals": 2, "note": "For the Ortiz family, Saturday"}
    version = {"If-Match": f'"{stay["version"]}"'}
    system.aggregation.patch(f"/v1/stays/{stay['id']}", json=fields, headers=version).raise_for_status()
    frame = next(system.items(system.aggregation, "/v1/spaces/room/estimates"))
    system.aggregation.put(f"/v1/estimates/{frame['receipt']}/correction", json={"label": "both"}).raise_for_status()


@contextmanager
def showing(seconds: float) -> Iterator[tuple[System, Demo]]:
    """Run the demo's shelter, after so many seconds of it, for the length of a `with`."""
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder), PACE) as system:
        local = Local(data=system.data, base_port=system.base_port, keys=system.data / "keys")
        with opened(local, Story(), DrawnPhotos(SPACES)) as demo:
            trouble(system)
            patient(system)
            until = time.monotonic() + seconds
            wait_until("the demo has shown enough", lambda: time.monotonic() > until, seconds + 60, every_s=1)
            wait_until("somebody is in the room", lambda: _anybody(system), 120, every_s=1)
            decisions(system)
            yield system, demo


def _anybody(system: System) -> bool:
    return bool(list(system.items(system.aggregation, "/v1/stays", open="true", space_id="room")))


def shoot(page: Any, path: str, width: int) -> bytes:
    """Open a page and return the whole of it as PNG."""
    page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    page.goto(path)
    if path == "/try":
        page.get_by_label("Drop a picture here, or choose one").set_input_files(
            {"name": "kennel.jpg", "mimeType": "image/jpeg", "buffer": to_jpeg(draw("cat", 5, (1280, 720)))}
        )
        page.locator("#result").wait_for()
    return taken(page, width)


def taken(page: Any, width: int) -> bytes:
    """Return the whole of the page that is open as PNG, everything on it loaded and the phone's bar at its end."""
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": min(max(height, WIDTHS[width]), 8000)})
    loaded = "[...document.images].every((image) => image.complete)"  # asked again: the page's policy forbids waiting
    wait_until(f"every picture of {page.url} is there", lambda: page.evaluate(loaded), every_s=0.2)
    picture: bytes = page.screenshot()
    return picture


@app.command()
def main(
    docs: Annotated[bool, typer.Option("--docs", help="Make the README's pictures alone, into docs/pictures.")] = False,
    seconds: Annotated[float, typer.Option(help="Seconds of the demo before the first picture.")] = SHOWN_S,
) -> None:
    """Write the pictures, and fail if a page is wider than its window."""
    OUT.mkdir(parents=True, exist_ok=True)
    too_wide = []

    def keep(page: Any, name: str, width: int, theme: str, picture: bytes) -> None:
        (OUT / f"{name}-{width}-{theme}.png").write_bytes(picture)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            too_wide.append(f"{name} at {width}")
        if docs:
            write_docs(picture, DOCS[f"{name}-{width}-{theme}"])

    with showing(seconds) as (system, _), sync_playwright() as playwright, launched(playwright) as browser:
        address = f"http://127.0.0.1:{system.base_port}"
        cookies = administrator(browser, address, (system.data / "dashboard" / "first-link").read_text().strip())
        batch = next(system.items(system.classifier, "/v1/batches"))["id"]
        pages = {**PAGES, "batch": f"/batches/{batch}"}
        if docs:
            pages = {name: path for name, path in pages.items() if any(key.startswith(f"{name}-") for key in DOCS)}
        for width, theme, page in views(browser, address, cookies):
            for name, path in pages.items():
                if not docs or f"{name}-{width}-{theme}" in DOCS:
                    keep(page, name, width, theme, shoot(page, path, width))
            if not docs:
                for name, picture in clicked(page, width):
                    keep(page, name, width, theme, picture)
        if not docs:
            for width, theme, page in views(browser, address, None):
                for name, path in {**STRANGERS, "invitation": invitation(browser, address, cookies)}.items():
                    keep(page, name, width, theme, shoot(page, path, width))
            system.stop("aggregation")
            for width, theme, page in views(browser, address, cookies):
                for name, path in OUTAGE.items():
                    keep(page, name, width, theme, shoot(page, path, width))
    print(f"Pictures are in {DOCS_FOLDER if docs else OUT}")
    if too_wide:
        print(f"Wider than the window: {', '.join(too_wide)}")
        raise typer.Exit(1)


def views(browser: Any, address: str, cookies: object) -> Iterator[tuple[int, str, Any]]:
    """Give a page to take pictures of, for each width and theme; with no `cookies`, as nobody who is logged in."""
    for width in WIDTHS:
        for theme in THEMES:
            context = browser.new_context(
                base_url=address, storage_state=cookies, color_scheme=theme, locale="en", reduced_motion="reduce"
            )
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            yield width, theme, page
            context.close()


def clicked(page: Any, width: int) -> Iterator[tuple[str, bytes]]:
    """Give pictures of what no address leads to: the menu, a new secret, what Review says of an answer."""
    page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    page.goto("/history")
    page.locator("#account summary").click()
    yield "menu", page.screenshot()
    page.goto("/cameras/yard-gate")
    page.get_by_role("button", name="New secret").click()
    page.get_by_text("It is shown this once.").wait_for()
    yield "camera-secret", taken(page, width)
    page.goto("/review")
    answer = page.get_by_role("button", name="Cat", exact=False).first
    if answer.count():
        answer.click()
        page.get_by_role("button", name="Undo").wait_for()
        yield "review-answered", taken(page, width)


def invitation(browser: Any, address: str, cookies: object) -> str:
    """Return the path of a fresh invitation."""
    context = browser.new_context(base_url=address, storage_state=cookies, locale="en")
    page = context.new_page()
    page.goto("/people")
    page.get_by_role("button", name="Make a link").click()
    path: str = urlsplit(page.locator("#link-text").inner_text()).path
    context.close()
    return path


def write_docs(picture: bytes, name: str) -> None:
    """Write a picture of the documentation, small enough for a repository."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, PHONE_HEIGHT)))
    small = io.BytesIO()
    for quality in range(85, 30, -5):
        small = io.BytesIO()
        image.save(small, "WEBP", quality=quality)
        if small.tell() < LARGEST_BYTES:
            break
    DOCS_FOLDER.mkdir(exist_ok=True)
    (DOCS_FOLDER / name).write_bytes(small.getvalue())


if __name__ == "__main__":
    app()
