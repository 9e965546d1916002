"""A running camera_ingest for tests: in process by default, behind a real socket where that matters."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastapi.testclient import TestClient

from services.camera_ingest.api.dependencies import Parts
from services.camera_ingest.main import MIGRATIONS, create_app
from services.camera_ingest.settings import Settings
from services.camera_ingest.tests.messages import FORM
from services.camera_ingest.tests.photos import photo
from shared.migrations import migrate
from shared.testing import TokenFor, wait_until
from shared.tokens import Role

NO_BROKER = "redis://127.0.0.1:1/0"


@dataclass
class Ingest:
    """One camera_ingest, with what a test says to it."""

    client: httpx.Client
    parts: Parts
    token_for: TokenFor
    secrets: dict[str, str] = field(default_factory=dict)

    def bearer(self, role: Role, issuer: str = "aggregation") -> dict[str, str]:
        """Return the header of a person's token, or of a service's of `issuer`."""
        if role is not Role.SERVICE:
            return {"Authorization": f"Bearer {self.token_for(role)}"}
        return {"Authorization": f"Bearer {self.token_for(role, audience='camera_ingest', issuer=issuer)}"}

    def get(self, path: str, role: Role = Role.VIEWER, **options: Any) -> httpx.Response:
        return self.client.get(path, headers=self.bearer(role) | options.pop("headers", {}), **options)

    def make_camera(self, camera_id: str = "c1", space_id: str = "k1") -> str:
        answer = self.client.put(
            f"/v1/cameras/{camera_id}", json={"space_id": space_id}, headers=self.bearer(Role.ADMIN)
        )
        assert answer.status_code == 201, answer.text
        self.secrets[camera_id] = answer.json()["secret"]
        return self.secrets[camera_id]

    def put(
        self, frame_id: str | None, image: bytes | None = None, camera_id: str = "c1", **options: Any
    ) -> httpx.Response:
        """Send a frame as its camera does; without a name as a camera does that can't name its photos."""
        path = f"/v1/cameras/{camera_id}/frame" + ("" if frame_id is None else f"s/{frame_id}")
        credentials = options.pop("auth", (camera_id, self.secrets.get(camera_id, "")))
        return self.client.put(path, content=photo() if image is None else image, auth=credentials, **options)

    def post(
        self, path: str, body: bytes | Iterator[bytes], camera_id: str | None = "c1", **options: Any
    ) -> httpx.Response:
        """Send a body as a camera does that pushes, by default a message of several parts."""
        headers = {"Content-Type": FORM} | options.pop("headers", {})
        auth: Any = None if camera_id is None else (camera_id, self.secrets[camera_id])
        return self.client.post(path, content=body, headers=headers, auth=auth, **options)

    def choose(self, camera_id: str, status: int = 200, **chosen: Any) -> dict[str, Any]:
        """Say how a camera is known and how it sends, as an admin does."""
        answer = self.client.put(
            f"/v1/cameras/{camera_id}",
            json={"space_id": f"space-{camera_id}", **chosen},
            headers=self.bearer(Role.ADMIN),
        )
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def accept(self, frame_id: str, image: bytes | None = None, camera_id: str = "c1", **options: Any) -> str:
        """Send a frame that must be taken, and return its receipt."""
        answer = self.put(frame_id, image, camera_id, **options)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["receipt"])

    def settle(self, *settlements: dict[str, str]) -> httpx.Response:
        return self.client.post(
            "/v1/settlements", json={"settlements": list(settlements)}, headers=self.bearer(Role.SERVICE)
        )

    def images(self, *receipts: str) -> httpx.Response:
        headers = self.bearer(Role.SERVICE, "image_classifier")
        return self.client.post("/v1/images", json={"receipts": list(receipts)}, headers=headers)

    def receipt(self, receipt: str) -> dict[str, Any]:
        answer = self.get(f"/v1/receipts/{receipt}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def audit(self) -> dict[str, int]:
        """Return the books, which must balance."""
        books = dict(self.get("/v1/audit").json())
        assert books["accepted"] == books["counted"] + books["rejected"] + books["in_flight"]
        return books

    def files(self) -> set[str]:
        """Return the names of all image files."""
        return {path.name for path in self.parts.files.folder.rglob("*") if path.is_file()}


@contextmanager
def running(settings: Settings, token_for: TokenFor) -> Iterator[Ingest]:
    """Run camera_ingest in this process, without a socket."""
    migrate(settings.database_url, MIGRATIONS)
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Ingest(client, app.state.parts, token_for)


@contextmanager
def serving(settings: Settings, token_for: TokenFor) -> Iterator[Ingest]:
    """Run camera_ingest in this process behind a real socket, on the settings' port."""
    migrate(settings.database_url, MIGRATIONS)
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=settings.port, log_config=None, access_log=False)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until("ingest listens", lambda: server.started)
        with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=30, trust_env=False) as client:
            yield Ingest(client, app.state.parts, token_for)
    finally:
        server.should_exit = True
        thread.join(30)
