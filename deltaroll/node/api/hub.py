"""The hub: takes the sequencer's steps and tells everybody who listens. Lives on the event loop."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nlargest, nsmallest
from typing import Any

from deltaroll.node.api.channels import Channel, Subscriber
from deltaroll.node.api.data import (
    AccountData,
    AccountDelta,
    AccountEvent,
    BatchData,
    BatchesData,
    BookData,
    Fill,
    IndexData,
    InsuranceData,
    LiquidationsData,
    PublicTrade,
    TradesData,
)
from deltaroll.node.api.limits import Limits
from deltaroll.node.events import (
    AccountChange,
    BookChange,
    Distressed,
    IndexChange,
    InsuranceChange,
    KeyChange,
    Liquidation,
    MarkChange,
    OrderUpdate,
    Protection,
    Rebased,
    Step,
    Trade,
)
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.types import Underlying

RECENT_TRADES = 100
"""Of each market, for those who are new."""
RECENT_BATCHES = 50
ALL_LEVELS = 1 << 31
MAX_LEVELS = 5_000
"""Of each side, in a snapshot."""
IDLE_BEATS = 600
"""Seconds for which an account's channel is remembered after its last listener has left."""


@dataclass(slots=True)
class BookMirror:
    """A market's price levels as of the last published step."""

    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)

    def apply(self, change: BookChange) -> None:
        """Follow a change."""
        for side, levels in ((self.bids, change.bids), (self.asks, change.asks)):
            for price, lots in levels:
                if lots:
                    side[price] = lots
                else:
                    side.pop(price, None)

    def get_data(self, levels: int = MAX_LEVELS) -> BookData:
        """Return the best levels."""
        bids = nlargest(levels, self.bids.items())
        asks = nsmallest(levels, self.asks.items())
        return BookData(tuple(bids), tuple(asks))


@dataclass(slots=True)
class Seed:
    """What the hub starts from, taken from the live state at one moment."""

    sequence: int
    clock: int
    books: dict[int, BookMirror]
    indices: dict[int, IndexData]
    insurance: int
    distressed: dict[int, int]


def compute_seed(sequencer: Sequencer) -> Seed:
    """Return what the hub starts from; runs on the sequencer's thread."""
    state = sequencer.state
    books: dict[int, BookMirror] = {}
    for market in sequencer.engine.get_markets():
        depth = sequencer.engine.depth(market, ALL_LEVELS)
        books[market] = BookMirror(
            {level.price: level.lots for level in depth.bids},
            {level.price: level.lots for level in depth.asks},
        )
    indices = {
        int(market): IndexData(
            market, leaf.index, leaf.observed_at, leaf.halted_until if leaf.pending_index else 0
        )
        for market, leaf in state.markets.items()
        if isinstance(leaf, Underlying)
    }
    distressed = {
        int(account_id): int(account.distressed_at)
        for account_id, account in state.accounts.items()
        if account.distressed_at
    }
    return Seed(
        sequencer.store.next_sequence - 1,
        sequencer.clock,
        books,
        indices,
        state.globals.insurance,
        distressed,
    )


