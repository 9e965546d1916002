"""docker-compose.yml keeps every container small, closed and bounded, and opens one port."""

from typing import Any

import pytest
import yaml

from deploy.local.system import REPOSITORY

FILE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
RUNNING = {name: service for name, service in SERVICES.items() if "profiles" not in service}
PAGE = "dashboard"
OURS = (
    "camera-ingest",
    "image-classifier",
    "image-classifier-worker",
    "image-classifier-batch-worker",
    "aggregation",
    "aggregation-worker",
    PAGE,
)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_beyond_need_and_every_bound(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert all("size=" in mount for mount in service.get("tmpfs", []))
    assert "container_name" not in service
    assert "privileged" not in service


@pytest.mark.parametrize("name", RUNNING)
def test_a_running_container_is_restarted_and_checked(name: str) -> None:
    assert RUNNING[name]["restart"] == "unless-stopped"
    # The HTTP services bring their check in the image.
    assert "healthcheck" in RUNNING[name] or "build" in RUNNING[name]


def test_only_the_gateway_can_be_reached_and_on_loopback_unless_told_otherwise() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if service.get("ports")}
    assert published == {"gateway": ["${HUELLA_ADDRESS:-127.0.0.1}:${HUELLA_PORT:-8000}:8080"]}
    assert {name for name, service in RUNNING.items() if "front" in service["networks"]} == {"gateway"}
    assert FILE["networks"]["back"] == {"internal": True}


@pytest.mark.parametrize("name", OURS)
def test_a_service_holds_its_own_secrets_as_files_and_no_other(name: str) -> None:
    folder = name.removesuffix("-worker").removesuffix("-batch").replace("-", "_")
    sources = {secret["source"] for secret in SERVICES[name]["secrets"]}
    queue = set() if name == PAGE else {f"{folder}_redis_url"}
    assert sources == {f"{folder}_key", f"{folder}_database_url"} | queue
    words = ("PASSWORD", "SECRET", "TOKEN", "KEY=")
    assert not [key for key in SERVICES[name]["environment"] if any(w in key for w in words) and "FILE" not in key]


@pytest.mark.parametrize("name", OURS)
def test_capabilities_are_for_none_of_our_services(name: str) -> None:
    assert "cap_add" not in SERVICES[name]
    assert "user" not in SERVICES[name], "the image says who it runs as"


def test_batches_get_a_tenth_of_what_others_get_of_a_processor_that_both_want() -> None:
    assert {name for name, service in SERVICES.items() if "cpu_shares" in service} == {"image-classifier-batch-worker"}
    assert SERVICES["image-classifier-batch-worker"]["cpu_shares"] == 102  # the usual is 1024


def test_the_camera_agent_starts_only_when_asked_for_and_is_outside_the_inner_network() -> None:
    agent = SERVICES["camera-agent"]
    assert agent["profiles"] == ["cameras"]
    assert agent["networks"] == ["front"]
    assert "secrets" not in agent
    assert "cap_add" not in agent
    assert any(volume.endswith(":/cameras:ro") for volume in agent["volumes"])


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in REPOSITORY.glob("services/*/Dockerfile")))
def test_an_image_is_slim_python_with_its_own_folder_and_checks_itself_without_curl(folder: str) -> None:
    lines = (REPOSITORY / "services" / folder / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    assert {line[1] for line in words if line[0] == "FROM"} == {"python:3.11-slim"}
    assert [line[1] for line in words if line[0] in ("COPY", "ADD") and not line[1].startswith("--from=build")] == [
        f"services/{folder}/requirements.txt",
        "shared",
        f"services/{folder}",
    ]
    (check,) = [line for line in words if line[0] == "HEALTHCHECK"]
    assert '["python",' in check
    (user,) = [line[1] for line in words if line[0] == "USER"]
    assert user.split(":")[0].isdigit()
