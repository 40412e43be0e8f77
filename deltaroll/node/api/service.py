"""What requests do, on the sequencer's thread."""

from collections.abc import Generator
from typing import Any

from deltaroll.engine.aside import set_aside
from deltaroll.engine.greeks import compute_series_greeks
from deltaroll.node.admission import NO_TERMS, Receipt, RejectedError, Terms, Trigger
from deltaroll.node.api.data import (
    AccountData,
    AccountSnapshot,
    OpenOrder,
    OwnedAccounts,
    ProtectionData,
    SlotData,
    Ticker,
)
from deltaroll.node.api.errors import RateLimitedError, UnauthorisedError, UnknownError, to_problem
from deltaroll.node.api.limits import Buckets, Limits
from deltaroll.node.api.messages import (
    Accepted,
    BatchFields,
    CancelAllFields,
    CancelFields,
    DeadManFields,
    ItemAnswer,
    OrderFields,
    OrderKind,
    ProtectFields,
    ReceiptBody,
    ResumeFields,
    SessionFields,
    Status,
    Submission,
    TimeInForceName,
    TriggerKind,
    TriggerSource,
)
from deltaroll.node.api.sessions import Sessions
from deltaroll.node.events import OrderState
from deltaroll.node.queries import (
    DistressedAnswer,
    DistressedQuery,
    MarginAnswer,
    MarginQuery,
    Query,
    answer_query,
    compute_distressed_account,
    compute_margin_answer,
    find_account,
)
from deltaroll.node.receipts import Outcome, SignedReceipt
from deltaroll.node.recorder import get_reason_name
from deltaroll.node.requests import handle_request
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.constants import SLOT_DEPTH
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import reset_meter
from deltaroll.protocol.types import (
    AccountId,
    Expiry,
    MarketId,
    Order,
    Series,
    SeriesKind,
    SeriesStatus,
    SlotId,
    TimeInForce,
    Timestamp,
    Underlying,
)

TIMES_IN_FORCE = {
    TimeInForceName.GTC: TimeInForce.GTC,
    TimeInForceName.GTD: TimeInForce.GTC,
    TimeInForceName.IOC: TimeInForce.IOC,
    TimeInForceName.FOK: TimeInForce.FOK,
}
STATUSES = {outcome: Status[outcome.name] for outcome in Outcome}
SESSIONS_OF = dict[int, SessionFields]


