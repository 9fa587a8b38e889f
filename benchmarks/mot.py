"""MOTChallenge sequences for `tracking.py`: reading them, detections of a stated noise, and TrackEval's own scores."""

import configparser
import contextlib
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import CameraDetections, Detection
from walkout.vision.boxes import BoxTracker

Floats = NDArray[np.float64]
Tracked = list[Floats]
"""Per frame (k, 5): identity, left, top, width, height."""

REMEDY = "trackeval is missing; run: pip install --no-deps trackeval==1.3.0"


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """One sequence. ``frames[i]`` (k, 5): left, top, width, height in pixels, score 0 to 1."""

    name: str
    benchmark: str
    detections: str
    truth_file: Path
    rate_hz: float
    size_px: tuple[int, int]
    frames: tuple[Floats, ...]


@dataclass(frozen=True, slots=True)
class BoxNoise:
    """How detections are made from ground truth; shares are of the box's width or height."""

    jitter: float = 0.05
    miss: float = 0.08
    hidden: float = 0.1
    false_per_frame: float = 0.5

    def __str__(self) -> str:
        return (
            f"each edge off by {self.jitter:.0%} (sd) of the box's side; nobody is found of whom less than "
            f"{self.hidden:.0%} is seen, others with the visible share but at most {1 - self.miss:.0%} likely; "
            f"{self.false_per_frame:g} false boxes a frame"
        )


def footage(folder: Path, noise: BoxNoise, seed: int, frames: int | None = None) -> list[Footage]:
    """All sequences below ``folder`` (laid out as ``MOT17-val`` and ``mot15``), the first ``frames`` of each."""
    found = []
    for info in sorted(folder.glob("MOT17-val/*/seqinfo.ini")):
        told = configparser.ConfigParser()
        told.read(info)
        one = told["Sequence"]
        length, file = min(int(one["seqLength"]), frames or 10**9), info.parent / "gt" / "gt.txt"
        size = int(one["imWidth"]), int(one["imHeight"])
        boxes = derived(np.loadtxt(file, delimiter=","), length, size, noise, seed)
        rate_hz = float(one["frameRate"])
        found.append(Footage(one["name"].removesuffix("-FRCNN"), "MOT17", "noisy truth", file, rate_hz, size, boxes))
    for file in sorted(folder.glob("mot15/*/gt.txt")):
        truth, real = (np.loadtxt(file.with_name(name), delimiter=",") for name in ("gt.txt", "det.txt"))
        length = min(int(truth[:, 0].max()), frames or 10**9)
        boxes = tuple(real[real[:, 0] == number][:, 2:7] for number in range(1, length + 1))
        # The TUD sequences are 640 x 480 at 25 frames a second (Andriluka et al., CVPR 2008 and 2010).
        found.append(Footage(file.parent.name, "MOT15", "real", file, 25.0, (640, 480), boxes))
    return found


def derived(truth: Floats, length: int, size_px: tuple[int, int], noise: BoxNoise, seed: int) -> tuple[Floats, ...]:
    """Detections of the pedestrians that count (class 1, not marked to be ignored)."""
    rng = np.random.default_rng(seed)
    people = truth[(truth[:, 7] == 1) & (truth[:, 6] != 0)]
    frames = []
    for number in range(1, length + 1):
        now = people[people[:, 0] == number]
        chance = np.where(now[:, 8] < noise.hidden, 0.0, np.minimum(now[:, 8], 1.0 - noise.miss))
        seen = now[rng.random(len(now)) < chance]
        corners = np.hstack([seen[:, 2:4], seen[:, 2:4] + seen[:, 4:6]])
        corners += rng.normal(0.0, noise.jitter, corners.shape) * np.tile(seen[:, 4:6], 2)
        score = np.clip(0.4 + 0.5 * seen[:, 8] + rng.normal(0.0, 0.1, len(seen)), 0.1, 0.99)
        shape = people[rng.integers(len(people), size=rng.poisson(noise.false_per_frame)), 4:6]
        place = rng.random((len(shape), 2)) * np.array(size_px)
        false = np.column_stack([place, shape, rng.uniform(0.1, 0.6, len(shape))])
        frames.append(np.vstack([np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2], score]), false]))
    return tuple(frames)


def walkout_boxes(one: Footage) -> Tracked:
    """Our tracker of one camera's boxes."""
    tracker, out = BoxTracker(), []
    for number, boxes in enumerate(one.frames):
        found = tuple(Detection((x, y, x + w, y + h), s, "person") for x, y, w, h, s in boxes.tolist())
        seen = CameraDetections(one.name, round(number / one.rate_hz * NS_PER_S), one.size_px, found)
        rows = []
        for track in tracker.step(seen):
            left, top, right, bottom = track.box_px
            rows.append([track.track_id, left, top, right - left, bottom - top])
        out.append(np.array(rows).reshape(-1, 5))
    return out


