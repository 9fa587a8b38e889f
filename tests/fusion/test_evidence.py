"""What hands say about who acted."""

from dataclasses import replace

import numpy as np

from tests.fusion.shop import Walker, event, frames, plate, shop
from walkout.domain.sensing import WeightEvent
from walkout.fusion.evidence import (
    LOG_RATIO_LIMIT,
    OFFSETS_S,
    hand_log_ratios,
    log_sum,
    moved_space,
    normalised,
    offset_log_prior,
    reach_probability,
    sighting,
)

STORE = shop()
NOW = int(np.abs(OFFSETS_S).argmin())


def ratios(walker: Walker, step: WeightEvent) -> np.ndarray:
    space = moved_space(step, STORE.layout)
    assert space is not None
    seen = [sighting(frame.t_ns, frame.bodies[0]) for frame in frames(STORE, [walker], 20.0)]
    return hand_log_ratios(step, space, seen)


def test_a_hand_among_the_goods_at_the_step_speaks_for_its_owner() -> None:
    step = event(10.0, {plate(3): -593.0})
    acting = ratios(Walker("a", 0.25, ((10.0, plate(3), 0.4),)), step)[NOW]
    standing = ratios(Walker("b", 0.25), step)[NOW]
    assert acting > 2.0
    assert standing < -2.0


def test_a_hand_that_passes_for_one_frame_is_weaker_than_one_that_stays_for_the_lift() -> None:
    step = event(10.0, {plate(3): -593.0})
    staying = ratios(Walker("a", 0.25, ((10.0, plate(3), 0.3),)), step)[NOW]
    passing = ratios(Walker("b", 0.25, ((10.0, plate(3), 0.04),)), step)[NOW]
    assert staying > passing + 2.0


def test_the_clock_offset_is_where_the_hand_meets_the_step() -> None:
    step = event(10.0, {plate(3): -593.0})
    late = ratios(Walker("a", 0.25, ((10.0, plate(3), 0.2),), clock_s=-0.4), step)
    # The cameras' clock is 0.4 s ahead of the load cells': load cells minus cameras is -0.4 s.
    best = OFFSETS_S[late >= late.max() - 1e-9]
    assert best.min() <= -0.4 <= best.max()
    assert late[NOW] < late.max() - 3.0


def test_an_unseen_hand_within_reach_is_doubt_and_out_of_reach_is_none() -> None:
    step = event(10.0, {plate(3): -593.0})
    near = ratios(Walker("a", 0.25, hidden=True), step)[NOW]
    far = ratios(Walker("b", 3.0, hidden=True), step)[NOW]
    assert -LOG_RATIO_LIMIT <= far < near < 0.0
    assert far < near - 3.0


def test_a_lost_track_says_little_against_its_owner() -> None:
    step = event(10.0, {plate(3): -593.0})
    space = moved_space(step, STORE.layout)
    assert space is not None
    assert np.all(hand_log_ratios(step, space, []) > ratios(Walker("b", 0.25), step)[NOW])


def test_the_space_follows_the_centroid_of_the_mass() -> None:
    one = moved_space(event(1.0, {plate(1): -300.0, plate(2): -300.0}), STORE.layout)
    assert one is not None
    np.testing.assert_allclose(one.pose.translation[0], 0.05)
    assert moved_space(event(1.0, {plate(9, shelf=9): -5.0}), STORE.layout) is None


def test_reach_falls_with_the_distance_on_the_floor() -> None:
    space = STORE.layout.boxes[plate(3)]
    chances = [reach_probability(space, np.array([0.25, -y, 1.6])) for y in (0.2, 0.6, 0.8, 1.2)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.95
    assert chances[-1] < 0.05


def test_log_weights_sum_to_one_and_empty_sums_are_nothing() -> None:
    assert abs(np.exp(offset_log_prior()).sum() - 1.0) < 1e-12
    assert log_sum(np.array([])) == -np.inf
    assert log_sum(normalised(np.array([1000.0, 1001.0]))) < 1e-12


def test_a_hand_whose_place_the_cameras_doubt_says_less_either_way() -> None:
    step = event(10.0, {plate(3): -593.0})
    space = moved_space(step, STORE.layout)
    assert space is not None

    def ratio(walker: Walker, sigma_m: float) -> float:
        seen = [sighting(frame.t_ns, frame.bodies[0]) for frame in frames(STORE, [walker], 20.0)]
        doubted = [replace(one, sigmas_m=np.full(len(one.hands), sigma_m)) for one in seen]
        return float(hand_log_ratios(step, space, doubted)[NOW])

    acting, standing = Walker("a", 0.25, ((10.0, plate(3), 0.4),)), Walker("b", 0.25)
    sure, vague, blind = ([ratio(who, sigma) for who in (acting, standing)] for sigma in (0.0, 0.3, 5.0))
    assert sure[0] > vague[0] > 0.5
    assert sure[1] < vague[1] < -0.5
    assert np.allclose(blind, 0.0, atol=0.1)