class Service:
    """Handles requests; every method runs on the sequencer's thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.sessions = Sessions()
        self._buckets = Buckets(limits.account)
        self._open: list[Accepted] = []
        """Answers whose receipts are not signed before the commit."""

    def place(self, sequencer: Sequencer, request: OrderFields) -> Accepted:
        """Place an order; RejectedError when it is refused at the door."""
        order = Order(
            MarketId(request.market),
            request.is_buy,
            request.price,
            request.size,
            request.nonce,
            request.epoch,
            Timestamp(request.expiry),
            TIMES_IN_FORCE[request.time_in_force],
            request.post_only,
            request.reduce_only,
        )
        if request.kind is OrderKind.MARKET and order.time_in_force == TimeInForce.GTC:
            raise RejectedError("time_in_force: a market order is ioc or fok")
        receipt = sequencer.submit_order(
            AccountId(request.account),
            SlotId(request.slot),
            order,
            bytes.fromhex(request.signature[2:]),
            to_terms(request),
            self._take_order,
        )
        execution = receipt.execution
        if execution is not None and execution.makers:
            refund = self._limits.fill_refund
            self._buckets.give(request.account, refund * len(execution.makers))
            for maker in execution.makers:
                self._buckets.give(maker.account, refund)
        return self._accept(receipt)

    def cancel(
        self, sequencer: Sequencer, request: CancelFields, sessions: SESSIONS_OF
    ) -> Accepted:
        """Cancel one order."""
        self.authorise(sequencer, request.account, sessions)
        self._take(request.account, self._limits.cancel_cost)
        account = AccountId(request.account)
        if (request.slot is None) == (request.client_id is None):
            raise RejectedError("slot: name either a slot or a client id")
        if request.client_id is not None:
            return self._accept(sequencer.cancel_named(account, request.client_id))
        slot = SlotId(request.slot or 0)
        if not sequencer.desk.has_order(account, slot):
            raise UnknownError(f"slot: no order of account {account} is open in slot {slot}")
        return self._accept(sequencer.cancel(account, slot))

    def do_batch(
        self, sequencer: Sequencer, request: BatchFields, sessions: SESSIONS_OF
    ) -> list[ItemAnswer]:
        """Do each item, whatever becomes of the others."""
        answers: list[ItemAnswer] = []
        for item in request.items:
            try:
                if isinstance(item, OrderFields):
                    answers.append(ItemAnswer(self.place(sequencer, item)))
                else:
                    answers.append(ItemAnswer(self.cancel(sequencer, item, sessions)))
            except RejectedError as refusal:
                answers.append(ItemAnswer(error=to_problem(refusal, item)))
        return answers

    def cancel_all(
        self, sequencer: Sequencer, request: CancelAllFields, sessions: SESSIONS_OF
    ) -> Accepted:
        """Cancel all orders of an account."""
        self.authorise(sequencer, request.account, sessions)
        # An entry of the log that does nothing is not cheap.
        is_useful = sequencer.desk.has_orders(AccountId(request.account))
        self._take(request.account, self._limits.cancel_cost if is_useful else 1.0)
        market = None if request.market is None else MarketId(request.market)
        return self._accept(sequencer.cancel_all(AccountId(request.account), market))

    def set_dead_man(
        self, sequencer: Sequencer, request: DeadManFields, sessions: SESSIONS_OF
    ) -> Accepted:
        """Hear of an account."""
        self.authorise(sequencer, request.account, sessions)
        self._take(request.account, 1.0)
        return self._accept(sequencer.set_dead_man(AccountId(request.account), request.seconds))

    def protect(
        self, sequencer: Sequencer, request: ProtectFields, sessions: SESSIONS_OF
    ) -> Accepted:
        """Set market-maker protection."""
        self.authorise(sequencer, request.account, sessions)
        self._take(request.account, 1.0)
        return self._accept(
            sequencer.protect(
                AccountId(request.account),
                MarketId(request.underlying),
                request.seconds,
                request.lots,
                request.fills,
            )
        )

    def resume(
        self, sequencer: Sequencer, request: ResumeFields, sessions: SESSIONS_OF
    ) -> Accepted:
        """Let an account quote again."""
        self.authorise(sequencer, request.account, sessions)
        self._take(request.account, 1.0)
        return self._accept(
            sequencer.resume(AccountId(request.account), MarketId(request.underlying))
        )

    def submit(self, sequencer: Sequencer, request: Submission) -> Accepted:
        """Do what else is signed."""
        return self._accept(handle_request(sequencer, request))

    def ask(self, sequencer: Sequencer, query: Query, sessions: SESSIONS_OF) -> Any:
        """Answer a question; a generator where it looks at every account."""
        if isinstance(query, DistressedQuery):
            return iterate_distressed(sequencer)
        account = getattr(query, "account", None)
        if account is not None:
            self.authorise(sequencer, account, sessions)
        return answer_query(sequencer.state, query)

    def authorise(self, sequencer: Sequencer, account: int, sessions: SESSIONS_OF) -> None:
        """Check that a client may see and cancel an account's orders.

        Raises
        ------
        RejectedError
        """
        session = sessions.get(account)
        if session is None:
            raise UnauthorisedError(f"account: no session of account {account}")
        try:
            self.sessions.validate(sequencer, session)
        except RejectedError as refusal:
            raise UnauthorisedError(f"account: the session is over: {refusal}") from None

    def complete(self, sequencer: Sequencer) -> None:
        """Put the receipts into the answers of the commit that is done."""
        for accepted in self._open:
            signed = sequencer.find_receipt(accepted.sequence)
            if signed is not None:
                accepted.receipt = to_receipt_body(signed)
        self._open.clear()

    def _accept(self, receipt: Receipt) -> Accepted:
        accepted = to_accepted(receipt)
        self._open.append(accepted)
        return accepted

    def _take_order(self, account: AccountId) -> None:
        self._take(account, 1.0)

    def _take(self, account: int, cost: float) -> None:
        wait = self._buckets.take(account, cost)
        if wait:
            raise RateLimitedError("account", wait)


def to_terms(request: OrderFields) -> Terms:
    """Return what an order comes with besides what is signed."""
    trigger = None
    if request.trigger is not None:
        rises = (request.trigger.kind is TriggerKind.STOP) == request.is_buy
        is_index = request.trigger.source is TriggerSource.INDEX
        trigger = Trigger(is_index, rises, request.trigger.level)
    elif (
        not request.client_id
        and request.self_trade is None
        and not request.is_quote
        and request.replaces is None
    ):
        return NO_TERMS
    return Terms(request.client_id, request.self_trade, request.is_quote, request.replaces, trigger)


def to_receipt_body(signed: SignedReceipt) -> ReceiptBody:
    """Return a receipt as clients see it."""
    return ReceiptBody(
        "0x" + signed.subject.hex(),
        signed.account,
        signed.sequence,
        signed.clock,
        signed.outcome,
        signed.filled,
        signed.reason,
        ["0x" + sibling.hex() for sibling in signed.branch],
        "0x" + signed.signature.hex(),
    )


def to_accepted(receipt: Receipt) -> Accepted:
    """Return what a client is told of its request."""
    execution = receipt.execution
    return Accepted(
        receipt.sequence,
        receipt.clock,
        STATUSES[receipt.outcome],
        0 if execution is None else execution.filled,
        "" if execution is None else get_reason_name(execution.reason),
    )


def iterate_distressed(sequencer: Sequencer) -> Generator[None, None, DistressedAnswer]:
    """Look at one account after the other; return those in distress. Accounts change meanwhile:
    each is shown as it was when its turn came."""
    found = []
    state = sequencer.state
    for account_id in sorted(state.accounts):
        account = state.accounts[account_id]
        if account.positions or account.cash < 0 or account.distressed_at != 0:
            with set_aside(state):
                reset_meter(state)
                one = compute_distressed_account(state, account_id, account)
            if one is not None:
                found.append(one)
            yield
    return DistressedAnswer(state.globals.clock, state.globals.insurance, found)


def compute_margin(sequencer: Sequencer, account: int) -> MarginAnswer | None:
    """Return an account's margin; None while a mark is stale."""
    try:
        return compute_margin_answer(sequencer.state, MarginQuery(account))
    except RejectedError:
        return None


