"""Turns what an entry did to the book and the state into the events of its step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deltaroll.engine.matching import (
    Execution,
    MatchingEngine,
    OrderStatus,
    Reason,
    RestingOrder,
    Touched,
)
from deltaroll.node.builder import ChunkBuilder
from deltaroll.node.entries import OrderEntry
from deltaroll.node.events import (
    AccountChange,
    BookChange,
    CancelReason,
    CashFlow,
    Distressed,
    Event,
    IndexChange,
    InsuranceChange,
    KeyChange,
    Liquidation,
    MarkChange,
    OrderState,
    OrderUpdate,
    Protection,
    Rebased,
    Step,
    Trade,
)
from deltaroll.node.ledger import Filled
from deltaroll.node.triggers import Held
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.funding import compute_premium
from deltaroll.protocol.state import State
from deltaroll.protocol.types import (
    AccountId,
    MarketId,
    Series,
    SeriesKind,
    SlotId,
    Underlying,
)

STATES = {
    OrderStatus.RESTING: OrderState.RESTING,
    OrderStatus.PARTIALLY_FILLED: OrderState.PARTIALLY_FILLED,
    OrderStatus.FILLED: OrderState.FILLED,
    OrderStatus.CANCELLED: OrderState.CANCELLED,
    OrderStatus.REJECTED: OrderState.REJECTED,
}


def get_reason_name(reason: Reason | CancelReason | None) -> str:
    """Return what a reason is called; empty for none."""
    if reason is None:
        return ""
    return reason.name if isinstance(reason, Fault) else reason.value


def make_update(
    resting: RestingOrder, remaining: int, state: OrderState, reason: str = ""
) -> OrderUpdate:
    """Return the update of an order that rests or rested."""
    order = resting.order
    return OrderUpdate(
        resting.account,
        resting.slot,
        order.nonce,
        resting.client_id,
        order.market,
        order.is_buy,
        order.price,
        order.size,
        remaining,
        state,
        reason,
    )


def make_entry_update(
    entry: OrderEntry, remaining: int, state: OrderState, reason: str = ""
) -> OrderUpdate:
    """Return the update of an order as it was logged."""
    return OrderUpdate(
        entry.account,
        entry.slot,
        entry.nonce,
        entry.client_id,
        entry.market,
        entry.is_buy,
        entry.price,
        entry.size,
        remaining,
        state,
        reason,
    )


def make_trade(filled: Filled, maker_client_id: str = "", taker_client_id: str = "") -> Trade:
    """Return the trade that a fill is."""
    return Trade(
        filled.market,
        filled.price,
        filled.lots,
        filled.taker_is_buy,
        filled.maker,
        filled.maker_slot,
        filled.maker_nonce,
        maker_client_id,
        filled.taker,
        filled.taker_slot,
        filled.taker_nonce,
        taker_client_id,
        filled.maker_fee,
        filled.taker_fee,
    )


def make_mark_change(state: State, market: MarketId, leaf: Series) -> MarkChange:
    """Return what a series' leaf says, with the funding that goes on from here."""
    underlying = state.markets.get(leaf.underlying)
    premium = 0
    if leaf.kind == SeriesKind.PERPETUAL and isinstance(underlying, Underlying):
        premium = compute_premium(leaf, underlying.params)
    return MarkChange(
        market,
        leaf.mark,
        leaf.marked_at,
        leaf.status,
        leaf.open_interest,
        leaf.mark_index,
        premium,
        leaf.carry_long,
        leaf.carry_short,
        leaf.accrued_at,
    )


Level = tuple[int, int]
"""(Price, lots)."""


