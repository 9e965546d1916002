"""Cameras that push, each as its vendor's firmware does it: what is typed into its menu, and bytes on a socket.

None of this is shared with the service: a camera has its own HTTP and its own Digest, and knows no more of Huella than
its menu says.
"""

import base64
import hashlib
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPResponse
from urllib.parse import urlsplit

PIECE = 64 * 1024


@dataclass(frozen=True)
class Menu:
    """What a person types into a camera's menu; a camera without a user sends no credentials."""

    url: str
    user: str = ""
    password: str = ""


@dataclass(frozen=True)
class Said:
    """What the service answered at last, and how many requests that took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    requests: int


class Gone(Exception):
    """The camera's connection ended before it had an answer, by its own cut or the other side's."""


@dataclass
class Firmware:
    """One camera. `cut` ends the connection after that share of the body, as a camera does that loses its power."""

    menu: Menu
    cut: float | None = None
    version = "HTTP/1.1"
    keeps_connection = True
    digest = False
    _connection: socket.socket | None = field(default=None, repr=False)

    def send(self, photo: bytes) -> Said:
        """Send one photo as this camera does, and return the last answer. Raises Gone."""
        try:
            return self._send(photo)
        except OSError as error:
            raise Gone(str(error)) from error
        finally:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def message(self, photo: bytes) -> tuple[list[str], bytes]:
        """Return the headers and the body."""
        raise NotImplementedError

    def _send(self, photo: bytes) -> Said:
        headers, body = self.message(photo)
        own = [] if self.digest or not self.menu.user else [self._basic()]
        status, answer, text = self._request([*headers, *own], body)
        if status != 401 or not self.digest:
            return Said(status, dict(answer), text, 1)
        asked = [value for name, value in answer if name.lower() == "www-authenticate"]
        credentials = self._answer(asked)
        if credentials is None:  # as firmware does that finds nothing which it understands
            return Said(status, dict(answer), text, 1)
        status, answer, text = self._request([*headers, credentials], body)
        return Said(status, dict(answer), text, 2)

    def _request(self, headers: Sequence[str], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send one request; on a kept connection that proves closed, once more on a new one, as HTTP libraries do.

        A gateway closes it after a challenge that came before the whole photo had been sent.
        """
        kept = self._connection
        try:
            return self._exchange(headers, body)
        except ConnectionError:
            if kept is None:
                raise
            kept.close()
            self._connection = None
            return self._exchange(headers, body)

    def _exchange(self, headers: Sequence[str], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        url = urlsplit(self.menu.url)
        target = url.path + (f"?{url.query}" if url.query else "")
        lines = [f"POST {target} {self.version}", f"Host: {url.netloc}", *headers, f"Content-Length: {len(body)}"]
        if self.version == "HTTP/1.1" and not self.keeps_connection:
            lines.append("Connection: close")
        if self._connection is None:
            self._connection = socket.create_connection((url.hostname or "", url.port or 80), timeout=30)
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode())
        whole = len(body) if self.cut is None else int(len(body) * self.cut)
        for start in range(0, whole, PIECE):
            self._connection.sendall(body[start : min(start + PIECE, whole)])
        if self.cut is not None:
            raise Gone("cut off by its own power")
        answer = HTTPResponse(self._connection, method="POST")
        answer.begin()
        text = answer.read()
        if not self.keeps_connection or self.version == "HTTP/1.0":
            self._connection.close()
            self._connection = None
        return answer.status, answer.getheaders(), text

    def _basic(self) -> str:
        return "Authorization: Basic " + base64.b64encode(f"{self.menu.user}:{self.menu.password}".encode()).decode()

    def _answer(self, asked: Sequence[str]) -> str | None:
        """Return the answer to the first challenge that MD5 can meet, as firmware reads them."""
        for challenge in asked:
            given = {
                name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', challenge)
            }
            if challenge.startswith("Digest ") and given.get("algorithm", "MD5") == "MD5":
                return self._md5(given["realm"], given["nonce"])
        return None

    def _md5(self, realm: str, nonce: str) -> str:
        url = urlsplit(self.menu.url)
        uri, cnonce = url.path + (f"?{url.query}" if url.query else ""), secrets.token_hex(8)
        user = _md5(f"{self.menu.user}:{realm}:{self.menu.password}")
        response = _md5(f"{user}:{nonce}:00000001:{cnonce}:auth:{_md5(f'POST:{uri}')}")
        return (
            f'Authorization: Digest username="{self.menu.user}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
            f'qop=auth, nc=00000001, cnonce="{cnonce}", response="{response}", algorithm=MD5'
        )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


