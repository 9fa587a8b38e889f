"""Where pictures come from: RTSP, a file, a USB device or a test pattern, each opened by the scheme of its address.

=====================================  =========================================================================
``rtsp://[user:pass@]host/path``       an IP camera; also ``rtsps``
``shop.mp4``, ``file:shop.mp4``        a video file, played at its own speed or, for a replay, as fast as it is read
``device:/dev/video0``                 a USB camera by Video4Linux
``simulated:640x360@10``               a moving test pattern of that size and rate
=====================================  =========================================================================

A source is opened, read and closed by one thread. It raises ``av.FFmpegError`` or ``OSError`` where the other side
fails, and ``CaptureError`` where the address itself can never work.
"""

from __future__ import annotations  # PyAV's classes are generic for the type checker only

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from walkout.domain.clock import Clock
from walkout.errors import CaptureError
from walkout.vision.h264 import AnnexB, EncodedPicture

Picture = av.VideoFrame | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """How patient we are with a camera; all in seconds.

    ``latency_s`` is the stated time from light to arrival for a camera that tells no capture time: 0.2 s is what a
    wired H.264 camera without B pictures usually takes; film a clock with yours and write down the difference.
    ``clock_error_s``: a camera that says it took a picture longer ago than this, or in the future, has a wrong clock.
    """

    latency_s: float = 0.2
    open_timeout_s: float = 5.0
    stall_s: float = 5.0
    retry_first_s: float = 0.5
    retry_most_s: float = 8.0
    clock_error_s: float = 10.0
    fps_window_s: float = 5.0
    transport: str = "tcp"


class Shot(NamedTuple):
    """What a source saw next: a decoded picture, an H.264 picture to keep, or both."""

    t_ns: int
    picture: Picture | None
    encoded: EncodedPicture | None


class Opening(NamedTuple):
    """What a source is told when it is opened.

    ``start_ns`` is the capture time of a recording's first picture, None for live ones. ``paced``: play a recording at
    its own speed. ``encoded``: hand out H.264 pictures too. ``ended`` is set when nobody listens any more.
    """

    url: str
    clock: Clock
    settings: CaptureSettings
    timing: LiveTiming
    start_ns: int | None
    paced: bool
    loop: bool
    encoded: bool
    ended: threading.Event


class Source(Protocol):
    """One open stream of pictures. ``copies``: it hands out the camera's own H.264, so nobody need encode."""

    copies: bool

    def shots(self) -> Iterator[Shot]:
        """Shots in the order of arrival until the stream ends."""
        ...

    def close(self) -> None:
        """Let go of socket, file or device."""
        ...


class LiveTiming:
    """Capture times of a live camera, from what the stream says or from the arrival.

    Where the sender tells its time (RTCP sender reports, RFC 3550 section 6.4.1) and that is believable, it is taken.
    Else the arrival minus the latency, freed of the network's jitter: the least delayed of the last pictures tells
    how far arrival and stream time lie apart. A camera that told its time once has thereby told its latency too.
    One object per camera: what it learned outlives a reconnect.
    """

    #: Seconds over which the least delayed picture is sought; two clocks drift less than 1 ms apart in it (100 ppm).
    WINDOW_S = 10.0
    #: Seconds by which a sender may be ahead of us before we call its clock wrong: NTP keeps a LAN within 0.1 s.
    AHEAD_S = 0.5
    #: A millisecond: less than any camera's frame time, enough to keep an order.
    STEP_NS = 1_000_000

    def __init__(self, settings: CaptureSettings) -> None:
        self._most_behind_ns = round(settings.clock_error_s * 1e9)
        self._latency_ns = round(settings.latency_s * 1e9)
        self._delays: deque[tuple[int, int]] = deque()
        self._shown_ns = self._decoded_ns = 0
        self.basis = "arrival"
        self.sender_behind_s: float | None = None

    @property
    def latency_s(self) -> float:
        """From light to arrival: as stated, or as the sender's clock has shown since."""
        return self._latency_ns / 1e9

    def reconnected(self) -> None:
        """A new connection counts its stream time from another zero."""
        self._delays.clear()

    def capture_ns(self, arrival_ns: int, stream_ns: int | None, sender_ns: int | None) -> int:
        """When the picture was taken, all in nanoseconds; ``stream_ns`` counts from any zero."""
        least_arrival_ns = arrival_ns
        if stream_ns is not None:
            least_arrival_ns = stream_ns + self._least_delay(arrival_ns, stream_ns)
        if sender_ns is not None:
            self.sender_behind_s = (arrival_ns - sender_ns) / 1e9
        if sender_ns is not None and self._believable(arrival_ns - sender_ns):
            self.basis, t_ns = "sender", sender_ns
            self._latency_ns = max(least_arrival_ns - sender_ns, 0)
        else:
            self.basis, t_ns = "arrival", least_arrival_ns - self._latency_ns
        return t_ns

    def runs_on(self, t_ns: int) -> bool:
        """Whether a picture of ``t_ns`` comes after all shown before.

        Where the basis changes some do not, once, for as long as the stated latency was wrong: better not shown at all
        than with a wrong time.
        """
        later = t_ns >= self._shown_ns + self.STEP_NS
        self._shown_ns = t_ns if later else self._shown_ns
        return later

    def decoded_ns(self, t_ns: int) -> int:
        """``t_ns`` in the order of decoding, held back from running backwards: no picture to keep may be left out."""
        self._decoded_ns = max(t_ns, self._decoded_ns + self.STEP_NS)
        return self._decoded_ns

    def _believable(self, behind_ns: int) -> bool:
        return -self.AHEAD_S * 1e9 <= behind_ns <= self._most_behind_ns

    def _least_delay(self, arrival_ns: int, stream_ns: int) -> int:
        """Arrival minus stream time of the least delayed picture in the window; the deque's delays increase."""
        delay = arrival_ns - stream_ns
        if self._delays and delay - self._delays[0][1] > self._most_behind_ns:
            self._delays.clear()  # the stream's own clock jumped back
        while self._delays and self._delays[-1][1] >= delay:
            self._delays.pop()
        self._delays.append((arrival_ns, delay))
        while self._delays[0][0] < arrival_ns - self.WINDOW_S * 1e9:
            self._delays.popleft()
        return self._delays[0][1]


