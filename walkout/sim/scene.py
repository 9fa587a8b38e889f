"""Simulated scenes as records: plates, bodies and the gate, in event-time order; open this file first.

``kiosk_scene`` is the one that the demo plays, ``random_scene`` makes others. ``scene_records`` turns a scene
into what sensors would have said; ``truth`` (in ``script``) says what must come out. The same scene, seed and
start give the same records, byte for byte.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from walkout.domain.clock import to_ns
from walkout.domain.ids import derived_id
from walkout.domain.sensing import BodyFrame, GateEvent, GateEventKind, LoadCellBatch, PlateId
from walkout.domain.shopping import Product
from walkout.sim.kiosk import kiosk_barcode, kiosk_store
from walkout.sim.plates import PlateSettings, Surroundings, batches_of, gondola_readings, sample_times
from walkout.sim.script import STOCK_PER_PLATE, Act, ActKind, Move, Scene, Shopper, Unit, truth, walk_goods
from walkout.sim.shoppers import REACH_S, RETURN_S, TrackerSettings, body_frames, footfalls, motion, stops_of
from walkout.store.layout import Gondola

#: Standard deviation of a unit's mass as a share of the label's; a guess at what packers allow themselves.
UNIT_SPREAD = 0.012
#: Clocks of two controllers that keep time by NTP differ by up to this much, seconds; a guess.
CLOCK_OFFSET_S = 0.030
#: Somebody whose feet are this near to a gondola makes it tremble, metres.
AT_GONDOLA_M = 0.9

Floats = NDArray[np.float64]
Sensed = LoadCellBatch | BodyFrame | GateEvent


def scene_records(
    scene: Scene,
    seed: int,
    t0_ns: int,
    plates: PlateSettings | None = None,
    tracker: TrackerSettings | None = None,
) -> Iterator[Sensed]:
    """Everything the simulated sensors say, by event time (a batch's is that of its first sample).

    ``t0_ns`` is the scene's start, nanoseconds UTC. Raises ``SceneError`` for a script that could not happen.
    """
    check_scene(scene)
    records: list[tuple[int, int, Sensed]] = [(gate.t_ns, 0, gate) for gate in gate_events(scene, seed, t0_ns)]
    bodies = body_frames(scene, _generator(seed, "bodies"), t0_ns, tracker)
    records += [(frame.t_ns, 1, frame) for frame in bodies]
    moves = simulated_moves(scene, seed)
    for index, gondola in enumerate(scene.store.layout.gondolas):
        rng = _generator(seed, f"gondola {gondola.gondola_id}")
        batches = _batches(scene, gondola, moves, rng, t0_ns, plates or PlateSettings())
        records += [(batch.t0_ns, 2 + index, batch) for batch in batches]
    yield from (record for _, _, record in sorted(records, key=lambda entry: entry[:2]))


def check_scene(scene: Scene) -> None:
    """Raises ``SceneError`` unless goods, walks and hands of the script are possible."""
    truth(scene)
    for shopper in scene.shoppers:
        stops_of(scene, shopper)


def closest_m(scene: Scene) -> float:
    """The smallest distance between the feet of two people who are inside at once, metres; infinite if alone."""
    times = np.arange(0.0, scene.end_s, 0.1)
    floors = []
    for lane, shopper in enumerate(scene.shoppers):
        floor = motion(scene, shopper, lane, times).floor.copy()
        floor[(times < shopper.enter_s) | (times > shopper.leave_s)] = np.nan
        floors.append(floor)
    gaps = [np.linalg.norm(a - b, axis=1) for i, a in enumerate(floors) for b in floors[:i]]
    return min((float(gap[np.isfinite(gap)].min(initial=np.inf)) for gap in gaps), default=float("inf"))


def simulated_moves(scene: Scene, seed: int) -> tuple[Move, ...]:
    """The change of plates in grams that each act makes under this seed: every unit has a mass of its own."""
    rng = _generator(seed, "units")

    def draw(product: Product, plates: int) -> Unit:
        grams = (product.weight_g or 0.0) * (1.0 + UNIT_SPREAD * rng.normal())
        share = rng.uniform(0.35, 0.65, plates)
        return Unit(float(grams), tuple(float(part) for part in share / share.sum()))

    return walk_goods(scene, draw)[0]


def visit_id(scene: Scene, seed: int, shopper: str) -> str:
    """The visit of a simulated shopper: the same whenever and wherever the scene is played."""
    return derived_id("simulated", scene.name, seed, shopper)


def gate_events(scene: Scene, seed: int, t0_ns: int) -> list[GateEvent]:
    """Entries and exits in order of time."""
    events = [
        GateEvent(t0_ns + to_ns(t_s), kind, visit_id(scene, seed, shopper.name), shopper.track_id)
        for shopper in scene.shoppers
        for kind, t_s in ((GateEventKind.ENTERED, shopper.enter_s), (GateEventKind.LEFT, shopper.leave_s))
    ]
    return sorted(events, key=lambda event: event.t_ns)


def _generator(seed: int, stream: str) -> np.random.Generator:
    """Chance of one sensor, so that a change in one leaves the others alone."""
    return np.random.default_rng([seed, *stream.encode()])


def _batches(
    scene: Scene,
    gondola: Gondola,
    moves: tuple[Move, ...],
    rng: np.random.Generator,
    t0_ns: int,
    settings: PlateSettings,
) -> list[LoadCellBatch]:
    ids = tuple(plate.plate_id for shelf in gondola.shelves for plate in shelf.plates)
    around = _surroundings(scene, gondola, sample_times(scene.end_s, settings))
    offset_ns = to_ns(rng.uniform(0.0, CLOCK_OFFSET_S))
    grams = gondola_readings(ids, _stock_g(scene, ids), moves, around, rng, settings)
    return batches_of(f"gondola-{gondola.gondola_id}", ids, t0_ns + offset_ns, grams, settings)


def _stock_g(scene: Scene, plates: tuple[PlateId, ...]) -> Floats:
    """What lies on each plate at the start, grams."""
    grams = dict.fromkeys(plates, 0.0)
    for facing in scene.store.planogram.facings:
        for plate in facing.plates:
            if plate in grams:
                grams[plate] += STOCK_PER_PLATE * (scene.store.products[facing.barcode].weight_g or 0.0)
    return np.array([grams[plate] for plate in plates], dtype=np.float64)


def _surroundings(scene: Scene, gondola: Gondola, times: Floats) -> Surroundings:
    standing = np.zeros(len(times), dtype=np.bool_)
    reaching = np.zeros(len(times), dtype=np.bool_)
    steps_s, steps_m = [np.zeros(0)], [np.zeros(0)]
    for lane, shopper in enumerate(scene.shoppers):
        inside = (times >= shopper.enter_s) & (times <= shopper.leave_s)
        standing |= inside & (_distance_m(gondola, motion(scene, shopper, lane, times).floor) < AT_GONDOLA_M)
        when, where = footfalls(scene, shopper, lane)
        steps_s.append(when)
        steps_m.append(_distance_m(gondola, where))
    for act in scene.acts:
        if act.plates[0].gondola == gondola.gondola_id:
            reaching |= (times > act.t_s - REACH_S) & (times < act.end_s + RETURN_S)
    return Surroundings(standing, reaching, np.concatenate(steps_s), np.concatenate(steps_m))


def _distance_m(gondola: Gondola, floor: Floats) -> Floats:
    """Distance of floor points (n, 2) from the gondola's footprint, metres."""
    points = np.column_stack([floor, np.zeros(len(floor))])
    local = ((points - gondola.pose.translation) @ gondola.pose.rotation)[:, :2]
    size = np.array(gondola.size_m[:2])
    outside = np.maximum(np.maximum(-local, local - size), 0.0)
    return np.asarray(np.linalg.norm(outside, axis=1))


def kiosk_scene() -> Scene:
    """The demo: three shoppers, 50 seconds. The first takes a misplaced product along and returns another, the
    second misplaces one and takes goods that lie across two plates, the third handles two and takes nothing."""
    a, b, c = "simulated-1", "simulated-2", "simulated-3"
    acts = (
        _act(a, 7.0, ActKind.PICK, 103, "1/2/2"),
        _act(b, 10.4, ActKind.PICK, 203, "2/2/1"),
        _act(a, 10.6, ActKind.TOUCH, 104, "1/2/4", hold_s=1.2),
        _act(b, 15.6, ActKind.PICK, 108, "1/3/6", stand_m=0.10),
        _act(a, 16.0, ActKind.PICK, 109, "1/4/3", quantity=2, stand_m=-0.10),
        _act(c, 18.6, ActKind.TOUCH, 205, "2/2/7", quantity=0, hold_s=0.8),
        _act(b, 19.6, ActKind.PUT, 203, "1/5/5", stand_m=0.15),
        _act(a, 21.0, ActKind.PUT, 103, "1/2/2"),
        _act(c, 24.0, ActKind.TOUCH, 207, "2/3/5", hold_s=1.5),
        _act(b, 26.4, ActKind.PICK, 113, "1/5/3", stand_m=0.25),
        _act(a, 29.0, ActKind.PICK, 112, "1/5/1"),
        _act(b, 33.4, ActKind.PICK, 211, "2/4/7", "2/4/8"),
        _act(a, 34.0, ActKind.PICK, 203, "1/5/5"),
        _act(b, 37.0, ActKind.PICK, 202, "2/1/6"),
        _act(a, 39.5, ActKind.PICK, 209, "2/4/3"),
    )
    shoppers = (
        Shopper(a, "track-1", 2.0, 47.0, 1.63),
        Shopper(b, "track-2", 4.0, 44.0, 1.78),
        Shopper(c, "track-3", 12.0, 32.0, 1.71),
    )
    return Scene("kiosk", kiosk_store(), shoppers, acts, 50.0)


def _act(
    shopper: str,
    t_s: float,
    kind: ActKind,
    number: int,
    *plates: str,
    quantity: int = 1,
    hold_s: float = 0.0,
    stand_m: float = 0.0,
) -> Act:
    """One line of the script above; plates as gondola/shelf/plate."""
    ids = tuple(PlateId(text.split("/")[0], *map(int, text.split("/")[1:])) for text in plates)
    return Act(shopper, t_s, kind, kiosk_barcode(number), quantity, ids, hold_s, stand_m)
