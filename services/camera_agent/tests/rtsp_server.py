"""GStreamer's RTSP server as Debian packages it, run by the system's own Python, which has its bindings.

`python3 rtsp_server.py KIND [USER PASSWORD]` listens on a free loopback port, prints it, and serves `/stream`: a moving
test picture. KIND is h264 or jpeg, small and with a key frame each half second; or 720p, as a camera's main stream is,
of 15 frames and 2 Mbit a second, with a key frame each 2 s.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 - only after its versions are chosen

SMALL = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate=10/1"
LARGE = "videotestsrc is-live=true pattern=snow ! video/x-raw,format=I420,width=1280,height=720,framerate=15/1"
FAST = "x264enc tune=zerolatency speed-preset=ultrafast"
KINDS = {
    "h264": f"{SMALL} ! {FAST} key-int-max=5 ! rtph264pay name=pay0 pt=96",
    "jpeg": f"{SMALL} ! jpegenc ! rtpjpegpay name=pay0 pt=26",
    "720p": f"{LARGE} ! {FAST} key-int-max=30 bitrate=2000 ! rtph264pay name=pay0 pt=96",
}


def main() -> None:
    """Serve until the process is ended."""
    kind, *credentials = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {KINDS[kind]} )")
    factory.set_shared(True)
    if credentials:
        _ask_for_password(server, factory, *credentials)
    server.get_mount_points().add_factory("/stream", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)  # noqa: T201 - whoever started it reads the port
    GLib.MainLoop().run()


def _ask_for_password(server, factory, user, password) -> None:  # type: ignore[no-untyped-def]  # GStreamer has no types
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken.new()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, user)
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    rights = f"{user}, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    factory.add_role_from_structure(Gst.Structure.from_string(rights)[0])


main()
