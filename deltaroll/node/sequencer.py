"""The sequencer: admits, logs, matches and applies, in one order that a restart repeats exactly.

Everything from outside becomes a log entry first; the live state, the book and the chunks are
functions of the log. Callers acknowledge nothing before `flush` has returned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import structlog

from deltaroll.engine.matching import Execution, MatchingEngine
from deltaroll.node.builder import ChunkBuilder
from deltaroll.node.entries import (
    AdoptedChunk,
    CancelAllEntry,
    CancelEntry,
    ClockEntry,
    DataFeeEntry,
    Entry,
    KeyEntry,
    LiquidateEntry,
    MessageEntry,
    ObserveEntry,
    OrderEntry,
    PokeEntry,
    RebaseEntry,
    SealEntry,
    SurfaceEntry,
    TransferEntry,
    WithdrawEntry,
    decode_entry,
    encode_entry,
    to_action,
    to_action_entry,
    to_message,
    to_observations,
    to_order_entry,
)
from deltaroll.node.store import SealedChunk, Store, StoreError
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
from deltaroll.protocol.codec import (
    ACTION_NONCE_BITS,
    AGE_BITS,
    CLOCK_BITS,
    COUNT_BITS,
    EPOCH_BITS,
    EXPIRY_BITS,
    FRACTION_BITS,
    LOTS_BITS,
    NONCE_BITS,
    PRICE_BITS,
    SHARE_BITS,
)
from deltaroll.protocol.constants import (
    ACCOUNT_DEPTH,
    MARKET_DEPTH,
    MAX_AMOUNT,
    MAX_SIGNERS,
    SLOT_DEPTH,
)
from deltaroll.protocol.eip712 import compute_digest, hash_order
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.recovery import SIGNATURE_BYTES, recover_signer
from deltaroll.protocol.signatures import (
    Role,
    compute_requests,
    validate_account_signer,
    validate_signature,
)
from deltaroll.protocol.state import State, reset_meter
from deltaroll.protocol.types import (
    AccountId,
    Address,
    Context,
    DataFee,
    Distress,
    Expiry,
    Fund,
    Kind,
    Liquidate,
    Mark,
    MarketId,
    Message,
    Observation,
    Observe,
    Order,
    Queue,
    Series,
    SeriesKind,
    SetTradingKey,
    SlotId,
    Socialise,
    Surface,
    Sweep,
    Timestamp,
    Transaction,
    Transfer,
    Underlying,
    Withdraw,
)

log = structlog.get_logger(__name__)

ADDRESS_BYTES = 20
LEAST_DATA_FEE = 300
"""Wei a gas. Where L1 asks for less, data is free: so small a level may fall to less than a quarter
within ten batches, and a fee that was legal when it was set would not be when it is posted."""


FOREVER = 1 << 63
"""After every sequence number."""


class _SealedError(Exception):
    """The chunk with which a part of the log ends has been sealed."""


class RejectedError(Exception):
    """A request that was refused; nothing has changed. The message names field, value and rule."""

    def __init__(self, message: str, fault: Fault | None = None) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a request."""

    sequence: int
    """Place in the log."""
    clock: Timestamp
    execution: Execution | None = None
    fault: Fault = Fault.NONE


@dataclass(frozen=True, slots=True)
class Applied:
    """An entry of the log and what came of it."""

    sequence: int
    entry: Entry
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Base:
    """What L1 holds, as a log that goes on from there has to know it."""

    chunk: int
    """Our chunks before this one are on L1, or can still come there."""
    levels: tuple[int, ...] = ()
    messages: tuple[MessageEntry, ...] = ()
    adopted: tuple[AdoptedChunk, ...] = ()
    """Chunks of others after those; with fee levels and messages as `RebaseEntry` has them."""


def validate_range(name: str, value: int, low: int, bits: int) -> None:
    """Check that low <= value < 2^bits.

    Raises
    ------
    RejectedError
    """
    if value < low or value >> bits != 0:
        raise RejectedError(f"{name}: {value} is outside {low}..{2**bits - 1}", Fault.OUT_OF_RANGE)


