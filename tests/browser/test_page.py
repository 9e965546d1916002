"""What a person does on the page, in a real browser."""

from typing import Any

import pytest

from services.dashboard.tests.fake_services import jpeg, receipt
from tests.browser.conftest import Open, Site

PAGES = (
    *("/", "/spaces/k1", "/review", "/try", "/batches", "/batches/b1", "/history", "/health", "/models"),
    *("/setup", "/cameras/door", "/people", "/me", "/spaces/nowhere", "/spaces/k1?hours=x"),
)
# Axe asks large text for 3:1 only; here no text is large. What else is said is what it says by itself.
ALL_TEXT_AT_4_5 = {
    **{"ignoreUnicode": True, "ignoreLength": False, "ignorePseudo": False, "boldValue": 700, "boldTextPt": 14},
    **{"contrastRatio": {"normal": {"expected": 4.5}, "large": {"expected": 4.5}}, "largeTextPt": 18},
    **{"pseudoSizeThreshold": 0.25, "shadowOutlineEmMax": 0.2},
}
AXE = {"checks": {"color-contrast": {"options": ALL_TEXT_AT_4_5}}}


def barriers(page: Any) -> list[str]:
    """Return what is wrong with the page that is open: wider than its window, or what axe calls serious or worse."""
    axe_module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="`make setup` enables this")
    found = []
    over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if over > 0:
        found.append(f"{page.url} overflows by {over}")
    for violation in axe_module.Axe().run(page, options=AXE).response["violations"]:
        if violation["impact"] in ("serious", "critical"):
            nodes = [node["html"][:160] for node in violation["nodes"][:3]]
            found.append(f"{page.url} {violation['id']}: {nodes}")
    return found


# 720 pixels are 1440 at 200 % zoom.
@pytest.mark.parametrize(
    ("theme", "width", "locale"),
    [
        *(("light", 1440, "en"), ("dark", 1440, "es"), ("light", 390, "es")),
        *(("dark", 390, "en"), ("light", 720, "es"), ("dark", 720, "en")),
    ],
)
@pytest.mark.timeout(300)
def test_no_page_overflows_or_has_a_serious_barrier(
    open_page: Open, site: Site, theme: str, width: int, locale: str
) -> None:
    page: Any = open_page("/", color_scheme=theme, viewport={"width": width, "height": 844}, locale=locale)
    found = []
    for path in PAGES:
        page.goto(path)
        found += barriers(page)
    page.goto("/history")
    page.locator("#account summary").click()
    found += barriers(page)
    page.goto("/people")
    page.locator("form[action='/people/invitations'] button").click()
    link = page.locator("#link-text").inner_text()
    found += barriers(page)
    page.goto("/cameras/door")
    page.locator("form[action='/cameras/door/secrets'] button").first.click()
    page.locator("#secret-text").wait_for()
    found += barriers(page)
    site.services.down = {"aggregation", "camera_ingest", "image_classifier"}
    try:
        for path in ("/", "/health", "/setup", "/review"):
            page.goto(path)
            found += barriers(page)
    finally:
        site.services.down = set()
    kept = {name: getattr(site.services, name) for name in ("spaces", "cameras", "stays", "reviews", "rejected")}
    try:
        for name in kept:
            setattr(site.services, name, [])
        for path in ("/", "/review", "/history", "/health", "/setup"):
            page.goto(path)
            found += barriers(page)
    finally:
        for name, what in kept.items():
            setattr(site.services, name, what)
    page.context.clear_cookies()
    for path in ("/login", link):
        page.goto(path)
        found += barriers(page)
    assert found == []


def test_the_keyboard_alone_leads_through_a_page(open_page: Open) -> None:
    page: Any = open_page("/")
    focus = "document.activeElement.matches(':focus-visible') && document.activeElement.textContent.trim()"
    page.keyboard.press("Tab")
    assert page.evaluate(focus) == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.tile')?.dataset.key") == "tile-k10", "the gravest first"
    outline = page.locator('[data-key="tile-k10"]').evaluate("tile => getComputedStyle(tile).outlineStyle")
    assert outline == "solid", "where one is can be seen"
    page.keyboard.press("Enter")
    page.wait_for_url("**/spaces/k10")
    page.locator("#account summary").focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="My account").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("#account").get_attribute("open") is None
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


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
  return document.querySelector("[role=status]:not([hidden])")?.innerText;  // while the answer is on its way
}"""


def test_a_dropped_photo_is_asked_about_at_once_and_the_page_says_so(open_page: Open) -> None:
    page: Any = open_page("/try")
    assert page.evaluate(DROP.replace("RECEIPT", receipt(1))) == "The model is looking …"
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
