"""The page's own rules: names and passwords, guessing, where a log-in may lead, what needs a look first."""

import ipaddress
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 200
LONGEST_NAME = 40
LANGUAGES = ("en", "es")
THEMES = ("auto", "light", "dark")


def name_key(name: str) -> str:
    """Return the form in which names are compared: two that look alike to a person are one."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())[:64]


def address_key(address: str) -> str:
    """Return what tries are counted by: an IPv4 address, or the /64 of an IPv6 one, which a household has whole."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if known.version == 6 and known.ipv4_mapped is None:
        return str(ipaddress.ip_network((known, 64), strict=False))
    return str(getattr(known, "ipv4_mapped", None) or known)


def clean_name(name: str) -> str | None:
    """Return the name as it is shown, or None if it can't be one: 1 to 40 printable characters."""
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    good = 0 < len(cleaned) <= LONGEST_NAME and cleaned.isprintable() and bool(name_key(cleaned))
    return cleaned if good else None


def good_password(password: str, name: str) -> bool:
    """Return whether the password may be chosen: 12 to 200 characters, not one repeated, not the name."""
    long_enough = SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD
    return long_enough and len(set(password)) > 3 and name_key(name) not in ("", name_key(password))


def wait_after(failures: int, free: int, longest_s: float) -> float:
    """Return how many seconds must pass after the last of `failures` wrong tries: none for the first `free`, then
    doubling from 1 s up to `longest_s`."""
    if failures < free:
        return 0.0
    return float(min(2.0 ** min(failures - free, 30), longest_s))


def safe_next(path: str) -> str:
    """Return `path` if it is one of our own addresses, else the first page: a log-in never leads elsewhere."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if plain and len(path) <= 500 else "/"


def chosen_language(cookie: str | None, accept_language: str) -> str:
    """Return the one switched to, else the browser's best that we have (RFC 9110, 12.5.4), else English."""
    if cookie in LANGUAGES:
        return cookie
    best, best_weight = "en", 0.0
    for part in accept_language[:500].split(","):
        tag, _, parameter = part.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        language = tag.strip().lower().split("-")[0]
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best


@dataclass(frozen=True, slots=True)
class Look:
    """Why a space or a camera needs a person: `grave` ones come first. `reason` is a word that the page translates."""

    reason: str
    grave: bool


@dataclass(frozen=True, slots=True)
class CameraSeen:
    """What is known of a camera: when its last frame came, or None if it never sent one."""

    camera_id: str
    space_id: str
    last_frame_at: datetime | None
    created_at: datetime | None
    receipt: str | None


def camera_fault(camera: CameraSeen, silent_after: timedelta, now: datetime) -> str | None:
    """Return `never` (no frame yet), `silent` (none for longer than `silent_after`), or None if all is well."""
    if camera.last_frame_at is None:
        return "never"
    return "silent" if now - camera.last_frame_at > silent_after else None


def looks(occupancy: str, faults: Iterable[str], cameras: int, in_service: bool) -> list[Look]:
    """Return what of a space needs a look, the gravest first; a space out of service needs none."""
    if not in_service:
        return []
    found = []
    silent = list(faults)
    if cameras and len(silent) == cameras:
        found.append(Look("no_camera_sends", grave=True))
    elif silent:
        found.append(Look("camera_silent", grave=True))
    if occupancy == "stale":
        found.append(Look("stale", grave=True))
        if cameras and not silent:
            found.append(Look("blind", grave=True))
    if occupancy == "unsure":
        found.append(Look("unsure", grave=False))
    return found


def latest(cameras: Iterable[CameraSeen]) -> CameraSeen | None:
    """Return the camera whose picture is the newest, or None if there is no picture."""
    seen = [camera for camera in cameras if camera.receipt and camera.last_frame_at]
    return max(seen, key=lambda camera: (camera.last_frame_at, camera.camera_id), default=None)


def csv_cell(value: object) -> str:
    """Return a value as text that a spreadsheet never runs as a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