class Hub:
    """All channels."""

    def __init__(self, seed: Seed, limits: Limits, started_at: int) -> None:
        self._limits = limits
        self._channels: dict[str, Channel] = {}
        self.published = seed.sequence
        """Sequence number of the last step."""
        self.clock = seed.clock
        self.books = seed.books
        self.indices = seed.indices
        self.insurance = seed.insurance
        self.distressed = seed.distressed
        self.trades: dict[int, deque[PublicTrade]] = {}
        self.batches: dict[int, BatchData] = {}
        # Batches are not of the log: their messages are numbered from a number that rises from one
        # start to the next.
        self._batch_number = started_at * 1_000_000
        self.changed_markets: set[int] = set()
        """Series whose ticker may have changed."""
        self.changed_accounts: set[int] = set()
        """Accounts whose margin may have changed."""
        self.on_keys: Callable[[set[int] | None], None] = _ignore
        """Told of accounts whose sessions have to be looked at again; None: of all."""

    def get_channel(self, name: str) -> Channel:
        """Return a channel; from now on it remembers."""
        channel = self._channels.get(name)
        if channel is None:
            base = self._batch_number if name == "batches" else self.published
            is_latest = name.startswith("ticker.")
            channel = self._channels[name] = Channel(name, base, is_latest)
        return channel

    def find_channel(self, name: str) -> Channel | None:
        """Return a channel that somebody has asked for."""
        return self._channels.get(name)

    def iterate_listened(self, kind: str) -> Iterable[tuple[int, Channel]]:
        """Yield the channels of a kind that somebody listens to, with their subject."""
        for name, channel in self._channels.items():
            if channel.subscribers and name.startswith(kind):
                yield int(name[len(kind) :]), channel

    def drop_idle(self) -> None:
        """Drop account channels that nobody has listened to for a while; called every second."""
        for name, channel in tuple(self._channels.items()):
            if channel.subscribers:
                channel.idle = 0
            elif name.startswith("account."):
                channel.idle += 1
                if channel.idle > IDLE_BEATS:
                    del self._channels[name]

    def leave(self, subscriber: Subscriber, names: Iterable[str]) -> None:
        """Forget who is gone."""
        for name in names:
            channel = self._channels.get(name)
            if channel is not None:
                channel.close(subscriber)

    def publish(self, steps: Sequence[Step]) -> None:
        """Take the steps of one commit."""
        keys: set[int] = set()
        clock = self.clock
        for step in steps:
            outgoing: dict[str, list[Any]] = {}
            for event in step.events:
                self._route(step, event, outgoing, keys)
            self.published = step.sequence
            self.clock = step.clock
            if outgoing:
                self._send(step.sequence, outgoing)
        if self.clock != clock:
            self.on_keys(None)
        if keys:
            self.on_keys(keys)

    def publish_batches(self, batches: Sequence[BatchData], first: int) -> None:
        """Take the batches on L1 from number `first` on: those after the last one were removed."""
        changed = [batch for batch in batches if self.batches.get(batch.index) != batch]
        for index in [index for index in self.batches if index >= first + len(batches)]:
            gone = self.batches.pop(index)
            changed.append(
                BatchData(gone.index, gone.header_hash, "removed", gone.chunks, gone.block, 0)
            )
        for batch in batches:
            self.batches[batch.index] = batch
        if changed:
            self._batch_number += 1
            changed.sort(key=lambda batch: batch.index, reverse=True)
            channel = self.get_channel("batches")
            data = BatchesData(tuple(changed))
            channel.publish(self._batch_number, data, self._limits.ring)

    @property
    def batch_number(self) -> int:
        """Number of the last message about batches."""
        return self._batch_number

    def get_batches(self, count: int = RECENT_BATCHES) -> BatchesData:
        """Return the latest batches, newest first."""
        newest = sorted(self.batches, reverse=True)[:count]
        return BatchesData(tuple(self.batches[index] for index in newest))

    def get_trades(self, market: int) -> TradesData:
        """Return a market's latest trades."""
        return TradesData(tuple(self.trades.get(market, ())))

    def get_book(self, market: int, levels: int = MAX_LEVELS) -> BookData:
        """Return a market's book."""
        book = self.books.get(market)
        return BookData((), ()) if book is None else book.get_data(levels)

    def _route(
        self, step: Step, event: Any, outgoing: dict[str, list[Any]], keys: set[int]
    ) -> None:
        match event:
            case OrderUpdate():
                self._add(outgoing, f"account.{event.account}", event)
            case BookChange():
                book = self.books.get(event.market)
                if book is None:
                    book = self.books[event.market] = BookMirror()
                book.apply(event)
                self.changed_markets.add(event.market)
                self._add(outgoing, f"book.{event.market}", BookData(event.bids, event.asks))
            case Trade():
                self._route_trade(step, event, outgoing)
            case AccountChange():
                self.changed_accounts.add(event.account)
                self._add(outgoing, f"account.{event.account}", to_account_data(event))
            case MarkChange():
                self.changed_markets.add(event.market)
            case IndexChange():
                data = IndexData(event.market, event.index, event.observed_at, event.halted_until)
                self.indices[event.market] = data
                self._add(outgoing, f"index.{event.market}", data)
            case KeyChange():
                keys.add(event.account)
            case Protection():
                self._add(outgoing, f"account.{event.account}", event)
            case Distressed():
                if event.distressed_at:
                    self.distressed[event.account] = event.distressed_at
                else:
                    self.distressed.pop(event.account, None)
                self._add(outgoing, "liquidations", event)
            case Liquidation():
                self._add(outgoing, "liquidations", event)
            case Rebased():
                for market, recent in self.trades.items():
                    kept = [trade for trade in recent if trade.sequence < event.first]
                    self.trades[market] = deque(kept, maxlen=RECENT_TRADES)
                for name in self._channels:
                    if name.startswith(("account.", "trades.")):
                        self._add(outgoing, name, event)
            case InsuranceChange():
                self.insurance = event.insurance
                self._add(outgoing, "insurance", InsuranceData(str(event.insurance)))

    def _route_trade(self, step: Step, event: Trade, outgoing: dict[str, list[Any]]) -> None:
        trade = PublicTrade(
            event.market, event.price, event.lots, event.taker_is_buy, step.sequence, step.clock
        )
        recent = self.trades.get(event.market)
        if recent is None:
            recent = self.trades[event.market] = deque(maxlen=RECENT_TRADES)
        recent.append(trade)
        self.changed_markets.add(event.market)
        self._add(outgoing, f"trades.{event.market}", trade)
        maker, taker = f"account.{event.maker}", f"account.{event.taker}"
        if maker in self._channels:
            self._add(outgoing, maker, to_fill(event, True))
        if taker in self._channels:
            self._add(outgoing, taker, to_fill(event, False))

    def _add(self, outgoing: dict[str, list[Any]], name: str, data: Any) -> None:
        if name in self._channels:
            outgoing.setdefault(name, []).append(data)

    def _send(self, sequence: int, outgoing: dict[str, list[Any]]) -> None:
        ring = self._limits.ring
        for name, parts in outgoing.items():
            channel = self._channels[name]
            kind = name.partition(".")[0]
            if kind == "account":
                events: tuple[AccountEvent, ...] = tuple(parts)
                channel.publish(sequence, AccountDelta(events), ring)
            elif kind == "trades":
                channel.publish(sequence, make_trades(parts), ring)
            elif kind == "liquidations":
                channel.publish(sequence, LiquidationsData(tuple(parts)), ring)
            else:
                channel.publish(sequence, parts[-1], ring)


