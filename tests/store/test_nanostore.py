"""The public nanostore format as a store of ours: every oddity is told, nothing is rewritten."""

import json
import lzma
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.odd_values import with_odd_values
from walkout.domain.money import Money
from walkout.domain.sensing import PlateId, ShelfId
from walkout.domain.shopping import Facing, Product
from walkout.errors import StoreError
from walkout.store.check import Severity
from walkout.store.layout import ZoneKind
from walkout.store.loader import check_store, read_store, write_store
from walkout.store.nanostore import find_store_files, read_nanostore

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "nanostore"
needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason="the public nanostore data does not lie beside the repository"
)


def place(x: float = 0.0, y: float = 0.0, z: float = 0.0, turn: float = 0.0) -> dict[str, Any]:
    """As protobuf's JSON writes it: what is zero is left out."""
    vector = {axis: value for axis, value in zip("xyz", (x, y, z), strict=True) if value}
    return {"translation": vector, "rotation": {"z": turn} if turn else {}}


def shelf_key(gondola: int, shelf: int) -> dict[str, Any]:
    return {"gondola_id": {"id": gondola}, "shelf_index": shelf}


def sized(transform: dict[str, Any], width: float, depth: float, height: float = 0.0) -> dict[str, Any]:
    sizes = {"dim_x": width, "dim_y": depth, "dim_z": height}
    return {"transform": transform, **{key: value for key, value in sizes.items() if value}}


def product(barcode: str | None, weight: str = "100.5", price: str = "1", name: str = "Tea") -> str:
    """One document as text, so that numbers keep the digits they were written with; "" leaves a field out."""
    fields = [f'"name": "{name}"']
    fields += [f'"weight": {weight}'] if weight else []
    fields += [f'"price": {price}'] if price else []
    key = f'{{"id": "{barcode}"}}' if barcode is not None else "{}"
    return f'{{"product_id": {key}, "metadata": {{{", ".join(fields)}}}}}'


def facing(barcode: str | None, *plates: tuple[int, int, int]) -> str:
    ids = [{"shelf_id": shelf_key(g, s), "plate_index": p} for g, s, p in plates]
    return json.dumps({"plate_ids": ids, "planogram_product_id": {"id": barcode} if barcode else {}})


