"""The stack as a team would run it: in containers, scaled, through nginx, on PostgreSQL."""

import json
import time
from urllib.parse import urlsplit

import httpx
import pytest

from shared.testing import wait_until
from tests.cameras import flowing
from tests.containers.stack import FOLDERS, REPLICAS, SINGLE, Stack

# The end-to-end test itself, on this stack.
from tests.e2e.test_occupancy import (  # noqa: F401  # pytest collects it here, too
    test_300_photos_by_6_cameras_become_the_status_of_6_spaces,
)
from tests.photos import drawn, named, solid

pytestmark = [pytest.mark.containers, pytest.mark.timeout(2400)]

MEGABYTE = 1024 * 1024
OUTAGE_S = 20
SIZES_MB = {"camera-ingest": 400, "image-classifier": 600, "aggregation": 400, "dashboard": 450}
OURS = (*REPLICAS, "aggregation-worker")
PROBLEM = "application/problem+json"


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
        assert (
            system.inside(container, "ls /venv/lib/python3.11/site-packages | grep -c '^torch' || true").strip() == "0"
        )


@pytest.mark.parametrize("service", SIZES_MB)
def test_an_image_is_small(system: Stack, service: str) -> None:
    size = int(system.act("image", "inspect", "--format={{.Size}}", f"huella/{service}:latest"))
    print(f"{service}: {size / 1e6:.0f} MB")
    assert size < SIZES_MB[service] * 1e6


NOT_ROUTED = [
    "/metrics",
    "/v1/images",
    "/v1/settlements",
    "//v1/settlements",
    "/v1/cameras/..%2fsettlements",
    "/readyz",
    "//metrics",
    "/x/..%2fmetrics",
    "/docs",
    "/openapi.json",
]


