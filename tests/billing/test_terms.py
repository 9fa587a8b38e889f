"""Terms of a store survive the way through the books and over the wire; anything else is refused."""

from fractions import Fraction

import pytest

from walkout.billing.terms import terms_from_json, terms_to_json
from walkout.domain.money import Money
from walkout.domain.selling import PointsRule, Promotion, Seller, StoreTerms, TaxClass
from walkout.errors import BadRequest

FULL = StoreTerms(
    Seller("상점", "KR", "123-45-67890", refund_policy_ko='"7일"'),
    (TaxClass("과세", Fraction(1, 10)), TaxClass("third", Fraction(1, 3), False)),
    (
        Promotion("a", "A", frozenset({"1", "2"}), 3, Money(2000, "KRW"), None, 5, None, True),
        Promotion("b", "B", frozenset(), percent=Fraction(1, 3), valid_to_ns=9),
    ),
    PointsRule(Fraction(1, 100), 10),
    "Asia/Seoul",
)


@pytest.mark.parametrize("terms", [StoreTerms(), FULL])
def test_terms_come_back_as_they_went(terms: StoreTerms) -> None:
    assert terms_from_json(terms_to_json(terms)) == terms


def test_no_text_is_no_terms() -> None:
    assert terms_from_json("") == StoreTerms()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"points"', '{"point"'),
        ('"1/10"', '"1/0"'),
        ('"1/10"', '"-1/10"'),
        ('"1/10"', "0.1"),
        ('"third"', '"과세"'),
        ('"KRW"', '"DOGE"'),
        ("2000", "2000.5"),
        ('"KR"', "82"),
        ('"business_number"', '"colour"'),
        ('"worth_minor":10', '"worth_minor":0'),
        ('"members_only":true', '"members_only":1'),
        ("}", ""),
        ("{", "["),
    ],
)
def test_terms_that_make_no_sense_are_refused(old: str, new: str) -> None:
    text = terms_to_json(FULL)
    assert old in text
    with pytest.raises(BadRequest, match="terms"):
        terms_from_json(text.replace(old, new))


def test_a_text_nested_without_end_is_refused() -> None:
    with pytest.raises(BadRequest, match="terms"):
        terms_from_json("[" * 100_000)
