"""Simulated people walk, reach and are seen as people are."""

import numpy as np
import pytest
from numpy.typing import NDArray

from walkout.domain.sensing import Body, BodyFrame, PlateId
from walkout.sim.kiosk import kiosk_store
from walkout.sim.random_scene import random_scene
from walkout.sim.scene import closest_m, kiosk_scene
from walkout.sim.script import ActKind, Scene, Shopper
from walkout.sim.shoppers import (
    HAND_HEIGHT_M,
    TrackerSettings,
    body_frames,
    hand_target,
    minimum_jerk,
    motion,
)

RATE_HZ = 60.0


def frames_of(scene: Scene, settings: TrackerSettings | None = None) -> list[BodyFrame]:
    return body_frames(scene, np.random.default_rng(3), 0, settings)


def nearest_hand_m(scene: Scene, body: Body, plates: tuple[PlateId, ...]) -> float:
    """Distance of the nearest seen hand from the space above the plates; infinite without a hand."""
    hands = np.array([[hand.x_m, hand.y_m, hand.z_m] for hand in body.hands]).reshape(-1, 3)
    gaps = [scene.store.layout.boxes[plate].distance(hands) for plate in plates]
    return float(np.min(gaps, initial=np.inf))


@pytest.mark.parametrize("scene", [kiosk_scene(), random_scene(3, 3)], ids=["kiosk", "random"])
def test_seen_hands_are_within_ten_centimetres_of_the_plate_at_every_step(scene: Scene) -> None:
    frames = frames_of(scene, TrackerSettings(lost_share=0.0))
    tracks = {shopper.name: shopper.track_id for shopper in scene.shoppers}
    for act in scene.acts:
        at = [frame for frame in frames if abs(frame.t_ns / 1e9 - act.t_s) < 0.1]
        bodies = [body for frame in at for body in frame.bodies if body.track_id == tracks[act.shopper]]
        assert len(bodies) >= 2
        assert max(nearest_hand_m(scene, body, act.plates) for body in bodies) < 0.10


def test_hands_stay_on_the_plate_until_a_lifted_product_is_set_down_again() -> None:
    scene = kiosk_scene()
    (act, *_) = [act for act in scene.acts if act.kind is ActKind.TOUCH and act.quantity]
    lane = [shopper.name for shopper in scene.shoppers].index(act.shopper)
    times = np.arange(act.t_s, act.end_s, 0.05)
    hands = motion(scene, scene.shoppers[lane], lane, times).hands
    gaps = np.linalg.norm(hands - hand_target(scene.store.layout, act.plates), axis=2).min(axis=1)
    assert gaps.max() < 0.01


def test_between_acts_hands_are_away_from_the_shelf() -> None:
    scene = kiosk_scene()
    for lane, shopper in enumerate(scene.shoppers):
        times = np.arange(shopper.enter_s, shopper.leave_s, 0.1)
        mine = [act for act in scene.acts if act.shopper == shopper.name]
        idle = np.all([(times < act.t_s - 1.1) | (times > act.end_s + 0.9) for act in mine], axis=0)
        hands = motion(scene, shopper, lane, times[idle]).hands
        front_m = float(scene.store.layout.gondolas[0].pose.translation[1])
        assert hands[..., 1].max() < front_m - 0.10


