"""The order desk: what becomes of orders beyond matching. All of it follows from the log.

Client ids, held orders, dead-man switches and market-maker protection are the sequencer's, not the
protocol's. No rule of the rollup depends on them, and none of them can make an order trade beyond
what was signed.
"""

from deltaroll.engine.matching import Execution, MatchingEngine, OrderStatus, SelfTradePolicy
from deltaroll.engine.orders import Reason, RejectReason, RestingOrder
from deltaroll.engine.risk import get_holder, get_market, validate_alive, validate_encodable
from deltaroll.node.client_ids import ClientIds
from deltaroll.node.entries import HoldEntry, OrderEntry
from deltaroll.node.events import CancelReason, OrderState
from deltaroll.node.protection import DeadMen, Protections
from deltaroll.node.recorder import Orders, Recorder
from deltaroll.node.triggers import Held, Triggers
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import validate_order
from deltaroll.protocol.state import State
from deltaroll.protocol.types import (
    AccountId,
    Address,
    MarketId,
    Order,
    SlotId,
    TimeInForce,
    Timestamp,
)

MAX_HELD = 200
"""Orders of one account that may wait for a trigger at a time."""
MAX_OPEN = 1_000
"""Orders of one account that may be in the book at a time."""


class Desk:
    """Applies entries about orders; the caller has checked who asks."""

    def __init__(self, state: State, engine: MatchingEngine, recorder: Recorder) -> None:
        self._state = state
        self._engine = engine
        self._recorder = recorder
        self.ids = ClientIds()
        self.triggers = Triggers()
        self.protections = Protections(state)
        self.dead_men = DeadMen()
        engine.guard = self.protections.is_spent

    def submit(self, sequence: int, entry: OrderEntry, order: Order | None = None) -> Execution:
        """Match an order; `order` is the entry's, where the caller has it already."""
        held = self.triggers.find(AccountId(entry.account), SlotId(entry.slot))
        reason = self._find_refusal(entry, held)
        if reason is None:
            execution = self._match(sequence, entry, held, order)
        else:
            execution = self._reject(entry, reason)
        if entry.client_id:
            self.ids.add(sequence, self._state.globals.clock, entry, execution)
        return execution

    def hold(self, sequence: int, entry: HoldEntry) -> Execution | None:
        """Hold an order until its trigger is met; None unless it is rejected."""
        reason = self._find_hold_refusal(entry.order)
        execution = None if reason is None else self._reject(entry.order, reason)
        self.ids.add(sequence, self._state.globals.clock, entry, execution)
        if execution is None:
            self._hold(sequence, entry)
        return execution

    def _hold(self, sequence: int, entry: HoldEntry) -> None:
        order = entry.order
        account, slot = AccountId(order.account), SlotId(order.slot)
        before = self.triggers.add(sequence, entry)
        if before is not None:
            self._recorder.note_entry(
                before.entry.order, OrderState.CANCELLED, CancelReason.REPLACED
            )
        self._cancel_resting(self._engine.cancel(account, slot), CancelReason.REPLACED)
        # An older order of the slot is dead from now on; this one is still to come.
        last = self._engine.nonces.get((account, slot), 0)
        self._engine.nonces[account, slot] = max(last, order.nonce - 1)
        self._recorder.note_entry(order, OrderState.HELD)

    def fire(self, sequence: int, account: AccountId, slot: SlotId) -> Execution:
        """Match an order whose trigger is met; KeyError when none is held in the slot."""
        held = self.triggers.remove(account, slot)
        if held is None:
            raise KeyError(slot)
        order = held.entry.order
        self._recorder.note_entry(order, OrderState.TRIGGERED)
        if order.is_quote and self._is_frozen(order):
            execution = self._reject(order, RejectReason.PROTECTED)
        else:
            execution = self._match(sequence, order)
        self._use_nonce(order)
        return execution

    def cancel(self, account: AccountId, slot: SlotId) -> None:
        """Cancel what rests or is held in a slot."""
        self._cancel_resting(self._engine.cancel(account, slot), CancelReason.REQUESTED)
        self._cancel_held(self.triggers.remove(account, slot), CancelReason.REQUESTED)

    def cancel_all(
        self,
        account: AccountId,
        market: MarketId | None = None,
        reason: CancelReason = CancelReason.REQUESTED,
    ) -> None:
        """Cancel what an account has resting and held, in one market or in all of them."""
        for resting in self._engine.cancel_all(account, market):
            self._cancel_resting(resting, reason)
        for held in self.triggers.get_all(account):
            if market is None or held.entry.order.market == market:
                self._cancel_held(self.triggers.remove(*held.key), reason)

    def expire(self, clock: Timestamp) -> None:
        """Let time pass: orders expire, and accounts that were not heard of leave."""
        self._recorder.note_expired(self._engine.expire(clock))
        for held in self.triggers.get_expired(clock):
            self.triggers.remove(*held.key)
            self._use_nonce(held.entry.order)
            self._recorder.note_entry(held.entry.order, OrderState.EXPIRED)
        for account in self.dead_men.take_due(clock):
            self.cancel_all(account, reason=CancelReason.DEAD_MAN)

    def drop_stale(self, account: AccountId) -> None:
        """Cancel what a change from outside the book has killed."""
        for resting in self._engine.drop_stale(account):
            self._cancel_resting(resting, CancelReason.STALE)
        for held in self.triggers.get_all(account):
            order = held.entry.order
            try:
                holder = get_holder(self._state, account)
                clock = self._state.globals.clock
                validate_alive(holder, order.to_order(), Address(order.signer), clock)
            except TransitionFault:
                self._cancel_held(self.triggers.remove(*held.key), CancelReason.STALE)
        self._recorder.note_keys(account)

    def resume(self, account: AccountId, underlying: MarketId) -> None:
        """Take an account's quotes on an underlying again."""
        self.protections.resume(account, underlying)
        self._recorder.note_protection(account, underlying, False)

    def get_orders(self) -> Orders:
        """Return everything that rests or is held."""
        return Orders(self._engine.get_orders(), self.triggers.get_all())

    def has_order(self, account: AccountId, slot: SlotId) -> bool:
        """Return whether an order rests or is held in a slot."""
        return (
            self._engine.find(account, slot) is not None
            or self.triggers.find(account, slot) is not None
        )

    def has_orders(self, account: AccountId) -> bool:
        """Return whether an account has anything resting or held."""
        return self._engine.count(account) != 0 or self.triggers.count(account) != 0

    def get_nonce(self, account: AccountId, slot: SlotId) -> int | None:
        """Return the nonce of the order that rests or is held in a slot."""
        held = self.triggers.find(account, slot)
        if held is not None:
            return held.entry.order.nonce
        resting = self._engine.find(account, slot)
        return None if resting is None else resting.order.nonce

    def _match(
        self,
        sequence: int,
        entry: OrderEntry,
        held: Held | None = None,
        order: Order | None = None,
    ) -> Execution:
        account, slot = AccountId(entry.account), SlotId(entry.slot)
        execution = self._engine.submit(
            account,
            slot,
            entry.to_order() if order is None else order,
            entry.signature,
            Address(entry.signer),
            sequence,
            entry.client_id,
            entry.is_quote,
            SelfTradePolicy(entry.self_trade) if entry.self_trade else None,
        )
        if held is not None and execution.status != OrderStatus.REJECTED:
            self._cancel_held(self.triggers.remove(account, slot), CancelReason.REPLACED)
        self._recorder.note_execution(entry, execution)
        if execution.fills:
            self._note_fills(execution)
        return execution

    def _note_fills(self, execution: Execution) -> None:
        lots = [report.lots for report in execution.fills]
        for account, underlying in self.protections.note_fills(execution.makers, lots):
            for resting in self._engine.get_orders(account):
                market = resting.order.market
                if resting.is_quote and self.protections.find_underlying(market) == underlying:
                    self._engine.take(resting)
                    self._cancel_resting(resting, CancelReason.PROTECTED)
            self._recorder.note_protection(account, underlying, True)

    def _find_refusal(self, entry: OrderEntry, held: Held | None) -> Reason | None:
        """Return why the desk does not let an order through."""
        if held is not None and entry.nonce <= held.entry.order.nonce:
            return Fault.ORDER_NONCE
        if entry.is_quote and self._is_frozen(entry):
            return RejectReason.PROTECTED
        account = AccountId(entry.account)
        if (
            entry.time_in_force == TimeInForce.GTC
            and self._engine.count(account) >= MAX_OPEN
            and self._engine.find(account, SlotId(entry.slot)) is None
        ):
            return RejectReason.TOO_MANY
        return None

    def _find_hold_refusal(self, entry: OrderEntry) -> Reason | None:
        account = AccountId(entry.account)
        reason = self._find_refusal(entry, self.triggers.find(account, SlotId(entry.slot)))
        if reason is None and self.triggers.count(account) >= MAX_HELD:
            return RejectReason.TOO_MANY
        try:
            self._validate_hold(entry)
        except TransitionFault as problem:
            return reason or problem.fault
        return reason

    def _is_frozen(self, entry: OrderEntry) -> bool:
        underlying = self.protections.find_underlying(MarketId(entry.market))
        if underlying is None:
            return False
        protection = self.protections.find(AccountId(entry.account), underlying)
        return protection is not None and protection.is_frozen

    def _validate_hold(self, entry: OrderEntry) -> None:
        """Check what does not depend on prices; the rest is checked when it is triggered."""
        state = self._state
        account, slot = AccountId(entry.account), SlotId(entry.slot)
        order = entry.to_order()
        market = get_market(state, order.market)
        clock = state.globals.clock
        validate_alive(get_holder(state, account), order, Address(entry.signer), clock)
        validate_encodable(order, slot, clock)
        tick = market.underlying.params.tick
        validate_order(order, state.slots.get(account, {}).get(slot), tick)
        if order.nonce <= self._engine.nonces.get((account, slot), 0):
            raise TransitionFault(Fault.ORDER_NONCE)

    def _reject(self, entry: OrderEntry, reason: Reason) -> Execution:
        execution = Execution(OrderStatus.REJECTED, 0, (), reason, ())
        self._recorder.note_execution(entry, execution)
        return execution

    def _cancel_resting(self, resting: RestingOrder | None, reason: CancelReason) -> None:
        if resting is not None:
            self._recorder.note_cancelled(resting, reason)

    def _cancel_held(self, held: Held | None, reason: CancelReason) -> None:
        if held is not None:
            self._use_nonce(held.entry.order)
            self._recorder.note_entry(held.entry.order, OrderState.CANCELLED, reason)

    def _use_nonce(self, entry: OrderEntry) -> None:
        """See to it that an order that was held cannot come back."""
        key = AccountId(entry.account), SlotId(entry.slot)
        self._engine.nonces[key] = max(self._engine.nonces.get(key, 0), entry.nonce)
