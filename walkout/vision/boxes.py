"""One camera's boxes over time, in pixels: identities where no calibration says where the floor is.

The people of a calibrated store are tracked on the floor (``people``). This one serves a camera without a calibration,
and the benchmarks of single-camera tracking. The state of a track is (x, y, w, h) of its box and their speeds; sizes
are told in shares of the box's height, so that near and far people obey one rule; all limits are in seconds, so that
any frame rate does. Sure detections are paired first, unsure ones then prolong tracks but begin none (the idea of
ByteTrack, Zhang et al., ECCV 2022).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import CameraDetections
from walkout.vision.association import gated_pairs, predicted, squared_distances, updated

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """Shares are of the box's height. A person of 1.7 m: one share per second squared is 1.7 m/s^2."""

    #: White noise acceleration of the middle and of the sizes, shares^2/s^3: walkers turn and stop, rarely at once.
    #: These two and ``edge`` are the best of a few on MOT17 and TUD, with other seeds than the benchmark's.
    acceleration: float = 0.2
    growth: float = 0.02
    #: Edges of boxes are this share of the height off: COCO detectors at IoU 0.8-0.9, with room for the worse ones.
    edge: float = 0.07
    #: Walking speed at birth: 1.4 m/s of a person of 1.7 m.
    speed: float = 0.8
    #: Four degrees of freedom, one in a thousand true pairs lost (chi-square).
    gate2: float = 18.5
    #: Sure enough to begin a track; less sure ones only prolong, down to the least.
    sure: float = 0.5
    least: float = 0.1
    #: Boxes that do not overlap at all are not one person a frame later.
    overlap: float = 0.1
    #: A person hidden this long is a new one afterwards; one seen but once for this long was none.
    lost_s: float = 1.5
    tentative_s: float = 0.2
    #: So many looks make a person.
    hits: int = 2


@dataclass(frozen=True, slots=True)
class TrackedBox:
    """``box_px`` (left, top, right, bottom) as now believed; ``index`` is the detection that it comes from."""

    track_id: int
    box_px: tuple[float, float, float, float]
    score: float
    index: int


@dataclass(frozen=True, slots=True, eq=False)
class _Track:
    track_id: int
    mean: Floats
    covariance: Floats
    hits: int
    seen_ns: int
    index: int = -1
    score: float = 0.0


_ROWS = np.eye(4, 8)


