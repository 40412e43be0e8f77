"""Looks at L1 and at the state derived from it, once, for one owner."""

from collections.abc import Sequence
from typing import Any

from deltaroll.engine.ledger import compute_equity_at_marks
from deltaroll.l1.gateway import Gateway, L1Error
from deltaroll.leave.forecast import forecast_exit
from deltaroll.leave.outcomes import Outcome, compute_outcomes
from deltaroll.leave.situation import Asked, Hatch, Holding, OpenExit, Owned, Situation, Terms
from deltaroll.node.follower import Follower
from deltaroll.protocol.types import (
    AccountId,
    Address,
    MarketId,
    Message,
    MessageKind,
    Timestamp,
)

LAST_BATCHES = 8
"""From which the pace of the sequencer is guessed."""
NO_HASH = bytes(32)


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
    headers = [derived.submitted.header for derived in follower.chain]
    first_waiting = state.messages.get(headers[-1].queue_end)
    messages = _find_messages(follower, owner, since)
    hatch = _observe_hatch(follower, terms, now)
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
        hatch=hatch,
        accounts=tuple(
            _observe_account(follower, owner, account, now, hatch)
            for account in sorted(state.accounts)
            if state.accounts[account].owner == owner
        ),
        exits=_find_exits(follower, terms, owner),
        asked=_describe_messages(follower, messages, hatch),
    )


def _guess_interval(times: Sequence[int]) -> int:
    last = times[-LAST_BATCHES:]
    return (last[-1] - last[0]) // (len(last) - 1) if len(last) > 1 else 0


def _observe_hatch(follower: Follower, terms: Terms, now: Timestamp) -> Hatch:
    contracts = follower.gateway.contracts
    header = follower.chain[-1].submitted.header
    waiting = follower.state.messages.get(header.queue_end)
    freezable = (
        None
        if waiting is None
        else Timestamp(max(waiting.time, header.l1_time) + terms.freeze_delay)
    )
    is_frozen = bool(contracts.inbox.isFrozen())
    hatch = contracts.escape_hatch
    is_open = is_frozen and bytes(hatch.finalRoot()) != NO_HASH
    return Hatch(
        is_frozen=is_frozen,
        can_freeze=(
            not is_frozen
            and freezable is not None
            and now > freezable
            and follower.fraud is None
        ),
        freezable_at=freezable,
        final_at=Timestamp(header.l1_time + terms.challenge_window if header.index else 0),
        is_open=is_open,
        closes_at=Timestamp(int(hatch.closesAt()) if is_open else 0),
        queue_end=int(hatch.finalQueueEnd()) if is_open else 0,
    )


def _observe_account(
    follower: Follower, owner: Address, account_id: AccountId, now: Timestamp, hatch: Hatch
) -> Owned:
    state = follower.state
    account = state.accounts[account_id]
    free, refusal, _ = forecast_exit(state, owner, account_id, (), now)
    held = [position.series for position in account.positions]
    closed, _, closes = forecast_exit(state, owner, account_id, held, now)
    claim: Any = None
    payout = 0
    if hatch.is_open:
        claim = follower.gateway.contracts.escape_hatch.claimOf(account_id)
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
        claim=0 if claim is None else int(claim.amount),
        is_registered=claim is not None and int(claim.owner, 16) != 0,
        payout=payout,
    )


def _find_exits(follower: Follower, terms: Terms, owner: Address) -> tuple[OpenExit, ...]:
    bridge = follower.gateway.contracts.bridge
    found: list[OpenExit] = []
    batch = 0
    for index, leaf in enumerate(follower.state.exits):
        while follower.chain[batch].globals.exit_count <= index:
            batch += 1
        if leaf.recipient != owner or bridge.isClaimed(index):
            continue
        header = follower.chain[batch].submitted.header
        settles = Timestamp(header.l1_time + terms.challenge_window)
        found.append(OpenExit(index, leaf.amount, header.index, settles))
    return tuple(found)


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


def _describe_messages(
    follower: Follower, messages: dict[int, Message], hatch: Hatch
) -> tuple[Asked, ...]:
    served = follower.state.globals.queue_index
    consumed = [index for index in messages if index < served]
    outcomes = compute_outcomes(follower, consumed) if consumed else {}
    found = []
    for index, message in sorted(messages.items()):
        is_refunded = (
            hatch.is_open
            and message.kind == MessageKind.DEPOSIT
            and bool(follower.gateway.contracts.escape_hatch.isRefunded(index))
        )
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
