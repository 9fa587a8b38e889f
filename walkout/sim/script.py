"""Scripts of a simulated visit: who does what, when, on which plates; and what must be true afterwards.

A script is checked by walking every unit from shelf to hand and back: nothing can be taken that does not lie
there, nothing put back that is not held, and at the end what left the plates is what the shoppers hold.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from walkout.domain.sensing import PlateId
from walkout.domain.shopping import Product
from walkout.errors import SceneError
from walkout.store.catalog import Store

#: Units of a facing on each of its plates when a scene begins; plates of 20 kg carry it for every product we have.
STOCK_PER_PLATE = 4


class ActKind(StrEnum):
    """What a hand does at a shelf. A touch nets to nothing; a reach does not even meet the plate."""

    PICK = "pick"
    PUT = "put"
    TOUCH = "touch"
    REACH = "reach"


@dataclass(frozen=True, slots=True)
class Act:
    """One move of one hand: ``t_s`` seconds after the scene's start is when most of the mass moves.

    ``plates`` are the neighbouring plates that carry the goods: one, or two for goods that lie across both.
    A touch with quantity 0 only presses the goods; with a quantity it lifts them and sets them down ``hold_s``
    later. ``stand_m`` is how far to the right of the plates the shopper stands, metres.
    """

    shopper: str
    t_s: float
    kind: ActKind
    barcode: str
    quantity: int
    plates: tuple[PlateId, ...]
    hold_s: float = 0.0
    stand_m: float = 0.0

    @property
    def end_s(self) -> float:
        """When the hand may leave, seconds after the scene's start."""
        return self.t_s + self.hold_s


@dataclass(frozen=True, slots=True)
class Shopper:
    """One simulated person: passes the gate at ``enter_s`` and ``leave_s``; ``height_m`` is the body height."""

    name: str
    track_id: str
    enter_s: float
    leave_s: float
    height_m: float = 1.70


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A simulated stretch of shop life of ``end_s`` seconds; ``acts`` in order of time."""

    name: str
    store: Store
    shoppers: tuple[Shopper, ...]
    acts: tuple[Act, ...]
    end_s: float


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of goods: its own mass and how it is shared among the plates it lies on."""

    grams: float
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """What an act does to its plates: ``grams[i]`` is the lasting change of ``act.plates[i]``.

    For a touch the change comes and goes again ``act.hold_s`` later.
    """

    act: Act
    grams: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What a scene must lead to: each shopper's basket (sorted by barcode) and the acts that changed one."""

    baskets: dict[str, tuple[tuple[str, int], ...]]
    events: tuple[Act, ...]


#: Draws one unit of a product that lies on this many plates.
Draw = Callable[[Product, int], Unit]


@dataclass(slots=True)
class _Goods:
    """Where every unit is. ``resting`` holds what shoppers set down, by barcode and the exact plates."""

    fresh: Counter[str]
    resting: dict[tuple[str, tuple[PlateId, ...]], list[Unit]] = field(default_factory=dict)
    held: dict[tuple[str, str], list[Unit]] = field(default_factory=dict)


def truth(scene: Scene) -> Truth:
    """The baskets and events of a scene, the same for every seed.

    Raises ``SceneError`` for a script that could not happen.
    """
    _, held = walk_goods(scene, _label_unit)
    baskets = {
        shopper.name: tuple(
            sorted((barcode, len(units)) for (name, barcode), units in held.items() if name == shopper.name and units)
        )
        for shopper in scene.shoppers
    }
    return Truth(baskets, tuple(act for act in scene.acts if act.kind in (ActKind.PICK, ActKind.PUT)))


def walk_goods(scene: Scene, draw: Draw) -> tuple[tuple[Move, ...], dict[tuple[str, str], list[Unit]]]:
    """Every act as a change of its plates in grams, and the units that each (shopper, barcode) holds at the end.

    ``draw`` makes the units. Raises ``SceneError`` for a script that could not happen.
    """
    _check_acts(scene)
    goods = _Goods(_stock(scene.store))
    moves = tuple(_move(act, goods, scene.store, draw) for act in scene.acts)
    _check_conservation(scene, moves, goods)
    return moves, goods.held


def _label_unit(product: Product, plates: int) -> Unit:
    return Unit(product.weight_g or 0.0, (1.0 / plates,) * plates)


def _stock(store: Store) -> Counter[str]:
    stock: Counter[str] = Counter()
    for facing in store.planogram.facings:
        stock[facing.barcode] += STOCK_PER_PLATE * len(facing.plates)
    return stock


