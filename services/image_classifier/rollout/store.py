"""The rollout in the database: its revisions, what its variants did, and what people say of frames.

Each function runs inside one transaction and takes the connection first.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, case, delete, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite

from services.image_classifier import tables
from services.image_classifier.rollout.domain import Bandit, Canary, Role, Rollout, Strategy, Variant
from services.image_classifier.rollout.verdicts import Seen

PRUNED_AT_ONCE = 5000
WHOLE = 1_000_000
"""The stripe under which aggregation tells the sum of all its processes; those of single ones, which an earlier version
of it tells, are lower."""
REVISIONS = 1000
"""How many are kept: a person's and a canary's of years."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision with who made it, why and when; `belief` is a bandit's newest snapshot."""

    rollout: Rollout
    author: str
    reason: str
    since: datetime
    belief: tuple[float, ...] | None = None


def lock(connection: Connection) -> None:
    """Wait until no other transaction changes the rollout, or the versions that it may name, and keep it so.

    SQLite's writers are alone anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE rollouts IN SHARE ROW EXCLUSIVE MODE"))


def current(connection: Connection) -> Revision | None:
    """Return the revision in force, or None while nobody has chosen one."""
    table = tables.rollouts
    row = connection.execute(select(table).order_by(table.c.revision.desc()).limit(1)).mappings().first()
    if row is None:
        return None
    content = connection.execute(
        select(tables.beliefs.c.content).where(tables.beliefs.c.revision == row["revision"])
    ).scalar()
    found = _revision(row)
    return found if content is None else replace(found, belief=tuple(json.loads(content)["shares"]))


def find(connection: Connection, revision: int) -> Revision | None:
    """Return one revision, or None."""
    table = tables.rollouts
    row = connection.execute(select(table).where(table.c.revision == revision)).mappings().first()
    return None if row is None else _revision(row)


def before(connection: Connection, root: int) -> Revision | None:
    """Return the newest revision that is older than `root`."""
    table = tables.rollouts
    query = select(table).where(table.c.revision < root).order_by(table.c.revision.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else _revision(row)


def revisions(connection: Connection, below: int | None, limit: int) -> list[Revision]:
    """Return revisions, newest first, those under `below` only."""
    table = tables.rollouts
    query = select(table).order_by(table.c.revision.desc()).limit(limit)
    if below is not None:
        query = query.where(table.c.revision < min(below, 2**31 - 1))  # what the column holds
    return [_revision(row) for row in connection.execute(query).mappings()]


def add(
    connection: Connection, rollout: Rollout, author: str, reason: str, at: datetime, root: int | None = None
) -> Revision:
    """Put a rollout in force as the next revision, and return it; `root` is given by a policy that goes on."""
    lock(connection)
    table = tables.rollouts
    newest = connection.execute(select(func.coalesce(func.max(table.c.revision), 0))).scalar_one()
    kept = replace(rollout, revision=newest + 1, root=root if root is not None else newest + 1)
    row = {
        "revision": kept.revision,
        "root": kept.root,
        "strategy": kept.strategy,
        "specification": _written(kept),
        "author": author[:200],
        "reason": reason[:500],
        "since": at,
    }
    connection.execute(insert(table), row)
    return Revision(kept, author[:200], reason[:500], at)


def keep_belief(
    connection: Connection, revision: int, shares: Sequence[float], why: Mapping[str, Any], at: datetime
) -> None:
    """Replace a bandit's snapshot."""
    row = {"revision": revision, "snapshot": 1, "content": json.dumps({"shares": list(shares), **why}), "since": at}
    insertion = _insert(connection)(tables.beliefs)
    counted = {**row, "snapshot": tables.beliefs.c.snapshot + 1}
    connection.execute(insertion.on_conflict_do_update(index_elements=["revision"], set_=counted), row)


def _written(rollout: Rollout) -> str:
    kept = asdict(rollout)
    return json.dumps({key: kept[key] for key in ("variants", "silent_share", "ab_alpha", "canary", "bandit", "stage")})