class BoxTracker:
    """Feed it one camera's frames in their order of time."""

    def __init__(self, settings: BoxSettings | None = None) -> None:
        self.settings = settings or BoxSettings()
        self._tracks: list[_Track] = []
        self._t_ns: int | None = None
        self._born = 0

    def step(self, seen: CameraDetections) -> tuple[TrackedBox, ...]:
        """Everybody whom this frame shows and who was seen before (at once in the very first frame), by identity."""
        first = self._t_ns is None
        before_ns = seen.t_ns if self._t_ns is None else self._t_ns
        tracks = self._predicted((seen.t_ns - before_ns) / NS_PER_S)
        self._t_ns = seen.t_ns
        scores = np.array([one.score for one in seen.detections])
        boxes = np.array([one.box_px for one in seen.detections], dtype=np.float64).reshape(-1, 4)
        proper = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        sure = np.flatnonzero(proper & (scores >= self.settings.sure))
        unsure = np.flatnonzero(proper & (scores < self.settings.sure) & (scores >= self.settings.least))
        tracks, left = self._paired(tracks, boxes, scores, sure, seen.t_ns)
        tracks, _ = self._paired(tracks, boxes, scores, unsure, seen.t_ns)
        tracks += [self._begun(boxes[i], float(scores[i]), int(i), seen.t_ns, first) for i in left]
        self._tracks = [track for track in tracks if not self._is_gone(track, seen.t_ns)]
        return tuple(
            TrackedBox(track.track_id, _corners(track.mean), track.score, track.index)
            for track in self._tracks
            if track.index >= 0 and track.hits >= self.settings.hits
        )

    def _predicted(self, dt: float) -> list[_Track]:
        if not self._tracks:
            return []
        move = np.eye(8) + dt * np.eye(8, k=4)
        mean, covariance = self._stacked(self._tracks)
        rate = np.array([self.settings.acceleration] * 2 + [self.settings.growth] * 2) * mean[:, 3:4] ** 2
        noise = np.zeros((len(mean), 8, 8))
        at = np.arange(4)
        noise[:, at, at] = rate * dt**3 / 3.0
        noise[:, at, at + 4] = noise[:, at + 4, at] = rate * dt**2 / 2.0
        noise[:, at + 4, at + 4] = rate * dt
        mean, covariance = predicted(mean, covariance, move, noise)
        # A box that shrinks out of sight while nobody sees it stays a box.
        mean[:, 2:4] = np.maximum(mean[:, 2:4], 1.0)
        return [
            replace(track, mean=one, covariance=spread, index=-1, score=0.0)
            for track, one, spread in zip(self._tracks, mean, covariance, strict=True)
        ]

    def _paired(
        self, tracks: list[_Track], boxes: Floats, scores: Floats, chosen: NDArray[np.intp], t_ns: int
    ) -> tuple[list[_Track], list[int]]:
        """Tracks that nobody was found for yet meet the chosen detections; gives all tracks and what is left over."""
        open_rows = [row for row, track in enumerate(tracks) if track.index < 0]
        if not open_rows or not len(chosen):
            return tracks, [int(i) for i in chosen]
        mean, covariance = self._stacked([tracks[row] for row in open_rows])
        values = _middles(boxes[chosen])
        noise = self._noise(values[:, 3])
        squares, logs = squared_distances(mean, covariance, _ROWS, values, noise)
        apart = 1.0 - _overlaps(np.array([_corners(one) for one in mean]), boxes[chosen])
        surprise = 0.5 * (squares + logs - np.linalg.slogdet(noise)[1])
        allowed = (squares <= self.settings.gate2) & (apart <= 1.0 - self.settings.overlap)
        pairs = gated_pairs(np.where(allowed, surprise, np.inf), alone=1e3)
        for row, column in pairs:
            track, index = tracks[open_rows[row]], int(chosen[column])
            after, spread = updated(track.mean, track.covariance, _ROWS, values[column], noise[column])
            tracks[open_rows[row]] = replace(
                track, mean=after, covariance=spread, hits=track.hits + 1, seen_ns=t_ns, index=index,
                score=float(scores[index]),
            )  # fmt: skip
        taken = {column for _, column in pairs}
        return tracks, [int(i) for column, i in enumerate(chosen) if column not in taken]

    def _begun(self, box: Floats, score: float, index: int, t_ns: int, first: bool) -> _Track:
        self._born += 1
        value = _middles(box[None])[0]
        spread = np.zeros((8, 8))
        spread[:4, :4] = self._noise(value[None, 3])[0]
        speeds = np.array([self.settings.speed] * 2 + [self.settings.speed / 4.0] * 2) * value[3]
        spread[4:, 4:] = np.diag(speeds**2)
        hits = self.settings.hits if first else 1
        return _Track(self._born, np.concatenate([value, np.zeros(4)]), spread, hits, t_ns, index, score)

    def _noise(self, heights: Floats) -> Floats:
        # Two edges make a middle and a size: their errors halve in the one and add up in the other.
        shares = self.settings.edge * np.array([0.5, 0.5, 1.0, 1.0]) * np.sqrt(2.0)
        noise: Floats = (heights[:, None, None] * shares[:, None]) ** 2 * np.eye(4)
        return noise

    def _is_gone(self, track: _Track, t_ns: int) -> bool:
        limit_s = self.settings.lost_s if track.hits >= self.settings.hits else self.settings.tentative_s
        return t_ns - track.seen_ns > limit_s * NS_PER_S

    @staticmethod
    def _stacked(tracks: list[_Track]) -> tuple[Floats, Floats]:
        return np.stack([track.mean for track in tracks]), np.stack([track.covariance for track in tracks])


def _middles(boxes: Floats) -> Floats:
    """Corners (n, 4) as middle and size (n, 4)."""
    size = boxes[:, 2:] - boxes[:, :2]
    return np.hstack([boxes[:, :2] + size / 2.0, size])


def _corners(state: Floats) -> tuple[float, float, float, float]:
    x, y, w, h = (float(value) for value in state[:4])
    return x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0


def _overlaps(one: Floats, other: Floats) -> Floats:
    """Intersection over union of boxes (n, 4) with boxes (k, 4): (n, k)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = np.prod(one[:, 2:] - one[:, :2], axis=1)[:, None] + np.prod(other[:, 2:] - other[:, :2], axis=1)[None]
    ratio: Floats = shared / np.maximum(areas - shared, 1e-9)
    return ratio