def compute_account_snapshot(sequencer: Sequencer, account_id: int) -> AccountSnapshot:
    """Return an account with its orders; RejectedError when there is none."""
    account = find_account(sequencer.state, account_id)
    desk = sequencer.desk
    leaf = AccountData(
        str(account.cash),
        account.epoch,
        account.nonce,
        account.distressed_at,
        tuple((held.series, held.size) for held in account.positions),
    )
    protections = tuple(
        ProtectionData(underlying, one.seconds, one.lots, one.fills, one.is_frozen)
        for (owner, underlying), one in desk.protections.get_all().items()
        if owner == account_id
    )
    return AccountSnapshot(
        account_id,
        leaf,
        collect_orders(sequencer, AccountId(account_id)),
        protections,
        desk.dead_men.get_all().get(AccountId(account_id)),
        compute_margin(sequencer, account_id),
    )


def collect_orders(sequencer: Sequencer, account: AccountId) -> tuple[OpenOrder, ...]:
    """Return an account's orders that are alive, oldest first."""
    found = [
        OpenOrder(
            resting.slot,
            resting.order.nonce,
            resting.client_id,
            resting.order.market,
            resting.order.is_buy,
            resting.order.price,
            resting.order.size,
            resting.remaining,
            resting.order.expiry,
            (
                OrderState.RESTING
                if resting.remaining == resting.order.size
                else OrderState.PARTIALLY_FILLED
            ).value,
            resting.sequence,
            resting.order.post_only,
            resting.order.reduce_only,
            resting.is_quote,
        )
        for resting in sequencer.engine.get_orders(account)
    ]
    for held in sequencer.desk.triggers.get_all(account):
        order, entry = held.entry.order, held.entry
        source = "index" if entry.is_index else "mark"
        sign = ">=" if entry.is_above else "<="
        found.append(
            OpenOrder(
                order.slot,
                order.nonce,
                order.client_id,
                order.market,
                order.is_buy,
                order.price,
                order.size,
                order.size,
                order.expiry,
                OrderState.HELD.value,
                held.sequence,
                order.post_only,
                order.reduce_only,
                order.is_quote,
                f"{source} {sign} {entry.level}",
            )
        )
    return tuple(sorted(found, key=lambda order: order.sequence))


