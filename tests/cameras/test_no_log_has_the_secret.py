"""A secret in the path is in no log: neither of the service, as it really runs, nor of the gateway."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local.system import REPOSITORY
from services.camera_ingest.tests.photos import photo
from shared.testing import TokenFor, free_port, wait_until
from shared.tokens import Role
from tests.cameras.vendors import Gone, Menu, OnlyAnAddress

GATEWAY = REPOSITORY / "deploy" / "gateway"


@contextmanager
def logged(command: list[str], log: Path, url: str, environment: dict[str, str]) -> Iterator[None]:
    """Run a process with its output in `log` until it is ended."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=REPOSITORY)
        try:
            wait_until(url, lambda: answers(url), within_s=90)
            yield
        finally:
            process.terminate()
            process.wait(30)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def served(tmp_path: Path, keys: Path) -> Iterator[tuple[str, Path]]:
    """The address and the log of a camera_ingest that runs as a process of its own, and logs all that it can."""
    port, log = free_port(), tmp_path / "log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUELLA_")}
    environment = {
        **kept,
        "HUELLA_DATA": str(tmp_path),
        "HUELLA_KEYS": str(keys),
        "HUELLA_REDIS_URL": "redis://127.0.0.1:1/0",
        "HUELLA_INGEST_PORT": str(port),
        "HUELLA_INGEST_BODY_DEADLINE_S": "1",
        "HUELLA_LOG_LEVEL": "debug",
    }
    url = f"http://127.0.0.1:{port}"
    with logged([sys.executable, "-m", "services.camera_ingest.main"], log, f"{url}/livez", environment):
        yield url, log


def deliver_and_fail(url: str, secret: str) -> None:
    """Send photos well, cut, stalled, hostile and too large, and nonsense, with a secret in the path."""
    address = f"{url}/v1/frames/{secret}"
    assert OnlyAnAddress(Menu(address)).send(photo()).status == 201
    for content in (b"no photo", photo().ljust(12_000_000, b"\0")):
        try:
            assert OnlyAnAddress(Menu(address)).send(content).status >= 400
        except Gone:
            assert len(content) > 1_000_000
    with pytest.raises(Gone):
        OnlyAnAddress(Menu(address), cut=0.5).send(photo().ljust(400_000, b"\0"))
    assert OnlyAnAddress(Menu(address + "x")).send(photo()).status == 401
    assert httpx.get(address, trust_env=False).status_code == 405
    assert httpx.post(address + "/more", trust_env=False).status_code == 404
    head = f"POST {urlsplit(address).path} HTTP/1.1\r\nHost: x\r\n"
    for rest in ("Content-Length: 999\r\n\r\n", "Content-Length: none\r\n\r\n", "no header\r\n\r\n"):
        with socket.create_connection((urlsplit(url).hostname or "", urlsplit(url).port or 80), timeout=60) as stalled:
            stalled.sendall((head + rest).encode())
            stalled.recv(65536)


def make_camera(url: str, token_for: TokenFor) -> str:
    admin = {"Authorization": f"Bearer {token_for(Role.ADMIN)}"}
    chosen = {"space_id": "k1", "secret_in_path": True}
    made = httpx.put(f"{url}/v1/cameras/cam", json=chosen, headers=admin, trust_env=False)
    return str(made.json()["secret"])


def test_the_service_s_log_never_has_it(served: tuple[str, Path], token_for: TokenFor) -> None:
    url, log = served
    secret = make_camera(url, token_for)
    deliver_and_fail(url, secret)
    written = log.read_text()
    assert "camera_ingest" in written
    assert secret not in written


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx: `apt-get install nginx-light` enables this")
def test_the_gateway_s_log_never_has_it_also_when_the_service_is_away(
    served: tuple[str, Path], token_for: TokenFor, tmp_path: Path
) -> None:
    url, _ = served
    secret = make_camera(url, token_for)
    port, log = free_port(), tmp_path / "gateway.log"
    target = [url.removeprefix("http://")]
    with logged(nginx(tmp_path, port, target[0]), log, f"http://127.0.0.1:{port}/livez", dict(os.environ)):
        deliver_and_fail(f"http://127.0.0.1:{port}", secret)
        # The common address is answered by the service, not by a redirect to where secrets are.
        assert httpx.post(f"http://127.0.0.1:{port}/v1/frames", trust_env=False).status_code == 401
    away = f"127.0.0.1:{free_port()}"
    with logged(
        nginx(tmp_path, port, away), log.with_suffix(".away"), f"http://127.0.0.1:{port}/livez", dict(os.environ)
    ):
        assert OnlyAnAddress(Menu(f"http://127.0.0.1:{port}/v1/frames/{secret}")).send(photo()).status == 502
        assert httpx.get(f"http://127.0.0.1:{port}/v1/audit", trust_env=False).status_code == 502
    assert "/v1/audit" in log.with_suffix(".away").read_text()  # other addresses do stand in the log of errors
    for file in (log, log.with_suffix(".away")):
        assert '"status":' in file.read_text()
        assert secret not in file.read_text()


def nginx(folder: Path, port: int, service: str) -> list[str]:
    """Return the command of the gateway as it is shipped, but with its files in `folder` and one service for all."""
    root = folder / f"gateway-{service.replace(':', '-')}"
    root.mkdir()
    for name in ("nginx.conf", "problems.conf"):
        text = (GATEWAY / name).read_text().replace("/tmp/", f"{root}/").replace("/dev/stdout", f"{root}/stdout")
        (root / name).write_text(text.replace("listen 8080;", f"listen 127.0.0.1:{port};"))
    (root / "stdout").symlink_to("/dev/stdout")
    (root / "routes.map").write_text(f'"~^/v1/" "{service}";\n')
    (root / "resolver.conf").write_text("")
    return ["nginx", "-e", "stderr", "-c", str(root / "nginx.conf")]
