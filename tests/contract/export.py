"""`make contracts`: writes the JSON Schema of each message and the OpenAPI of each service to the repository.

The files are what outsiders rely on, so an incompatible change is refused: it needs a new major version. Only when
nobody can rely on it yet, remove the file by hand and export again.
"""

import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from deploy.local.system import REPOSITORY
from shared.messages import MESSAGES
from shared.tokens import make_keys
from tests.contract.compatibility import openapi_problems, schema_problems

SERVICES = ("camera_ingest", "image_classifier", "aggregation", "dashboard")


def contracts() -> dict[str, dict[str, Any]]:
    """Return what the code says now: each contract by its path in the repository."""
    schemas = {
        f"shared/schemas/{name}.json": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **message.model_json_schema(by_alias=True),
        }
        for name, message in MESSAGES.items()
    }
    return schemas | {f"services/{service}/openapi.json": openapi(service) for service in SERVICES}


def openapi(service: str) -> dict[str, Any]:
    """Return the OpenAPI document of a service, made without starting it."""
    settings_class = import_module(f"services.{service}.settings").Settings
    main = import_module(f"services.{service}.main")
    with tempfile.TemporaryDirectory() as folder:
        make_keys(Path(folder) / "keys")
        document: dict[str, Any] = main.create_app(settings_class(data=Path(folder))).openapi()
        return document


def problems(path: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return what in `new` breaks those who rely on the contract `old` of that path."""
    if path.endswith("openapi.json"):
        return openapi_problems(old, new)
    return schema_problems(old, new, "message")


def read(path: str) -> dict[str, Any] | None:
    """Return the contract that the repository holds at `path`, or None."""
    file = REPOSITORY / path
    if not file.exists():
        return None
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def main() -> int:
    """Write every contract that changed; 1 and nothing written for those that changed incompatibly."""
    refused = 0
    for path, new in contracts().items():
        old = read(path)
        if old == new:
            continue
        broken = problems(path, old, new) if old else []
        if broken:
            refused = 1
            print(f"{path}: others rely on what this changes:", *broken, sep="\n  ", file=sys.stderr)
            continue
        (REPOSITORY / path).parent.mkdir(exist_ok=True)
        (REPOSITORY / path).write_text(json.dumps(new, indent=2, ensure_ascii=False) + "\n")
        print(f"{path} written")
    return refused


if __name__ == "__main__":
    sys.exit(main())