def validate_address(name: str, value: bytes) -> None:
    """Check the length of an address.

    Raises
    ------
    RejectedError
    """
    if len(value) != ADDRESS_BYTES:
        raise RejectedError(
            f"{name}: {len(value)} bytes instead of {ADDRESS_BYTES}", Fault.OUT_OF_RANGE
        )


def validate_action(action: Transfer | Withdraw | SetTradingKey) -> None:
    """Check that every field of an action has a place in the codec.

    Raises
    ------
    RejectedError
    """
    match action:
        case Transfer():
            validate_range("sender", action.sender, 1, ACCOUNT_DEPTH)
            validate_range("recipient", action.recipient, 0, ACCOUNT_DEPTH)
        case Withdraw():
            validate_range("account", action.account, 1, ACCOUNT_DEPTH)
            validate_address("recipient", action.recipient)
        case SetTradingKey():
            validate_range("account", action.account, 1, ACCOUNT_DEPTH)
            validate_address("key", action.key)
            validate_range("expiry", action.expiry, 0, CLOCK_BITS)
    if isinstance(action, Transfer | Withdraw) and not 0 < action.amount <= MAX_AMOUNT:
        raise RejectedError(
            f"amount: {action.amount} is outside 1..{MAX_AMOUNT}", Fault.OUT_OF_RANGE
        )
    validate_range("nonce", action.nonce, 1, ACTION_NONCE_BITS)


def validate_observations(
    market: MarketId, observations: Sequence[Observation], clock: Timestamp
) -> None:
    """Check that observations have a place in the codec: members ascending, each once.

    Raises
    ------
    RejectedError
    """
    validate_range("market", market, 1, MARKET_DEPTH)
    previous = -1
    for entry in observations:
        if not previous < entry.signer < MAX_SIGNERS:
            raise RejectedError(
                f"signer: {entry.signer} after {previous}: members ascend, below {MAX_SIGNERS}",
                Fault.UNKNOWN_SIGNER,
            )
        previous = entry.signer
        validate_range("price", entry.price, 1, PRICE_BITS)
        if entry.time > clock:
            raise RejectedError(f"time: {entry.time} is after the clock {clock}", Fault.QUORUM)
        validate_range("age", clock - entry.time, 0, AGE_BITS)


def validate_surface_fields(surface: Surface, clock: Timestamp) -> None:
    """Check that a surface has a place in the codec.

    Raises
    ------
    RejectedError
    """
    validate_range("market", surface.market, 1, MARKET_DEPTH)
    validate_range("signers", surface.signers, 1, MAX_SIGNERS)
    validate_range("ratio", surface.ratio, 1, FRACTION_BITS)
    for name in ("rate", "a", "b", "rho", "m", "sigma"):
        validate_range(f"|{name}|", abs(getattr(surface, name)), 0, FRACTION_BITS)
    if surface.time > clock:
        raise RejectedError(f"time: {surface.time} is after the clock {clock}", Fault.QUORUM)
    validate_range("age", clock - surface.time, 0, AGE_BITS)


def to_poke(entry: PokeEntry) -> Transaction:
    """Return the transaction that a poke asks for.

    Raises
    ------
    ValueError
        When its kind is not one that anybody may ask for.
    """
    match entry.kind:
        case Kind.MARK:
            return Mark(MarketId(entry.subject), entry.detail)
        case Kind.FUND:
            return Fund(MarketId(entry.subject))
        case Kind.SWEEP:
            return Sweep(AccountId(entry.subject))
        case Kind.DISTRESS:
            return Distress(AccountId(entry.subject))
        case Kind.SOCIALISE:
            return Socialise(AccountId(entry.subject))
        case _:
            raise ValueError(f"kind: nobody may ask for {entry.kind}")


