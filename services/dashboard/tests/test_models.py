"""The page Models: everyone sees what is in use and why, administrators change it."""

from services.dashboard.tests.conftest import Browser, post
from services.dashboard.tests.fake_services import FakeServices
from shared.tokens import Role

CHANGE = {"strategy": "canary", "champion": "huella/1", "candidate": "huella/2", "reason": "knows infrared"}


def test_everyone_sees_the_rollout_and_only_administrators_its_form(browser: Browser) -> None:
    page = browser(Role.VIEWER).get("/models").text
    assert "It bakes." in page
    assert "Step by step" in page
    assert "&lt;try&gt;" in page
    assert "Put in use" not in page
    assert "Put in use" in browser(Role.ADMIN).get("/models").text


def test_an_administrator_changes_it_and_takes_it_back(browser: Browser, services: FakeServices) -> None:
    client = browser(Role.ADMIN)
    assert post(client, "/models/rollout", **CHANGE) == "/models?done=saved"
    method, path, _, body = services.asked[-1]
    assert (method, path) == ("PUT", "/v1/rollout")
    assert [(one["version"], one["role"]) for one in body["variants"]] == [("1", "champion"), ("2", "candidate")]
    assert post(client, "/models/undo", reason="no") == "/models?done=saved"


def test_a_refused_change_is_said_with_its_reason(browser: Browser, services: FakeServices) -> None:
    client = browser(Role.ADMIN)
    services.refuse = {"/v1/rollout/undo": (409, "Nobody has changed the rollout yet.")}
    assert post(client, "/models/undo", reason="no") == "422"
