"""What the shop is about: products, facings, visits, baskets, and who took what."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from walkout.domain.money import Money
from walkout.domain.sensing import PlateId


@dataclass(frozen=True, slots=True)
class Product:
    """One product as the catalog knows it. ``barcode`` is kept as recorded, right or wrong.

    ``weight_g`` is the label's unit weight in grams; None where nobody knows it. ``price`` is None where the
    catalog holds none; such a product is never charged, its visit goes to review. With ``per_kg`` prices are per
    kilogram and each container weighs ``tare_g`` whole grams. An empty ``tax_class`` is the store's first one.
    """

    barcode: str
    name: str
    weight_g: float | None
    price: Money | None
    member_price: Money | None = None
    tax_class: str = ""
    per_kg: bool = False
    tare_g: int = 0


@dataclass(frozen=True, slots=True)
class Facing:
    """One product assigned to neighbouring plates from ``valid_from`` to before ``valid_to`` (None: open)."""

    barcode: str
    plates: tuple[PlateId, ...]
    valid_from: date | None = None
    valid_to: date | None = None


class BasketEventKind(StrEnum):
    """One line of change of a basket."""

    PICK = "pick"
    PUT_BACK = "put_back"
    CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class BasketEvent:
    """One line of change of one visit's basket; idempotent by ``event_id``, independent of order.

    ``quantity`` is signed: +1 for one unit taken, -1 for one put back. ``probability`` is how sure we were.
    ``grams`` is the mass that moved, with the sign of the quantity, for goods sold by weight; 0 where nobody told.
    A correction is written when the whole visit has been seen and an earlier line proved wrong; it carries the
    signed difference. ``weight_event_id`` names the weight event it explains (empty for a correction without one).
    """

    event_id: str
    visit_id: str
    t_ns: int
    kind: BasketEventKind
    barcode: str
    quantity: int
    probability: float
    weight_event_id: str = ""
    grams: int = 0


@dataclass(frozen=True, slots=True)
class Basket:
    """What a visit holds: barcode to positive quantity, sorted by barcode. ``doubtful`` lists what went below zero.

    ``grams`` has the gross mass of those lines of which somebody told it, by barcode.
    """

    visit_id: str
    lines: tuple[tuple[str, int], ...]
    doubtful: tuple[str, ...] = ()
    grams: tuple[tuple[str, int], ...] = ()


def fold_basket(visit_id: str, events: Iterable[BasketEvent]) -> Basket:
    """The basket after ``events`` of any visits in any order, each counted once by its id."""
    totals: dict[str, int] = {}
    grams: dict[str, int] = {}
    seen: set[str] = set()
    for event in events:
        if event.visit_id != visit_id or event.event_id in seen:
            continue
        seen.add(event.event_id)
        totals[event.barcode] = totals.get(event.barcode, 0) + event.quantity
        grams[event.barcode] = grams.get(event.barcode, 0) + event.grams
    lines = tuple(sorted((barcode, count) for barcode, count in totals.items() if count > 0))
    doubtful = tuple(sorted(barcode for barcode, count in totals.items() if count < 0))
    return Basket(visit_id, lines, doubtful, tuple((barcode, grams[barcode]) for barcode, _ in lines if grams[barcode]))


@dataclass(frozen=True, slots=True)
class Item:
    """``quantity`` units of one product moved at once."""

    barcode: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one visit moved; ``visit_id`` None: nobody who pays."""

    visit_id: str | None
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One explanation of a weight event: who moved what, and how probable it is.

    ``sign`` is -1 for a pick (mass left the shelf), +1 for a put-back, 0 for "no goods of ours moved". Two
    shoppers who take from the same plates at once are two parts of one explanation.
    """

    parts: tuple[Part, ...]
    sign: int
    probability: float


@dataclass(frozen=True, slots=True)
class Assignment:
    """The explanation we stand by, with its probability and the runners-up."""

    weight_event_id: str
    chosen: Candidate
    others: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Undecided:
    """Not sure enough for now: the candidates, best first. If nothing later settles it, its visits go to review."""

    weight_event_id: str
    candidates: tuple[Candidate, ...]
    reason: str


Decision = Assignment | Undecided


@dataclass(frozen=True, slots=True)
class VisitClosed:
    """The visit is over and its basket final. ``review`` holds one reason per doubt; empty means: charge it.

    ``basket_events`` is how many basket events billing must have seen before it may settle; ``confidence`` is
    the probability that the whole basket is right.
    """

    visit_id: str
    t_ns: int
    basket_events: int
    confidence: float
    review: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Visit:
    """One stay: from entry to settled. ``track_id`` is the body track bound to it, ``account`` who pays."""

    visit_id: str
    track_id: str | None
    account: str
    entered_ns: int
    left_ns: int | None = None


@dataclass(frozen=True, slots=True)
class PriceList:
    """Unit prices by barcode in one currency."""

    currency: str
    prices: Mapping[str, Money] = field(default_factory=dict)
