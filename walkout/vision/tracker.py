"""Who is where: tracks of a closed world, fed with what all cameras say about one moment.

Everything is a pure function of frozen records. A ``World`` is one belief about who everybody is; where people touch,
other beliefs live on beside it and are weighed by what is seen later. The state of a track is (x, y, vx, vy, h): place
and speed on the floor, height of the head. All measurements are linear in it (``floor.Lines``), so the height prior
is used once per person and not once per frame, and covariances stay honest with a single camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import Detection
from walkout.store.layout import ZoneKind
from walkout.vision import association
from walkout.vision.floor import HEAD_M, HEAD_SIGMA_M, Coverage, Floor, Lifted, Lines, place_of, solve

Floats = NDArray[np.float64]
Key = tuple[int, str, int]
"""Names a birth the same in every world: time, camera and index of the first detection."""


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """Limits in seconds, metres and sigmas. What is not measured is a rule, and says so."""

    #: Frames of several cameras within this stretch are one moment: at 1.4 m/s a walker moves 7 cm in it.
    moment_s: float = 0.05
    #: White noise acceleration, m^2/s^3: from standing to 1 m/s within a second.
    acceleration: float = 1.0
    #: A person whom nobody sees goes on walking this long (shoppers stop at shelves), seconds.
    stride_s: float = 1.0
    #: Head height changes (bending, tiptoe), metres per square root of a second.
    nod_m: float = 0.05
    #: Errors of a net on one body last this long: frames of one camera within it are one look together.
    correlation_s: float = 0.3
    #: Two degrees of freedom, one in a thousand true pairs lost (chi-square).
    gate2: float = 13.8
    #: No height of a head moves a body that is seen this far from a track onto it: 0.4 m taller, at 30 degrees.
    far_m: float = 3.0
    #: People nearer to each other than this are in contact: who is who is kept open.
    contact_m: float = 0.7
    #: So many beliefs about who is who are kept, none less likely than the best by this many nats, and all but the best
    #: are given up when everybody has been apart for a while: nothing seen later tells them apart.
    worlds: int = 8
    world_nats: float = 8.0
    apart_s: float = 5.0
    #: Who is in the store when the cameras start is inside: births anywhere this long.
    start_s: float = 2.0
    #: A body that stays unseen this long is not told any more.
    coast_s: float = 0.5
    #: A tentative track not seen for this long was none.
    tentative_s: float = 0.5
    #: Someone unseen near a door for this long has left; elsewhere people may stand hidden for minutes.
    door_lost_s: float = 3.0
    inside_lost_s: float = 120.0
    #: A stranger inside whom no door explains is believed after this long and this much walking.
    stranger_s: float = 3.0
    stranger_m: float = 0.5
    #: The covered floor ends where no camera sees a body a step away: people appear there.
    step_m: float = 0.5
    #: A body leans over the edge of the walkable floor by up to this much (over a shelf, at the glass).
    lean_m: float = 0.3
    #: Who stands in a doorway with half the body inside is inside.
    sill_m: float = 0.1


class Origin(StrEnum):
    """Why a track may exist."""

    START = "start"
    DOOR = "door"
    BORDER = "border"
    STRANGER = "stranger"


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One person's belief: ``mean`` (5,) and ``covariance`` (5, 5) of (x, y, vx, vy, h) at ``t_ns``.

    ``seen`` are the detections of the newest moment that are this person, at most one per camera. ``cameras`` counts
    the most cameras that ever saw the person in one moment.
    """

    key: Key
    origin: Origin
    mean: Floats
    covariance: Floats
    t_ns: int
    born_ns: int
    seen_ns: int
    born_at: tuple[float, float]
    hits: int = 1
    cameras: int = 1
    confirmed: bool = False
    seen: tuple[Lifted, ...] = ()

    @property
    def place(self) -> Floats:
        """Where the person stands, (2,)."""
        return self.mean[:2]


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """One belief about who is who: its tracks, its log weight, and when people last touched in it."""

    tracks: tuple[Track, ...] = ()
    log_weight: float = 0.0
    contact_ns: int = -(2**62)


def predicted(track: Track, t_ns: int, settings: TrackerSettings) -> Track:
    """The belief at ``t_ns``: nearly constant velocity while seen, the walk of an unseen shopper dies out."""
    mean, covariance = track.mean, track.covariance
    left_s = (t_ns - track.t_ns) / NS_PER_S
    at_ns = track.t_ns
    # In short steps, for the velocity fades with the time since the person was seen. 30 s of silence end any belief.
    while left_s > 1e-9:
        step_s = min(left_s, 0.1) if left_s < 30.0 else left_s
        mean, covariance = _stepped(mean, covariance, step_s, at_ns - track.seen_ns > 0.3 * NS_PER_S, settings)
        left_s -= step_s
        at_ns += round(step_s * NS_PER_S)
    return replace(track, mean=mean, covariance=covariance, t_ns=max(t_ns, track.t_ns), seen=())


