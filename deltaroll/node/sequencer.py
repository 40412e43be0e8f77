"""The sequencer: admits, logs, matches and applies, in one order that a restart repeats exactly.

Everything from outside becomes a log entry first; the live state, the book and the chunks are
functions of the log. Callers acknowledge nothing before `flush` has returned.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import structlog

from deltaroll.engine.matching import Execution, MatchingEngine
from deltaroll.node.admission import (
    MAX_WINDOW,
    NO_TERMS,
    Receipt,
    RejectedError,
    Terms,
    to_poke,
    validate_action,
    validate_observations,
    validate_order_fields,
    validate_range,
    validate_surface_fields,
)
from deltaroll.node.builder import ChunkBuilder
from deltaroll.node.client_ids import CLIENT_ID, Named, compute_content
from deltaroll.node.desk import Desk
from deltaroll.node.entries import (
    AdoptedChunk,
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
    decode_entry,
    encode_entry,
    to_action,
    to_action_entry,
    to_message,
    to_observations,
    to_order_entry,
)
from deltaroll.node.events import Listener, Step
from deltaroll.node.receipts import (
    OUTCOMES,
    Outcome,
    ReceiptKey,
    SignedReceipt,
    decode_receipt,
    encode_receipt,
    hash_cancel,
    hash_cancel_all,
    make_receipt,
    sign_receipts,
)
from deltaroll.node.recorder import Orders, Recorder, get_key
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
    COUNT_BITS,
    EXPIRY_BITS,
    FRACTION_BITS,
    LOTS_BITS,
    PRICE_BITS,
    SHARE_BITS,
)
from deltaroll.protocol.constants import (
    ACCOUNT_DEPTH,
    MARKET_DEPTH,
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
    ZERO_ADDRESS,
    AccountId,
    Address,
    Context,
    DataFee,
    Expiry,
    Kind,
    Liquidate,
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
    Surface,
    Timestamp,
    Transaction,
    Transfer,
    Underlying,
    Withdraw,
)

log = structlog.get_logger(__name__)

LEAST_DATA_FEE = 300
"""Wei a gas. Where L1 asks for less, data is free: so small a level may fall to less than a quarter
within ten batches, and a fee that was legal when it was set would not be when it is posted."""


MAX_FIRED = 32
"""Held orders that are matched at a time: nobody waits for thousands of them."""
REPLAY_STEPS = 1_024
"""Steps of a replayed log that are handed over at once."""
FOREVER = 1 << 63
"""After every sequence number."""


class _SealedError(Exception):
    """The chunk with which a part of the log ends has been sealed."""


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


def _ignore(entry: FireEntry, receipt: Receipt) -> None:
    """Nobody wants to know of it."""


def copy_state(state: State) -> State:
    """Return a state on its own, its messages included."""
    copy = state.copy_before(0)
    copy.messages = dict(state.messages)
    return copy


class Sequencer:
    """One rollup's sequencer, single-threaded: the caller serialises."""

    def __init__(
        self,
        store: Store,
        domain: bytes,
        start: State | None = None,
        receipt_key: ReceiptKey | None = None,
        listener: Listener | None = None,
    ) -> None:
        """Open on a store; what its log holds is replayed first.

        Parameters
        ----------
        start
            To begin with in place of the genesis; it is copied. The log does not have it, so the
            store has to be new, and is good for nothing once the process has ended.
        receipt_key
            Signs receipts; None: there are none.
        listener
            Gets the steps of the log, from its beginning, each when it is durable.

        Raises
        ------
        StoreError
            When the log is damaged, or does not reproduce the chunks that were sealed from it.
        """
        self.store = store
        self.domain = domain
        self._replaying = False
        self._start = State() if start is None else copy_state(start)
        self.receipt_key = receipt_key
        self._listener = listener
        self._steps: list[Step] = []
        self._unsigned: list[SignedReceipt] = []
        self._signed: dict[int, SignedReceipt] = {}
        """Of the last commit, by sequence number."""
        self.on_fired: Callable[[FireEntry, Receipt], None] = _ignore
        """Told of held orders that are matched."""
        self._reset()
        self._recorder.is_on = listener is not None
        self._replay()

    def _reset(self) -> None:
        self.state = copy_state(self._start)
        self._builder = ChunkBuilder(self.state, self.domain, self._on_seal)
        self.engine = MatchingEngine(self._builder)
        self._recorder = Recorder(self.state, self._builder, self.engine)
        self._recorder.is_on = False
        self.desk = Desk(self.state, self.engine, self._recorder)
        self._is_settled = False
        """No price has moved since the triggers were looked at."""
        self._sequence = 0
        """Of the entry that is applied."""
        self._sealed_in: list[int] = []
        """The entry in which each chunk was sealed."""
        self._last_chunk: int | None = None
        """A chunk whose seal ends what is applied."""

    def listen(self, listener: Listener) -> None:
        """Hand over the steps from now on; those before have to be replayed."""
        self.flush()
        self._listener = listener
        self._recorder.is_on = True

    @property
    def clock(self) -> Timestamp:
        """The clock of the next chunk: L1 time as last told."""
        return self._builder.clock

    @property
    def chunks_sealed(self) -> int:
        """Chunks sealed since the beginning."""
        return self._builder.number

    def submit_order(
        self,
        account_id: AccountId,
        slot_id: SlotId,
        order: Order,
        signature: bytes,
        terms: Terms = NO_TERMS,
        allow: Callable[[AccountId], None] | None = None,
    ) -> Receipt:
        """Match an order, or hold it for its trigger.

        Parameters
        ----------
        allow
            Called when the signature is good and before anything is logged; it may refuse.

        Raises
        ------
        RejectedError
            When it is malformed or its signature is not the account's; the log has no trace of it.
            An order that is refused for what it asks for comes back in the receipt.
        """
        validate_order_fields(account_id, slot_id, order)
        clock = self.clock
        is_known = terms.client_id != "" and self.desk.ids.find(account_id, terms.client_id)
        if order.expiry < clock and not is_known:
            raise RejectedError(
                f"expiry: {order.expiry} is before the clock {clock}", Fault.ORDER_EXPIRED
            )
        validate_range("expiry", max(0, order.expiry - clock), 0, EXPIRY_BITS)
        account = self.state.accounts.get(account_id)
        if account is None:
            raise RejectedError(f"account: no account {account_id}", Fault.UNKNOWN_ACCOUNT)
        subject = hash_order(account_id, slot_id, order)
        signer = self._recover(subject, signature)
        if signer == ZERO_ADDRESS:
            # An account without a trading key names zero, which nobody signs for.
            raise RejectedError("signature: it proves nothing", Fault.BAD_SIGNATURE)
        try:
            validate_account_signer(account, Role.TRADER, signer, clock)
        except TransitionFault as problem:
            raise RejectedError(
                f"signature: by 0x{signer.hex()}, which may not trade for account {account_id}",
                problem.fault,
            ) from None
        if allow is not None:
            allow(account_id)
        if terms is NO_TERMS:
            entry = to_order_entry(account_id, slot_id, order, signature, signer)
            return self._process(entry, subject, account_id, order)
        return self._submit_with_terms(
            to_order_entry(
                account_id,
                slot_id,
                order,
                signature,
                signer,
                terms.client_id,
                "" if terms.self_trade is None else terms.self_trade.value,
                terms.is_quote,
            ),
            terms,
            subject,
        )

    def _submit_with_terms(self, order: OrderEntry, terms: Terms, subject: bytes) -> Receipt:
        account, slot = AccountId(order.account), SlotId(order.slot)
        entry: OrderEntry | HoldEntry = order
        if terms.trigger is not None:
            validate_range("trigger", terms.trigger.level, 1, PRICE_BITS)
            entry = HoldEntry(
                order, terms.trigger.is_index, terms.trigger.is_above, terms.trigger.level
            )
        if terms.client_id:
            if CLIENT_ID.fullmatch(terms.client_id) is None:
                raise RejectedError(
                    f"client_id: {terms.client_id!r} is not 1 to 36 letters, digits or . _ : -"
                )
            named = self.desk.ids.find(account, terms.client_id)
            if named is not None:
                if named.content != compute_content(entry):
                    raise RejectedError(
                        f"client_id: {terms.client_id!r} is the name of another order, "
                        f"slot {named.slot} nonce {named.nonce}"
                    )
                return self._find_named(named)
        if terms.replaces is not None:
            alive = self.desk.get_nonce(account, slot)
            if alive != terms.replaces:
                found = "no order" if alive is None else f"the order with nonce {alive}"
                raise RejectedError(
                    f"replaces: slot {slot} holds {found}, not the one with {terms.replaces}",
                    Fault.ORDER_NONCE,
                )
        if terms.is_quote:
            underlying = self.desk.protections.find_underlying(MarketId(order.market))
            if underlying is None or self.desk.protections.find(account, underlying) is None:
                raise RejectedError(
                    f"is_quote: account {account} has no protection on the underlying of "
                    f"market {order.market}"
                )
        return self._process(entry, subject, account)

    def find_receipt(self, sequence: int) -> SignedReceipt | None:
        """Return the signed receipt of a committed entry, None when it has none."""
        signed = self._signed.get(sequence)
        if signed is None:
            stored = self.store.get_receipt(sequence)
            return None if stored is None else decode_receipt(stored)
        return signed

    def _find_named(self, named: Named) -> Receipt:
        """Return what became of an order with a name, as it was answered then."""
        execution = named.execution
        return Receipt(
            named.sequence,
            named.clock,
            execution,
            Fault.NONE,
            Outcome.HELD if execution is None else OUTCOMES[execution.status],
        )

    def cancel(self, account_id: AccountId, slot_id: SlotId) -> Receipt:
        """Take an order off the book; the caller has authenticated the account."""
        nonce = self.desk.get_nonce(account_id, slot_id) or 0
        subject = hash_cancel(account_id, slot_id, nonce)
        return self._process(CancelEntry(account_id, slot_id), subject, account_id)

    def cancel_named(self, account_id: AccountId, client_id: str) -> Receipt:
        """Cancel an order by its client id; the caller has authenticated the account.

        Raises
        ------
        RejectedError
            When no order of that name is alive.
        """
        named = self.desk.ids.find(account_id, client_id)
        if named is None or self.desk.get_nonce(account_id, SlotId(named.slot)) != named.nonce:
            raise RejectedError(
                f"client_id: no order {client_id!r} of account {account_id} is open"
            )
        return self.cancel(account_id, SlotId(named.slot))

    def cancel_all(self, account_id: AccountId, market: MarketId | None = None) -> Receipt:
        """Take an account's orders off the book; the caller has authenticated the account."""
        subject = hash_cancel_all(account_id, market or 0)
        return self._process(CancelAllEntry(account_id, market or 0), subject, account_id)

    def set_dead_man(self, account_id: AccountId, seconds: int) -> Receipt:
        """Cancel everything of an account unless it is heard of again in time; 0: never.

        Raises
        ------
        RejectedError
        """
        if not 0 <= seconds <= MAX_WINDOW:
            raise RejectedError(f"seconds: {seconds} is outside 0..{MAX_WINDOW}")
        return self._process(DeadManEntry(account_id, seconds))

    def protect(
        self, account_id: AccountId, underlying: MarketId, seconds: int, lots: int, fills: int
    ) -> Receipt:
        """Set an account's market-maker protection on an underlying; 0 seconds: none.

        Raises
        ------
        RejectedError
        """
        if not isinstance(self.state.markets.get(underlying), Underlying):
            raise RejectedError(f"underlying: no underlying {underlying}", Fault.UNKNOWN_MARKET)
        if not 0 <= seconds <= MAX_WINDOW:
            raise RejectedError(f"seconds: {seconds} is outside 0..{MAX_WINDOW}")
        validate_range("lots", lots, 0, LOTS_BITS)
        validate_range("fills", fills, 0, LOTS_BITS)
        if seconds and not lots and not fills:
            raise RejectedError("lots: a protection limits lots, fills or both")
        return self._process(ProtectEntry(account_id, underlying, seconds, lots, fills))

    def resume(self, account_id: AccountId, underlying: MarketId) -> Receipt:
        """Take an account's quotes again after its protection has tripped.

        Raises
        ------
        RejectedError
            When there is no protection.
        """
        if self.desk.protections.find(account_id, underlying) is None:
            raise RejectedError(f"underlying: account {account_id} has no protection there")
        return self._process(ResumeEntry(account_id, underlying))

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
        receipt = self._process(
            to_action_entry(action, signature), request.struct_hash, request.subject
        )
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
        self.flush()
        at = self._sealed_in[base.chunk - 1] if base.chunk else -1
        undone: list[Applied] = []
        before, recorder = self.desk.get_orders(), self._recorder
        self._reset()
        self._replay(on_applied=undone.append)
        entry = RebaseEntry(
            base.chunk, at, list(base.levels), list(base.messages), list(base.adopted)
        )
        sequence = self.store.append(encode_entry(entry))
        self.store.rewind(sequence, base.chunk)
        self._reset()
        self._replay(pending=(sequence, entry), before=(recorder, before))
        return [one for one in undone if one.sequence >= at]

    def note_reverted(self, undone: int, entry: Entry, reason: str) -> None:
        """Log that what was acknowledged with an entry is undone, with nothing in its place."""
        order = entry.order if isinstance(entry, HoldEntry) else entry
        self._process(RevertEntry(undone, order if isinstance(order, OrderEntry) else None, reason))

    def flush(self) -> None:
        """Make everything so far durable: only now may it be acknowledged. Then it is published."""
        self._signed.clear()
        if self._unsigned:
            self._sign_receipts()
        self.store.flush()
        self._publish()

    def _publish(self) -> None:
        if self._steps:
            steps, self._steps = self._steps, []
            if self._listener is not None:
                self._listener(steps)

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

    @property
    def is_firing(self) -> bool:
        """Whether held orders may be due that have not been matched yet."""
        return bool(self.desk.triggers) and not self._is_settled

    def fire_due(self) -> None:
        """Match held orders whose triggers are met, oldest first, and no more than a few at a time:
        the rest is due the next time. Each may move a mark."""
        for _ in range(MAX_FIRED):
            held = self.desk.triggers.find_due(self.state)
            if held is None:
                self._is_settled = True
                return
            account, slot = held.key
            subject = hash_order(account, slot, held.entry.order.to_order())
            entry = FireEntry(account, slot)
            self.on_fired(entry, self._log(entry, subject, account))

    def _process(
        self, entry: Entry, subject: bytes = b"", account: int = 0, order: Order | None = None
    ) -> Receipt:
        receipt = self._log(entry, subject, account, order)
        if not self._is_settled:
            self.fire_due()
        return receipt

    def _log(
        self, entry: Entry, subject: bytes, account: int, order: Order | None = None
    ) -> Receipt:
        sequence = self.store.append(encode_entry(entry))
        receipt = self._apply(sequence, entry, order)
        if subject and self.receipt_key is not None and receipt.fault == Fault.NONE:
            self._unsigned.append(
                make_receipt(
                    subject, account, sequence, receipt.clock, receipt.outcome, receipt.execution
                )
            )
        return receipt

    def _sign_receipts(self) -> None:
        key = self.receipt_key
        unsigned, self._unsigned = self._unsigned, []
        if key is not None:
            for signed in sign_receipts(key, self.domain, unsigned):
                self.store.keep_receipt(signed.sequence, encode_receipt(signed))
                self._signed[signed.sequence] = signed

    def _apply(self, sequence: int, entry: Entry, order: Order | None = None) -> Receipt:
        """Do what an entry says; the same entry on the same state does the same, always.

        `order` is an OrderEntry's, where the caller has it already.
        """
        self._sequence = sequence
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
                self._is_settled = False
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
                if fault == Fault.NONE:
                    self._recorder.note_liquidation(entry.to_liquidate())
            case PokeEntry():
                fault = self._execute(to_poke(entry), ())
            case DataFeeEntry():
                self._apply_data_fee(entry)
            case ClockEntry():
                self._builder.move_clock(Timestamp(entry.time))
                self.desk.expire(self._builder.clock)
                for listing in iterate_listings(self.state):
                    self._execute(listing, ())
            case MessageEntry():
                fault = self._apply_message(entry)
            case SealEntry():
                self._builder.cut()
            case RebaseEntry():
                self._apply_rebase(entry)
            case RevertEntry():
                if entry.order is not None:
                    self._recorder.note_reverted(entry.order, entry.reason)
        if execution is not None:
            outcome = OUTCOMES[execution.status]
        self._finish(sequence)
        return Receipt(sequence, self.clock, execution, fault, outcome)

    def _finish(self, sequence: int) -> None:
        step = self._recorder.finish(sequence, self.clock)
        if step is not None:
            self._steps.append(step)

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
                self._builder.execute(transaction, signatures)
            except TransitionFault as problem:
                if problem.fault == Fault.OVERWEIGHT and attempt == 0:
                    self._builder.cut()
                    continue
                return problem.fault
            # Marks and indices move by transactions of the sequencer's own alone.
            self._is_settled = False
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
        self._recorder.begin_rebase(self.desk.get_orders())
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
        self._catch_up()
        for account in sorted({held.key[0] for held in self.desk.triggers.get_all()}):
            self.desk.drop_stale(account)
        self._recorder.note_rebase(entry.at, self.desk.get_orders())
        self._is_settled = False

    def _catch_up(self) -> None:
        """Bring the book to what the state says, as `MatchingEngine.catch_up`."""
        before = {get_key(resting): resting.remaining for resting in self.engine.get_orders()}
        gone = self.engine.catch_up()
        self._recorder.note_caught_up(before, self.engine.get_orders(), gone)

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
        before: tuple[Recorder, Orders] | None = None,
    ) -> None:
        """Apply what the log still says; with `pending`, an entry that is not durable yet and takes
        back some of that. `before`: what listeners know, which that entry is told against."""
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
                self._catch_up()
                self._finish(sequence)
            self._last_chunk = None
            if len(self._steps) >= REPLAY_STEPS:
                self._publish()
        self._publish()
        self._replaying = False
        if pending is not None:
            if self._builder.number != pending[1].chunk:
                raise StoreError(f"store: no way back to chunk {pending[1].chunk}")
            self._recorder.is_on = self._listener is not None
            if before is not None:
                self._recorder.take_over(*before)
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
