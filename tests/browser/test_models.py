"""On a running system an administrator tries a version on the page, sees what it shows, and takes the change back."""

import json
from typing import Any

import pytest

from services.image_classifier.model_version import DEFAULT_FOLDER
from shared.testing import wait_until
from tests.browser.conftest import Person
from tests.browser.shelter import TASK_S, Shelter

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

VERSION = "/v1/models/huella/again"


def upload(shelter: Shelter) -> None:
    """Upload the committed version again under another number, and wait until it is proven."""
    manifest = json.loads((DEFAULT_FOLDER / "manifest.json").read_text()) | {"version": "again"}
    files = {"manifest": json.dumps(manifest).encode(), "graph": (DEFAULT_FOLDER / "model.onnx").read_bytes()}
    classifier = shelter.system.classifier
    classifier.put(VERSION, files=files, timeout=60).raise_for_status()
    wait_until("it is proven", lambda: shelter.system.get(classifier, VERSION)["state"] == "ready", TASK_S)


def compared(shelter: Shelter) -> int:
    """Return on how many photos the second version was compared with the first."""
    report = shelter.system.get(shelter.system.classifier, "/v1/rollout/report")
    return next((int(one["compared"]) for one in report["variants"] if one["version"] == "again"), 0)


def test_a_version_is_tried_on_the_page_shows_its_evidence_and_is_taken_back(person: Person, shelter: Shelter) -> None:
    before = shelter.system.get(shelter.system.classifier, "/v1/rollout")
    upload(shelter)
    page = person("/models")
    page.get_by_label("Strategy").select_option("silent")
    page.get_by_label("Version that is tried").select_option("huella/again")
    form: Any = page.locator("form[action='/models/rollout']")
    form.get_by_label("Reason").fill("it may know kittens")
    form.get_by_role("button", name="Put in use").click()
    page.wait_for_url("**/models?done=saved")
    page.get_by_text("it may know kittens").first.wait_for()
    # Its process starts beside the frames, so the first ones may not be shown to it.
    wait_until("it is compared", lambda: bool(shelter.sends("k1", "cat", number=1)) and compared(shelter) > 0, TASK_S)
    page.reload()
    row = page.locator("tr", has_text="huella/again")
    row.wait_for()
    assert row.locator(".meter, meter, svg").count() >= 2, "its share and its agreement are pictures"
    assert "agrees with the champion" in page.locator(".verdict-line").inner_text()
    undo: Any = page.locator("form[action='/models/undo']")
    undo.get_by_label("Reason").fill("it does not")
    with page.expect_navigation():
        undo.get_by_role("button", name="Take the last change back").click()
    now = shelter.system.get(shelter.system.classifier, "/v1/rollout")
    assert [one["version"] for one in now["variants"]] == [one["version"] for one in before["variants"]]
    assert (now["strategy"], now["reason"]) == (before["strategy"], "it does not")
    shelter.system.classifier.delete(VERSION).raise_for_status()
