"""The edge box: cameras to observations in the log, whatever happens to cameras and log meanwhile."""

import configparser
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import typer
from numpy.typing import NDArray

from walkout.app.edge import BLIND_NS, BLIND_SOURCE, EdgeService, ObservationStep, tell_systemd
from walkout.app.edge_config import EdgeConfig, read_edge_config
from walkout.app.edge_health import STUCK_S, health, serve_health
from walkout.app.supervisor import PROCESS_HINTS
from walkout.bus.log import EventLog, MemoryLog, RedisLog, private_server
from walkout.cli import app
from walkout.domain.clock import NS_PER_S, SystemClock
from walkout.domain.geometry import Pose
from walkout.domain.sensing import BodyFrame, CameraDetections, Detection, Gap, Watermark
from walkout.errors import SettingsError, WorkerError
from walkout.settings import Settings
from walkout.sim.kiosk import kiosk_store
from walkout.store.calibration import CameraModel
from walkout.store.catalog import Store
from walkout.store.loader import write_store
from walkout.vision.h264 import H264Encoder, Track, mp4_bytes
from walkout.vision.models import find_card
from walkout.vision.people import PeopleTracker

ROOT = Path(__file__).parents[2]
SIZE_PX = (320, 192)
FPS = 10
T0 = 1_700_000_000 * NS_PER_S
#: Where the one person of these tests stands, and a standing body: height in metres of each keypoint of COCO.
PLACE_M = (2.0, 1.2)
HEIGHTS_M = (1.6, 1.65, 1.65, 1.65, 1.65, 1.42, 1.42, 1.1, 1.1, 0.85, 0.85, 0.93, 0.93, 0.5, 0.5, 0.08, 0.08)
ASIDE_M = (0.0, 0.03, -0.03, 0.07, -0.07, 0.18, -0.18, 0.2, -0.2, 0.2, -0.2, 0.1, -0.1, 0.1, -0.1, 0.1, -0.1)
#: Far longer than anything here takes; only a hang gets there.
PATIENCE_S = 60.0


def looking(camera_id: str, at: tuple[float, float, float]) -> CameraModel:
    """A camera at ``at`` that looks at the person's middle."""
    ahead = np.array([*PLACE_M, 1.0]) - np.array(at)
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.column_stack([right, np.cross(ahead, right), ahead])
    lens = np.array([[150.0, 0.0, SIZE_PX[0] / 2], [0.0, 150.0, SIZE_PX[1] / 2], [0.0, 0.0, 1.0]])
    return CameraModel(camera_id, SIZE_PX, lens, np.zeros(5), Pose(rotation, np.array(at)))


CAMERAS = {"left": looking("left", (0.3, -1.0, 2.6)), "right": looking("right", (3.7, -1.0, 2.6))}
#: The brightness of each camera's pictures, by which the detector below tells them apart.
GREY = {"left": 60, "right": 180}


def person_in(camera: CameraModel) -> Detection:
    """What a perfect detector sees of the person."""
    body = np.array([[PLACE_M[0] + x, PLACE_M[1], z] for x, z in zip(ASIDE_M, HEIGHTS_M, strict=True)])
    pixels, visible = camera.project(body)
    assert visible.all()
    (left, top), (right, bottom) = pixels.min(axis=0) - 4, pixels.max(axis=0) + 4
    return Detection((left, top, right, bottom), 0.9, "person", np.column_stack([pixels, np.full(17, 0.9)]))


class OnePerson:
    """Sees the same person in every picture, with the jitter of a net: who never moves at all is a frozen picture."""

    name, task, batch = "one person", "pose", None

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[Detection, ...]]:
        return [(self._jittered("left" if image.mean() < 120 else "right"),) for image in images]

    def _jittered(self, camera_id: str) -> Detection:
        person = person_in(CAMERAS[camera_id])
        assert person.keypoints is not None
        noise = np.column_stack([self._random.normal(0.0, 1.0, (17, 2)), np.zeros(17)])
        return replace(person, keypoints=person.keypoints + noise)


