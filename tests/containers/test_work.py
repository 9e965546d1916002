"""The stack at work, through nginx and on PostgreSQL: every way in, every replica, and the worst of days."""

import json
import time
from collections.abc import Iterator

import pytest

from services.image_classifier.model_version import DEFAULT_FOLDER
from shared.testing import wait_until
from tests import batches
from tests.cameras import flowing, vendors
from tests.cameras.vendors import Menu
from tests.containers.stack import AGENT, CAMERAS, PATIENCE_S, REPLICAS, SINGLE, Stack, delivered, photo
from tests.e2e import test_occupancy
from tests.photos import REAL, drawn, named

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200, func_only=True)]

OUTAGE_S = 20
INPUTS = 240
WORKER_FRAMES = """
from urllib.request import urlopen
lines = urlopen('http://127.0.0.1:8012/metrics', timeout=5).read().decode().splitlines()
print(sum(float(line.split()[-1]) for line in lines if line.startswith('huella_classifier_frames_total')))
"""


def test_300_photos_by_6_cameras_become_the_status_of_6_spaces(system: Stack) -> None:
    """The end-to-end test itself, on this stack."""
    source = "real" if REAL.exists() else "drawn"
    test_occupancy.test_300_photos_by_6_cameras_become_the_status_of_6_spaces(system, source)


def upstreams(system: Stack, port: int) -> set[str]:
    """Return the addresses of the replicas behind a port that the gateway had answers from."""
    (gateway,) = system.containers("gateway")
    lines = [json.loads(line) for line in system.act("logs", gateway).splitlines() if line.startswith("{")]
    answered = {line["upstream"].split(", ")[-1] for line in lines if line["status"] in (200, 201)}
    return {upstream for upstream in answered if upstream.endswith(f":{port}")}


@pytest.fixture
def scaled(system: Stack) -> Iterator[list[str]]:
    """The workers of the classifier, one more than REPLICAS says: `--scale` made it."""
    service = "image-classifier-worker"
    numbers = {service: REPLICAS[service] + 1}
    if system.engine.command == "docker":  # podman-compose understands one number, and leaves the rest as it runs
        numbers |= {name: REPLICAS[name] for name in ("camera-ingest", "aggregation")}
    system.compose("up", "-d", "--no-recreate", *[f"--scale={name}={number}" for name, number in numbers.items()])
    workers = system.containers(service)
    assert {name: len(system.containers(name)) for name in REPLICAS} == REPLICAS | numbers
    yield workers
    system.act("rm", "-f", workers[-1])


def test_every_replica_takes_part_of_the_work_and_all_is_counted(system: Stack, scaled: list[str]) -> None:
    before = system.audit()["accepted"]
    cameras = [system.camera(f"spread-{n}", "spread") for n in range(4)]

    def shares() -> list[float]:
        return [float(system.act("exec", worker, "python", "-c", WORKER_FRAMES)) for worker in scaled]

    def took() -> list[float]:
        return [after - earlier for earlier, after in zip(began, shares(), strict=True)]

    def answered(port: int, replicas: int) -> bool:
        system.spaces()
        return len(upstreams(system, port)) >= replicas

    wait_until("the new one works", lambda: system.healthy(scaled[-1]), PATIENCE_S, every_s=1)
    began = shares()
    with flowing(cameras, photo) as accepted:
        wait_until("photos flow", lambda: accepted() >= 200, PATIENCE_S)
        wait_until("each worker has some", lambda: min(took()) > 0, PATIENCE_S, every_s=1)
    audit = system.wait_settled(before + accepted())
    assert audit["accepted"] == before + accepted()
    assert audit["accepted"] == audit["counted"] + audit["rejected"]
    print(f"frames by worker: {took()}")
    wait_until("each ingest has answered", lambda: answered(8001, REPLICAS["camera-ingest"]), PATIENCE_S)
    wait_until("each aggregation has answered", lambda: answered(8003, REPLICAS["aggregation"]), PATIENCE_S)


