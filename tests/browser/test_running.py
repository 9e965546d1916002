"""A person's tasks, one by one, in a real browser on a whole running system: nothing between them is pretended."""

import csv
import shlex
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from shared.testing import wait_until
from tests import batches
from tests.browser.conftest import Person
from tests.browser.people import log_in, take_invitation
from tests.browser.shelter import TASK_S, Shelter
from tests.photos import drawn, recognised

pytestmark = pytest.mark.timeout(300)

REFRESH_S = 25.0  # less than the 30 s after which an open page looks by itself: what is seen sooner, it was told


def test_now_shows_a_change_without_reloading_because_it_was_told(shelter: Shelter, person: Person) -> None:
    page = person("/")
    page.evaluate("window.neverReloaded = true")
    tile = page.locator('[data-key="tile-k1"]')
    tile.get_by_text("Available").wait_for()
    wait_until("the page listens", lambda: shelter.system.metric(3, "huella_event_listeners") >= 1)
    took = []
    for state, shown in (("reserved", "Reserved"), ("available", "Available")):
        stay = shelter.stay("k1")
        headers = {"If-Match": f'"{stay["version"]}"'}
        changed = shelter.system.aggregation.patch(f"/v1/stays/{stay['id']}", json={"state": state}, headers=headers)
        changed.raise_for_status()
        started = time.monotonic()
        tile.get_by_text(shown).wait_for(timeout=REFRESH_S * 1000)
        took.append(time.monotonic() - started)
    print(f"seen {min(took) * 1000:.0f} ms after the change was answered")
    assert page.evaluate("window.neverReloaded")
    # And whoever does not see it is told so: a polite live region.
    page.locator("#announce[role=status]").get_by_text("Kennel 1: Cat, available").wait_for(state="attached")
    page.get_by_text("Dog, available").or_(page.get_by_text("Cat, available")).first.wait_for()


def test_a_frame_is_corrected_and_the_correction_undone(shelter: Shelter, person: Person) -> None:
    page = person("/spaces/k2")
    photo = page.locator(".photo").first
    receipt = str(photo.get_attribute("id")).removeprefix("frame-")
    photo.get_by_text("Correct", exact=True).click()
    photo.get_by_role("button", name="Nobody").click()
    page.get_by_text("Thank you: the photo is corrected.").wait_for()
    photo = page.locator(f"#frame-{receipt}")
    photo.get_by_text("corrected by Marta; the model said:").wait_for()
    photo.get_by_text("Correct", exact=True).click()
    photo.get_by_role("button", name="Undo").click()
    page.get_by_text("The correction is undone.").wait_for()
    estimates = shelter.system.items(shelter.system.aggregation, "/v1/spaces/k2/estimates")
    assert {one["receipt"]: one.get("correction") for one in estimates}[receipt] is None


def test_an_operator_decides_about_a_stay(shelter: Shelter, person: Person) -> None:
    page = person("/spaces/k1")
    form = page.locator(".stay").first
    form.get_by_label("State").select_option("reserved")
    form.get_by_label("Animals").fill("3")
    form.get_by_label("Note").fill("for Ana")
    form.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    stay = shelter.stay("k1")
    assert (stay["state"], stay["number_of_animals"], stay["note"]) == ("reserved", 3, "for Ana")
    page.goto("/")
    page.locator('[data-key="tile-k1"]').get_by_text("3 · Reserved").wait_for()


def test_a_space_is_taken_out_of_service_and_back(shelter: Shelter, person: Person) -> None:
    page = person("/spaces/k2")
    page.get_by_role("button", name="Take out of service").click()
    page.get_by_role("button", name="Put back into service").wait_for()
    assert shelter.system.spaces()["k2"]["in_service"] is False
    page.get_by_role("button", name="Put back into service").click()
    page.get_by_role("button", name="Take out of service").wait_for()
    assert shelter.system.spaces()["k2"]["in_service"] is True


def test_a_photo_is_tried_and_changes_no_space(shelter: Shelter, person: Person) -> None:
    before = shelter.system.audit()["accepted"]
    page = person("/try")
    page.get_by_label("Drop a picture here, or choose one").set_input_files(
        {"name": "cat.jpg", "mimeType": "image/jpeg", "buffer": recognised("cat", 1)}
    )
    page.get_by_text("Model huella").wait_for()
    assert page.get_by_alt_text("The picture that you chose").evaluate("image => image.naturalWidth") > 0
    assert shelter.system.audit()["accepted"] == before