@pytest.mark.parametrize("path", NOT_ROUTED)
def test_what_is_not_for_outsiders_is_not_found(system: Stack, path: str) -> None:
    for method in ("GET", "POST"):
        # The whole address: joined to a base, two slashes would begin a host's name.
        answer = system.ingest.request(method, f"{system.address}{path}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["detail"]


def test_too_large_a_body_is_told_so_by_whoever_sees_it_first(system: Stack) -> None:
    camera = system.camera("large", "large")
    auth = httpx.BasicAuth(camera.camera_id, camera.secret)
    for size in (10 * MEGABYTE + 1, 12 * MEGABYTE):
        body = solid() + b"\0" * size
        answer = httpx.put(f"{system.address}/v1/cameras/large/frames/x", content=body, auth=auth, trust_env=False)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["status"] == 413


def test_too_large_a_header_is_told_so(system: Stack) -> None:
    answer = system.ingest.get("/v1/audit", headers={"X-Large": "x" * 40_000})
    assert (answer.status_code, answer.headers["content-type"]) == (431, PROBLEM)
    assert answer.json()["status"] == 431


@pytest.mark.parametrize("service", [service for service in FOLDERS if service != "dashboard"])
def test_each_service_has_its_page_behind_the_gateway(system: Stack, service: str) -> None:
    page = system.ingest.get(f"/docs/{service}")
    assert page.status_code == 200
    assert f"/docs/{service}/openapi.json" in page.text
    assert system.ingest.get(f"/docs/{service}/openapi.json").json()["paths"]


def test_the_operators_page_is_behind_the_gateway_and_told_of_changes_at_once(system: Stack) -> None:
    (container,) = system.containers("dashboard")
    link = system.inside(container, "cat /data/dashboard/first-link").strip()
    headers = {"Origin": system.address, "Accept": "text/html"}
    with httpx.Client(base_url=system.address, headers=headers, timeout=30, trust_env=False) as person:
        assert person.get("/").headers["location"] == "/login?next=/"
        account = {"name": "Marta", "new": "four warm paws here", "again": "four warm paws here"}
        assert person.post(urlsplit(link).path, data=account).status_code == 303
        answer = person.post("/login", data={"name": "Marta", "password": account["new"]})
        assert answer.headers["location"] == "/"
        page = person.get("/")
        assert (page.status_code, "Needs a look" in page.text or "No spaces yet" in page.text) == (200, True)
        with person.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            system.aggregation.put("/v1/spaces/told", json={"name": "Told"})
            events = (line for line in stream.iter_lines() if line.startswith("event:"))
            assert next(events).split(":")[1].strip() in ("up", "change")


DENIED = [
    ("camera_ingest", "BRPOP huella:classify_frames 1"),
    ("camera_ingest", "LPUSH huella:record_estimates x"),
    ("camera_ingest", "FLUSHALL"),
    ("image_classifier", "BRPOP huella:record_estimates 1"),
    ("image_classifier", "DEL huella:record_estimates"),
    ("aggregation", "LPUSH huella:classify_frames x"),
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


def photo(name: str) -> bytes:
    return named(drawn("dog"), name)


def test_every_replica_takes_part_of_the_work(system: Stack) -> None:
    before = system.audit()["accepted"]
    cameras = [system.camera(f"spread-{n}", "spread") for n in range(4)]
    with flowing(cameras, photo) as accepted:
        wait_until("photos flow", lambda: accepted() >= 60, 120)
    system.wait_settled(before + accepted(), within_s=180)
    (gateway,) = system.containers("gateway")
    lines = [json.loads(line) for line in system.act("logs", gateway).splitlines() if line.startswith("{")]
    upstreams = {line["upstream"] for line in lines if line["method"] == "PUT" and line["status"] == 201}
    assert len({upstream for upstream in upstreams if upstream.endswith(":8001")}) == REPLICAS["camera-ingest"]


def test_whatever_container_dies_stops_or_goes_each_accepted_photo_is_counted_once(system: Stack) -> None:
    """The kill test: every container killed from within, Redis and PostgreSQL away for a while, a replica removed."""
    report = []
    before = system.audit()
    cameras = [system.camera(f"kill-{n}", f"kill-{n % 2}") for n in range(4)]
    with flowing(cameras, photo, every_s=0.2) as accepted:
        wait_until("photos flow", lambda: accepted() > 20, 120)

        def goes_on(name: str, started: float) -> None:
            system.wait_ready(within_s=180)
            number = accepted()
            wait_until(f"photos are taken after {name}", lambda: accepted() > number + 10, 120)
            report.append(f"{name}: {time.monotonic() - started:.1f} s")
            print(report[-1], flush=True)

        for service in (*REPLICAS, *SINGLE):
            started = time.monotonic()
            system.kill_inside(system.containers(service)[0], user="postgres" if service == "postgres" else "")
            goes_on(f"kill -9 in {service}", started)
        for service in ("redis", "postgres"):
            started = time.monotonic()
            (container,) = system.containers(service)
            system.act("stop", "-t", "5", container)
            time.sleep(OUTAGE_S)  # not a wait for anything: it is how long it is away
            system.act("start", container)
            goes_on(f"{service} away for {OUTAGE_S} s", started)
        for service in ("camera-ingest", "image-classifier-worker"):
            started = time.monotonic()
            system.act("rm", "-f", system.containers(service)[-1])
            goes_on(f"a replica of {service} removed", started)
            system.compose("up", "-d", "--no-recreate")
            assert len(system.containers(service)) == REPLICAS[service]
            goes_on(f"a replica of {service} made again", started)
    ended = time.monotonic()
    system.wait_settled(before["accepted"] + accepted(), within_s=180)
    report.append(f"settled {time.monotonic() - ended:.1f} s after the end")
    # Over everything that this stack was ever sent.
    ledger = system.ledger(*system.cameras)
    report += [str(ledger), f"refused and sent again: {[dict(camera.refusals) for camera in cameras]}"]
    print("\n".join(report[-3:]))
    assert ledger.kept, report
    assert ledger.acknowledged == ledger.attempted
    audit = system.audit()
    assert audit["accepted"] == audit["counted"] + audit["rejected"]
    assert audit["rejected"] == before["rejected"]
    assert audit["counted"] == ledger.counted
    assert system.reconciliation()["agrees"]
