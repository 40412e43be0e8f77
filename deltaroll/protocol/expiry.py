"""Expiries: when options expire, what their forward is, and what settles them.

Boundaries are the days' expiry times, all of them EXPIRY_TIME after midnight UTC; the one of day d,
counted from 1970, is at d * DAY + EXPIRY_TIME. The price that settles an expiry is the average of
the window of SETTLEMENT_WINDOW before its boundary, so inside the window the forward is in part
known: its fixed part, which no scenario shocks.
"""

from deltaroll.protocol.constants import DAY, EXPIRY_TIME, SETTLEMENT_WINDOW, TWAP_DAYS
from deltaroll.protocol.types import Expiry, Timestamp, Underlying


def compute_boundary(day: int) -> Timestamp:
    """Return the expiry time of a day, counted from 1970."""
    return Timestamp(day * DAY + EXPIRY_TIME)


def compute_day(time: int) -> int:
    """Return the day of the first boundary that is not before `time`; of an expiry, its own."""
    return (time + (DAY - 1 - EXPIRY_TIME)) // DAY


def is_boundary(time: int) -> bool:
    """Return whether options may expire at `time`."""
    return compute_boundary(compute_day(time)) == time


def compute_forward(underlying: Underlying, expiry: Expiry) -> int:
    """Return index times ratio, rounded down: the forward outside the settlement window."""
    return underlying.index * expiry.ratio >> 48


def compute_forward_parts(underlying: Underlying, expiry: Expiry) -> tuple[int, int]:
    """Return the fixed and the variable part of the forward as of the last observation, each
    rounded down.

    Inside the settlement window, the fixed part is what the seconds observed so far add to the
    average, and the variable part what the seconds left will add if the index stays. A second that
    was not observed counts for neither. The ratio no longer counts there.
    """
    remaining = expiry.time - underlying.observed_at
    if (
        expiry.time == 0
        or remaining >= SETTLEMENT_WINDOW
        or underlying.day != compute_day(expiry.time)
        or remaining <= 0
    ):
        return 0, compute_forward(underlying, expiry)
    total = underlying.window_seconds + remaining
    return underlying.window_sum // total, underlying.index * remaining // total


def compute_settlement(underlying: Underlying, expiry: Expiry) -> int:
    """Return the price that settles an expiry that the underlying has passed; at least 1.

    Where no observation knows the price of that boundary any more, or none knew it, the index.
    """
    day = compute_day(expiry.time)
    price = 0
    if day < underlying.day <= day + TWAP_DAYS:
        price = underlying.twaps[day % TWAP_DAYS]
    if price == 0:
        price = underlying.index
    return max(price, 1)
