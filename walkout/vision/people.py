"""Detections of any number of cameras in, everybody on the floor out.

Cameras need no common clock tick: frames within 50 ms are one moment, fused before they reach a track; a camera that
is between the others makes a moment of its own. One ``BodyFrame`` is told per moment, at the newest capture time in
it, so people come at the rate of the cameras. Nothing here reads a clock: the same detections give the same people.
"""

from collections.abc import Mapping

import numpy as np

from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import Body, BodyFrame, CameraDetections, FloorPosition, Joint
from walkout.store.calibration import CameraModel
from walkout.store.layout import Layout
from walkout.vision.floor import Coverage, Floor, Lifted, lift
from walkout.vision.hands import Found, Goods, skeleton
from walkout.vision.tracker import Key, Track, TrackerSettings, World, step, told

#: Only these are people.
_PERSON = "person"
#: Two frames of one camera in which nobody moved by more than this are one frame repeated: a detector's own jitter on
#: a body that stands still is larger in 199 of 200 frames.
_FROZEN_PX = 0.3
#: So many repeats in a row make a camera frozen; what it then shows is the past.
_FROZEN_FRAMES = 3
#: A camera that was silent for this long covers nothing.
_SILENT_S = 1.0


class PeopleTracker:
    """Who is where, fed by ``feed`` in any order of cameras, told by ``advance``."""

    def __init__(
        self, cameras: Mapping[str, CameraModel], layout: Layout, settings: TrackerSettings | None = None
    ) -> None:
        self.settings = settings or TrackerSettings()
        self._cameras = dict(sorted(cameras.items()))
        self._floor, self._goods = Floor(layout), Goods(layout)
        self._waiting: list[CameraDetections] = []
        self._worlds: list[World] = [World()]
        self._names: dict[Key, str] = {}
        self._first_ns: int | None = None
        self._done_ns = -(2**62)
        self._newest: dict[str, CameraDetections] = {}
        self._repeats: dict[str, int] = {}
        self._coverages: dict[tuple[str, ...], Coverage] = {}
        #: Frames that came after their moment had been told, or of cameras without a calibration.
        self.left_out = 0

    def feed(self, seen: CameraDetections) -> None:
        """Take what one camera saw; frames of each camera in their order of time."""
        if seen.camera_id not in self._cameras or seen.t_ns <= self._done_ns:
            self.left_out += 1
            return
        self._waiting.append(seen)

    def advance(self, t_ns: int) -> list[BodyFrame]:
        """Everybody at each moment that is over by ``t_ns``: all frames up to then must have been fed.

        How the calls are cut changes nothing.
        """
        moment_ns = round(self.settings.moment_s * NS_PER_S)
        self._waiting.sort(key=lambda one: (one.t_ns, one.camera_id))
        frames = []
        while self._waiting and self._waiting[0].t_ns + moment_ns <= t_ns:
            moment = self._next_moment(moment_ns)
            frames.append(self._see(moment))
        return frames

    def _next_moment(self, moment_ns: int) -> list[CameraDetections]:
        begin_ns = self._waiting[0].t_ns
        moment: dict[str, CameraDetections] = {}
        rest = []
        for one in self._waiting:
            if one.t_ns < begin_ns + moment_ns and one.camera_id not in moment:
                moment[one.camera_id] = one
            else:
                rest.append(one)
        self._waiting = rest
        return [moment[name] for name in sorted(moment)]

    def _see(self, moment: list[CameraDetections]) -> BodyFrame:
        t_ns = max(one.t_ns for one in moment)
        self._done_ns = max(self._done_ns, min(one.t_ns for one in moment))
        self._first_ns = t_ns if self._first_ns is None else self._first_ns
        looks = [self._looks(one) for one in moment]
        views = [() if self._is_frozen(one) else self._lifted(one) for one in moment]
        self._newest.update((one.camera_id, one) for one in moment)
        self._worlds = step(
            self._worlds, views, t_ns, looks, self._first_ns, self._floor, self._coverage(t_ns), self.settings
        )
        tracks = [track for track in self._worlds[0].tracks if told(track, t_ns, self._floor, self.settings)]
        return BodyFrame(t_ns, tuple(self._body(track) for track in tracks))

    def _lifted(self, seen: CameraDetections) -> tuple[Lifted, ...]:
        """The detections that can be people on the floor; what is mirrored or outside is not there."""
        camera = self._cameras[seen.camera_id]
        if camera.size_px != seen.size_px:
            camera = self._cameras[seen.camera_id] = camera.scaled(seen.size_px)
        found = []
        for index, detection in enumerate(seen.detections):
            one = lift(camera, seen.t_ns, index, detection) if detection.label == _PERSON else None
            if one is not None:
                place, covariance, _ = one.place()
                if self._floor.out_of_reach(place, covariance) <= self.settings.gate2:
                    found.append(one)
        return tuple(found)

    def _looks(self, seen: CameraDetections) -> float:
        """How many frames of this camera, at its present rate, are one independent look."""
        before = self._newest.get(seen.camera_id)
        if before is None:
            return 1.0
        return max(1.0, self.settings.correlation_s * NS_PER_S / max(1, seen.t_ns - before.t_ns))

    def _is_frozen(self, seen: CameraDetections) -> bool:
        before = self._newest.get(seen.camera_id)
        same = before is not None and bool(seen.detections) and _same(before, seen)
        self._repeats[seen.camera_id] = self._repeats.get(seen.camera_id, 0) + 1 if same else 0
        return self._repeats[seen.camera_id] >= _FROZEN_FRAMES

    def _coverage(self, t_ns: int) -> Coverage:
        live = tuple(
            name for name, one in self._newest.items()
            if t_ns - one.t_ns <= _SILENT_S * NS_PER_S and self._repeats.get(name, 0) < _FROZEN_FRAMES
        )  # fmt: skip
        names = tuple(sorted(live))
        if names not in self._coverages:
            self._coverages[names] = Coverage([self._cameras[name] for name in names])
        return self._coverages[names]

    def _body(self, track: Track) -> Body:
        name = self._names.setdefault(track.key, str(len(self._names) + 1))
        place, spread = track.place, track.covariance
        head_m = float(track.mean[4])
        sigma_m = float(np.sqrt(np.linalg.eigvalsh(spread[:2, :2])[-1]))
        found = skeleton(track.seen, self._cameras, place, head_m, sigma_m, self._goods)
        hands = [found[f"{side}_hand"] for side in ("left", "right") if f"{side}_hand" in found]
        joints = {key: one.joint() for key, one in found.items() if key != "head" and not key.endswith("hand")}
        return Body(
            track_id=name,
            head=_head(track, found.get("head")),
            hands=tuple(hand.joint() for hand in hands),
            joints=joints,
            floor=FloorPosition(
                float(place[0]), float(place[1]), float(spread[0, 0]), float(spread[0, 1]), float(spread[1, 1])
            ),
            over=tuple(self._goods.over(hand.point) for hand in hands),
        )


def _head(track: Track, seen: Found | None) -> Joint:
    """The head where it was seen; else where the body's axis says, with score 0."""
    if seen is not None:
        return seen.joint()
    x, y, h = (float(value) for value in track.mean[[0, 1, 4]])
    picked = track.covariance[np.ix_([0, 1, 4], [0, 1, 4])]
    return Joint(x, y, h, 0.0, float(np.sqrt(np.linalg.eigvalsh(picked)[-1])))


def _same(before: CameraDetections, after: CameraDetections) -> bool:
    """Whether both frames show the very same: nothing moved by more than a repeated picture does."""
    if len(before.detections) != len(after.detections):
        return False
    for one, other in zip(before.detections, after.detections, strict=True):
        if np.abs(np.array(one.box_px) - np.array(other.box_px)).max() > _FROZEN_PX:
            return False
        if one.keypoints is not None and other.keypoints is not None:
            sure = one.keypoints[:, 2] >= 0.5
            moved = np.abs(one.keypoints[sure, :2] - other.keypoints[sure, :2])
            if moved.size and moved.max() > _FROZEN_PX:
                return False
    return True