class Axis(Firmware):
    """An Axis camera with a recipient of the kind HTTP and the action "send images": the image alone, by Digest."""

    digest = True

    def message(self, photo: bytes) -> tuple[list[str], bytes]:
        name = 'Content-Disposition: attachment; filename="image26-11-22_10-00-00-00.jpg"'
        return ["User-Agent: Axis", "Content-Type: image/jpeg", name], photo


class AxisOverBasic(Axis):
    """The same, told to use Basic; it closes its connection each time."""

    digest = False
    keeps_connection = False


class Hikvision(Firmware):
    """A Hikvision camera with an alarm server: the event in XML and the picture, parted by the word "boundary"."""

    mac = "44:19:b6:0a:01:02"
    channel = 1
    time = "2026-11-22T10:00:00+01:00"

    def message(self, photo: bytes) -> tuple[list[str], bytes]:
        event = (
            '<?xml version="1.0" encoding="UTF-8"?>\r\n<EventNotificationAlert version="2.0" '
            'xmlns="http://www.hikvision.com/ver20/XMLSchema">\r\n<ipAddress>192.168.1.64</ipAddress>\r\n'
            f"<portNo>80</portNo>\r\n<protocol>HTTP</protocol>\r\n<macAddress>{self.mac}</macAddress>\r\n"
            f"<channelID>{self.channel}</channelID>\r\n<dateTime>{self.time}</dateTime>\r\n"
            "<activePostCount>1</activePostCount>\r\n<eventType>VMD</eventType>\r\n<eventState>active</eventState>\r\n"
            "<eventDescription>Motion alarm</eventDescription>\r\n</EventNotificationAlert>\r\n"
        ).encode()
        parts = [("MoveDetection.xml", "application/xml", event), ("MoveDetection.jpg", "image/jpeg", photo)]
        body = b"".join(
            f'--boundary\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + content
            + b"\r\n"
            for name, kind, content in parts
        )
        return ["Content-Type: multipart/form-data; boundary=boundary"], body + b"--boundary--\r\n"


class HikvisionRecorder(Hikvision):
    """A recorder that sends what the camera on its second channel sees."""

    channel = 2


class Dahua(Firmware):
    """A Dahua or Amcrest camera: a text of what happened and the snapshot, by Digest, over one connection."""

    digest = True

    def message(self, photo: bytes) -> tuple[list[str], bytes]:
        text = b"Events[0].Code=VideoMotion\r\nEvents[0].Index=0\r\nEvents[0].Action=Start\r\n"
        body = (
            b"--myboundary\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(text), text)
            + b"--myboundary\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(photo), photo)
            + b"--myboundary--\r\n"
        )
        return ["Content-Type: multipart/x-mixed; boundary=myboundary"], body


class Esp32(Firmware):
    """An ESP32-CAM sketch: HTTP/1.0, the picture alone, and a header of a form where no form is."""

    version = "HTTP/1.0"

    def message(self, photo: bytes) -> tuple[list[str], bytes]:
        return ["Content-Type: image/jpeg", 'Content-Disposition: form-data; name="image"; filename="esp32.jpg"'], photo


class Esp32WithDigest(Esp32):
    """A sketch with an HTTP library that does Digest, still over HTTP/1.0."""

    digest = True


class OnlyAnAddress(Hikvision):
    """Firmware that has no field for a user or a password."""


class Stubborn(Hikvision):
    """Firmware that repeats a photo on anything but 200."""

    def send(self, photo: bytes) -> Said:
        """Send until the answer is 200, at most ten times."""
        requests = 0
        while True:
            said = super().send(photo)
            requests += 1
            if said.status == 200 or requests == 10:
                break
        return Said(said.status, said.headers, said.body, requests)
