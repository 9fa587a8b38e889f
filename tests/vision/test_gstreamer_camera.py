"""The same cameras against the RTSP server of GStreamer, where this machine has it.

Debian: gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good, gstreamer1.0-plugins-bad, python3-gi.
"""

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from walkout.domain.clock import SystemClock
from walkout.vision.capture import CameraState, open_camera
from walkout.vision.clips import ClipRecorder, ClipSettings, read_clip
from walkout.vision.h264 import H264Encoder, Track, mp4_bytes
from walkout.vision.sources import CaptureSettings

sys.path.insert(0, str(Path(__file__).parent))
from rtsp_server import number_on, numbered

FPS = 20
SERVER = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
if not all(Gst.ElementFactory.find(name) for name in ("rtph264pay", "h264parse", "qtdemux")):
    sys.exit(1)
if len(sys.argv) == 1:
    sys.exit(0)
server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
server.set_address("127.0.0.1"); server.set_service(sys.argv[2])
source = f"filesrc location={sys.argv[1]} ! qtdemux ! h264parse"
factory.set_launch(f"( {source} ! rtph264pay config-interval=-1 name=pay0 )")
factory.set_shared(False)
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


@cache
def python_with_gstreamer() -> str | None:
    """The system's own interpreter sees the bindings that Debian installs; a virtual environment's does not."""
    for python in ("/usr/bin/python3", sys.executable):
        if (
            Path(python).exists()
            and not subprocess.run([python, "-c", SERVER], capture_output=True, check=False).returncode
        ):
            return python
    return None


class GstServer:
    """A process that serves a video file by RTSP, from its beginning to each who asks."""

    def __init__(self, video: Path) -> None:
        self._video, self._port = video, "0"
        self.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._port}/cam"

    def start(self) -> None:
        command = [str(python_with_gstreamer()), "-c", SERVER, str(self._video), self._port]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        self._port = self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GstServer]:
    if python_with_gstreamer() is None:
        pytest.skip("GStreamer's RTSP server is not installed")
    encoder = H264Encoder(FPS)
    pictures = [p for n in range(60 * FPS) for p in encoder.encode(n * 50_000_000, numbered(n % 256, (160, 96)))]
    video = tmp_path / "shown.mp4"
    video.write_bytes(mp4_bytes([Track("shown", tuple(pictures))], 0, ""))
    running = GstServer(video)
    yield running
    running.kill()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_pictures_arrive_with_the_servers_times_and_come_back_after_a_kill(
    server: GstServer, transport: str, tmp_path: Path
) -> None:
    recorder = ClipRecorder(tmp_path / "footage", ClipSettings(segment_s=1.0, keep_free_bytes=0))
    settings = CaptureSettings(stall_s=2.0, retry_most_s=1.0, transport=transport)
    began_ns = time.time_ns()
    camera = open_camera(server.url, "cam1", SystemClock(), settings, on_picture=recorder.put)
    try:
        frames = []
        while camera.health().basis != "sender" or len(frames) < 3 * FPS:
            frame = camera.read(30.0)
            assert frame is not None
            if camera.health().basis == "sender":
                frames.append(frame)
        numbers = [(frame.t_ns, number_on(frame.image)) for frame in frames]
        steps = [(t2 - t1, (n2 - n1) % 256) for (t1, n1), (t2, n2) in itertools.pairwise(numbers)]
        # Every step of the picture's number is one frame time of the server's clock, to the 90 kHz of the stream.
        assert max(abs(step_ns - 50_000_000 * number) for step_ns, number in steps) < 1_000_000
        assert abs(frames[-1].t_ns - time.time_ns()) < 3_000_000_000
        connections = camera.health().connections
        server.kill()
        while camera.health().state is CameraState.LIVE:
            camera.read(0.1)
        server.start()
        assert camera.read(30.0) is not None
        assert camera.health().connections > connections
    finally:
        camera.close()
        recorder.close()
    clip = recorder.clip(began_ns, time.time_ns(), ["cam1"])
    kept = {frame.t_ns: number_on(frame.image) for frame in read_clip(clip)}
    assert {kept.get(frame.t_ns // 1000 * 1000) == number_on(frame.image) for frame in frames} == {True}