OrderKey = tuple[AccountId, SlotId, int]
"""Account, slot, nonce."""


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders that are alive, oldest first."""

    resting: Sequence[RestingOrder]
    held: Sequence[Held]


NO_ORDERS = Orders((), ())


def get_key(resting: RestingOrder) -> OrderKey:
    """Return what names an order for good."""
    return resting.account, resting.slot, resting.order.nonce


def get_state(resting: RestingOrder) -> OrderState:
    """Return where an order in the book is."""
    is_whole = resting.remaining == resting.order.size
    return OrderState.RESTING if is_whole else OrderState.PARTIALLY_FILLED


class Recorder:
    """Collects the events of one step at a time."""

    def __init__(self, state: State, builder: ChunkBuilder, engine: MatchingEngine) -> None:
        self._state = state
        self._builder = builder
        self._engine = engine
        self._events: list[Event] = []
        self._insurance = 0
        self._distressed: dict[AccountId, int] = {}
        self._told = NO_ORDERS
        self._kept: tuple[Event, ...] = ()
        """What stands of an entry that is about to be undone."""
        self._retold: tuple[Event, ...] = ()
        """The same, told already with the entry that is applied: a rebase."""
        self.is_on = True

    @property
    def is_on(self) -> bool:
        """Whether somebody wants to know."""
        return self._is_on

    @is_on.setter
    def is_on(self, is_on: bool) -> None:
        self._is_on = self._builder.keeps_ledger = is_on

    def note_execution(self, entry: OrderEntry, execution: Execution) -> None:
        """Note an order that was matched, and what it did to others."""
        if not self.is_on:
            return
        events = self._events
        if execution.replaced is not None:
            self.note_cancelled(execution.replaced, CancelReason.REPLACED)
        fills = self._builder.ledger.take_fills()
        for report, maker, filled in zip(execution.fills, execution.makers, fills, strict=True):
            events.append(make_trade(filled, maker.client_id, entry.client_id))
            left = report.maker_remaining
            state = OrderState.PARTIALLY_FILLED if left else OrderState.FILLED
            events.append(make_update(maker, left, state))
        for maker, reason in execution.cancelled_makers:
            self.note_dropped(maker, reason)
        remaining = entry.size - execution.filled
        reason_name = get_reason_name(execution.reason)
        events.append(make_entry_update(entry, remaining, STATES[execution.status], reason_name))

    def note_dropped(self, resting: RestingOrder, reason: Reason) -> None:
        """Note an order that could not trade."""
        state = OrderState.EXPIRED if reason == Fault.ORDER_EXPIRED else OrderState.CANCELLED
        if self.is_on:
            self._events.append(
                make_update(resting, resting.remaining, state, get_reason_name(reason))
            )

    def note_cancelled(self, resting: RestingOrder, reason: CancelReason) -> None:
        """Note an order that was taken off the book."""
        if self.is_on:
            self._events.append(
                make_update(resting, resting.remaining, OrderState.CANCELLED, reason.value)
            )

    def note_expired(self, found: Iterable[RestingOrder]) -> None:
        """Note orders that the clock has passed."""
        if self.is_on:
            self._events.extend(
                make_update(resting, resting.remaining, OrderState.EXPIRED) for resting in found
            )

    def note_entry(
        self, entry: OrderEntry, state: OrderState, reason: CancelReason | Fault | None = None
    ) -> None:
        """Note an order that is not in the book: held, triggered, or gone."""
        if self.is_on:
            self._events.append(
                make_entry_update(entry, entry.size, state, get_reason_name(reason))
            )

    def note_reverted(self, entry: OrderEntry, reason: str) -> None:
        """Note an order that was acknowledged and is nowhere any more."""
        if self.is_on:
            self._events.append(make_entry_update(entry, entry.size, OrderState.REVERTED, reason))

    def take_over(self, recorder: "Recorder", orders: Orders) -> None:
        """Go on from what another recorder has told, and the orders that were there then."""
        self._insurance = recorder._insurance
        self._distressed = recorder._distressed
        self._told = orders

    def take_state(self) -> None:
        """Go on from what the state says, as if it had been told."""
        self._insurance = self._state.globals.insurance
        self._distressed = {
            account: leaf.distressed_at
            for account, leaf in self._state.accounts.items()
            if leaf.distressed_at
        }

    def watch(self) -> None:
        """Note what the entry that comes does, though nobody may want to know: see `keep`."""
        self._builder.keeps_ledger = True

    def keep(self, updates: Sequence[OrderUpdate]) -> None:
        """Keep what an entry has done up to the seal that a rebase goes back to: that stands, and
        is told again when the rest of the entry is undone. `updates`: what it did to orders."""
        fills, flows = self._take_ledger()
        self._kept = (*self._retold, *fills, *flows, *updates)
        if self.is_on:
            self._events += (*fills, *flows)

    def begin_rebase(self, first: int, orders: Orders) -> None:
        """Note that what was told from a sequence number on is undone, some apart that is told
        again, and what orders there are: they have been told, unless another recorder has told
        something else."""
        if self._told is NO_ORDERS:
            self._told = orders
        self._retold, self._kept = self._kept, ()
        if self.is_on:
            self._events += (Rebased(first), *self._retold)

    def note_rebase(self, orders: Orders) -> None:
        """Note what is left. Everything may have changed."""
        told, self._told = self._told, NO_ORDERS
        if not self.is_on:
            return
        self._builder.accounts.update(self._state.accounts)
        self._builder.markets.update(self._state.markets)
        for resting in (*told.resting, *orders.resting):
            order = resting.order
            self._engine.touched.add((order.market, order.is_buy, order.price))
        self._events.extend(KeyChange(account) for account in sorted(self._state.accounts))
        known = {get_key(resting): resting.remaining for resting in told.resting}
        for resting in orders.resting:
            if known.get(get_key(resting)) != resting.remaining:
                self._events.append(make_update(resting, resting.remaining, get_state(resting)))
        waiting = {held.sequence for held in told.held}
        for held in orders.held:
            if held.sequence not in waiting:
                self.note_entry(held.entry.order, OrderState.HELD)

    def note_caught_up(
        self,
        before: dict[OrderKey, int],
        after: Sequence[RestingOrder],
        gone: Sequence[RestingOrder],
    ) -> list[OrderUpdate]:
        """Note orders that were filled where the engine was not asked, or have died there."""
        updates = [
            make_update(resting, resting.remaining, OrderState.CANCELLED, CancelReason.STALE.value)
            if resting.remaining
            else make_update(resting, 0, OrderState.FILLED)
            for resting in gone
        ]
        updates += [
            make_update(resting, resting.remaining, get_state(resting))
            for resting in after
            if before.get(get_key(resting)) != resting.remaining
        ]
        if self.is_on:
            self._events += updates
        return updates

    def note_protection(self, account: AccountId, underlying: MarketId, is_frozen: bool) -> None:
        """Note that quotes may not be placed any more, or again."""
        if self.is_on:
            self._events.append(Protection(account, underlying, is_frozen))

    def note_keys(self, account: AccountId) -> None:
        """Note that sessions of an account have to be looked at again."""
        if self.is_on:
            self._events.append(KeyChange(account))

    def finish(self, sequence: int, clock: int) -> Step | None:
        """Return the step and start the next one; None when nobody wants to know."""
        builder, engine = self._builder, self._engine
        step = None
        if self.is_on:
            events = self._events
            # Fills that are left are forced ones, or of somebody else's chunk.
            fills, flows = self._take_ledger()
            events += (*fills, *flows)
            if engine.touched:
                self._collect_books(engine.touched)
            if builder.markets:
                self._collect_markets(builder.markets)
            if builder.accounts:
                self._collect_accounts(builder.accounts)
            insurance = self._state.globals.insurance
            if insurance != self._insurance:
                self._insurance = insurance
                events.append(InsuranceChange(insurance))
            step = Step(sequence, clock, tuple(events))
            events.clear()
        else:
            self._take_ledger()
        builder.keeps_ledger = self.is_on
        self._retold = ()
        engine.touched.clear()
        builder.markets.clear()
        builder.accounts.clear()
        return step

    def _take_ledger(self) -> tuple[list[Trade], list[CashFlow | Liquidation]]:
        ledger = self._builder.ledger
        if not ledger:
            return [], []
        return [make_trade(filled) for filled in ledger.take_fills()], ledger.take_flows()

    def _collect_books(self, touched: set[Touched]) -> None:
        get_lots = self._engine.get_lots
        books: dict[MarketId, tuple[list[Level], list[Level]]] = {}
        for level in touched:
            market, is_bid, price = level
            sides = books.get(market)
            if sides is None:
                sides = books[market] = ([], [])
            sides[0 if is_bid else 1].append((price, get_lots(level)))
        for market in sorted(books) if len(books) > 1 else books:
            bids, asks = books[market]
            # Few levels change at a time: mostly one, seldom in an order that is wrong.
            bids.sort(reverse=True)
            asks.sort()
            self._events.append(BookChange(market, tuple(bids), tuple(asks)))

    def _collect_markets(self, markets: Iterable[MarketId]) -> None:
        for market in sorted(markets):
            leaf = self._state.markets.get(market)
            if isinstance(leaf, Series):
                self._events.append(make_mark_change(self._state, market, leaf))
            elif isinstance(leaf, Underlying):
                halted = leaf.halted_until if leaf.pending_index else 0
                self._events.append(IndexChange(market, leaf.index, leaf.observed_at, halted))

    def _collect_accounts(self, accounts: Iterable[AccountId]) -> None:
        for account_id in sorted(accounts):
            account = self._state.accounts.get(account_id)
            if account is None:
                continue
            positions = tuple([(held.series, held.size) for held in account.positions])
            since = account.distressed_at
            self._events.append(
                AccountChange(
                    account_id, account.cash, account.epoch, account.nonce, since, positions
                )
            )
            if since != self._distressed.get(account_id, 0):
                if since:
                    self._distressed[account_id] = since
                else:
                    del self._distressed[account_id]
                self._events.append(Distressed(account_id, since))
