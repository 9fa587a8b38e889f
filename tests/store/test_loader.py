"""A store folder is read, written and checked; every complaint names file, line and remedy."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from walkout.domain.geometry import Pose, rodrigues
from walkout.domain.money import Money
from walkout.domain.sensing import PlateId, ShelfId
from walkout.domain.shopping import Facing, Product
from walkout.errors import StoreError
from walkout.store.catalog import Planogram, Store, barcode_fault
from walkout.store.check import Severity
from walkout.store.layout import CameraPlacement, Gondola, Plate, Shelf, Zone, ZoneKind, resolve
from walkout.store.loader import check_store, read_store, write_store

STORE = """\
name = "Corner shop"
currency = "EUR"
timezone = "Europe/Berlin"

[[gondolas]]
id = "A"
translation_m = [1.0, 2.0, 0.0]
rotation = [0.0, 0.0, -1.5708]
size_m = [0.6, 0.4, 1.0]

[[gondolas.shelves]]
shelf = 1
translation_m = [0.0, 0.0, 0.5]
size_m = [0.6, 0.4, 0.3]

[[zones]]
name = "door"
kind = "exit"
corners_m = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
"""
PLATES = """\
gondola,shelf,plate,x_m,y_m,z_m,rotation_x,rotation_y,rotation_z,width_m,depth_m
A,1,1,0.0,0.0,0.0,0.0,0.0,0.0,0.3,0.4
A,1,2,0.3,0.0,0.0,0.0,0.0,0.0,0.3,0.4
"""
PRODUCTS = """\
barcode,name,weight_g,price
4006381333931,"Pen, blue",12.5,1.20
96385074,Gum,30,0.5
"""
PLANOGRAM = """\
barcode,gondola,shelf,plates,valid_from,valid_to
4006381333931,A,1,1 2,2026-01-01,2026-02-01
96385074,A,1,2,2026-02-01,
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = {"store.toml": STORE, "plates.csv": PLATES, "products.csv": PRODUCTS, "planogram.csv": PLANOGRAM}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def break_line(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))


def test_a_sound_store_has_no_complaints_and_reads_as_written(folder: Path) -> None:
    assert check_store(folder) == []
    store = read_store(folder)
    assert (store.name, store.currency, store.timezone) == ("Corner shop", "EUR", "Europe/Berlin")
    assert store.products["96385074"] == Product("96385074", "Gum", 30.0, Money(50, "EUR"))
    assert store.planogram.on(date(2026, 1, 31)) == (
        Facing("4006381333931", (PlateId("A", 1, 1), PlateId("A", 1, 2)), date(2026, 1, 1), date(2026, 2, 1)),
    )
    assert store.layout.zones[0].kind is ZoneKind.EXIT
    # The gondola is turned by -90 degrees: its x runs along the world's -y, its y along +x.
    center = store.layout.boxes[PlateId("A", 1, 1)].center()
    np.testing.assert_allclose(center, [1.0 + 0.2, 2.0 - 0.15, 0.5 + 0.15], atol=1e-5)


def test_the_day_of_a_sale_is_that_of_the_store(folder: Path) -> None:
    store = read_store(folder)
    half_past_eleven_utc = 1_767_223_800 * 10**9
    assert store.local_day(half_past_eleven_utc) == date(2026, 1, 1)