@pytest.fixture(scope="module")
def store() -> Store:
    return replace(kiosk_store(), cameras=CAMERAS)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of grey for each camera."""
    folder = tmp_path_factory.mktemp("videos")
    for name, grey in GREY.items():
        encoder, pictures = H264Encoder(FPS), []
        for number in range(2 * FPS):
            image = np.full((SIZE_PX[1], SIZE_PX[0], 3), grey, np.uint8)
            pictures += encoder.encode(T0 + number * NS_PER_S // FPS, image)
        (folder / f"{name}.mp4").write_bytes(mp4_bytes([Track(name, tuple(pictures))], T0, ""))
    return folder


def config_for(tmp_path: Path, urls: dict[str, str], **more: Any) -> EdgeConfig:
    cameras = [{"id": name, "url": url, "loop": True} for name, url in urls.items()]
    told = {"store": tmp_path, "cameras": cameras, "spool": {"folder": tmp_path / "spool"}, **more}
    return EdgeConfig.model_validate(told)


def files(videos: Path) -> dict[str, str]:
    return {name: f"file:{videos / name}.mp4" for name in CAMERAS}


@contextmanager
def running(config: EdgeConfig, store: Store, events: EventLog) -> Iterator[EdgeService]:
    service = EdgeService(config, dict(store.cameras), store.layout, OnePerson(), events, SystemClock(), "box")
    ended = threading.Event()
    thread = threading.Thread(target=service.run, args=(ended,))
    thread.start()
    try:
        yield service
    finally:
        ended.set()
        thread.join()
        service.close()


def wait_until(happens: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not happens():
        assert time.monotonic() < deadline_s, f"never came: {what}"
        time.sleep(0.05)


def observed(events: EventLog) -> list[BodyFrame]:
    return [entry.record for entry in events.scan("observations") if isinstance(entry.record, BodyFrame)]


def marks_ns(events: EventLog) -> list[int]:
    return [entry.record.t_ns for entry in events.scan("watermarks") if isinstance(entry.record, Watermark)]


# -- from cameras to the log -----------------------------------------------------------------------------------------


def test_two_cameras_fill_the_log_with_one_person_where_he_stands(tmp_path: Path, videos: Path, store: Store) -> None:
    events = MemoryLog()
    with running(config_for(tmp_path, files(videos)), store, events):
        wait_until(lambda: len(observed(events)) >= 20, "two seconds of observations")
    frames = observed(events)
    bodies = [body for frame in frames[5:] for body in frame.bodies]
    assert {body.track_id for body in bodies} == {"box-1"}
    assert len(bodies) >= 0.5 * len(frames[5:])
    for body in bodies:
        assert body.floor is not None
        assert np.hypot(body.floor.x_m - PLACE_M[0], body.floor.y_m - PLACE_M[1]) < 0.2


def test_watermarks_promise_only_what_has_been_told(tmp_path: Path, videos: Path, store: Store) -> None:
    events = Ordered()
    with running(config_for(tmp_path, files(videos)), store, events):
        wait_until(lambda: len(marks_ns(events)) >= 4, "two seconds of watermarks")
    mark_ns = 0
    for record in events.all:
        if isinstance(record, Watermark):
            assert record.t_ns > mark_ns
            mark_ns = record.t_ns
        elif isinstance(record, BodyFrame):
            assert record.t_ns > mark_ns


class Ordered(MemoryLog):
    """Remembers the order across topics."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Any] = []

    def append(self, record: Any) -> str:
        self.all.append(record)
        return super().append(record)


def test_a_camera_that_is_not_there_stops_nobody(tmp_path: Path, videos: Path, store: Store) -> None:
    events, urls = MemoryLog(), {**files(videos), "right": f"file:{tmp_path / 'missing.mp4'}"}
    with running(config_for(tmp_path, urls), store, events) as service:
        wait_until(lambda: len(observed(events)) >= 10, "observations of the other camera")
        status, document = health(service.state())
    assert (status, document["status"]) == (200, "degraded")
    assert [reason.split(":")[0] for reason in document["reasons"]] == ["camera right"]
    assert any(frame.bodies for frame in observed(events))