#: No store is larger for a person whom nobody sees: position variance does not grow beyond it (m^2).
_LOST_M2 = 9.0


def _stepped(
    mean: Floats, covariance: Floats, dt: float, unseen: bool, settings: TrackerSettings
) -> tuple[Floats, Floats]:
    keep = float(np.exp(-dt / settings.stride_s)) if unseen else 1.0
    move = np.eye(5)
    move[0, 2] = move[1, 3] = dt
    move[2, 2] = move[3, 3] = keep
    noise = np.zeros((5, 5))
    for axis in (0, 1):
        wide = covariance[axis, axis] > _LOST_M2
        noise[axis, axis] = 0.0 if wide else settings.acceleration * dt**3 / 3.0
        noise[axis, axis + 2] = noise[axis + 2, axis] = 0.0 if wide else settings.acceleration * dt**2 / 2.0
        noise[axis + 2, axis + 2] = settings.acceleration * dt
        if wide:
            move[axis, axis + 2] = 0.0
    # The height wanders around what is known of adults and never gets vaguer than that.
    stay = float(np.exp(-dt * settings.nod_m**2 / HEAD_SIGMA_M**2))
    move[4, 4] = stay
    noise[4, 4] = (1.0 - stay**2) * HEAD_SIGMA_M**2
    moved, wider = association.predicted(mean, covariance, move, noise)
    moved[4] += (1.0 - stay) * HEAD_M
    return moved, wider


def updated(track: Track, lifted: Lifted, looks: float) -> Track:
    """The belief after one detection more. ``looks`` is how many frames together count as one independent look."""
    picked = np.array([0, 1, 4])
    mean, covariance = track.mean, track.covariance
    lines = lifted.lines.tempered(mean[picked], covariance[np.ix_(picked, picked)])
    rows = np.zeros((len(lines.values), 5))
    rows[:, picked] = lines.rows
    noise = np.diag(lines.sigmas**2 * looks)
    mean, covariance = association.updated(mean, covariance, rows, lines.values, noise)
    return replace(track, mean=mean, covariance=covariance, seen=(*track.seen, lifted))


def step(
    worlds: Sequence[World],
    views: Sequence[tuple[Lifted, ...]],
    t_ns: int,
    looks: Sequence[float],
    first_ns: int,
    floor: Floor,
    covered: Coverage,
    settings: TrackerSettings,
) -> list[World]:
    """All worlds after one moment, best first. ``views`` holds what each camera saw, ``looks`` see ``updated``."""
    found: list[World] = []
    for world in worlds:
        now = World(tuple(predicted(track, t_ns, settings) for track in world.tracks), world.log_weight)
        now = replace(now, contact_ns=t_ns if _touching(now, settings) else world.contact_ns)
        branches = [(now, [False] * sum(map(len, views)))]
        begin = 0
        for view, share in zip(views, looks, strict=True):
            nexts = [one for branch in branches for one in _see(branch, view, begin, share, floor, settings)]
            branches = sorted(nexts, key=lambda one: -one[0].log_weight)[: settings.worlds]
            begin += len(view)
        for branch, taken in branches:
            free = [one for one, used in zip((one for view in views for one in view), taken, strict=True) if not used]
            born = _births(branch, free, t_ns, first_ns, floor, covered, settings)
            found.append(_settled(replace(branch, tracks=branch.tracks + born), t_ns, floor, settings))
    return _pruned(found, t_ns, settings)


Branch = tuple[World, list[bool]]


def _see(
    branch: Branch, view: tuple[Lifted, ...], begin: int, looks: float, floor: Floor, settings: TrackerSettings
) -> list[Branch]:
    """One camera's detections given to the tracks of one world, in one way or, where people touch, in several."""
    world, taken = branch
    cost = np.full((len(world.tracks), len(view)), np.inf)
    for row, track in enumerate(world.tracks):
        for column, one in enumerate(view):
            cost[row, column] = _mismatch(track, one, floor, settings)
    out: list[Branch] = []
    for pairs in _assignments(cost, world, settings):
        tracks, used, weight = list(world.tracks), list(taken), world.log_weight
        for row, column in pairs:
            after = updated(tracks[row], view[column], looks)
            if floor.off_m(after.place) > settings.lean_m and not floor.at_door(after.place, ZoneKind.EXIT):
                continue  # it would draw the person through glass or furniture: not this person
            tracks[row], used[begin + column] = after, True
            weight -= cost[row, column] / looks
        weight -= _UNMATCHED * (min(cost.shape) - len(pairs)) / looks
        out.append((replace(world, tracks=tuple(tracks), log_weight=weight), used))
    return out


