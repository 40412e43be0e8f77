"""The machine that a log drives: live state, books and desk, and what each entry does to them.

It is a function of the entries alone: the same ones in the same order give the same, bit for
bit. It knows nothing of where they come from, nor of who waits for an answer.
"""

from collections.abc import Callable
from dataclasses import replace

import structlog

from deltaroll.engine.matching import Execution, MatchingEngine
from deltaroll.node.admission import Receipt, to_poke
from deltaroll.node.builder import ChunkBuilder
from deltaroll.node.desk import Desk
from deltaroll.node.entries import (
    CancelAllEntry,
    CancelEntry,
    ClockEntry,
    DataFeeEntry,
    DeadManEntry,
    Entry,
    FireEntry,
    HoldEntry,
    KeyEntry,
    LiquidateEntry,
    MessageEntry,
    ObserveEntry,
    OrderEntry,
    PokeEntry,
    ProtectEntry,
    RebaseEntry,
    ResumeEntry,
    RevertEntry,
    SealEntry,
    SurfaceEntry,
    TransferEntry,
    WithdrawEntry,
    to_action,
    to_message,
    to_observations,
)
from deltaroll.node.events import OrderUpdate, Step
from deltaroll.node.log import SealedChunk, StoreError
from deltaroll.node.receipts import OUTCOMES, Outcome
from deltaroll.node.recorder import Recorder, get_key
from deltaroll.node.upkeep import (
    compute_pair_mark,
    is_mark_due,
    is_markable,
    iterate_distress,
    iterate_listings,
    iterate_marks,
    iterate_stale,
    iterate_surfaced,
    iterate_sweeps,
)
from deltaroll.protocol.codec import FRACTION_BITS
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import State
from deltaroll.protocol.types import (
    AccountId,
    Context,
    DataFee,
    Expiry,
    MarketId,
    Observe,
    Order,
    Queue,
    Series,
    SeriesKind,
    SlotId,
    Timestamp,
    Transaction,
    Underlying,
)

log = structlog.get_logger(__name__)

LEAST_DATA_FEE = 300
"""Wei a gas. Where L1 asks for less, data is free: so small a level may fall to less than a quarter
within ten batches, and a fee that was legal when it was set would not be when it is posted."""


def copy_state(state: State) -> State:
    """Return a state on its own, its messages included."""
    copy = state.copy_before(0)
    copy.messages = dict(state.messages)
    return copy