def _check_acts(scene: Scene) -> None:
    shoppers = {shopper.name: shopper for shopper in scene.shoppers}
    if len(shoppers) != len(scene.shoppers) or len({s.track_id for s in scene.shoppers}) != len(shoppers):
        raise SceneError(f"scene {scene.name}: two shoppers share a name or a track id; give each its own")
    for shopper in scene.shoppers:
        if not 0.0 <= shopper.enter_s < shopper.leave_s <= scene.end_s:
            raise SceneError(f"scene {scene.name}: {shopper.name} must enter before leaving, within {scene.end_s} s")
    last_s = 0.0
    for act in scene.acts:
        if act.t_s < last_s:
            raise _impossible(act, f"comes after an act at {last_s} s; sort the acts by time")
        last_s = act.t_s
        there = shoppers.get(act.shopper)
        if there is None:
            raise _impossible(act, "nobody of that name is in the scene")
        if not there.enter_s < act.t_s <= act.end_s < there.leave_s:
            raise _impossible(act, f"{act.shopper} is inside from {there.enter_s} to {there.leave_s} s only")
        _check_plates(act, scene.store)


def _check_plates(act: Act, store: Store) -> None:
    unknown = [str(plate) for plate in act.plates if plate not in store.layout.boxes]
    if unknown or not act.plates:
        raise _impossible(act, f"the store has no plate {', '.join(unknown) or 'named here'}")
    first = act.plates[0]
    row = tuple(first._replace(plate=first.plate + i) for i in range(len(act.plates)))
    if act.plates != row:
        raise _impossible(act, "goods lie on neighbouring plates of one shelf, named left to right")
    moved = act.kind in (ActKind.PICK, ActKind.PUT)
    if act.quantity < (1 if moved else 0) or (moved and act.hold_s):
        raise _impossible(act, "a pick or put moves at least one unit at once; only touches and reaches hold")
    if act.kind is ActKind.REACH and act.quantity:
        raise _impossible(act, "a reach moves nothing; its quantity is 0")
    if act.quantity and act.barcode not in store.products:
        raise _impossible(act, f"the store has no product {act.barcode!r}")


def _move(act: Act, goods: _Goods, store: Store, draw: Draw) -> Move:
    if not act.quantity:
        return Move(act, (0.0,) * len(act.plates))
    if act.kind is ActKind.PUT:
        units = _put(act, goods)
        return Move(act, _grams(units, len(act.plates), +1.0))
    units = _pick(act, goods, store, draw)
    if act.kind is ActKind.PICK:
        goods.held.setdefault((act.shopper, act.barcode), []).extend(units)
    else:
        goods.resting.setdefault((act.barcode, act.plates), []).extend(units)
    return Move(act, _grams(units, len(act.plates), -1.0))


def _pick(act: Act, goods: _Goods, store: Store, draw: Draw) -> list[Unit]:
    """Units that were set down on exactly these plates first (they stand in front), then those of the facing."""
    there = goods.resting.get((act.barcode, act.plates), [])
    units = [there.pop() for _ in range(min(act.quantity, len(there)))]
    missing = act.quantity - len(units)
    stands_here = any(
        facing.barcode == act.barcode and set(act.plates) <= set(facing.plates) for facing in store.planogram.facings
    )
    if missing and (not stands_here or goods.fresh[act.barcode] < missing):
        raise _impossible(act, f"only {act.quantity - missing} of {act.quantity} lie there")
    goods.fresh[act.barcode] -= missing
    return units + [draw(store.products[act.barcode], len(act.plates)) for _ in range(missing)]


def _put(act: Act, goods: _Goods) -> list[Unit]:
    held = goods.held.get((act.shopper, act.barcode), [])
    if len(held) < act.quantity:
        raise _impossible(act, f"{act.shopper} holds {len(held)} of it, not {act.quantity}")
    even = (1.0 / len(act.plates),) * len(act.plates)
    # Shares belong to a place: goods that come to lie across as many plates as before lie there in the same way.
    units = [
        unit if len(unit.shares) == len(act.plates) else Unit(unit.grams, even)
        for unit in (held.pop() for _ in range(act.quantity))
    ]
    goods.resting.setdefault((act.barcode, act.plates), []).extend(units)
    return units


def _grams(units: list[Unit], plates: int, sign: float) -> tuple[float, ...]:
    return tuple(sign * sum(unit.grams * unit.shares[i] for unit in units) for i in range(plates))


def _check_conservation(scene: Scene, moves: tuple[Move, ...], goods: _Goods) -> None:
    """Baskets are picks minus puts, in units and in grams; a break of either is an error of the generator."""
    counts: Counter[tuple[str, str]] = Counter()
    grams = 0.0
    for move in moves:
        sign = {ActKind.PICK: 1, ActKind.PUT: -1}.get(move.act.kind, 0)
        counts[move.act.shopper, move.act.barcode] += sign * move.act.quantity
        grams += abs(sign) * sum(move.grams)
    held_g = sum(unit.grams for units in goods.held.values() for unit in units)
    wrong = [key for key, count in counts.items() if count != len(goods.held.get(key, ()))]
    if wrong or abs(grams + held_g) > 1e-6:
        raise SceneError(f"scene {scene.name}: goods were not conserved: {wrong}, {grams + held_g:.6f} g")


def _impossible(act: Act, why: str) -> SceneError:
    what = f"{act.shopper} cannot {act.kind} {act.quantity} x {act.barcode or 'nothing'} at {act.t_s} s"
    return SceneError(f"{what} on {', '.join(map(str, act.plates))}: {why}")
