"""Leaving a rollup that nobody runs: what the calls of `EscapeHatch` ask for, what they will pay.

All of it follows from L1: a follower that was polled is enough. In this order: freeze
(`compute_freeze` or `compute_unpriced`), open (`compute_open`), escape (`compute_escape_witness` of
the accounts that `split_accounts` puts together), claim. A deposit that the final state does not
include goes back by `compute_refunds`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deltaroll.l1.commitments import to_header_tuple
from deltaroll.l1.types import Stage
from deltaroll.node.follower import Derived, Follower
from deltaroll.protocol.books import compute_equity_of
from deltaroll.protocol.constants import MAX_AMOUNT
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import encode_globals
from deltaroll.protocol.state import (
    State,
    charge,
    compute_state_root,
    reset_meter,
    touch_account,
    touch_market,
)
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    Globals,
    MarketId,
    MessageKind,
    Series,
    SeriesStatus,
    Underlying,
)
from deltaroll.protocol.witness import encode_witness

CLAIM_GAS = 40_000
"""Registering one account, its proof apart: a word of storage, an event."""
VALUE_GAS = 1_500
"""Valuing one position."""


class EscapeError(Exception):
    """The step cannot be taken: the message says why, and if it is known, when it can be."""


@dataclass(frozen=True, slots=True)
class FreezeCall:
    """What `EscapeHatch.freeze` asks for."""

    head: tuple[object, ...]
    next: tuple[object, ...]
    possible_from: int
    """L1 time of the first block that takes it, if no batch comes or is removed before."""


@dataclass(frozen=True, slots=True)
class UnpricedCall:
    """What `EscapeHatch.freezeUnpriced` asks for."""

    series: MarketId
    settled: tuple[object, ...]
    next: tuple[object, ...]
    head: tuple[object, ...]
    possible_from: int
    """L1 time of the first block that takes it, if no price comes before."""


@dataclass(frozen=True, slots=True)
class OpenCall:
    """What `EscapeHatch.open` asks for."""

    last: tuple[object, ...]
    globals: bytes


@dataclass(frozen=True, slots=True)
class RefundCall:
    """What `EscapeHatch.refundDeposit` asks for, and who gets it."""

    index: int
    sender: Address
    time: int
    owner: Address
    account: int
    amount: int
    recipient: Address


# Freeze


def validate_alive(follower: Follower) -> None:
    """Check that the rollup can still be frozen.

    Raises
    ------
    EscapeError
        When it is frozen.
    """
    if follower.closing is not None:
        raise EscapeError(f"escape: frozen already, in block {follower.closing.block}")


def compute_freeze(follower: Follower) -> FreezeCall | None:
    """Return how the rollup is frozen when nobody proposes, and from when on; None when no message
    waits.

    Raises
    ------
    EscapeError
        When it is frozen already.
    """
    validate_alive(follower)
    head = follower.posted[-1].header
    waiting = follower.state.messages.get(head.queue_end)
    if waiting is None:
        return None
    until = max(head.l1_time, waiting.time) + follower.gateway.freeze_delay
    removal = follower.last_removal
    if removal is not None:
        # Others may propose first.
        removed_at = follower.gateway.get_block(removal.block).time
        until = max(until, removed_at + follower.gateway.proposer_delay)
    message = (waiting.kind, "0x" + waiting.sender.hex(), waiting.time, keccak(waiting.body))
    return FreezeCall(to_header_tuple(head), message, until + 1)


def find_unpriced(state: State) -> dict[MarketId, int]:
    """Return the series that somebody holds and that have not settled, each with the time of its
    underlying's last price."""
    found: dict[MarketId, int] = {}
    for market, leaf in state.markets.items():
        if (
            isinstance(leaf, Series)
            and leaf.open_interest
            and leaf.status != SeriesStatus.SETTLED
            and isinstance(underlying := state.markets.get(leaf.underlying), Underlying)
        ):
            found[market] = underlying.observed_at
    return found