def test_the_log_is_killed_for_some_seconds_and_nothing_is_lost(tmp_path: Path, videos: Path, store: Store) -> None:
    config = config_for(tmp_path, files(videos))
    with private_server(tmp_path / "log") as url:
        events = RedisLog(url, "store", retry_s=0.0)
        with running(config, store, events) as service:
            wait_until(lambda: service.state().told >= 10, "first observations")
            (server,) = [one for one in psutil.Process().children() if "valkey" in one.name()]
            server.kill()
            wait_until(lambda: service.state().spool.records >= 25, "a spool that fills")
            assert service.state().log_away
            with private_server(tmp_path / "log") as same:
                assert same == url
                wait_until(
                    lambda: not service.state().log_away and not service.state().spool.records, "a drained spool"
                )
                made = service.state().tally.observations
                frames = observed(RedisLog(url, "store"))
    times = list(dict.fromkeys(frame.t_ns for frame in frames))
    assert times == sorted(times)
    assert len(times) >= made - 1
    assert service.state().spool.lost == 0


def test_what_one_run_could_not_say_the_next_one_says_first(tmp_path: Path, videos: Path, store: Store) -> None:
    config = config_for(tmp_path, files(videos))
    nowhere = RedisLog(f"unix://{tmp_path / 'nobody.sock'}", "store", retry_s=0.0)
    with running(config, store, nowhere) as service:
        wait_until(lambda: service.state().tally.observations >= 5, "observations")
    made = service.state().tally.observations
    events = Ordered()
    with running(config, store, events):
        wait_until(lambda: len(observed(events)) > made, "observations of both runs")
    frames = [record for record in events.all if isinstance(record, BodyFrame)]
    assert all(one.t_ns < two.t_ns for one, two in pairwise(frames))
    assert len(frames) > made


def test_video_stays_on_the_box_and_in_its_bound(tmp_path: Path, videos: Path, store: Store) -> None:
    clips = {"folder": tmp_path / "clips", "most_gb": 0.001}
    with running(config_for(tmp_path, files(videos), clips=clips), store, MemoryLog()) as service:
        wait_until(lambda: service.state().tally.rounds >= 20, "two seconds")
    kept = list((tmp_path / "clips").rglob("*.mp4"))
    assert {path.parent.name for path in kept} == set(CAMERAS)
    assert sum(path.stat().st_size for path in kept) < 1_000_000


def test_without_a_clips_table_no_video_is_kept(tmp_path: Path, videos: Path, store: Store) -> None:
    with running(config_for(tmp_path, files(videos)), store, MemoryLog()) as service:
        wait_until(lambda: service.state().tally.rounds >= 5, "some rounds")
    assert list(tmp_path.rglob("*.mp4")) == []


# -- order of time, without threads ----------------------------------------------------------------------------------


def step_of(store: Store) -> ObservationStep:
    return ObservationStep(PeopleTracker(dict(CAMERAS), store.layout), "box", T0)


def seen(camera_id: str, seconds: float) -> CameraDetections:
    return CameraDetections(camera_id, T0 + round(seconds * NS_PER_S), SIZE_PX, (person_in(CAMERAS[camera_id]),))


def times_s(said: Sequence[Any], kind: type) -> list[float]:
    return [round((record.t_ns - T0) / NS_PER_S, 2) for record in said if isinstance(record, kind)]


def live(*names: str) -> dict[str, float]:
    return dict.fromkeys(names or CAMERAS, float(FPS))


def test_what_all_cameras_showed_is_told_in_the_same_round(store: Store) -> None:
    step = step_of(store)
    assert times_s(step.see([seen("left", 0.1), seen("right", 0.12)], live()), BodyFrame) == [0.12]
    assert times_s(step.see([seen("left", 0.2), seen("right", 0.22)], live()), BodyFrame) == [0.22]


