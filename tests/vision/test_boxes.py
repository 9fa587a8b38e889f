"""One camera's boxes keep their identities: what a benchmark cannot prove, in small scenes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import CameraDetections, Detection
from walkout.vision.association import gated_pairs, predicted, squared_distances, updated
from walkout.vision.boxes import BoxTracker, TrackedBox

SIZE = (640, 360)


def seen(t_s: float, *boxes: tuple[float, float, float, float], score: float = 0.9) -> CameraDetections:
    found = tuple(Detection(box, score, "person") for box in boxes)
    return CameraDetections("cam1", round(t_s * NS_PER_S), SIZE, found)


def walker(t_s: float, start_px: float, speed_px: float) -> tuple[float, float, float, float]:
    x = start_px + speed_px * t_s
    return x - 20.0, 100.0, x + 20.0, 220.0


def names(tracks: tuple[TrackedBox, ...]) -> list[int]:
    return [track.track_id for track in tracks]


@pytest.mark.parametrize("rate_hz", [5, 10, 30])
def test_two_who_cross_keep_their_identities_at_any_frame_rate(rate_hz: int) -> None:
    tracker = BoxTracker()
    steps = [tracker.step(seen(i / rate_hz, walker(i / rate_hz, 100, 90), walker(i / rate_hz, 500, -90)))
             for i in range(5 * rate_hz)]  # fmt: skip
    assert all(sorted(names(step)) == [1, 2] for step in steps)
    right = {track.track_id: track.box_px[0] for track in steps[-1]}
    assert right[1] > right[2]


def test_who_is_hidden_for_a_second_is_the_same_afterwards() -> None:
    tracker = BoxTracker()
    for i in range(20):
        tracker.step(seen(i / 10, walker(i / 10, 100, 60)))
    for i in range(20, 30):
        assert tracker.step(seen(i / 10)) == ()
    assert names(tracker.step(seen(3.0, walker(3.0, 100, 60)))) == [1]


def test_who_is_hidden_for_long_is_a_new_one() -> None:
    tracker = BoxTracker()
    for i in range(20):
        tracker.step(seen(i / 10, walker(i / 10, 100, 60)))
    for i in range(20, 60):
        tracker.step(seen(i / 10))
    back = [tracker.step(seen(i / 10, walker(i / 10, 100, 60))) for i in range(60, 63)]
    assert 1 not in names(back[-1])
    assert len(back[-1]) == 1


def test_a_box_seen_once_is_nobody() -> None:
    tracker = BoxTracker()
    tracker.step(seen(0.0))
    assert tracker.step(seen(0.1, (300.0, 50.0, 350.0, 200.0))) == ()
    assert all(tracker.step(seen(0.2 + i / 10)) == () for i in range(5))


def test_an_unsure_box_prolongs_a_track_but_begins_none() -> None:
    tracker = BoxTracker()
    for i in range(5):
        tracker.step(seen(i / 10, walker(i / 10, 100, 60)))
    for i in range(5, 15):
        assert names(tracker.step(seen(i / 10, walker(i / 10, 100, 60), (500.0, 50.0, 550.0, 200.0), score=0.3))) == [1]


def test_a_box_without_area_is_left_out() -> None:
    tracker = BoxTracker()
    assert tracker.step(seen(0.0, (10.0, 10.0, 10.0, 40.0), (50.0, 50.0, 40.0, 90.0))) == ()


def test_the_same_frames_give_the_same_tracks() -> None:
    frames = [seen(i / 10, walker(i / 10, 100, 60), walker(i / 10, 400, -30)) for i in range(30)]
    one, other = BoxTracker(), BoxTracker()
    assert [one.step(frame) for frame in frames] == [other.step(frame) for frame in frames]


def test_pairs_cost_least_together_and_those_beyond_the_gate_stay_alone() -> None:
    cost = np.array([[1.0, 2.0, np.inf], [1.5, 9.0, np.inf], [np.inf, np.inf, np.inf]])
    assert gated_pairs(cost, alone=100.0) == [(0, 1), (1, 0)]
    assert gated_pairs(np.zeros((0, 3)), alone=1.0) == []
    assert gated_pairs(np.array([[5.0]]), alone=4.0) == []


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_update_is_bayes_rule_and_never_less_sure_than_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root, mean = rng.normal(size=(4, 4)), rng.normal(size=4)
    prior, rows, noise = root @ root.T + 0.1 * np.eye(4), rng.normal(size=(2, 4)), np.diag(rng.uniform(0.1, 2.0, 2))
    values = rng.normal(size=2)
    after, spread = updated(mean, prior, rows, values, noise)
    # The information form, derived independently.
    information = np.linalg.inv(prior) + rows.T @ np.linalg.inv(noise) @ rows
    expected = np.linalg.solve(information, np.linalg.inv(prior) @ mean + rows.T @ np.linalg.inv(noise) @ values)
    np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(spread, np.linalg.inv(information), rtol=1e-6, atol=1e-8)
    assert np.linalg.eigvalsh(prior - spread).min() > -1e-8


def test_many_beliefs_at_once_are_each_of_them_alone() -> None:
    rng = np.random.default_rng(1)
    means, roots = rng.normal(size=(3, 4)), rng.normal(size=(3, 4, 4))
    spreads = roots @ roots.transpose(0, 2, 1) + np.eye(4)
    rows, values, noise = np.eye(2, 4), rng.normal(size=(5, 2)), np.stack([np.eye(2) * (1 + i) for i in range(5)])
    squares, logs = squared_distances(means, spreads, rows, values, noise)
    move, process = np.eye(4) + 0.1 * np.eye(4, k=2), 0.01 * np.eye(4)
    there, wide = predicted(means, spreads, move, process)
    for i in range(3):
        np.testing.assert_allclose(there[i], move @ means[i])
        np.testing.assert_allclose(wide[i], move @ spreads[i] @ move.T + process)
        for k in range(5):
            spread, error = rows @ spreads[i] @ rows.T + noise[k], values[k] - rows @ means[i]
            assert squares[i, k] == pytest.approx(error @ np.linalg.inv(spread) @ error)
            assert logs[i, k] == pytest.approx(np.log(np.linalg.det(spread)))
