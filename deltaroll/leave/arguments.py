"""Arguments of the contracts' calls, from what a follower derived."""

from collections.abc import Sequence
from typing import Any

from deltaroll.l1.commitments import compress_branch, to_header_tuple
from deltaroll.node.exits import prove_exit
from deltaroll.node.follower import Follower
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.state import compute_state_root, reset_meter, touch_account, touch_market
from deltaroll.protocol.types import AccountId, Message
from deltaroll.protocol.witness import encode_witness


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


def make_freeze(follower: Follower) -> tuple[Any, ...]:
    """Return the arguments of `EscapeHatch.freeze`."""
    header = follower.chain[-1].submitted.header
    message = follower.state.messages[header.queue_end]
    return to_header_tuple(header), to_message_tuple(message)


def to_message_tuple(message: Message) -> tuple[object, ...]:
    """Return a message as the contracts show it."""
    return message.kind, "0x" + message.sender.hex(), message.time, keccak(message.body)


def make_escape(follower: Follower, accounts: Sequence[AccountId]) -> bytes:
    """Return the witness of `EscapeHatch.escape`: accounts and the series that they hold."""
    state = follower.state
    compute_state_root(state)
    reset_meter(state)
    for account_id in accounts:
        account = touch_account(state, account_id)
        for position in account.positions if account is not None else ():
            touch_market(state, position.series)
    return encode_witness(state, state.meter)


def make_refund(follower: Follower, index: int) -> tuple[Any, ...]:
    """Return the arguments of `EscapeHatch.refundDeposit`."""
    message = follower.state.messages[index]
    body = message.body
    return (
        index,
        "0x" + message.sender.hex(),
        message.time,
        "0x" + body[:20].hex(),
        int.from_bytes(body[20:24], "big"),
        int.from_bytes(body[24:40], "big"),
    )