def test_a_slow_camera_is_waited_for_but_not_for_ever(store: Store) -> None:
    step = step_of(store)
    step.see([seen("left", 0.1), seen("right", 0.1)], live())
    assert [step.see([seen("left", tenth / 10)], live()) for tenth in range(2, 10)] == [[]] * 8
    said = step.see([seen("right", 0.6)], live())
    assert times_s(said, BodyFrame) == [0.2, 0.3, 0.4, 0.5, 0.6]
    said = step.see([seen("left", 3.0)], live())
    assert times_s(said, BodyFrame) == [0.7, 0.8, 0.9]
    assert step.late == 0
    step.see([seen("right", 1.5)], live())
    assert step.late == 1


def test_a_camera_that_is_known_to_be_away_is_not_waited_for(store: Store) -> None:
    step = step_of(store)
    step.see([seen("left", 0.1), seen("right", 0.1)], live())
    said = step.see([seen("left", 0.3)], live("left")) + step.see([seen("left", 0.4)], live("left"))
    assert times_s(said, BodyFrame) == [0.3, 0.4]


def test_a_watermark_holds_though_a_camera_is_faster_than_it_said(store: Store) -> None:
    step = step_of(store)
    for tenth in range(1, 30):
        said = step.see([seen("left", tenth / 10), seen("right", tenth / 10)], {"left": 1.0, "right": 1.0})
        said += step.see([seen("left", tenth / 10 + 0.01)], {"left": 1.0, "right": 1.0})
        marks = times_s(said, Watermark)
        assert all(mark <= tenth / 10 for mark in marks)


def test_a_blind_box_says_so_and_lets_its_readers_go_on(store: Store) -> None:
    step = step_of(store)
    step.see([seen("left", 1.0)], live("left"))
    assert step.nothing_seen(T0 + 4 * NS_PER_S) == []
    said = [record for second in range(5, 20) for record in step.nothing_seen(T0 + second * NS_PER_S)]
    gaps = [record for record in said if isinstance(record, Gap)]
    assert {gap.source for gap in gaps} == {BLIND_SOURCE}
    assert gaps[0].start_ns == T0 + NS_PER_S
    assert all(one.end_ns == two.start_ns for one, two in pairwise(gaps))
    assert all(gap.end_ns - gap.start_ns >= BLIND_NS for gap in gaps)
    assert times_s(said, Watermark) == [(gap.end_ns - T0) / NS_PER_S for gap in gaps]
    assert times_s(said, BodyFrame) == []
    assert times_s(step.see([seen("left", 30.0)], live("left")), BodyFrame) == [30.0]


# -- health ----------------------------------------------------------------------------------------------------------


def fetch(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_and_metrics_tell_of_every_camera(tmp_path: Path, videos: Path, store: Store) -> None:
    clips = {"folder": tmp_path / "clips"}
    config = config_for(tmp_path, files(videos), clips=clips)
    with running(config, store, MemoryLog()) as service, serve_health("127.0.0.1:0", service.state) as address:
        wait_until(lambda: service.state().tally.observations >= 10, "observations")
        status, text = fetch(address, "/healthz")
        metrics = fetch(address, "/metrics")[1]
        assert fetch(address, "/etc/passwd")[0] == 404
    document = json.loads(text)
    assert (status, document["status"]) == (200, "ok")
    assert set(document["cameras"]) == set(CAMERAS)
    for camera in document["cameras"].values():
        assert camera["state"] == "live"
        assert camera["fps"] > 0
        assert camera["lag_s"] >= 0
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(values['walkout_edge_camera_up{camera="left"}']) == 1.0
    assert float(values["walkout_edge_observations_total"]) >= 10
    limits = [float(values[key]) for key in values if "capture_to_observation_seconds_bucket" in key]
    assert limits == sorted(limits)
    assert limits[-1] == float(values["walkout_edge_capture_to_observation_seconds_count"])


def test_a_detection_thread_that_hangs_is_told_as_stuck(tmp_path: Path, videos: Path, store: Store) -> None:
    with running(config_for(tmp_path, files(videos)), store, MemoryLog()) as service:
        state = service.state()
    assert health(replace(state, silent_s=STUCK_S + 1))[0] == 503
    assert health(replace(state, silent_s=STUCK_S - 1))[0] == 200


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WorkerError, match="choose another port"), serve_health(f"127.0.0.1:{port}", lambda: None):  # type: ignore[arg-type,return-value]
            pass


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(address))
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        tell_systemd("READY=1")
        assert listening.recv(100) == b"READY=1"