class Sequencer:
    """One rollup's sequencer, single-threaded: the caller serialises."""

    def __init__(self, store: Store, domain: bytes, state: State | None = None) -> None:
        """Open on a store; what its log holds is replayed first.

        Parameters
        ----------
        state
            To start from in place of the genesis; taken over. The log does not have it, so the
            store has to be new, and is good for nothing once the process has ended.

        Raises
        ------
        StoreError
            When the log is damaged, or does not reproduce the chunks that were sealed from it.
        """
        self.store = store
        self.domain = domain
        self._replaying = False
        self._reset(State() if state is None else state)
        self._replay()

    def _reset(self, state: State) -> None:
        self.state = state
        self._builder = ChunkBuilder(self.state, self.domain, self._on_seal)
        self.engine = MatchingEngine(self._builder)
        self._sequence = 0
        """Of the entry that is applied."""
        self._sealed_in: list[int] = []
        """The entry in which each chunk was sealed."""
        self._last_chunk: int | None = None
        """A chunk whose seal ends what is applied."""

    @property
    def clock(self) -> Timestamp:
        """The clock of the next chunk: L1 time as last told."""
        return self._builder.clock

    @property
    def chunks_sealed(self) -> int:
        """Chunks sealed since the beginning."""
        return self._builder.number

    def submit_order(
        self, account_id: AccountId, slot_id: SlotId, order: Order, signature: bytes
    ) -> Receipt:
        """Match an order.

        Raises
        ------
        RejectedError
            When it is malformed or its signature is not the account's; the log has no trace of it.
            An order that is refused for what it asks for comes back in the receipt.
        """
        validate_range("account", account_id, 1, ACCOUNT_DEPTH)
        validate_range("slot", slot_id, 0, SLOT_DEPTH)
        validate_range("market", order.market, 1, MARKET_DEPTH)
        validate_range("price", order.price, 1, PRICE_BITS)
        validate_range("size", order.size, 1, LOTS_BITS)
        validate_range("nonce", order.nonce, 1, NONCE_BITS)
        validate_range("epoch", order.epoch, 0, EPOCH_BITS)
        clock = self.clock
        if order.expiry < clock:
            raise RejectedError(
                f"expiry: {order.expiry} is before the clock {clock}", Fault.ORDER_EXPIRED
            )
        validate_range("expiry", order.expiry - clock, 0, EXPIRY_BITS)
        account = self.state.accounts.get(account_id)
        if account is None:
            raise RejectedError(f"account: no account {account_id}", Fault.UNKNOWN_ACCOUNT)
        signer = self._recover(hash_order(account_id, slot_id, order), signature)
        try:
            validate_account_signer(account, Role.TRADER, signer, clock)
        except TransitionFault as problem:
            raise RejectedError(
                f"signature: by 0x{signer.hex()}, which may not trade for account {account_id}",
                problem.fault,
            ) from None
        return self._process(to_order_entry(account_id, slot_id, order, signature, signer))

    def cancel(self, account_id: AccountId, slot_id: SlotId) -> Receipt:
        """Take an order off the book; the caller has authenticated the account."""
        return self._process(CancelEntry(account_id, slot_id))

    def cancel_all(self, account_id: AccountId, market: MarketId | None = None) -> Receipt:
        """Take an account's orders off the book; the caller has authenticated the account."""
        return self._process(CancelAllEntry(account_id, market or 0))

    def submit_action(
        self, action: Transfer | Withdraw | SetTradingKey, signature: bytes
    ) -> Receipt:
        """Apply what an owner signed.

        Raises
        ------
        RejectedError
            When it is malformed, badly signed or breaks a rule of the protocol; nothing has
            changed.
        """
        validate_action(action)
        (request,) = compute_requests(action)
        self._validate_signatures(
            action, (signature,), f"signature: not by the owner of account {request.subject}"
        )
        receipt = self._process(to_action_entry(action, signature))
        if receipt.fault != Fault.NONE:
            raise RejectedError(
                f"{type(action).__name__}: refused by the protocol: {receipt.fault.name}",
                receipt.fault,
            )
        return receipt

    def observe(
        self,
        market: MarketId,
        observations: tuple[Observation, ...],
        signatures: tuple[bytes, ...],
    ) -> Receipt:
        """Take signed prices of an underlying, then re-mark its series.

        Raises
        ------
        RejectedError
            When a signature is not its member's, a time is out of reach, or too few are usable.
        """
        if len(observations) != len(signatures):
            raise RejectedError(
                f"signatures: {len(signatures)} for {len(observations)} observations",
                Fault.SIGNATURE_COUNT,
            )
        clock = self.clock
        validate_observations(market, observations, clock)
        observe = Observe(market, observations)
        self._validate_signatures(
            observe, signatures, "observation: not signed by the committee member"
        )
        receipt = self._process(
            ObserveEntry(
                market,
                [entry.signer for entry in observations],
                [entry.price for entry in observations],
                [entry.time for entry in observations],
                list(signatures),
            )
        )
        return self._accept("observe", receipt)

    def surface(self, surface: Surface, signatures: tuple[bytes, ...]) -> Receipt:
        """Take a signed volatility surface of an expiry.

        Raises
        ------
        RejectedError
            When it is malformed, a signature is not its member's, or the protocol refuses it.
        """
        validate_surface_fields(surface, self.clock)
        if len(signatures) != surface.signers.bit_count():
            raise RejectedError(
                f"signatures: {len(signatures)} for {surface.signers.bit_count()} signers",
                Fault.SIGNATURE_COUNT,
            )
        self._validate_signatures(surface, signatures, "surface: not signed by a committee member")
        entry = SurfaceEntry(
            surface.market,
            surface.signers,
            surface.ratio,
            surface.rate,
            surface.a,
            surface.b,
            surface.rho,
            surface.m,
            surface.sigma,
            surface.time,
            list(signatures),
        )
        return self._accept("surface", self._process(entry))

    def liquidate(self, liquidate: Liquidate, signature: bytes) -> Receipt:
        """Take over a share of an account in distress.

        Raises
        ------
        RejectedError
            When it is malformed, badly signed, or the protocol refuses it.
        """
        validate_range("account", liquidate.account, 1, ACCOUNT_DEPTH)
        validate_range("target", liquidate.target, 0, ACCOUNT_DEPTH)
        validate_range("share", liquidate.share, 1, SHARE_BITS)
        validate_range("reward", liquidate.reward, 0, SHARE_BITS)
        validate_range("nonce", liquidate.nonce, 1, ACTION_NONCE_BITS)
        self._validate_signatures(
            liquidate, (signature,), f"signature: not by a trader of account {liquidate.account}"
        )
        entry = LiquidateEntry(
            liquidate.account,
            liquidate.target,
            liquidate.share,
            liquidate.reward,
            liquidate.nonce,
            signature,
        )
        return self._accept("liquidate", self._process(entry))

    def poke(self, kind: Kind, subject: int, detail: int = 0) -> Receipt:
        """Do what anybody may ask for: a Mark (of `detail` series), Fund, Sweep, Distress or
        Socialise.

        Raises
        ------
        RejectedError
            When nobody may ask for it, or the protocol refuses it.
        """
        entry = PokeEntry(kind, subject, detail)
        if kind == Kind.MARK:
            validate_range("market", subject, 1, MARKET_DEPTH)
            validate_range("count", detail, 1, COUNT_BITS)
        elif kind == Kind.FUND:
            validate_range("market", subject, 1, MARKET_DEPTH)
        elif kind in (Kind.SWEEP, Kind.DISTRESS, Kind.SOCIALISE):
            validate_range("account", subject, 0, ACCOUNT_DEPTH)
        else:
            raise RejectedError(f"kind: nobody may ask for {kind.name}", Fault.UNKNOWN_KIND)
        return self._accept(kind.name.lower(), self._process(entry))

    def set_data_fee(self, level: int) -> None:
        """Follow the smoothed base fee of the posted head; the same level changes nothing."""
        if level != self.state.globals.base_fee_level:
            self._process(DataFeeEntry(level))

    def set_clock(self, time: int) -> None:
        """Follow L1 time; a time that is not later changes nothing."""
        if time > self.clock:
            self._process(ClockEntry(time))

    def consume_message(self, index: int, message: Message) -> Receipt:
        """Take the next message of the L1 queue; the receipt says why when it was a no-op.

        Raises
        ------
        RejectedError
            When it is not the next one.
        """
        expected = self.state.globals.queue_index
        if index != expected:
            raise RejectedError(f"message: {index} is not the next one, {expected}")
        return self._process(
            MessageEntry(index, message.kind, message.sender, message.time, message.body)
        )

    def seal(self) -> None:
        """Close the open chunk, so that everything acknowledged can be posted."""
        if not self._builder.is_empty:
            self._process(SealEntry())

    def rebase(self, base: Base) -> list[Applied]:
        """Undo the chunks that L1 will not hold and go on from what it does.

        Returns the entries that are undone with what came of them, in order: they have to be
        applied anew. Nothing of it is durable before `flush`, and then all of it.

        Raises
        ------
        StoreError
            When the log cannot be replayed. This sequencer is of no use then.
        """
        self.store.flush()
        at = self._sealed_in[base.chunk - 1] if base.chunk else -1
        undone: list[Applied] = []
        self._reset(State())
        self._replay(on_applied=undone.append)
        entry = RebaseEntry(
            base.chunk, at, list(base.levels), list(base.messages), list(base.adopted)
        )
        sequence = self.store.append(encode_entry(entry))
        self.store.rewind(sequence, base.chunk)
        self._reset(State())
        self._replay(pending=(sequence, entry))
        return [one for one in undone if one.sequence >= at]

    def flush(self) -> None:
        """Make everything so far durable: only now may it be acknowledged."""
        self.store.flush()

    def _validate_signatures(
        self, transaction: Transaction, signatures: tuple[bytes, ...], problem: str
    ) -> None:
        meter = self.state.meter
        reset_meter(self.state)
        try:
            for request, signature in zip(compute_requests(transaction), signatures, strict=True):
                if len(signature) != SIGNATURE_BYTES:
                    raise RejectedError(
                        f"signature: {len(signature)} bytes instead of {SIGNATURE_BYTES}",
                        Fault.BAD_SIGNATURE,
                    )
                validate_signature(self.state, request, signature, self.domain, self.clock)
        except TransitionFault as fault:
            raise RejectedError(problem, fault.fault) from None
        finally:
            self.state.meter = meter

    def _accept(self, name: str, receipt: Receipt) -> Receipt:
        if receipt.fault != Fault.NONE:
            raise RejectedError(f"{name}: refused: {receipt.fault.name}", receipt.fault)
        return receipt

    def _recover(self, struct_hash: bytes, signature: bytes) -> Address:
        if len(signature) != SIGNATURE_BYTES:
            raise RejectedError(
                f"signature: {len(signature)} bytes instead of {SIGNATURE_BYTES}",
                Fault.BAD_SIGNATURE,
            )
        return recover_signer(compute_digest(self.domain, struct_hash), signature)

    def _process(self, entry: Entry) -> Receipt:
        sequence = self.store.append(encode_entry(entry))
        return self._apply(sequence, entry)

    def _apply(self, sequence: int, entry: Entry) -> Receipt:
        """Do what an entry says; the same entry on the same state does the same, always."""
        self._sequence = sequence
        execution: Execution | None = None
        fault = Fault.NONE
        match entry:
            case OrderEntry():
                self._refresh(MarketId(entry.market))
                execution = self.engine.submit(
                    AccountId(entry.account),
                    SlotId(entry.slot),
                    entry.to_order(),
                    entry.signature,
                    Address(entry.signer),
                    sequence,
                )
            case CancelEntry():
                self.engine.cancel(AccountId(entry.account), SlotId(entry.slot))
            case CancelAllEntry():
                market = MarketId(entry.market) if entry.market else None
                self.engine.cancel_all(AccountId(entry.account), market)
            case TransferEntry() | WithdrawEntry() | KeyEntry():
                fault = self._execute(to_action(entry), (entry.signature,))
                if isinstance(entry, KeyEntry) and fault == Fault.NONE:
                    self.engine.drop_stale(AccountId(entry.account))
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
                self._builder.move_clock(Timestamp(entry.time))
                self.engine.expire(self._builder.clock)
                for listing in iterate_listings(self.state):
                    self._execute(listing, ())
            case MessageEntry():
                fault = self._apply_message(entry)
            case SealEntry():
                self._builder.cut()
            case RebaseEntry():
                self._apply_rebase(entry)
        return Receipt(sequence, self.clock, execution, fault)

    def _execute(
        self,
        transaction: Transaction,
        signatures: tuple[bytes, ...],
    ) -> Fault:
        for attempt in range(2):
            try:
                self._builder.execute(transaction, signatures)
            except TransitionFault as problem:
                if problem.fault == Fault.OVERWEIGHT and attempt == 0:
                    self._builder.cut()
                    continue
                return problem.fault
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
            self.engine.drop_stale(account_id)
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
        for index in [one for one in state.messages if one >= state.globals.queue_index]:
            del state.messages[index]
        for message in entry.messages:
            state.messages[message.index] = to_message(message)
        if entry.levels:
            base_fee, blob_fee = entry.levels
            state.globals = replace(state.globals, base_fee_level=base_fee, blob_fee_level=blob_fee)
        for chunk in entry.adopted:
            context = Context(
                domain=self.domain,
                l1_time=Timestamp(chunk.l1_time),
                queue_end=chunk.queue_end,
                previous_base_fee=chunk.previous_base_fee,
                previous_blob_fee=chunk.previous_blob_fee,
                is_first=chunk.is_first,
                is_last=chunk.is_last,
            )
            self._builder.adopt(chunk.data, chunk.signatures, context)
        self.engine.catch_up()

    def _on_seal(self, chunk: SealedChunk) -> None:
        self._sealed_in.append(self._sequence)
        if not self._replaying:
            self.store.seal(chunk)
            return
        held = self.store.get_chunk(chunk.number)
        if held != chunk:
            raise StoreError(f"store: replaying the log does not reproduce chunk {chunk.number}")
        if chunk.number == self._last_chunk:
            raise _SealedError

    def _replay(
        self,
        pending: tuple[int, RebaseEntry] | None = None,
        on_applied: Callable[[Applied], None] = lambda _: None,
    ) -> None:
        """Apply what the log still says; with `pending`, an entry that is not durable yet and takes
        back some of that."""
        self._replaying = True
        parts = iter(compute_parts(self.store, pending))
        part = next(parts)
        for sequence, encoding in self.store.iterate_entries():
            while part.after <= sequence:
                part = next(parts)
            if sequence < part.first:
                continue
            try:
                entry = decode_entry(encoding)
            except msgspec.DecodeError as problem:
                raise StoreError(f"store: log entry {sequence}: {problem}") from problem
            self._last_chunk = part.last_chunk if sequence == part.after - 1 else None
            try:
                on_applied(Applied(sequence, entry, self._apply(sequence, entry)))
            except _SealedError:
                self._builder.discard()
                self.engine.catch_up()
            self._last_chunk = None
        self._replaying = False
        if pending is not None:
            if self._builder.number != pending[1].chunk:
                raise StoreError(f"store: no way back to chunk {pending[1].chunk}")
            self._apply(*pending)
        elif self._builder.number != self.store.count_chunks():
            raise StoreError("store: there are chunks that the log does not explain")


