"""Every benchmark runs, on settings as small as they come, and its measures mean what they say. No time is asserted."""

import importlib
import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from walkout.domain.clock import NS_PER_S

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
needs_trackeval = pytest.mark.skipif(find_spec("trackeval") is None, reason="trackeval is not installed")
needs_trackers = pytest.mark.skipif(
    find_spec("ultralytics") is None or find_spec("lap") is None, reason="ultralytics or lap is not installed"
)
needs_mot = pytest.mark.skipif(not (SHARED / "data" / "mot").is_dir(), reason="no MOT sequences beside the repository")


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[Path]:
    folder = ROOT / "benchmarks"
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def floors(benchmarks: Path) -> ModuleType:
    del benchmarks
    return importlib.import_module("floors")


@pytest.fixture(scope="module")
def tracking(benchmarks: Path) -> ModuleType:
    del benchmarks
    pytest.importorskip("cv2", reason="the extra 'vision' is not installed")
    return importlib.import_module("tracking")


@pytest.fixture(scope="module")
def vision(benchmarks: Path) -> ModuleType:
    del benchmarks
    pytest.importorskip("cv2", reason="the extra 'vision' is not installed")
    return importlib.import_module("vision")


def test_walkers_keep_apart_and_the_floor_stays_as_full_as_asked(floors: ModuleType) -> None:
    walk = floors.walks(8, 60.0, seed=3)
    inside = [np.isfinite(now[:, 0]).sum() for now in walk.places]
    assert np.mean(inside) > 7.0
    assert max(inside) <= 8 + 2, "who is on the way out counts no more"
    assert walk.places.shape[1] > 8, "somebody left and somebody came"
    for now in walk.places[::20]:
        here = now[np.isfinite(now[:, 0])]
        apart = np.linalg.norm(here[:, None] - here[None], axis=2) + 9.0 * np.eye(len(here))
        assert apart.min() > 0.9 * floors.APART_M


def test_every_simulated_camera_sees_the_middle_of_the_floor_upright(floors: ModuleType) -> None:
    for count in (2, 6, 12):
        for camera in floors.ring_of_cameras(count).values():
            pixels, visible = camera.project([[4.0, 3.0, 0.0], [4.0, 3.0, 1.7]])
            assert visible.all()
            assert camera.in_picture(pixels).all()
            assert pixels[1, 1] < pixels[0, 1], "the head is above the feet"


def test_who_stands_behind_another_is_hidden_and_not_the_other_way_round(floors: ModuleType) -> None:
    camera = next(iter(floors.ring_of_cameras(4).values()))
    toward = np.array([4.0, 3.0]) - camera.position_m[:2]
    toward /= np.linalg.norm(toward)
    near = camera.position_m[:2] + 2.5 * toward
    places = np.array([near, near + 0.4 * toward])
    walk = floors.Walk(np.repeat(places[None], 3, axis=0), np.zeros((3, 2)), np.array([1.8, 1.6]))
    here, points = floors.bodies(walk, 0.05)
    blocked = floors.hidden(camera, points, walk, here, places)
    assert not blocked[0].any()
    assert blocked[1].mean() > 0.5


def test_pictures_come_in_order_from_all_cameras_at_phases_of_their_own(floors: ModuleType) -> None:
    walk = floors.walks(2, 2.0, seed=1)
    seen = list(floors.pictures(walk, floors.ring_of_cameras(3), 10.0, 2.0, 1, floors.Seeing()))
    times = [one.t_ns for one in seen]
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    assert {one.camera_id for one in seen} == {"cam01", "cam02", "cam03"}
    again = list(floors.pictures(walk, floors.ring_of_cameras(3), 10.0, 2.0, 1, floors.Seeing()))
    assert [[d.box_px for d in one.detections] for one in again] == [[d.box_px for d in one.detections] for one in seen]