def test_a_batch_is_sent_followed_and_downloaded(shelter: Shelter, person: Person) -> None:
    worker, rotten = "image_classifier_batch_worker", "torn.jpg"
    photos = batches.small(12) | {rotten: drawn("cat")[:-2000]}
    shelter.system.stop(worker)
    try:
        page = person("/batches")
        files = [{"name": name, "mimeType": "image/jpeg", "buffer": content} for name, content in photos.items()]
        page.get_by_label("Drop photos or one zip here, or choose them").set_input_files(files)  # they are sent at once
        page.get_by_text("0 of 13 photos, 0 of them errors.").wait_for()
        assert page.get_by_role("link", name="Results (CSV)").count() == 0
    finally:
        shelter.system.start(worker)
    page.get_by_text("13 of 13 photos, 1 of them errors.").wait_for()  # without reloading
    pictures = page.get_by_alt_text("What the model saw of")
    pictures.first.wait_for()
    # Not `wait_for_function`: from its second look on the page's own policy forbids it what it needs.
    loaded = "[...document.querySelectorAll('img.square')].every(image => image.naturalWidth > 0)"
    wait_until("every picture is there", lambda: page.evaluate(loaded))
    assert pictures.count() == 12
    assert page.get_by_text(rotten).count() == 1
    with page.expect_download() as download:
        page.get_by_role("link", name="Results (CSV)").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert [row["input"] for row in rows] == list(photos)
    assert [row["input"] for row in rows if row["error"]] == [rotten]
    words = {"cat": "Cat", "dog": "Dog", "both": "Cat and dog", "none": "Nobody", "unsure": "Unsure"}
    for row in rows[:3]:
        assert words[row["label"]] in page.locator(".photo").filter(has_text=row["input"]).inner_text()


def test_a_batch_is_cancelled_and_removed(shelter: Shelter, person: Person) -> None:
    worker = "image_classifier_batch_worker"
    shelter.system.stop(worker)
    try:
        page = person("/batches")
        files = [
            {"name": name, "mimeType": "image/jpeg", "buffer": content} for name, content in batches.small(3).items()
        ]
        page.get_by_label("Drop photos or one zip here, or choose them").set_input_files(files)  # they are sent at once
        page.get_by_role("button", name="Cancel the rest").click()
        page.get_by_role("heading", name="Cancelled").wait_for()
    finally:
        shelter.system.start(worker)
    page.get_by_text("cancelled before it was predicted").first.wait_for()
    page.get_by_role("button", name="Remove it with its results").click()
    page.get_by_role("heading", name="Sent before").wait_for()
    assert not [item for item in shelter.system.items(shelter.system.classifier, "/v1/batches") if item["total"] == 3]


def test_history_is_drawn_and_given_as_csv(shelter: Shelter, person: Person) -> None:
    page = person("/history")
    stays = list(shelter.system.items(shelter.system.aggregation, "/v1/stays"))
    assert page.locator(".chart rect.bar-arrived").count() == len({stay["from"][:10] for stay in stays}), "one a day"
    with page.expect_download() as download:
        page.get_by_role("link", name="Stays (CSV)").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert {row["stay"] for row in rows} == {stay["id"] for stay in stays}


def test_a_rejected_photo_is_shown_with_its_reason_and_offered_again(shelter: Shelter, person: Person) -> None:
    receipt = shelter.cameras["k1"].put("torn", drawn("cat", 77)[:-3000])
    wait_until("it is rejected", lambda: shelter.system.receipt(receipt)["state"] == "rejected", TASK_S)
    page = person("/health")
    page.get_by_text("The books balance.").wait_for()
    page.get_by_role("cell", name="The photo is cut off: its end is missing").wait_for()
    page.get_by_role("button", name="Offer again").click()
    page.get_by_text("The photo is offered to the model again.").wait_for()


