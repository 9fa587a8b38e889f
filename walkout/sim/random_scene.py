"""Simulated scenes drawn at random, for tests on visits that nobody wrote: one to three shoppers at a time.

People keep apart on the floor and come later when there is no room, but reach across each other's hands; they
put goods back, sometimes in wrong places, take what others misplaced, and handle things without taking them.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from walkout.domain.sensing import PlateId
from walkout.domain.shopping import Facing
from walkout.errors import SceneError
from walkout.sim.kiosk import kiosk_store
from walkout.sim.scene import check_scene, closest_m
from walkout.sim.script import Act, ActKind, Scene, Shopper
from walkout.sim.shoppers import FAST_M_S, REACH_S, RETURN_S, spot_of
from walkout.store.catalog import Store

#: Nobody's feet come nearer than this to another's, metres: shoulders are about 0.45 m wide and people turn.
ELBOW_ROOM_M = 0.35
#: Two people do not serve themselves from the same or the next plate within this time, seconds.
SAME_PLATE_S = 2.0
#: A shopper who finds no room tries again this much later, seconds; in the end the store is empty.
QUEUE_S, TRIES = 0.5, 400
#: Shares of what people do when they hold something (first) and when they do not.
_KINDS = {
    True: ((ActKind.PICK, 0.60), (ActKind.PUT, 0.25), (ActKind.TOUCH, 0.10), (ActKind.REACH, 0.05)),
    False: ((ActKind.PICK, 0.80), (ActKind.PUT, 0.0), (ActKind.TOUCH, 0.12), (ActKind.REACH, 0.08)),
}
#: Shares: two units at once; put back in a wrong place; taking what somebody misplaced; goods across two plates.
TWO_UNITS, WRONG_PLACE, TAKE_MISPLACED, ACROSS_TWO = 0.15, 0.30, 0.50, 0.10


@dataclass(slots=True)
class _Visit:
    """One shopper's script while it is being drawn."""

    name: str
    t_s: float
    floor_m: tuple[float, float]
    acts: list[Act] = field(default_factory=list)
    held: list[tuple[str, tuple[PlateId, ...]]] = field(default_factory=list)


def random_scene(seed: int, shoppers: int = 2, max_acts: int = 5, store: Store | None = None) -> Scene:
    """A possible scene of ``shoppers`` people with up to ``max_acts`` acts each; the same seed gives the same scene.

    Raises ``SceneError`` if ``TRIES`` draws for one shopper were all impossible.
    """
    rng = np.random.default_rng([seed, shoppers, max_acts])
    scene = Scene(f"random-{seed}-{shoppers}-{max_acts}", store or kiosk_store(), (), (), 0.0)
    for index in range(shoppers):
        scene = _with_another(scene, index, max_acts, rng)
    return scene


def _with_another(scene: Scene, index: int, max_acts: int, rng: np.random.Generator) -> Scene:
    for attempt in range(TRIES):
        enter_s = round(float(rng.uniform(2.0, 8.0)) + attempt * QUEUE_S * index, 2)
        visit = _visit(scene, f"simulated-{index + 1}", enter_s, int(rng.integers(0, max_acts + 1)), rng)
        shopper = Shopper(
            visit.name, f"track-{index + 1}", enter_s, visit.t_s, round(float(rng.uniform(1.55, 1.88)), 2)
        )
        acts = tuple(sorted((*scene.acts, *visit.acts), key=lambda act: act.t_s))
        end_s = max(scene.end_s, visit.t_s + 3.0)
        trial = Scene(scene.name, scene.store, (*scene.shoppers, shopper), acts, end_s)
        if _has_room(trial) and _is_possible(trial):
            return trial
    raise SceneError(f"scene {scene.name}: no room for shopper {index + 1} after {TRIES} tries; ask for fewer")


def _is_possible(scene: Scene) -> bool:
    """Whether goods and walks work out; a draw that took what another was to take is drawn again."""
    try:
        check_scene(scene)
    except SceneError:
        return False
    return closest_m(scene) >= ELBOW_ROOM_M


def _has_room(scene: Scene) -> bool:
    for i, act in enumerate(scene.acts):
        for other in scene.acts[:i]:
            late = act.t_s - other.end_s < SAME_PLATE_S
            if other.shopper != act.shopper and late and _neighbours(act, other):
                return False
    return True


def _neighbours(act: Act, other: Act) -> bool:
    a, b = act.plates, other.plates
    return a[0].shelf_id == b[0].shelf_id and a[0].plate <= b[-1].plate + 1 and b[0].plate <= a[-1].plate + 1