def _revision(row: RowMapping) -> Revision:
    said = json.loads(row["specification"])
    rollout = Rollout(
        row["revision"],
        row["root"],
        Strategy(row["strategy"]),
        tuple(Variant(**(one | {"role": Role(one["role"])})) for one in said["variants"]),
        said["silent_share"],
        said["ab_alpha"],
        Canary(**(said["canary"] | {"stages": tuple(said["canary"]["stages"])})),
        Bandit(**said["bandit"]),
        said["stage"],
    )
    return Revision(rollout, row["author"], row["reason"], row["since"])


# What variants did


def log(connection: Connection, writes: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Add one chunk's rows, by table: `decisions` as they are, the others added to what is there."""
    if writes["decisions"]:
        insertion = _insert(connection)(tables.decisions)
        keys = ["receipt", "revision", "model", "version"]
        connection.execute(insertion.on_conflict_do_nothing(index_elements=keys), list(writes["decisions"]))
    for table in (tables.tallies, tables.latencies, tables.spreads):
        if writes[table.name]:
            connection.execute(_adding(connection.dialect.name, table), list(writes[table.name]))


@cache
def _adding(dialect: str, table: Table) -> Any:
    # Made once: to build a statement costs more than to run it.
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    insertion = make(table)
    keys = list(table.primary_key.columns)
    sums = {column.name: column + insertion.excluded[column.name] for column in table.columns if column not in keys}
    return insertion.on_conflict_do_update(index_elements=keys, set_=sums)


def _insert(connection: Connection) -> Any:
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def seen(connection: Connection, rollout: Rollout, *, whole: bool) -> dict[tuple[str, str], Seen]:
    """Return what each version of a rollout did: in all stages (`whole`), or in this one; people's word is of all."""
    revisions = _of_root(connection, rollout.root)
    chosen = revisions if whole else [rollout.revision]
    found: dict[tuple[str, str], Seen] = {}
    t = tables.tallies
    for row in connection.execute(select(t).where(t.c.revision.in_(chosen))).mappings():
        key = (row["model"], row["version"])
        one = found.get(key, Seen())
        found[key] = replace(one, **{name: getattr(one, name) + row[name] for name in tables.SUMS})
    times = tables.latencies
    for row in connection.execute(select(times).where(times.c.revision.in_(chosen))).mappings():
        key = (row["model"], row["version"])
        one = found.get(key, Seen())
        bins = dict(one.latencies)
        bins[row["bin"]] = bins.get(row["bin"], 0) + row["number"]
        found[key] = replace(one, latencies=bins)
    for key, number in _counted(connection, chosen).items():
        found[key] = replace(found.get(key, Seen()), counted=number)
    for key, cameras in judged(connection, revisions).items():
        correct, corrections = (sum(numbers) for numbers in zip(*cameras, strict=True))
        found[key] = replace(found.get(key, Seen()), correct=correct, corrections=corrections, by_camera=tuple(cameras))
    return found


def _counted(connection: Connection, revisions: Sequence[int]) -> Counter[tuple[str, str]]:
    """Return how many estimates of each version were counted: by the sum of all, where it was told, which has what
    single processes told as well."""
    t = tables.counted
    names = (t.c.revision, t.c.model, t.c.version, t.c.variant)
    whole = func.max(case((t.c.stripe == WHOLE, t.c.number)))
    query = select(t.c.model, t.c.version, func.coalesce(whole, func.sum(t.c.number)))
    found: Counter[tuple[str, str]] = Counter()
    for model, version, number in connection.execute(query.where(t.c.revision.in_(revisions)).group_by(*names)):
        found[model, version] += int(number)
    return found


def _of_root(connection: Connection, root: int) -> list[int]:
    table = tables.rollouts
    return list(connection.execute(select(table.c.revision).where(table.c.root == root)).scalars()) or [root]


def judged(connection: Connection, revisions: Sequence[int]) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Return (correct, corrections) of each version, camera by camera: of what was counted, and of what it said unseen
    beside it."""
    f, d = tables.feedback, tables.decisions
    found: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    right = func.sum(_number(f.c.estimate == f.c.label))
    counted = select(f.c.model, f.c.version, f.c.camera_id, right, func.count()).where(
        f.c.revision.in_(revisions), f.c.label.is_not(None)
    )
    shadowed = (
        select(d.c.model, d.c.version, f.c.camera_id, func.sum(_number(d.c.label == f.c.label)), func.count())
        .join(f, f.c.receipt == d.c.receipt)
        .where(d.c.revision.in_(revisions), d.c.served.is_(False), d.c.label.is_not(None), f.c.label.is_not(None))
        .where(d.c.revision == f.c.revision, (d.c.model != f.c.model) | (d.c.version != f.c.version))
    )
    for query, table in ((counted, f), (shadowed, d)):
        grouped = query.group_by(table.c.model, table.c.version, f.c.camera_id)
        for model, version, camera_id, correct, number in connection.execute(grouped):
            cameras = found.setdefault((model, version), {})
            before = cameras.get(camera_id, (0, 0))
            cameras[camera_id] = before[0] + int(correct), before[1] + number
    return {key: list(cameras.values()) for key, cameras in found.items()}


def _number(condition: Any) -> Any:
    return case((condition, 1), else_=0)


def rewards(connection: Connection, rollout: Rollout) -> list[tuple[tuple[str, str], bool, float]]:
    """Return (version, whether people agreed, propensity) of the newest corrected frames of a bandit."""
    f, d = tables.feedback, tables.decisions
    query = (
        select(f.c.model, f.c.version, f.c.estimate, f.c.label, d.c.propensity)
        .join(
            d,
            (d.c.receipt == f.c.receipt)
            & (d.c.revision == f.c.revision)
            & (d.c.model == f.c.model)
            & (d.c.version == f.c.version),
        )
        .where(f.c.revision.in_(_of_root(connection, rollout.root)), f.c.label.is_not(None), d.c.outcome == "ok")
        .order_by(f.c.at.desc(), f.c.receipt)
        .limit(rollout.bandit.memory)
    )
    return [((row[0], row[1]), row[2] == row[3], row[4]) for row in connection.execute(query)]


def in_use(connection: Connection, model: str, version: str) -> bool:
    """Return whether the rollout in force names a version."""
    now = current(connection)
    return now is not None and any(one.key == (model, version) for one in now.rollout.variants)


def prune(connection: Connection, decisions_before: datetime, spreads_before: datetime) -> int:
    """Remove a bounded number of rows that are too old; return how many."""
    d, s = tables.decisions, tables.spreads
    old = select(d.c.decided_at).where(d.c.decided_at < decisions_before).order_by(d.c.decided_at).limit(PRUNED_AT_ONCE)
    edge = connection.execute(select(func.max(old.subquery().c.decided_at))).scalar()
    gone = 0
    if edge is not None:
        gone += connection.execute(delete(d).where(d.c.decided_at <= edge)).rowcount
    return gone + connection.execute(delete(s).where(s.c.hour < spreads_before)).rowcount


def prune_revisions(connection: Connection) -> int:
    """Remove revisions, with what their variants did, so that REVISIONS stay; return how many of their rows went.

    What the rollout in force began with stays, however many stages it has.
    """
    table = tables.rollouts
    found = connection.execute(
        select(table.c.revision, table.c.root).order_by(table.c.revision.desc()).limit(1)
    ).first()
    if found is None:
        return 0
    oldest = min(found.root, found.revision - REVISIONS + 1)
    evidence = (tables.tallies, tables.latencies, tables.counted, tables.beliefs)
    return sum(connection.execute(delete(one).where(one.c.revision < oldest)).rowcount for one in (table, *evidence))