def test_a_space_and_a_camera_are_added_and_the_line_that_is_shown_works(
    shelter: Shelter, person: Person, tmp_path: Path
) -> None:
    page = person("/setup")
    form = page.locator("section", has=page.get_by_role("heading", name="Add a space"))
    form.get_by_label("Id").fill("yard")
    form.get_by_label("Name").fill("The yard")
    form.get_by_role("button", name="Add the space").click()
    page.get_by_text("Saved.").wait_for()
    page.get_by_label("Id of the camera").fill("yard-gate")
    page.get_by_label("Space that it looks at").fill("yard")
    page.get_by_role("button", name="Add the camera").click()
    page.get_by_text("Waiting for the first photo").wait_for()
    (tmp_path / "photo.jpg").write_bytes(drawn("dog", 31))
    line = shlex.split(page.locator("#curl-text").inner_text())
    sent = subprocess.run([*line, "-sS", "--noproxy", "*"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert b'"accepted"' in sent.stdout
    page.get_by_text("Photos arrive.").wait_for()  # by itself
    first = page.locator("#secret-text").inner_text()
    with page.expect_navigation():
        page.get_by_role("button", name="New secret").click()
    page.get_by_text("It is shown this once.").wait_for()
    second = page.locator("#secret-text").inner_text()
    assert statuses(shelter, first, second) == [200, 200]
    page.get_by_role("button", name="End the old secret").click()
    page.get_by_text("The old secret is no longer accepted.").wait_for()
    assert statuses(shelter, first, second) == [401, 200]
    page.get_by_label("Space", exact=True).fill("k2")
    page.locator("section", has=page.get_by_role("heading", name="Let it look at another space")).get_by_role(
        "button", name="Save"
    ).first.click()
    page.get_by_text("Saved.").wait_for()
    assert shelter.system.get(shelter.system.ingest, "/v1/cameras/yard-gate")["space_id"] == "k2"
    page.goto("/setup")
    card = page.locator(".spaces > li", has=page.get_by_role("link", name="The yard"))
    card.get_by_text("Change", exact=True).click()
    card.get_by_label("Name").fill("The garden")
    card.get_by_label("Purpose").select_option("staff")
    card.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    yard = shelter.system.spaces()["yard"]
    assert (yard["name"], yard["purpose"]) == ("The garden", "staff")


def statuses(shelter: Shelter, *secrets: str) -> list[int]:
    """Return what ingest answers to the same photo under each secret of the camera `yard-gate`: 201, then 200."""
    url = f"{shelter.system.ingest.base_url}/v1/cameras/yard-gate/frames/rotated"
    photo = drawn("dog", 32)
    httpx.put(url, content=photo, auth=("yard-gate", secrets[-1]), trust_env=False)
    return [
        httpx.put(url, content=photo, auth=("yard-gate", secret), trust_env=False).status_code for secret in secrets
    ]


def test_somebody_is_invited_has_their_role_s_rights_and_is_shown_out(shelter: Shelter, person: Person) -> None:
    page = person("/people")
    page.get_by_role("radio", name="Operator").check()
    page.get_by_role("button", name="Make a link").click()
    link = page.locator("#link-text").inner_text()
    leo = person("/login", cookies=None)
    take_invitation(leo, link, "Leo")
    log_in(leo, "Leo")
    leo.get_by_role("heading", name="Now", exact=True).wait_for()
    leo.goto("/people")
    leo.get_by_role("heading", name="Your role does not allow this").wait_for()
    leo.goto("/spaces/k1")
    leo.get_by_role("button", name="Take out of service").wait_for()
    leo.goto("/")
    page.goto("/people")
    row = page.locator(".people li", has=page.get_by_text("Leo", exact=True))
    row.get_by_text("Remove …").click()
    row.get_by_role("button", name="Remove Leo").click()
    page.get_by_text("Removed.").wait_for()
    # His open page says so by itself, and leads to the log-in and back.
    leo.get_by_text("Your log-in has ended.").wait_for(timeout=60_000)
    leo.locator("#live-state").get_by_role("link", name="Log in").click()
    leo.get_by_role("heading", name="Log in").wait_for()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("aggregation", "What is shown of the spaces may be old."),
        ("camera_ingest", "Photos and the state of cameras are missing; the rest is current."),
    ],
)
def test_an_outage_is_said_the_rest_stays_and_it_ends_by_itself(
    shelter: Shelter, person: Person, program: str, said: str
) -> None:
    page = person("/")
    tile = page.locator('[data-key="tile-k2"]')
    tile.wait_for()
    shelter.system.stop(program)
    try:
        page.get_by_text(said).wait_for(timeout=60_000)
        tile.get_by_text("Dog", exact=True).wait_for()
        page.goto("/health")
        page.get_by_text("does not answer").first.wait_for()
        assert page.get_by_text("works", exact=True).count() == 2
        page.goto("/")
    finally:
        shelter.system.start(program)
    page.get_by_text(said).wait_for(state="detached", timeout=60_000)


def test_it_speaks_spanish_and_works_without_javascript(shelter: Shelter, person: Person) -> None:
    page = person("/spaces/k1", locale="es-ES", java_script_enabled=False)
    form = page.locator(".stay").first
    form.get_by_label("Nota").fill("para Ana")
    form.get_by_role("button", name="Guardar").click()
    page.get_by_text("Guardado.").wait_for()
    assert shelter.stay("k1")["note"] == "para Ana"
