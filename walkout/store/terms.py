"""Seller, tax classes, promotions and points in ``store.toml``, and the product columns that belong to them.

::

    [seller]                                  [[tax_classes]]           [[promotions]]            [points]
    name = "Corner shop"                      name = "standard"         id = "3for2"              earned_percent = "1"
    country = "KR"                            rate_percent = "10"       label = "3 for 2,400"     worth = "1"
    business_number = "123-45-67890"          included = true           barcodes = ["8801"]
    refund_policy_en = "..."                                            count = 3
                                                                        price = "2400"

A promotion has ``count`` and ``price``, or ``percent``; ``valid_from`` and ``valid_to`` are days at the store or
moments with an offset. Amounts and percentages are decimal text, so that nothing is rounded on the way. In
``products.csv`` the columns ``member_price``, ``tax_class``, ``sold_by`` (unit or kg) and ``tare_g`` may follow.
"""

import re
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from walkout.domain.money import Money
from walkout.domain.selling import PointsRule, Promotion, Seller, StoreTerms, TaxClass
from walkout.domain.shopping import Product
from walkout.errors import StoreError
from walkout.store.check import Row, money_text, parse_money
from walkout.store.toml_reader import TomlReader, Where
from walkout.store.toml_writer import quoted

#: Columns of ``products.csv`` that may be left out altogether.
TERM_COLUMNS = ("member_price", "tax_class", "sold_by", "tare_g")
_SELLER_KEYS = tuple(field.name for field in fields(Seller))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_terms(document: dict[str, Any], currency: str, timezone: str, toml: TomlReader) -> StoreTerms:
    """The terms in a ``store.toml``; what makes no sense becomes a complaint and is left out."""
    taxes = [_tax_class(table, ("tax_classes", number), toml) for number, table in _each(document, "tax_classes", toml)]
    found = [
        _promotion(table, currency, timezone, ("promotions", number), toml)
        for number, table in _each(document, "promotions", toml)
    ]
    seller = _seller(document, toml)
    kept = tuple(tax for tax in taxes if tax is not None)
    promotions = tuple(promotion for promotion in found if promotion is not None)
    try:
        return StoreTerms(seller, kept, promotions, _points(document, currency, toml), timezone)
    except ValueError as error:
        toml.complain(("", 0), "tax_classes", str(error), "give each its own name or id")
        return StoreTerms(seller, timezone=timezone)


def _each(document: dict[str, Any], key: str, toml: TomlReader) -> list[tuple[int, dict[str, Any]]]:
    return list(enumerate(toml.tables(document, key, ("", 0))))


def _table(document: dict[str, Any], key: str, toml: TomlReader) -> dict[str, Any] | None:
    table = document.get(key)
    if table is not None and not isinstance(table, dict):
        toml.complain(("", 0), key, f"{key} must be a table", f"write a [{key}] header")
        return None
    return table


def _seller(document: dict[str, Any], toml: TomlReader) -> Seller | None:
    table, where = _table(document, "seller", toml), ("seller", 0)
    if table is None:
        return None
    for key in sorted(set(table) - set(_SELLER_KEYS)):
        toml.complain(where, key, f"a seller has no {key}", f"use {', '.join(_SELLER_KEYS)}")
    country = toml.text(table, "country", where)
    if country and not re.fullmatch("[A-Z]{2}", country):
        toml.complain(where, "country", f"country {country!r} is no code", 'write two letters such as "KR"')
    name = toml.text(table, "name", where)
    rest = [key for key in _SELLER_KEYS if key not in ("name", "country") and key in table]
    values = {key: toml.text(table, key, where) for key in rest}
    number = values.get("business_number", "")
    if country == "KR" and not _is_korean_number(number):
        remedy = "write the ten digits of the 사업자등록증 as 000-00-00000"
        toml.complain(where, "business_number", f"business_number {number!r} is none of Korea's", remedy)
    return Seller(name, country, **values)