@dataclass(frozen=True, slots=True)
class Part:
    """Entries of the log that still count: from `first` up to, not with, `after`."""

    first: int
    after: int
    last_chunk: int | None = None
    """The last entry counts up to the seal of this chunk."""


def compute_parts(store: Store, pending: tuple[int, RebaseEntry] | None) -> list[Part]:
    """Return what rebases have left of a log, in order.

    Raises
    ------
    StoreError
        When an entry that should be a rebase is none.
    """
    rebases: list[tuple[int, RebaseEntry]] = [] if pending is None else [pending]
    for sequence, encoding in store.iterate_rebases():
        try:
            entry = decode_entry(encoding)
        except msgspec.DecodeError as problem:
            raise StoreError(f"store: log entry {sequence}: {problem}") from problem
        if not isinstance(entry, RebaseEntry):
            raise StoreError(f"store: log entry {sequence} is no rebase")
        rebases.append((sequence, entry))
    parts: list[Part] = []
    start = 0
    for sequence, entry in sorted(rebases, key=lambda one: one[0]):
        parts.append(Part(start, sequence))
        while parts and parts[-1].first > entry.at:
            parts.pop()
        if parts:
            parts[-1] = Part(parts[-1].first, entry.at + 1, entry.chunk - 1)
        start = sequence
    return [*parts, Part(start, FOREVER)]
