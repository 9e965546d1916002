"""Where photos come from. Each source is a function that gives photos, at its own pace, until it is stopped."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

from services.camera_agent.config import Camera
from services.camera_agent.sources import folder, rtsp, simulated, snapshot
from services.camera_agent.sources.photos import Photo

Source = Callable[[Event], Iterator[Photo]]


def open_source(camera: Camera, state: Path) -> Source:
    """Return the camera's source; `state` is a folder of its own for what it must remember."""
    scheme = camera.entry.source.partition(":")[0]
    if scheme == "rtsp":
        return lambda stopped: rtsp.photos(camera, stopped)
    if scheme == "folder":
        return lambda stopped: folder.photos(camera, state, stopped)
    if scheme == "simulated":
        return lambda stopped: simulated.photos(camera, stopped)
    return lambda stopped: snapshot.photos(camera, stopped)
