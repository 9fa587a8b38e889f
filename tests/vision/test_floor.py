"""What one detection says about a person's place and height, and where people can be."""

import numpy as np
import pytest

from tests.vision.walkers import START_NS, Walker, film, mirrored, room_cameras, room_layout, standing
from walkout.domain.sensing import Detection
from walkout.store.layout import ZoneKind, resolve
from walkout.vision.floor import HEAD_M, Coverage, Floor, Lifted, lift, place_of, solve

CAMERAS = room_cameras()
FLOOR = Floor(room_layout())


def lifted(walker: Walker, name: str, noise: float = 0.0) -> Lifted:
    for shot in film({name: CAMERAS[name]}, [walker], 3.0, noise=noise):
        for index, one in enumerate(shot.detections):
            found = lift(CAMERAS[name], START_NS, index, one)
            assert found is not None
            return found
    raise AssertionError("never seen")


@pytest.mark.parametrize("name", list(CAMERAS))
def test_one_view_gives_the_place_within_a_hand(name: str) -> None:
    place, covariance, residual = lifted(Walker(standing(3.2, 2.3)), name).place()
    assert np.linalg.norm(place - [3.2, 2.3]) < 0.08
    assert np.sqrt(np.linalg.eigvalsh(covariance)[-1]) < 0.35
    assert residual < 1.0


def test_two_views_tell_the_height_of_somebody_small() -> None:
    walker = Walker(standing(3.2, 2.3), stature_m=1.50)
    lines = lifted(walker, "a").lines.joined(lifted(walker, "c").lines)
    state, covariance = solve(lines)
    assert state[2] == pytest.approx(0.94 * 1.50, abs=0.06)
    assert covariance[2, 2] < solve(lifted(walker, "a").lines)[1][2, 2]
    assert np.linalg.norm(place_of(lines)[0] - [3.2, 2.3]) < 0.06


def test_a_head_alone_is_a_line_along_the_view() -> None:
    whole = lifted(Walker(standing(3.2, 2.3)), "a")
    keypoints = whole.detection.keypoints
    assert keypoints is not None
    head_only = keypoints.copy()
    head_only[5:, 2] = 0.0
    one = lift(CAMERAS["a"], START_NS, 0, Detection(whole.detection.box_px, 0.8, "person", head_only))
    assert one is not None
    place, covariance, _ = one.place()
    towards = (place - CAMERAS["a"].position_m[:2]) / np.linalg.norm(place - CAMERAS["a"].position_m[:2])
    along, across = towards @ covariance @ towards, np.trace(covariance) - towards @ covariance @ towards
    assert along > 4.0 * across
    assert np.linalg.norm(place - [3.2, 2.3]) < 3.0 * np.sqrt(along)


def test_keypoints_squeezed_into_the_border_are_not_believed() -> None:
    keypoints = np.zeros((17, 3))
    keypoints[:] = [320.0, 359.0, 0.9]
    assert lift(CAMERAS["a"], START_NS, 0, Detection((300.0, 200.0, 340.0, 360.0), 0.8, "person", keypoints)) is None


def test_a_box_without_keypoints_still_has_a_place() -> None:
    whole = lifted(Walker(standing(3.2, 2.3)), "a")
    boxed = lift(CAMERAS["a"], START_NS, 0, Detection(whole.detection.box_px, 0.8, "person"))
    assert boxed is not None
    assert np.linalg.norm(boxed.place()[0] - [3.2, 2.3]) < 0.35


def test_a_bent_back_is_outvoted_by_the_legs() -> None:
    one = lifted(Walker(standing(3.2, 2.3)), "b")
    state, covariance = np.array([3.2, 2.3, HEAD_M]), np.eye(3) * 0.01
    bent = np.array(one.lines.values)
    bent[:2] += 0.8
    wrong = type(one.lines)(one.lines.rows, bent, one.lines.sigmas)
    tempered = wrong.tempered(state, covariance)
    assert tempered.sigmas[0] > 1.5 * one.lines.sigmas[0]
    assert tempered.sigmas[-1] == pytest.approx(one.lines.sigmas[-1])


def test_the_image_in_the_glass_is_out_of_reach() -> None:
    walker = Walker(standing(4.0, 1.0))
    for name in ("c", "d"):
        inside, beyond = lifted(walker, name), lifted(mirrored(walker), name)
        assert FLOOR.out_of_reach(*inside.place()[:2]) == 0.0
        assert FLOOR.out_of_reach(*beyond.place()[:2]) > 13.8


def test_the_floor_knows_inside_doors_and_edges() -> None:
    assert FLOOR.off_m(np.array([3.0, 2.0])) == pytest.approx(-2.0)
    assert FLOOR.off_m(np.array([3.0, -0.5])) == pytest.approx(0.5)
    assert FLOOR.at_door(np.array([0.8, -0.5]), ZoneKind.ENTRANCE)
    assert not FLOOR.at_door(np.array([3.0, 0.5]), ZoneKind.EXIT)
    assert FLOOR.inside_probability(np.array([3.0, 0.0]), 0.01 * np.eye(2)) == pytest.approx(0.5)
    assert FLOOR.inside_probability(np.array([3.0, 0.3]), 0.01 * np.eye(2)) > 0.99
    anywhere = Floor(resolve(()))
    assert anywhere.inside_probability(np.array([30.0, 2.0]), np.eye(2)) == 1.0
    assert anywhere.off_m(np.array([30.0, 2.0])) < 0.0


def test_coverage_is_where_a_camera_sees_a_body() -> None:
    assert Coverage(list(CAMERAS.values())).sees(np.array([3.0, 2.0]))
    assert not Coverage([CAMERAS["a"]]).sees(np.array([-3.0, -2.0]))
    assert not Coverage([]).sees(np.array([3.0, 2.0]))