def compute_sighting(batch: Derived, state: State, series: MarketId) -> tuple[object, ...]:
    """Return a batch's header with the witness that opens a series and its underlying."""
    leaf = state.markets[series]
    assert isinstance(leaf, Series)
    compute_state_root(state)
    reset_meter(state)
    touch_market(state, series)
    touch_market(state, leaf.underlying)
    witness = encode_witness(state, state.meter)
    reset_meter(state)
    return (to_header_tuple(batch.submitted.header), witness)


def copy_state_after(follower: Follower, index: int) -> State:
    """Return the state after a derived batch, on its own."""
    return follower.state.copy_before(len(follower.chain) - 1 - index)


def compute_unpriced(follower: Follower) -> UnpricedCall | None:
    """Return how the rollup is frozen because nobody prices what somebody holds, and from when on;
    None when that cannot be shown of any series, however long one waits on this head.

    Raises
    ------
    EscapeError
        When it is frozen already, or its head is a fraud that has to be removed first.
    """
    validate_alive(follower)
    validate_honest(follower)
    delay = follower.gateway.oracle_delay
    newest = follower.find_newest()[Stage.SETTLED]
    place = newest.submitted.header.index
    head = follower.chain[-1]
    in_head = find_unpriced(follower.state)
    if newest is head:
        shown = in_head
    else:
        settled = copy_state_after(follower, place)
        # Whoever follows a settled batch says how long it was the last word.
        end = follower.chain[place + 1].submitted.header.l1_time
        since = find_unpriced(settled)
        shown = {
            market: time
            for market, time in in_head.items()
            if market in since and since[market] + delay < end
        }
    if not shown:
        return None
    series = min(shown, key=lambda market: (shown[market], market))
    last = compute_sighting(head, follower.state, series)
    possible_from = shown[series] + delay + 1
    if newest is head:
        return UnpricedCall(series, last, last[0], last, possible_from)  # type: ignore[arg-type]
    return UnpricedCall(
        series,
        compute_sighting(newest, settled, series),
        to_header_tuple(follower.chain[place + 1].submitted.header),
        last,
        possible_from,
    )


# Open


def validate_honest(follower: Follower) -> None:
    """Check that the state is that of the last batch on L1.

    Raises
    ------
    EscapeError
        When that batch, or one before it, is a fraud.
    """
    if follower.fraud is not None:
        index = follower.fraud.submitted.header.index
        raise EscapeError(f"escape: batch {index} is a fraud and has to be removed first")


def compute_open(follower: Follower) -> OpenCall:
    """Return how the final state is fixed.

    Raises
    ------
    EscapeError
        When the rollup is not frozen or the final state is fixed already; when the last batch is a
        fraud or has not settled yet.
    """
    if follower.closing is None:
        raise EscapeError("escape: the rollup is not frozen")
    if follower.closing.opened is not None:
        raise EscapeError(f"escape: opened already, in block {follower.closing.opened.block}")
    validate_honest(follower)
    last = follower.chain[-1]
    if follower.compute_stage(last) is not Stage.SETTLED:
        header = last.submitted.header
        time = header.l1_time + follower.gateway.challenge_window
        raise EscapeError(f"escape: batch {header.index}, the last one, settles after {time}")
    return OpenCall(to_header_tuple(last.submitted.header), encode_globals(last.globals))


# Escape


def touch_holdings(state: State, account_id: AccountId) -> None:
    """Note that a witness needs an account and all series that it holds.

    Raises
    ------
    TransitionFault
        OVERWEIGHT when it is more than one transaction may carry.
    """
    account = touch_account(state, account_id)
    if account is None:
        raise EscapeError(f"escape: no account {account_id}")
    charge(state, CLAIM_GAS + VALUE_GAS * len(account.positions), 0)
    for position in account.positions:
        touch_market(state, position.series)


def compute_escape_witness(state: State, accounts: Sequence[AccountId]) -> bytes:
    """Return what `EscapeHatch.escape` asks for: it opens accounts and all series that they hold.

    Raises
    ------
    EscapeError
        For an account that does not exist, or more of them than fit one transaction.
    """
    compute_state_root(state)
    reset_meter(state)
    try:
        for account_id in accounts:
            touch_holdings(state, account_id)
    except TransitionFault as problem:
        raise EscapeError(f"escape: {len(accounts)} accounts do not fit one proof") from problem
    witness = encode_witness(state, state.meter)
    reset_meter(state)
    return witness


