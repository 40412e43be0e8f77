"""Real prices: S&P 500 daily closes through two storms."""

import csv
import datetime
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources

WINDOWS = (
    (datetime.date(2015, 8, 3), datetime.date(2015, 9, 30)),
    (datetime.date(2018, 1, 16), datetime.date(2018, 3, 14)),
)
"""August 2015 and February 2018, each with the calm before."""
LOT_OF_INDEX = Decimal("0.01")
"""One lot is a hundredth of the index."""
COLLATERAL_UNIT = Decimal(1_000_000)
TICK = 1_000
"""A tenth of an index point per lot, in collateral units."""


@dataclass(frozen=True, slots=True)
class Close:
    """One day."""

    day: datetime.date
    price: int
    """Per lot, collateral units."""


def read_closes(
    windows: tuple[tuple[datetime.date, datetime.date], ...] = WINDOWS,
) -> list[Close]:
    """Return the closes inside the windows, in order."""
    text = resources.files("deltaroll.demo").joinpath("facts/sp500.csv").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    closes = []
    for row in csv.DictReader(lines):
        day = datetime.date.fromisoformat(row["date"])
        if any(first <= day <= last for first, last in windows):
            price = Decimal(row["close"]) * LOT_OF_INDEX * COLLATERAL_UNIT
            closes.append(Close(day, int(price)))
    return closes
