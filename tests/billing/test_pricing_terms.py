"""Member prices, weights, promotions, coupons, points and tax: exact, in any order the same, and told line by line."""

from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkout.billing.pricing import PricedBasket, price_basket
from walkout.billing.promotions import AccountTerms, Coupon
from walkout.billing.records import PricedProduct
from walkout.billing.tax import half_up, split, tax_on
from walkout.domain.money import Money
from walkout.domain.selling import PointsRule, Promotion, Seller, StoreTerms, TaxClass
from walkout.domain.shopping import Basket, BasketEvent, BasketEventKind, fold_basket

VAT = TaxClass("과세", Fraction(1, 10))
EXEMPT = TaxClass("면세", Fraction(0))
SALES_TAX = TaxClass("taxable", Fraction(825, 10000), included=False)
KOREA = StoreTerms(Seller("상점", "KR"), (VAT, EXEMPT))
TEXAS = StoreTerms(Seller("Shop", "US"), (SALES_TAX,))


def won(minor: int) -> Money:
    """Korean won."""
    return Money(minor, "KRW")


def product(barcode: str, minor: int, **rest: object) -> PricedProduct:
    """A product in won."""
    return PricedProduct(barcode, f"product {barcode}", won(minor), **rest)  # type: ignore[arg-type]


def price(
    lines: dict[str, int],
    *products: PricedProduct,
    terms: StoreTerms = StoreTerms(),  # noqa: B008
    account: AccountTerms = AccountTerms(),  # noqa: B008
    at_ns: int = 50,
    grams: dict[str, int] | None = None,
    currency: str = "KRW",
) -> PricedBasket:
    """A basket of those lines, priced."""
    basket = Basket("v", tuple(sorted(lines.items())), (), tuple(sorted((grams or {}).items())))
    return price_basket(basket, {one.barcode: one for one in products}, currency, terms, account, at_ns)


def several(name: str, count: int, minor: int, *barcodes: str, **rest: object) -> Promotion:
    """``count`` of those products for that price."""
    return Promotion(name, name, frozenset(barcodes), count, won(minor), **rest)  # type: ignore[arg-type]


def off(name: str, percent: int, *barcodes: str, **rest: object) -> Promotion:
    """That percentage off."""
    return Promotion(name, name, frozenset(barcodes), percent=Fraction(percent, 100), **rest)  # type: ignore[arg-type]


def test_a_member_pays_the_members_price_and_the_receipt_says_so() -> None:
    milk = product("1", 2500, member_price=won(2200))
    assert price({"1": 2}, milk).total == won(5000)
    priced = price({"1": 2}, milk, account=AccountTerms(member=True))
    assert priced.total == won(4400)
    (reason,) = priced.lines[0].reasons
    assert (reason.code, reason.amount) == ("member", won(-600))
    assert priced.lines[0].listed == won(5000)


def test_a_members_price_above_the_list_price_is_nobodys_price() -> None:
    dear = product("1", 2500, member_price=won(9900))
    assert price({"1": 1}, dear, account=AccountTerms(member=True)).total == won(2500)


def test_goods_sold_by_weight_cost_their_net_weight_to_the_nearest_unit() -> None:
    apples = product("1", 8990, per_kg=True, tare_g=15)
    priced = price({"1": 2}, apples, grams={"1": 437})
    # (437 - 2 x 15) g x 8990 per kg = 3658.93
    assert priced.total == won(3659)
    assert (priced.lines[0].grams, priced.lines[0].unit) == (407, won(8990))


def test_goods_sold_by_weight_that_nobody_weighed_are_never_charged() -> None:
    apples = product("1", 8990, per_kg=True, tare_g=15)
    for grams in ({}, {"1": 15}, {"1": 3}):
        priced = price({"1": 1}, apples, grams=grams)
        assert priced.total == won(0)
        assert priced.doubts == ("1: sold by weight, and nobody weighed it",)