TEA, NUTS = "071142008582", "4006381333931"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Gondola 1 with shelves 1 and 2 of two plates each, gondola 2 turned by -90 degrees with one plate."""
    store = tmp_path / "site" / "store"
    store.mkdir(parents=True)
    levels = [(1, 1), (1, 2), (2, 1)]
    plates = [(1, 1, 1), (1, 1, 2), (1, 2, 1), (1, 2, 2), (2, 1, 1)]
    gondolas = [
        {"id": {"id": 1}, "coordinates": sized(place(0.5, 0.5), 0.2, 0.03, 2.0)},
        {"id": {"id": 2}, "coordinates": sized(place(4.0, -0.3, 0.0, -1.5708), 0.2, 0.03, 2.0)},
    ]
    shelves = [
        {"id": shelf_key(g, s), "coordinates": sized(place(0.0, -0.4, 0.3 * s), 0.2, 0.4, 0.2)} for g, s in levels
    ]
    surfaces = [
        {
            "id": {"shelf_id": shelf_key(g, s), "plate_index": p},
            "coordinates": sized(place(0.1 * (p - 1)), 0.1, 0.4),
        }
        for g, s, p in plates
    ]
    for name, entries in (("Gondolas", gondolas), ("Shelves", shelves), ("Plates", surfaces)):
        (store / f"{name}.json").write_text(json.dumps({name.lower(): entries}))
    write(root_of(tmp_path) / "BENCHMARK-1", products=[product(TEA), product(NUTS)], planogram=[facing(TEA, (1, 1, 1))])
    return root_of(tmp_path)


def root_of(tmp_path: Path) -> Path:
    return tmp_path / "site"


def write(folder: Path, **files: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        (folder / f"{name}.json").write_text("\n".join(lines) + "\n")


def anomalies_of(root: Path) -> list[tuple[str, int, str]]:
    return [(one.kind, one.line, one.subject) for one in read_nanostore(find_store_files(root))[1]]


def test_poses_are_resolved_and_missing_zeros_are_zeros(root: Path) -> None:
    store, anomalies = read_nanostore(find_store_files(root))
    assert anomalies == []
    assert store.layout.plates_of(ShelfId("1", 2)) == (PlateId("1", 2, 1), PlateId("1", 2, 2))
    np.testing.assert_allclose(store.layout.boxes[PlateId("1", 1, 2)].center(), [0.65, 0.3, 0.4])
    np.testing.assert_allclose(store.layout.boxes[PlateId("2", 1, 1)].center(), [3.8, -0.35, 0.4], atol=1e-5)


def test_price_one_is_one_dollar_and_decimals_stay_exact(root: Path) -> None:
    lines = [product("96385074", price="0.07"), product(TEA, price="1"), product(NUTS, price="0.070")]
    lines += [product("4006381333948", price="19.995")]
    write(root / "BENCHMARK-1", products=lines)
    store, anomalies = read_nanostore(find_store_files(root))
    prices = {barcode: one.price for barcode, one in store.products.items()}
    cents = {"96385074": Money(7, "USD"), TEA: Money(100, "USD"), NUTS: Money(7, "USD"), "4006381333948": None}
    assert prices == cents
    assert [(one.kind, one.line, one.subject) for one in anomalies] == [("price_unusable", 4, "4006381333948")]


ODD_PRODUCTS = [
    (product("71142008582"), "barcode_lost_zeros", "71142008582"),
    (product("071142008583"), "barcode_check_digit", "071142008583"),
    (product("01"), "barcode_no_gtin", "01"),
    (product("96385074", weight=""), "weight_missing", "96385074"),
    (product("96385074", weight="-3"), "weight_missing", "96385074"),
    (product("96385074", weight="NaN"), "weight_missing", "96385074"),
    (product("96385074", weight="1e999"), "weight_missing", "96385074"),
    (product("96385074", weight="0.8863"), "weight_implausible", "96385074"),
    (product("96385074", weight="25000"), "weight_implausible", "96385074"),
    (product("96385074", price=""), "price_missing", "96385074"),
    (product("96385074", price="-1"), "price_unusable", "96385074"),
    (product("96385074", price="1e99"), "price_unusable", "96385074"),
    (product("96385074", price='"1"'), "price_unusable", "96385074"),
    (product(None), "barcode_missing", ""),
    (product(TEA), "product_repeated", TEA),
    (product(TEA, weight="99"), "product_conflict", TEA),
    ('{"product_id": ', "line_unreadable", ""),
    ("[1]", "line_unreadable", ""),
]


@pytest.mark.parametrize(("line", "kind", "subject"), ODD_PRODUCTS)
def test_an_odd_product_is_told_and_stays_as_recorded(root: Path, line: str, kind: str, subject: str) -> None:
    write(root / "BENCHMARK-1", products=[product(TEA), line])
    assert anomalies_of(root) == [(kind, 2, subject)]
    products = read_nanostore(find_store_files(root))[0].products
    assert products[TEA] == Product(TEA, "Tea", 100.5, Money(100, "USD"))
    assert set(products) == {TEA, subject or TEA}


def test_an_implausible_weight_is_kept_a_missing_one_is_unknown(root: Path) -> None:
    write(root / "BENCHMARK-1", products=[product(TEA, weight="0.8863"), product(NUTS, weight="0")])
    products = read_nanostore(find_store_files(root))[0].products
    assert (products[TEA].weight_g, products[NUTS].weight_g) == (0.8863, None)


ODD_FACINGS = [
    (facing(None, (1, 1, 2)), "facing_without_product", "1/1/2"),
    (facing("5012345678900", (1, 1, 2)), "product_unknown", "5012345678900"),
    (facing(NUTS), "facing_without_plate", NUTS),
    (facing(NUTS, (1, 1, 1)), "plate_shared", "1/1/1"),
    (facing(NUTS, (1, 1, 2), (1, 1, 3)), "plate_unknown", "1/1/3"),
    ('{"plate_ids": 7}', "facing_without_product", ""),
]


@pytest.mark.parametrize(("line", "kind", "subject"), ODD_FACINGS)
def test_an_odd_facing_is_told(root: Path, line: str, kind: str, subject: str) -> None:
    write(root / "BENCHMARK-1", planogram=[facing(TEA, (1, 1, 1)), line])
    assert anomalies_of(root) == [(kind, 2, subject)]


def test_a_facing_keeps_its_known_plates_and_is_parted_by_shelf(root: Path) -> None:
    write(root / "BENCHMARK-1", planogram=[facing(TEA, (1, 2, 1), (1, 1, 2), (1, 1, 1), (1, 1, 9))])
    facings = read_nanostore(find_store_files(root))[0].planogram.facings
    assert facings == (
        Facing(TEA, (PlateId("1", 1, 1), PlateId("1", 1, 2))),
        Facing(TEA, (PlateId("1", 2, 1),)),
    )


def test_the_store_is_that_of_the_nearest_parent_and_the_case_has_its_own_planogram(root: Path) -> None:
    case = root / "visits" / "one"
    case.mkdir(parents=True)
    assert find_store_files(case).planogram == root / "BENCHMARK-1" / "planogram.json"
    (case / "planogram.json.xz").write_bytes(lzma.compress(facing(NUTS, (2, 1, 1)).encode()))
    assert read_nanostore(find_store_files(case))[0].planogram.facings == (Facing(NUTS, (PlateId("2", 1, 1),)),)
    assert find_store_files(root).root == root


def test_a_named_store_wins_be_it_foreign_or_ours(root: Path, tmp_path: Path) -> None:
    case = tmp_path / "elsewhere"
    write(case, planogram=[facing(NUTS, (1, 1, 1))])
    foreign = read_nanostore(find_store_files(case, root))[0]
    write_store(read_nanostore(find_store_files(root))[0], tmp_path / "ours")
    ours = read_nanostore(find_store_files(case, tmp_path / "ours"))[0]
    assert ours.planogram == foreign.planogram == read_nanostore(find_store_files(case, root))[0].planogram
    assert ours.products == foreign.products
    (case / "planogram.json").unlink()
    again = read_nanostore(find_store_files(case, tmp_path / "ours"))[0]
    assert again.planogram == read_store(tmp_path / "ours").planogram


def test_no_store_anywhere_is_told_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="--store"):
        find_store_files(tmp_path)
    with pytest.raises(StoreError, match="walkout store check"):
        find_store_files(tmp_path, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"plates": []}', '{"plates": 3}'])
def test_a_broken_layout_is_refused_by_name(root: Path, text: str) -> None:
    (root / "store" / "Plates.json").write_text(text)
    with pytest.raises(StoreError, match=r"Plates\.json"):
        read_nanostore(find_store_files(root))


def test_a_torn_catalog_is_refused_by_name(root: Path) -> None:
    (root / "BENCHMARK-1" / "products.json").unlink()
    packed = lzma.compress("\n".join([product(TEA)] * 500).encode())
    (root / "BENCHMARK-1" / "products.json.xz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(StoreError, match=r"products\.json\.xz"):
        read_nanostore(find_store_files(root))


def test_a_plate_that_nothing_carries_is_told(root: Path) -> None:
    document = json.loads((root / "store" / "Plates.json").read_text())
    lonely = {"id": {"shelf_id": shelf_key(7, 1), "plate_index": 1}, "coordinates": sized(place(), 0.1, 0.4)}
    document["plates"].append(lonely)
    (root / "store" / "Plates.json").write_text(json.dumps(document))
    assert anomalies_of(root) == [("furniture_missing", 0, "7/1")]


def test_floor_door_and_cameras_come_along(root: Path) -> None:
    floor = {"walkable_m": [[0, 0], [4, 0], [4, 2]], "door": {"about_m": [0.3, -1.6], "radius_m": 0.8}}
    (root / "zones.json").write_text(json.dumps(floor))
    pose = [[1, 0, 0, 10], [0, 0, 1, 20], [0, -1, 0, 100], [0, 0, 0, 1]]
    cameras = {"cameras": {"1": {"Tw": pose}, "2": {"Tw": [[2, 0], [0, 2]]}}}
    (root / "store" / "calibration.json").write_text(json.dumps(cameras))
    store, anomalies = read_nanostore(find_store_files(root))
    assert [zone.kind for zone in store.layout.zones] == [ZoneKind.WALKABLE, ZoneKind.ENTRANCE, ZoneKind.EXIT]
    corners = np.array(store.layout.zones[1].corners_m)
    np.testing.assert_allclose(np.hypot(*(corners - [0.3, -1.6]).T), 0.8)
    (camera,) = store.layout.cameras
    np.testing.assert_allclose(camera.pose.translation, [0.254, 0.508, 2.54])
    np.testing.assert_allclose(camera.pose.apply(np.array([0.0, 0.0, 1.0])), [0.254, 1.508, 2.54])
    assert [(one.kind, one.subject) for one in anomalies] == [("camera_unusable", "2")]


def test_no_value_in_any_field_of_catalog_or_planogram_stops_the_reading(root: Path, tmp_path: Path) -> None:
    products = [product(TEA), *with_odd_values(json.loads(product(NUTS))), product(NUTS)]
    planogram = [facing(TEA, (1, 1, 1)), *with_odd_values(json.loads(facing(NUTS, (1, 1, 2))))]
    write(root / "BENCHMARK-1", products=products, planogram=planogram)
    store, anomalies = read_nanostore(find_store_files(root))
    assert len(anomalies) > 50
    assert {TEA, NUTS} <= set(store.products)
    write_store(store, tmp_path / "ours")
    again = read_store(tmp_path / "ours")
    assert (again.products, again.planogram) == (store.products, store.planogram)


@pytest.mark.parametrize("name", ["gondolas", "shelves", "plates"])
def test_an_odd_value_in_a_layout_costs_one_piece_at_most(root: Path, tmp_path: Path, name: str) -> None:
    path = root / "store" / f"{name.capitalize()}.json"
    entries = json.loads(path.read_text())[name]
    told = 0
    for text in with_odd_values(entries[-1]):
        odd = json.dumps({name: [*entries[:-1], "@@"]}).replace('"@@"', text)
        path.write_text(odd)
        try:
            store, anomalies = read_nanostore(find_store_files(root))
        except StoreError:
            assert "1" * 5000 in text  # no JSON reader takes such a number
            continue
        told += len(anomalies)
        assert len(store.layout.boxes) >= 4
        write_store(store, tmp_path / "ours")
        errors = [one for one in check_store(tmp_path / "ours") if one.severity is Severity.ERROR]
        assert all("lies from" in one.message for one in errors), text
    assert told > 10


@needs_real
def test_the_real_store_has_its_plates_products_and_known_oddities(tmp_path: Path) -> None:
    store, anomalies = read_nanostore(find_store_files(REAL / "BENCHMARK-1"))
    assert len(store.layout.boxes) == 306
    assert len(store.products) == 361
    assert len(store.planogram.facings) == 113
    assert Counter(one.kind for one in anomalies) == {
        "product_repeated": 350,
        "barcode_no_gtin": 80,
        "price_missing": 21,
        "weight_implausible": 8,
        "barcode_lost_zeros": 7,
        "weight_missing": 5,
        "barcode_check_digit": 2,
        "facing_without_product": 1,
    }
    water = store.products["071142008582"]
    assert water.price == Money(100, "USD")
    write_store(store, tmp_path)
    again = read_store(tmp_path)
    assert (again.products, again.planogram) == (store.products, store.planogram)
    for plate, box in store.layout.boxes.items():
        assert np.array_equal(again.layout.boxes[plate].center(), box.center())


@needs_real
def test_plates_of_the_real_store_stand_where_its_survey_says() -> None:
    store, _ = read_nanostore(find_store_files(REAL / "BENCHMARK-1"))
    survey = json.loads((REAL / "store.json").read_text())["layout_2019_12"]
    checked = 0
    for gondola in survey["gondolas"]:
        for shelf in gondola["shelves"]:
            for plate in shelf["plates"]:
                box = store.layout.boxes[PlateId(str(gondola["gondola"]), shelf["shelf"], plate["plate"])]
                center = box.center() - np.array([0.0, 0.0, box.size[2] / 2.0])
                np.testing.assert_allclose(center, plate["world_centre_m"], atol=2e-3)
                checked += 1
    assert checked == 306