COMMON, OWN, IN_PATH = "/v1/frames", "/v1/cameras/{name}/frame", "/v1/frames/{secret}"
DIGEST = {"authentication": "digest"}
PUSHED = [
    ("hikvision", vendors.Hikvision, {}, COMMON),
    ("dahua", vendors.Dahua, DIGEST, OWN),
    ("axis", vendors.Axis, DIGEST, OWN),
    ("esp32", vendors.Esp32, {}, OWN),
    ("esp32-digest", vendors.Esp32WithDigest, DIGEST, OWN),
    ("address", vendors.OnlyAnAddress, {"secret_in_path": True}, IN_PATH),
    ("stubborn", vendors.Stubborn, {"always_200": True}, COMMON),
]


@pytest.mark.parametrize(("name", "firmware", "options", "path"), PUSHED, ids=[row[0] for row in PUSHED])
def test_a_camera_of_each_vendor_delivers_through_the_gateway(
    system: Stack, name: str, firmware: type[vendors.Firmware], options: dict[str, object], path: str
) -> None:
    before = system.audit()["accepted"]
    camera = system.camera(name, "pushed", **options)
    url = system.address + path.format(name=name, secret=camera.secret)
    device = firmware(Menu(url) if path == IN_PATH else Menu(url, name, camera.secret))
    for number in range(6):  # each replica of ingest gets some; a Digest begun at one may end at another
        said = device.send(photo(f"{name}-{number}"))
        assert said.status in (200, 201), said.body
        delivered(camera, [json.loads(said.body)])
    audit = system.wait_settled(before + 6)
    assert {system.receipt(receipt)["state"] for _, receipt in camera.log} == {"counted"}
    assert audit["accepted"] == before + 6


def test_the_camera_agent_delivers_from_its_container_and_goes_on_after_a_kill(system: Stack) -> None:
    camera = system.fetched("fetched")
    system.compose(*CAMERAS, "up", "-d", "--no-deps", AGENT)
    (container,) = system.containers(AGENT)
    wait_until("photos come", lambda: len(system.receipts(camera)) >= 5, PATIENCE_S)
    system.kill_inside(container)
    number = len(system.receipts(camera))
    wait_until("photos come again", lambda: len(system.receipts(camera)) >= number + 5, PATIENCE_S)
    wait_until("it is healthy", lambda: system.healthy(container), PATIENCE_S, every_s=1)
    system.act("stop", container)
    system.wait_settled(0)
    found = system.receipts(camera)
    delivered(camera, found)
    assert {row["state"] for row in found} == {"counted"}


def test_a_batch_is_as_many_rows_as_photos_though_the_worker_is_killed_in_the_middle(system: Stack) -> None:
    large = [drawn(label, seed, (1920, 1080)) for seed, label in enumerate(batches.LABELS)]
    files = {f"{n:03}.jpg": named(large[n % 3], str(n)) for n in range(INPUTS)}
    (worker,) = system.containers("image-classifier-batch-worker")
    batch = batches.send(system, files)
    with system.classifier.stream("GET", f"{batch}/events", timeout=60) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = (line for line in stream.iter_lines() if line.startswith("data:"))
        assert next(told)
        wait_until("some have ended", lambda: batches.ended(system, batch) > 0, PATIENCE_S, every_s=0.02)
        system.kill_inside(worker)
        assert batches.ended(system, batch) < INPUTS, "it was over before the kill"
        last = list(told)[-1]  # the stream ends with the batch
    rows = batches.rows(system, batch)
    final = batches.progress(system, batch)
    assert sorted(row["input"] for row in rows) == sorted(files)
    assert (final["total"], final["done"], final["failed"]) == (INPUTS, INPUTS, 0)
    assert json.loads(last.removeprefix("data:"))["done"] == INPUTS


