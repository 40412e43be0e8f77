"""Arguments of the contracts' calls, from what a follower derived."""

from typing import Any

from deltaroll.l1.commitments import compress_branch
from deltaroll.node.escape import (
    EscapeError,
    compute_escape_witness,
    compute_freeze,
    compute_open,
    compute_refunds,
    compute_unpriced,
)
from deltaroll.node.exits import prove_exit
from deltaroll.node.follower import Follower
from deltaroll.protocol.types import AccountId


def make_claim(follower: Follower, index: int) -> tuple[Any, ...]:
    """Return the arguments of `Bridge.claimExit`.

    Raises
    ------
    ExitError
        When the exit has not settled.
    """
    found = prove_exit(follower, index)
    sibling_map, siblings = compress_branch(found.branch)
    leaf = (found.index, 0, "0x" + found.recipient.hex(), found.amount)
    return found.header, found.globals, leaf, sibling_map, siblings


def make_freeze(follower: Follower, now: int) -> tuple[str, tuple[Any, ...]]:
    """Return which call freezes the rollup, `freeze` or `freezeUnpriced`, and its arguments.

    Raises
    ------
    EscapeError
        When neither does.
    """
    silence = compute_freeze(follower)
    if silence is not None and now >= silence.possible_from:
        return "freeze", (silence.head, silence.next)
    unpriced = compute_unpriced(follower)
    if unpriced is not None and now >= unpriced.possible_from:
        return "freezeUnpriced", (
            unpriced.series,
            unpriced.settled,
            unpriced.next,
            unpriced.head,
        )
    raise EscapeError("escape: the rollup cannot be frozen now")


def make_open(follower: Follower) -> tuple[Any, ...]:
    """Return the arguments of `EscapeHatch.open`; raises what `compute_open` raises."""
    call = compute_open(follower)
    return call.last, call.globals


def make_escape(follower: Follower, account: AccountId) -> bytes:
    """Return the argument of `EscapeHatch.escape`; raises what `compute_escape_witness` raises."""
    return compute_escape_witness(follower.state, [account])


def make_refund(follower: Follower, index: int) -> tuple[Any, ...]:
    """Return the arguments of `EscapeHatch.refundDeposit`.

    Raises
    ------
    EscapeError
        When nothing is paid back of this message.
    """
    for call in compute_refunds(follower):
        if call.index == index:
            sender, owner = "0x" + call.sender.hex(), "0x" + call.owner.hex()
            return call.index, sender, call.time, owner, call.account, call.amount
    raise EscapeError(f"escape: message {index} is no deposit to be paid back")
