"""The sequencer's door: what it is asked for, checked and admitted, in one order.

What passes becomes an entry of the log (`Core`), and what the log says is done (`Machine`).
Callers acknowledge nothing before `flush` has returned.
"""

from collections.abc import Callable

from deltaroll.node.admission import (
    MAX_WINDOW,
    NO_TERMS,
    Receipt,
    RejectedError,
    Terms,
    validate_action,
    validate_observations,
    validate_order_fields,
    validate_range,
    validate_surface_fields,
)
from deltaroll.node.client_ids import CLIENT_ID, Named, compute_content
from deltaroll.node.core import Core
from deltaroll.node.entries import (
    CancelAllEntry,
    CancelEntry,
    ClockEntry,
    DataFeeEntry,
    DeadManEntry,
    HoldEntry,
    LiquidateEntry,
    MessageEntry,
    ObserveEntry,
    OrderEntry,
    PokeEntry,
    ProtectEntry,
    ResumeEntry,
    SurfaceEntry,
    to_action_entry,
    to_order_entry,
)
from deltaroll.node.receipts import (
    OUTCOMES,
    Outcome,
    hash_cancel,
    hash_cancel_all,
)
from deltaroll.protocol.codec import (
    ACTION_NONCE_BITS,
    COUNT_BITS,
    EXPIRY_BITS,
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
from deltaroll.protocol.state import reset_meter
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Address,
    Kind,
    Liquidate,
    MarketId,
    Message,
    Observation,
    Observe,
    Order,
    SetTradingKey,
    SlotId,
    Surface,
    Transaction,
    Transfer,
    Underlying,
    Withdraw,
)


class Sequencer(Core):
    """One rollup's sequencer, single-threaded: the caller serialises."""

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