def split_accounts(state: State, accounts: Iterable[AccountId]) -> list[list[AccountId]]:
    """Return accounts in ascending groups, of which each fits one proof: below the bounds of a
    fraud proof, in bytes and in gas. Any single account does.

    Raises
    ------
    EscapeError
        For an account that does not exist.
    """
    groups: list[list[AccountId]] = []
    reset_meter(state)
    for account_id in sorted(set(accounts)):
        try:
            if not groups:
                groups.append([])
            touch_holdings(state, account_id)
        except TransitionFault:
            reset_meter(state)
            touch_holdings(state, account_id)
            groups.append([])
        groups[-1].append(account_id)
    reset_meter(state)
    return groups


def find_escapable(state: State) -> list[AccountId]:
    """Return the accounts that have something to claim, ascending."""
    return sorted(
        key
        for key, account in state.accounts.items()
        if account.owner != ZERO_ADDRESS and compute_claim(state, account)
    )


# What it pays


def compute_claim(state: State, account: Account) -> int:
    """Return what an account may claim: its equity at the marks of the state, however old they are,
    within 0 and MAX_AMOUNT. Collateral units; a settled series counts what it pays.
    """
    equity = account.cash
    for position in account.positions:
        series = state.markets[position.series]
        assert isinstance(series, Series)
        equity += compute_equity_of(position.size, position.snapshot, series)
    return min(max(equity, 0), MAX_AMOUNT)


def compute_available(globals_: Globals, held: int) -> int:
    """Return what there is for the accounts of a final state, of a vault that holds `held`."""
    return min(globals_.deposited - globals_.withdrawn, held)


def compute_claims(state: State, accounts: Iterable[AccountId]) -> dict[AccountId, int]:
    """Return the claims that accounts register inside the window, leaving out those without."""
    claims: dict[AccountId, int] = {}
    for account_id in accounts:
        account = state.accounts.get(account_id)
        if account is None or account.owner == ZERO_ADDRESS:
            continue
        amount = compute_claim(state, account)
        if amount:
            claims[account_id] = amount
    return claims


def compute_late_claim(equity: int, total: int, available: int) -> int:
    """Return what an account registers after the window: its equity, out of what the claims before
    it have left."""
    return min(equity, max(0, available - total))


def compute_payout(amount: int, total: int, available: int) -> int:
    """Return what a claim pays: all of it, or its part of what there is, rounded down."""
    return amount if total <= available else amount * available // total


def compute_payouts(claims: Mapping[AccountId, int], available: int) -> dict[AccountId, int]:
    """Return what each claim pays when these are all."""
    total = sum(claims.values())
    return {key: compute_payout(amount, total, available) for key, amount in claims.items()}


def compute_refunds(follower: Follower) -> list[RefundCall]:
    """Return the deposits that the final state does not include and that have not gone back yet.

    Raises
    ------
    EscapeError
        When the final state is not fixed yet.
    """
    closing = follower.closing
    if closing is None or closing.opened is None:
        raise EscapeError("escape: the final state is not fixed yet")
    queue_end = follower.chain[closing.opened.batch].submitted.header.queue_end
    calls: list[RefundCall] = []
    for index, message in sorted(follower.state.messages.items()):
        if index < queue_end or message.kind != MessageKind.DEPOSIT or index in closing.refunded:
            continue
        # The bridge has made it, so it is as long as it should be.
        owner, account, amount = _split_deposit(message.body)
        # A deposit to an account that may be somebody else's goes back where it came from.
        recipient = owner if account == 0 else message.sender
        calls.append(
            RefundCall(index, message.sender, message.time, owner, account, amount, recipient)
        )
    return calls


def _split_deposit(body: bytes) -> tuple[Address, int, int]:
    return Address(body[:20]), int.from_bytes(body[20:24], "big"), int.from_bytes(body[24:], "big")
