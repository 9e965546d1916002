"""The gateway's route table and the services' own descriptions say the same."""

import json

import pytest

from deploy.local.system import REPOSITORY

SERVICES = {"camera-ingest": 8001, "image-classifier": 8002, "aggregation": 8003, "dashboard": 8000}
# Addresses between services: never for outsiders.
INTERNAL = {"/v1/images", "/v1/settlements"}


def routes() -> dict[str, str]:
    """Return the route table: path prefix to `service:port`, or `-`."""
    lines = (REPOSITORY / "deploy" / "gateway" / "routes").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return {row[0]: row[1] for row in rows}


def target_of(path: str) -> str | None:
    """Return the target of the first prefix that fits, as the gateway decides it."""
    fits = (target for prefix, target in routes().items() if f"{path}/".startswith(f"{prefix.rstrip('/')}/"))
    return next(fits, None)


def paths_of(service: str) -> list[str]:
    document = REPOSITORY / "services" / service.replace("-", "_") / "openapi.json"
    if not document.exists():
        pytest.skip(f"{document.name} of {service} is not written yet: `make contracts` writes it")
    return list(json.loads(document.read_text())["paths"])


@pytest.mark.parametrize("service", SERVICES)
def test_every_address_of_a_service_is_routed_to_it_or_named_as_internal(service: str) -> None:
    expected = {path: "-" if path in INTERNAL else f"{service}:{SERVICES[service]}" for path in paths_of(service)}
    assert expected
    assert {path: target_of(path) for path in expected} == expected


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/openapi.json", "/docs", "/docs/x", "/v1/camerasx", "/v1"])
def test_what_is_for_those_who_look_after_a_service_is_not_routed(path: str) -> None:
    assert target_of(path) == "-"


def test_no_prefix_hides_a_later_one() -> None:
    prefixes = list(routes())
    hidden = [
        (later, earlier)
        for number, later in enumerate(prefixes)
        for earlier in prefixes[:number]
        if later.startswith(f"{earlier.rstrip('/')}/")
    ]
    assert hidden == []
