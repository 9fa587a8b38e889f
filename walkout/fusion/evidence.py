"""How likely each person (or nobody) caused an event, from where the hands were.

The hand term of ``log P(person | event)``: a hand that acts is inside the goods' space at the instant the mass moved,
a bystander's hand is wherever it happens to be. Every frame around the step counts, never one alone, and the unknown
offset between the clocks of cameras and load cells is a grid that the caller marginalises.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walkout.domain.geometry import Box, Pose
from walkout.domain.sensing import Body, WeightEvent
from walkout.store.layout import Layout

#: Load-cell clock minus camera clock, seconds: the grid over which it is marginalised. Recordings of real stores
#: show up to 0.3 s; the grid leaves room for twice that and more.
OFFSETS_S: NDArray[np.float64] = np.round(np.arange(-0.9, 0.901, 0.05), 2)
#: Prior standard deviation of that offset, seconds.
OFFSET_SIGMA_S = 0.3

#: Position error of a hand against the goods it holds: tracker jitter (1-3 cm), a palm's length, camera skew.
HAND_SIGMA_M = 0.08
#: Half width of the instant in which the mass moves, seconds: a lift takes 0.1-0.3 s and bodies come at 10-15 Hz.
#: A hand that acts stays inside for all of it, one that passes is there for a frame.
STEP_HALF_WIDTH_S = 0.15
#: Neighbouring frames err together: all frames of that instant count as this many independent looks.
LOOKS = 1.5
#: An arm reaches 0.75 m +- 0.1 m beyond the head's floor point (algorithms literature: 0.75 m shoulder to grip).
REACH_M = 0.85
REACH_SIGMA_M = 0.1
#: Chance that the acting hand is one that nobody saw: no hand hidden, one hidden, both hidden.
HIDDEN_WEIGHT = (0.003, 0.15, 0.4)
#: Chance that a bystander's hand is inside the very space where the mass moves, and the scale beyond which any
#: distance is as likely as another for somebody who does not act.
BYSTANDER_INSIDE = 0.04
BYSTANDER_SCALE_M = 0.5
#: Nothing the hands say is worth more than this (nats); trackers do fail.
LOG_RATIO_LIMIT = 7.0


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One person in one frame: time, head and visible hands; positions (k, 3) metres in the world frame.

    ``sigmas_m`` (k,) is what the cameras themselves tell about their error on each hand; None where they do not.
    """

    t_ns: int
    head: NDArray[np.float64] | None
    hands: NDArray[np.float64]
    sigmas_m: NDArray[np.float64] | None = None


def sighting(t_ns: int, body: Body) -> Sighting:
    """What one frame says about one person, as arrays."""
    head = None if body.head is None else np.array([body.head.x_m, body.head.y_m, body.head.z_m])
    hands = np.array([[hand.x_m, hand.y_m, hand.z_m] for hand in body.hands]).reshape(-1, 3)
    return Sighting(t_ns, head, hands, np.array([hand.sigma_m for hand in body.hands]))


def moved_space(event: WeightEvent, layout: Layout) -> Box | None:
    """The space above the shelf where the mass moved: one plate wide around the centroid of the changes.

    None when none of the event's plates stand in the layout.
    """
    known = [(plate, abs(delta)) for plate, delta in zip(event.plates, event.delta_g, strict=True)]
    boxes = [(layout.boxes[plate], weight) for plate, weight in known if plate in layout.boxes]
    total = sum(weight for _, weight in boxes)
    if not boxes:
        return None
    first = max(boxes, key=lambda pair: pair[1])[0]
    if total <= 0.0:
        return first
    corner = sum((box.pose.translation * (weight / total) for box, weight in boxes), np.zeros(3))
    return Box(Pose(first.pose.rotation, corner), first.size)


def hand_log_ratios(event: WeightEvent, space: Box, seen: Sequence[Sighting]) -> NDArray[np.float64]:
    """Log likelihood ratio "this person acted" against "this person stood by", one per clock offset.

    ``seen`` are the person's sightings around the event in time order. Shape (len(OFFSETS_S),), nats, clipped to
    +-LOG_RATIO_LIMIT; without a sighting near the step it says little against the person: the track was lost.
    """
    if not seen:
        return np.full(len(OFFSETS_S), np.log(HIDDEN_WEIGHT[1]))
    acting, standing = _frame_terms(space, seen)
    times_s = np.array([(one.t_ns - event.step_ns) * 1e-9 for one in seen])
    # Camera time of the step is load-cell time minus the offset.
    near = np.abs(times_s[None, :] + OFFSETS_S[:, None]) <= STEP_HALF_WIDTH_S + 1e-9
    frames = near.sum(axis=1)
    mean = np.where(near, np.log(acting) - np.log(standing), 0.0).sum(axis=1) / np.maximum(frames, 1)
    looks = np.minimum(frames, LOOKS)
    ratio: NDArray[np.float64] = np.where(frames > 0, mean * looks, np.log(HIDDEN_WEIGHT[1]))
    return np.clip(ratio, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _frame_terms(space: Box, seen: Sequence[Sighting]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per frame: likelihood of what was seen if the person acts, and if not (both up to one common factor)."""
    acting = np.empty(len(seen))
    standing = np.empty(len(seen))
    for index, one in enumerate(seen):
        visible, far = _nearest_hand(space, one)
        hidden = HIDDEN_WEIGHT[max(0, 2 - len(one.hands))] * reach_probability(space, one.head)
        acting[index] = max(visible, hidden, 1e-6)
        standing[index] = BYSTANDER_INSIDE + (1.0 - BYSTANDER_INSIDE) * far
    return acting, standing


def _nearest_hand(space: Box, one: Sighting) -> tuple[float, float]:
    """Of the hand that fits the space best: how well it does, and how far off a bystander's would be.

    The cameras' own doubt adds to the position error of the hand that acts, and to how far apart a bystander's hand
    seems: a hand that could be anywhere says nothing either way.
    """
    if not len(one.hands):
        return 0.0, 1.0
    distances = space.distance(one.hands)
    doubts2 = np.zeros(len(one.hands)) if one.sigmas_m is None else one.sigmas_m**2
    squares = distances**2 / (HAND_SIGMA_M**2 + doubts2)
    best = int(np.argmin(squares))
    apart2 = float(distances[best] ** 2 + doubts2[best])
    return float(np.exp(-0.5 * squares[best])), 1.0 - float(np.exp(-0.5 * apart2 / BYSTANDER_SCALE_M**2))


def reach_probability(space: Box, head: NDArray[np.float64] | None) -> float:
    """Chance that an arm of somebody whose head is here reaches the space: logistic in the floor distance."""
    if head is None:
        return 0.5
    level = np.array([head[0], head[1], space.center()[2]])
    distance = float(space.distance(level[None, :])[0])
    return float(1.0 / (1.0 + np.exp((distance - REACH_M) / (REACH_SIGMA_M / 1.7))))


def offset_log_prior() -> NDArray[np.float64]:
    """Log prior over ``OFFSETS_S``, normalised."""
    raw = -0.5 * (OFFSETS_S / OFFSET_SIGMA_S) ** 2
    return normalised(raw)


def normalised(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log weights that sum to one."""
    return log_weights - log_sum(log_weights)


def log_sum(log_values: NDArray[np.float64]) -> float:
    """log of the sum of exponentials, safe against overflow; -inf for an empty array."""
    if log_values.size == 0:
        return -np.inf
    top = float(log_values.max())
    return top if not np.isfinite(top) else top + float(np.log(np.exp(log_values - top).sum()))
