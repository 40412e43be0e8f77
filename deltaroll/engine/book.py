"""One market's book: sorted price levels of first-in-first-out queues."""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from deltaroll.engine.orders import PriceLevel, RestingOrder
from deltaroll.protocol.types import AccountId, SlotId


class Level:
    """The orders at one price, oldest first."""

    __slots__ = ("lots", "orders")

    def __init__(self) -> None:
        # A plain dict would walk over the holes that filled orders leave at its front.
        self.orders: OrderedDict[tuple[AccountId, SlotId], RestingOrder] = OrderedDict()
        self.lots = 0


class BookSide:
    """The bids or the asks.

    A level's key is its price, negated for asks: keys ascend to the best level on both sides, and
    the best one goes in O(1).
    """

    __slots__ = ("_keys", "_levels", "_sign")

    def __init__(self, is_bid: bool) -> None:
        self._sign = 1 if is_bid else -1
        self._keys: list[int] = []
        self._levels: dict[int, Level] = {}

    def get_best(self) -> int | None:
        """Return the best price, None when the side is empty."""
        return self._keys[-1] * self._sign if self._keys else None

    def get_lots(self, price: int) -> int:
        """Return the lots that rest at a price."""
        level = self._levels.get(price * self._sign)
        return 0 if level is None else level.lots

    def add(self, resting: RestingOrder) -> None:
        """Append an order to the queue of its price."""
        key = resting.order.price * self._sign
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = Level()
            insort(self._keys, key)
        level.orders[resting.account, resting.slot] = resting
        level.lots += resting.remaining

    def remove(self, resting: RestingOrder) -> None:
        """Take an order out; KeyError when it is not here."""
        key = resting.order.price * self._sign
        level = self._levels[key]
        del level.orders[resting.account, resting.slot]
        level.lots -= resting.remaining
        if not level.orders:
            del self._levels[key]
            del self._keys[bisect_left(self._keys, key)]

    def reduce(self, resting: RestingOrder, lots: int) -> None:
        """Fill part of an order; it stays in its place."""
        resting.remaining -= lots
        self._levels[resting.order.price * self._sign].lots -= lots

    def walk(self, limit: int) -> Iterator[RestingOrder]:
        """Yield the orders that an opposite order at `limit` crosses, in price-time priority.

        The side must not change meanwhile.
        """
        last = limit * self._sign
        for key in reversed(self._keys):
            if key < last:
                return
            yield from self._levels[key].orders.values()

    def has_lots(self, limit: int, lots: int) -> bool:
        """Return whether the orders that `limit` crosses hold at least `lots` together."""
        last = limit * self._sign
        for key in reversed(self._keys):
            if lots <= 0 or key < last:
                break
            lots -= self._levels[key].lots
        return lots <= 0

    def get_levels(self, count: int) -> tuple[PriceLevel, ...]:
        """Return up to `count` price levels, best first."""
        return tuple(
            PriceLevel(key * self._sign, self._levels[key].lots, len(self._levels[key].orders))
            for key in islice(reversed(self._keys), count)
        )


class Book:
    """Both sides of a market."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = BookSide(is_bid=True)
        self.asks = BookSide(is_bid=False)

    def get_side(self, is_buy: bool) -> BookSide:
        """Return the side where orders of that direction rest."""
        return self.bids if is_buy else self.asks
