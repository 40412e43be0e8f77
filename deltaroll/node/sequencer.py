"""The sequencer: admits, logs, matches and applies, in one order that a restart repeats exactly.

Everything from outside becomes a log entry first; the live state, the book and the chunks are
functions of the log. Callers acknowledge nothing before `flush` has returned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import structlog

from deltaroll.engine.matching import Execution, MatchingEngine
from deltaroll.node.builder import ChunkBuilder
from deltaroll.node.entries import (
    CancelAllEntry,
    CancelEntry,
    ClockEntry,
    Entry,
    KeyEntry,
    MessageEntry,
    ObserveEntry,
    OrderEntry,
    SealEntry,
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
from deltaroll.protocol.codec import (
    ACTION_NONCE_BITS,
    AGE_BITS,
    CLOCK_BITS,
    EPOCH_BITS,
    EXPIRY_BITS,
    LOTS_BITS,
    NONCE_BITS,
    PRICE_BITS,
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
    Mark,
    MarketId,
    Message,
    Observation,
    Observe,
    Order,
    Queue,
    Series,
    SeriesStatus,
    SetTradingKey,
    SlotId,
    Timestamp,
    Transfer,
    Underlying,
    Withdraw,
)

log = structlog.get_logger(__name__)

ADDRESS_BYTES = 20


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
            validate_range("recipient", action.recipient, 1, ACCOUNT_DEPTH)
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


class Sequencer:
    """One rollup's sequencer, single-threaded: the caller serialises."""

    def __init__(self, store: Store, domain: bytes) -> None:
        """Open on a store; what its log holds is replayed first.

        Raises
        ------
        StoreError
            When the log is damaged, or does not reproduce the chunks that were sealed from it.
        """
        self.state = State()
        self.store = store
        self.domain = domain
        self._replaying = False
        self._builder = ChunkBuilder(self.state, domain, self._on_seal)
        self.engine = MatchingEngine(self._builder)
        self._replay()

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
        reset = self.state.meter
        reset_meter(self.state)
        try:
            if len(signature) != SIGNATURE_BYTES:
                raise RejectedError(
                    f"signature: {len(signature)} bytes instead of {SIGNATURE_BYTES}",
                    Fault.BAD_SIGNATURE,
                )
            validate_signature(self.state, request, signature, self.domain, self.clock)
        except TransitionFault as problem:
            raise RejectedError(
                f"signature: not by the owner of account {request.subject}", problem.fault
            ) from None
        finally:
            self.state.meter = reset
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
        meter = self.state.meter
        reset_meter(self.state)
        try:
            for request, signature in zip(compute_requests(observe), signatures, strict=True):
                validate_signature(self.state, request, signature, self.domain, clock)
        except TransitionFault as problem:
            raise RejectedError(
                "observation: not signed by the committee member", problem.fault
            ) from None
        finally:
            self.state.meter = meter
        receipt = self._process(
            ObserveEntry(
                market,
                [entry.signer for entry in observations],
                [entry.price for entry in observations],
                [entry.time for entry in observations],
                list(signatures),
            )
        )
        if receipt.fault != Fault.NONE:
            raise RejectedError(f"observe: refused: {receipt.fault.name}", receipt.fault)
        return receipt

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

    def flush(self) -> None:
        """Make everything so far durable: only now may it be acknowledged."""
        self.store.flush()

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
        execution: Execution | None = None
        fault = Fault.NONE
        match entry:
            case OrderEntry():
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
            case ClockEntry():
                self._builder.move_clock(Timestamp(entry.time))
                self.engine.expire(self._builder.clock)
            case MessageEntry():
                fault = self._apply_message(entry)
            case SealEntry():
                self._builder.cut()
        return Receipt(sequence, self.clock, execution, fault)

    def _execute(
        self,
        transaction: Transfer | Withdraw | SetTradingKey | Observe | Mark | Queue,
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
        return fault

    def _mark_all(self, underlying: MarketId) -> None:
        leaf = self.state.markets.get(underlying)
        if not isinstance(leaf, Underlying) or leaf.pending_index != 0:
            return
        for market in sorted(self.state.markets):
            series = self.state.markets[market]
            # A series that trades no more is marked while somebody holds it: margin depends on it.
            if (
                isinstance(series, Series)
                and series.underlying == underlying
                and (series.status == SeriesStatus.ACTIVE or series.open_interest != 0)
            ):
                self._execute(Mark(market, 1), ())

    def _apply_message(self, entry: MessageEntry) -> Fault:
        message = to_message(entry)
        self.state.messages[entry.index] = message
        skipped = self.state.globals.skipped
        fault = self._execute(Queue(), ())
        if fault == Fault.STALE_MARK:
            # A forced request may not be served on stale marks: renew every one that can be.
            for market in sorted(self.state.markets):
                if isinstance(self.state.markets[market], Underlying):
                    self._mark_all(market)
            fault = self._execute(Queue(), ())
        if fault != Fault.NONE:
            raise StoreError(f"message {entry.index} cannot be consumed: {fault.name}")
        for account_id in sorted(self.state.meter.accounts):
            self.engine.drop_stale(account_id)
        if self.state.globals.skipped != skipped:
            log.info("message_skipped", index=entry.index, kind=entry.kind)
        return Fault.NONE

    def _on_seal(self, chunk: SealedChunk) -> None:
        if not self._replaying:
            self.store.seal(chunk)
            return
        held = self.store.get_chunk(chunk.number)
        if held != chunk:
            raise StoreError(f"store: replaying the log does not reproduce chunk {chunk.number}")

    def _replay(self) -> None:
        self._replaying = True
        for sequence, encoding in self.store.iterate_entries():
            try:
                entry = decode_entry(encoding)
            except msgspec.DecodeError as problem:
                raise StoreError(f"store: log entry {sequence}: {problem}") from problem
            self._apply(sequence, entry)
        self._replaying = False
        if self._builder.number != self.store.count_chunks():
            raise StoreError("store: there are chunks that the log does not explain")
