"""Price-time matching. An order ends in a definite state, and a reported fill has been executed.

The engine walks the opposite side, lets the protocol execute one fill after the other, and only
then changes the book. So the book always agrees with what the state accepted, and is never crossed:
an order rests only when nothing is left that it crosses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Protocol

from deltaroll.engine.book import Book
from deltaroll.engine.headroom import RestingCheck
from deltaroll.engine.orders import (
    Cancellation,
    Depth,
    Execution,
    OrderStatus,
    PriceLevel,
    Reason,
    RejectReason,
    RestingOrder,
    SelfTradePolicy,
    TradeReport,
)
from deltaroll.engine.risk import (
    Culprit,
    compute_fillable,
    find_culprit,
    get_holder,
    get_market,
    is_price_against,
    validate_admission,
    validate_alive,
    validate_slot_unmoved,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import is_within_fill_band
from deltaroll.protocol.state import State
from deltaroll.protocol.types import (
    AccountId,
    Address,
    Fill,
    MarketId,
    Order,
    SlotId,
    TimeInForce,
    Timestamp,
    Transaction,
)

__all__ = [
    "Cancellation",
    "Depth",
    "Execution",
    "Executor",
    "Layout",
    "MatchingEngine",
    "OrderStatus",
    "PriceLevel",
    "Reason",
    "RejectReason",
    "RestingOrder",
    "SelfTradePolicy",
    "Touched",
    "TradeReport",
]

DEAD = frozenset({Fault.ORDER_EXPIRED, Fault.ORDER_EPOCH, Fault.BAD_SIGNATURE})
"""Faults of a maker that no other order can cure: it goes even when the taker is rejected."""
Touched = tuple[MarketId, bool, int]
"""A price level: market, whether of bids, price."""
Guard = Callable[[RestingOrder, Sequence[tuple[RestingOrder, int]]], bool]
"""Whether a quote may trade no more, given what a sweep has traded so far."""
SPARE_EXPIRIES = 1024
"""Entries of the expiry heap that may be out of date before it is rebuilt, beyond one per order."""


class Executor(Protocol):
    """What applies fills: the sequencer's open chunk.

    It never calls the engine back. Signatures are judged by the state before the chunk, so it cuts
    after a transaction that opens an account or changes a key, before the next order is submitted.
    An exception other than TransitionFault leaves the engine unusable: rebuild it from the log.
    """

    state: State
    """The live state."""

    def execute(self, transaction: Transaction, signatures: tuple[bytes, ...]) -> None:
        """Apply a transaction, or raise TransitionFault and leave state and sweep as they were."""

    def cut(self) -> None:
        """Close the open chunk and start a new one; the clock may rise and marks may be renewed.
        Never inside a group."""

    def begin(self) -> None:
        """Start a group of executes."""

    def commit(self) -> None:
        """Keep the group."""

    def rollback(self) -> None:
        """Undo the group, its part of the open chunk included."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Orders apart, what an engine remembers of them."""

    markets: tuple[MarketId, ...]
    """That have had orders."""
    accounts: tuple[AccountId, ...]
    """In the order in which they came to have any that rest."""
    expiries: tuple[tuple[Timestamp, AccountId, SlotId], ...]
    """A heap; it also has those of orders that are gone."""


@dataclass(slots=True)
class Sweep:
    """What a taker's walk through the opposite side has come to; the book is not changed yet."""

    trades: list[tuple[RestingOrder, int]] = field(default_factory=list)
    """Makers and the lots that each traded, executed."""
    reports: list[TradeReport] = field(default_factory=list)
    dropped: list[Cancellation] = field(default_factory=list)
    """Makers that cannot trade."""
    reason: Reason | None = None
    """Why the walk stopped before its end."""


