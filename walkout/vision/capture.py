"""Cameras behind one door: newest picture, when it was taken, and how each camera is.

One thread per camera reads, decodes and reconnects; whoever asks gets the newest picture that he has not had. A camera
that is away is a state of its health, never an error: the order in which cameras, network and we start does not matter.

For a replay every picture counts: ``open_camera(..., every_frame=True)`` waits for its reader instead of dropping, and
``read_frames`` walks through files without any thread.
"""

import heapq
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from walkout.domain.clock import Clock, ManualClock
from walkout.domain.sensing import Frame
from walkout.errors import CaptureError
from walkout.vision.h264 import EncodedPicture, H264Encoder
from walkout.vision.sources import (
    SOURCES,
    CaptureSettings,
    FileSource,
    LiveTiming,
    Opening,
    Picture,
    Shot,
    Source,
    scheme_of,
    shown_url,
)

log = logging.getLogger(__name__)

#: Takes each H.264 picture of a camera; called in the camera's thread, so it must not wait.
PictureSink = Callable[[str, EncodedPicture], None]


class CameraState(StrEnum):
    """What a camera is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    AWAY = "away"
    ENDED = "ended"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """One camera at one moment. ``lag_s`` is the age of its newest picture, None for a recording or before the first.

    ``basis`` says where capture times come from: the sender's clock, the arrival minus ``latency_s``, or the recording.
    ``dropped`` counts pictures that nobody asked for in time, ``connections`` how often it was reached, ``sizes`` how
    many times the size of its pictures changed. ``message`` is why it is away, without passwords.
    """

    camera_id: str
    url: str
    state: CameraState
    fps: float
    lag_s: float | None
    size_px: tuple[int, int] | None
    pictures: int
    dropped: int
    connections: int
    sizes: int
    basis: str
    latency_s: float
    sender_behind_s: float | None
    message: str


class Camera:
    """One camera and its thread. Made by ``open_camera``."""

    def __init__(
        self,
        url: str,
        camera_id: str,
        clock: Clock,
        settings: CaptureSettings,
        *,
        start_ns: int | None,
        every_frame: bool,
        loop: bool,
        on_picture: PictureSink | None,
        news: threading.Condition | None = None,
    ) -> None:
        self.camera_id = camera_id
        self.settings = settings
        self._scheme = scheme_of(url)
        self._recorded = self._scheme in {"file", "simulated"}
        self._every_frame, self._on_picture, self._clock = every_frame, on_picture, clock
        self._ended = threading.Event()
        self._timing = LiveTiming(settings)
        self._opening = Opening(
            url, clock, settings, self._timing, start_ns, not every_frame, loop, on_picture is not None, self._ended
        )
        if every_frame and not self._recorded:
            raise CaptureError(f"{shown_url(url)}: a live camera cannot wait for its reader; leave every_frame out")
        self._encoder = H264Encoder()
        self._news = news or threading.Condition()
        self._slot: tuple[int, Picture] | None = None
        self._state, self._message = CameraState.CONNECTING, ""
        self._newest_ns: int | None = None
        self._size: tuple[int, int] | None = None
        self._pictures = self._dropped = self._connections = self._sizes = 0
        self._arrivals: deque[int] = deque()
        self._thread = threading.Thread(target=self._run, name=f"camera {camera_id}", daemon=True)
        self._thread.start()

    def read(self, timeout_s: float | None = 0.0) -> Frame | None:
        """The newest picture that was not read yet, waiting at most ``timeout_s`` (None: until there is one).

        None where there is none in time, or none any more: then ``health().state`` is ended or closed.
        """
        with self._news:
            self._news.wait_for(lambda: self._slot is not None or self._over(), timeout_s)
            taken, self._slot = self._slot, None
            self._news.notify_all()
        if taken is None:
            return None
        return Frame(self.camera_id, taken[0], _image(taken[1]))

    def waiting(self) -> bool:
        """Whether ``read`` would give a picture at once."""
        return self._slot is not None

    def health(self) -> CameraHealth:
        """How it is now."""
        now_ns = self._clock.now_ns()
        with self._news:
            self._forget_arrivals(now_ns)
            window_s = self.settings.fps_window_s
            live = self._opening.start_ns is None
            lag_s = (now_ns - self._newest_ns) / 1e9 if live and self._newest_ns is not None else None
            return CameraHealth(
                camera_id=self.camera_id,
                url=shown_url(self._opening.url),
                state=self._state,
                fps=len(self._arrivals) / window_s,
                lag_s=lag_s,
                size_px=self._size,
                pictures=self._pictures,
                dropped=self._dropped,
                connections=self._connections,
                sizes=self._sizes,
                basis="recording" if self._recorded else self._timing.basis,
                latency_s=0.0 if self._recorded else self._timing.latency_s,
                sender_behind_s=self._timing.sender_behind_s,
                message=self._message,
            )

    def hang_up(self) -> None:
        """Tell the thread to end; it does within ``stall_s`` even while the network is silent."""
        self._ended.set()
        with self._news:
            self._state, self._slot = CameraState.CLOSED, None
            self._news.notify_all()

    def close(self) -> None:
        """Hang up and wait for the thread."""
        self.hang_up()
        self._thread.join(self.settings.open_timeout_s + self.settings.stall_s)

    def _over(self) -> bool:
        return self._state in {CameraState.ENDED, CameraState.CLOSED}

    def _run(self) -> None:
        """Connect, read, and after a failure wait twice as long as the time before; until hung up or at the end."""
        settings = self.settings
        wait_s = settings.retry_first_s
        while not self._ended.is_set():
            before = self._pictures
            self._become(CameraState.CONNECTING, self._message)
            try:
                self._read_until_end(SOURCES[self._scheme](self._opening))
                if self._recorded:
                    self._become(CameraState.ENDED, "")
                    return
                reason = "the camera ended the stream"
            except (av.FFmpegError, OSError, CaptureError) as error:
                reason = _reason(error, settings)
            except Exception as error:  # a worker's edge: one odd camera must not go dark without a word
                log.exception("camera %s", self.camera_id)
                reason = f"unexpected: {error!r}"
            if self._every_frame:  # a replay has no later: its reader must not wait for ever
                self._become(CameraState.ENDED, reason)
                return
            self._become(CameraState.AWAY, reason)
            wait_s = settings.retry_first_s if self._pictures > before else wait_s
            self._ended.wait(wait_s)
            wait_s = min(2 * wait_s, settings.retry_most_s)

    def _read_until_end(self, source: Source) -> None:
        try:
            self._connections += 1
            for shot in source.shots():
                if self._ended.is_set():
                    return
                self._take(shot, source.copies)
        finally:
            source.close()

    def _take(self, shot: Shot, copies: bool) -> None:
        encoded = [] if shot.encoded is None else [shot.encoded]
        if self._on_picture is not None and not copies and shot.picture is not None:
            encoded = self._encoder.encode(shot.t_ns, shot.picture)
        for picture in encoded:
            if self._on_picture is not None:
                self._on_picture(self.camera_id, picture)
        if shot.picture is not None:
            self._show(shot.t_ns, shot.picture)

    def _show(self, t_ns: int, picture: Picture) -> None:
        """Put the picture where the reader finds it."""
        with self._news:
            if self._every_frame:
                self._news.wait_for(lambda: self._slot is None or self._ended.is_set())
            if self._ended.is_set():
                return
            self._dropped += self._slot is not None
            self._slot, self._newest_ns = (t_ns, picture), t_ns
            self._pictures += 1
            size = _size(picture)
            self._sizes += self._size is not None and size != self._size
            self._size = size
            now_ns = self._clock.now_ns()
            self._arrivals.append(now_ns)
            self._forget_arrivals(now_ns)
            self._state, self._message = CameraState.LIVE, ""
            self._news.notify_all()

    def _forget_arrivals(self, now_ns: int) -> None:
        while self._arrivals and self._arrivals[0] <= now_ns - self.settings.fps_window_s * 1e9:
            self._arrivals.popleft()

    def _become(self, state: CameraState, message: str) -> None:
        with self._news:
            if self._state is not CameraState.CLOSED:
                self._state, self._message = state, message
            self._news.notify_all()


def open_camera(
    url: str,
    camera_id: str,
    clock: Clock,
    settings: CaptureSettings | None = None,
    *,
    start_ns: int | None = None,
    every_frame: bool = False,
    loop: bool = False,
    on_picture: PictureSink | None = None,
) -> Camera:
    """A camera that is being connected to from now on; returns at once, whether or not anything answers.

    ``url`` as in ``walkout.vision.sources``. ``start_ns`` is the capture time of a recording's first picture (default:
    now); ``loop`` plays it for ever; ``every_frame`` hands out each of its pictures in order, as fast as they are read.
    Raises CaptureError for an address that names no kind of camera.
    """
    return Camera(
        url,
        camera_id,
        clock,
        settings or CaptureSettings(),
        start_ns=start_ns,
        every_frame=every_frame,
        loop=loop,
        on_picture=on_picture,
    )


class CameraSet:
    """Cameras that come and go while the rest runs on."""

    def __init__(
        self, clock: Clock, settings: CaptureSettings | None = None, on_picture: PictureSink | None = None
    ) -> None:
        self._clock, self._settings, self._on_picture = clock, settings or CaptureSettings(), on_picture
        self._cameras: dict[str, Camera] = {}
        self._news = threading.Condition()

    def add(
        self,
        camera_id: str,
        url: str,
        settings: CaptureSettings | None = None,
        *,
        start_ns: int | None = None,
        loop: bool = False,
    ) -> None:
        """Connect one more, by its own settings or those of the set.

        Raises CaptureError where the name is taken or the address names no kind of camera.
        """
        if camera_id in self._cameras:
            raise CaptureError(f"camera {camera_id!r} is there already; remove it first or choose another name")
        self._cameras[camera_id] = Camera(
            url,
            camera_id,
            self._clock,
            settings or self._settings,
            start_ns=start_ns,
            every_frame=False,
            loop=loop,
            on_picture=self._on_picture,
            news=self._news,
        )

    def remove(self, camera_id: str) -> None:
        """Hang up; its thread ends by itself within ``stall_s``. Raises CaptureError where there is no such camera."""
        self._named(camera_id).hang_up()
        del self._cameras[camera_id]

    def rename(self, camera_id: str, name: str) -> None:
        """Its next pictures carry the new name; the connection stays. Raises CaptureError as ``add`` and ``remove``."""
        camera = self._named(camera_id)
        if name in self._cameras:
            raise CaptureError(f"camera {name!r} is there already; remove it first or choose another name")
        camera.camera_id = name
        self._cameras = {name if key == camera_id else key: each for key, each in self._cameras.items()}

    def read(self, timeout_s: float | None = 0.0) -> list[Frame]:
        """The newest unread picture of each camera that has one, oldest first; waits until there is at least one."""
        with self._news:
            self._news.wait_for(lambda: any(camera.waiting() for camera in self._cameras.values()), timeout_s)
        frames = [frame for camera in list(self._cameras.values()) if (frame := camera.read()) is not None]
        return sorted(frames, key=lambda frame: (frame.t_ns, frame.camera_id))

    def health(self) -> dict[str, CameraHealth]:
        """How each camera is now."""
        return {name: camera.health() for name, camera in list(self._cameras.items())}

    def close(self) -> None:
        """Hang up all, then wait for all."""
        cameras, self._cameras = list(self._cameras.values()), {}
        for camera in cameras:
            camera.hang_up()
        for camera in cameras:
            camera.close()

    def _named(self, camera_id: str) -> Camera:
        if camera_id not in self._cameras:
            raise CaptureError(f"no camera {camera_id!r}; there are {', '.join(self._cameras) or 'none'}")
        return self._cameras[camera_id]


def read_frames(videos: Mapping[str, Path], start_ns: int) -> Iterator[Frame]:
    """Every picture of several recordings that began together, in the order they were taken; no thread, no clock.

    ``videos``: camera id -> file; the first picture of each was taken at ``start_ns``. Raises CaptureError where a file
    is missing or cannot be read.
    """
    each = [_frames(path, camera_id, start_ns) for camera_id, path in sorted(videos.items())]
    yield from heapq.merge(*each, key=lambda frame: (frame.t_ns, frame.camera_id))


def _frames(path: Path, camera_id: str, start_ns: int) -> Iterator[Frame]:
    settings, clock = CaptureSettings(), ManualClock(start_ns)
    opening = Opening(
        f"file:{path}", clock, settings, LiveTiming(settings), start_ns, False, False, False, threading.Event()
    )
    try:
        source = FileSource(opening)
    except (av.FFmpegError, OSError) as error:
        raise CaptureError(f"{path}: is no video that can be read ({error}); give another file") from None
    try:
        for shot in source.shots():
            if shot.picture is not None:
                yield Frame(camera_id, shot.t_ns, _image(shot.picture))
    finally:
        source.close()


def _image(picture: Picture) -> NDArray[np.uint8]:
    if isinstance(picture, av.VideoFrame):
        return cast(NDArray[np.uint8], picture.to_ndarray(format="bgr24"))
    return picture


def _size(picture: Picture) -> tuple[int, int]:
    if isinstance(picture, av.VideoFrame):
        return picture.width, picture.height
    return picture.shape[1], picture.shape[0]


def _reason(error: Exception, settings: CaptureSettings) -> str:
    """What to tell people; FFmpeg's interrupt has only one name for every wait that became too long."""
    if isinstance(error, av.ExitError):
        return f"silent: no answer or no picture for {settings.stall_s:g} s"
    return shown_url(str(error))