class StreamSource:
    """A live stream that FFmpeg reads: RTSP or a device. No packet for ``stall_s`` raises, so nothing hangs."""

    def __init__(self, opening: Opening, name: str, container_format: str | None, options: dict[str, str]) -> None:
        settings = opening.settings
        self._opening = opening
        self._container = av.open(
            name, format=container_format, options=options, timeout=(settings.open_timeout_s, settings.stall_s)
        )
        if not self._container.streams.video:
            self._container.close()
            raise CaptureError(f"{shown_url(opening.url)}: has no video; give the address of the camera's picture")
        self.copies = self._container.streams.video[0].codec_context.name == "h264"
        self._stamped = False
        opening.timing.reconnected()

    def shots(self) -> Iterator[Shot]:
        """Every H.264 picture as it arrives, every decoded one as soon as the decoder lets go of it."""
        stream = self._container.streams.video[0]
        stream.codec_context.thread_count = 1
        form = AnnexB(stream) if self._opening.encoded and self.copies else None
        times: dict[int | None, int] = {}
        for packet in self._container.demux(stream):
            if not packet.size:
                continue
            t_ns = self._capture_ns(packet)
            times[packet.pts] = t_ns
            if form is not None:
                yield Shot(t_ns, None, self._encoded(form, packet, t_ns))
            for frame in _decoded(packet):
                taken_ns = times.pop(frame.pts, t_ns)
                if self._opening.timing.runs_on(taken_ns):
                    yield Shot(taken_ns, frame, None)
            while len(times) > 64:  # pictures that the decoder swallowed; H.264 reorders at most 16
                times.pop(next(iter(times)))

    def close(self) -> None:
        """Hang up."""
        self._container.close()

    def _capture_ns(self, packet: av.Packet[Any]) -> int:
        stream_ns = _ns(packet, packet.pts)
        stamp_us = _sender_us(packet)
        # FFmpeg's parser hangs the first stamp of a connection on the picture before the one it belongs to.
        sender_ns = stamp_us * 1000 if stamp_us is not None and self._stamped else None
        self._stamped = stamp_us is not None
        if sender_ns is None and self._container.format.name.startswith("video4linux2"):
            sender_ns = stream_ns  # with timestamps=abs the kernel's capture time, by our own clock
        return self._opening.timing.capture_ns(self._opening.clock.now_ns(), stream_ns, sender_ns)

    def _encoded(self, form: AnnexB, packet: av.Packet[Any], t_ns: int) -> EncodedPicture:
        early = 0
        if packet.pts is not None and packet.dts is not None:
            early = (_ns(packet, packet.pts) or 0) - (_ns(packet, packet.dts) or 0)
        decode_ns = self._opening.timing.decoded_ns(t_ns - early)
        return EncodedPicture(max(t_ns, decode_ns), decode_ns, form.of(packet), packet.is_keyframe)


class FileSource:
    """A video file. Times are the container's, counted from the start that was given."""

    copies = False

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        path = Path(opening.url.removeprefix("file:"))
        if not path.is_file():
            raise CaptureError(f"{path}: no such video file; give a file, rtsp://, device: or simulated: address")
        self._path = path
        self._container = av.open(str(path))
        self._start_ns = opening.clock.now_ns() if opening.start_ns is None else opening.start_ns

    def shots(self) -> Iterator[Shot]:
        """Every picture in the order it was taken, each round of a loop following the one before without a gap."""
        origin_ns = self._opening.clock.now_ns()
        shift_ns = 0
        while True:
            step_ns = last_ns = 0
            for into_ns, frame in _file_frames(self._container):
                step_ns, last_ns = (into_ns - last_ns) or step_ns, into_ns
                into_ns += shift_ns
                if self._opening.paced and not _sleep_until(origin_ns + into_ns, self._opening):
                    return
                yield Shot(self._start_ns + into_ns, frame, None)
            if not self._opening.loop:
                return
            shift_ns += last_ns + step_ns
            self.close()
            self._container = av.open(str(self._path))

    def close(self) -> None:
        """Close the file."""
        self._container.close()