class MatchingEngine:
    """All books of a venue, and the one way to trade on them."""

    def __init__(
        self,
        executor: Executor,
        self_trade: SelfTradePolicy = SelfTradePolicy.CANCEL_MAKER,
    ) -> None:
        self._executor = executor
        self._self_trade = self_trade
        self._books: dict[MarketId, Book] = {}
        self._orders: dict[AccountId, dict[SlotId, RestingOrder]] = {}
        self._count = 0
        self._expiries: list[tuple[Timestamp, AccountId, SlotId]] = []
        self._resting_check = RestingCheck()
        self.nonces: dict[tuple[AccountId, SlotId], int] = {}
        """The last nonce accepted in each slot, so that a cancelled order cannot come back."""
        self.touched: set[Touched] = set()
        """Levels that have changed since somebody cleared this."""
        self.guard: Guard | None = None

    def __len__(self) -> int:
        return self._count

    def submit(
        self,
        account: AccountId,
        slot: SlotId,
        order: Order,
        signature: bytes,
        signer: Address,
        sequence: int,
        client_id: str = "",
        is_quote: bool = False,
        self_trade: SelfTradePolicy | None = None,
    ) -> Execution:
        """Match an order and rest what is left of it.

        An order that rests in the slot goes, unless the new one is rejected.

        Parameters
        ----------
        signer
            The address that `signature` recovers to.
        sequence
            Higher than that of every order before.
        self_trade
            What to do when it meets an order of its owner; None: what the venue does.
        """
        state = self._executor.state
        try:
            last_nonce = self.nonces.get((account, slot), 0)
            holder = validate_admission(state, account, slot, order, signer, last_nonce)
        except TransitionFault as problem:
            return Execution(OrderStatus.REJECTED, 0, (), problem.fault, ())
        taker = RestingOrder(
            account,
            slot,
            holder.owner,
            signer,
            order,
            signature,
            order.size,
            False,
            sequence,
            client_id,
            is_quote,
        )
        policy = self._self_trade if self_trade is None else self_trade
        replaced = self.find(account, slot)
        if order.time_in_force == TimeInForce.FOK:
            sweep = self._sweep_or_kill(taker, replaced, policy)
        else:
            sweep = self._sweep(taker, replaced, policy)
        reason = sweep.reason
        if reason is None and taker.remaining != 0:
            reason = self._find_obstacle(taker)
        status = compute_status(taker, reason)
        if status == OrderStatus.REJECTED:
            sweep.dropped = keep_dead(sweep.dropped)
        for maker, lots in sweep.trades:
            self._fill(maker, lots)
        for maker, _ in sweep.dropped:
            self._remove(maker)
        cancelled = tuple(sweep.dropped)
        if status == OrderStatus.REJECTED:
            return Execution(status, 0, (), reason, cancelled)
        if replaced is not None:
            self._remove(replaced)
        self.nonces[account, slot] = order.nonce
        if taker.remaining != 0 and reason is None:
            self._rest(taker)
        filled = order.size - taker.remaining
        makers = tuple(maker for maker, _ in sweep.trades)
        return Execution(status, filled, tuple(sweep.reports), reason, cancelled, replaced, makers)

    def cancel(self, account: AccountId, slot: SlotId) -> RestingOrder | None:
        """Take an order out of the book; None when none rests there."""
        resting = self.find(account, slot)
        if resting is not None:
            self._remove(resting)
        return resting

    def take(self, resting: RestingOrder) -> None:
        """Take an order that rests out of the book."""
        self._remove(resting)

    def get_lots(self, level: Touched) -> int:
        """Return the lots that rest at a price level."""
        market, is_bid, price = level
        book = self._books.get(market)
        return 0 if book is None else book.get_side(is_bid).get_lots(price)

    def cancel_all(self, account: AccountId, market: MarketId | None = None) -> list[RestingOrder]:
        """Take all orders of an account out, in one market or in all of them."""
        found = [
            resting
            for resting in self._orders.get(account, {}).values()
            if market is None or resting.order.market == market
        ]
        for resting in found:
            self._remove(resting)
        return found

    def expire(self, clock: Timestamp) -> list[RestingOrder]:
        """Take out the orders that may not fill at `clock` any more."""
        found = []
        expiries = self._expiries
        while expiries and expiries[0][0] < clock:
            _, account, slot = heappop(expiries)
            resting = self.find(account, slot)
            if resting is not None and resting.order.expiry < clock:
                self._remove(resting)
                found.append(resting)
        return found

    def drop_stale(self, account: AccountId) -> list[RestingOrder]:
        """Take out an account's orders that a change from outside the book has killed: its epoch,
        its keys, a fill forced through L1."""
        state = self._executor.state
        found = []
        for resting in list(self._orders.get(account, {}).values()):
            try:
                self._validate_alive(resting)
                validate_slot_unmoved(state, resting)
            except TransitionFault:
                self._remove(resting)
                found.append(resting)
        return found

    def catch_up(self) -> list[RestingOrder]:
        """Bring all books to what the state says of their orders' slots: fills that were executed
        and never reported here. Return the orders that are gone."""
        state = self._executor.state
        found = []
        for resting in self.get_orders():
            slot = state.slots.get(resting.account, {}).get(resting.slot)
            if slot is not None and slot.order.nonce == resting.order.nonce:
                lots = slot.filled - (resting.order.size - resting.remaining)
                if lots > 0:
                    self._fill(resting, lots)
                if resting.remaining == 0:
                    found.append(resting)
        for account in list(self._orders):
            found += self.drop_stale(account)
        return found

    def get_layout(self) -> Layout:
        """Return what a snapshot needs beside the orders."""
        return Layout(tuple(self._books), tuple(self._orders), tuple(self._expiries))

    def lay_out(self, layout: Layout) -> None:
        """Prepare an engine that has had no order for those that `restore` puts back."""
        self._books = {market: Book() for market in layout.markets}
        self._orders = {account: {} for account in layout.accounts}

    def restore(self, resting: RestingOrder) -> None:
        """Put an order of a snapshot back; those of one engine in the order of `get_orders`."""
        self.nonces[resting.account, resting.slot] = resting.order.nonce
        self._rest(resting)

    def settle(self, layout: Layout) -> None:
        """End the restoration: nothing has changed since somebody cleared `touched`."""
        self._expiries = list(layout.expiries)
        self.touched.clear()

    def find(self, account: AccountId, slot: SlotId) -> RestingOrder | None:
        """Return the order that rests in a slot."""
        orders = self._orders.get(account)
        return None if orders is None else orders.get(slot)

    def count(self, account: AccountId) -> int:
        """Return how many orders of an account rest."""
        return len(self._orders.get(account, ()))

    def get_orders(self, account: AccountId | None = None) -> list[RestingOrder]:
        """Return the resting orders of an account, or all of them, oldest first."""
        if account is not None:
            found = list(self._orders.get(account, {}).values())
        else:
            found = [resting for orders in self._orders.values() for resting in orders.values()]
        return sorted(found, key=lambda resting: resting.sequence)

    def get_markets(self) -> list[MarketId]:
        """Return the markets that have had orders."""
        return sorted(self._books)

    def best(self, market: MarketId) -> tuple[int | None, int | None]:
        """Return the best bid and the best ask of a market."""
        book = self._books.get(market)
        return (None, None) if book is None else (book.bids.get_best(), book.asks.get_best())

    def depth(self, market: MarketId, levels: int) -> Depth:
        """Return up to `levels` aggregated price levels of each side of a market."""
        book = self._books.get(market)
        if book is None:
            return Depth((), ())
        return Depth(book.bids.get_levels(levels), book.asks.get_levels(levels))

    def _sweep(
        self, taker: RestingOrder, replaced: RestingOrder | None, policy: SelfTradePolicy
    ) -> Sweep:
        """Trade with everything that the taker crosses, until it is filled or cannot go on."""
        sweep = Sweep()
        book = self._books.get(taker.order.market)
        if book is None:
            return sweep
        for maker in book.get_side(not taker.order.is_buy).walk(taker.order.price):
            if maker is replaced:
                continue
            sweep.reason = self._trade(taker, maker, sweep, policy)
            if sweep.reason is not None or taker.remaining == 0:
                break
        return sweep

    def _sweep_or_kill(
        self, taker: RestingOrder, replaced: RestingOrder | None, policy: SelfTradePolicy
    ) -> Sweep:
        """Sweep for all of the taker's lots or for nothing; a full chunk costs one more try."""
        executor = self._executor
        order = taker.order
        sweep = Sweep(reason=RejectReason.NO_LIQUIDITY)
        book = self._books.get(order.market)
        if book is None or not book.get_side(not order.is_buy).has_lots(order.price, order.size):
            return sweep
        for may_retry in (True, False):
            executor.begin()
            sweep = self._sweep(taker, replaced, policy)
            if taker.remaining == 0:
                executor.commit()
                return sweep
            executor.rollback()
            taker.remaining = order.size
            taker.posted = False
            if sweep.reason != Fault.OVERWEIGHT or not may_retry:
                break
            executor.cut()
            try:
                self._validate_alive(taker)
            except TransitionFault as problem:
                sweep.reason = problem.fault
                break
        # Other verdicts on makers came after fills that never were.
        dropped: list[Cancellation] = [
            (maker, reason)
            for maker, reason in sweep.dropped
            if reason in DEAD or reason == sweep.reason == Fault.SELF_TRADE
        ]
        return Sweep(dropped=dropped, reason=sweep.reason or RejectReason.NO_LIQUIDITY)

    def _trade(
        self, taker: RestingOrder, maker: RestingOrder, sweep: Sweep, policy: SelfTradePolicy
    ) -> Reason | None:
        """Trade with one maker or drop it; return why the taker cannot go on, None when it can."""
        executor = self._executor
        state = executor.state
        order = taker.order
        price = maker.order.price
        has_cut = False
        while True:
            try:
                self._validate_alive(maker)
            except TransitionFault as problem:
                sweep.dropped.append((maker, problem.fault))
                return None
            series, underlying, _ = get_market(state, order.market)
            if not is_within_fill_band(price, series, underlying):
                if is_price_against(price, maker.order.is_buy, series, underlying):
                    # It would hold up all trading behind it.
                    sweep.dropped.append((maker, Fault.PRICE_BAND))
                    return None
                return Fault.PRICE_BAND
            available = compute_fillable(state, maker)
            if available == 0:
                sweep.dropped.append((maker, Fault.REDUCE_ONLY))
                return None
            if order.post_only:
                return Fault.POST_ONLY
            if maker.is_quote and self.guard is not None and self.guard(maker, sweep.trades):
                sweep.dropped.append((maker, RejectReason.PROTECTED))
                return None
            if maker.owner == taker.owner:
                if policy != SelfTradePolicy.CANCEL_TAKER:
                    sweep.dropped.append((maker, Fault.SELF_TRADE))
                return None if policy == SelfTradePolicy.CANCEL_MAKER else Fault.SELF_TRADE
            lots = min(available, compute_fillable(state, taker))
            if lots == 0:
                return Fault.REDUCE_ONLY
            fill, signatures = compute_fill(maker, taker, lots)
            try:
                executor.execute(fill, signatures)
                break
            except TransitionFault as problem:
                fault = problem.fault
            if fault == Fault.OVERWEIGHT and not has_cut:
                if order.time_in_force != TimeInForce.GTC and (
                    sweep.trades or order.time_in_force == TimeInForce.FOK
                ):
                    # An immediate order's fills stand in one chunk.
                    return fault
                executor.cut()
                has_cut = True
                try:
                    self._validate_alive(taker)
                except TransitionFault as problem:
                    return problem.fault
                continue
            culprit, fault = find_culprit(state, fill, maker, fault)
            if culprit == Culprit.TAKER:
                return fault
            sweep.dropped.append((maker, fault))
            return None
        taker.remaining -= lots
        taker.posted = True
        left = maker.remaining - lots
        sweep.trades.append((maker, lots))
        sweep.reports.append(TradeReport(price, lots, maker.account, maker.slot, left))
        if left != 0 and lots == available:
            sweep.dropped.append((maker, Fault.REDUCE_ONLY))
        if taker.remaining != 0 and lots < available:
            return Fault.REDUCE_ONLY
        return None

    def _find_obstacle(self, taker: RestingOrder) -> Reason | None:
        """Return why the rest of an order cannot wait in the book."""
        if taker.order.time_in_force != TimeInForce.GTC:
            return RejectReason.NO_LIQUIDITY
        try:
            self._resting_check.validate(self._executor.state, taker)
        except TransitionFault as problem:
            return problem.fault
        return None

    def _validate_alive(self, resting: RestingOrder) -> None:
        state = self._executor.state
        holder = get_holder(state, resting.account)
        validate_alive(holder, resting.order, resting.signer, state.globals.clock)

    def _rest(self, resting: RestingOrder) -> None:
        order = resting.order
        book = self._books.get(order.market)
        if book is None:
            book = self._books[order.market] = Book()
        book.get_side(order.is_buy).add(resting)
        self.touched.add((order.market, order.is_buy, order.price))
        self._orders.setdefault(resting.account, {})[resting.slot] = resting
        self._count += 1
        expiries = self._expiries
        heappush(expiries, (order.expiry, resting.account, resting.slot))
        if len(expiries) > 2 * self._count + SPARE_EXPIRIES:
            expiries[:] = [
                (each.order.expiry, each.account, each.slot)
                for orders in self._orders.values()
                for each in orders.values()
            ]
            heapify(expiries)

    def _fill(self, maker: RestingOrder, lots: int) -> None:
        maker.posted = True
        if lots == maker.remaining:
            self._remove(maker)
            maker.remaining = 0
        else:
            order = maker.order
            self._books[order.market].get_side(order.is_buy).reduce(maker, lots)
            self.touched.add((order.market, order.is_buy, order.price))

    def _remove(self, resting: RestingOrder) -> None:
        order = resting.order
        self._books[order.market].get_side(order.is_buy).remove(resting)
        self.touched.add((order.market, order.is_buy, order.price))
        orders = self._orders[resting.account]
        del orders[resting.slot]
        if not orders:
            del self._orders[resting.account]
        self._count -= 1


