"""The janitor: what it removes, what it never removes, and one at a time."""

import os
from datetime import datetime, timedelta
from typing import Any

import pytest
import uuid_utils
from sqlalchemy import delete, insert, select, update

from services.camera_ingest.janitor import ORPHAN_AGE, Janitor, receipts_before
from services.camera_ingest.tables import frame_totals, frames, leases
from services.camera_ingest.tests.conftest import MakeSettings
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest, running
from shared.database import now
from shared.receipts import given_at
from shared.testing import TokenFor, wait_until
from shared.tokens import Role

MEGABYTE = 10**6
DAY = timedelta(days=1)


def another_janitor(ingest: Ingest) -> Janitor:
    """A janitor as a second process has one, which cleans when the test says so."""
    parts = ingest.parts
    return Janitor(parts.settings, parts.database, parts.files, parts.capacity)


def clean(ingest: Ingest, at: datetime) -> None:
    """Clean as if it were `at`, past the lease that the service's own janitor may hold at this moment."""
    another_janitor(ingest).clean(at + timedelta(minutes=10))


def big(seed: int) -> bytes:
    return photo(seed).ljust(MEGABYTE, b"\x00")


def settle(ingest: Ingest, *receipts: str, state: str = "counted") -> None:
    reason = {"reason": "no picture"} if state == "rejected" else {}
    ingest.settle(*({"receipt": receipt, "state": state} | reason for receipt in receipts))


