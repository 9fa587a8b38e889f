"""A recording whose shoppers are only in its videos: cam*.mp4 of one store -> body frames.

Such a folder in the nanostore's format has no ``full_targets.json``. The pictures go through a pose model and the
people tracker once per run; whoever needs the bodies again gets those that were found.

Second 0 of all videos is ``epoch`` (seconds UTC) of ``truth.json`` beside them, else the moment of the first plate
reading: recorders start together. Frames carry the times of their container. The cameras are those of the store; a
store in the nanostore's format has them in ``calibration/cameras.json``, by the recording's day.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from walkout.app.nanostore_lines import BODY_FILE
from walkout.bus.recording import RecordingMeta, RecordingWriter, read_recording
from walkout.domain.clock import NS_PER_S, to_ns
from walkout.domain.sensing import BodyFrame, CameraDetections, Frame, Gap
from walkout.errors import ModelError, RecordingError
from walkout.store.calibration import CameraModel, read_nanostore_cameras
from walkout.store.catalog import Store
from walkout.store.layout import Layout
from walkout.store.nanostore import existing
from walkout.vision.detector import Detector, open_detector
from walkout.vision.models import find_weights, read_cards
from walkout.vision.people import PeopleTracker

Say = Callable[[str], None]
"""Told in a line what goes on."""
Seen = BodyFrame | Gap

#: People found in pictures bear names of ours: the recording knows none of them.
NAMELESS = "seen-"
#: How often the progress is told, seconds of video.
_TELL_S = 5


def is_video(folder: Path) -> bool:
    """Whether the shoppers of this nanostore folder are in its videos alone."""
    return bool(video_files(folder)) and existing(folder / BODY_FILE) is None


def video_files(folder: Path) -> dict[str, Path]:
    """The videos by camera id."""
    return {path.stem.removeprefix("cam"): path for path in sorted(folder.glob("cam*.mp4"))}


class VideoBodies:
    """Everybody in the videos of ``folder``: looked at when first asked for, then remembered.

    Calibration and weights are looked for from ``home`` upwards: the recording's folder, or that of its store.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        home: Path,
        first_plate_ns: Callable[[], int | None],
        models_dir: Path | None = None,
        say: Say | None = None,
    ) -> None:
        self._folder, self._store, self._home, self._first_plate_ns = folder, store, home, first_plate_ns
        self._models_dir, self._say = models_dir, say or (lambda _: None)
        self._found: list[Seen] | None = None

    def records(self) -> list[Seen]:
        """Body frames, and gaps where a video cannot be read, in order of time. Raises what ``watch`` raises."""
        if self._found is None:
            epoch_ns = recording_epoch_ns(self._folder, self._first_plate_ns)
            day = datetime.fromtimestamp(epoch_ns / NS_PER_S, UTC).date()
            cameras = dict(self._store.cameras) or read_nanostore_cameras(self._home, day=day)
            detector = open_pose_model(self._home, self._models_dir)
            self._found = list(watch(self._folder, cameras, self._store.layout, detector, epoch_ns, self._say))
        return self._found

    def keep(self, folder: Path) -> None:
        """Write what was found where another process can take it up."""
        with RecordingWriter(folder, RecordingMeta(self._folder.name, "videos", 0)) as writer:
            for record in self.records():
                writer.write(record)


def kept_bodies(folder: Path) -> list[Seen]:
    """What ``VideoBodies.keep`` wrote."""
    return [record for record in read_recording(folder).records() if isinstance(record, BodyFrame | Gap)]


def open_pose_model(near: Path, models_dir: Path | None = None) -> Detector:
    """The first pose model whose weights lie near the recording or in the models' folders.

    One thread and float32, so that the same pictures give the same people. Raises ``ModelError``.
    """
    cards = [card for card in read_cards(models_dir).values() if card.task == "pose"]
    missing = "no model card of task 'pose'"
    for card in cards:
        try:
            find_weights(card, models_dir, near)
        except ModelError as error:
            missing = str(error)
            continue
        return open_detector(card, near=near, models_dir=models_dir, threads=1, precision="f32")
    raise ModelError(f"{near}: its shoppers are in its videos, and no pose model can be opened: {missing}")


