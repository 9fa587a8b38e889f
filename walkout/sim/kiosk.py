"""The simulated kiosk: two gondolas along one wall, 72 plates, 26 invented products.

World frame: x along the wall from left to right as a shopper facing it sees it, y towards the wall, z up.
Names, weights and prices are made up; barcodes are EAN-13 of the range that GS1 leaves to stores (20 to 29),
so they cannot meet a real product's.
"""

from fractions import Fraction
from typing import NamedTuple

import numpy as np

from walkout.domain.geometry import Pose
from walkout.domain.money import Money
from walkout.domain.selling import Seller, StoreTerms, TaxClass
from walkout.domain.sensing import PlateId, ShelfId
from walkout.domain.shopping import Facing, Product
from walkout.store.catalog import Planogram, Store
from walkout.store.layout import Gondola, Layout, Plate, Shelf, Zone, ZoneKind, resolve

#: Eight plates of 15 cm make a gondola of 1.2 m, as wide and as dense as the shelves of the public nanostore.
PLATES_PER_SHELF = 8
PLATE_WIDTH_M = 0.15
SHELF_DEPTH_M = 0.42
#: Where the fronts of the gondolas stand, and how far the walkable floor goes.
FRONT_Y_M = 2.6
FLOOR_WIDTH_M = 4.0
GONDOLA_HEIGHT_M = 1.95


class _Line(NamedTuple):
    """One product of the table below and how many plates its facing takes; no name means empty plates."""

    number: int
    korean: str
    english: str
    weight_g: float
    won: int
    plates: int


_EMPTY = ""
#: Shelves from the lowest up, products from left to right. Light goods lie high, bottles low, as shops stack them.
_GONDOLA_1 = (
    (
        _Line(101, "한라 샘물 2 L", "Halla spring water 2 L", 2052.0, 1300, 4),
        _Line(102, "구수한 보리차 1.5 L", "Roasted barley tea 1.5 L", 1548.0, 2200, 4),
    ),
    (
        _Line(103, "제주 감귤 주스", "Jeju tangerine juice", 531.0, 2800, 3),
        _Line(104, "청매실 주스", "Green plum juice", 368.0, 2300, 2),
        _Line(105, "유자차 병음료", "Bottled yuja tea", 402.0, 2500, 3),
    ),
    (
        _Line(106, "바나나 우유", "Banana milk", 262.0, 1700, 2),
        _Line(107, "딸기 요구르트", "Strawberry yoghurt drink", 163.0, 1500, 3),
        _Line(108, "콜드브루 커피", "Cold brew coffee", 296.0, 2900, 2),
        _Line(0, _EMPTY, _EMPTY, 0.0, 0, 1),
    ),
    (
        _Line(109, "참치 삼각김밥", "Tuna rice triangle", 112.0, 1600, 3),
        _Line(110, "불고기 삼각김밥", "Bulgogi rice triangle", 121.0, 1700, 3),
        _Line(111, "달걀 샌드위치", "Egg sandwich", 174.0, 3200, 2),
    ),
    (
        _Line(112, "견과 단백질 바", "Nut protein bar", 52.0, 2400, 2),
        _Line(113, "꿀 약과", "Honey yakgwa", 70.0, 1300, 2),
        _Line(114, "초코 비스킷", "Chocolate biscuits", 138.0, 1500, 2),
        _Line(115, "박하 껌", "Mint gum", 27.0, 1000, 2),
    ),
)
_GONDOLA_2 = (
    (
        _Line(201, "매운 라면 5개입", "Spicy noodles, pack of 5", 612.0, 4500, 4),
        _Line(202, "즉석밥 3개입", "Instant rice, pack of 3", 681.0, 4200, 4),
    ),
    (
        _Line(203, "새우 컵라면", "Shrimp cup noodles", 92.0, 1300, 3),
        _Line(204, "떡볶이 컵", "Rice cake cup", 186.0, 2600, 3),
        _Line(205, "참치 통조림", "Canned tuna", 152.0, 2900, 2),
    ),
    (
        _Line(206, "구운 김 과자", "Roasted seaweed crisps", 34.0, 1900, 3),
        _Line(207, "고구마 칩", "Sweet potato chips", 84.0, 2200, 3),
        _Line(0, _EMPTY, _EMPTY, 0.0, 0, 2),
    ),
    (
        _Line(208, "대나무 칫솔", "Bamboo toothbrush", 22.0, 2000, 2),
        _Line(209, "솔잎 치약", "Pine toothpaste", 148.0, 3500, 2),
        _Line(210, "물티슈 60매", "Wet wipes, 60 sheets", 318.0, 2200, 2),
        _Line(211, "접이식 우산", "Folding umbrella", 345.0, 9900, 2),
    ),
)
#: Gondola: left edge in metres, height of each shelf's plates in metres, clear height above them, its table.
_GONDOLAS = {
    "1": (0.6, (0.15, 0.50, 0.85, 1.20, 1.55), 0.32, _GONDOLA_1),
    "2": (2.0, (0.15, 0.60, 1.05, 1.50), 0.42, _GONDOLA_2),
}