def speeds(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres per second along axis 0."""
    moved: NDArray[np.float64] = np.linalg.norm(np.diff(path, axis=0), axis=-1) * RATE_HZ
    return moved


@pytest.mark.parametrize("scene", [kiosk_scene(), random_scene(3, 3)], ids=["kiosk", "random"])
def test_nobody_runs_teleports_or_throws_a_hand(scene: Scene) -> None:
    for lane, shopper in enumerate(scene.shoppers):
        times = np.arange(shopper.enter_s, shopper.leave_s, 1.0 / RATE_HZ)
        true = motion(scene, shopper, lane, times)
        assert speeds(true.floor).max() < 2.0
        # Fast reaches of people peak at about 2 to 3 m/s; stepping aside while reaching adds to it.
        assert speeds(true.hands).max() < 4.0
        assert speeds(true.head).max() < 2.5


@pytest.mark.parametrize("scene", [kiosk_scene(), random_scene(3, 3)], ids=["kiosk", "random"])
def test_people_stay_on_the_floor_and_out_of_each_other(scene: Scene) -> None:
    (floor,) = [zone for zone in scene.store.layout.zones if zone.name == "floor"]
    low, high = np.min(floor.corners_m, axis=0), np.max(floor.corners_m, axis=0)
    for lane, shopper in enumerate(scene.shoppers):
        times = np.arange(shopper.enter_s, shopper.leave_s, 0.1)
        feet = motion(scene, shopper, lane, times).floor
        assert (feet >= low).all()
        assert (feet <= high).all()
    assert closest_m(scene) >= 0.35


def test_tall_people_bend_to_low_shelves() -> None:
    scene = kiosk_scene()
    (act,) = [act for act in scene.acts if act.plates[0].shelf == 1]
    lane = [shopper.name for shopper in scene.shoppers].index(act.shopper)
    head = motion(scene, scene.shoppers[lane], lane, np.array([act.t_s - 2.0, act.t_s])).head
    assert head[0, 2] - head[1, 2] > 0.3
    assert hand_target(scene.store.layout, act.plates)[2] == pytest.approx(0.15 + HAND_HEIGHT_M)


def test_only_people_inside_are_seen_and_an_empty_store_is_reported_too() -> None:
    scene = kiosk_scene()
    frames = frames_of(scene)
    assert len(frames) == int(scene.end_s * 15)
    assert np.diff([frame.t_ns for frame in frames]) == pytest.approx(1e9 / 15, abs=1.0)
    for frame in frames:
        inside = {s.track_id for s in scene.shoppers if s.enter_s <= frame.t_ns / 1e9 <= s.leave_s}
        assert {body.track_id for body in frame.bodies} == inside
    assert not frames[0].bodies


def long_visit() -> Scene:
    """Ten minutes of one person in an empty store: enough frames for statistics."""
    return Scene("long", kiosk_store(), (Shopper("a", "t", 0.0, 600.0),), (), 600.0)


def test_hands_wobble_by_one_to_two_centimetres() -> None:
    scene = long_visit()
    frames = frames_of(scene, TrackerSettings(lost_share=0.0, head_lost=0.0))
    times = np.array([frame.t_ns / 1e9 for frame in frames])
    true = motion(scene, scene.shoppers[0], 0, times)
    seen = np.array([[[h.x_m, h.y_m, h.z_m] for h in frame.bodies[0].hands] for frame in frames])
    # Hands come in no order: each is compared with the true hand it is nearer to.
    error = seen[:, :, None] - true.hands[:, None]
    nearest = np.linalg.norm(error, axis=3).argmin(axis=2)
    error = np.take_along_axis(error, nearest[:, :, None, None], axis=2)[:, :, 0]
    assert 0.009 < error.std() < 0.021
    head = np.array([[f.bodies[0].head.x_m, f.bodies[0].head.y_m] for f in frames if f.bodies[0].head])
    assert (head - true.head[:, :2]).std() == pytest.approx(0.010, rel=0.1)


def test_hands_get_lost_for_a_while_and_come_in_no_order() -> None:
    settings = TrackerSettings()
    frames = frames_of(long_visit(), settings)
    hands = np.array([len(frame.bodies[0].hands) for frame in frames])
    assert 1.0 - hands.mean() / 2.0 == pytest.approx(settings.lost_share, rel=0.25)
    # Runs, not single frames: a loss lasts 0.35 s, about five frames.
    full = hands == 2
    runs = np.count_nonzero(full[:-1] & ~full[1:])
    assert 3.0 < np.count_nonzero(~full) / runs < 9.0
    lefts = [frame.bodies[0].hands[0].x_m for frame in frames if len(frame.bodies[0].hands) == 2]
    middle = np.median(lefts)
    assert 0.4 < np.mean(lefts > middle) < 0.6
    assert np.std(lefts) > 0.1


def test_minimum_jerk_starts_and_ends_at_rest() -> None:
    share = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    assert minimum_jerk(share) == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])
    assert minimum_jerk(np.array([0.01, 0.99])) == pytest.approx([0.0, 1.0], abs=1e-4)