class Machine:
    """Applies entries, one after the other; single-threaded."""

    def __init__(self, state: State, domain: bytes, on_seal: Callable[[SealedChunk], None]) -> None:
        """Start from a state, which is the machine's from now on; `on_seal` gets each chunk."""
        self.state = state
        self.on_seal = on_seal
        self.builder = ChunkBuilder(state, domain, self._note_seal)
        self.engine = MatchingEngine(self.builder)
        self.recorder = Recorder(state, self.builder, self.engine)
        self.recorder.is_on = False
        self.desk = Desk(state, self.engine, self.recorder)
        self.steps: list[Step] = []
        """What entries did, since somebody took it; empty while the recorder is off."""
        self.is_settled = False
        """No price has moved since the triggers were looked at."""
        self.sequence = 0
        """Of the entry that is applied."""
        self.sealed_in: list[int] = []
        """The entry in which each chunk was sealed."""
        self._domain = domain

    @property
    def clock(self) -> Timestamp:
        """The clock of the next chunk: L1 time as last told."""
        return self.builder.clock

    def apply(self, sequence: int, entry: Entry, order: Order | None = None) -> Receipt:
        """Do what an entry says; the same entry on the same state does the same, always.

        `order` is an OrderEntry's, where the caller has it already.
        """
        self.sequence = sequence
        execution: Execution | None = None
        fault = Fault.NONE
        outcome = Outcome.DONE
        match entry:
            case OrderEntry():
                self._refresh(MarketId(entry.market))
                execution = self.desk.submit(sequence, entry, order)
            case HoldEntry():
                outcome = Outcome.HELD
                execution = self.desk.hold(sequence, entry)
                self.is_settled = False
            case FireEntry():
                execution = self._apply_fire(sequence, entry)
            case CancelEntry():
                self.desk.cancel(AccountId(entry.account), SlotId(entry.slot))
            case CancelAllEntry():
                market = MarketId(entry.market) if entry.market else None
                self.desk.cancel_all(AccountId(entry.account), market)
            case DeadManEntry():
                deadline = Timestamp(self.clock + entry.seconds) if entry.seconds else None
                self.desk.dead_men.set(AccountId(entry.account), deadline)
            case ProtectEntry():
                self.desk.protections.set(
                    AccountId(entry.account),
                    MarketId(entry.underlying),
                    entry.seconds,
                    entry.lots,
                    entry.fills,
                )
            case ResumeEntry():
                self.desk.resume(AccountId(entry.account), MarketId(entry.underlying))
            case TransferEntry() | WithdrawEntry() | KeyEntry():
                fault = self._execute(to_action(entry), (entry.signature,))
                if isinstance(entry, KeyEntry) and fault == Fault.NONE:
                    self.desk.drop_stale(AccountId(entry.account))
            case ObserveEntry():
                fault = self._apply_observe(entry)
            case SurfaceEntry():
                fault = self._apply_surface(entry)
            case LiquidateEntry():
                fault = self._execute(entry.to_liquidate(), (entry.signature,))
            case PokeEntry():
                fault = self._execute(to_poke(entry), ())
            case DataFeeEntry():
                self._apply_data_fee(entry)
            case ClockEntry():
                self.builder.move_clock(Timestamp(entry.time))
                self.desk.expire(self.builder.clock)
                for listing in iterate_listings(self.state):
                    self._execute(listing, ())
            case MessageEntry():
                fault = self._apply_message(entry)
            case SealEntry():
                self.builder.cut()
            case RebaseEntry():
                self._apply_rebase(entry)
            case RevertEntry():
                if entry.order is not None:
                    self.recorder.note_reverted(entry.order, entry.reason)
        if execution is not None:
            outcome = OUTCOMES[execution.status]
        self.finish(sequence)
        return Receipt(sequence, self.clock, execution, fault, outcome)

    def finish(self, sequence: int) -> None:
        """End the step of an entry."""
        step = self.recorder.finish(sequence, self.clock)
        if step is not None:
            self.steps.append(step)

    def _apply_fire(self, sequence: int, entry: FireEntry) -> Execution:
        account, slot = AccountId(entry.account), SlotId(entry.slot)
        held = self.desk.triggers.find(account, slot)
        if held is None:
            raise StoreError(f"store: entry {sequence} fires an order that is not held")
        self._refresh(MarketId(held.entry.order.market))
        return self.desk.fire(sequence, account, slot)

    def _execute(
        self,
        transaction: Transaction,
        signatures: tuple[bytes, ...],
    ) -> Fault:
        for attempt in range(2):
            try:
                self.builder.execute(transaction, signatures)
            except TransitionFault as problem:
                if problem.fault == Fault.OVERWEIGHT and attempt == 0:
                    self.builder.cut()
                    continue
                return problem.fault
            # Marks and indices move by transactions of the sequencer's own alone.
            self.is_settled = False
            return Fault.NONE
        return Fault.OVERWEIGHT

    def _apply_observe(self, entry: ObserveEntry) -> Fault:
        market = MarketId(entry.market)
        fault = self._execute(Observe(market, to_observations(entry)), tuple(entry.signatures))
        if fault == Fault.NONE:
            self._mark_all(market)
            for sweep in iterate_sweeps(self.state):
                self._execute(sweep, ())
            for distress in iterate_distress(self.state):
                self._execute(distress, ())
        return fault

    def _apply_surface(self, entry: SurfaceEntry) -> Fault:
        fault = self._execute(entry.to_surface(), tuple(entry.signatures))
        if fault == Fault.NONE:
            for mark in iterate_surfaced(self.state, MarketId(entry.market)):
                self._execute(mark, ())
        return fault

    def _mark_all(self, underlying: MarketId) -> None:
        for mark in iterate_marks(self.state, underlying):
            self._execute(mark, ())

    def _refresh(self, market: MarketId) -> None:
        """Mark an option that somebody wants to trade, when its mark is stale."""
        series = self.state.markets.get(market)
        if not isinstance(series, Series) or series.kind == SeriesKind.PERPETUAL:
            return
        underlying = self.state.markets.get(series.underlying)
        expiry = self.state.markets.get(series.expiry)
        if not isinstance(underlying, Underlying) or not isinstance(expiry, Expiry):
            return
        if is_mark_due(series, underlying, expiry, self.clock) and is_markable(
            series, underlying, expiry, self.clock
        ):
            self._execute(compute_pair_mark(self.state, market), ())

    def _apply_data_fee(self, entry: DataFeeEntry) -> None:
        # Levels come from L1 headers, which the live state does not see: this is what it is told.
        self.state.globals = replace(self.state.globals, base_fee_level=entry.level)
        fee = 0 if entry.level < LEAST_DATA_FEE else min(entry.level, (1 << FRACTION_BITS) - 1)
        if fee != self.state.globals.data_fee:
            self._execute(DataFee(fee), ())

    def _apply_message(self, entry: MessageEntry) -> Fault:
        message = to_message(entry)
        self.state.messages[entry.index] = message
        skipped = self.state.globals.skipped
        fault = self._execute(Queue(), ())
        if fault == Fault.STALE_MARK:
            # A forced request may not be served on stale marks: renew every one that is needed.
            for market in sorted(self.state.markets):
                if isinstance(self.state.markets[market], Underlying):
                    self._mark_all(market)
            fault = self._execute(Queue(), ())
        while fault == Fault.STALE_MARK and self._mark_touched():
            fault = self._execute(Queue(), ())
        if fault != Fault.NONE:
            raise StoreError(f"message {entry.index} cannot be consumed: {fault.name}")
        for account_id in sorted(self.state.meter.accounts):
            self.desk.drop_stale(account_id)
        if self.state.globals.skipped != skipped:
            log.info("message_skipped", index=entry.index, kind=entry.kind)
        return Fault.NONE

    def _mark_touched(self) -> bool:
        """Mark what is stale among the leaves that the open chunk has touched, a message that could
        not be served included: it may ask for an option that nobody holds. Return whether anything
        was renewed.
        """
        marks = list(iterate_stale(self.state, self.state.meter.markets))
        faults = [self._execute(mark, ()) for mark in marks]
        return Fault.NONE in faults

    def _apply_rebase(self, entry: RebaseEntry) -> None:
        state = self.state
        self.recorder.begin_rebase(entry.at, self.desk.get_orders())
        for index in [one for one in state.messages if one >= state.globals.queue_index]:
            del state.messages[index]
        for message in entry.messages:
            state.messages[message.index] = to_message(message)
        if entry.levels:
            base_fee, blob_fee = entry.levels
            state.globals = replace(state.globals, base_fee_level=base_fee, blob_fee_level=blob_fee)
        for chunk in entry.adopted:
            context = Context(
                domain=self._domain,
                l1_time=Timestamp(chunk.l1_time),
                queue_end=chunk.queue_end,
                previous_base_fee=chunk.previous_base_fee,
                previous_blob_fee=chunk.previous_blob_fee,
                is_first=chunk.is_first,
                is_last=chunk.is_last,
            )
            self.builder.adopt(chunk.data, chunk.signatures, context)
        self.catch_up()
        for account in sorted({held.key[0] for held in self.desk.triggers.get_all()}):
            self.desk.drop_stale(account)
        self.recorder.note_rebase(self.desk.get_orders())
        self.is_settled = False

    def catch_up(self) -> list[OrderUpdate]:
        """Bring the book to what the state says, as `MatchingEngine.catch_up`; return what that did
        to orders."""
        before = {get_key(resting): resting.remaining for resting in self.engine.get_orders()}
        gone = self.engine.catch_up()
        return self.recorder.note_caught_up(before, self.engine.get_orders(), gone)

    def _note_seal(self, chunk: SealedChunk) -> None:
        self.sealed_in.append(self.sequence)
        self.on_seal(chunk)