#: Nats for a track and a detection that stay alone although both are there: more than any pair within the gate.
_UNMATCHED = 15.0


def _mismatch(track: Track, one: Lifted, floor: Floor, settings: TrackerSettings) -> float:
    """Negative log likelihood that the detection is this person, infinite outside the gate."""
    lost = track.covariance[0, 0] + track.covariance[1, 1] > 1.0
    if not lost and float(np.abs(one.about - track.place).max()) > settings.far_m:
        return float(np.inf)
    place, covariance, _ = one.place(float(track.mean[4]), float(np.sqrt(track.covariance[4, 4])))
    spread = covariance + track.covariance[:2, :2]
    error = place - track.place
    square = float(error @ np.linalg.solve(spread, error))
    # Who comes in at a door is a newcomer rather than somebody lost elsewhere.
    gate2 = settings.gate2 / 4.0 if lost and floor.at_door(place, ZoneKind.ENTRANCE) else settings.gate2
    if square > gate2:
        return float(np.inf)
    return 0.5 * (square + float(np.log(np.linalg.det(2.0 * np.pi * spread))))


def _assignments(cost: Floats, world: World, settings: TrackerSettings) -> list[list[tuple[int, int]]]:
    """The best way to pair rows with columns, and each one in which two people in contact change places."""
    if not cost.size:
        return [[]]
    best = association.gated_pairs(cost, _UNMATCHED * 100.0)
    out = [best]
    column_of = dict(best)
    for first in range(len(world.tracks)):
        for second in range(first):
            pair = world.tracks[first], world.tracks[second]
            mine, other = column_of.get(first), column_of.get(second)
            if (mine is None and other is None) or not all(track.confirmed for track in pair):
                continue
            if np.linalg.norm(pair[0].place - pair[1].place) > settings.contact_m:
                continue
            swapped = {**column_of}
            for row, column in ((first, other), (second, mine)):
                swapped.pop(row, None)
                if column is not None:
                    swapped[row] = column
            if all(np.isfinite(cost[row, column]) for row, column in swapped.items()):
                out.append(sorted(swapped.items()))
    return out


def _touching(world: World, settings: TrackerSettings) -> bool:
    places = [track.place for track in world.tracks if track.confirmed]
    return any(np.linalg.norm(one - other) < settings.contact_m for i, one in enumerate(places) for other in places[:i])


def _births(
    world: World,
    free: Sequence[Lifted],
    t_ns: int,
    first_ns: int,
    floor: Floor,
    covered: Coverage,
    settings: TrackerSettings,
) -> tuple[Track, ...]:
    """Tentative tracks for detections that are nobody's, of all cameras together."""
    born: list[Track] = []
    for group in _groups(free, settings):
        lines = _joined(group)
        state, covariance = solve(lines)
        place = state[:2]
        if floor.off_m(place) > 0.0 and not floor.at_door(place, ZoneKind.ENTRANCE):
            continue
        if any(_is_double(track, group, place) for track in (*world.tracks, *born)):
            continue
        origin = _origin(place, t_ns, first_ns, floor, covered, settings)
        mean = np.array([state[0], state[1], 0.0, 0.0, state[2]])
        spread = np.zeros((5, 5))
        picked = np.ix_([0, 1, 4], [0, 1, 4])
        spread[picked] = covariance
        spread[2, 2] = spread[3, 3] = 1.0  # walking speed, 0-1.5 m/s
        key = (t_ns, group[0].camera_id, group[0].index)
        born.append(
            Track(
                key, origin, mean, spread, t_ns, t_ns, t_ns, (float(place[0]), float(place[1])),
                hits=0, cameras=len(group), seen=tuple(group),
            )
        )  # fmt: skip
    return tuple(born)


def _origin(
    place: Floats, t_ns: int, first_ns: int, floor: Floor, covered: Coverage, settings: TrackerSettings
) -> Origin:
    if t_ns - first_ns <= settings.start_s * NS_PER_S:
        return Origin.START
    if floor.at_door(place, ZoneKind.ENTRANCE):
        return Origin.DOOR
    around = [place + settings.step_m * np.array([np.cos(a), np.sin(a)]) for a in np.arange(8) * np.pi / 4.0]
    if any(floor.off_m(there) <= 0.0 and not covered.sees(there) for there in around):
        return Origin.BORDER
    return Origin.STRANGER


def _groups(free: Sequence[Lifted], settings: TrackerSettings) -> list[list[Lifted]]:
    """Detections of different cameras that can be one body, nearest first; at most one of each camera."""
    groups: list[list[Lifted]] = [[one] for one in free]
    while True:
        best: tuple[float, int, int] | None = None
        for i, one in enumerate(groups):
            for j in range(i):
                if {part.camera_id for part in one} & {part.camera_id for part in groups[j]}:
                    continue
                apart2 = _apart2(groups[j], one)
                if apart2 <= settings.gate2 and (best is None or apart2 < best[0]):
                    best = (apart2, j, i)
        if best is None:
            return groups
        groups[best[1]] = groups[best[1]] + groups.pop(best[2])