def _is_korean_number(text: str) -> bool:
    """Whether ``text`` is a 사업자등록번호 with a right check digit.

    Weights 1 3 7 1 3 7 1 3 5, plus the tens of the ninth digit times 5; the last digit makes it a multiple of ten
    (the tax office's published check, as in python-stdnum ``kr.brn``).
    """
    if not re.fullmatch(r"[0-9]{3}-[0-9]{2}-[0-9]{5}", text):
        return False
    digits = [int(char) for char in text if char != "-"]
    total = sum(weight * digit for weight, digit in zip((1, 3, 7, 1, 3, 7, 1, 3, 5), digits[:9], strict=True))
    return (total + digits[8] * 5 // 10 + digits[9]) % 10 == 0


def _percent(table: dict[str, Any], key: str, where: Where, toml: TomlReader) -> Fraction | None:
    """Decimal text such as "7.5" as the fraction of one, or None with a complaint."""
    text = toml.text(table, key, where)
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", text):
        return Fraction(text) / 100
    if text:
        toml.complain(where, key, f"{key} is {text!r}, not a percentage", f'write {key} = "7.5"')
    return None


def _tax_class(table: dict[str, Any], where: Where, toml: TomlReader) -> TaxClass | None:
    name, rate = toml.text(table, "name", where), _percent(table, "rate_percent", where, toml)
    included = table.get("included", True)
    if not isinstance(included, bool):
        toml.complain(where, "included", "included must be true or false", "true: the shelf price holds the tax")
    elif rate is not None:
        try:
            return TaxClass(name, rate, included)
        except ValueError as error:
            toml.complain(where, "rate_percent", str(error), 'write rate_percent = "10"')
    return None


def _promotion(table: dict[str, Any], currency: str, timezone: str, where: Where, toml: TomlReader) -> Promotion | None:
    barcodes, count, members = table.get("barcodes", []), table.get("count", 1), table.get("members_only", False)
    if not isinstance(barcodes, list) or not all(isinstance(code, str) and code for code in barcodes):
        toml.complain(where, "barcodes", "barcodes must be texts", 'write barcodes = ["8801", "8802"]')
        return None
    if not isinstance(count, int) or isinstance(count, bool) or not isinstance(members, bool):
        toml.complain(where, "count", "count must be a number, members_only true or false", "write count = 3")
        return None
    try:
        return Promotion(
            toml.text(table, "id", where),
            toml.text(table, "label", where),
            frozenset(barcodes),
            count,
            parse_money(toml.text(table, "price", where), currency) if "price" in table else None,
            _percent(table, "percent", where, toml) if "percent" in table else None,
            _moment(table.get("valid_from"), timezone),
            _moment(table.get("valid_to"), timezone),
            members,
        )
    except ValueError as error:
        toml.complain(where, "id", str(error), "see the head of walkout/store/terms.py for an example")
        return None


def _moment(value: object, timezone: str) -> int | None:
    """Nanoseconds UTC of the beginning of a day at the store, or of a moment with an offset."""
    if value is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        return (value - _EPOCH) // timedelta(microseconds=1) * 1_000
    if isinstance(value, date) and not isinstance(value, datetime):
        begin = datetime(value.year, value.month, value.day, tzinfo=ZoneInfo(timezone))
        return (begin - _EPOCH) // timedelta(microseconds=1) * 1_000
    raise ValueError(f"{value!r} is neither a day such as 2026-01-31 nor a moment such as 2026-01-31T09:00:00+09:00")


def _points(document: dict[str, Any], currency: str, toml: TomlReader) -> PointsRule | None:
    table, where = _table(document, "points", toml), ("points", 0)
    if table is None:
        return None
    earned = _percent(table, "earned_percent", where, toml)
    try:
        worth = parse_money(toml.text(table, "worth", where), currency)
        return None if earned is None else PointsRule(earned, worth.minor)
    except ValueError as error:
        toml.complain(where, "worth", str(error), f'write what one point pays in {currency}: worth = "1"')
        return None


def product_terms(row: Row, currency: str, terms: StoreTerms) -> dict[str, Any]:
    """The optional columns of one product as keyword arguments of ``Product``; bad ones become complaints."""
    cells = {column: row.cells.get(column, "") for column in TERM_COLUMNS}
    found: dict[str, Any] = {"tax_class": cells["tax_class"], "per_kg": cells["sold_by"] == "kg"}
    known = [tax.name for tax in terms.tax_classes]
    if cells["tax_class"] and cells["tax_class"] not in known:
        row.complain(f"tax_class {cells['tax_class']!r} is unknown", f"use one of {', '.join(known) or 'store.toml'}")
    if cells["sold_by"] not in ("", "unit", "kg"):
        row.complain(f"sold_by is {cells['sold_by']!r}", "write unit or kg")
    if cells["tare_g"]:
        if re.fullmatch("[0-9]{1,6}", cells["tare_g"]):
            found["tare_g"] = int(cells["tare_g"])
        else:
            row.complain(f"tare_g is {cells['tare_g']!r}", "write the container's whole grams")
    if cells["member_price"]:
        try:
            found["member_price"] = parse_money(cells["member_price"], currency)
        except ValueError as error:
            row.complain(str(error), "write the members' price, or leave it empty")
    return found


def product_term_cells(product: Product) -> list[object]:
    """The optional columns of one product, empty where it says nothing special."""
    member = "" if product.member_price is None else money_text(product.member_price)
    return [member, product.tax_class, "kg" if product.per_kg else "", product.tare_g or ""]


def terms_lines(terms: StoreTerms, currency: str) -> list[str]:
    """``terms`` as lines of TOML; ``read_terms`` gives them back equal."""
    lines: list[str] = []
    if terms.seller is not None:
        values = {key: getattr(terms.seller, key) for key in _SELLER_KEYS}
        lines += ["", "[seller]", *(f"{key} = {quoted(value)}" for key, value in values.items() if value)]
    for tax in terms.tax_classes:
        lines += ["", "[[tax_classes]]", f"name = {quoted(tax.name)}", f'rate_percent = "{_decimal(tax.rate * 100)}"']
        lines += [f"included = {str(tax.included).lower()}"]
    for promotion in terms.promotions:
        lines += ["", "[[promotions]]", *_promotion_lines(promotion)]
    if terms.points is not None:
        worth = money_text(Money(terms.points.worth_minor, currency))
        lines += ["", "[points]", f'earned_percent = "{_decimal(terms.points.earned_per_minor * 100)}"']
        lines += [f'worth = "{worth}"']
    return lines


def _promotion_lines(promotion: Promotion) -> list[str]:
    lines = [f"id = {quoted(promotion.promotion_id)}", f"label = {quoted(promotion.label)}"]
    if promotion.barcodes:
        lines += [f"barcodes = [{', '.join(map(quoted, sorted(promotion.barcodes)))}]"]
    if promotion.price is not None:
        lines += [f"count = {promotion.count}", f'price = "{money_text(promotion.price)}"']
    if promotion.percent is not None:
        lines += [f'percent = "{_decimal(promotion.percent * 100)}"']
    for key, t_ns in (("valid_from", promotion.valid_from_ns), ("valid_to", promotion.valid_to_ns)):
        if t_ns is not None:
            lines += [f"{key} = {(_EPOCH + timedelta(microseconds=t_ns // 1_000)).isoformat()}"]
    return [*lines, "members_only = true"] if promotion.members_only else lines


def _decimal(value: Fraction) -> str:
    """``value`` as exact decimal text. Raises ``StoreError`` for a fraction that has none in six places."""
    millionths = value * 10**6
    if millionths.denominator != 1:
        raise StoreError(f"{value} percent cannot be written with six decimals; round it first")
    whole, part = divmod(millionths.numerator, 10**6)
    return f"{whole}.{part:06d}".rstrip("0").rstrip(".")