def _visit(scene: Scene, name: str, enter_s: float, acts: int, rng: np.random.Generator) -> _Visit:
    entrance, leave = (0.4, 0.3), (3.6, 0.3)
    for zone in scene.store.layout.zones:
        x, y = (float(value) for value in np.mean(zone.corners_m, axis=0))
        entrance = (x, y) if zone.kind == "entrance" else entrance
        leave = (x, y) if zone.kind == "exit" else leave
    visit = _Visit(name, enter_s, entrance)
    for _ in range(acts):
        _draw_act(scene, visit, rng)
    # Time to stroll out, with a look round: half of the fastest mean speed and a little.
    way = float(np.hypot(leave[0] - visit.floor_m[0], leave[1] - visit.floor_m[1]))
    visit.t_s = round(visit.t_s + 2.0 * way / FAST_M_S + float(rng.uniform(0.5, 2.0)), 2)
    return visit


def _draw_act(scene: Scene, visit: _Visit, rng: np.random.Generator) -> None:
    """Append one act to ``visit`` and move its time and place on."""
    kinds = _KINDS[bool(visit.held)]
    kind = kinds[int(rng.choice(len(kinds), p=[share for _, share in kinds]))][0]
    barcode, plates = _goods(scene, visit, kind, rng)
    quantity = 0 if kind is ActKind.REACH else 1
    if (
        kind is ActKind.PICK
        and rng.random() < TWO_UNITS
        and len(plates) == 1
        and _at_home(scene.store, barcode, plates)
    ):
        quantity = 2
    if kind is ActKind.TOUCH:
        quantity = int(rng.integers(0, 2))
    hold_s = 0.0 if kind in (ActKind.PICK, ActKind.PUT) else round(float(rng.uniform(0.6, 1.8)), 2)
    act = Act(visit.name, 0.0, kind, barcode, quantity, plates, hold_s, round(float(rng.uniform(-0.3, 0.3)), 2))
    x, y, _ = spot_of(scene.store.layout, act)
    way = float(np.hypot(x - visit.floor_m[0], y - visit.floor_m[1]))
    t_s = round(visit.t_s + way / FAST_M_S + REACH_S + 0.05 + float(rng.uniform(0.2, 3.0)), 2)
    visit.acts.append(Act(act.shopper, t_s, kind, barcode, quantity, plates, hold_s, act.stand_m))
    visit.t_s, visit.floor_m = t_s + hold_s + RETURN_S, (x, y)
    if kind is ActKind.PICK:
        visit.held += [(barcode, plates)] * quantity
    elif kind is ActKind.PUT:
        visit.held.remove(next(there for there in visit.held if there[0] == barcode))


def _goods(scene: Scene, visit: _Visit, kind: ActKind, rng: np.random.Generator) -> tuple[str, tuple[PlateId, ...]]:
    """What the hand goes for, and on which plates."""
    store = scene.store
    if kind is ActKind.PUT:
        barcode, plates = visit.held[int(rng.integers(len(visit.held)))]
        if rng.random() >= WRONG_PLACE:
            return barcode, plates
        every = [plate for plate in store.layout.boxes if not _at_home(store, barcode, (plate,))]
        return barcode, (every[int(rng.integers(len(every)))],)
    misplaced = _misplaced(scene, visit.t_s - SAME_PLATE_S)
    if kind is ActKind.PICK and misplaced and rng.random() < TAKE_MISPLACED:
        return misplaced[int(rng.integers(len(misplaced)))]
    facing = store.planogram.facings[int(rng.integers(len(store.planogram.facings)))]
    first = int(rng.integers(len(facing.plates)))
    return facing.barcode, _some_plates(facing, first, rng.random() < ACROSS_TWO)


def _some_plates(facing: Facing, first: int, across: bool) -> tuple[PlateId, ...]:
    return facing.plates[first : first + (2 if across else 1)]


def _at_home(store: Store, barcode: str, plates: tuple[PlateId, ...]) -> bool:
    return any(f.barcode == barcode and set(plates) <= set(f.plates) for f in store.planogram.facings)


def _misplaced(scene: Scene, before_s: float) -> list[tuple[str, tuple[PlateId, ...]]]:
    """What others have left in wrong places by ``before_s`` and nobody takes later."""
    left: Counter[tuple[str, tuple[PlateId, ...]]] = Counter()
    for act in scene.acts:
        place = (act.barcode, act.plates)
        if act.kind is ActKind.PUT and act.t_s < before_s and not _at_home(scene.store, *place):
            left[place] += act.quantity
        elif act.kind is ActKind.PICK and not _at_home(scene.store, *place):
            left[place] -= act.quantity
    return sorted(left_there for left_there, count in left.items() if count > 0)
