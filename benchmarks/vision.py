"""How many pictures a second an edge box takes, how old what it says is, and whether it stays the same for hours.

    python benchmarks/vision.py [--quick] [--cameras 1,2,4,8] [--seconds 15] [--minutes 10] [--json FILE]
    python benchmarks/vision.py --soak 60

The whole edge service (file cameras, decoding, net, people, spool, log) against its own net alone on pictures in
memory: same back end, batch and threads, one after the other in one run. Videos are played faster than they were
taken, so that there is always a newer picture. The log only notes when what was said arrived. Videos and
weights are those beside the repository where they are; else the fake detector and generated videos, which only show
that everything runs. ``--soak``: RTSP cameras of another process that are unplugged and fall silent at random.
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

for name, value in {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(name, value)
os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")

import av  # noqa: E402  (the number of threads has to be set before)
import cv2  # noqa: E402
import numpy as np  # noqa: E402
from floors import SIZE_PX, ring_of_cameras, shop_layout  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from walkout.app.edge import EdgeService  # noqa: E402
from walkout.app.edge_config import EdgeConfig  # noqa: E402
from walkout.app.video import video_files  # noqa: E402
from walkout.bus.topics import Entry, Record  # noqa: E402
from walkout.domain.clock import NS_PER_S, SystemClock  # noqa: E402
from walkout.domain.sensing import BodyFrame  # noqa: E402
from walkout.errors import ModelError  # noqa: E402
from walkout.store.calibration import CameraModel, read_nanostore_cameras  # noqa: E402
from walkout.store.layout import Layout  # noqa: E402
from walkout.store.nanostore import find_store_files, read_nanostore  # noqa: E402
from walkout.vision.capture import read_frames  # noqa: E402
from walkout.vision.detector import Detector, open_detector  # noqa: E402
from walkout.vision.h264 import EncodedPicture, H264Encoder, Track, mp4_bytes  # noqa: E402
from walkout.vision.models import find_card, find_weights  # noqa: E402

cv2.setNumThreads(1)
ROOT = Path(__file__).resolve().parents[1]
BESIDE = ROOT.parent / "shared"
MODEL = "yolov8n-pose-int8"
RATE_HZ = 10.0
#: Pictures are offered this much faster than the net takes them.
PLENTY = 1.5
WARM_S = 3.0
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Scenery:
    """What the cameras see: ``videos`` at ``RATE_HZ``, each with a calibrated camera of its own."""

    told: str
    layout: Layout
    videos: tuple[Path, ...]
    models: tuple[CameraModel, ...]

    def cameras(self, count: int) -> dict[str, CameraModel]:
        """So many cameras; where there are fewer videos, some show the same."""
        return {
            f"cam{i + 1}": replace(self.models[i % len(self.models)], camera_id=f"cam{i + 1}") for i in range(count)
        }


def scenery(folder: Path, beside: Path = BESIDE) -> Scenery:
    """The recorded store where its videos are ``beside`` us, else a generated one, written to ``folder``."""
    recording = beside / "data" / "nanostore" / "cps-test-01"
    if recording.is_dir():
        videos = video_files(recording)
        models = read_nanostore_cameras(recording, "jan2020_refit")
        known = [name for name in videos if name in models]
        layout = read_nanostore(find_store_files(recording))[0].layout
        return Scenery("recorded", layout, tuple(videos[n] for n in known), tuple(models[n] for n in known))
    models = ring_of_cameras(4)
    paths = []
    for i, name in enumerate(models):
        paths.append(folder / f"{name}.mp4")
        paths[-1].write_bytes(mp4_bytes([Track(name, tuple(generated(i)))], 0, ""))
    return Scenery("generated", shop_layout(), tuple(paths), tuple(models.values()))


def generated(number: int) -> Iterator[EncodedPicture]:
    """Five seconds of a magenta body that walks before grey."""
    encoder = H264Encoder(RATE_HZ)
    for i in range(round(5 * RATE_HZ)):
        image = np.full((SIZE_PX[1], SIZE_PX[0], 3), 90, np.uint8)
        left = 100 + (5 * i + 60 * number) % 400
        image[120:280, left : left + 60] = (255, 0, 255)
        yield from encoder.encode(round(i * NS_PER_S / RATE_HZ), image)


def opened(backend: str, threads: int, precision: str) -> tuple[Detector, str]:
    """The detector, and what it is."""
    card = find_card(MODEL)
    try:
        detector = open_detector(card, backend, near=BESIDE / "data", threads=threads, precision=precision)
    except ModelError as error:
        if backend != "auto":
            raise
        return open_detector(card, "fake"), f"fake ({error})"
    return detector, f"{MODEL}, {detector.name}, {threads} thread(s), {precision}"


def raw(detector: Detector, images: Sequence[Any], seconds: float) -> tuple[float, float]:
    """Pictures a second and median seconds per batch of the net alone."""
    detector.detect(images)
    spent: list[float] = []
    begin = time.perf_counter()
    while not spent or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        detector.detect(images)
        spent.append(time.perf_counter() - start)
    return len(images) * len(spent) / sum(spent), float(np.median(spent))


class Arrivals:
    """A log that keeps nothing but how old each observation was when it came."""

    def __init__(self) -> None:
        self.ages_s: list[float] = []
        self.listening = threading.Event()

    def append(self, record: Record) -> str:
        if isinstance(record, BodyFrame) and self.listening.is_set():
            self.ages_s.append((time.time_ns() - record.t_ns) / NS_PER_S)
        return "0-0"

    def read(self, *_args: object, **_more: object) -> list[Entry]:
        return []

    def claim(self, *_args: object, **_more: object) -> list[Entry]:
        return []

    def ack(self, *_args: object) -> None:
        """Nothing is kept."""

    def scan(self, *_args: object) -> Iterator[Entry]:
        return iter(())


@contextmanager
def edge(
    urls: Sequence[str], scene: Scenery, detector: Detector, folder: Path, arrivals: Arrivals, clips: bool
) -> Iterator[EdgeService]:
    """The edge service running on a thread."""
    told: dict[str, Any] = {
        "store": folder,
        "cameras": [{"id": f"cam{i + 1}", "url": url, "loop": url.startswith("file:")} for i, url in enumerate(urls)],
        "spool": {"folder": folder / "spool"},
        "detector": {"most_fps": 120.0},
    }
    if clips:
        told["clips"] = {"folder": folder / "clips", "most_gb": 0.2}
    config = EdgeConfig.model_validate(told)
    service = EdgeService(config, scene.cameras(len(urls)), scene.layout, detector, arrivals, SystemClock(), "bench")
    ended = threading.Event()
    thread = threading.Thread(target=service.run, args=(ended,), name="edge")
    thread.start()
    try:
        yield service
    finally:
        ended.set()
        thread.join()
        service.close()


def played_faster(scene: Scenery, count: int, speed: float, folder: Path) -> list[str]:
    """Addresses of ``count`` file cameras whose videos run ``speed`` times as fast; the pictures are the same."""
    urls = []
    for i in range(count):
        path = folder / f"cam{i + 1}.mp4"
        with av.open(str(scene.videos[i % len(scene.videos)])) as source, av.open(str(path), "w") as target:
            shown = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.pts is None or packet.dts is None or packet.time_base is None:
                    continue
                base = packet.time_base
                packet.stream = shown
                packet.time_base = Fraction(1, 90_000)
                packet.pts = round(packet.pts * base * 90_000 / speed)
                packet.dts = round(packet.dts * base * 90_000 / speed)
                packet.duration = 0
                target.mux(packet)
        urls.append(f"file:{path}")
    return urls


def edge_row(scene: Scenery, count: int, detector: Detector, seconds: float, clips: bool, tracked: bool) -> Row:
    """One line of the table: the net alone before and after, the edge service and ``model.track`` between."""
    images = first_pictures(scene, count)
    before_fps, before_s = raw(detector, images, seconds / 4)
    arrivals = Arrivals()
    with tempfile.TemporaryDirectory() as told:
        folder = Path(told)
        speed = max(1.0, PLENTY * before_fps / (count * RATE_HZ))
        urls = played_faster(scene, count, min(speed, 12.0), folder)
        with edge(urls, scene, detector, folder, arrivals, clips) as service:
            time.sleep(WARM_S)
            arrivals.listening.set()
            begin, before, spent = time.perf_counter(), counted(service), time.process_time()
            time.sleep(seconds)
            wall, after = time.perf_counter() - begin, counted(service)
            cores = (time.process_time() - spent) / wall
    fps, net = (after[0] - before[0]) / wall, (after[1] - before[1]) / wall
    track = track_fps(scene, count, seconds / 2) if tracked else None
    after_fps, after_s = raw(detector, images, seconds / 4)
    raw_fps, batch_s = (before_fps + after_fps) / 2.0, (before_s + after_s) / 2.0
    p50, p95 = np.percentile(arrivals.ages_s, [50, 95]) if arrivals.ages_s else (np.nan, np.nan)
    row = {
        "cameras": count, "raw fps": raw_fps, "edge fps": fps, "edge / raw": fps / raw_fps,
        "in the net": net, "cores": cores, "raw batch ms": 1e3 * batch_s,
        "age p50 ms": 1e3 * float(p50), "age p95 ms": 1e3 * float(p95),
        "p95 / batch": float(p95) / batch_s, "raw before": before_fps, "raw after": after_fps,
    }  # fmt: skip
    return row if track is None else {**row, "track fps": track, "edge / track": fps / track}


def first_pictures(scene: Scenery, count: int) -> list[Any]:
    """A picture of each camera, some seconds into its video."""
    found = []
    for i in range(count):
        frames = read_frames({"cam": scene.videos[i % len(scene.videos)]}, 0)
        found.append(next(frame.image for number, frame in enumerate(frames) if number == 20))
    return found


def counted(service: EdgeService) -> tuple[int, float]:
    """Pictures looked at so far, and the seconds that the detection thread spent in the net."""
    tally = service.state().tally
    return sum(tally.pictures.values()), tally.detect_s


def track_fps(scene: Scenery, count: int, seconds: float) -> float:
    """ultralytics' ``model.track`` with ByteTrack: a model per stream, as it keeps identities apart only so.

    Its own defaults for threads and precision; pictures of the same videos, decoded in turn.
    """
    from ultralytics import YOLO

    weights = find_weights(find_card(MODEL), near=BESIDE / "data")
    streams = [cv2.VideoCapture(str(scene.videos[i % len(scene.videos)])) for i in range(count)]
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    models = [YOLO(str(weights), task="pose") for _ in streams]

    def turn() -> None:
        for stream, model in zip(streams, models, strict=True):
            there, image = stream.read()
            if not there:
                stream.set(cv2.CAP_PROP_POS_FRAMES, 0)
                there, image = stream.read()
            model.track(image, persist=True, tracker="bytetrack.yaml", verbose=False)

    turn()
    rounds, begin = 0, time.perf_counter()
    while not rounds or time.perf_counter() - begin < seconds:
        turn()
        rounds += 1
    return count * rounds / (time.perf_counter() - begin)


@dataclass(frozen=True, slots=True)
class Held:
    """What this process holds at one moment."""

    t_s: float
    mib: float
    threads: int
    files: int


def held(begin_s: float) -> Held:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(
        time.monotonic() - begin_s,
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(os.listdir("/proc/self/task")),
        len(os.listdir("/proc/self/fd")),
    )


def watched(seconds: float, every_s: float = 1.0, on_look: Callable[[Held], None] = lambda _: None) -> list[Held]:
    """What this process holds, looked at again and again."""
    begin_s, found = time.monotonic(), []
    while time.monotonic() - begin_s < seconds:
        time.sleep(every_s)
        found.append(held(begin_s))
        on_look(found[-1])
    return found


def slopes(looks: Sequence[Held]) -> dict[str, str]:
    """Growth an hour with its standard error, by least squares, without the first fifth (pools fill up)."""
    kept = looks[len(looks) // 5 :]
    hours = np.array([one.t_s for one in kept]) / 3600.0
    out = {}
    for key, unit in (("mib", "MiB"), ("threads", "threads"), ("files", "files")):
        values = np.array([getattr(one, key) for one in kept], dtype=np.float64)
        line = np.polyfit(hours, values, 1)
        rest = values - np.polyval(line, hours)
        spread = np.sqrt(np.sum(rest**2) / max(1, len(kept) - 2) / max(1e-12, np.sum((hours - hours.mean()) ** 2)))
        out[unit] = f"{values[0]:.0f} to {values[-1]:.0f}, slope {line[0]:+.1f} +- {spread:.1f} an hour"
    return out


def flat_memory(scene: Scenery, count: int, detector: Detector, minutes: float, clips: bool) -> dict[str, str]:
    """``count`` file cameras at their own speed for some minutes."""
    with tempfile.TemporaryDirectory() as told:
        urls = played_faster(scene, count, 1.0, Path(told))
        with edge(urls, scene, detector, Path(told), Arrivals(), clips):
            time.sleep(min(WARM_S, 6.0 * minutes))
            return slopes(watched(60.0 * minutes))


def rtsp_cameras(paths: Sequence[str], pipe: Any, seed: int) -> None:
    """The process of the cameras: each loops its video over RTSP, is unplugged or falls silent, and comes back."""
    chance = random.Random(seed)
    servers = [rtsp_server(Path(path)) for path in paths]
    for server in servers:
        server.start()
    pipe.send([server.url for server in servers])
    faults = 0
    while not pipe.poll(chance.uniform(3.0, 15.0)):
        server, silent = chance.choice(servers), chance.random() < 0.3
        if silent:
            server.silent.set()
        else:
            server.stop()
        over = pipe.poll(chance.uniform(0.5, 20.0))
        if silent:
            server.silent.clear()
        else:
            server.start()
        faults += 1
        if over:
            break
    for server in servers:
        server.stop()
    pipe.send(faults)


def rtsp_server(path: Path) -> Any:
    """The tests' camera, showing ``path`` in a loop; a module of its own each, as its picture rate is the module's."""
    spec = spec_from_file_location(f"rtsp_{path.stem}", ROOT / "tests" / "vision" / "rtsp_server.py")
    if spec is None or spec.loader is None:
        raise SystemExit("tests/vision/rtsp_server.py is missing; run from a checkout of the repository")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    encoder = H264Encoder(RATE_HZ, key_every_s=1.0)
    shown = [picture for f in read_frames({"cam": path}, 0) for picture in encoder.encode(f.t_ns, f.image)]
    module.FPS, module.LOOP = round(RATE_HZ), len(shown)  # type: ignore[attr-defined]
    module.encoded_loop = lambda _size: shown  # type: ignore[attr-defined]
    return module.RtspServer()


def soak(scene: Scenery, count: int, detector: Detector, minutes: float, seed: int, console: Console) -> Row:
    """RTSP cameras with faults for ``minutes``; what the edge process holds, and how much it grew."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    paths = [str(scene.videos[i % len(scene.videos)]) for i in range(count)]
    child = context.Process(target=rtsp_cameras, args=(paths, theirs, seed))
    child.start()
    last = [0.0]

    def tell(look: Held) -> None:
        if look.t_s - last[0] >= 60.0:
            last[0] = look.t_s
            console.print(
                f"{look.t_s / 60:4.0f} min: {look.mib:.0f} MiB, {look.threads} threads, {look.files} files, "
                f"{counted(service)[0]} pictures, load {os.getloadavg()[0]:.1f}", highlight=False
            )  # fmt: skip

    try:
        urls = ours.recv()
        with (
            tempfile.TemporaryDirectory() as told,
            edge(urls, scene, detector, Path(told), Arrivals(), clips=True) as service,
        ):
            looks = watched(60.0 * minutes, min(5.0, 6.0 * minutes), tell)
            state = service.state()
        ours.send("over")
        faults = ours.recv()
    finally:
        child.join(30)
    return {
        "minutes": minutes, "faults": faults, "pictures": sum(state.tally.pictures.values()),
        "connections": sum(one.connections for one in state.cameras.values()), **slopes(looks),
    }  # fmt: skip


