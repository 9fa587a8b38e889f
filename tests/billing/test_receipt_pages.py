"""A receipt says what the law wants in Korean and English, as text, page and PDF, and no input breaks out of it."""

from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from importlib import resources
from zoneinfo import ZoneInfo

import pytest
from fontTools.ttLib import TTFont

from walkout.billing.pricing import price_basket
from walkout.billing.promotions import AccountTerms
from walkout.billing.receipt_pages import render_html, render_pdf
from walkout.billing.receipt_text import render_text, width
from walkout.billing.receipts import Language
from walkout.billing.records import BilledVisit, Payment, PricedProduct, Receipt, VisitStatus
from walkout.domain.money import Money
from walkout.domain.selling import Promotion, Seller, StoreTerms, TaxClass
from walkout.domain.shopping import Basket

SEOUL = ZoneInfo("Asia/Seoul")
SELLER = Seller(
    name="워크아웃 상점",
    country="KR",
    business_number="123-45-67890",
    representative="김하나",
    address="서울특별시 중구 세종대로 110",
    phone="02-120",
    refund_policy_ko="구매 후 7일 이내에 영수증과 함께 가져오시면 환불해 드립니다.",
    refund_policy_en="Bring it back with this receipt within 7 days and we refund it.",
)
TERMS = StoreTerms(
    SELLER,
    (TaxClass("과세", Fraction(1, 10)), TaxClass("면세", Fraction(0))),
    (Promotion("3for2", "셋에 둘 값", frozenset({"8801"}), 3, Money(2400, "KRW")),),
)
PRODUCTS = {
    "8801": PricedProduct("8801", "제주 샘물 & <b>물</b>", Money(1200, "KRW")),
    "8802": PricedProduct("8802", "사과", Money(9900, "KRW"), tax_class="면세", per_kg=True, tare_g=10),
}


def receipt(status: VisitStatus = VisitStatus.CAPTURED) -> Receipt:
    """Three bottles for two and 400 g of exempt apples, paid with the phone in Seoul."""
    basket = Basket("v", (("8801", 3), ("8802", 1)), (), (("8802", 410),))
    priced = price_basket(basket, PRODUCTS, "KRW", TERMS, AccountTerms())
    left_ns = 1_767_225_600 * 10**9  # 2026-01-01 00:00 UTC
    visit = BilledVisit("v-1", "jung-gu", "ann", "KRW", left_ns - 60 * 10**9, left_ns, status, 4)
    paid = Payment("kakao_pay", priced.total, "pi_123", left_ns)
    return Receipt(visit, priced.lines, priced.total, 0.99, (paid,), TERMS)


KOREAN_FIELDS = [
    *("워크아웃 상점", "123-45-67890", "김하나", "서울특별시 중구 세종대로 110", "2026-01-01 09:00:00 KST"),
    *("과세 10 %  공급가액", "2,182 KRW", "과세 10 %  세액", "218 KRW", "면세 0 %  공급가액", "3,960 KRW", "* 사과"),
    *(
        "400 g x 9,900 KRW/kg",
        "셋에 둘 값",
        "-1,200 KRW",
        "합계",
        "6,360 KRW",
        "결제: 카카오페이",
        "pi_123",
        "7일 이내",
    ),
]


def shown(page: str) -> str:
    """The text of an HTML page, cells parted by a blank."""
    parts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = parts.append  # type: ignore[method-assign]
    parser.feed(page)
    return " ".join(parts)


@pytest.mark.parametrize("field", KOREAN_FIELDS)
def test_a_korean_receipt_has_what_the_law_wants(field: str) -> None:
    assert field in render_text(receipt(), SEOUL, Language.KOREAN)
    assert field in shown(render_html(receipt(), SEOUL, Language.KOREAN))


def test_an_eu_receipt_names_seller_date_goods_and_vat() -> None:
    seller = Seller("Walkout GmbH", "DE", vat_number="DE123456789", address="Unter den Linden 1, Berlin")
    terms = StoreTerms(seller, (TaxClass("standard", Fraction(19, 100)), TaxClass("reduced", Fraction(7, 100))))
    products = {
        "1": PricedProduct("1", "soap", Money(238, "EUR")),
        "2": PricedProduct("2", "bread", Money(321, "EUR"), tax_class="reduced"),
    }
    priced = price_basket(Basket("v", (("1", 1), ("2", 1))), products, "EUR", terms)
    visit = BilledVisit("v-1", "berlin", "ann", "EUR", 1, 2, VisitStatus.CAPTURED, 2)
    text = render_text(Receipt(visit, priced.lines, priced.total, 1.0, (), terms), language=Language.ENGLISH)
    wanted = ["Walkout GmbH", "DE123456789", "Unter den Linden 1, Berlin", "1970-01-01", "soap", "bread", "5.59 EUR"]
    assert [word for word in wanted if word not in text] == []
    taxes = [line.split()[-2] for line in text.splitlines() if " %  " in line]
    assert taxes == ["3.00", "0.21", "2.00", "0.38"]
    assert "영수증" not in text


