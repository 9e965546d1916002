"""What a vendor's event message says of the photo beside it: Hikvision's `EventNotificationAlert`, in XML or JSON.

Messages come from strangers: of XML only the elements are read, with expat and without a document type, so there are
no entities to expand and nothing to fetch.
"""

import json
import re
from dataclasses import dataclass
from xml.parsers import expat

CHANNELS = ("channelID", "dynChannelID")  # a recorder may tell the second alone, of a camera that it has by network
FIELDS = ("macAddress", *CHANNELS, "dateTime")
MAC = re.compile(r"[0-9A-Fa-f]{12}", re.ASCII)
HIGHEST_CHANNEL = 99999


class Refused(ValueError):
    """The message can be parsed, and is not read all the same."""


def _twice(name: str) -> Refused:
    return Refused(f"tells {name} twice")


@dataclass(frozen=True)
class Event:
    """The device that took the photo, which of its channels, and when by its clock; each as far as it was told."""

    mac: str | None = None
    channel: int | None = None
    time: str | None = None


def parse_mac(text: str) -> str:
    """Return a MAC address as `aa:bb:cc:dd:ee:ff`, however its pairs are parted. Raises ValueError."""
    digits = re.sub(r"[:.-]", "", text.strip())
    if not MAC.fullmatch(digits):
        raise ValueError("is not a MAC address, such as 44:19:b6:0a:01:02")
    return ":".join(digits[start : start + 2] for start in range(0, 12, 2)).lower()


def read_event(message: bytes) -> Event:
    """Return what the message says. Raises ValueError if it is neither such XML nor JSON, or tells a field twice.

    Channels that contradict each other, or of which one is no number, are no channel.
    """
    text = message.removeprefix(b"\xef\xbb\xbf").strip()
    found = _read_json(text) if text.startswith(b"{") else _read_xml(text)
    channels = {_channel(found[name]) for name in CHANNELS if found.get(name)}
    return Event(
        mac=parse_mac(found["macAddress"]) if found.get("macAddress") else None,
        channel=channels.pop() if len(channels) == 1 else None,
        time=found.get("dateTime"),
    )


def _channel(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(HIGHEST_CHANNEL)) else None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    read = dict(pairs)
    for name in FIELDS:
        if name in read and sum(name == other for other, _ in pairs) > 1:
            raise _twice(name)
    return read


def _read_json(text: bytes) -> dict[str, str]:
    try:
        message = json.loads(text, object_pairs_hook=_once)
    except Refused:
        raise
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:
        raise ValueError("is broken JSON") from None
    alert = message.get("EventNotificationAlert", message)
    if not isinstance(alert, dict):
        raise ValueError("is not an event message")
    return {name: str(alert[name]).strip() for name in FIELDS if isinstance(alert.get(name), str | int)}


def _read_xml(text: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    path: list[str] = []

    def start(name: str, _: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        path.append(name)
        if len(path) == 2 and name in FIELDS:
            if name in found:
                raise _twice(name)
            found[name] = ""

    def end(_: str) -> None:
        path.pop()

    def data(words: str) -> None:
        if len(path) == 2 and path[1] in FIELDS:
            found[path[1]] += words

    def refuse(*_: object) -> None:
        raise Refused("has a document type, which no camera needs")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ValueError(f"is broken XML: {expat.errors.messages[error.code]}") from None
    except Refused:
        raise
    except (LookupError, ValueError):  # the codec that the XML names is none, not for text, or of several bytes
        raise ValueError("is in an encoding that is not read here; UTF-8 is") from None
    return {name: words.strip() for name, words in found.items()}
