"""The three other services as far as the page uses them, behind an httpx transport: no network, no processes."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import httpx
from PIL import Image

from shared.messages import isoformat
from shared.tokens import Identity, Keyring, Role

INGEST, CLASSIFIER, AGGREGATION = 18901, 18902, 18903
SERVICES = {INGEST: "camera_ingest", CLASSIFIER: "image_classifier", AGGREGATION: "aggregation"}


def receipt(number: int) -> str:
    """Return a receipt; greater numbers are later."""
    return f"01990000-0000-7000-8000-{number:012d}"


def jpeg(width: int = 1280, height: int = 720) -> bytes:
    """Return a photo."""
    content = io.BytesIO()
    Image.new("RGB", (width, height), (180, 140, 90)).save(content, "JPEG")
    return content.getvalue()


def at(minutes_ago: float) -> str:
    """Return a time so many minutes ago, as services write it."""
    return isoformat(datetime.now(UTC) - timedelta(minutes=minutes_ago))


class FakeServices:
    """Answers as the services do, remembers what was asked and by whom; `down` names services that don't answer."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.down: set[str] = set()
        self.asked: list[tuple[str, str, Identity, Any]] = []
        self.spaces = [self.space("k1", "Kennel 1", "cat"), self.space("k2", "Kennel <2>", "unsure")]
        self.spaces.append({**self.space("k10", "Kennel 10", "stale"), "last_evidence_at": at(60)})
        self.cameras: list[dict[str, Any]] = [
            {"camera_id": "door", "space_id": "k1", "last_frame_at": at(0.1), "last_receipt": receipt(1), "secrets": 2},
            {"camera_id": "wall", "space_id": "k2", "last_frame_at": at(90), "last_receipt": receipt(2), "secrets": 1},
            {"camera_id": "new", "space_id": "k10", "last_frame_at": None, "last_receipt": None, "secrets": 1},
        ]
        self.stays = [self.stay("s1", "k1", "cat", 200, None), self.stay("s2", "k2", "dog", 3000, 60)]
        self.reviews = [{"estimate": self.estimate(9, "unsure"), "reasons": ["unsure"]}]
        self.rejected: list[dict[str, Any]] = [
            {
                "receipt": receipt(5),
                "camera_id": "wall",
                "state": "rejected",
                "reason": "truncated",
                "received_at": at(9),
            }
        ]
        self.workers: dict[str, int] | None = {"image_classifier": 1, "aggregation": 1}
        self.refuse: dict[str, tuple[int, str]] = {}

    @staticmethod
    def space(space_id: str, name: str, occupancy: str) -> dict[str, Any]:
        """Return a space."""
        return {
            "id": space_id,
            "name": name,
            "purpose": "adoption",
            "occupancy": occupancy,
            "probability": 0.9,
            "probabilities": {"cat": 0.9, "dog": 0.05, "both": 0.03, "empty": 0.02},
            "since": at(30),
            "last_evidence_at": at(0.1),
            "frames": 7,
            "stale_after_s": 3600,
            "in_service": True,
        }

    @staticmethod
    def stay(key: str, space: str, species: str, began: float, ended: float | None) -> dict[str, Any]:
        """Return a stay that began and ended so many minutes ago."""
        return {
            "id": key,
            "space_id": space,
            "species": species,
            "from": at(began),
            "until": None if ended is None else at(ended),
            "state": "available",
            "number_of_animals": 2,
            "note": "=SUM(A1)",
            "version": 3,
        }

    @staticmethod
    def estimate(number: int, label: str) -> dict[str, Any]:
        """Return an estimate."""
        return {
            "receipt": receipt(number),
            "space_id": "k1",
            "camera_id": "door",
            "observed_at": at(1),
            "label": label,
            "probabilities": {"cat": 0.55, "dog": 0.1},
            "quality": "ok",
            "model": "huella",
            "version": "1",
            "correction": None,
        }

    def transport(self) -> httpx.MockTransport:
        """Return the network to them."""
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        service = SERVICES[request.url.port or 0]
        if service in self.down:
            raise httpx.ConnectError("down", request=request)
        path = request.url.path
        if path == "/readyz":
            return httpx.Response(200, json={"status": "ok", "checks": {"database": "ok"}})
        caller = self.keyring.identify(request.headers["authorization"].removeprefix("Bearer "), service)
        raw = request.content
        body = json.loads(raw) if raw[:1] == b"{" else raw
        self.asked.append((request.method, path, caller, body))
        if path.endswith("/events"):
            return httpx.Response(503, json={"detail": "too many"})  # so the page asks by itself
        if request.headers.get("accept") == "text/csv":
            return httpx.Response(200, content=b"input,label\r\n")
        if path in self.refuse:
            status, detail = self.refuse[path]
            return httpx.Response(status, json={"detail": detail})
        return self._route(request.method, path, caller, body)

    def _route(self, method: str, path: str, caller: Identity, body: Any) -> httpx.Response:
        if method != "GET":
            return self._change(method, path, caller)
        rollout = {"revision": 3, "strategy": "canary", "author": "marta", "reason": "<try>", "since": at(5)}
        variant = {"model": "huella", "version": "1", "role": "champion", "share": 0.75, "decisions": 40}
        judged = {"agreement": 0.9, "corrections": 4, "correct": 3, "latency_p95_seconds": 0.004}
        rollouts: dict[str, Any] = {
            "/v1/rollout": rollout,
            "/v1/rollout/report": {"variants": [variant | judged], "reason": "It bakes."},
            "/v1/rollout/revisions": {"items": [rollout], "next": None},
            "/v1/models": {"items": [{"name": "huella", "version": "1", "default": True}], "next": None},
        }
        if path in rollouts:
            return httpx.Response(200, json=rollouts[path])
        lists = {
            "/v1/cameras": self.cameras,
            "/v1/stays": self.stays,
            "/v1/reviews": self.reviews,
            "/v1/receipts": self.rejected,
        }
        if path in lists:
            return httpx.Response(200, json={"items": lists[path], "next": None})
        if path.endswith("/image"):
            return httpx.Response(200, content=jpeg(), headers={"Content-Type": "image/jpeg"})
        name = path.rsplit("/", 1)[-1]
        if path.endswith("/estimates"):
            items = [self.estimate(7, "cat"), self.estimate(8, "unsure")]
            return httpx.Response(200, json={"items": items, "next": None})
        if path.endswith("/history"):
            span = {"occupancy": "cat", "from": at(30), "until": None, "probability": 0.9}
            return httpx.Response(200, json={"items": [span], "next": None})
        for key, known in (("/v1/spaces/", self.spaces), ("/v1/cameras/", self.cameras)):
            if path.startswith(key):
                found = [one for one in known if name in (one.get("id"), one.get("camera_id"))]
                return httpx.Response(200, json=found[0]) if found else httpx.Response(404, json={"detail": "none"})
        documents = {
            "/v1/adoption-status": self._status(),
            "/v1/audit": {"accepted": 10, "counted": 8, "rejected": 1, "in_flight": 1},
            "/v1/retention": {"image_days": 30, "row_days": 400},
            "/v1/pipeline": {
                "queues": {"classify_frames": 1, "record_estimates": None},
                "workers": self.workers,
                "unsettled": 1,
                "oldest_unsettled_s": 0.4,
                "last_settled_at": at(0.1),
                "settle_seconds": {"p50": 0.08, "p95": 0.2},
            },
            "/v1/reconciliation": {
                "agrees": False,
                "hours": [
                    {
                        "hour": at(30),
                        "ingest": {"number": 7, "digest": "a"},
                        "aggregation": {"number": 8, "digest": "b"},
                        "awaiting_settlement": 1,
                        "agrees": False,
                    }
                ],
            },
        }
        if path.startswith("/v1/batches"):
            return self._batches(path)
        if path.startswith("/v1/estimates/"):
            correction = {"label": "cat", "by": caller.subject, "at": at(0)}
            return httpx.Response(200, json={**self.estimate(9, "unsure"), "correction": correction})
        if path.startswith("/v1/receipts/"):
            return httpx.Response(200, json={**self.rejected[0], "receipt": name, "state": "counted", "reason": None})
        return httpx.Response(200, json=documents[path])

    BATCH: ClassVar[dict[str, Any]] = {
        **{"id": "b1", "state": "running", "total": 3, "done": 1, "failed": 1, "client": "dashboard:operator"},
        **{"created_at": "2026-11-22T10:00:00Z", "finished_at": None},
    }

    def _batches(self, path: str) -> httpx.Response:
        if path.endswith("/thumbnail"):
            return httpx.Response(200, content=jpeg(128, 128), headers={"Content-Type": "image/jpeg"})
        if path.endswith("/predictions"):
            prediction = {**self.estimate(1, "cat"), "number": 1, "input": "kennel/<1>.jpg", "error": None}
            items = [{**prediction, "thumbnail": "there"}, {"number": 2, "input": "cut.jpg", "error": "truncated"}]
            return httpx.Response(200, json={"items": items, "next": None})
        return httpx.Response(200, json={"items": [self.BATCH], "next": None} if path == "/v1/batches" else self.BATCH)

    def _change(self, method: str, path: str, caller: Identity) -> httpx.Response:
        if path == "/v1/predictions":
            prediction: dict[str, Any] = {"label": "unsure", "probabilities": {"cat": 0.5, "dog": 0.2}, "quality": "ok"}
            return httpx.Response(200, json={**prediction, "model": "huella", "version": "1"})
        if path == "/v1/batches" and caller.may(Role.OPERATOR):
            return httpx.Response(202, json={"id": "b1", "state": "queued", "total": 2})
        admins = path.startswith(("/v1/cameras", "/v1/spaces", "/v1/rollout")) and method != "PATCH"
        if not caller.may(Role.ADMIN if admins else Role.OPERATOR):
            return httpx.Response(403, json={"detail": "role"})
        known = any(path == f"/v1/cameras/{camera['camera_id']}" for camera in self.cameras)
        if path.endswith("/secrets") or (path.startswith("/v1/cameras/") and method == "PUT" and not known):
            if not known and method == "PUT":
                self.cameras.append({**self.cameras[2], "camera_id": path.rsplit("/", 1)[-1]})
            return httpx.Response(201, json={"secret": "s3cret-of-camera"})
        return httpx.Response(200, json={})

    def _status(self) -> dict[str, Any]:
        return {
            "as_of": at(0),
            "spaces": self.spaces,
            "stays": [stay for stay in self.stays if stay["until"] is None],
            "totals": {"up_for_adoption": {"cats": 2, "dogs": 0}, "spaces_free": 4},
            "changes": [
                {"sequence": 1, "written_at": at(0), "kind": "stay_opened", "space_id": "k1", "species": "cat"},
                {"sequence": 2, "written_at": at(0), "kind": "a_kind_of_tomorrow", "space_id": "k1"},
            ],
        }
