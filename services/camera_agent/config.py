"""The agent's one file: which cameras there are, where their photos come from, and where they go.

`load` reads it whole or says everything that is wrong with it, each with its line. Secrets never stand in it: it names
a file or a variable of the environment that holds them.
"""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from services.camera_agent import yaml_lines
from services.camera_agent.entries import PLACE, CameraEntry, Common, File, Replay, Shape, Spool

S = TypeVar("S", bound=Shape)


class ConfigError(Exception):
    """The file can't be used; each of `problems` says where, what, and what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Camera:
    """One camera, ready to be worked with; secrets are left out of its text form."""

    camera_id: str
    entry: CameraEntry
    secret: str = field(repr=False)
    password: str | None = field(repr=False, default=None)
    ca_file: Path | None = None
    folder: Path | None = None

    @property
    def address(self) -> str:
        """The source with the password in its place, if it has one; for no log and no error."""
        return self.entry.source.replace(PLACE, quote(self.password or "", safe=""))


@dataclass(frozen=True)
class Config:
    """The whole file, checked, with the secrets that it names."""

    ingest: str
    ingest_ca_file: Path | None
    share_bytes: int
    cameras: tuple[Camera, ...]


def load(path: Path, environment: Mapping[str, str]) -> Config:
    """Return what the file says, relative paths taken from its own folder. Raises ConfigError with all its problems."""
    try:
        content, lines = yaml_lines.read(path)
    except OSError as error:
        raise ConfigError([f"{path} can't be read: {error.strerror}. Name the agent's YAML file."]) from None
    except yaml_lines.YamlError as error:
        raise ConfigError([f"{path}:{error.line}: {error}"]) from None
    if not isinstance(content, dict):
        raise ConfigError(
            [f"{path}:1: must have the keys `ingest` and `cameras`; services/camera_agent has an example"]
        )
    problems = _Problems(path, lines)
    defaults = content.pop("defaults", None) or {}
    problems.check(Common, defaults, ("defaults",))
    file = problems.check(File, _with_defaults(content, defaults), ())
    if problems.found or file is None:
        raise ConfigError(problems.by_line())
    cameras = [_open(problems, environment, camera_id, entry) for camera_id, entry in file.cameras.items()]
    ca_file = problems.certificate(("ingest_ca_file",), file.ingest_ca_file)
    if problems.found:
        raise ConfigError(problems.by_line())
    return Config(file.ingest.rstrip("/"), ca_file, file.spool.bytes // len(cameras), tuple(cameras))


def _with_defaults(content: dict[str, Any], defaults: Any) -> dict[str, Any]:
    cameras = content.get("cameras")
    if not isinstance(cameras, dict) or not isinstance(defaults, dict):
        return content
    known = {key: value for key, value in defaults.items() if key in Common.model_fields}
    merged = {name: {**known, **entry} if isinstance(entry, dict) else entry for name, entry in cameras.items()}
    return {**content, "cameras": merged}


class _Problems:
    """Gathers what is wrong with a file, and where."""

    def __init__(self, path: Path, lines: dict[yaml_lines.Place, int]) -> None:
        self.path = path
        self.found: dict[str, int] = {}
        self._lines = lines

    def add(self, place: yaml_lines.Place, message: str) -> None:
        key, _, rest = message.partition(" ")
        if (*place, *key.split(".")) in self._lines:  # a rule over several keys begins with the one to look at
            place, message = (*place, *key.split(".")), rest
        at = next(self._lines[place[:end]] for end in range(len(place), -1, -1) if place[:end] in self._lines)
        name = ".".join(str(part) for part in place)
        self.found.setdefault(f"{self.path}:{at}: {name}{': ' if name else ''}{message}", at)

    def by_line(self) -> list[str]:
        return sorted(self.found, key=lambda text: self.found[text])

    def check(self, shape: type[S], content: Any, place: yaml_lines.Place) -> S | None:
        try:
            # As JSON, where "strict" still lets a mapping be an object and a list a tuple; dates become text.
            return shape.model_validate_json(json.dumps(content, default=str))
        except ValidationError as error:
            for found in error.errors(include_url=False, include_input=False):
                at = (*place, *(part for part in found["loc"] if part != "[key]"))
                # What is wrong with a default is said of `defaults`, not of each camera that takes it.
                if not (len(at) == 3 and at not in self._lines and found["type"] not in ("missing", "extra_forbidden")):
                    self.add(at, _explain(shape, found["type"], found["msg"], at))
        return None

    def certificate(self, place: yaml_lines.Place, name: str | None) -> Path | None:
        """Return the file that stands at `place`, or None if it names none; adds a problem if it is no certificate."""
        if name is None:
            return None
        path = self.path.parent / name
        try:
            ssl.create_default_context(cafile=path)
        except OSError as error:  # which ssl.SSLError is one of
            self.add(place, f"{path} is no certificate that can be read ({type(error).__name__}): give a PEM file")
        return path

    def secret(
        self, place: yaml_lines.Place, name: str | None, variable: str | None, at: Mapping[str, str]
    ) -> str | None:
        """Return the secret in the file `<place>_file` or the variable `<place>_env`; None if neither is given."""
        key = str(place[-1])
        where = (*place[:-1], f"{key}_env" if variable else f"{key}_file")
        if name is None and variable is None:
            return None
        try:
            value = at[variable] if variable else (self.path.parent / str(name)).read_text().strip()
        except KeyError:
            self.add(where, f"the environment has no {variable}: set it before the agent starts")
            return None
        except (OSError, UnicodeDecodeError) as error:
            self.add(
                where, f"{self.path.parent / str(name)} can't be read ({type(error).__name__}): put the {key} there"
            )
            return None
        if not value or not value.isprintable():
            self.add(where, f"the {key} there is empty or has characters that nobody can type")
        return value


def _explain(shape: type[BaseModel], kind: str, message: str, place: yaml_lines.Place) -> str:
    if kind == "extra_forbidden":
        if place[-1] in ("secret", "password"):
            return f"secrets don't stand in this file: give {place[-1]}_file or {place[-1]}_env"
        shapes = {0: File, 1: File, 2: Spool if place[0] == "spool" else Common, 3: CameraEntry, 4: Replay}
        return f"is no key that is known here; known are {', '.join(shapes.get(len(place), shape).model_fields)}"
    if kind == "missing":
        return "is missing"
    if kind in ("string_pattern_mismatch", "string_too_long"):
        return "a camera's id has 1 to 64 of A-Z a-z 0-9 . _ -, and not dots alone"
    return message.removeprefix("Value error, ")


def _open(problems: _Problems, environment: Mapping[str, str], camera_id: str, entry: CameraEntry) -> Camera:
    at = ("cameras", camera_id)
    folder = None
    if entry.source.startswith("folder:"):
        folder = problems.path.parent / entry.source.removeprefix("folder:")
        if not folder.is_dir():
            problems.add((*at, "source"), f"there is no folder {folder}")
    return Camera(
        camera_id,
        entry,
        secret=problems.secret((*at, "secret"), entry.secret_file, entry.secret_env, environment) or "",
        password=problems.secret((*at, "password"), entry.password_file, entry.password_env, environment),
        ca_file=problems.certificate((*at, "ca_file"), entry.ca_file),
        folder=folder,
    )
