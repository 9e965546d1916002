"""Makes the keys and secrets of a compose stack, and tokens for people.

Runs as root inside a container of its own, because it gives each file to the one user id that may read it; it has
no network. What exists already is kept, so it can run before every start.
"""

import argparse
import hashlib
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.tokens import Role, Signer, make_keys

FOLDER = Path("/secrets")
REDIS_DATA = Path("/redis")
REDIS_USERS = Path(__file__).with_name("redis-users.acl")

# User ids inside the containers, as in each Dockerfile and in docker-compose.yml.
SERVICES = {"camera_ingest": 10001, "image_classifier": 10002, "aggregation": 10003, "dashboard": 10006}
WITHOUT_QUEUE = {"dashboard"}
REDIS = 10005
DAY_S = 24 * 3600


def make_secrets(folder: Path) -> None:
    """Make what is missing in `folder`: keys, passwords for PostgreSQL and Redis, Redis's user list.

    Every file has mode 0400 and belongs to its one reader; `trusted/` holds public keys and is for everyone.
    """
    make_keys(folder)
    (folder / "trusted").chmod(0o755)
    for public in (folder / "trusted").iterdir():
        public.chmod(0o644)
    hashes = {}
    _keep(folder / "postgres" / "superuser", secrets.token_urlsafe(32), reader=0)
    for service, reader in SERVICES.items():
        _give(folder / "private" / f"{service}.pem", reader)
        password = _keep(folder / "postgres" / service, secrets.token_urlsafe(32), reader=0)
        _write(folder / service / "database_url", f"postgresql://{service}:{password}@postgres:5432/{service}", reader)
        if service in WITHOUT_QUEUE:
            continue
        password = _keep(folder / "redis" / service, secrets.token_urlsafe(32), reader=0)
        _write(folder / service / "redis_url", f"redis://{service}:{password}@redis:6379/0", reader)
        hashes[service] = hashlib.sha256(password.encode()).hexdigest()
    _write(folder / "redis" / "users.acl", redis_users(REDIS_USERS.read_text(), hashes), REDIS)


def redis_users(template: str, hashes: dict[str, str]) -> str:
    """Return Redis's list of users, a line each: the template without comments, hashes in the places of `{service}`."""
    kept = "\n".join(line for line in template.splitlines() if not line.startswith("#"))
    entries = [" ".join(entry.split()) for entry in kept.split("\n\n")]
    return "".join(f"{entry}\n" for entry in entries if entry).format(**hashes)


def _keep(path: Path, fresh: str, reader: int) -> str:
    """Return what `path` holds, writing `fresh` first if there is nothing."""
    if not path.exists():
        _write(path, fresh, reader)
    return path.read_text()


def _write(path: Path, text: str, reader: int) -> None:
    """Replace `path` at once, readable by `reader` alone."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:
        file.write(text)
    _give(draft, reader)
    draft.replace(path)


def _give(path: Path, reader: int) -> None:
    path.chmod(0o400)
    os.chown(path, reader, reader)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `init`, or `token --role ...` which prints a token and nothing else."""
    parser = argparse.ArgumentParser(prog="admin", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init", help="make the keys and secrets that are missing")
    token = commands.add_parser("token", help="print a bearer token")
    token.add_argument("--role", required=True, choices=[role.value for role in Role if role is not Role.SERVICE])
    token.add_argument("--days", type=int, default=30, help="days until it expires (1 to 365, default 30)")
    token.add_argument("--subject", default="operator", help="who it is for, as records will name them")
    options = parser.parse_args(arguments)
    if options.command == "init":
        make_secrets(FOLDER)
        os.chown(REDIS_DATA, REDIS, REDIS)
        return
    if not 1 <= options.days <= 365:
        parser.error("--days is 1 to 365")
    if not (FOLDER / "private" / "cli.pem").exists():
        sys.exit("There are no keys yet: deploy/compose/start makes them.")
    print(Signer(FOLDER, "cli").mint(options.subject, Role(options.role), lifetime_s=options.days * DAY_S))


if __name__ == "__main__":
    main()
