"""What `admin` makes: files for one reader each, the same when it runs again, and tokens that services believe."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.compose import admin
from shared.broker import create_redis, workers
from shared.settings import require_strong_password
from shared.testing import START_S, wait_until
from shared.tokens import BadToken, Keyring, Role, Signer

OWNERS: dict[str, int] = {}
QUEUE = set(admin.SERVICES) - admin.WITHOUT_QUEUE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with fresh secrets; who owns them is written down instead, for only root may give files away."""
    monkeypatch.setattr(os, "chown", lambda path, user, group: OWNERS.update({Path(path).name.lstrip("."): user}))
    OWNERS.clear()
    admin.make_secrets(tmp_path)
    return tmp_path


def test_each_secret_can_be_read_by_its_one_owner_alone(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "trusted"]
    assert {path.stat().st_mode & 0o777 for path in files} <= {0o400, 0o600}
    assert {service: OWNERS[f"{service}.pem"] for service in admin.SERVICES} == admin.SERVICES
    assert OWNERS["users.acl"] == admin.REDIS


def test_the_user_ids_are_those_of_the_images() -> None:
    for service, uid in admin.SERVICES.items():
        dockerfile = Path("services") / service / "Dockerfile"
        assert f"\nUSER {uid}:{uid}\n" in (Path(__file__).parents[3] / dockerfile).read_text()


def test_running_again_changes_nothing(folder: Path) -> None:
    before = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    admin.make_secrets(folder)
    assert {path: path.read_text() for path in folder.rglob("*") if path.is_file()} == before


def test_each_service_has_passwords_of_its_own_and_strong_ones(folder: Path) -> None:
    urls = {path.read_text() for service in admin.SERVICES for path in (folder / service).iterdir()}
    assert len(urls) == 2 * len(admin.SERVICES) - len(admin.WITHOUT_QUEUE)
    for url in urls:
        assert require_strong_password(url) == url


def test_redis_knows_the_services_by_their_hashes_and_nobody_else(folder: Path) -> None:
    users = (folder / "redis" / "users.acl").read_text()
    entries = {line.split()[1]: line.split()[2:] for line in users.splitlines()}
    assert set(entries) == {"default", "health", *QUEUE}
    assert entries["default"][0] == "off"
    for service in QUEUE:
        password = (folder / "redis" / service).read_text()
        assert f"#{hashlib.sha256(password.encode()).hexdigest()}" in entries[service]
        assert password not in users
        assert "-@all" in entries[service]


def test_token_prints_a_token_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(admin, "FOLDER", folder)
    admin.main(["token", "--role", "operator", "--subject", "ana"])
    identity = Keyring(folder).identify(capsys.readouterr().out.strip(), "aggregation")
    assert (identity.subject, identity.role) == ("ana", Role.OPERATOR)


def test_without_keys_token_says_what_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match="deploy/compose/start"):
        admin.main(["token", "--role", "viewer"])


def test_a_key_or_password_that_is_removed_is_made_anew_and_the_old_one_ends(folder: Path) -> None:
    token = Signer(folder, "cli").mint("ana", Role.ADMIN)
    urls = {service: (folder / service / "redis_url").read_text() for service in QUEUE}
    (folder / "private" / "cli.pem").unlink()
    (folder / "redis" / "aggregation").unlink()
    admin.make_secrets(folder)
    with pytest.raises(BadToken):
        Keyring(folder).identify(token, "aggregation")
    assert Keyring(folder).identify(Signer(folder, "cli").mint("ana", Role.ADMIN), "aggregation").role == Role.ADMIN
    changed = {service for service in QUEUE if (folder / service / "redis_url").read_text() != urls[service]}
    assert changed == {"aggregation"}


def test_with_the_rights_of_its_redis_user_a_worker_works_and_ingest_counts_it(redis_url: str) -> None:
    users = admin.redis_users(
        admin.REDIS_USERS.read_text(), {name: hashlib.sha256(b"word").hexdigest() for name in QUEUE}
    )
    program = (
        "import sys; from shared.broker import create_celery, worker_arguments; "
        "create_celery('aggregation', sys.argv[1]).worker_main(worker_arguments('record_estimates'))"
    )
    urls = {name: f"redis://{name}:word@{redis_url.rpartition('@')[2]}" for name in QUEUE}
    with create_redis(redis_url, START_S) as everybody, create_redis(urls["camera_ingest"], START_S) as ingest:
        for user in users.splitlines():
            _, name, *rights = re.sub(r"\([^)]*\)", "", user).split()  # these more a Redis before 7 does not know
            if name in QUEUE:
                everybody.execute_command("ACL", "SETUSER", name, *rights)
        process = subprocess.Popen(
            [sys.executable, "-c", program, urls["aggregation"]], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        try:
            one = {"aggregation": 1, "image_classifier": 0}
            wait_until("it is counted", lambda: workers(ingest, "aggregation", "image_classifier") == one, 60)
        finally:
            process.kill()
            process.wait()
            for name in QUEUE:
                everybody.acl_deluser(name)
