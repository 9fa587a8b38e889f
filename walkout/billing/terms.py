"""A store's terms as one JSON text: what the store folder says, as the books keep it and the wire carries it."""

import json
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from walkout.domain.money import Money
from walkout.domain.selling import PointsRule, Promotion, Seller, StoreTerms, TaxClass
from walkout.errors import BadRequest


def terms_to_json(terms: StoreTerms) -> str:
    """``terms`` as JSON; equal terms give equal text. Fractions are "numerator/denominator", so nothing rounds."""
    document = {
        "seller": None if terms.seller is None else asdict(terms.seller),
        "tax_classes": [
            {"name": tax.name, "rate": str(tax.rate), "included": tax.included} for tax in terms.tax_classes
        ],
        "promotions": [_promotion_out(promotion) for promotion in terms.promotions],
        "points": None
        if terms.points is None
        else {"earned_per_minor": str(terms.points.earned_per_minor), "worth_minor": terms.points.worth_minor},
        "timezone": terms.timezone,
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def terms_from_json(text: str) -> StoreTerms:
    """What ``terms_to_json`` wrote; empty text is no terms. Raises ``BadRequest`` for anything else."""
    if not text:
        return StoreTerms()
    try:
        document = json.loads(text)
        seller, points = document["seller"], document["points"]
        return StoreTerms(
            None if seller is None else Seller(**{name: _text(value) for name, value in seller.items()}),
            tuple(_tax_class(table) for table in document["tax_classes"]),
            tuple(_promotion_in(table) for table in document["promotions"]),
            None if points is None else PointsRule(Fraction(points["earned_per_minor"]), _whole(points["worth_minor"])),
            _text(document["timezone"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ZeroDivisionError) as error:
        raise BadRequest(f"terms: no terms of a store ({error!r}); send what the store folder says") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _moment(value: object) -> int | None:
    return None if value is None else _whole(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _tax_class(table: Any) -> TaxClass:
    return TaxClass(_text(table["name"]), Fraction(_text(table["rate"])), _flag(table["included"]))


def _promotion_out(promotion: Promotion) -> dict[str, object]:
    price = promotion.price
    return {
        "id": promotion.promotion_id,
        "label": promotion.label,
        "barcodes": sorted(promotion.barcodes),
        "count": promotion.count,
        "price": None if price is None else [price.minor, price.currency],
        "percent": None if promotion.percent is None else str(promotion.percent),
        "valid_from_ns": promotion.valid_from_ns,
        "valid_to_ns": promotion.valid_to_ns,
        "members_only": promotion.members_only,
    }


def _promotion_in(table: Any) -> Promotion:
    price, percent = table["price"], table["percent"]
    return Promotion(
        _text(table["id"]),
        _text(table["label"]),
        frozenset(map(_text, table["barcodes"])),
        _whole(table["count"]),
        None if price is None else Money(_whole(price[0]), _text(price[1])),
        None if percent is None else Fraction(_text(percent)),
        _moment(table["valid_from_ns"]),
        _moment(table["valid_to_ns"]),
        _flag(table["members_only"]),
    )
