"""Who is who, measured by TrackEval's own code: boxes of one camera, and people on the floor from several cameras.

    python benchmarks/tracking.py [--quick] [--only boxes|floor] [--data FOLDER] [--seconds 60] [--seed 1] [--json FILE]

Boxes: MOT17 sequences with detections derived from their ground truth by a stated noise, TUD with its real detections.
Floors: people walk in a simulated shop of 8 x 6 m before 2 to 12 cameras that are not synchronised. The same
detections go through ultralytics' ByteTrack and BoT-SORT, on floors per camera with plain linking. Needs
``pip install --no-deps trackeval==1.3.0`` and ``pip install 'walkout[train]' lap``.
"""

import argparse
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

for name, value in {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(name, value)
os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")

import mot  # noqa: E402
import numpy as np  # noqa: E402  (the number of threads has to be set before)
from floors import SHOP_M, Seeing, Walk, pictures, ring_of_cameras, shop_layout, walks  # noqa: E402
from linking import LinkedTrackers, Person  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from scipy.optimize import linear_sum_assignment  # noqa: E402

from walkout.domain.clock import NS_PER_S  # noqa: E402
from walkout.domain.sensing import CameraDetections  # noqa: E402
from walkout.vision.people import PeopleTracker  # noqa: E402

Floats = NDArray[np.float64]
Row = dict[str, Any]

#: Places are compared this often, and from this moment on: the trackers may take a second to believe in somebody.
EVERY_S, FROM_S = 0.2, 1.0
#: A visit's first and last identity are what it mostly was in its first and last second inside; short stays do not
#: count.
EDGE_S, LEAST_S = 1.0, 8.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One simulated floor. ``runs`` of it with different seeds are scored together."""

    people: int
    cameras: int
    rate_hz: float
    seconds: float
    runs: int


def settings(quick: bool, seconds: float) -> list[Setting]:
    """Against people count, camera count and frame rate; about as many visits for each people count."""
    if quick:
        return [Setting(2, 6, 10.0, 20.0, 1), Setting(5, 6, 10.0, 20.0, 1), Setting(5, 3, 10.0, 20.0, 1)]
    middle = Setting(5, 6, 10.0, seconds, 3)
    by_people = [replace(middle, people=people, runs=runs) for people, runs in ((2, 6), (5, 3), (10, 2), (20, 1))]
    by_cameras = [replace(middle, cameras=cameras) for cameras in (2, 3, 4, 8, 12)]
    by_rate = [replace(middle, rate_hz=rate_hz) for rate_hz in (5.0, 8.0, 15.0)]
    return by_people + by_cameras + by_rate


def times_of(setting: Setting) -> Floats:
    return np.arange(FROM_S, setting.seconds, EVERY_S)


def ours(setting: Setting, seen: Sequence[CameraDetections]) -> list[list[Person]]:
    """Who is where at each time to be compared: the newest frame of ``PeopleTracker`` that is not half a second old."""
    tracker = PeopleTracker(ring_of_cameras(setting.cameras), shop_layout())
    frames = []
    for one in seen:
        tracker.feed(one)
        frames += tracker.advance(one.t_ns)
    frames += tracker.advance(round((setting.seconds + 1.0) * NS_PER_S))
    out, at = [], -1
    for t_s in times_of(setting):
        while at + 1 < len(frames) and frames[at + 1].t_ns <= t_s * NS_PER_S:
            at += 1
        fresh = at >= 0 and frames[at].t_ns >= (t_s - 0.5) * NS_PER_S
        out.append([
            (int(body.track_id), np.array([body.floor.x_m, body.floor.y_m]))
            for body in (frames[at].bodies if fresh else ()) if body.floor is not None
        ])  # fmt: skip
    return out


def linked(name: str, setting: Setting, seen: Iterable[CameraDetections]) -> list[list[Person]]:
    """The same by a tracker per camera and plain linking."""
    tracker = LinkedTrackers(name, ring_of_cameras(setting.cameras), shop_layout(), setting.rate_hz)
    out: list[list[Person]] = []
    times, source = times_of(setting), iter(seen)
    waiting = next(source, None)
    for t_s in times:
        while waiting is not None and waiting.t_ns <= t_s * NS_PER_S:
            tracker.feed(waiting)
            waiting = next(source, None)
        out.append(tracker.people(round(t_s * NS_PER_S)))
    return out


FLOOR_TRACKERS = {
    "walkout people": ours,
    "ByteTrack per camera + linking": lambda setting, seen: linked("bytetrack", setting, seen),
    "BoT-SORT per camera + linking": lambda setting, seen: linked("botsort", setting, seen),
}


def truth_of(walk: Walk, setting: Setting) -> list[list[Person]]:
    """Everybody truly inside at each time."""
    out = []
    for t_s in times_of(setting):
        places = walk.at(float(t_s))[0]
        inside = np.all((places >= 0.0) & (places <= np.array(SHOP_M)), axis=1)
        out.append([(int(who), places[who]) for who in np.flatnonzero(inside)])
    return out


def floor_data(truth: Sequence[list[Person]], found: Sequence[list[Person]], reach_m: float) -> dict[str, Any]:
    """What TrackEval's metrics take; a similarity of 0.5, its threshold, is a distance of ``reach_m``."""
    trackeval = mot.import_trackeval()
    likeness = trackeval.datasets.MotChallenge2DBox._calculate_euclidean_similarity
    data: dict[str, Any] = {"num_timesteps": len(truth), "seq": "floor"}
    for key, side in (("gt", truth), ("tracker", found)):
        names = {name: i for i, name in enumerate(sorted({name for people in side for name, _ in people}))}
        data[f"{key}_ids"] = [np.array([names[name] for name, _ in people], dtype=int) for people in side]
        data[f"num_{key}_ids"], data[f"num_{key}_dets"] = len(names), sum(map(len, side))
    points = [[np.array([place for _, place in people]).reshape(-1, 2) for people in side] for side in (truth, found)]
    data["similarity_scores"] = [
        likeness(real, told, zero_distance=2.0 * reach_m) for real, told in zip(*points, strict=True)
    ]
    return data


def visits(truth: Sequence[list[Person]], found: Sequence[list[Person]]) -> tuple[int, int]:
    """Visits of at least ``LEAST_S`` inside, and how many of them are pure.

    Pure: the identity at its end (the exit, or the end of the run) is the one it began with, and began no other visit.
    """
    told: dict[int, list[int | None]] = {}
    for real, people in zip(truth, found, strict=True):
        names: dict[int, int] = {}
        if real and people:
            apart = np.linalg.norm(
                np.array([place for _, place in real])[:, None] - np.array([place for _, place in people])[None], axis=2
            )
            rows, columns = linear_sum_assignment(np.minimum(apart, 1.0))
            names = {real[r][0]: people[c][0] for r, c in zip(rows, columns, strict=True) if apart[r, c] < 1.0}
        for who, _ in real:
            told.setdefault(who, []).append(names.get(who))
    edge = round(EDGE_S / EVERY_S)
    ends = [(mostly(seen[:edge]), mostly(seen[-edge:])) for seen in told.values() if len(seen) >= LEAST_S / EVERY_S]
    firsts = [first for first, _ in ends]
    return len(ends), sum(first is not None and first == last and firsts.count(first) == 1 for first, last in ends)


def mostly(names: Sequence[int | None]) -> int | None:
    known = [name for name in names if name is not None]
    return max(sorted(set(known)), key=known.count) if known else None


def floor_rows(setting: Setting, seed: int) -> list[Row]:
    """One row per tracker; the runs stand one after the other, with identities of their own."""
    # Loads ultralytics, which is not to be timed.
    linked("bytetrack", replace(setting, seconds=FROM_S + EVERY_S), ())
    truths: list[list[Person]] = []
    told: dict[str, list[list[Person]]] = {name: [] for name in FLOOR_TRACKERS}
    spent, pure, count = dict.fromkeys(FLOOR_TRACKERS, 0.0), dict.fromkeys(FLOOR_TRACKERS, 0), 0
    for run in range(setting.runs):
        walk = walks(setting.people, setting.seconds, seed + run)
        cameras = ring_of_cameras(setting.cameras)
        seen = list(pictures(walk, cameras, setting.rate_hz, setting.seconds, seed + run, Seeing()))
        truth = truth_of(walk, setting)
        truths += renamed(truth, run)
        for name, track in FLOOR_TRACKERS.items():
            begin = time.process_time()
            found = track(setting, seen)
            spent[name] += time.process_time() - begin
            told[name] += renamed(found, run)
            visited, kept = visits(truth, found)
            pure[name] += kept
        count += visited
    rows: list[Row] = []
    for name, found in told.items():
        near, far = (mot.metrics(floor_data(truths, found, reach_m)) for reach_m in (0.5, 1.0))
        rows.append({
            "tracker": name, **asdict(setting), "IDF1 0.5 m": near["IDF1"], "IDF1 1 m": far["IDF1"],
            "MOTA 1 m": far["MOTA"], "HOTA 1 m": far["HOTA"], "switches": far["switches"], "visits": count,
            "pure visits": pure[name], "purity": 100.0 * pure[name] / max(1, count),
            "core share": spent[name] / (setting.seconds * setting.runs),
        })  # fmt: skip
    return rows


def renamed(frames: Sequence[list[Person]], run: int) -> list[list[Person]]:
    """The same people with names that no other run uses."""
    return [[(name + run * 1_000_000, place) for name, place in people] for people in frames]


def box_rows(folder: Path, quick: bool, seed: int) -> list[Row]:
    """One row per sequence and tracker."""
    rows = []
    for one in mot.footage(folder, mot.BoxNoise(), seed, 60 if quick else None):
        for name, track in mot.TRACKERS.items():
            tracked = track(one)
            told = {"sequence": one.name, "detections": one.detections, "frames": len(one.frames), "tracker": name}
            rows.append({**told, **mot.scores(one, tracked)})
    return rows


def shown(console: Console, title: str, rows: Sequence[Row], left_out: Sequence[str] = ()) -> None:
    """One table; numbers with one decimal."""
    table = Table(title=title, title_justify="left", pad_edge=False)
    columns = [key for key in rows[0] if key not in left_out]
    for key in columns:
        words = isinstance(rows[0][key], str)
        table.add_column(key.replace("_", " "), justify="left" if words else "right", no_wrap=words)
    for before, row in zip([None, *rows[:-1]], rows, strict=True):
        if before is not None and row["tracker"] == rows[0]["tracker"]:
            table.add_section()
        table.add_row(*(f"{row[key]:.2f}" if key == "core share" else f"{row[key]:.1f}" if isinstance(row[key], float)
                        else str(row[key]) for key in columns))  # fmt: skip
    console.print(table)


def wide_console() -> Console:
    """The terminal; into a file or a pipe, lines as long as the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


def main(told: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute's worth, to see that it works")
    parser.add_argument("--only", choices=("boxes", "floor"))
    parser.add_argument("--data", type=Path, help="folder with MOT17-val and mot15")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each simulated run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(told)
    mot.import_trackeval()
    console, result = wide_console(), {"load average": os.getloadavg(), "seed": arguments.seed}
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "mot"
    folder = arguments.data or beside
    if arguments.only != "floor" and folder.is_dir():
        result["boxes"] = box_rows(folder, arguments.quick, arguments.seed)
        shown(console, "One camera's boxes (IoU, percent)", result["boxes"])
        console.print(f"noisy truth: {mot.BoxNoise()}; seed {arguments.seed}")
    elif arguments.only != "floor":
        console.print(f"{folder}: no MOTChallenge sequences there; name them with --data")
    if arguments.only != "boxes":
        result["floors"] = [
            row
            for one in settings(arguments.quick, arguments.seconds)
            for row in progress(console, one, arguments.seed)
        ]
        shown(console, "People on the floor (distance, percent)", result["floors"], ("seconds", "runs"))
        console.print(f"simulated: {Seeing()}; seed {arguments.seed}")
    console.print(f"load average at the start {result['load average'][0]:.1f}, at the end {os.getloadavg()[0]:.1f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def progress(console: Console, setting: Setting, seed: int) -> list[Row]:
    rows = floor_rows(setting, seed)
    for row in rows:
        console.print(
            f"{setting.people:2} people, {setting.cameras:2} cameras, {setting.rate_hz:g} fps: {row['tracker']:32} "
            f"IDF1 {row['IDF1 1 m']:.1f}, {row['pure visits']} of {row['visits']} visits pure", highlight=False
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