# -- the configuration -----------------------------------------------------------------------------------------------

GOOD = 'store = "shop"\n[[cameras]]\nid = "left"\nurl = "rtsp://192.0.2.1/a"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[cameras]]\nid = "a"\nurl = "a.mp4"\n', "key 'store' is missing"),
        (GOOD + "loops = true\n", "key 'cameras[0].loops' is no setting; did you mean 'loop'?"),
        (GOOD.replace("rtsp:", "rtps:"), "key 'cameras[0].url' cannot be"),
        (GOOD + '[[cameras]]\nid = "left"\nurl = "b.mp4"\n', "key 'cameras[1].id': camera 'left' is there twice"),
        (GOOD + "[spool]\nmost_mb = 0\n", "key 'spool.most_mb' cannot be 0"),
        (GOOD + '[http]\nlisten = "9464"\n', "write HOST:PORT, such as 127.0.0.1:9464"),
        (GOOD + '[detector]\nbackend = "tensorrt"\n', "known are auto, openvino"),
        (GOOD.replace("192.0.2.1", "${SECRET}@192.0.2.1"), "set that environment variable"),
        ('store = "shop"\ncameras = []\n', "key 'cameras' cannot be []"),
        ("store = \n", "is not TOML"),
        ('redis_url = "127.0.0.1"\n' + GOOD, "key 'redis_url' cannot be '127.0.0.1': give an address"),
    ],
)
def test_a_slip_in_the_configuration_is_told_by_file_key_and_remedy(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "box.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_edge_config(path, {})
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


def test_passwords_come_from_the_environment_and_never_into_complaints(tmp_path: Path) -> None:
    path = tmp_path / "box.toml"
    path.write_text(GOOD.replace("192.0.2.1", "me:${SECRET}@192.0.2.1"))
    assert read_edge_config(path, {"SECRET": "s3cret"}).cameras[0].url == "rtsp://me:s3cret@192.0.2.1/a"
    path.write_text(GOOD.replace("rtsp://192.0.2.1", "http://me:${SECRET}@192.0.2.1"))
    with pytest.raises(SettingsError) as caught:
        read_edge_config(path, {"SECRET": "s3cret"})
    assert "s3cret" not in str(caught.value)


def test_paths_count_from_the_file_that_names_them(tmp_path: Path) -> None:
    path = tmp_path / "box.toml"
    path.write_text(GOOD.replace("rtsp://192.0.2.1/a", "a.mp4") + '[clips]\nfolder = "clips"\n')
    config = read_edge_config(path, {})
    assert config.store == tmp_path / "shop"
    assert config.cameras[0].url == f"file:{tmp_path / 'a.mp4'}"
    assert config.clips is not None
    assert config.clips.folder == tmp_path / "clips"
    assert config.spool.folder == tmp_path / "spool"


# -- the command -----------------------------------------------------------------------------------------------------


def write_box(folder: Path, store: Store, redis_url: str, camera: str = "left") -> Path:
    write_store(store, folder / "shop")
    path = folder / "box.toml"
    path.write_text(
        f'store = "shop"\nredis_url = "{redis_url}"\n[detector]\nbackend = "fake"\n[http]\nlisten = "127.0.0.1:0"\n'
        f'[[cameras]]\nid = "{camera}"\nurl = "simulated:320x192@10"\n'
    )
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_starts_before_the_log_and_ends_in_order(
    tmp_path: Path, store: Store, number: signal.Signals
) -> None:
    with private_server(tmp_path / "log") as url:
        pass
    path = write_box(tmp_path, store, url)
    command = [sys.executable, "-m", "walkout.cli", "edge", "--config", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        address = first.rpartition("http://")[2].strip().removesuffix("/healthz")
        wait_until(lambda: json.loads(fetch(address, "/healthz")[1])["spool"]["records"] >= 5, "a spool that fills")
        with private_server(tmp_path / "log"):
            events = RedisLog(url, "store")
            wait_until(lambda: len(observed(events)) >= 10, "observations in the log")
            os.kill(process.pid, number)
            assert process.wait(PATIENCE_S) == 0
            assert len(marks_ns(events)) >= 1
    assert not any(frame.bodies for frame in observed_later(tmp_path, url))


def observed_later(tmp_path: Path, url: str) -> list[BodyFrame]:
    with private_server(tmp_path / "log"):
        return observed(RedisLog(url, "store"))


def test_a_camera_without_calibration_is_refused_before_anything_starts(tmp_path: Path, store: Store) -> None:
    path = write_box(tmp_path, store, "redis://127.0.0.1:1/0", camera="back")
    command = [sys.executable, "-m", "walkout.cli", "edge", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "key 'cameras[0].id'" in done.stderr
    assert "walkout calibrate" in done.stderr
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("arguments", [["edge", "--config", "x.toml"], ["vision", "overlay", ".", "--out", "x.png"]])
def test_a_base_install_says_what_cameras_need(arguments: list[str]) -> None:
    script = "import sys; sys.modules['av'] = None; from walkout.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cameras need av")
    assert "walkout[vision]" in done.stderr


# -- what lies in edge/ ----------------------------------------------------------------------------------------------

EDGE = ROOT / "edge"


def test_the_example_configuration_is_one() -> None:
    names = set(re.findall(r"\$\{(\w+)\}", (EDGE / "store.toml").read_text()))
    config = read_edge_config(EDGE / "store.toml", dict.fromkeys(names, "secret"))
    assert len(config.cameras) >= 2
    assert config.clips is not None
    find_card(config.detector.model)


def test_the_example_environment_names_every_variable_of_the_example() -> None:
    names = set(re.findall(r"\$\{(\w+)\}", (EDGE / "store.toml").read_text()))
    told = {line.split("=")[0] for line in (EDGE / "edge.env").read_text().splitlines() if "=" in line}
    assert names <= told
    for name in told - names:
        assert name.removeprefix("WALKOUT_").lower() in Settings.model_fields or name in PROCESS_HINTS, name


@pytest.mark.parametrize("name", ["Dockerfile.cpu", "Dockerfile.gpu"])
def test_container_files_copy_what_is_there_and_run_what_exists(name: str) -> None:
    text = (EDGE / name).read_text().replace("\\\n", " ")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), f"{name}: {source}"
        for extra in re.findall(r"\.\[([\w,]+)\]", line):
            assert set(extra.split(",")) <= set(extras), f"{name}: {extra}"
    assert command_is_ours(json.loads(re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.M)[0])), name


