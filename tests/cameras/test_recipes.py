"""What `docs/cameras.md` says of each camera is done as it is written there, and the camera delivers."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.system import REPOSITORY
from services.camera_ingest.tests.photos import photo
from services.camera_ingest.tests.running import Ingest
from shared.testing import TokenFor
from shared.tokens import Role
from tests.cameras.vendors import (
    Axis,
    Dahua,
    Esp32,
    Firmware,
    Hikvision,
    HikvisionRecorder,
    Menu,
    OnlyAnAddress,
    Stubborn,
)

PAGE = REPOSITORY / "docs" / "cameras.md"
SIMULATED: dict[str, type[Firmware]] = {
    "Axis": Axis,
    "Hikvision": Hikvision,
    "A recorder with several channels": HikvisionRecorder,
    "Dahua, Amcrest": Dahua,
    "ESP32-CAM": Esp32,
    "Firmware that can only be given an address": OnlyAnAddress,
    "Firmware that repeats for ever on anything but 200": Stubborn,
}
BY_SHELL = "Anything with a shell"
NOT_BUILT = "Cameras that only do FTP or e-mail"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: `apt-get install curl` enables this")


@dataclass(frozen=True)
class Recipe:
    """The lines of a recipe and its table; `camera` is the id of the camera whose photo it delivers."""

    lines: list[str]
    menu: dict[str, str]


def recipes() -> dict[str, Recipe]:
    """Return the recipes of the page by their headings."""
    found = {}
    for section in PAGE.read_text().partition("\n# Recipes\n")[2].split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        lines = [
            line
            for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
            for line in block.replace("\\\n", "").splitlines()
        ]
        found[heading] = Recipe(
            lines, dict(re.findall(r"^\| ([A-Z]\w+(?: \w+)?) \| `([^`]+)` \|$", text, re.MULTILINE))
        )
    return found


@pytest.fixture
def run(ingest: Ingest, token_for: TokenFor, tmp_path: Path) -> "Run":
    (tmp_path / "photo.jpg").write_bytes(photo())
    return Run(ingest, token_for(Role.ADMIN), tmp_path)


@dataclass
class Run:
    """Runs a recipe's lines one by one against a service, as a reader would, who remembers the last secret."""

    ingest: Ingest
    admin: str
    folder: Path
    secret: str = "SECRET"

    def fill(self, text: str) -> str:
        return text.replace("127.0.0.1:8001", f"127.0.0.1:{self.ingest.parts.settings.port}").replace(
            "SECRET", self.secret
        )

    def line(self, line: str) -> dict[str, str]:
        environment = {"ADMIN": self.admin, "PATH": "/usr/local/bin:/usr/bin:/bin"}
        command = ["bash", "-ec", self.fill(line)]
        done = subprocess.run(command, capture_output=True, check=True, cwd=self.folder, env=environment, timeout=60)
        answer: dict[str, str] = json.loads(done.stdout)
        self.secret = answer.get("secret", self.secret)
        return answer


def test_every_recipe_has_its_simulated_camera() -> None:
    assert set(recipes()) == {*SIMULATED, BY_SHELL, NOT_BUILT}


@needs_curl
@pytest.mark.parametrize("heading", SIMULATED)
def test_a_camera_that_is_set_up_by_its_recipe_delivers(run: Run, heading: str) -> None:
    recipe = recipes()[heading]
    made = [run.line(line) for line in recipe.lines][-1]
    menu = {name: run.fill(value) for name, value in recipe.menu.items()}
    assert set(menu) in ({"URL"}, {"URL", "User name", "Password"})
    camera = SIMULATED[heading](Menu(menu["URL"], menu.get("User name", ""), menu.get("Password", "")))
    said = camera.send(photo(7))
    receipt = json.loads(said.body)
    assert said.status == (200 if heading.endswith("but 200") else 201), said.body
    expected = "nvr-2" if isinstance(camera, HikvisionRecorder) else made["camera_id"]
    assert run.ingest.receipt(receipt["receipt"])["camera_id"] == expected
    if isinstance(camera, Hikvision):
        assert receipt["captured_at"] == "2026-11-22T09:00:00.000000Z"


@needs_curl
def test_a_shell_delivers_by_its_recipe(run: Run) -> None:
    *_, sent = [run.line(line) for line in recipes()[BY_SHELL].lines]
    assert (sent["camera_id"], sent["state"]) == ("shell1", "accepted")
