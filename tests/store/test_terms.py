"""Seller, tax, promotions and points are part of the store folder; every complaint names the line."""

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from walkout.domain.money import Money
from walkout.domain.selling import PointsRule, Promotion, Seller, StoreTerms, TaxClass
from walkout.domain.shopping import Product
from walkout.errors import StoreError
from walkout.store.catalog import Store
from walkout.store.loader import check_store, read_store, write_store

HEAD = 'name = "상점"\ncurrency = "KRW"\ntimezone = "Asia/Seoul"\n'
TERMS = """
[seller]
name = "워크아웃 상점"
country = "KR"
business_number = "123-45-67891"
representative = "김하나"

[[tax_classes]]
name = "과세"
rate_percent = "10"

[[tax_classes]]
name = "면세"
rate_percent = "0"
included = true

[[promotions]]
id = "3for2"
label = "셋에 둘 값"
barcodes = ["96385074"]
count = 3
price = "2400"
valid_from = 2026-01-01

[[promotions]]
id = "spring"
label = "봄"
percent = "12.5"
valid_to = 2026-03-01T09:00:00+09:00
members_only = true

[points]
earned_percent = "0.5"
worth = "1"
"""
FURNITURE = """
[[gondolas]]
id = "A"
translation_m = [0.0, 0.0, 0.0]
size_m = [1.0, 1.0, 1.0]
"""
PRODUCTS = """\
barcode,name,weight_g,price,member_price,tax_class,sold_by,tare_g
96385074,물,500,1200,1100,,,
4006381333931,사과,300,9900,,면세,kg,10
"""


def folder(path: Path, terms: str = TERMS, products: str = PRODUCTS) -> Path:
    """A store folder without plates."""
    (path / "store.toml").write_text(HEAD + terms + FURNITURE, encoding="utf-8")
    (path / "products.csv").write_text(products, encoding="utf-8")
    head = "gondola,shelf,plate,x_m,y_m,z_m,rotation_x,rotation_y,rotation_z,width_m,depth_m\n"
    (path / "plates.csv").write_text(head)
    (path / "planogram.csv").write_text("barcode,gondola,shelf,plates,valid_from,valid_to\n")
    return path


def ns(moment: str) -> int:
    """A moment as nanoseconds UTC."""
    return int(datetime.fromisoformat(moment).astimezone(UTC).timestamp()) * 10**9


def test_the_terms_of_a_store_are_read(tmp_path: Path) -> None:
    store = read_store(folder(tmp_path))
    assert store.terms == StoreTerms(
        Seller("워크아웃 상점", "KR", "123-45-67891", representative="김하나"),
        (TaxClass("과세", Fraction(1, 10)), TaxClass("면세", Fraction(0))),
        (
            Promotion(
                "3for2",
                "셋에 둘 값",
                frozenset({"96385074"}),
                3,
                Money(2400, "KRW"),
                valid_from_ns=ns("2026-01-01T00:00:00+09:00"),
            ),
            Promotion(
                "spring",
                "봄",
                percent=Fraction(1, 8),
                valid_to_ns=ns("2026-03-01T00:00:00+00:00"),
                members_only=True,
            ),
        ),
        PointsRule(Fraction(1, 200), 1),
        "Asia/Seoul",
    )
    assert store.products["96385074"].member_price == Money(1100, "KRW")
    apples = store.products["4006381333931"]
    assert (apples.tax_class, apples.per_kg, apples.tare_g) == ("면세", True, 10)


def test_a_store_without_terms_is_still_a_store(tmp_path: Path) -> None:
    products = "barcode,name,weight_g,price\n96385074,물,500,1200\n"
    store = read_store(folder(tmp_path, "", products))
    assert store.terms == StoreTerms(timezone="Asia/Seoul")
    assert store.products["96385074"] == Product("96385074", "물", 500.0, Money(1200, "KRW"))


def test_terms_that_are_written_are_read_back_equal(tmp_path: Path) -> None:
    store = read_store(folder(tmp_path))
    write_store(store, tmp_path / "again")
    again = read_store(tmp_path / "again")
    assert (again.terms, again.products) == (store.terms, store.products)


def test_a_rate_without_exact_decimals_is_never_written_rounded(tmp_path: Path) -> None:
    store = read_store(folder(tmp_path))
    third = replace(store.terms, tax_classes=(TaxClass("third", Fraction(1, 3)),))
    odd = Store("s", "KRW", store.layout, {}, terms=third)
    with pytest.raises(StoreError, match="six decimals"):
        write_store(odd, tmp_path / "odd")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('country = "KR"', 'country = "Korea"', 7, "country 'Korea' is no code"),
        ('"123-45-67891"', '"123-45-67890"', 8, "business_number '123-45-67890' is none of Korea's"),
        ("representative =", "boss =", 9, "a seller has no boss"),
        ('rate_percent = "10"', "rate_percent = 10", 13, "rate_percent is missing or no text"),
        ('rate_percent = "10"', 'rate_percent = "ten"', 13, "rate_percent is 'ten'"),
        ('rate_percent = "10"', 'rate_percent = "120"', 13, "between 0 and 100 percent"),
        ("included = true", 'included = "yes"', 18, "included must be true or false"),
        ('price = "2400"', 'price = "24.50"', 21, "more than the 0 decimals"),
        ('price = "2400"', 'price = "2400"\npercent = "5"', 21, "one of them"),
        ('percent = "12.5"', "", 29, "one of them"),
        ("valid_from = 2026-01-01", 'valid_from = "soon"', 21, "'soon' is neither a day"),
        ('barcodes = ["96385074"]', "barcodes = [8]", 23, "barcodes must be texts"),
        ('name = "면세"', 'name = "과세"', 1, "a tax class is there twice"),
        ('worth = "1"', 'worth = "0"', 37, "let a point be worth one or more"),
        ("[points]", "[[points]]", 1, "points must be a table"),
    ],
)
def test_terms_that_make_no_sense_are_told_with_their_line(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in TERMS
    complaints = [one for one in check_store(folder(tmp_path, TERMS.replace(old, new, 1))) if one.file == "store.toml"]
    assert len(complaints) == 1, complaints
    assert (says in complaints[0].message, complaints[0].line) == (True, line), complaints


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("면세", "luxury", "tax_class 'luxury' is unknown"),
        (",kg,", ",lb,", "sold_by is 'lb'"),
        (",10", ",ten", "tare_g is 'ten'"),
        ("1100", "-5", "price is '-5'"),
    ],
)
def test_columns_that_make_no_sense_are_told_with_their_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    complaints = check_store(folder(tmp_path, products=PRODUCTS.replace(old, new, 1)))
    assert [(one.file, says in one.message) for one in complaints] == [("products.csv", True)], complaints