class SimulatedSource:
    """A grey ramp that moves by one step a picture: what it shows follows from the picture's number alone."""

    copies = False

    def __init__(self, opening: Opening) -> None:
        said = re.fullmatch(r"simulated:(\d+)x(\d+)@(\d+(?:\.\d+)?)", opening.url)
        if not said or not float(said[3]):
            raise CaptureError(f"{opening.url!r}: say the size in pixels and the rate, as in simulated:640x360@10")
        self._size, self._fps = (int(said[1]), int(said[2])), float(said[3])
        self._opening = opening

    def shots(self) -> Iterator[Shot]:
        """Pictures without end."""
        origin_ns = self._opening.clock.now_ns()
        start_ns = origin_ns if self._opening.start_ns is None else self._opening.start_ns
        number = 0
        while not self._opening.ended.is_set():
            into_ns = round(number * 1e9 / self._fps)
            if self._opening.paced and not _sleep_until(origin_ns + into_ns, self._opening):
                return
            yield Shot(start_ns + into_ns, simulated_picture(self._size, number), None)
            number += 1

    def close(self) -> None:
        """Nothing to let go of."""


def simulated_picture(size_px: tuple[int, int], number: int) -> NDArray[np.uint8]:
    """Picture ``number`` of the test pattern: (height, width, 3) uint8."""
    width, height = size_px
    ramp = ((np.arange(width) + 4 * number) % 256).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (height, width, 3)))


def _rtsp(opening: Opening) -> Source:
    micros = str(round(opening.settings.stall_s * 1e6))
    options = {
        "rtsp_transport": opening.settings.transport,
        "timeout": micros,
        "allowed_media_types": "video",
        # The stream's own description says all we need; probing it takes up to a second and a half per connection.
        "analyzeduration": "1000000",
        "probesize": "32",
        "fpsprobesize": "0",
        "flags": "low_delay",
    }
    return StreamSource(opening, opening.url, None, options)


def _device(opening: Opening) -> Source:
    path = opening.url.removeprefix("device:")
    return StreamSource(opening, path, "v4l2", {"timestamps": "abs"})


#: Scheme of an address -> what opens it; a bare path is a file.
SOURCES: dict[str, Callable[[Opening], Source]] = {
    "rtsp": _rtsp,
    "rtsps": _rtsp,
    "file": FileSource,
    "device": _device,
    "simulated": SimulatedSource,
}


def scheme_of(url: str) -> str:
    """The key of ``SOURCES`` for an address. Raises CaptureError where there is none."""
    said = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", url)
    scheme = said[1].lower() if said else "file"
    if scheme not in SOURCES:
        raise CaptureError(f"{shown_url(url)}: {scheme}: is no camera we know; known are {', '.join(SOURCES)}")
    return scheme


def shown_url(text: str) -> str:
    """``text`` without the passwords of the addresses in it, for people and logs."""
    return re.sub(r"//[^/\s]*@", "//***@", text)


def _file_frames(container: av.container.InputContainer) -> Iterator[tuple[int, av.VideoFrame]]:
    """Nanoseconds since the first picture, and the picture."""
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    first: int | None = None
    for packet in container.demux(stream):
        for frame in _decoded(packet):
            if frame.pts is None or frame.time_base is None:
                continue
            first = frame.pts if first is None else first
            yield round((frame.pts - first) * frame.time_base * 1_000_000_000), frame


def _decoded(packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
    """The pictures that come out of the decoder; none where the network ate a part, the next key picture heals it."""
    try:
        return packet.decode()
    except av.InvalidDataError:
        return []


def _sender_us(packet: av.Packet[Any]) -> int | None:
    """Microseconds UTC since the epoch at the camera: FFmpeg works them out from its sender reports."""
    if not packet.has_sidedata("prft"):
        return None
    # struct AVProducerReferenceTime begins with int64 wallclock, in the byte order of this machine.
    return int(np.frombuffer(bytes(packet.get_sidedata("prft")), np.int64, 1)[0])


def _ns(packet: av.Packet[Any], ticks: int | None) -> int | None:
    return None if ticks is None else round(ticks * packet.time_base * 1_000_000_000)


def _sleep_until(t_ns: int, opening: Opening) -> bool:
    """False where nobody listens any more."""
    return not opening.ended.wait(max(t_ns - opening.clock.now_ns(), 0) / 1e9)