_TIMEZONE = "Asia/Seoul"
#: Nobody's: all zeros is the one business number that nobody can have been given.
_SELLER = Seller(
    "모의 매장 / Simulated kiosk",
    "KR",
    business_number="000-00-00000",
    representative="-",
    refund_policy_ko="모의 매장입니다. 실제 결제와 환불은 없습니다.",
    refund_policy_en="A simulated store: nothing is really paid or refunded.",
)
#: What it sells is processed food and drink, taxed in Korea with 10 % inside the price (VAT Act art. 30).
_TERMS = StoreTerms(_SELLER, (TaxClass("과세", Fraction(1, 10)),), timezone=_TIMEZONE)


def ean13(first_twelve: str) -> str:
    """Twelve digits and their check digit: weights 1 and 3 in turn (GS1 General Specifications, 7.9)."""
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(first_twelve))
    return f"{first_twelve}{-total % 10}"


def kiosk_barcode(number: int) -> str:
    """The in-store barcode of the kiosk's product ``number``."""
    return ean13(f"20{number:010d}")


def kiosk_store() -> Store:
    """The simulated store with its layout, catalog in won and planogram without dates."""
    products = {}
    facings = []
    for gondola_id, (_, _, _, table) in _GONDOLAS.items():
        for level, lines in enumerate(table, start=1):
            first = 1
            for line in lines:
                plates = tuple(PlateId(gondola_id, level, plate) for plate in range(first, first + line.plates))
                first += line.plates
                if line.korean:
                    product = _product(line)
                    products[product.barcode] = product
                    facings.append(Facing(product.barcode, plates))
    planogram = Planogram(tuple(facings))
    return Store("Simulated kiosk", "KRW", _layout(), products, planogram, _TIMEZONE, terms=_TERMS)


def _product(line: _Line) -> Product:
    name = f"{line.korean} / {line.english}"
    return Product(kiosk_barcode(line.number), name, line.weight_g, Money(line.won, "KRW"))


def _layout() -> Layout:
    gondolas = tuple(_gondola(gondola_id) for gondola_id in _GONDOLAS)
    walkable = ((0.0, 0.0), (FLOOR_WIDTH_M, 0.0), (FLOOR_WIDTH_M, FRONT_Y_M), (0.0, FRONT_Y_M))
    zones = (
        Zone("floor", ZoneKind.WALKABLE, walkable),
        Zone("entrance", ZoneKind.ENTRANCE, ((0.0, 0.0), (0.8, 0.0), (0.8, 0.6), (0.0, 0.6))),
        Zone("exit", ZoneKind.EXIT, ((3.2, 0.0), (4.0, 0.0), (4.0, 0.6), (3.2, 0.6))),
    )
    return resolve(gondolas, zones)


def _gondola(gondola_id: str) -> Gondola:
    left_m, heights_m, clear_m, _ = _GONDOLAS[gondola_id]
    width_m = PLATES_PER_SHELF * PLATE_WIDTH_M
    shelves = []
    for level, height_m in enumerate(heights_m, start=1):
        shelf_id = ShelfId(gondola_id, level)
        plates = tuple(
            Plate(
                PlateId(gondola_id, level, place + 1),
                _at(place * PLATE_WIDTH_M, 0.0, 0.0),
                (PLATE_WIDTH_M, SHELF_DEPTH_M),
            )
            for place in range(PLATES_PER_SHELF)
        )
        size = (width_m, SHELF_DEPTH_M, clear_m)
        shelves.append(Shelf(shelf_id, _at(0.0, 0.0, height_m), size, plates))
    pose = _at(left_m, FRONT_Y_M, 0.0)
    return Gondola(gondola_id, pose, (width_m, SHELF_DEPTH_M, GONDOLA_HEIGHT_M), tuple(shelves))


def _at(x_m: float, y_m: float, z_m: float) -> Pose:
    return Pose(np.eye(3), np.array([x_m, y_m, z_m]))
