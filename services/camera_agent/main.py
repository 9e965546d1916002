"""camera_agent fetches photos from cameras that don't push, and puts them to ingest as any camera does.

Run it with `python -m services.camera_agent cameras.yaml`.
"""

import argparse
import fcntl
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import structlog
from fastapi import FastAPI

from services.camera_agent.camera import CameraAtWork, open_spool
from services.camera_agent.config import Config, ConfigError, load
from services.camera_agent.ingest import Ingest
from services.camera_agent.settings import Settings
from services.camera_agent.sources import open_source
from shared import app as service_app
from shared import health, logs, metrics

SERVICE = "camera_agent"
STOP_S = 10.0
"""Time for all threads to end. What one is in the middle of is in the spool, and is done again later."""
EXAMPLE = """An example of the file:

ingest: http://127.0.0.1:8001
cameras:
  cam1:
    source: rtsp://192.168.1.21/stream1
    user: viewer
    password_file: secrets/cam1-password
    secret_file: secrets/cam1"""

log = structlog.get_logger(__name__)


class Agent:
    """All cameras of one file at work, from `start` to `stop`."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._folder = folder
        self._ingest = Ingest(config)
        self._cameras = [
            CameraAtWork(
                camera,
                open_source(camera, folder / camera.camera_id),
                open_spool(folder, camera, config.share_bytes),
                self._ingest,
            )
            for camera in config.cameras
        ]

    def start(self) -> None:
        """Set every camera to work."""
        for camera in self._cameras:
            camera.start()
        log.info("agent starts", cameras=len(self._cameras))
        for name, frames in self._left_behind():
            hint = "nobody sends them: put the camera back into the file, or remove its folder"
            log.warning("frames of a camera that the file does not name", camera=name, frames=frames, hint=hint)

    def _left_behind(self) -> list[tuple[str, int]]:
        named = {camera.camera.camera_id for camera in self._cameras}
        others = [path for path in self._folder.iterdir() if (path / "spool").is_dir() and path.name not in named]
        return [(path.name, frames) for path in others if (frames := len(os.listdir(path / "spool")))]

    def stop(self) -> None:
        """Let every camera come to an end; what was not sent stays in the spool."""
        for camera in self._cameras:
            camera.stop()
        deadline = time.monotonic() + STOP_S
        for camera in self._cameras:
            camera.join(deadline)
        self._ingest.close()

    def check_threads(self) -> None:
        """Raise RuntimeError if a thread ended that should not have."""
        dead = [name for camera in self._cameras for name in camera.dead()]
        if dead:
            raise RuntimeError(f"ended: {', '.join(dead)}")

    def check_spool(self) -> None:
        """Raise PermissionError if the spool can't be written."""
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{self._folder} can't be written")


def create_app(settings: Settings, config: Config) -> FastAPI:
    """Return the app with health and metrics; the cameras work from its start to its end."""
    agent = Agent(config, settings.folder)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        agent.start()
        try:
            yield
        finally:
            agent.stop()

    # No routes of its own, so no description of them either.
    app = FastAPI(title="Huella camera agent", openapi_url=None, lifespan=lifespan)
    metrics.install(app)
    health.install(app, {"threads": agent.check_threads, "spool": agent.check_spool})
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM, or check the file only; return the exit status: 2 for a file that can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m services.camera_agent",
        description=str(__doc__).partition("\n")[0],
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="the YAML file that names the cameras")
    parser.add_argument("--check", action="store_true", help="say what is wrong with the file, if anything, and end")
    chosen = parser.parse_args(arguments)
    try:
        config = load(chosen.file, os.environ)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if chosen.check:
        sys.stdout.write(f"{chosen.file} is right: {len(config.cameras)} cameras, {config.share_bytes} bytes each\n")
        return 0
    settings = Settings()
    logs.configure(SERVICE, settings.log_format, settings.log_level)
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with settings.folder.with_suffix(".lock").open("w") as lock:
        if not _locked(lock):
            sys.stderr.write(
                f"another agent works with {settings.folder}: stop it, or give this one its own HUELLA_DATA\n"
            )
            return 2
        service_app.serve(create_app(settings, config), settings.host, settings.port)
    return 0


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