@pytest.mark.parametrize("path", sorted(EDGE.glob("*.service")), ids=lambda path: path.name)
def test_units_run_what_exists(path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path)
    assert {"Unit", "Service", "Install"} <= set(unit.sections())
    for line in unit["Service"]["ExecStart"].split("\n"):
        words = shlex.split(line)
        if words[0].endswith("/walkout"):
            assert command_is_ours(words), path.name
        else:
            files = set(re.findall(r"Dockerfile\.(\w+)", (EDGE / "README.md").read_text()))
            assert words[0] == "/usr/bin/docker"
            assert any(f"walkout-edge:{one}" in line or "walkout-edge:%i" in line for one in files)


def command_is_ours(words: Sequence[str]) -> bool:
    """Whether ``walkout``'s own command line knows these commands and options."""
    command: Any = typer.main.get_command(app)
    rest = list(words[1:])
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    return {word for word in rest if word.startswith("--")} <= known


def test_the_readme_names_only_files_and_commands_that_exist() -> None:
    text = (EDGE / "README.md").read_text()
    for name in re.findall(r"`(edge/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
    for line in re.findall(r"^ *(?:sudo )?(walkout [^\n]*)$", text, re.M):
        assert command_is_ours(shlex.split(line)), line
    for line in re.findall(r"--entrypoint walkout walkout-edge:gpu ([^\n]*)$", text, re.M):
        assert command_is_ours(["walkout", *shlex.split(line)]), line
