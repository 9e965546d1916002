"""Review in a real browser on a whole running system: what it asks about, and how it is answered."""

import json
from itertools import count
from typing import Any

import pytest

from services.image_classifier.model_version import DEFAULT_FOLDER
from shared.database import now
from shared.messages import isoformat
from shared.testing import wait_until
from tests.browser.conftest import Person
from tests.browser.shelter import TASK_S, Shelter
from tests.photos import drawn, named, recognised
from tests.system import System

pytestmark = pytest.mark.timeout(300)


def unsure_photo(shelter: Shelter) -> bytes:
    """Return a drawn photo of which the model is unsure."""
    for seed in range(400):
        photo = drawn(("cat", "both", "dog", "none")[seed % 4], 500 + seed)
        answer = shelter.system.classifier.post("/v1/predictions", content=photo).raise_for_status().json()
        if answer["label"] == "unsure" and answer["quality"] == "ok":
            return photo
    pytest.skip("the model is sure of every drawn photo")


def press(page: Any, key: str) -> None:
    """Press a key once the page listens to keys: its script has run when the page is loaded."""
    page.wait_for_load_state("load")
    page.keyboard.press(key)


def photo_on_review(page: Any) -> str:
    """Return the address of the photo that Review shows, once it can be seen."""
    photo = page.locator(".review-photo img")
    photo.wait_for()
    wait_until("the photo is there", lambda: photo.evaluate("image => image.complete && image.naturalWidth > 0"))
    return str(photo.get_attribute("src"))


def test_review_goes_by_keys_with_undo_and_skip(shelter: Shelter, person: Person) -> None:
    photo = unsure_photo(shelter)
    places = ("review-1", "review-2")
    receipts = [shelter.looking_at(place).put("unsure", named(photo, f"unsure in {place}")) for place in places]
    shelter.system.wait_settled(0, TASK_S)
    page = person("/review")
    page.get_by_text("The model is unsure").wait_for()
    first = photo_on_review(page)
    assert first == f"/photos/{receipts[1]}", "the newest first"
    for key, label, said in (
        ("c", "cat", "Cat"),
        ("d", "dog", "Dog"),
        ("b", "both", "Cat and dog"),
        ("n", "none", "Nobody"),
    ):
        press(page, key)
        page.get_by_text(f"Photo of review-2: {said}.").wait_for()
        assert photo_on_review(page) == f"/photos/{receipts[0]}"
        kept = shelter.system.get(shelter.system.aggregation, f"/v1/estimates/{receipts[1]}")["correction"]
        assert (kept["label"], kept["by"]) == (label, "Marta")
        press(page, "u")
        page.get_by_text("The correction is undone.").wait_for()
        assert photo_on_review(page) == first
    press(page, "s")
    page.wait_for_url("**/review?after=*")
    assert photo_on_review(page) == f"/photos/{receipts[0]}"


def test_review_asks_where_another_camera_a_person_or_another_version_disagrees(
    shelter: Shelter, person: Person
) -> None:
    system, at = shelter.system, isoformat(now())
    cat, dog = recognised("cat", 1), recognised("dog", 1)
    shelter.looking_at("two-cameras").put("a", named(cat, "camera a"), at)
    system.camera("two-cameras-back", "two-cameras").put("b", named(dog, "camera b"), at)
    one_camera = shelter.looking_at("told")
    told, _ = [one_camera.put(name, named(cat, f"told {name}"), at) for name in ("c", "d")]
    two_versions = shelter.looking_at("two-versions")
    first = two_versions.put("e", named(cat, "version e"), at)
    system.wait_settled(0, TASK_S)
    system.aggregation.put(f"/v1/estimates/{told}/correction", json={"label": "dog"}).raise_for_status()
    assert system.get(system.aggregation, f"/v1/estimates/{first}")["label"] == "cat"
    other_version(system)
    try:
        numbers = count()

        def seen_by_the_other() -> bool:
            name = f"f{next(numbers)}"
            receipt = two_versions.put(name, named(cat, f"version {name}"), at)
            system.wait_settled(0, TASK_S)
            return bool(system.get(system.aggregation, f"/v1/estimates/{receipt}")["version"] == "blind")

        wait_until("the workers have followed the rollout", seen_by_the_other, TASK_S)
    finally:
        system.classifier.post("/v1/rollout/undo", json={"reason": "the test is over"}).raise_for_status()
    page = person("/review")
    found: dict[str, set[str]] = {}
    while page.locator(".review-photo").count():
        place = page.locator(".review h2").inner_text()
        found.setdefault(place, set()).update(page.locator(".review .looks li").all_inner_texts())
        with page.expect_navigation():
            page.locator('[data-shortcut="s"]').click()
    page.get_by_text("You have seen every photo that waits; skipped ones are still there.").wait_for()
    assert found["two-cameras"] == {"Another camera disagrees"}
    assert found["told"] == {"A person disagrees"}
    assert found["two-versions"] == {"Another model version disagrees"}


def other_version(system: System) -> None:
    """Put a version in force that sees no animal anywhere: the committed one, calibrated to doubt everything."""
    manifest = json.loads((DEFAULT_FOLDER / "manifest.json").read_text())
    blind = {label: {**how, "bias": -30.0} for label, how in manifest["calibration"].items()}
    manifest |= {"version": "blind", "calibration": blind}
    graph = (DEFAULT_FOLDER / "model.onnx").read_bytes()
    files = {"manifest": ("manifest.json", json.dumps(manifest).encode()), "graph": ("model.onnx", graph)}
    system.classifier.put("/v1/models/huella/blind", files=files, timeout=60).raise_for_status()
    version = "/v1/models/huella/blind"
    wait_until("it is proved", lambda: system.get(system.classifier, version)["state"] == "ready", TASK_S)
    variants = [{"model": "huella", "version": "blind", "role": "champion"}]
    body = {"strategy": "single", "variants": variants, "reason": "to disagree"}
    system.classifier.put("/v1/rollout", json=body).raise_for_status()