def test_a_visit_is_pure_only_with_the_identity_it_began_with_and_alone(tracking: ModuleType) -> None:
    here, there = np.array([1.0, 1.0]), np.array([5.0, 5.0])
    frames = round(10.0 / tracking.EVERY_S)
    truth = [[(1, here), (2, there)]] * frames
    assert tracking.visits(truth, [[(7, here), (8, there)]] * frames) == (2, 2)
    swapped = [[(7, here), (8, there)]] * (frames // 2) + [[(8, here), (7, there)]] * (frames - frames // 2)
    assert tracking.visits(truth, swapped) == (2, 0)
    assert tracking.visits(truth, [[(7, here)]] * frames) == (2, 1), "whom nobody told has no pure visit"
    assert tracking.visits(truth[:5], swapped[:5]) == (0, 0), "who only looks in is no visit"


@needs_trackeval
def test_the_truth_scores_all_and_swapped_identities_about_half(tracking: ModuleType) -> None:
    here, there = np.array([1.0, 1.0]), np.array([5.0, 5.0])
    truth = [[(1, here), (2, there)]] * 20
    perfect = tracking.mot.metrics(tracking.floor_data(truth, truth, 0.5))
    assert [perfect[key] for key in ("HOTA", "IDF1", "MOTA", "switches")] == pytest.approx([100.0, 100.0, 100.0, 0.0])
    swapped = truth[:10] + [[(2, here), (1, there)]] * 10
    scored = tracking.mot.metrics(tracking.floor_data(truth, swapped, 0.5))
    assert scored["IDF1"] == pytest.approx(50.0)
    assert scored["switches"] == 2
    off = [[(name, place + 0.7) for name, place in people] for people in truth]
    assert tracking.mot.metrics(tracking.floor_data(truth, off, 0.5))["IDF1"] == 0.0
    assert tracking.mot.metrics(tracking.floor_data(truth, off, 1.0))["IDF1"] == pytest.approx(100.0)


@needs_trackeval
@needs_trackers
def test_the_floor_benchmark_fills_a_row_for_each_tracker(tracking: ModuleType) -> None:
    rows = tracking.floor_rows(tracking.Setting(people=2, cameras=3, rate_hz=5.0, seconds=10.0, runs=1), seed=1)
    assert [row["tracker"] for row in rows] == list(tracking.FLOOR_TRACKERS)
    assert all(row["visits"] == 2 and 0 <= row["pure visits"] <= 2 for row in rows)
    assert all(row["IDF1 1 m"] > 50.0 for row in rows), "two people far apart are no riddle for anybody"


@needs_mot
@needs_trackeval
@needs_trackers
def test_the_box_benchmark_reads_the_sequences_and_scores_every_tracker(
    tracking: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mot = tracking.mot
    short = mot.footage(SHARED / "data" / "mot", mot.BoxNoise(), 1, 8)
    assert {one.name for one in short} == {"MOT17-02", "MOT17-04", "MOT17-05", "TUD-Campus", "TUD-Stadtmitte"}
    monkeypatch.setattr(mot, "footage", lambda *_: short)
    tracking.main(["--quick", "--only", "boxes", "--json", str(tmp_path / "out.json")])
    rows = json.loads((tmp_path / "out.json").read_text())["boxes"]
    assert len(rows) == len(short) * len(mot.TRACKERS)
    assert "ByteTrack" in capsys.readouterr().out


@needs_mot
def test_derived_detections_miss_and_invent_as_stated(tracking: ModuleType) -> None:
    mot = tracking.mot
    truth = np.loadtxt(SHARED / "data" / "mot" / "MOT17-val" / "MOT17-04-FRCNN" / "gt" / "gt.txt", delimiter=",")
    people = truth[(truth[:, 7] == 1) & (truth[:, 6] != 0) & (truth[:, 0] <= 200)]
    expected = np.where(people[:, 8] < 0.1, 0.0, np.minimum(people[:, 8], 0.92)).sum() + 200 * 0.5
    found = mot.derived(truth, 200, (1920, 1080), mot.BoxNoise(), 1)
    assert sum(map(len, found)) == pytest.approx(expected, rel=0.03)
    exact = mot.derived(truth, 5, (1920, 1080), mot.BoxNoise(jitter=0.0, miss=0.0, hidden=0.0, false_per_frame=0.0), 1)
    boxes = {tuple(row) for row in truth[truth[:, 0] == 1][:, 2:6].tolist()}
    assert {tuple(row) for row in exact[0][:, :4].tolist()} <= boxes


def test_without_trackeval_the_remedy_is_told(tracking: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackeval", None)
    with pytest.raises(SystemExit, match="pip install --no-deps trackeval"):
        tracking.main(["--quick"])


def test_the_edge_benchmark_fills_a_row_from_generated_videos(vision: ModuleType, tmp_path: Path) -> None:
    scene = vision.scenery(tmp_path, beside=tmp_path)
    assert scene.told == "generated"
    detector, _ = vision.opened("fake", 1, "f32")
    row = vision.edge_row(scene, 2, detector, 1.0, clips=False, tracked=False)
    assert row["cameras"] == 2
    assert row["edge fps"] > 0
    assert row["age p95 ms"] >= row["age p50 ms"] > 0


def test_growth_is_told_an_hour_and_steadiness_as_none(vision: ModuleType) -> None:
    growing = [vision.Held(t, 100.0 + t / 3600.0 * 6.0, 8, 20) for t in np.arange(0.0, 600.0, 5.0)]
    told = vision.slopes(growing)
    assert "slope +6.0 +- 0.0" in told["MiB"]
    assert "slope +0.0" in told["threads"].replace("-0.0", "+0.0")


def test_the_soak_survives_cameras_that_come_and_go(vision: ModuleType, tmp_path: Path) -> None:
    from rich.console import Console

    scene = vision.scenery(tmp_path, beside=tmp_path)
    detector, _ = vision.opened("fake", 1, "f32")
    row = vision.soak(scene, 2, detector, 0.15, seed=1, console=Console(quiet=True))
    assert row["pictures"] > 0
    assert row["connections"] >= 2


def test_a_video_played_faster_keeps_its_pictures(vision: ModuleType, tmp_path: Path) -> None:
    scene = vision.scenery(tmp_path, beside=tmp_path)
    (tmp_path / "out").mkdir()
    url = vision.played_faster(scene, 1, 4.0, tmp_path / "out")[0]
    slow = list(vision.read_frames({"cam": scene.videos[0]}, 0))
    fast = list(vision.read_frames({"cam": Path(url.removeprefix("file:"))}, 0))
    assert len(fast) == len(slow)
    assert fast[-1].t_ns == pytest.approx(slow[-1].t_ns / 4.0, abs=0.001 * NS_PER_S)
    assert np.array_equal(fast[-1].image, slow[-1].image)


def test_the_shelf_benchmark_finds_the_steps_that_it_set_in(
    benchmarks: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del benchmarks
    shelf = importlib.import_module("shelf")
    monkeypatch.setattr(sys, "argv", ["shelf.py", "--minutes", "1", "--picks", "4", "--seed", "1"])
    shelf.main()
    assert "4, 4; 0" in capsys.readouterr().out
