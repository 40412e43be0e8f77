"""Looks at L1 and at the state derived from it, once, for one owner."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from deltaroll.engine.ledger import compute_equity_at_marks
from deltaroll.l1.gateway import Gateway, L1Error
from deltaroll.leave.forecast import forecast_exit
from deltaroll.leave.outcomes import Outcome, compute_outcomes
from deltaroll.leave.situation import (
    Asked,
    Delayed,
    Hatch,
    Holding,
    OpenExit,
    Owned,
    Situation,
    Terms,
)
from deltaroll.node.claims import find_claims
from deltaroll.node.escape import compute_freeze, compute_unpriced
from deltaroll.node.follower import Follower
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Address,
    MarketId,
    Message,
    MessageKind,
    Timestamp,
)

LAST_BATCHES = 8
"""From which the pace of the sequencer is guessed."""


def read_terms(gateway: Gateway) -> Terms:
    """Return what the deployment promises for ever."""
    inbox, hatch = gateway.contracts.inbox, gateway.contracts.escape_hatch
    return Terms(
        int(inbox.challengeWindow()),
        int(inbox.forcedDelay()),
        int(inbox.proposerDelay()),
        int(hatch.freezeDelay()),
        int(hatch.claimWindow()),
        int(inbox.bondAmount()),
        int(gateway.contracts.vault.outflowDelay()),
    )


def observe(follower: Follower, terms: Terms, owner: Address, since: int) -> Situation:
    """Return what an owner has to know.

    Parameters
    ----------
    follower
        Just polled.
    since
        Messages of the owner are looked at from here on.

    Raises
    ------
    L1Error
        When L1 does not answer, or the follower has not been polled.
    """
    if follower.head is None:
        raise L1Error("L1: not polled yet")
    gateway, state = follower.gateway, follower.state
    now = Timestamp(follower.head.time)
    inbox = gateway.contracts.inbox
    headers = [submitted.header for submitted in follower.posted]
    first_waiting = state.messages.get(headers[-1].queue_end)
    messages = _find_messages(follower, owner, since)
    claims = find_claims(follower, owner)
    return Situation(
        owner=owner,
        now=now,
        base_fee=gateway.get_base_fee(),
        terms=terms,
        head_time=Timestamp(headers[-1].l1_time),
        interval=_guess_interval([header.l1_time for header in headers[1:]]),
        has_sequencer=int(inbox.bondOf(inbox.sequencer()).amount) != 0,
        waiting_since=None if first_waiting is None else first_waiting.time,
        has_fraud=follower.fraud is not None,
        outflow_room=int(gateway.contracts.vault.outflowRoom()),
        hatch=_observe_hatch(follower, terms, now),
        accounts=tuple(
            _observe_account(follower, owner, account, now)
            for account in sorted(state.accounts)
            if state.accounts[account].owner == owner
        ),
        exits=tuple(
            OpenExit(claim.index, claim.amount, claim.batch, Timestamp(claim.settles_at))
            for claim in claims
            if not claim.is_claimed
        ),
        delayed=tuple(
            Delayed(claim.index, claim.amount, Timestamp(claim.payable_at))
            for claim in claims
            if claim.is_claimed
        ),
        asked=_describe_messages(follower, messages),
    )


def _guess_interval(times: Sequence[int]) -> int:
    """Return the median of the last steps between batches, the lower one of two."""
    last = times[-LAST_BATCHES:]
    steps = sorted(after - before for before, after in pairwise(last))
    return steps[(len(steps) - 1) // 2] if steps else 0


def _observe_hatch(follower: Follower, terms: Terms, now: Timestamp) -> Hatch:
    closing = follower.closing
    last = follower.posted[-1].header
    final_at = Timestamp(last.l1_time + terms.challenge_window if last.index else 0)
    if closing is None:
        freezable = find_freezable(follower)
        can_freeze = freezable is not None and now >= freezable
        return Hatch(False, can_freeze, freezable, final_at)
    opened = closing.opened
    if opened is None:
        return Hatch(True, False, None, final_at)
    return Hatch(True, False, None, final_at, True, Timestamp(opened.closes_at))


def find_freezable(follower: Follower) -> Timestamp | None:
    """Return from when on the rollup may be frozen, if it goes on as it is; None when nothing
    points to it.
    """
    times = []
    silence = compute_freeze(follower)
    if silence is not None:
        times.append(silence.possible_from)
    if follower.fraud is None and any(account.positions for account in _get_accounts(follower)):
        unpriced = compute_unpriced(follower)
        if unpriced is not None:
            times.append(unpriced.possible_from)
    return Timestamp(min(times)) if times else None


def _get_accounts(follower: Follower) -> Iterable[Account]:
    return follower.state.accounts.values()


def _observe_account(
    follower: Follower, owner: Address, account_id: AccountId, now: Timestamp
) -> Owned:
    state, closing = follower.state, follower.closing
    account = state.accounts[account_id]
    free, refusal, _ = forecast_exit(state, owner, account_id, (), now)
    held = [position.series for position in account.positions]
    closed, _, closes = forecast_exit(state, owner, account_id, held, now)
    registered = None if closing is None else closing.escaped.get(account_id)
    is_paid = closing is not None and account_id in closing.paid
    payout = 0
    if registered is not None and not is_paid:
        payout = int(follower.gateway.contracts.escape_hatch.payoutOf(account_id))
    return Owned(
        account=account_id,
        nonce=account.nonce,
        cash=account.cash,
        equity=compute_equity_at_marks(state, account),
        free=free,
        refusal=refusal,
        closed=closed,
        has_orders=any(
            slot.order.epoch == account.epoch
            and slot.filled < slot.order.size
            and slot.order.expiry >= now
            for slot in state.slots.get(account_id, {}).values()
        ),
        holdings=tuple(
            Holding(position.series, position.size, *closes[position.series])
            for position in account.positions
        ),
        claim=0 if registered is None or is_paid else registered.amount,
        is_registered=registered is not None,
        payout=payout,
    )


def _find_messages(follower: Follower, owner: Address, since: int) -> dict[int, Message]:
    """Return what the owner has asked for from `since` on, and the deposits that would go back to
    it, were the rollup to end before they are served.
    """
    served = follower.state.globals.queue_index
    return {
        index: message
        for index, message in follower.state.messages.items()
        if (
            index >= served and get_refundee(message.sender, message.body) == owner
            if message.kind == MessageKind.DEPOSIT
            else index >= min(since, served) and message.sender == owner
        )
    }


def get_refundee(sender: Address, body: bytes) -> Address:
    """Return who gets a deposit back that no state includes: who would own the account that it
    opens, else who paid.
    """
    return sender if int.from_bytes(body[20:24], "big") else Address(body[:20])


def _describe_messages(follower: Follower, messages: dict[int, Message]) -> tuple[Asked, ...]:
    closing = follower.closing
    served = follower.state.globals.queue_index
    consumed = [index for index in messages if index < served]
    outcomes = compute_outcomes(follower, consumed) if consumed else {}
    found = []
    for index, message in sorted(messages.items()):
        is_refunded = closing is not None and index in closing.refunded
        found.append(_describe(index, message, index < served, outcomes.get(index), is_refunded))
    return tuple(found)


def _describe(
    index: int, message: Message, is_served: bool, outcome: Outcome | None, is_refunded: bool
) -> Asked:
    kind, body = MessageKind(message.kind), message.body
    account, amount, market = 0, 0, 0
    match kind:
        case MessageKind.DEPOSIT:
            account, amount = int.from_bytes(body[20:24], "big"), int.from_bytes(body[24:40], "big")
        case MessageKind.FORCE_EXIT:
            account, amount = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:20], "big")
        case MessageKind.CANCEL_ALL:
            account = int.from_bytes(body[:4], "big")
        case MessageKind.FORCE_CLOSE:
            account, market = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:6], "big")
        case _:
            pass
    fields = (kind, AccountId(account), amount, MarketId(market), message.time, is_served)
    if outcome is None:
        return Asked(index, *fields, is_refunded=is_refunded)
    return Asked(index, *fields, outcome.fault, outcome.exit_index, is_refunded)
