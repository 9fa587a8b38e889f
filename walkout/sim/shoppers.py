"""Simulated bodies: where people walk, how their hands reach, and what a tracker would report of them.

Positions and reaches follow the minimum-jerk law that people's hands do (Flash and Hogan 1985, J. Neurosci. 5:1688:
s = 10 u^3 - 15 u^4 + 6 u^5). Everything is in world metres and seconds after the scene's start.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import atan2, pi

import numpy as np
from numpy.typing import NDArray

from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import Body, BodyFrame, Joint, PlateId
from walkout.errors import SceneError
from walkout.sim.script import Act, Scene, Shopper
from walkout.store.layout import Layout, ZoneKind

Floats = NDArray[np.float64]

#: A hand leaves the body this long before the step, is at the plate by the second, may go after the third and is
#: back by the fourth (seconds): reaches of 0.5 m take 0.6 to 0.7 s (Flash and Hogan's subjects, and BENCHMARK-1's).
REACH_S, THERE_S, LINGER_S, RETURN_S = 1.05, 0.40, 0.20, 0.85
#: Mean speeds over a leg, m/s; people in shops stroll at about 0.8, peak 1.88 times the mean of a minimum-jerk move.
SLOW_M_S, FAST_M_S = 0.4, 0.9
#: Steps per second: the cadence line that simulation of real plates was fitted to lies at 1.4 to 1.6 Hz.
CADENCE_HZ = 1.6
#: Distance of the feet from the shelf's front, and how deep and high above the plate the hand goes, metres.
STAND_M, HAND_DEPTH_M, HAND_HEIGHT_M = 0.40, 0.15, 0.12
#: Two acts of one shopper on the same plates may follow at this pace without leaving the shelf, seconds.
QUICK_S = 0.6
#: Body proportions as shares of the height (Winter, Biomechanics of Human Movement: segment lengths).
HEAD_SHARE, HAND_SHARE, ELBOW_WIDTH_M = 0.93, 0.56, 0.22


@dataclass(frozen=True, slots=True)
class Stop:
    """Standing at (x_m, y_m) from ``arrive_s`` to ``depart_s``, turned to ``heading`` radians from the x axis."""

    arrive_s: float
    depart_s: float
    x_m: float
    y_m: float
    heading: float


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """True body positions at n times: ``floor`` (n, 2), ``head`` (n, 3), ``hands`` (n, 2, 3; right, left), metres."""

    floor: Floats
    head: Floats
    hands: Floats


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """How well the simulated tracker sees.

    Standard deviations in metres, per axis: hands of BENCHMARK-1's tracks wobble by 1 to 2 cm. A hand is lost for
    ``lost_s`` at a time, ``lost_share`` of all frames; ``head_lost`` is a share of single frames.
    """

    rate_hz: float = 15.0
    hand_sigma_m: tuple[float, float] = (0.010, 0.020)
    head_sigma_m: float = 0.010
    lost_share: float = 0.12
    lost_s: float = 0.35
    head_lost: float = 0.01


def minimum_jerk(share: Floats) -> Floats:
    """Path share at time share, both 0 to 1; outside it stands still."""
    u = np.clip(share, 0.0, 1.0)
    smooth: Floats = u * u * u * (10.0 + u * (6.0 * u - 15.0))
    return smooth


def hand_target(layout: Layout, plates: tuple[PlateId, ...]) -> Floats:
    """Where a hand goes for goods on ``plates``: (3,) world metres, inside the front of the space above them."""
    points = []
    for plate in plates:
        box = layout.boxes[plate]
        points.append(box.pose.apply(np.array([box.size[0] / 2.0, HAND_DEPTH_M, HAND_HEIGHT_M])))
    target: Floats = np.mean(points, axis=0)
    return target


def spot_of(layout: Layout, act: Act) -> tuple[float, float, float]:
    """Feet x, y in world metres and heading in radians of somebody who serves themselves from the act's plates."""
    box = layout.boxes[act.plates[0]]
    feet = box.pose.apply(np.array([box.size[0] * len(act.plates) / 2.0 + act.stand_m, -STAND_M, 0.0]))
    into = box.pose.rotation[:, 1]
    return float(feet[0]), float(feet[1]), atan2(float(into[1]), float(into[0]))


def stops_of(scene: Scene, shopper: Shopper) -> tuple[Stop, ...]:
    """Where and when a shopper stands: the entrance, a spot for each run of acts, the exit.

    Raises ``SceneError`` where the script leaves too little time to walk or to move the hand.
    """
    entrance, leave = _zone_center(scene, ZoneKind.ENTRANCE), _zone_center(scene, ZoneKind.EXIT)
    stops = [Stop(shopper.enter_s, shopper.enter_s, *entrance, pi / 2.0)]
    before: Act | None = None
    for act in (act for act in scene.acts if act.shopper == shopper.name):
        x, y, heading = spot_of(scene.store.layout, act)
        here = before is not None and np.hypot(x - stops[-1].x_m, y - stops[-1].y_m) < 0.05
        _check_hand(before, act)
        if here:
            last = stops.pop()
            stops.append(Stop(last.arrive_s, act.end_s + RETURN_S, last.x_m, last.y_m, heading))
        else:
            stops.append(Stop(act.t_s - REACH_S, act.end_s + RETURN_S, x, y, heading))
        before = act
    stops.append(Stop(shopper.leave_s, shopper.leave_s, *leave, pi / 2.0))
    return tuple(_stroll(shopper, stops))


