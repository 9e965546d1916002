"""What a person does on the page, in a real browser."""

from typing import Any

import pytest

from services.dashboard.tests.fake_services import jpeg, receipt
from tests.browser.conftest import Open, Site

PAGES = ("/", "/spaces/k1", "/review", "/try", "/history", "/health", "/setup", "/cameras/door", "/people", "/me")


# 720 pixels are 1440 at 200 % zoom.
@pytest.mark.parametrize(
    ("theme", "width"), [("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390), ("light", 720)]
)
@pytest.mark.timeout(300)
def test_no_page_overflows_or_has_a_serious_barrier(open_page: Open, theme: str, width: int) -> None:
    axe_module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="`make setup` enables this")
    page: Any = open_page("/", color_scheme=theme, viewport={"width": width, "height": 844})
    found = []
    for path in PAGES:
        page.goto(path)
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if over > 0:
            found.append(f"{path} overflows by {over}")
        for violation in axe_module.Axe().run(page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [node["html"][:160] for node in violation["nodes"][:3]]
                found.append(f"{path} {violation['id']}: {nodes}")
    assert found == []


def test_review_goes_by_keys_and_can_be_undone(open_page: Open, site: Site) -> None:
    page: Any = open_page("/review")
    page.keyboard.press("c")
    page.get_by_text("Photo of Kennel 1: Cat.").wait_for()
    page.wait_for_load_state("load")
    page.keyboard.press("u")
    page.get_by_text("The correction is undone.").wait_for()
    said = [
        (method, body) for method, path, _, body in site.services.asked if path.endswith(f"{receipt(9)}/correction")
    ]
    assert said == [("PUT", {"label": "cat"}), ("DELETE", b"")]


def test_a_chosen_photo_is_asked_about_at_once(open_page: Open) -> None:
    page: Any = open_page("/try")
    page.get_by_label("Drop a picture here, or choose one").set_input_files(
        {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg()}
    )
    page.get_by_role("heading", name="Unsure").wait_for()
    assert page.get_by_alt_text("The picture that you chose").evaluate("image => image.naturalWidth") > 0


DROP = """async () => {
  const blob = await (await fetch("/photos/RECEIPT")).blob();
  const transfer = new DataTransfer();
  transfer.items.add(new File([blob], "a.jpg", { type: "image/jpeg" }));
  document.querySelector("[data-drop]").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
}"""


def test_a_dropped_photo_is_asked_about_at_once(open_page: Open) -> None:
    page: Any = open_page("/try")
    page.evaluate(DROP.replace("RECEIPT", receipt(1)))
    page.get_by_role("heading", name="Unsure").wait_for()


def test_an_outage_is_said_and_goes_by_itself(open_page: Open, site: Site) -> None:
    page: Any = open_page("/health")
    try:
        site.services.down = {"camera_ingest"}
        page.reload()
        page.get_by_role("alert").first.wait_for()
        assert page.get_by_text("works").count() == 2
    finally:
        site.services.down = set()
    page.get_by_text("The books balance.").wait_for()  # it asks again every 15 seconds


def test_a_session_that_ends_leads_to_the_log_in_and_back(open_page: Open) -> None:
    page: Any = open_page("/history")
    page.context.clear_cookies()
    page.goto("/history?days=7")
    page.get_by_label("Name").fill("Marta")
    page.get_by_label("Password").fill("four warm paws here")
    page.get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url("**/history?days=7")


def test_the_page_speaks_spanish_by_the_browser_s_language_and_by_the_switch(open_page: Open) -> None:
    page: Any = open_page("/", locale="es-ES")
    page.get_by_role("heading", name="Requiere atención").wait_for()
    page.locator("#account summary").click()
    page.get_by_role("button", name="English").click()
    page.get_by_role("heading", name="Needs a look").wait_for()


def test_it_works_without_javascript(open_page: Open, site: Site) -> None:
    page: Any = open_page("/spaces/k1", java_script_enabled=False)
    page.get_by_role("button", name="Take out of service").click()
    page.get_by_text("Saved.").wait_for()
    assert ("PATCH", "/v1/spaces/k1", {"in_service": False}) in [
        (method, path, body) for method, path, _, body in site.services.asked
    ]
