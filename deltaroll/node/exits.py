"""Finds and proves exits from what a follower derived."""

from dataclasses import dataclass

from deltaroll.l1.commitments import to_header_tuple
from deltaroll.node.follower import Follower
from deltaroll.protocol.leaf import encode_globals
from deltaroll.protocol.state import compute_state_root
from deltaroll.protocol.types import Address


class ExitError(Exception):
    """No such exit, or not one that can be proven yet."""


@dataclass(frozen=True, slots=True)
class ExitClaim:
    """What `Bridge.claimExit` asks for."""

    header: tuple[object, ...]
    globals: bytes
    index: int
    recipient: Address
    amount: int
    branch: list[bytes]


def find_exit(follower: Follower, recipient: Address, amount: int | None = None) -> ExitClaim:
    """Return the claim of the newest unclaimed exit of a recipient, proven in the newest batch.

    Raises
    ------
    ExitError
        When there is none.
    """
    state = follower.state
    compute_state_root(state)
    bridge = follower.gateway.contracts.bridge
    for index in range(len(state.exits) - 1, -1, -1):
        leaf = state.exits[index]
        if leaf.recipient != recipient or amount not in (None, leaf.amount):
            continue
        if bridge.isClaimed(index):
            continue
        return ExitClaim(
            to_header_tuple(follower.chain[-1].submitted.header),
            encode_globals(state.globals),
            index,
            recipient,
            leaf.amount,
            state.get_exit_branch(index),
        )
    raise ExitError(f"exit: none unclaimed for 0x{recipient.hex()}")
