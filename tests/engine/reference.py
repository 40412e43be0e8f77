"""A matcher so plain that it can be read at a glance: one list, searched from end to end."""

from copy import deepcopy
from dataclasses import dataclass, field, replace

from deltaroll.engine.matching import OrderStatus, Reason, RejectReason, SelfTradePolicy
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import AccountId, MarketId, Order, SlotId, TimeInForce, Timestamp
from tests.engine.support import INDEX, OWNERS, PARAMS

LOWEST = INDEX - INDEX * PARAMS.fill_band // 1_000_000
HIGHEST = INDEX + INDEX * PARAMS.fill_band // 1_000_000


@dataclass(slots=True)
class Entry:
    """An order in the list."""

    account: AccountId
    slot: SlotId
    order: Order
    remaining: int
    sequence: int


@dataclass(slots=True)
class Outcome:
    """What an engine must report."""

    status: OrderStatus
    reason: Reason | None
    fills: list[tuple[AccountId, SlotId, int, int]] = field(default_factory=list)
    """Maker, its slot, price, lots."""
    cancelled: list[tuple[AccountId, SlotId, Reason]] = field(default_factory=list)


@dataclass(slots=True)
class Reference:
    """All orders of all markets, positions, epochs; everybody is rich."""

    policy: SelfTradePolicy
    clock: Timestamp
    entries: list[Entry] = field(default_factory=list)
    positions: dict[tuple[AccountId, MarketId], int] = field(default_factory=dict)
    epochs: dict[AccountId, int] = field(default_factory=dict)

    def is_dead(self, entry: Entry) -> Reason | None:
        if entry.order.expiry < self.clock:
            return Fault.ORDER_EXPIRED
        if entry.order.epoch != self.epochs.get(entry.account, 0):
            return Fault.ORDER_EPOCH
        return None

    def reducible(self, account: AccountId, order: Order) -> int:
        if not order.reduce_only:
            return order.size
        size = self.positions.get((account, order.market), 0)
        return max(0, -size if order.is_buy else size)

    def submit(self, taker: Entry) -> Outcome:
        if self.reducible(taker.account, taker.order) == 0:
            return Outcome(OrderStatus.REJECTED, Fault.REDUCE_ONLY)
        is_fok = taker.order.time_in_force == TimeInForce.FOK
        if is_fok and sum(e.remaining for e in self.find_crossed(taker.order)) < taker.remaining:
            return Outcome(OrderStatus.REJECTED, RejectReason.NO_LIQUIDITY)
        tried = deepcopy(self)
        outcome = tried.match(replace(taker))
        is_undone = is_fok and outcome.status != OrderStatus.FILLED
        if outcome.status != OrderStatus.REJECTED and not is_undone:
            self.entries, self.positions = tried.entries, tried.positions
            return outcome
        lasting: list[Reason | None] = [Fault.ORDER_EXPIRED, Fault.ORDER_EPOCH]
        if outcome.reason == Fault.SELF_TRADE:
            lasting.append(Fault.SELF_TRADE)
        outcome.fills = []
        outcome.cancelled = [entry for entry in outcome.cancelled if entry[2] in lasting]
        for account, slot, _ in outcome.cancelled:
            self.drop(account, slot)
        if outcome.status == OrderStatus.CANCELLED:
            self.drop(taker.account, taker.slot)
        return outcome

    def match(self, taker: Entry) -> Outcome:
        self.drop(taker.account, taker.slot)
        order = taker.order
        outcome = Outcome(OrderStatus.REJECTED, None)
        while taker.remaining:
            maker = self.find_best(order)
            if maker is None:
                break
            price = maker.order.price
            available = min(maker.remaining, self.reducible(maker.account, maker.order))
            gone = self.is_dead(maker)
            if gone is None and not LOWEST <= price <= HIGHEST:
                if (price > HIGHEST) != maker.order.is_buy:
                    outcome.reason = Fault.PRICE_BAND
                    break
                gone = Fault.PRICE_BAND
            if gone is None and available == 0:
                gone = Fault.REDUCE_ONLY
            if gone is None and order.post_only:
                outcome.reason = Fault.POST_ONLY
                break
            if gone is None and OWNERS[maker.account] == OWNERS[taker.account]:
                if self.policy != SelfTradePolicy.CANCEL_TAKER:
                    gone = Fault.SELF_TRADE
                if self.policy != SelfTradePolicy.CANCEL_MAKER:
                    outcome.reason = Fault.SELF_TRADE
            if gone is not None:
                outcome.cancelled.append((maker.account, maker.slot, gone))
                self.drop(maker.account, maker.slot)
            if outcome.reason is not None:
                break
            if gone is not None:
                continue
            able = self.reducible(taker.account, order)
            lots = min(available, taker.remaining, able)
            if lots == 0:
                outcome.reason = Fault.REDUCE_ONLY
                break
            outcome.fills.append((maker.account, maker.slot, price, lots))
            self.move(maker.account, order.market, lots if maker.order.is_buy else -lots)
            self.move(taker.account, order.market, lots if order.is_buy else -lots)
            maker.remaining -= lots
            taker.remaining -= lots
            if maker.remaining == 0:
                self.drop(maker.account, maker.slot)
            elif lots == available:
                outcome.cancelled.append((maker.account, maker.slot, Fault.REDUCE_ONLY))
                self.drop(maker.account, maker.slot)
        self.conclude(taker, outcome)
        return outcome

    def conclude(self, taker: Entry, outcome: Outcome) -> None:
        order = taker.order
        if taker.remaining == 0:
            outcome.status = OrderStatus.FILLED
            return
        if outcome.reason is None:
            if order.time_in_force != TimeInForce.GTC:
                outcome.reason = RejectReason.NO_LIQUIDITY
            elif self.reducible(taker.account, order) == 0:
                outcome.reason = Fault.REDUCE_ONLY
        if outcome.reason is None:
            self.entries.append(taker)
            filled = bool(outcome.fills)
            outcome.status = OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.RESTING
            return
        if order.time_in_force == TimeInForce.FOK:
            kept = outcome.reason == Fault.SELF_TRADE
        elif order.time_in_force == TimeInForce.IOC and not outcome.fills:
            kept = outcome.reason in (RejectReason.NO_LIQUIDITY, Fault.SELF_TRADE)
        else:
            kept = bool(outcome.fills) or outcome.reason == Fault.SELF_TRADE
        outcome.status = OrderStatus.CANCELLED if kept else OrderStatus.REJECTED

    def find_crossed(self, order: Order) -> list[Entry]:
        return [
            entry
            for entry in self.entries
            if entry.order.market == order.market
            and entry.order.is_buy != order.is_buy
            and (
                entry.order.price <= order.price
                if order.is_buy
                else entry.order.price >= order.price
            )
        ]

    def find_best(self, order: Order) -> Entry | None:
        sign = 1 if order.is_buy else -1
        crossed = self.find_crossed(order)
        crossed.sort(key=lambda entry: (sign * entry.order.price, entry.sequence))
        return crossed[0] if crossed else None

    def move(self, account: AccountId, market: MarketId, change: int) -> None:
        self.positions[account, market] = self.positions.get((account, market), 0) + change

    def drop(self, account: AccountId, slot: SlotId) -> Entry | None:
        for entry in self.entries:
            if (entry.account, entry.slot) == (account, slot):
                self.entries.remove(entry)
                return entry
        return None
