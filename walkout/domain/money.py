"""Money: integer minor units with their currency. Floats never meet it."""

from dataclasses import dataclass

#: Decimal places of each currency we know (ISO 4217).
MINOR_DIGITS = {"KRW": 0, "JPY": 0, "USD": 2, "EUR": 2, "GBP": 2, "KWD": 3}


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount: ``minor`` units (cents, won, fils) of ``currency`` (ISO 4217).

    Raises ``ValueError`` for a currency we do not know and when two currencies meet in one sum.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if self.currency not in MINOR_DIGITS:
            raise ValueError(f"unknown currency {self.currency!r}; known: {', '.join(sorted(MINOR_DIGITS))}")
        if not isinstance(self.minor, int) or isinstance(self.minor, bool):
            raise TypeError(f"minor units must be an int, not {self.minor!r}")

    def __add__(self, other: "Money") -> "Money":
        return Money(self.minor + self._same(other).minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.minor - self._same(other).minor, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.minor, self.currency)

    def __mul__(self, count: int) -> "Money":
        if not isinstance(count, int) or isinstance(count, bool):
            raise TypeError(f"money is multiplied by whole counts only, not by {count!r}")
        return Money(self.minor * count, self.currency)

    def _same(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")
        return other

    def __str__(self) -> str:
        digits = MINOR_DIGITS[self.currency]
        sign = "-" if self.minor < 0 else ""
        whole, part = divmod(abs(self.minor), 10**digits)
        number = f"{whole:,}" + (f".{part:0{digits}d}" if digits else "")
        return f"{sign}{number} {self.currency}"