BROKEN = [
    ("store.toml", 'currency = "EUR"', "currency = EUR", 2, "no TOML"),
    ("store.toml", 'currency = "EUR"', 'currency = "XYZ"', 2, "XYZ"),
    ("store.toml", 'timezone = "Europe/Berlin"', 'timezone = "Mars/North"', 3, "Mars/North"),
    ("store.toml", 'name = "Corner shop"', "name = 7", 1, "name"),
    ("store.toml", 'id = "A"\n', "", 5, "id is missing"),
    ("store.toml", "size_m = [0.6, 0.4, 1.0]", "size_m = [0.6, -0.4, 1.0]", 9, "positive"),
    ("store.toml", "size_m = [0.6, 0.4, 0.3]", "size_m = [0.6, 0.4]", 14, "3 numbers"),
    ("store.toml", "[0.0, 0.0, -1.5708]", "[0.0, 0.0, nan]", 8, "rotation"),
    ("store.toml", "rotation = [0.0, 0.0, -1.5708]", "rotation_matrix = [1,0,0,0,1,0,0,0,2]", 8, "no rotation"),
    ("store.toml", "shelf = 1", "shelf = 0", 12, "whole number"),
    ("store.toml", 'kind = "exit"', 'kind = "window"', 18, "window"),
    ("store.toml", "[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]", "[[0.0, 0.0], [1.0, 0.0]]", 19, "three or more"),
    ("plates.csv", "plate,x_m", "plate,x", 1, "'x_m' is missing"),
    ("plates.csv", "A,1,2,0.3", "A,1,2,0.4", 3, "from x = 0.400 to 0.700 m"),
    ("plates.csv", "A,1,2,0.3", "A,1,2,left", 3, "not a number"),
    ("plates.csv", "A,1,2,0.3", "A,1,2,inf", 3, "not a number"),
    ("plates.csv", "A,1,2", "A,1,1", 3, "twice"),
    ("plates.csv", "A,1,2", "A,4,2", 3, "no shelf A/4"),
    ("plates.csv", "A,1,2", "A,1,-2", 3, "whole number"),
    ("plates.csv", "0.3,0.4\nA,1,2", "0.0,0.4\nA,1,2", 2, "no surface"),
    ("products.csv", "0.5\n", "0.505\n", 3, "more than the 2 decimals"),
    ("products.csv", "0.5\n", "-1\n", 3, "not a decimal"),
    ("products.csv", "0.5\n", "1e2\n", 3, "not a decimal"),
    ("products.csv", "Gum,30", "Gum,-30", 3, "weight_g is -30"),
    ("products.csv", "Gum,30", "Gum,heavy", 3, "'heavy'"),
    ("products.csv", "96385074,Gum", "4006381333931,Gum", 3, "already in line 2"),
    ("products.csv", "96385074,Gum", ",Gum", 3, "barcode is missing"),
    ("products.csv", '"Pen, blue"', "Pen, blue", 2, "5 cells"),
    ("products.csv", '"Pen, blue"', '"Pen, blue', 3, "no CSV"),
    ("planogram.csv", "96385074,A", "5012345678900,A", 3, "not in products.csv"),
    ("planogram.csv", "96385074,A,1,2", "96385074,A,1,3", 3, "no plate A/1/3"),
    ("planogram.csv", "96385074,A,1,2", "96385074,A,1,1;2", 3, "1;2"),
    ("planogram.csv", "1 2,2026-01-01", "1 1,2026-01-01", 2, "named twice"),
    ("planogram.csv", "2026-01-01,2026-02-01", "2026-02-01,2026-01-01", 2, "not after"),
    ("planogram.csv", "2026-01-01,2026-02-01", "01.01.2026,2026-02-01", 2, "not a date"),
]


@pytest.mark.parametrize(("file", "old", "new", "line", "says"), BROKEN)
def test_every_mistake_is_told_with_file_line_and_remedy(
    folder: Path, file: str, old: str, new: str, line: int, says: str
) -> None:
    break_line(folder, file, old, new)
    errors = [one for one in check_store(folder) if one.severity is Severity.ERROR]
    assert any((one.file, one.line) == (file, line) and says in one.message for one in errors), errors
    assert all(one.remedy for one in errors)
    with pytest.raises(StoreError, match=rf"{file}:{line}: error: .*; "):
        read_store(folder)


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("products.csv", "96385074", "96385075", "wrong check digit"),
        ("products.csv", "Gum,30", "Gum,", "no weight"),
        ("products.csv", ",0.5\n", ",\n", "no price"),
        ("planogram.csv", "2026-02-01,\n", "2026-01-15,\n", "together with 4006381333931 of line 2"),
    ],
)
def test_a_doubt_is_a_warning_and_the_store_is_read(folder: Path, file: str, old: str, new: str, says: str) -> None:
    break_line(folder, file, old, new)
    if "96385075" in new:
        break_line(folder, "planogram.csv", old, new)
    assert [(one.file, one.line, one.severity) for one in check_store(folder)] == [(file, 3, Severity.WARNING)]
    assert says in check_store(folder)[0].message
    read_store(folder)


@pytest.mark.parametrize("file", ["store.toml", "plates.csv", "products.csv", "planogram.csv"])
def test_a_missing_file_or_one_that_is_no_text_is_told(folder: Path, file: str) -> None:
    (folder / file).write_bytes(b"first line\n\xff\xfe")
    assert any((one.file, one.line) == (file, 2) and "UTF-8" in one.message for one in check_store(folder))
    (folder / file).unlink()
    with pytest.raises(StoreError, match=f"{file}:0: error: cannot be read"):
        read_store(folder)


