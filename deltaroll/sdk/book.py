"""A series' book, kept up to date and never crossed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from deltaroll.node.api.data import BookData, Level
from deltaroll.node.api.messages import ChannelMessage, MessageKind
from deltaroll.sdk.channels import Channels, Subscription
from deltaroll.sdk.errors import SdkError


@dataclass(frozen=True, slots=True)
class BookView:
    """A book at one moment. Prices are collateral units per lot."""

    sequence: int
    """Of the log."""
    bids: tuple[Level, ...]
    """(Price, lots), the highest first."""
    asks: tuple[Level, ...]
    """The lowest first."""

    @property
    def best_bid(self) -> int | None:
        """The highest price that somebody buys at."""
        return self.bids[0][0] if self.bids else None

    @property
    def best_ask(self) -> int | None:
        """The lowest price that somebody sells at."""
        return self.asks[0][0] if self.asks else None


class Book:
    """Follows a series. Whole steps of the log are applied at once, so what is read is a state that
    the book had; when a message is missing or what comes cannot be, it begins again with a
    snapshot and is not readable until then."""

    def __init__(self, channels: Channels, market: int) -> None:
        self.market = market
        self.restarts = 0
        """Snapshots beyond the first one."""
        self._channels = channels
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self._sequence = 0
        self._view: BookView | None = None
        self._is_ready = False
        self._held: Subscription | None = None
        self._problem: SdkError | None = None
        self._changed = asyncio.Event()
        self.on_change: Callable[[BookView], None] | None = None
        """Told of every change; it must not raise."""

    async def open(self) -> "Book":
        """Subscribe and wait for the snapshot; RefusedError when there is no such series."""
        self._held = await self._channels.listen(f"book.{self.market}", self._take)
        return self

    @property
    def is_ready(self) -> bool:
        """Whether it can be read: a snapshot is there and nothing is missing since."""
        return self._is_ready and (self._held is None or self._held.is_live)

    @property
    def view(self) -> BookView:
        """The book as it is now.

        Raises
        ------
        SdkError
            When the channel has ended.
        LookupError
            While it is not `is_ready`; `wait` waits for it.
        """
        if self._problem is not None:
            raise self._problem
        if not self.is_ready:
            raise LookupError(f"book {self.market}: waiting for a snapshot")
        if self._view is None:
            bids = tuple(sorted(self._bids.items(), reverse=True))
            self._view = BookView(self._sequence, bids, tuple(sorted(self._asks.items())))
        return self._view

    async def wait(self, after: int | None = None) -> BookView:
        """Return the book as soon as it is readable and newer than a sequence number."""
        while self._problem is None:
            if self.is_ready and (after is None or self._sequence > after):
                break
            self._changed.clear()
            await self._changed.wait()
        return self.view

    def close(self) -> None:
        """Unsubscribe."""
        self._channels.leave(f"book.{self.market}", self._take)

    def _take(self, message: ChannelMessage | SdkError) -> None:
        if isinstance(message, SdkError):
            self._problem = message
            self._changed.set()
            return
        data = message.data
        assert isinstance(data, BookData)
        if message.kind is MessageKind.DELTA:
            apply_levels(self._bids, data.bids)
            apply_levels(self._asks, data.asks)
        else:
            self.restarts += self._is_ready
            self._bids, self._asks = dict(data.bids), dict(data.asks)
        self._sequence = message.sequence
        self._view = None
        self._is_ready = True
        if self._bids and self._asks and max(self._bids) >= min(self._asks):
            self._is_ready = False
            if self._held is not None:
                self._channels.restart(self._held)
            return
        self._changed.set()
        if self.on_change is not None:
            self.on_change(self.view)


def apply_levels(side: dict[int, int], levels: tuple[Level, ...]) -> None:
    """Set price levels; one without lots goes."""
    for price, lots in levels:
        if lots:
            side[price] = lots
        else:
            side.pop(price, None)