def show(console: Console, title: str, rows: Sequence[Row]) -> None:
    table = Table(title=title, title_justify="left", pad_edge=False)
    for key in rows[0]:
        table.add_column(key, justify="right")
    for row in rows:
        table.add_row(*(figure(key, value) for key, value in row.items()))
    console.print(table)


def figure(key: str, value: object) -> str:
    """Two decimals for shares, one for the rest."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if "/" in key or key in {"cores", "in the net"} else f"{value:.1f}"


def main(told: Sequence[str] | None = None) -> None:
    """Measure, print, and write the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="some seconds, to see that it works")
    parser.add_argument("--cameras", default="1,2,4,8")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--minutes", type=float, default=0.0, help="watch the memory for so long")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, default=2, help="of the net")
    parser.add_argument("--precision", default="fast", choices=("fast", "f32"))
    parser.add_argument("--cores", type=int, default=2, help="of this process")
    parser.add_argument("--clips", action="store_true", help="encode and keep the video too")
    parser.add_argument("--no-track", action="store_true", help="without ultralytics' model.track")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(told)
    console = Console() if sys.stdout.isatty() else Console(width=140)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    with tempfile.TemporaryDirectory() as folder:
        result = measured(arguments, scenery(Path(folder)), console)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def measured(arguments: argparse.Namespace, scene: Scenery, console: Console) -> Row:
    """All that was asked for."""
    detector, model = opened(arguments.backend, arguments.threads, arguments.precision)
    seconds = 2.0 if arguments.quick else arguments.seconds
    result: Row = {"model": model, "videos": scene.told, "load average before": os.getloadavg()}
    console.print(f"{model}; {scene.told} videos; {arguments.cores} cores; load {os.getloadavg()[0]:.1f}")
    if arguments.soak:
        result["soak"] = soak(scene, 4, detector, arguments.soak, arguments.seed, console)
        show(console, "Soak: 4 RTSP cameras with faults", [{"what": k, "": v} for k, v in result["soak"].items()])
        return result
    counts = [int(one) for one in arguments.cameras.split(",")][: 2 if arguments.quick else None]
    if arguments.minutes:
        result["held"] = flat_memory(scene, 4, detector, arguments.minutes, arguments.clips)
    tracked = not arguments.no_track and detector.name != "fake"
    rows = [edge_row(scene, count, detector, seconds, arguments.clips, tracked) for count in counts]
    result["rows"] = rows
    show(console, "The edge service beside its net alone", rows)
    for key, value in result.get("held", {}).items():
        console.print(f"4 cameras, {arguments.minutes:g} min: {key} {value}", highlight=False)
    result["load average after"] = os.getloadavg()
    console.print(f"load average at the end {os.getloadavg()[0]:.1f}")
    return result


if __name__ == "__main__":
    main()
