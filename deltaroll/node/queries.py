"""Questions to a sequencer that change nothing, answered from its live state.

The live state is ahead of L1: what it says holds when its chunks are posted and not removed. All
amounts are collateral units, shares and rewards parts per million, times seconds since 1970.
"""

from dataclasses import fields, is_dataclass
from enum import IntEnum
from typing import Annotated, Any

import msgspec

from deltaroll.engine.aside import find_refusal, set_aside
from deltaroll.engine.explain import explain_book
from deltaroll.node.admission import RejectedError, validate_range
from deltaroll.protocol.arithmetic import div_down
from deltaroll.protocol.books import Book, compute_books
from deltaroll.protocol.codec import SHARE_BITS
from deltaroll.protocol.constants import ACCOUNT_DEPTH, INSURANCE_ACCOUNT, MARKET_DEPTH, PPM
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.liquidation import (
    compute_account_margin,
    compute_largest_share,
    compute_rate,
    process_accrual,
)
from deltaroll.protocol.messages import process_action
from deltaroll.protocol.state import State, reset_meter
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Liquidate,
    MarketId,
    Series,
    SeriesStatus,
    Transaction,
)

Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class MarginQuery(msgspec.Struct, frozen=True, tag="margin", forbid_unknown_fields=True):
    """What an account has and needs, and why."""

    account: Unsigned


class DistressedQuery(msgspec.Struct, frozen=True, tag="distressed", forbid_unknown_fields=True):
    """The accounts below maintenance margin and those whose auction is running."""


class AccountQuery(msgspec.Struct, frozen=True, tag="account", forbid_unknown_fields=True):
    """An account's leaf."""

    account: Unsigned


class MarketQuery(msgspec.Struct, frozen=True, tag="market", forbid_unknown_fields=True):
    """A market's leaf."""

    market: Unsigned


class PreviewQuery(msgspec.Struct, frozen=True, tag="preview", forbid_unknown_fields=True):
    """What a liquidation would do for the account that takes over."""

    account: Unsigned
    target: Unsigned
    share: Unsigned
    reward: Unsigned = 0


Query = MarginQuery | DistressedQuery | AccountQuery | MarketQuery | PreviewQuery


class Term(msgspec.Struct, frozen=True):
    """A part of a requirement."""

    maintenance: int
    initial: int


class BindingScenario(msgspec.Struct, frozen=True):
    """The scenario that loses most."""

    number: int
    """Its place in the grid."""
    spot_shock: int
    vol_shock: int
    weight: int
    """Q48."""


class BookAnswer(msgspec.Struct, frozen=True):
    """What an account needs for what it holds on one underlying. The terms add up."""

    underlying: int
    loss: int
    binding: BindingScenario | None
    """None: the basis contingency is more than any scenario loses, or nothing loses."""
    scenarios: list[int]
    """Profit and loss under each scenario of the grid."""
    basis: int
    """Likewise, when the forward of each expiry moves alone."""
    multiplier: int
    perpetual_lots: int
    naked_lots: int
    of_loss: Term
    of_perpetuals: Term
    of_naked_options: Term


class MarginAnswer(msgspec.Struct, frozen=True):
    """Equity, requirements, and what they are made of."""

    clock: int
    account: int
    equity: int
    maintenance: int
    initial: int
    books: list[BookAnswer]


