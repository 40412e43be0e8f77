"""Candles: what has traded within a minute, an hour, a day of L1's clock."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, delete, select

from deltaroll.node.events import Trade
from deltaroll.node.readmodel.database import upsert
from deltaroll.node.readmodel.tables import Candle, Fill

WIDTHS = (60, 3_600, 86_400)
Key = tuple[int, int, int]
"""Market, width, start."""


class Candles:
    """Follows the trades of one history; times never fall, unless a rebase says so."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], dict[str, Any]] = {}
        """The latest candle of each market and width."""
        self._changed: dict[Key, dict[str, Any]] = {}

    def add(self, connection: Connection, trade: Trade, clock: int) -> None:
        """Take a trade in."""
        for width in WIDTHS:
            start = clock - clock % width
            candle = self._open.get((trade.market, width))
            if candle is None or candle["start"] != start:
                candle = self._find(connection, (trade.market, width, start))
            if candle is None:
                candle = make_candle(trade.market, width, start, trade.price)
            candle["high"] = max(candle["high"], trade.price)
            candle["low"] = min(candle["low"], trade.price)
            candle["close"] = trade.price
            candle["lots"] += trade.lots
            candle["trades"] += 1
            self._open[trade.market, width] = candle
            self._changed[trade.market, width, start] = candle

    def write(self, connection: Connection) -> None:
        """Write what has changed."""
        upsert(connection, Candle, list(self._changed.values()))
        self._changed.clear()

    def forget(self) -> None:
        """Forget what was not written, or what a transaction that has failed had written."""
        self._open.clear()
        self._changed.clear()

    def build_again(self, connection: Connection, trades: Iterable[tuple[int, int]]) -> None:
        """Make candles again from the fills that hold; `trades`: market and time of those that do
        not any more."""
        self.forget()
        keys = {
            (market, width, clock - clock % width) for market, clock in trades for width in WIDTHS
        }
        for market, width, start in sorted(keys):
            connection.execute(
                delete(Candle).where(
                    Candle.market == market, Candle.width == width, Candle.start == start
                )
            )
            candle: dict[str, Any] | None = None
            for price, lots in connection.execute(
                select(Fill.price, Fill.lots)
                .where(
                    Fill.market == market,
                    Fill.is_maker.is_(False),
                    Fill.clock >= start,
                    Fill.clock < start + width,
                    Fill.reverted_by.is_(None),
                )
                .order_by(Fill.id)
            ):
                if candle is None:
                    candle = make_candle(market, width, start, price)
                candle["high"] = max(candle["high"], price)
                candle["low"] = min(candle["low"], price)
                candle["close"] = price
                candle["lots"] += lots
                candle["trades"] += 1
            if candle is not None:
                upsert(connection, Candle, [candle])

    def _find(self, connection: Connection, key: Key) -> dict[str, Any] | None:
        changed = self._changed.get(key)
        if changed is not None:
            return changed
        market, width, start = key
        row = connection.execute(
            select(Candle.__table__).where(
                Candle.market == market, Candle.width == width, Candle.start == start
            )
        ).one_or_none()
        return None if row is None else dict(row._mapping)


def make_candle(market: int, width: int, start: int, price: int) -> dict[str, Any]:
    """Return a candle that begins with a price and has no trade yet."""
    return {
        "market": market,
        "width": width,
        "start": start,
        "open": price,
        "high": price,
        "low": price,
        "close": price,
        "lots": 0,
        "trades": 0,
    }
