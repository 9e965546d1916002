"""What may stand in the agent's file, and which keys make sense together."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ByteSize, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(max_length=64, pattern=r"^\.{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*$")]
SCHEMES = ("rtsp", "http", "https", "folder", "simulated")
SIMULATED = ("", "cat", "dog", "both", "none")
PLACE = "{password}"
"""Where in an address the password goes, of cameras that want it there."""
SECRET_WRITTEN = re.compile(r"(?i)[?&;/](?:password|passwd|pwd|pass|token|secret)=(?!\{password\})[^&;]")
LEAST_SHARE = 12 * 1024 * 1024
"""One frame of the largest size, and a little."""


class Shape(BaseModel):
    """Base of what stands in the file: no key but the known ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Replay(Shape):
    """How a folder is replayed."""

    speed: float = Field(1.0, gt=0, le=1e6)
    times: Literal["original", "now"] = "original"


class Common(Shape):
    """What may stand with one camera, or under `defaults` for all of them."""

    every_s: float = Field(10.0, ge=0.1, le=86400)
    heartbeat_s: float = Field(60.0, ge=1, le=86400)
    skip_unchanged: bool = True
    width: int = Field(1280, ge=64, le=8192)
    user: str | None = Field(None, min_length=1, max_length=128)
    password_file: str | None = None
    password_env: str | None = None
    auth: Literal["digest", "basic"] = "digest"
    ca_file: str | None = None


class CameraEntry(Common):
    """One camera as it stands in the file."""

    source: str
    secret_file: str | None = None
    secret_env: str | None = None
    hosts: tuple[str, ...] = ()
    replay: Replay | None = None
    delete: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> "CameraEntry":
        if (self.secret_file is None) == (self.secret_env is None):
            raise ValueError("give either secret_file or secret_env: the secret that ingest showed for this camera")
        if self.password_file is not None and self.password_env is not None:
            raise ValueError("give password_file or password_env, not both")
        _check_source(self)
        return self


class Spool(Shape):
    """How much may wait on the disk while ingest can't be reached."""

    bytes: ByteSize = ByteSize(2 * 10**9)


class File(Shape):
    """The whole file, without `defaults`, which are merged into the cameras before."""

    ingest: str
    ingest_ca_file: str | None = None
    spool: Spool = Spool()
    cameras: dict[Name, CameraEntry] = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _is_origin(self) -> "File":
        problem = _url_problem(self.ingest, ("http", "https"))
        if problem or urlsplit(self.ingest).path not in ("", "/") or urlsplit(self.ingest).query:
            raise ValueError(
                f"ingest {problem or 'has a path'}: write scheme, host and port, as in http://10.0.0.2:8001"
            )
        share = self.spool.bytes // len(self.cameras)
        if share < LEAST_SHARE:
            raise ValueError(
                f"spool.bytes gives each of {len(self.cameras)} cameras {share} bytes, less than the {LEAST_SHARE} "
                "that one large photo may need: raise it"
            )
        return self


def _check_source(entry: CameraEntry) -> None:
    """Raise ValueError if the source is none that the agent has, or if other keys make no sense with it."""
    scheme, colon, rest = entry.source.partition(":")
    if not colon or scheme not in SCHEMES:
        raise ValueError(f"source must begin with one of {', '.join(f'{name}:' for name in SCHEMES)}")
    if scheme == "simulated" and rest not in SIMULATED:
        raise ValueError(f"source simulated: takes {', '.join(SIMULATED[1:])} or nothing after the colon")
    if scheme == "folder" and not rest:
        raise ValueError("source folder: needs the folder's path after the colon")
    if scheme in ("rtsp", "http", "https"):
        problem = _url_problem(entry.source, (scheme,))
        if problem:
            raise ValueError(f"source {problem}")
    misplaced = dict(_misplaced(entry, scheme))
    for key, where in misplaced.items():
        raise ValueError(f"{key} is for sources of {where} only: remove it")
    if scheme not in ("rtsp", "http", "https"):
        return
    given = entry.password_file or entry.password_env
    if PLACE in entry.source and not given:
        raise ValueError(f"source has a place for a {PLACE}: give password_file or password_env")
    if given and entry.user is None and PLACE not in entry.source:
        raise ValueError("a password needs its user: add `user`")


def _misplaced(entry: CameraEntry, scheme: str) -> Iterator[tuple[str, str]]:
    # Only what nobody puts under `defaults`: those are for whoever can use them.
    if entry.replay is not None and scheme != "folder":
        yield "replay", "folder:"
    if entry.delete and scheme != "folder":
        yield "delete", "folder:"
    if entry.hosts and scheme not in ("http", "https"):
        yield "hosts", "http:// and https://"


def _url_problem(url: str, schemes: tuple[str, ...]) -> str | None:
    try:
        parts = urlsplit(url)
        if parts.scheme not in schemes or not parts.hostname or parts.port == 0:
            return f"must be {' or '.join(f'{scheme}://' for scheme in schemes)} with a host"
    except ValueError as error:
        return f"is no URL: {error}"
    if "@" in parts.netloc:
        return "must not hold a user or password: give `user`, and password_file or password_env"
    if SECRET_WRITTEN.search(url):
        return f"must not hold a password: write {PLACE} in its place, and give password_file or password_env"
    return None
