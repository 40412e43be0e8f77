"""Finds and proves exits from what a follower derived."""

from dataclasses import dataclass

from deltaroll.l1.commitments import to_header_tuple
from deltaroll.l1.types import Stage
from deltaroll.node.follower import Follower
from deltaroll.protocol.constants import EXIT_DEPTH
from deltaroll.protocol.leaf import encode_exit, encode_globals, hash_leaf
from deltaroll.protocol.tree import MerkleTree
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


def compute_branch(follower: Follower, index: int, count: int) -> list[bytes]:
    """Return the siblings of an exit in the tree of the first `count` exits."""
    exits = follower.state.exits
    tree = MerkleTree(EXIT_DEPTH)
    tree.update({place: hash_leaf(encode_exit(leaf)) for place, leaf in enumerate(exits[:count])})
    return tree.get_branch(index)


def find_exit(follower: Follower, recipient: Address, amount: int | None = None) -> ExitClaim:
    """Return the claim of the newest unclaimed exit of a recipient, proven in the newest batch that
    has settled.

    The follower must have been polled.

    Raises
    ------
    ExitError
        When there is none.
    """
    settled = follower.find_newest()[Stage.SETTLED]
    bridge = follower.gateway.contracts.bridge
    waiting = 0
    for index in range(len(follower.state.exits) - 1, -1, -1):
        leaf = follower.state.exits[index]
        if leaf.recipient != recipient or amount not in (None, leaf.amount):
            continue
        if bridge.isClaimed(index):
            continue
        if index >= settled.globals.exit_count:
            waiting += 1
            continue
        return prove_exit(follower, index)
    if waiting != 0:
        raise ExitError(
            f"exit: {waiting} for 0x{recipient.hex()} not settled yet: "
            f"the newest settled batch is {settled.submitted.header.index}"
        )
    raise ExitError(f"exit: none unclaimed for 0x{recipient.hex()}")


def prove_exit(follower: Follower, index: int) -> ExitClaim:
    """Return the claim of an exit, proven in the newest batch that has settled.

    Raises
    ------
    ExitError
        When the exit is not in it.
    """
    settled = follower.find_newest()[Stage.SETTLED]
    if index >= settled.globals.exit_count:
        raise ExitError(
            f"exit: {index} is not settled yet: the newest settled batch is "
            f"{settled.submitted.header.index}"
        )
    leaf = follower.state.exits[index]
    return ExitClaim(
        to_header_tuple(settled.submitted.header),
        encode_globals(settled.globals),
        index,
        leaf.recipient,
        leaf.amount,
        compute_branch(follower, index, settled.globals.exit_count),
    )
