"""Multipart messages as vendors' cameras send them, and as nobody should."""

import json

BOUNDARY = "boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
MAC = "44:19:b6:0a:01:02"
"""The address of the device whose events these are."""


def part(content: bytes, *headers: str) -> bytes:
    """Return one part with its boundary before it."""
    head = "\r\n".join([f"--{BOUNDARY}", *headers, "", ""])
    return head.encode() + content + b"\r\n"


def message(*parts: bytes, end: bytes = b"--boundary--\r\n") -> bytes:
    """Return a whole message."""
    return b"".join(parts) + end


def picture(image: bytes, name: str = "detectionPicture.jpg") -> bytes:
    """Return the part that is a picture."""
    return part(
        image,
        f'Content-Disposition: form-data; name="{name}"; filename="{name}"',
        "Content-Type: image/jpeg",
        f"Content-Length: {len(image)}",
    )


def alert(mac: str = MAC, channel: int | str | None = 1, time: str | None = "2026-11-22T10:00:00+01:00") -> bytes:
    """Return the part that tells of an event, as Hikvision's cameras send it."""
    return part(
        alert_xml(mac, channel, time),
        'Content-Disposition: form-data; name="MoveDetection.xml"; filename="MoveDetection.xml"',
        "Content-Type: application/xml; charset=UTF-8",
    )


def alert_xml(mac: str, channel: int | str | None, time: str | None) -> bytes:
    """Return the XML of such an event; what is None is not in it."""
    fields = {"macAddress": mac, "channelID": channel, "dateTime": time, "eventType": "VMD", "eventState": "active"}
    inner = "".join(f"<{name}>{value}</{name}>\n" for name, value in fields.items() if value is not None)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<EventNotificationAlert version="2.0" '
        f'xmlns="http://www.hikvision.com/ver20/XMLSchema"><ipAddress>10.0.0.9</ipAddress>\n{inner}'
        "<DetectionRegionList><DetectionRegionEntry><channelID>99</channelID></DetectionRegionEntry>"
        "</DetectionRegionList></EventNotificationAlert>\n"
    ).encode()


def alert_json(mac: str, channel: int, time: str) -> bytes:
    """Return the same in JSON."""
    return json.dumps({"ipAddress": "10.0.0.9", "macAddress": mac, "channelID": channel, "dateTime": time}).encode()
