"""Receipts line up on a terminal that draws Korean two cells wide."""

import pytest

from walkout.billing.receipt_text import render_text, width
from walkout.billing.records import BilledVisit, Line, Receipt, VisitStatus
from walkout.domain.money import Money

LINES = (
    Line("071142008582", "ARRWHD SPRNG WTR", 2, Money(100, "USD"), Money(200, "USD")),
    Line(
        "8801",
        "제주 삼다수 무라벨 그린 에디션 오백 밀리리터 스무 병 묶음 상품",
        1,
        Money(123456789, "USD"),
        Money(123456789, "USD"),
    ),
    Line("999", "", 1, None, None),
)


def receipt(status: VisitStatus, review: tuple[str, ...] = ()) -> Receipt:
    """A receipt with a short, a long Korean and an unknown line."""
    visit = BilledVisit("v-1", "shop", "ann", "USD", 0, 65 * 10**9, status, 4, review)
    return Receipt(visit, LINES, Money(123456989, "USD"), 0.9)


def test_every_column_ends_in_the_same_cell() -> None:
    text = render_text(receipt(VisitStatus.CAPTURED)).splitlines()
    ends = {width(row) for row in text if row.endswith((" USD", "/ ?", "Amount")) and not row.startswith("  ")}
    assert ends == {64}


def test_a_receipt_names_barcodes_as_recorded_and_its_total() -> None:
    text = render_text(receipt(VisitStatus.CAPTURED))
    assert "영수증 / Receipt" in text
    assert "  071142008582  2 x 1.00 USD" in text
    assert "1,234,569.89 USD" in text
    assert "1970-01-01 00:01:05 UTC" in text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (VisitStatus.CAPTURED, "결제 완료 / Paid"),
        (VisitStatus.REVIEW, "nothing charged"),
        (VisitStatus.RELEASED, "Nothing charged"),
    ],
)
def test_a_receipt_says_whether_money_moved(status: VisitStatus, words: str) -> None:
    assert words in render_text(receipt(status))


def test_a_receipt_in_review_says_why() -> None:
    assert render_text(receipt(VisitStatus.REVIEW, ("999: unknown product",))).endswith("  - 999: unknown product")


def test_times_beyond_the_calendar_do_not_stop_a_receipt() -> None:
    visit = BilledVisit("v", "s", "a", "USD", 2**63 - 1, 2**63 - 1, VisitStatus.RELEASED, 0)
    assert "2262" in render_text(Receipt(visit, (), Money(0, "USD"), 1.0))


def test_combining_marks_take_no_cell() -> None:
    assert [width(text) for text in ("abc", "영수", "e\u0301", "ｗ")] == [3, 4, 1, 2]
