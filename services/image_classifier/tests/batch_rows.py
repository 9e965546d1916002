"""Batches as rows for tests of what reads and changes them: made, taken by workers, ended."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Table, func, select

from services.image_classifier.batches import claims, store, views
from services.image_classifier.batches.claims import Claimed, Result
from services.image_classifier.batches.rules import Quota
from services.image_classifier.batches.store import NewBatch
from shared.database import Database

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=20)
QUOTA = Quota(jobs=3, inputs=100, bytes=1000)


def make(database: Database, batch_id: str = "b1", number: int = 4, client: str = "me", at: datetime = NOON) -> None:
    new = NewBatch(batch_id, client, store.UPLOAD, [f"{n}.jpg" for n in range(1, number + 1)], number, at)
    database.write(lambda c: store.create(c, new, QUOTA))
    database.write(lambda c: store.add_contents(c, new, dict.fromkeys(range(1, number + 1), b"x"), at))
    database.write(lambda c: store.open_for_work(c, new, "digest", at))


def claim(database: Database, seconds: float = 0, limit: int = 2) -> Claimed | None:
    return database.write(lambda c: claims.claim(c, NOON + timedelta(seconds=seconds), limit, LEASE))


def numbers(claimed: Claimed | None) -> list[int]:
    return [] if claimed is None else [one.number for one in claimed.inputs]


def put_back(database: Database, claimed: Claimed | None, some: list[int], at: datetime) -> None:
    assert claimed is not None
    database.write(lambda c: claims.put_back(c, claimed, some, at))


def try_again(database: Database, claimed: Claimed | None, reasons: dict[int, str]) -> None:
    assert claimed is not None
    database.write(lambda c: claims.try_again(c, claimed, reasons, NOON))


def finish(database: Database, results: list[Result], batch_id: str = "b1") -> int:
    return database.write(lambda c: claims.finish(c, batch_id, results, NOON))


def predicted(number: int) -> Result:
    return Result(number, "cat", 0.9, 0.1, "ok", "tiny", "1", thumbnail=b"jpeg")


def state(database: Database, batch_id: str = "b1") -> tuple[str, int, int] | None:
    with database.read() as connection:
        row = views.find(connection, batch_id)
    return None if row is None else (row.state, row.done, row.failed)


def count(database: Database, table: Table) -> int:
    with database.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(table)) or 0)