def test_grams_taken_and_put_back_meet_in_the_basket() -> None:
    pick = BasketEvent("e1", "v", 1, BasketEventKind.PICK, "1", 1, 0.9, "w1", 437)
    back = BasketEvent("e2", "v", 2, BasketEventKind.PUT_BACK, "1", -1, 0.9, "w2", -437)
    again = BasketEvent("e3", "v", 3, BasketEventKind.PICK, "1", 1, 0.9, "w3", 212)
    assert fold_basket("v", [pick, back, again, pick]).grams == (("1", 212),)


def test_several_for_a_price_take_full_groups_only() -> None:
    terms = StoreTerms(promotions=(several("3for", 3, 2000, "1"),))
    cola = product("1", 900)
    assert [price({"1": n}, cola, terms=terms).total.minor for n in range(1, 8)] == [
        *(900, 1800, 2000, 2900, 3800, 4000, 4900)
    ]


def test_a_mixed_group_takes_the_dearest_and_shares_its_saving_by_price() -> None:
    terms = StoreTerms(promotions=(several("2for", 2, 3000, "1", "2"),))
    priced = price({"1": 1, "2": 2}, product("1", 3000), product("2", 1000), terms=terms)
    # 3000 + 1000 for 3000; the other 1000 stays.
    assert priced.total == won(4000)
    assert [line.total for line in priced.lines] == [won(2250), won(1750)]


def test_a_promotion_that_would_be_dearer_does_nothing() -> None:
    terms = StoreTerms(promotions=(several("2for", 2, 5000, "1"),))
    assert price({"1": 2}, product("1", 900), terms=terms).total == won(1800)


def test_each_unit_takes_part_in_the_one_promotion_that_saves_most() -> None:
    terms = StoreTerms(promotions=(off("half", 50, "1"), several("2for", 2, 1600, "1")))
    priced = price({"1": 3}, product("1", 1000), terms=terms)
    assert priced.total == won(1500)
    assert [reason.source for reason in priced.lines[0].reasons] == ["half"]


@pytest.mark.parametrize(("at_ns", "total"), [(9, 1000), (10, 500), (19, 500), (20, 1000)])
def test_a_promotion_holds_from_its_first_moment_to_before_its_last(at_ns: int, total: int) -> None:
    terms = StoreTerms(promotions=(off("half", 50, valid_from_ns=10, valid_to_ns=20),))
    assert price({"1": 1}, product("1", 1000), terms=terms, at_ns=at_ns).total == won(total)


def test_a_members_promotion_is_for_members() -> None:
    terms = StoreTerms(promotions=(off("half", 50, members_only=True),))
    assert price({"1": 1}, product("1", 1000), terms=terms).total == won(1000)
    assert price({"1": 1}, product("1", 1000), terms=terms, account=AccountTerms(member=True)).total == won(500)


def test_a_coupon_is_used_from_its_minimum_on_until_it_expires() -> None:
    coupon = Coupon("c", "1,000 off", 100, off=won(1000), minimum=won(3000))
    account = AccountTerms(coupons=(coupon,))
    assert price({"1": 2}, product("1", 1000), account=account).coupons == ()
    priced = price({"1": 3}, product("1", 1000), account=account)
    assert (priced.total, priced.coupons) == (won(2000), ("c",))
    assert price({"1": 3}, product("1", 1000), account=account, at_ns=100).total == won(3000)


def test_a_coupon_worth_more_than_the_basket_leaves_nothing_to_pay_and_gives_no_change() -> None:
    account = AccountTerms(coupons=(Coupon("c", "c", 100, off=won(5000)), Coupon("d", "d", 200, off=won(5000))))
    priced = price({"1": 3}, product("1", 1000), account=account)
    assert (priced.total, priced.coupons) == (won(0), ("c",)), "the second coupon stays with the shopper"


