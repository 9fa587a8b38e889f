"""H.264 outside of a decoder: one encoded picture, an encoder for cameras that send none, MP4 in and out.

An encoded picture is an access unit with start codes (ISO/IEC 14496-10 Annex B); a key picture always begins with its
parameter sets, so any run of pictures that starts at one can be decoded and written to a file by itself.
"""

from __future__ import annotations  # PyAV's classes are generic for the type checker only

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

MICROSECOND = Fraction(1, 1_000_000)
#: Kinds of NAL unit (ISO/IEC 14496-10 table 7-1) that hold what a decoder must know before the first picture.
PARAMETER_SETS = {7, 8}
START_CODE = b"\x00\x00\x01"
#: Seconds between the key pictures of our own encoder: a clip begins at one, so it begins at most this much early.
KEY_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One compressed picture, taken at ``t_ns`` (UTC, capture).

    ``decode_ns`` orders pictures for the decoder; it differs from ``t_ns`` only where pictures refer to later ones.
    """

    t_ns: int
    decode_ns: int
    data: bytes
    key: bool


@dataclass(frozen=True, slots=True)
class Track:
    """Pictures of one camera with one set of parameters, in decoding order; the first is a key picture."""

    camera_id: str
    pictures: tuple[EncodedPicture, ...]


def units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and bytes (without start code) of each NAL unit."""
    at = data.find(START_CODE)
    while at >= 0:
        begin = at + len(START_CODE)
        at = data.find(START_CODE, begin)
        unit = data[begin : at if at >= 0 else len(data)].rstrip(b"\x00")
        if unit:
            yield unit[0] & 31, unit


def parameter_sets(data: bytes) -> bytes:
    """The parameter sets in ``data`` with start codes; empty where it holds none."""
    return b"".join(b"\x00" + START_CODE + unit for kind, unit in units(data) if kind in PARAMETER_SETS)


class AnnexB:
    """Gives the packets of one H.264 stream the form of ``EncodedPicture``, whatever container they come from."""

    def __init__(self, stream: av.VideoStream) -> None:
        extra = stream.codec_context.extradata or b""
        length_prefixed = extra[:1] == b"\x01"
        self._filter = av.BitStreamFilterContext("h264_mp4toannexb", stream) if length_prefixed else None
        self._sets = b"" if length_prefixed else parameter_sets(extra)

    def of(self, packet: av.Packet[Any]) -> bytes:
        """The picture's bytes; the packet itself is left as it is."""
        data = bytes(packet)
        if self._filter is not None:
            twin: av.Packet[Any] = av.Packet(data)
            twin.pts, twin.dts, twin.time_base = packet.pts, packet.dts, packet.time_base
            twin.is_keyframe = packet.is_keyframe
            data = b"".join(bytes(part) for part in self._filter.filter(twin))
        if packet.is_keyframe:
            found = parameter_sets(data)
            self._sets = found or self._sets
            data = data if found else self._sets + data
        return data


class H264Encoder:
    """Encodes the pictures of a camera that sends no H.264; opens a new encoder where their size changes.

    libx264 "ultrafast" without look-ahead: each picture comes out at once, at 2-3 times the bytes of the default.
    """

    def __init__(self, fps: float = 10.0, quality: int = 26, key_every_s: float = KEY_EVERY_S) -> None:
        self._fps, self._quality, self._key_every_ns = fps, quality, round(key_every_s * 1e9)
        self._context: av.VideoCodecContext | None = None
        self._size = (0, 0)
        self._key_ns = 0

    def encode(self, t_ns: int, picture: av.VideoFrame | NDArray[np.uint8]) -> list[EncodedPicture]:
        """``picture`` is a decoded frame or (height, width, 3) uint8 BGR with even sides."""
        if not isinstance(picture, av.VideoFrame):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
        size = (picture.width - picture.width % 2, picture.height - picture.height % 2)
        if self._context is None or size != self._size:
            self._context, self._size = self._open(size), size
            self._key_ns = t_ns - self._key_every_ns
        frame = picture.reformat(width=size[0], height=size[1], format="yuv420p")
        frame.pts, frame.time_base = t_ns // 1000, MICROSECOND
        key = t_ns - self._key_ns >= self._key_every_ns
        frame.pict_type = PictureType.I if key else PictureType.NONE
        self._key_ns = t_ns if key else self._key_ns
        return [self._picture(packet) for packet in self._context.encode(frame)]

    def _open(self, size: tuple[int, int]) -> av.VideoCodecContext:
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height = size
        context.pix_fmt = "yuv420p"
        context.time_base = MICROSECOND
        context.framerate = Fraction(self._fps).limit_denominator(1000)
        context.thread_count = 1
        context.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "crf": str(self._quality),
            "forced-idr": "1",
            "x264-params": "annexb=1:repeat-headers=1:keyint=infinite:scenecut=0",
        }
        return context

    def _picture(self, packet: av.Packet[Any]) -> EncodedPicture:
        t_ns = (packet.pts or 0) * 1000
        return EncodedPicture(t_ns, t_ns, bytes(packet), packet.is_keyframe)