def test_line_numbers_count_the_lines_of_cells_that_hold_several(folder: Path) -> None:
    break_line(folder, "products.csv", "Pen, blue", "Pen,\nblue")
    break_line(folder, "products.csv", "0.5\n", "free\n")
    assert [(one.file, one.line) for one in check_store(folder)] == [("products.csv", 4)]


def test_the_currency_decides_how_many_decimals_a_price_has(folder: Path) -> None:
    break_line(folder, "store.toml", 'currency = "EUR"', 'currency = "KRW"')
    break_line(folder, "products.csv", "1.20", "1200")
    assert [one.line for one in check_store(folder)] == [3]
    break_line(folder, "products.csv", "0.5", "500")
    assert read_store(folder).products["96385074"].price == Money(500, "KRW")


def make_store() -> Store:
    turned = Pose(rodrigues(np.array([0.1, -0.2, 0.3])), np.array([0.1, 0.2, 0.3]))
    camera = Pose(rodrigues(np.array([1.1, 2.2, -0.3])) @ turned.rotation, np.array([1.0, 2.0, 2.4]))
    plates = tuple(Plate(PlateId("1", 2, n), turned, (0.1016, 1 / 3)) for n in (1, 2))
    shelf = Shelf(ShelfId("1", 2), turned, (1.2192, 1.0, 0.25), plates)
    gondola = Gondola(
        "1", Pose(rodrigues(np.array([0.0, 0.0, -1.5707999467849731])), np.ones(3) / 7), (1, 1, 2), (shelf,)
    )
    zone = Zone('say "hi"\\', ZoneKind.WALKABLE, ((0.1, 0.2), (1 / 3, 0.0), (2.0, 2.0)))
    products = {
        "0012": Product("0012", 'Nuts, "salted"\nlarge', 117.66999816894531, Money(1, "USD")),
        "96385074": Product("96385074", "Grün", None, None),
    }
    facings = (Facing("0012", (PlateId("1", 2, 1), PlateId("1", 2, 2)), None, date(2026, 5, 1)),)
    layout = resolve((gondola,), (zone,), (CameraPlacement("7", camera),))
    return Store("Shop \x7f \t é", "USD", layout, products, Planogram(facings), "Asia/Seoul")


def same_pose(one: Pose, other: Pose) -> bool:
    return np.array_equal(one.rotation, other.rotation) and np.array_equal(one.translation, other.translation)


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    store = make_store()
    write_store(store, tmp_path / "store")
    again = read_store(tmp_path / "store")
    assert (again.name, again.currency, again.timezone) == (store.name, store.currency, store.timezone)
    assert (again.products, again.planogram) == (store.products, store.planogram)
    assert again.layout.zones == store.layout.zones
    assert same_pose(again.layout.cameras[0].pose, store.layout.cameras[0].pose)
    assert list(again.layout.boxes) == list(store.layout.boxes)
    for plate, box in store.layout.boxes.items():
        assert same_pose(again.layout.boxes[plate].pose, box.pose)
        assert np.array_equal(again.layout.boxes[plate].size, box.size)
    write_store(again, tmp_path / "again")
    for file in (tmp_path / "store").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_a_facing_over_two_shelves_is_refused_when_written(tmp_path: Path) -> None:
    store = make_store()
    facing = Facing("0012", (PlateId("1", 2, 1), PlateId("1", 3, 1)))
    two = Store(store.name, store.currency, store.layout, store.products, Planogram((facing,)))
    with pytest.raises(StoreError, match="one for each shelf"):
        write_store(two, tmp_path)


@pytest.mark.parametrize(
    ("barcode", "says"),
    [
        ("071142008582", None),
        ("4006381333931", None),
        ("96385074", None),
        ("01234565", None),  # UPC-E: 012345000065 in full
        ("10614141000415", None),
        ("071142008583", "wrong check digit"),
        ("71142008582", "right as 071142008582"),
        ("01", "has 2 digits"),
        ("3.5", "digits alone"),
        ("٠٧١١٤٢٠٠٨٥٨٢", "digits alone"),
    ],
)
def test_a_barcode_is_judged_by_its_check_digit(barcode: str, says: str | None) -> None:
    fault = barcode_fault(barcode)
    assert (fault is None) if says is None else (fault is not None and says in fault)