def compute_fill(
    maker: RestingOrder, taker: RestingOrder, lots: int
) -> tuple[Fill, tuple[bytes, ...]]:
    """Return a fill and the signatures that it needs: of the orders that it posts."""
    signatures: tuple[bytes, ...] = () if maker.posted else (maker.signature,)
    if not taker.posted:
        signatures += (taker.signature,)
    fill = Fill(
        maker.order.market,
        maker.account,
        taker.account,
        maker.slot,
        taker.slot,
        maker.order.is_buy,
        lots,
        None if maker.posted else maker.order,
        None if taker.posted else taker.order,
    )
    return fill, signatures


def compute_status(taker: RestingOrder, reason: Reason | None) -> OrderStatus:
    """Return how an order ends; `reason` is why its unfilled lots cannot rest."""
    if taker.remaining == 0:
        return OrderStatus.FILLED
    is_filled = taker.remaining < taker.order.size
    if reason is None:
        return OrderStatus.PARTIALLY_FILLED if is_filled else OrderStatus.RESTING
    if is_filled or reason == Fault.SELF_TRADE:
        return OrderStatus.CANCELLED
    if reason == RejectReason.NO_LIQUIDITY and taker.order.time_in_force == TimeInForce.IOC:
        return OrderStatus.CANCELLED
    return OrderStatus.REJECTED


def keep_dead(dropped: list[Cancellation]) -> list[Cancellation]:
    """Return the makers that are gone whatever becomes of the taker."""
    return [(maker, reason) for maker, reason in dropped if reason in DEAD]