def test_old_images_of_settled_frames_go_and_unsettled_ones_never(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    counted, rejected, flying = (ingest.accept(f"f{number}", photo(number)) for number in range(3))
    settle(ingest, counted)
    settle(ingest, rejected, state="rejected")
    clean(ingest, now() + 29 * DAY)
    assert ingest.files() == {counted, rejected, flying}
    clean(ingest, now() + 31 * DAY)
    assert ingest.files() == {flying}
    assert ingest.receipt(counted)["image"] is None
    assert ingest.receipt(flying)["image"] is not None
    gone = ingest.get(f"/v1/receipts/{counted}/image")
    assert (gone.status_code, gone.headers["Content-Type"]) == (410, "application/problem+json")
    again = ingest.client.post(f"/v1/receipts/{rejected}/offers", headers=ingest.bearer(Role.OPERATOR))
    assert again.status_code == 410  # there is nothing left to classify
    assert ingest.audit() == {"accepted": 3, "counted": 1, "rejected": 1, "in_flight": 1}


def test_over_quota_the_oldest_settled_images_go_first(
    make_settings: MakeSettings, token_for: TokenFor, database_url: str
) -> None:
    with running(make_settings(quota_bytes=10 * MEGABYTE, database_url=database_url), token_for) as ingest:
        ingest.make_camera()
        receipts = [ingest.accept(f"f{number}", big(number)) for number in range(10)]
        # While none is settled the janitor, which looks each second by itself, can make no room.
        refused = ingest.put("more", big(99))
        assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (503, True)
        settle(ingest, *receipts[1:6])
        wait_until("room", lambda: ingest.put("more", big(99)).status_code in (200, 201))
        # That filled the quota again, and a tenth of it is kept free.
        wait_until("room for another", lambda: set(receipts) - ingest.files() == set(receipts[1:3]))
        clean(ingest, now())
        assert set(receipts) - ingest.files() == set(receipts[1:3])
        books = ingest.audit()
        assert (books["accepted"], books["in_flight"]) == (11, 6)


def test_when_only_unsettled_frames_are_left_nothing_is_removed_and_put_answers_503(
    make_settings: MakeSettings, token_for: TokenFor
) -> None:
    with running(make_settings(quota_bytes=3 * MEGABYTE), token_for) as ingest:
        ingest.make_camera()
        receipts = [ingest.accept(f"f{number}", big(number)) for number in range(3)]
        clean(ingest, now() + 1000 * DAY)
        assert ingest.put("more").status_code == 503
        assert ingest.files() == set(receipts)
        settle(ingest, receipts[0])
        wait_until("room", lambda: ingest.put("more").status_code in (200, 201))


def test_the_bytes_in_use_are_those_of_the_files(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    ingest.parts.janitor.stop()  # it measures by itself, maybe from before what is removed now
    receipts = [ingest.accept(f"f{number}", photo(number)) for number in range(6)]
    settle(ingest, *receipts[:3])
    for at in (now(), now() + 40 * DAY):
        clean(ingest, at)
        ingest.parts.capacity.measure(now())
        sizes = sum(ingest.parts.files.path(name).stat().st_size for name in ingest.files())
        assert ingest.parts.capacity.image_bytes == sizes


def test_a_frame_that_is_accepted_while_what_is_in_use_is_measured_counts(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.parts.janitor.stop()
    capacity, files = ingest.parts.capacity, ingest.parts.files
    measured = files.free_bytes

    def accept_meanwhile() -> int:
        free = measured()
        ingest.accept("late", photo())
        return free

    monkeypatch.setattr(files, "free_bytes", accept_meanwhile)
    capacity.measure(now())
    assert (capacity.in_flight, capacity.image_bytes) == (1, len(photo()))


def test_old_rows_go_and_their_counts_stay(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    receipts = [ingest.accept(f"f{number}", photo(number)) for number in range(5)]
    settle(ingest, *receipts[:2])
    settle(ingest, receipts[2], state="rejected")
    hours = ingest.get("/v1/audit/hours").json()
    clean(ingest, now() + 401 * DAY)
    assert [ingest.get(f"/v1/receipts/{receipt}").status_code for receipt in receipts] == [404] * 3 + [200] * 2
    assert ingest.audit() == {"accepted": 5, "counted": 2, "rejected": 1, "in_flight": 2}
    assert ingest.get("/v1/audit/hours").json() == hours
    assert ingest.files() == set(receipts[3:])


def test_rows_of_many_processes_are_folded_into_one_an_hour(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    ingest.accept("a")
    books = ingest.audit()
    clean(ingest, now() + 3 * DAY)
    with ingest.parts.database.read() as connection:
        assert connection.execute(select(frame_totals.c.writer)).scalars().all() == [0]
    assert ingest.audit() == books


def test_files_without_a_row_go_after_an_hour_and_what_is_not_ours_stays(ingest: Ingest) -> None:
    kept, removed = ingest.accept("a"), ingest.accept("b", photo(1))
    settle(ingest, removed)

    def removed_but_for_the_file(connection: Any) -> None:
        connection.execute(update(frames).where(frames.c.receipt == removed).values(image_removed_at=now()))

    ingest.parts.database.write(removed_but_for_the_file)
    fresh, old = str(uuid_utils.uuid7()), str(uuid_utils.uuid7())
    folder = ingest.parts.files.path(kept).parent
    for name in (fresh, old, "README"):
        (folder / name).write_bytes(b"x")
    hour_ago = now().timestamp() - ORPHAN_AGE.total_seconds() - 1
    for name in (old, "README", kept, removed):
        os.utime(folder / name, (hour_ago, hour_ago))
    another_janitor(ingest)._remove_orphans(now())
    assert ingest.files() == {kept, fresh, "README"}


def test_empty_folders_of_old_hours_go(ingest: Ingest) -> None:
    old = ingest.parts.files.folder / "2026-01-01" / "10"
    old.mkdir(parents=True)
    for folder in (old, old.parent):
        os.utime(folder, (0, 0))
    receipt = ingest.accept("a")
    another_janitor(ingest)._remove_orphans(now())
    assert not old.exists()
    os.utime(old.parent, (0, 0)) if old.parent.exists() else None
    another_janitor(ingest)._remove_orphans(now())
    assert not old.parent.exists()
    assert ingest.files() == {receipt}


def test_one_janitor_at_a_time(ingest_on_each: Ingest) -> None:
    ingest = ingest_on_each
    receipt = ingest.accept("a")
    settle(ingest, receipt)
    at = now() + 31 * DAY

    def other_holds_it_until(until: datetime) -> None:
        def change(connection: Any) -> None:
            connection.execute(delete(leases))
            connection.execute(insert(leases).values(name="janitor", holder="other", until=until))

        ingest.parts.database.write(change)

    other_holds_it_until(at + timedelta(minutes=1))
    another_janitor(ingest).clean(at)
    assert ingest.files() == {receipt}
    other_holds_it_until(at - timedelta(minutes=1))  # it died at its work
    another_janitor(ingest).clean(at)
    assert ingest.files() == set()


@pytest.mark.parametrize("milliseconds", [-1, 0, 1])
def test_a_moment_divides_receipts_into_before_and_after(milliseconds: int) -> None:
    receipt = str(uuid_utils.uuid7())
    bound = receipts_before(given_at(receipt) + timedelta(milliseconds=milliseconds))
    assert (receipt < bound) is (milliseconds > 0)