def motion(scene: Scene, shopper: Shopper, lane: int, times_s: Floats) -> Motion:
    """The true motion at ``times_s`` (n,); ``lane`` keeps people who walk at once on different curves."""
    stops = stops_of(scene, shopper)
    floor, heading, stride = _walk(stops, lane, times_s)
    ahead = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    right = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
    head = np.column_stack([floor + 0.04 * ahead, np.full(len(times_s), HEAD_SHARE * shopper.height_m)])
    hands = np.empty((len(times_s), 2, 3))
    for side, sign in enumerate((1.0, -1.0)):
        # Arms swing against each other while walking, once per two steps, about 12 cm to the front and back.
        swing = 0.12 + 0.12 * sign * stride * np.sin(pi * CADENCE_HZ * times_s)
        hands[:, side, :2] = floor + sign * ELBOW_WIDTH_M * right + swing[:, None] * ahead
        hands[:, side, 2] = HAND_SHARE * shopper.height_m
    for act in scene.acts:
        if act.shopper == shopper.name:
            _reach(scene.store.layout, act, times_s, head, hands)
    return Motion(floor, head, hands)


def footfalls(scene: Scene, shopper: Shopper, lane: int) -> tuple[Floats, Floats]:
    """When (n,) seconds and where (n, 2) metres the shopper's feet come down while walking."""
    stops = stops_of(scene, shopper)
    legs = [np.arange(a.depart_s, b.arrive_s, 1.0 / CADENCE_HZ) for a, b in pairwise(stops)]
    times = np.concatenate(legs)
    return times, _walk(stops, lane, times)[0]


def body_frames(
    scene: Scene, rng: np.random.Generator, t0_ns: int, settings: TrackerSettings | None = None
) -> list[BodyFrame]:
    """What the tracker reports over the whole scene; frames without anybody are reported too."""
    seen = settings or TrackerSettings()
    times = np.arange(int(scene.end_s * seen.rate_hz)) / seen.rate_hz
    bodies: list[list[Body]] = [[] for _ in times]
    for lane, shopper in enumerate(scene.shoppers):
        inside = np.flatnonzero((times >= shopper.enter_s) & (times <= shopper.leave_s))
        true = motion(scene, shopper, lane, times[inside])
        for index, body in zip(inside, _observe(shopper.track_id, true, rng, seen), strict=True):
            bodies[index].append(body)
    return [BodyFrame(t0_ns + round(i * NS_PER_S / seen.rate_hz), tuple(there)) for i, there in enumerate(bodies)]


def _zone_center(scene: Scene, kind: ZoneKind) -> tuple[float, float]:
    for zone in scene.store.layout.zones:
        if zone.kind is kind:
            x, y = np.mean(zone.corners_m, axis=0)
            return float(x), float(y)
    raise SceneError(f"scene {scene.name}: the store has no {kind} zone; add one to its layout")


def _check_hand(before: Act | None, act: Act) -> None:
    if before is None:
        return
    needed = QUICK_S if act.plates == before.plates else REACH_S + RETURN_S
    if act.t_s - before.end_s < needed - 1e-9:
        raise SceneError(
            f"{act.shopper} cannot {act.kind} at {act.t_s} s after an act at {before.t_s} s: allow {needed} s"
        )


def _stroll(shopper: Shopper, stops: list[Stop]) -> list[Stop]:
    """The stops with arrivals as early as strolling allows: people wait in front of the shelf, not behind."""
    done = [stops[0]]
    for stop in stops[1:]:
        last = done[-1]
        way = float(np.hypot(stop.x_m - last.x_m, stop.y_m - last.y_m))
        free = stop.arrive_s - last.depart_s
        if free < way / FAST_M_S:
            raise SceneError(
                f"{shopper.name} cannot walk {way:.1f} m from {last.depart_s:.1f} to {stop.arrive_s:.1f} s:"
                f" allow {way / FAST_M_S:.1f} s"
            )
        is_exit = stop is stops[-1]
        arrive = stop.arrive_s if is_exit else last.depart_s + min(free, max(way / SLOW_M_S, 0.5))
        if is_exit and free > way / SLOW_M_S:
            # Nothing calls them away before: they look at the shelf until it is time to stroll out.
            done[-1] = Stop(last.arrive_s, arrive - way / SLOW_M_S, last.x_m, last.y_m, last.heading)
        done.append(Stop(arrive, stop.depart_s, stop.x_m, stop.y_m, stop.heading))
    return done


