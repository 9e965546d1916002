"""The cameras that were known by their secrets lately, so that few PUTs need a look at the database before their body.

What is remembered lets a body in and no more: the statement that writes its frame asks for camera and secret again.
"""

import hmac
from collections import OrderedDict

from services.camera_ingest.registry import Camera

REMEMBERED = 10_000


class Remembered:
    """The last right secret of each camera, as its SHA-256, in bounded memory; used by one thread."""

    def __init__(self) -> None:
        self._cameras: OrderedDict[str, Camera] = OrderedDict()

    def find(self, camera_id: str, sha256: str) -> Camera | None:
        """Return the camera if this is the secret by which it was known last."""
        camera = self._cameras.get(camera_id)
        if camera is None or camera.secret is None or not hmac.compare_digest(camera.secret, sha256):
            return None
        self._cameras.move_to_end(camera_id)
        return camera

    def note(self, camera: Camera) -> None:
        """Remember a camera that was known by its secret."""
        self._cameras[camera.camera_id] = camera
        self._cameras.move_to_end(camera.camera_id)
        if len(self._cameras) > REMEMBERED:
            self._cameras.popitem(last=False)

    def forget(self, camera_id: str) -> None:
        """Let the next PUT of that camera ask the database."""
        self._cameras.pop(camera_id, None)