def test_tax_on_top_is_told_and_columns_add_up() -> None:
    terms = StoreTerms(Seller("Shop", "US"), (TaxClass("taxable", Fraction(825, 10000), included=False),))
    products = {"1": PricedProduct("1", "gum", Money(1000, "USD"))}
    priced = price_basket(Basket("v", (("1", 1),)), products, "USD", terms)
    visit = BilledVisit("v-1", "austin", "ann", "USD", 1, 2, VisitStatus.CAPTURED, 2)
    text = render_text(Receipt(visit, priced.lines, priced.total, 1.0, (), terms), language=Language.ENGLISH)
    rows = [line for line in text.splitlines() if line.endswith("USD") and not line.startswith(" ")]
    assert [row.split()[-2] for row in rows] == ["10.00", "10.00", "0.83", "10.83"]
    assert "taxable 8.25 % (added)  Tax" in text


def test_a_refund_stands_below_the_payment() -> None:
    paid = receipt()
    back = Payment("kakao_pay", Money(-1200, "KRW"), "re_1", 2)
    text = render_text(replace(paid, payments=(*paid.payments, back)), SEOUL, Language.ENGLISH)
    assert text.index("Payment: Kakao Pay") < text.index("Refund: Kakao Pay")
    assert "-1,200 KRW" in text


def test_no_row_of_text_is_wider_than_the_roll_but_what_has_no_blank() -> None:
    assert max(width(line) for line in render_text(receipt(), SEOUL).splitlines()) <= 64


def test_a_page_escapes_what_came_from_outside_and_fetches_nothing() -> None:
    page = render_html(receipt(), SEOUL)
    assert "&lt;b&gt;물&lt;/b&gt;" in page
    for word in ("<b>", "<script", "http:", "https:", "url(", "src="):
        assert word not in page


def test_a_page_closes_every_table_it_opens() -> None:
    page = render_html(receipt(), SEOUL)
    assert page.count("<table>") == page.count("</table>") > 1
    assert '<html lang="en">' in render_html(receipt(), SEOUL, Language.ENGLISH)


@pytest.mark.parametrize("language", list(Language))
def test_a_pdf_is_one_page_with_its_own_font(language: Language) -> None:
    pdf = render_pdf(receipt(), SEOUL, language)
    assert pdf.startswith(b"%PDF-")
    assert pdf.count(b"/Type /Page\n") == 1
    assert b"NotoSansKR" in pdf
    assert b"/FontFile" in pdf


def test_a_pdf_can_be_searched_for_its_letters() -> None:
    # The map from glyphs to characters holds those of the seller's name (UTF-16).
    maps = render_pdf(receipt(), SEOUL).upper()
    assert [char for char in "워크아웃상점" if char.encode("utf-16-be").hex().upper().encode() not in maps] == []


def test_the_same_receipt_gives_the_same_pdf() -> None:
    assert render_pdf(receipt(), SEOUL) == render_pdf(receipt(), SEOUL)


def test_times_beyond_the_calendar_do_not_stop_a_pdf() -> None:
    late = replace(receipt(), visit=replace(receipt().visit, closed_ns=2**63 - 1))
    assert render_pdf(late).startswith(b"%PDF-")


def test_the_font_has_every_hangul_syllable_and_names_its_licence() -> None:
    fonts = resources.files("walkout.billing") / "fonts"
    with resources.as_file(fonts / "NotoSansKR-Receipts.otf") as path:
        font = TTFont(path)
    missing = [
        char for char in [*map(chr, range(0xAC00, 0xD7A4)), *"₩€£¥×•–Ééß"] if ord(char) not in font.getBestCmap()
    ]
    assert missing == []
    assert "SIL Open Font License" in font["name"].getDebugName(13)
    assert "SIL OPEN FONT LICENSE" in (fonts / "OFL.txt").read_text().upper()


def test_times_are_the_stores_own_unless_told_otherwise() -> None:
    seoul = replace(receipt(), terms=replace(TERMS, timezone="Asia/Seoul"))
    assert "2026-01-01 09:00:00 KST" in render_text(seoul)
    assert "2026-01-01 09:00:00 KST" in shown(render_html(seoul))
    assert "2026-01-01 00:00:00 UTC" in render_text(replace(seoul, terms=replace(TERMS, timezone="Mars/Olympus")))