def test_an_uploaded_version_looks_on_in_silence_and_is_reported(system: Stack) -> None:
    manifest = json.loads((DEFAULT_FOLDER / "manifest.json").read_text()) | {"version": "2"}
    files: dict[str, tuple[str, bytes, str]] = {
        "manifest": ("manifest.json", json.dumps(manifest).encode(), "application/json"),
        "graph": ("model.onnx", (DEFAULT_FOLDER / "model.onnx").read_bytes(), "application/octet-stream"),
    }
    version = f"/v1/models/{manifest['name']}/2"
    answer = system.ask(lambda: system.classifier.put(version, files=files, timeout=120))
    assert answer.status_code in (200, 201, 202), answer.text
    wait_until("it is proven", lambda: system.get(system.classifier, version)["state"] != "received", PATIENCE_S)
    assert system.get(system.classifier, version)["state"] == "ready"
    variants = [
        {"model": manifest["name"], "version": "1", "role": "champion"},
        {"model": manifest["name"], "version": "2", "role": "candidate"},
    ]
    change = {"strategy": "silent", "variants": variants, "reason": "a look at version 2"}
    system.classifier.put("/v1/rollout", json=change).raise_for_status()

    def looked() -> dict[str, int]:
        report = system.get(system.classifier, "/v1/rollout/report")
        return {row["version"]: row["decisions"] for row in report["variants"]}

    before = system.audit()["accepted"]
    cameras = [system.camera(f"silent-{n}", "silent") for n in range(3)]
    with flowing(cameras, photo) as accepted:
        wait_until("both looked at some", lambda: min(looked().get("1", 0), looked().get("2", 0)) >= 20, PATIENCE_S)
    system.wait_settled(before + accepted())
    counted = list(system.items(system.aggregation, "/v1/spaces/silent/estimates", limit=200))
    assert {row["version"] for row in counted} == {"1"}
    system.classifier.post("/v1/rollout/undo", json={"reason": "seen enough"}).raise_for_status()
    assert system.get(system.classifier, "/v1/rollout")["strategy"] == "single"


def test_whatever_container_dies_stops_or_goes_each_accepted_photo_is_counted_once(system: Stack) -> None:
    """The kill test: every container killed from within, Redis and PostgreSQL away for a while, a replica removed."""
    report = []
    before = system.audit()
    cameras = [system.camera(f"kill-{n}", f"kill-{n % 2}") for n in range(4)]
    with flowing(cameras, photo, every_s=0.4) as accepted:
        wait_until("photos flow", lambda: accepted() > 20, PATIENCE_S)

        def goes_on(name: str, started: float) -> None:
            system.wait_ready()
            number = accepted()
            wait_until(f"photos are taken after {name}", lambda: accepted() > number + 10, PATIENCE_S)
            report.append(f"{name}: {time.monotonic() - started:.1f} s")
            print(report[-1], flush=True)

        for service in (*REPLICAS, *SINGLE):
            started = time.monotonic()
            for container in system.containers(service):
                system.kill_inside(container, user="postgres" if service == "postgres" else "")
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
    system.wait_settled(before["accepted"] + accepted())
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


def test_no_log_has_a_secret(system: Stack) -> None:
    """After all of the above: neither a camera's, nor a key, nor a password, nor a token."""
    hidden = {f"the secret of {camera.camera_id}": camera.secret for camera in system.cameras}
    hidden["the token"] = system.ingest.headers["authorization"].removeprefix("Bearer ")
    for path in [path for path in system.secrets.rglob("*") if path.is_file() and "trusted" not in path.parts]:
        lines = [line for line in path.read_text().splitlines() if len(line) >= 16 and "--" not in line]
        hidden |= {f"{path.relative_to(system.secrets)}:{number}": line for number, line in enumerate(lines)}
    for name, text in system.logs().items():
        assert "NOPERM" not in text, name  # each service has the rights in Redis that it needs
        assert [what for what, secret in hidden.items() if secret in text] == [], name