def iterate_slots(
    sequencer: Sequencer, account: AccountId
) -> Generator[None, None, tuple[SlotData, ...]]:
    """Return an account's used slots, in order, some at a time."""
    nonces = sequencer.engine.nonces
    found = []
    for number in range(1 << SLOT_DEPTH):
        slot = SlotId(number)
        held = sequencer.desk.triggers.find(account, slot)
        leaf = sequencer.state.slots.get(account, {}).get(slot)
        filled_nonce, filled = (0, 0) if leaf is None else (leaf.order.nonce, leaf.filled)
        waiting = 0 if held is None else held.entry.order.nonce
        nonce = max(nonces.get((account, slot), 0), filled_nonce, waiting)
        if nonce:
            found.append(SlotData(number, nonce, filled_nonce, filled))
        if number % 512 == 511:
            yield
    return tuple(found)


def find_owned(sequencer: Sequencer, owner: bytes) -> Generator[None, None, OwnedAccounts]:
    """Return an owner's accounts, in order, looking at some at a time."""
    found = []
    for place, account_id in enumerate(sorted(sequencer.state.accounts)):
        account = sequencer.state.accounts.get(account_id)
        if account_id and account is not None and account.owner == owner:
            found.append(int(account_id))
        if place % 512 == 511:
            yield
    return OwnedAccounts(tuple(found))


def compute_ticker(sequencer: Sequencer, market: int, last: tuple[int, int] | None) -> Ticker:
    """Return a series at a glance; RejectedError when it is no series."""
    state = sequencer.state
    series = state.markets.get(MarketId(market))
    if not isinstance(series, Series):
        raise UnknownError(f"market: no series {market}", Fault.UNKNOWN_MARKET)
    underlying = state.markets.get(series.underlying)
    expiry = state.markets.get(series.expiry) if series.expiry else None
    greeks = compute_series_greeks(state, series)
    bid, ask = sequencer.engine.best(MarketId(market))
    return Ticker(
        market,
        SeriesKind(series.kind).name.lower(),
        SeriesStatus(series.status).name.lower(),
        series.underlying,
        underlying.index if isinstance(underlying, Underlying) else 0,
        series.mark,
        series.marked_at,
        series.open_interest,
        bid,
        ask,
        None if last is None else last[0],
        None if last is None else last[1],
        str(greeks.delta),
        str(greeks.gamma),
        str(greeks.vega),
        str(greeks.theta),
        series.strike,
        expiry.time if isinstance(expiry, Expiry) else 0,
    )