class DistressedAccount(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account in distress."""

    account: int
    distressed_at: int
    """When its auction began; 0: it has not."""
    positions: int
    """How many it holds."""
    equity: int | None = None
    maintenance: int | None = None
    initial: int | None = None
    reward: int = 0
    """What a liquidation pays now, of the maintenance margin taken over."""
    share: int = 0
    """The most that one liquidation may take over; 0: nothing, now."""
    fault: str | None = None
    """Why its margin cannot be computed now."""


class DistressedAnswer(msgspec.Struct, frozen=True):
    """All accounts in distress, by id."""

    clock: int
    insurance: int
    """What the insurance fund holds."""
    accounts: list[DistressedAccount]


class HeldPosition(msgspec.Struct, frozen=True):
    """A holding in one series."""

    series: int
    size: int
    snapshot: int


class AccountAnswer(msgspec.Struct, frozen=True):
    """An account's leaf, its order slots apart."""

    clock: int
    account: int
    owner: str
    trading_key: str
    key_expiry: int
    nonce: int
    """The next action's is higher."""
    cash: int
    epoch: int
    distressed_at: int
    positions: list[HeldPosition]


class MarketAnswer(msgspec.Struct, frozen=True):
    """A market's leaf: what kind of leaf, and its fields."""

    clock: int
    market: int
    leaf: str
    fields: Any


class PreviewAnswer(msgspec.Struct, frozen=True):
    """A liquidation that the protocol would allow now."""

    clock: int
    reward: int
    """What the account that takes over gains."""
    equity: int
    """Of that account, afterwards; likewise the two below."""
    maintenance: int
    initial: int


QueryAnswer = MarginAnswer | DistressedAnswer | AccountAnswer | MarketAnswer | PreviewAnswer


def answer_query(state: State, query: Query) -> QueryAnswer:
    """Return what the state says.

    Raises
    ------
    RejectedError
        When there is nothing to say: no such account or market, no fresh marks, or the protocol
        would refuse what is asked about.
    """
    match query:
        case MarginQuery():
            return compute_margin_answer(state, query)
        case DistressedQuery():
            return compute_distressed_answer(state)
        case AccountQuery():
            return compute_account_answer(state, query)
        case MarketQuery():
            return compute_market_answer(state, query)
        case PreviewQuery():
            return compute_preview_answer(state, query)


def to_plain(value: Any) -> Any:
    """Return a leaf or a part of it as JSON has it: names and values, bytes in hexadecimal."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(entry) for entry in value]
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return int(value) if isinstance(value, IntEnum) else value


def compute_margin_answer(state: State, query: MarginQuery) -> MarginAnswer:
    """Return an account's margin with funding up to now, and what it is made of."""
    account = find_account(state, query.account)
    account_id = AccountId(query.account)
    clock = state.globals.clock
    with set_aside(state):
        try:
            process_accrual(state, account, clock)
            margin = compute_account_margin(state, account_id, account, clock)
            _, books = compute_books(state, account, clock)
            answers = [compute_book_answer(state, book) for book in books]
        except TransitionFault as problem:
            raise RejectedError(
                f"account: no margin of {account_id} now: {problem.fault.name}", problem.fault
            ) from None
    return MarginAnswer(
        clock, account_id, margin.equity, margin.maintenance, margin.initial, answers
    )


def compute_book_answer(state: State, book: Book) -> BookAnswer:
    """Return the terms of one underlying's requirement."""
    part = explain_book(state, book)
    binding = None
    if part.binding is not None:
        shown = part.scenarios[part.binding]
        binding = BindingScenario(part.binding, shown.spot_shock, shown.vol_shock, shown.weight)
    return BookAnswer(
        part.underlying,
        part.loss,
        binding,
        list(part.totals),
        part.basis,
        part.multiplier,
        part.perpetual_lots,
        part.naked_lots,
        *(
            Term(each.maintenance, each.initial)
            for each in (part.scenario_margin, part.perpetual_margin, part.option_margin)
        ),
    )


def compute_distressed_answer(state: State) -> DistressedAnswer:
    """Return the accounts in distress, with what the protocol would let a liquidator have."""
    accounts: list[DistressedAccount] = []
    with set_aside(state):
        for account_id in sorted(state.accounts):
            account = state.accounts[account_id]
            if account.positions or account.cash < 0 or account.distressed_at != 0:
                reset_meter(state)
                found = compute_distressed_account(state, account_id, account)
                if found is not None:
                    accounts.append(found)
    return DistressedAnswer(state.globals.clock, state.globals.insurance, accounts)


def compute_distressed_account(
    state: State, account_id: AccountId, account: Account
) -> DistressedAccount | None:
    """Return an account if it is in distress. One whose auction is running is, also when it has no
    margin now.
    """
    clock = state.globals.clock
    since = account.distressed_at
    held = len(account.positions)
    try:
        process_accrual(state, account, clock)
        margin = compute_account_margin(state, account_id, account, clock)
    except TransitionFault as problem:
        if since == 0:
            return None
        return DistressedAccount(account_id, since, held, fault=problem.fault.name)
    is_below = margin.equity < margin.maintenance
    if since == 0 and not is_below:
        return None
    reward = share = 0
    if since != 0:
        reward = compute_rate(clock - since)
        if account_id == INSURANCE_ACCOUNT:
            share = PPM if has_open_position(state, account) else 0
        elif is_below and held != 0:
            share = compute_largest_share(margin, div_down(margin.maintenance * reward, PPM))
    return DistressedAccount(
        account_id,
        since,
        held,
        margin.equity,
        margin.maintenance,
        margin.initial,
        reward,
        share,
    )


def has_open_position(state: State, account: Account) -> bool:
    """Return whether an account holds anything that has not settled."""
    return any(
        isinstance(series := state.markets.get(position.series), Series)
        and series.status != SeriesStatus.SETTLED
        for position in account.positions
    )


def compute_account_answer(state: State, query: AccountQuery) -> AccountAnswer:
    """Return an account's leaf."""
    account = find_account(state, query.account)
    return AccountAnswer(
        state.globals.clock,
        query.account,
        "0x" + account.owner.hex(),
        "0x" + account.trading_key.hex(),
        account.key_expiry,
        account.nonce,
        account.cash,
        account.epoch,
        account.distressed_at,
        [
            HeldPosition(position.series, position.size, position.snapshot)
            for position in account.positions
        ],
    )


def compute_market_answer(state: State, query: MarketQuery) -> MarketAnswer:
    """Return a market's leaf."""
    validate_range("market", query.market, 0, MARKET_DEPTH)
    leaf = state.markets.get(MarketId(query.market))
    if leaf is None:
        raise RejectedError(f"market: no market {query.market}", Fault.UNKNOWN_MARKET)
    return MarketAnswer(
        state.globals.clock, query.market, type(leaf).__name__.lower(), to_plain(leaf)
    )


def compute_preview_answer(state: State, query: PreviewQuery) -> PreviewAnswer:
    """Return what a liquidation would leave, by carrying it out and undoing it."""
    account = find_account(state, query.account)
    target = find_account(state, query.target, "target")
    validate_range("share", query.share, 1, SHARE_BITS)
    validate_range("reward", query.reward, 0, SHARE_BITS)
    account_id = AccountId(query.account)
    clock = state.globals.clock
    bid = Liquidate(
        account_id, AccountId(query.target), query.share, query.reward, account.nonce + 1
    )
    with set_aside(state):
        try:
            # Funding that is due anyway is no part of what the liquidation brings.
            process_accrual(state, account, clock)
            process_accrual(state, target, clock)
            before = compute_account_margin(state, account_id, account, clock)
            reset_meter(state)
            process_action(state, bid)
            reset_meter(state)
            after = compute_account_margin(state, account_id, state.accounts[account_id], clock)
        except TransitionFault as problem:
            refusal = f"liquidate: refused: {problem.fault.name}"
            raise RejectedError(refusal, problem.fault) from None
    return PreviewAnswer(
        clock, after.equity - before.equity, after.equity, after.maintenance, after.initial
    )


def validate_allowed(state: State, transaction: Transaction) -> None:
    """Check that the protocol would do what is asked, by doing it and undoing it.

    Raises
    ------
    RejectedError
    """
    fault = find_refusal(state, transaction)
    if fault != Fault.NONE:
        name = type(transaction).__name__.lower()
        raise RejectedError(f"{name}: refused: {fault.name}", fault)


def find_account(state: State, account_id: int, name: str = "account") -> Account:
    """Return an account.

    Raises
    ------
    RejectedError
        When there is none.
    """
    validate_range(name, account_id, 0, ACCOUNT_DEPTH)
    account = state.accounts.get(AccountId(account_id))
    if account is None:
        raise RejectedError(f"{name}: no account {account_id}", Fault.UNKNOWN_ACCOUNT)
    return account