def test_points_pay_and_are_earned_on_what_was_paid() -> None:
    terms = StoreTerms(points=PointsRule(Fraction(1, 100), 10))
    account = AccountTerms(member=True, spend_points=150)
    priced = price({"1": 3}, product("1", 1000), terms=terms, account=account)
    assert (priced.total, priced.points_spent, priced.points_earned) == (won(1500), 150, 15)
    greedy = price({"1": 1}, product("1", 1005), terms=terms, account=AccountTerms(spend_points=9999))
    assert (greedy.total, greedy.points_spent, greedy.points_earned) == (won(5), 100, 0)


def test_korean_tax_lies_in_the_price_and_exempt_goods_have_none() -> None:
    priced = price({"1": 1, "2": 1}, product("1", 1000), product("2", 500, tax_class="면세"), terms=KOREA)
    assert priced.total == won(1500)
    taxes = [(line.tax.name, line.tax.amount.minor) for line in priced.lines if line.tax]
    assert taxes == [("과세", 91), ("면세", 0)]  # 1000 / 11 = 90.9


def test_american_tax_is_added_once_per_receipt() -> None:
    gum = PricedProduct("1", "gum", Money(105, "USD"))
    mint = PricedProduct("2", "mint", Money(105, "USD"))
    priced = price({"1": 1, "2": 1}, gum, mint, terms=TEXAS, currency="USD")
    # 2.10 x 8.25 % = 17.325 cents; line by line it would be 2 x 9 = 18.
    assert priced.total == Money(227, "USD")


def test_tax_is_taken_on_the_price_after_discounts() -> None:
    terms = StoreTerms(KOREA.seller, KOREA.tax_classes, (off("half", 50),))
    (line,) = price({"1": 1}, product("1", 2200), terms=terms).lines
    assert line.tax is not None
    assert (line.total, line.tax.amount) == (won(1100), won(100))


def test_a_tax_class_the_store_does_not_know_asks_for_a_look() -> None:
    priced = price({"1": 1}, product("1", 1000, tax_class="luxury"), terms=KOREA)
    assert priced.total == won(0)
    assert priced.doubts == ("1: the store has no tax class 'luxury'",)


def test_rounding_follows_the_country() -> None:
    tenth = TaxClass("t", Fraction(1, 10), included=False)
    assert [tax_on(15, tenth, country) for country in ("KR", "JP", "DE")] == [2, 1, 2]
    assert [half_up(Fraction(n, 2)) for n in (1, 3, -1)] == [1, 2, -1]


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=12))
def test_a_split_adds_up_and_no_share_is_a_unit_off(whole: int, weights: list[int]) -> None:
    shares = split(whole, weights)
    assert sum(shares) == whole
    if total := sum(weights):
        assert all(abs(share - Fraction(whole * w, total)) < 1 for share, w in zip(shares, weights, strict=True))


BARCODES = ("1", "2", "3", "4")
PRODUCTS = st.builds(
    product,
    st.just("?"),
    st.integers(0, 20_000),
    member_price=st.one_of(st.none(), st.integers(0, 20_000).map(won)),
    tax_class=st.sampled_from(["", "과세", "면세"]),
    per_kg=st.booleans(),
    tare_g=st.integers(0, 30),
)
PROMOTIONS = st.one_of(
    st.builds(
        lambda barcodes, count, minor: several(f"m{count}{minor}", count, minor, *barcodes),
        st.sets(st.sampled_from(BARCODES), min_size=1),
        st.integers(1, 4),
        st.integers(0, 30_000),
    ),
    st.builds(
        lambda barcodes, percent: off(f"p{percent}", percent, *barcodes),
        st.sets(st.sampled_from(BARCODES)),
        st.integers(1, 100),
    ),
)
COUPONS = st.lists(
    st.one_of(
        st.builds(
            lambda minor, end: Coupon(f"a{minor}", "a", end, off=won(minor)), st.integers(1, 9999), st.integers()
        ),
        st.builds(
            lambda part, end: Coupon(f"b{part}", "b", end, percent=Fraction(part, 100)),
            st.integers(1, 100),
            st.integers(),
        ),
    ),
    max_size=4,
    unique_by=lambda coupon: coupon.coupon_id,
)