def _apart2(one: Sequence[Lifted], other: Sequence[Lifted]) -> float:
    """Squared Mahalanobis distance on the floor; infinite where the rays of both together fit no body."""
    (here, wide, _), (there, wider, _) = place_of(_joined(one)), place_of(_joined(other))
    error = here - there
    square = float(error @ np.linalg.solve(wide + wider, error))
    residual = place_of(_joined([*one, *other]))[2]
    return square if residual < 9.0 else float(np.inf)


def _joined(group: Sequence[Lifted]) -> Lines:
    lines = group[0].lines
    for one in group[1:]:
        lines = lines.joined(one.lines)
    return lines


def _is_double(track: Track, group: Sequence[Lifted], place: Floats) -> bool:
    """Whether the group is but a second look at somebody: as near as two people rarely stand, and no box beside his."""
    if np.linalg.norm(track.place - place) > 0.5:
        return False
    for one in group:
        for seen in track.seen:
            if seen.camera_id == one.camera_id and _overlap(seen.detection, one.detection) < 0.5:
                return False
    return True


def _overlap(one: Detection, other: Detection) -> float:
    """Area that both boxes share, as a share of the smaller."""
    a, b = np.array(one.box_px), np.array(other.box_px)
    sides = np.maximum(0.0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]))
    least = min(float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2])))
    return float(np.prod(sides)) / max(1e-9, least)


def _settled(world: World, t_ns: int, floor: Floor, settings: TrackerSettings) -> World:
    """Confirm, forget, and let go through the door."""
    kept = []
    for track in world.tracks:
        if track.seen:
            hits, cameras = track.hits + 1, max(track.cameras, len(track.seen))
            track = replace(track, seen_ns=t_ns, hits=hits, cameras=cameras)
            if not track.confirmed:
                track = replace(track, confirmed=_convincing(track, t_ns, floor, settings))
        if not _is_gone(track, t_ns, floor, settings):
            kept.append(track)
    return replace(world, tracks=tuple(kept))


def _convincing(track: Track, t_ns: int, floor: Floor, settings: TrackerSettings) -> bool:
    """Whether a tentative track is a person inside the store."""
    inside = floor.inside_probability(track.place, track.covariance[:2, :2])
    if track.origin is Origin.STRANGER:
        walked = float(np.linalg.norm(track.place - np.array(track.born_at)))
        long = t_ns - track.born_ns >= settings.stranger_s * NS_PER_S
        return long and inside > 0.99 and walked > settings.stranger_m
    if inside < 0.95:
        return False
    if track.origin is Origin.START and track.cameras > 1:
        return True
    return track.hits >= 3


def _is_gone(track: Track, t_ns: int, floor: Floor, settings: TrackerSettings) -> bool:
    unseen_s = (t_ns - track.seen_ns) / NS_PER_S
    if not track.confirmed:
        return unseen_s > settings.tentative_s
    if floor.off_m(track.place) > 2.0 * settings.lean_m:
        return True
    if floor.at_door(track.place, ZoneKind.EXIT) or floor.off_m(track.place) > 0.0:
        return unseen_s > settings.door_lost_s
    return unseen_s > settings.inside_lost_s


def told(track: Track, t_ns: int, floor: Floor, settings: TrackerSettings) -> bool:
    """Whether this person is to be reported: believed, seen just now, and inside."""
    if not track.confirmed or t_ns - track.seen_ns > settings.coast_s * NS_PER_S:
        return False
    off = floor.off_m(track.place)
    return off <= (settings.sill_m if floor.at_door(track.place, ZoneKind.EXIT) else settings.lean_m)


def _pruned(worlds: Sequence[World], t_ns: int, settings: TrackerSettings) -> list[World]:
    ordered = sorted(worlds, key=lambda world: -world.log_weight)
    best = ordered[0]
    kept: list[World] = []
    for world in ordered:
        if best.log_weight - world.log_weight > settings.world_nats or len(kept) == settings.worlds:
            break
        if t_ns - world.contact_ns > settings.apart_s * NS_PER_S and kept:
            continue
        if not any(_alike(world, other) for other in kept):
            kept.append(world)
    return [replace(world, log_weight=world.log_weight - best.log_weight) for world in kept]


def _alike(one: World, other: World) -> bool:
    """Whether two worlds believe the same people at the same places."""
    if {track.key for track in one.tracks} != {track.key for track in other.tracks}:
        return False
    there = {track.key: track.place for track in other.tracks}
    return all(float(np.linalg.norm(track.place - there[track.key])) < 0.1 for track in one.tracks)
