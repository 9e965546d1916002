"""The janitor: keeps the images within their quota and their age, and the rows within theirs; never an unsettled one.

One process at a time cleans, by a lease in the database; if two ever did, they would only remove the same twice.
"""

import secrets
import threading
import time
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, delete, select, update

from services.camera_ingest import ledger, metrics
from services.camera_ingest.capacity import Capacity
from services.camera_ingest.files import ImageFiles
from services.camera_ingest.outage import Outage
from services.camera_ingest.settings import Settings
from services.camera_ingest.tables import frames, insert_into, leases
from shared.database import Database, now
from shared.receipts import given_at, hour_of

LEASE = timedelta(minutes=2)
ORPHAN_AGE = timedelta(hours=1)
ORPHANS_EVERY_S = 3600.0
TOGETHER = 200
MEASURE_S = 1.0

kept_and_settled = frames.c.settled_at.is_not(None) & frames.c.image_removed_at.is_(None)


def receipts_before(moment: datetime) -> str:
    """Return the text that sorts after the receipts given before `moment` and before all later ones."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-"


class Janitor:
    """The thread that measures the capacity each second and cleans when it is time or room is wanted."""

    def __init__(self, settings: Settings, database: Database, files: ImageFiles, capacity: Capacity) -> None:
        self._settings = settings
        self._database = database
        self._files = files
        self._capacity = capacity
        self._holder = secrets.token_hex(16)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)
        self._orphans_at = 0.0
        self._outage = Outage("janitor round")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch under way."""
        self._stopped.set()
        self._capacity.room_needed.set()
        self._thread.join(timeout=30)

    def check(self) -> None:
        """Raise if the thread has ended."""
        if not self._thread.is_alive():
            raise RuntimeError("the janitor has ended")

    def _run(self) -> None:
        cleaned_at = 0.0
        while not self._stopped.is_set():
            try:
                self._capacity.measure(now())
                due = time.monotonic() - cleaned_at >= self._settings.janitor_every_s or not cleaned_at
                if due or self._capacity.room_wanted():
                    self.clean(now())
                    cleaned_at = time.monotonic()
            except Exception as error:  # noqa: BLE001 - `Outage` logs it
                metrics.JANITOR_FAILURES.inc()
                self._outage.failed(error)
            else:
                self._outage.over()
            self._capacity.room_needed.wait(MEASURE_S)
            self._capacity.room_needed.clear()

    def clean(self, at: datetime) -> None:
        """Do one round, if no other process is at it."""
        if not self._database.write(lambda connection: _take_lease(connection, self._holder, at)):
            return
        try:
            self._clean(at)
        finally:
            self._database.write(lambda connection: _give_lease_back(connection, self._holder))

    def _clean(self, at: datetime) -> None:
        settings = self._settings
        self._remove_images("age", receipts_before(at - timedelta(days=settings.image_days)), None)
        self._capacity.measure(at)
        wanted = self._capacity.room_wanted()
        if wanted:
            self._remove_images("room", None, wanted)
            self._capacity.measure(at)
        self._prune_rows(receipts_before(at - timedelta(days=settings.row_days)))
        self._database.write(lambda connection: ledger.fold_totals(connection, at - timedelta(hours=2)))
        if not self._orphans_at or time.monotonic() - self._orphans_at >= ORPHANS_EVERY_S:
            self._remove_orphans(at)
            self._orphans_at = time.monotonic()

    def _remove_images(self, why: str, before: str | None, wanted: int | None) -> None:
        """Remove images of settled frames, oldest first: those given before `before`, or `wanted` bytes of them."""
        while not self._stopped.is_set() and (wanted is None or wanted > 0):
            removed = self._database.write(partial(_mark_removed, before=before, wanted=wanted, at=now()))
            if not removed:
                return
            # The rows say so first: a frame can't be offered again between the two, and a file that outlives its
            # row's word is found with the orphans.
            for receipt in removed:
                self._files.remove(receipt)
            metrics.IMAGES_REMOVED.labels(why).inc(len(removed))
            if wanted is not None:
                wanted -= sum(removed.values())
            self._renew_lease()

    def _prune_rows(self, before: str) -> None:
        self._remove_images("age", before, None)
        while not self._stopped.is_set():
            if not self._database.write(lambda connection: _prune(connection, before)):
                return
            self._renew_lease()

    def _remove_orphans(self, at: datetime) -> None:
        """Remove files that no row speaks of any more, left by a process that died between file and row."""
        for names in self._files.older_than(ORPHAN_AGE, at):
            for start in range(0, len(names), TOGETHER):
                if self._stopped.is_set():
                    return
                batch = names[start : start + TOGETHER]
                with self._database.read() as connection:
                    kept = connection.scalars(
                        select(frames.c.receipt).where(frames.c.receipt.in_(batch), frames.c.image_removed_at.is_(None))
                    )
                    orphans = set(batch) - set(kept)
                for name in orphans:
                    if _is_receipt(name):  # what is not ours is left alone
                        self._files.remove(name)
                        metrics.IMAGES_REMOVED.labels("orphan").inc()
            self._renew_lease()

    def _renew_lease(self) -> None:
        self._database.write(lambda connection: _take_lease(connection, self._holder, now()))


def _take_lease(connection: Connection, holder: str, at: datetime) -> bool:
    statement = insert_into(connection.dialect.name, leases).values(name="janitor", holder=holder, until=at + LEASE)
    taken = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": statement.excluded.holder, "until": statement.excluded.until},
        where=(leases.c.holder == holder) | (leases.c.until < at),
    ).returning(leases.c.holder)
    return connection.execute(taken).first() is not None


def _give_lease_back(connection: Connection, holder: str) -> None:
    connection.execute(delete(leases).where(leases.c.name == "janitor", leases.c.holder == holder))


def _mark_removed(connection: Connection, before: str | None, wanted: int | None, at: datetime) -> dict[str, int]:
    """Mark the oldest kept images of settled frames as removed; return their sizes by receipt."""
    oldest = select(frames.c.receipt, frames.c.size).where(kept_and_settled).order_by(frames.c.receipt).limit(TOGETHER)
    if before is not None:
        oldest = oldest.where(frames.c.receipt < before)
    chosen: dict[str, int] = {}
    for row in connection.execute(oldest.with_for_update(skip_locked=True)):
        if wanted is not None and sum(chosen.values()) >= wanted:
            break
        chosen[row.receipt] = row.size
    if chosen:
        connection.execute(update(frames).where(frames.c.receipt.in_(list(chosen))).values(image_removed_at=at))
    hours: dict[datetime, int] = {}
    for receipt, size in chosen.items():
        hours[hour_of(receipt)] = hours.get(hour_of(receipt), 0) + size
    for hour in sorted(hours):
        ledger.add(connection, hour, image_bytes=-hours[hour])
    return chosen


def _prune(connection: Connection, before: str) -> int:
    """Remove the oldest settled rows given before `before`, whose counts are in the totals since they were made."""
    old = (
        select(frames.c.receipt)
        .where(frames.c.receipt < before, frames.c.settled_at.is_not(None), frames.c.image_removed_at.is_not(None))
        .order_by(frames.c.receipt)
        .limit(TOGETHER)
    )
    receipts = connection.scalars(old).all()
    if receipts:
        connection.execute(delete(frames).where(frames.c.receipt.in_(receipts)))
    return len(receipts)


def _is_receipt(name: str) -> bool:
    try:
        given_at(name)
    except ValueError:
        return False
    return True