@st.composite
def priced_baskets(draw: st.DrawFn) -> tuple[dict[str, int], list[PricedProduct], StoreTerms, AccountTerms]:
    """A basket, products and terms of any kind, tax included or on top."""
    lines = draw(st.dictionaries(st.sampled_from(BARCODES), st.integers(1, 9), min_size=1))
    products = [
        PricedProduct(barcode, barcode, one.price, one.member_price, one.tax_class, one.per_kg, one.tare_g)
        for barcode in lines
        for one in [draw(PRODUCTS)]
    ]
    promotions = draw(st.lists(PROMOTIONS, max_size=4, unique_by=lambda one: one.promotion_id))
    included = draw(st.booleans())
    taxes = (TaxClass("과세", Fraction(1, 10), included), TaxClass("면세", Fraction(0), included))
    country = draw(st.sampled_from(["KR", "JP", "US", "DE"]))
    terms = StoreTerms(Seller("s", country), taxes, tuple(promotions), PointsRule(Fraction(1, 50), 7))
    account = AccountTerms(draw(st.booleans()), tuple(draw(COUPONS)), draw(st.integers(0, 500)))
    return lines, products, terms, account


@given(priced_baskets())
def test_every_line_is_explained_to_the_last_unit(
    drawn: tuple[dict[str, int], list[PricedProduct], StoreTerms, AccountTerms],
) -> None:
    lines, products, terms, account = drawn
    priced = price(lines, *products, terms=terms, account=account, grams=dict.fromkeys(lines, 777))
    assert priced.total.minor == sum(line.total.minor for line in priced.lines if line.total)
    for line in priced.lines:
        assert line.total is not None
        assert line.listed is not None
        assert line.tax is not None
        on_top = 0 if line.tax.included else line.tax.amount.minor
        assert line.listed.minor + sum(reason.amount.minor for reason in line.reasons) + on_top == line.total.minor
        assert 0 <= line.total.minor - on_top <= line.listed.minor
        assert all(reason.amount.minor < 0 for reason in line.reasons)


@given(priced_baskets())
def test_the_tax_of_the_lines_is_the_tax_of_the_receipt(
    drawn: tuple[dict[str, int], list[PricedProduct], StoreTerms, AccountTerms],
) -> None:
    lines, products, terms, account = drawn
    priced = price(lines, *products, terms=terms, account=account, grams=dict.fromkeys(lines, 777))
    country = terms.seller.country if terms.seller else ""
    for tax in terms.tax_classes:
        mine = [line for line in priced.lines if line.tax and line.tax.name == tax.name]
        taxes = sum(line.tax.amount.minor for line in mine if line.tax)
        paid = sum(line.total.minor for line in mine if line.total)
        assert taxes == tax_on(paid if tax.included else paid - taxes, tax, country)


@given(priced_baskets())
def test_the_order_of_things_changes_no_price(
    drawn: tuple[dict[str, int], list[PricedProduct], StoreTerms, AccountTerms],
) -> None:
    lines, products, terms, account = drawn
    grams = dict.fromkeys(lines, 777)
    first = price(lines, *products, terms=terms, account=account, grams=grams)
    for order in list(permutations(terms.promotions))[:6]:
        other = StoreTerms(terms.seller, terms.tax_classes, order, terms.points)
        swapped = AccountTerms(account.member, account.coupons[::-1], account.spend_points)
        assert price(lines, *reversed(products), terms=other, account=swapped, grams=grams) == first


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Promotion("p", "p"),
        lambda: Promotion("p", "p", frozenset("1"), 2, won(1), Fraction(1, 2)),
        lambda: Promotion("p", "p", frozenset(), 2, won(1)),
        lambda: off("p", 101),
        lambda: Coupon("c", "c", 1),
        lambda: Coupon("c", "c", 1, off=won(0)),
        lambda: TaxClass("t", Fraction(3, 2)),
    ],
)
def test_terms_that_make_no_sense_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"promotion|coupon|tax"):
        wrong()  # type: ignore[operator]