class UltralyticsTracker:
    """ByteTrack or BoT-SORT of ultralytics with its own defaults, without pictures (so without camera motion)."""

    def __init__(self, name: str, rate_hz: float, size_px: tuple[int, int]) -> None:
        from ultralytics.engine.results import Boxes
        from ultralytics.trackers.track import TRACKER_MAP
        from ultralytics.utils import YAML, IterableSimpleNamespace
        from ultralytics.utils.checks import check_yaml

        told = YAML.load(check_yaml(f"{name}.yaml"))
        # Its memory is counted in frames, 30 by default, meant for 30 a second: the same second at any rate.
        told["track_buffer"] = max(1, round(told["track_buffer"] * rate_hz / 30.0))
        self._boxes, self._shape = Boxes, size_px[::-1]
        self._tracker = TRACKER_MAP[name](IterableSimpleNamespace(**told))

    def step(self, boxes: Floats) -> Floats:
        """Boxes (k, 5) as above -> (n, 6): identity, left, top, width, height, index of the detection."""
        corners = np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4], boxes[:, 4], np.zeros(len(boxes))])
        rows = np.asarray(self._tracker.update(self._boxes(corners.astype(np.float32), self._shape)), dtype=float)
        rows = rows.reshape(-1, 8)
        return np.column_stack([rows[:, 4], rows[:, :2], rows[:, 2:4] - rows[:, :2], rows[:, 7]])


def ultralytics_boxes(name: str) -> Callable[[Footage], Tracked]:
    """A tracker of ultralytics as a function over a whole sequence."""

    def track(one: Footage) -> Tracked:
        tracker = UltralyticsTracker(name, one.rate_hz, one.size_px)
        return [tracker.step(boxes)[:, :5] for boxes in one.frames]

    return track


TRACKERS: dict[str, Callable[[Footage], Tracked]] = {
    "walkout boxes": walkout_boxes,
    "ByteTrack (ultralytics)": ultralytics_boxes("bytetrack"),
    "BoT-SORT (ultralytics)": ultralytics_boxes("botsort"),
}


def scores(one: Footage, tracked: Tracked) -> dict[str, float]:
    """HOTA, IDF1 and MOTA in percent, and identity switches, by TrackEval's MotChallenge2DBox and metrics."""
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "truth" / one.name / "gt" / "gt.txt", truth_rows(one))
        rows = [[n, *row, 1, -1, -1, -1] for n, found in enumerate(tracked, 1) for row in found.tolist()]
        write_rows(Path(folder) / "found" / "ours" / "data" / f"{one.name}.txt", rows)
        trackeval = import_trackeval()
        dataset = trackeval.datasets.MotChallenge2DBox(
            {
                "GT_FOLDER": f"{folder}/truth",
                "TRACKERS_FOLDER": f"{folder}/found",
                "BENCHMARK": one.benchmark,
                "SEQ_INFO": {one.name: len(one.frames)},
                "SKIP_SPLIT_FOL": True,
                "PRINT_CONFIG": False,
            }
        )
        with contextlib.redirect_stdout(io.StringIO()):
            raw = dataset.get_raw_seq_data("ours", one.name)
            return metrics(dataset.get_preprocessed_seq_data(raw, "pedestrian"))


def truth_rows(one: Footage) -> Sequence[Sequence[float]]:
    """The truth up to the last frame that is tracked; MOT15 has no class, which TrackEval expects as a number."""
    truth = np.loadtxt(one.truth_file, delimiter=",")
    truth = truth[truth[:, 0] <= len(one.frames)]
    if one.benchmark == "MOT15":
        truth[:, 7] = 1
    return truth.tolist()  # type: ignore[no-any-return]


def write_rows(path: Path, rows: Sequence[Sequence[float]]) -> None:
    """One line per row, as MOTChallenge has it; frame, identity and class are whole numbers."""
    path.parent.mkdir(parents=True)
    whole = {0, 1, 6, 7}
    path.write_text(
        "".join(",".join(str(int(v) if i in whole else v) for i, v in enumerate(row)) + "\n" for row in rows)
    )


def metrics(data: Mapping[str, Any]) -> dict[str, float]:
    """HOTA, IDF1, MOTA in percent and identity switches of one prepared sequence."""
    trackeval = import_trackeval()
    with contextlib.redirect_stdout(io.StringIO()):
        hota = trackeval.metrics.HOTA().eval_sequence(data)["HOTA"]
        clear = trackeval.metrics.CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
        identity = trackeval.metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    return {
        "HOTA": 100.0 * float(np.mean(hota)),
        "IDF1": 100.0 * float(identity["IDF1"]),
        "MOTA": 100.0 * float(clear["MOTA"]),
        "switches": float(clear["IDSW"]),
    }


def import_trackeval() -> Any:
    """TrackEval, whose own code gives every score; ends the program with the remedy where it is missing."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import trackeval
    except ImportError as error:
        raise SystemExit(REMEDY) from error
    return trackeval