def _walk(stops: tuple[Stop, ...], lane: int, times_s: Floats) -> tuple[Floats, Floats, Floats]:
    """Floor position (n, 2), heading (n,) and how much of a stride it is, 0 standing to 1 walking (n,)."""
    floor = np.empty((len(times_s), 2))
    floor[:] = stops[0].x_m, stops[0].y_m
    heading = np.full(len(times_s), stops[0].heading)
    stride = np.zeros(len(times_s))
    for a, b in pairwise(stops):
        at = times_s >= a.depart_s
        share = np.clip((times_s[at] - a.depart_s) / max(b.arrive_s - a.depart_s, 1e-9), 0.0, 1.0)
        way = np.array([b.x_m - a.x_m, b.y_m - a.y_m])
        # One steps back from the shelf to walk along it, each on a curve of one's own; short side steps and ways
        # straight away from the shelf need none, nor does the way from the entrance.
        out = np.array([np.cos(a.heading), np.sin(a.heading)])
        length = max(float(np.hypot(*way)), 1e-9)
        along = 0.0 if a is stops[0] else 1.0 - abs(float(way @ out)) / length
        back = (0.20 + 0.20 * (lane % 3)) * min(1.0, length) * along * np.sin(pi * share) ** 2
        floor[at] = (a.x_m, a.y_m) + minimum_jerk(share)[:, None] * way - back[:, None] * out
        stride[at] = np.minimum(1.0, 4.0 * share * (1.0 - share))
        turn = (atan2(way[1], way[0]) - a.heading + pi) % (2.0 * pi) - pi
        heading[at] = a.heading + turn * stride[at] + (b.heading - a.heading) * share
    return floor, heading, stride


def _reach(layout: Layout, act: Act, times_s: Floats, head: Floats, hands: Floats) -> None:
    """Bend ``head`` and stretch one of ``hands`` towards the act's plates, in place."""
    target = hand_target(layout, act.plates)
    out = minimum_jerk((times_s - (act.t_s - REACH_S)) / (REACH_S - THERE_S))
    home = minimum_jerk((times_s - (act.end_s + LINGER_S)) / (RETURN_S - LINGER_S))
    weight = out * (1.0 - home)
    side = 0 if act.stand_m <= 0.0 else 1
    hands[:, side] += weight[:, None] * (target - hands[:, side])
    # Hands rise over the edge of the shelf on their way; heads go forward, and down towards low shelves.
    hands[:, side, 2] += 0.4 * weight * (1.0 - weight)
    toward = target[:2] - head[:, :2]
    distance = np.maximum(np.linalg.norm(toward, axis=1), 1e-9)
    head[:, :2] += (0.15 * weight / distance)[:, None] * toward
    head[:, 2] -= weight * np.clip(0.6 * (1.0 - target[2]), 0.0, 0.5)


def _observe(track_id: str, true: Motion, rng: np.random.Generator, seen: TrackerSettings) -> list[Body]:
    """Jitter that half persists from frame to frame, lost hands in runs, hands in no order."""
    n = len(true.head)
    sigma = rng.uniform(*seen.hand_sigma_m)
    hands = true.hands + _persistent(rng.normal(0.0, sigma, (n, 2, 3)), 0.5)
    head = true.head + _persistent(rng.normal(0.0, seen.head_sigma_m, (n, 3)), 0.5)
    lost = _lost(rng.random((n, 2)), seen)
    headless = rng.random(n) < seen.head_lost
    swapped = rng.random(n) < 0.5
    scores = np.round(rng.uniform(0.6, 0.98, (n, 3)), 3)
    bodies = []
    for i in range(n):
        order = (1, 0) if swapped[i] else (0, 1)
        joints = tuple(_joint(hands[i, side], scores[i, side]) for side in order if not lost[i, side])
        bodies.append(Body(track_id, None if headless[i] else _joint(head[i], scores[i, 2]), joints))
    return bodies


def _persistent(noise: Floats, share: float) -> Floats:
    """First-order autoregression along axis 0 that keeps the standard deviation of ``noise``."""
    out = noise.copy()
    for i in range(1, len(out)):
        out[i] = share * out[i - 1] + (1.0 - share * share) ** 0.5 * noise[i]
    return out


def _lost(chance: Floats, seen: TrackerSettings) -> NDArray[np.bool_]:
    """Runs of lost hands: a two-state chain with the stated share and mean length."""
    found = 1.0 / (seen.lost_s * seen.rate_hz)
    drop = found * seen.lost_share / (1.0 - seen.lost_share)
    lost = np.zeros(chance.shape, dtype=np.bool_)
    for i in range(1, len(lost)):
        lost[i] = np.where(lost[i - 1], chance[i] >= found, chance[i] < drop)
    return lost


def _joint(point: Floats, score: float) -> Joint:
    x, y, z = (round(float(value), 4) for value in point)
    return Joint(x, y, z, float(score))