def watch(
    folder: Path, cameras: Mapping[str, CameraModel], layout: Layout, detector: Detector, epoch_ns: int, say: Say
) -> Iterator[Seen]:
    """All videos of ``folder`` side by side, as body frames. Raises ``RecordingError`` where none has a camera."""
    videos = video_files(folder)
    for name in sorted(set(videos) - set(cameras)):
        say(f"{videos[name].name}: camera {name} has no calibration; left out")
    if absent := sorted(set(cameras) - set(videos)):
        say(f"{folder.name}: no video of camera {', '.join(absent)}")
    used = {name: cameras[name] for name in sorted(set(videos) & set(cameras))}
    if not used:
        raise RecordingError(f"{folder}: not one of its videos has a calibrated camera; name a store that has")
    yield from _watch(used, videos, layout, detector, epoch_ns, say)


def _watch(
    cameras: dict[str, CameraModel],
    videos: dict[str, Path],
    layout: Layout,
    detector: Detector,
    epoch_ns: int,
    say: Say,
) -> Iterator[Seen]:
    tracker = PeopleTracker(cameras, layout)
    streams = {name: _frames(videos[name], name, epoch_ns) for name in cameras}
    heads = {name: frame for name, stream in streams.items() if (frame := next(stream, None)) is not None}
    ends = dict.fromkeys(cameras, epoch_ns)
    told_s = 0
    while heads:
        name = min(heads, key=lambda one: (heads[one].t_ns, one))
        frame = heads.pop(name)
        seconds = (frame.t_ns - epoch_ns) // NS_PER_S
        if seconds >= told_s + _TELL_S:
            told_s = seconds
            say(f"looked at {seconds} s of {len(cameras)} videos")
        height, width = frame.image.shape[:2]
        tracker.feed(CameraDetections(name, frame.t_ns, (width, height), detector.detect([frame.image])[0]))
        yield from (_named(one) for one in tracker.advance(frame.t_ns))
        ends[name] = frame.t_ns
        following = next(streams[name], None)
        if following is not None:
            heads[name] = following
    yield from (_named(one) for one in tracker.advance(2**62))
    last_ns = max(ends.values())
    for name, end_ns in sorted(ends.items(), key=lambda pair: pair[1]):
        if last_ns - end_ns >= NS_PER_S or end_ns == epoch_ns:
            yield Gap(videos[name].name, end_ns, last_ns, "the video cannot be read on, or ends early")


def _named(frame: BodyFrame) -> BodyFrame:
    bodies = tuple(replace(body, track_id=NAMELESS + body.track_id) for body in frame.bodies)
    return BodyFrame(frame.t_ns, bodies)


def _frames(path: Path, camera_id: str, epoch_ns: int) -> Iterator[Frame]:
    """The pictures of one video in order; none where it cannot be read."""
    try:
        import cv2
    except ImportError as error:
        raise RecordingError(f"{path}: videos need OpenCV; run pip install 'walkout[vision]'") from error
    cv2.setNumThreads(1)
    video = cv2.VideoCapture(str(path))
    newest_ns = -1
    try:
        while True:
            more, image = video.read()
            if not more:
                return
            t_ns = round(video.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            if t_ns > newest_ns:
                newest_ns = t_ns
                yield Frame(camera_id, epoch_ns + t_ns, np.asarray(image, dtype=np.uint8))
    finally:
        video.release()


def recording_epoch_ns(folder: Path, first_plate_ns: Callable[[], int | None]) -> int:
    """Second 0 of the videos, ns UTC, as this module says. Raises ``RecordingError`` where nothing tells."""
    truth = folder / "truth.json"
    if truth.is_file():
        try:
            told = json.loads(truth.read_text(encoding="utf-8")).get("epoch")
        except (OSError, ValueError, AttributeError):
            told = None
        if isinstance(told, int | float) and told > 0:
            return to_ns(float(told))
    first_ns = first_plate_ns()
    if first_ns is None:
        raise RecordingError(f"{folder}: nothing tells when its videos begin: no plate reading, no epoch in truth.json")
    return first_ns
