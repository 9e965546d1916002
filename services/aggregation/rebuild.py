"""Folds all stored estimates of a space anew, to compare with what is believed of it.

`python -m services.aggregation.rebuild` does so for every space and names those that differ. They differ where people
corrected frames after the horizon, since that changes the record and not the present, and where the rules changed.
"""

import sys

from sqlalchemy import Connection, select

from services.aggregation import tables
from services.aggregation.belief import Belief, Fold, first_belief
from services.aggregation.domain import Label
from services.aggregation.occupancy import Image, Rules, add_image, bucket_of, evidence
from services.aggregation.settings import Settings
from services.aggregation.store import DIGEST_LENGTH, GOOD
from shared.database import Database, microseconds


def rebuild(connection: Connection, space_id: str, rules: Rules) -> Fold:
    """Return the fold of all estimates of a space that came in time."""
    frames, said, spaces = tables.estimates, tables.corrections, tables.spaces
    stale_after_s = connection.execute(select(spaces.c.stale_after_s).where(spaces.c.id == space_id)).scalar_one()
    rows = connection.execute(
        select(frames, said.c.label.label("said"))
        .outerjoin(said, said.c.receipt == frames.c.receipt)
        .where(frames.c.space_id == space_id, frames.c.late.is_(False))
        .order_by(frames.c.observed_at, frames.c.receipt)
    ).mappings()
    fold = Fold(first_belief(rules), stale_after_s, rules)
    bucket, cameras = None, dict[str, dict[str, Image]]()
    for row in rows:
        if row["quality"] != GOOD and row["said"] is None:
            continue
        observed_us = microseconds(row["observed_at"])
        if bucket != bucket_of(observed_us, rules):
            if bucket is not None:
                fold.take(bucket, cameras)
            bucket, cameras = bucket_of(observed_us, rules), {}
        image = Image(
            row["receipt"],
            observed_us,
            evidence(row["cat"], row["prior_cat"]),
            evidence(row["dog"], row["prior_dog"]),
            None if row["said"] is None else Label(row["said"]),
        )
        add_image(cameras.setdefault(row["camera_id"], {}), row["sha256"][:DIGEST_LENGTH], image, rules)
    if bucket is not None:
        fold.take(bucket, cameras)
    return fold


def same_belief(rebuilt: Belief, occupancy: str, last_evidence_us: int | None) -> bool:
    """Return whether a rebuilt belief is what is shown; only staleness may differ, for it comes with time alone."""
    return rebuilt.last_evidence_us == last_evidence_us and occupancy in (rebuilt.occupancy, "stale")


def main() -> None:
    """Compare every space; exit with 1 if any differs."""
    settings = Settings()
    database = Database(settings.database_url)
    differing = []
    with database.read() as connection:
        spaces = connection.execute(select(tables.spaces).order_by(tables.spaces.c.id)).mappings().all()
        for space in spaces:
            belief = rebuild(connection, space["id"], settings.rules).belief
            last = space["last_evidence_at"]
            if not same_belief(belief, space["occupancy"], None if last is None else microseconds(last)):
                differing.append(space["id"])
    database.close()
    sys.stdout.write(f"{len(spaces)} spaces, {len(differing)} differ: {', '.join(differing) or 'none'}\n")
    raise SystemExit(1 if differing else 0)


if __name__ == "__main__":
    main()