def mp4_bytes(tracks: Sequence[Track], start_ns: int, comment: str) -> bytes:
    """An MP4 of already encoded pictures; a frame's time in it is its capture time minus ``start_ns``, in microseconds.
    ``start_ns`` is not after any capture time; a decoding time may lie before it.

    Copies, so it costs next to nothing. Made in memory, so that a full disk shows where the bytes are written.
    """
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options={"video_track_timescale": "1000000"}) as container:
        container.metadata["comment"] = comment
        streams = [_add_stream(container, track) for track in tracks]
        container.start_encoding()
        queue = [(p.decode_ns, n, p) for n, track in enumerate(tracks) for p in track.pictures]
        last = [-(2**62)] * len(tracks)
        for decode_ns, n, picture in sorted(queue, key=lambda item: item[:2]):
            packet: av.Packet[Any] = av.Packet(picture.data)
            packet.stream, packet.time_base, packet.is_keyframe = streams[n], MICROSECOND, picture.key
            packet.dts = last[n] = max((decode_ns - start_ns) // 1000, last[n] + 1)
            packet.pts = max((picture.t_ns - start_ns) // 1000, packet.dts)
            container.mux_one(packet)
    return out.getvalue()


def _add_stream(container: av.container.OutputContainer, track: Track) -> av.VideoStream:
    # Only a demuxer fills in size, profile and parameter sets for us: let it look at the first key picture.
    with av.open(io.BytesIO(track.pictures[0].data), format="h264") as probe:
        stream = container.add_stream_from_template(probe.streams.video[0])
    stream.time_base = MICROSECOND
    stream.metadata["handler_name"] = track.camera_id
    return stream


def read_mp4(path: Path, start_ns: int) -> tuple[EncodedPicture, ...]:
    """The pictures of the first track in decoding order, timed from ``start_ns``. Raises OSError, av.FFmpegError."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        form = AnnexB(stream)
        pictures = []
        for packet in container.demux(stream):
            if packet.pts is None or packet.dts is None or not packet.size:
                continue
            t_ns, decode_ns = (start_ns + _ns(at, packet.time_base) for at in (packet.pts, packet.dts))
            pictures.append(EncodedPicture(t_ns, decode_ns, form.of(packet), packet.is_keyframe))
    return tuple(pictures)


def decode(track: Track) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Capture time and (height, width, 3) uint8 BGR of each picture of a track, in the order they were taken."""
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    for picture in [*track.pictures, None]:
        packet: av.Packet[Any] | None = None
        if picture is not None:
            packet = av.Packet(picture.data)
            packet.pts, packet.dts, packet.time_base = picture.t_ns // 1000, picture.decode_ns // 1000, MICROSECOND
        for frame in context.decode(packet):
            yield (frame.pts or 0) * 1000, cast(NDArray[np.uint8], frame.to_ndarray(format="bgr24"))


def _ns(ticks: int, time_base: Fraction) -> int:
    """Ticks of ``time_base`` seconds as nanoseconds, exactly rounded."""
    return round(ticks * time_base * 1_000_000_000)