def make_trades(parts: Sequence[PublicTrade | Rebased]) -> TradesData:
    """Return what a step has done to a tape; it undoes first, if it does."""
    trades = tuple(part for part in parts if isinstance(part, PublicTrade))
    undone = next((part.first for part in parts if isinstance(part, Rebased)), None)
    return TradesData(trades, undone)


def to_account_data(event: AccountChange) -> AccountData:
    """Return an account's leaf as clients see it."""
    return AccountData(
        str(event.cash), event.epoch, event.nonce, event.distressed_at, event.positions
    )


def to_fill(trade: Trade, is_maker: bool) -> Fill:
    """Return a trade as one side sees it."""
    if is_maker:
        return Fill(
            trade.maker,
            trade.maker_slot,
            trade.maker_nonce,
            trade.maker_client_id,
            trade.market,
            not trade.taker_is_buy,
            trade.price,
            trade.lots,
            True,
            str(trade.maker_fee),
        )
    return Fill(
        trade.taker,
        trade.taker_slot,
        trade.taker_nonce,
        trade.taker_client_id,
        trade.market,
        trade.taker_is_buy,
        trade.price,
        trade.lots,
        False,
        str(trade.taker_fee),
    )


def _ignore(accounts: set[int] | None) -> None:
    """Nobody looks at sessions."""
