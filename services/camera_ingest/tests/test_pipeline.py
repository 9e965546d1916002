"""What operators see of the way of frames, and how long they are told that photos are kept."""

from services.camera_ingest.tests.running import Ingest
from shared.tokens import Role


def test_the_pipeline_tells_what_waits_and_when_something_last_moved(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    nothing = ingest.get("/v1/pipeline").json()
    assert (nothing["unsettled"], nothing["oldest_unsettled_s"], nothing["last_settled_at"]) == (0, None, None)
    assert nothing["settle_seconds"] is None
    assert nothing["workers"] is None, "the broker is silent"
    settled, _ = ingest.accept("a"), ingest.accept("b")
    body = {"settlements": [{"receipt": settled, "state": "counted"}]}
    headers = ingest.bearer(Role.SERVICE)
    assert ingest.client.post("/v1/settlements", json=body, headers=headers).status_code == 200
    flowing = ingest.get("/v1/pipeline").json()
    assert flowing["unsettled"] == 1
    assert flowing["oldest_unsettled_s"] >= 0
    assert flowing["last_settled_at"] == ingest.receipt(settled)["settled_at"]
    assert 0 <= flowing["settle_seconds"]["p50"] <= flowing["settle_seconds"]["p95"]
    assert set(flowing["queues"]) == {"classify_frames", "record_estimates"}


def test_the_retention_that_is_told_is_the_one_that_is_set(ingest: Ingest) -> None:
    settings = ingest.parts.settings
    told = ingest.get("/v1/retention").json()
    assert told == {"image_days": settings.image_days, "row_days": settings.row_days}


def test_a_camera_tells_the_receipt_of_its_newest_frame(ingest: Ingest) -> None:
    assert ingest.get("/v1/cameras/c1").json()["last_receipt"] is None
    ingest.accept("a")
    newest = ingest.accept("b")
    assert ingest.get("/v1/cameras/c1").json()["last_receipt"] == newest


def test_receipts_are_listed_newest_first_if_asked_for(ingest_on_each: Ingest) -> None:
    receipts = [ingest_on_each.accept(name) for name in ("a", "b", "c")]
    seen, cursor = [], ""
    while cursor is not None:
        page = ingest_on_each.get("/v1/receipts", params={"limit": 2, "newest_first": True, "cursor": cursor}).json()
        seen += [one["receipt"] for one in page["items"]]
        cursor = page["next"]
    assert seen == sorted(receipts, reverse=True)
