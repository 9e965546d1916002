"""The stack's containers and stores as they run: what is inside, what they may do, what they said at the start."""

import json
import re
from functools import partial

import httpx
import pytest

from shared.testing import wait_until
from tests.containers.images import BUDGETS_MB, contents
from tests.containers.stack import FOLDERS, PATIENCE_S, REPLICAS, SINGLE, Stack

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600, func_only=True)]

OURS = (*REPLICAS, "aggregation-worker")
# What is said at a first start and is no complaint of ours: services wait for PostgreSQL, Redis looks at its host.
EXPECTED = ("the database does not answer yet",)
FOR_PEOPLE = "Huella: make the administrator's account at "


def test_the_start_says_where_the_page_is_and_how_to_get_a_first_token(system: Stack) -> None:
    assert f"Huella's page is at {system.address}\n" in system.said
    (command,) = re.findall("a first token +(.+)", system.said)
    token = system.run(["sh", "-c", command]).split()[-1]
    answer = httpx.get(f"{system.address}/v1/audit", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert answer.status_code == 200


@pytest.mark.parametrize("service", OURS)
def test_a_first_start_says_nothing_that_worries(system: Stack, service: str) -> None:
    for name, text in system.at_start.items():
        if name.rpartition("-")[0] != service:
            continue
        worrying = [
            line
            for line in text.splitlines()
            if any(word in line for word in ('"level": "warning"', '"level": "error"', "Traceback", "[W:", "Error"))
            and not any(word in line for word in EXPECTED)
        ]
        assert worrying == []


@pytest.mark.parametrize("service", OURS)
def test_each_line_of_a_log_is_json_that_names_its_service(system: Stack, service: str) -> None:
    for name, text in system.at_start.items():
        if name.rpartition("-")[0] == service:
            lines = [line for line in text.splitlines() if line and not line.startswith(FOR_PEOPLE)]
            assert {json.loads(line)["service"].replace("_", "-") for line in lines} <= {
                service,
                service.removesuffix("-worker"),
            }, name


@pytest.mark.parametrize("service", OURS)
def test_a_container_holds_its_service_and_shared_and_has_no_rights(system: Stack, service: str) -> None:
    folder = FOLDERS[service.removesuffix("-worker")]
    for container in system.containers(service):
        assert system.inside(container, "ls /app /app/services").split() == [
            "/app:", "services", "shared", "/app/services:", folder,
        ]  # fmt: skip
        assert system.inside(container, r"find /app \( -name 'test*' -o -name training -o -name '*.md' \)") == ""
        status = dict(
            line.split(":\t", 1)
            for line in system.inside(container, "cat /proc/self/status").splitlines()
            if ":\t" in line
        )
        assert "0" not in status["Uid"].split()
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert system.inside(container, "touch /app/x /x /venv/x 2>/dev/null || echo refused").strip() == "refused"
        assert system.inside(container, "ls /run/keys/private").split() == [f"{folder}.pem"]


@pytest.mark.parametrize("service", [*REPLICAS, *SINGLE])
def test_a_container_s_own_check_finds_it_well(system: Stack, service: str) -> None:
    for container in system.containers(service):
        wait_until(f"{service} is healthy", partial(system.healthy, container), PATIENCE_S, every_s=1)


@pytest.mark.parametrize("service", BUDGETS_MB)
def test_an_image_is_small_and_holds_its_own_code_alone(system: Stack, service: str) -> None:
    image = contents(system.engine.command, service)
    assert image.own_mb < BUDGETS_MB[service]
    assert image.code == ("services", f"services/{FOLDERS.get(service, service.replace('-', '_'))}", "shared")
    assert int(image.user.split(":")[0]) > 10_000
    assert not {"torch", "torchvision", "pytest"} & {package for package, _ in image.packages}


DENIED = [
    ("camera_ingest", "BRPOP huella:classify_frames 1"),
    ("camera_ingest", "LPUSH huella:record_estimates x"),
    ("camera_ingest", "LPUSH huella:classify_batches x"),
    ("camera_ingest", "FLUSHALL"),
    ("image_classifier", "BRPOP huella:record_estimates 1"),
    ("image_classifier", "DEL huella:record_estimates"),
    ("aggregation", "LPUSH huella:classify_frames x"),
    ("aggregation", "BRPOP huella:classify_batches 1"),
    ("aggregation", "CONFIG GET *"),
    ("aggregation", "KEYS *"),
]


@pytest.mark.parametrize(("user", "command"), DENIED)
def test_redis_lets_a_service_do_its_work_and_no_more(system: Stack, user: str, command: str) -> None:
    password = (system.secrets / "redis" / user).read_text()
    (redis,) = system.containers("redis")
    answer = system.inside(redis, f"redis-cli --no-auth-warning --user {user} --pass {password} {command}")
    assert "NOPERM" in answer


def test_nobody_gets_into_redis_without_a_password(system: Stack) -> None:
    (redis,) = system.containers("redis")
    assert "NOAUTH" in system.inside(redis, "redis-cli PING")
    assert "NOPERM" in system.inside(redis, "redis-cli --no-auth-warning --user health --pass x KEYS '*'")


def test_a_role_reaches_its_own_database_alone(system: Stack) -> None:
    (postgres,) = system.containers("postgres")
    for role in FOLDERS.values():
        password = (system.secrets / "postgres" / role).read_text()
        for database in (*FOLDERS.values(), "postgres"):
            question = f"PGPASSWORD={password} psql -h 127.0.0.1 -U {role} -d {database} -Atc 'SELECT 1' 2>&1 || true"
            answer = system.inside(postgres, question)
            assert ("permission denied for database" in answer) == (database != role), (role, database, answer)
