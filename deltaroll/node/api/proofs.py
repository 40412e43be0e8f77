"""Proofs against L1, from a follower's state."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from deltaroll.l1.commitments import compress_branch, to_header_tuple
from deltaroll.l1.nodes import L1Error
from deltaroll.l1.types import Stage
from deltaroll.node.api.data import AccountProof, BatchData, ExitData, ExitProof
from deltaroll.node.api.errors import RateLimitedError, UnknownError
from deltaroll.node.follower import Follower
from deltaroll.protocol.constants import EXIT_DEPTH
from deltaroll.protocol.leaf import encode_account, encode_exit, encode_globals, hash_leaf
from deltaroll.protocol.state import compute_state_root, get_slot_root
from deltaroll.protocol.tree import MerkleTree
from deltaroll.protocol.types import AccountId, Exit

PATIENCE = 2.0
"""Seconds that a client waits for its turn."""
RECENT = 50
"""Batches that clients are told of."""
RECENT_EXITS = 20
"""Exits of one recipient that it is told of."""
EXACT = 1 << 53
"""Numbers from here on are text: not every client has them."""


class FollowerView:
    """A follower that the API may look at; who polls it holds `lock`."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.lock = Lock()
        self._tree: tuple[list[Exit], MerkleTree] = ([], MerkleTree(EXIT_DEPTH))

    def prove_account(self, account: int) -> AccountProof:
        """Return an account's leaf in the newest honest batch, with its siblings.

        Raises
        ------
        RejectedError
            When no batch has been derived yet, or L1 is being read just now.
        """
        with self._hold() as follower:
            state = follower.state
            root = compute_state_root(state)
            submitted = follower.chain[-1].submitted
            account_id = AccountId(account)
            leaf = state.accounts.get(account_id)
            encoded = (
                b"" if leaf is None else encode_account(leaf, get_slot_root(state, account_id))
            )
            branch = state.get_account_branch(account)
            return AccountProof(
                account,
                submitted.header.index,
                "0x" + submitted.header_hash.hex(),
                "0x" + root.hex(),
                "0x" + encode_globals(state.globals).hex(),
                "0x" + encoded.hex(),
                ["0x" + sibling.hex() for sibling in branch],
            )

    def find_exits(self, recipient: bytes) -> tuple[ExitData, ...]:
        """Return the newest exits of a recipient, newest first, those that have settled proven.

        Raises
        ------
        RejectedError
            When no batch has been derived yet, or L1 is being read just now.
        """
        with self._hold() as follower:
            try:
                settled = follower.find_newest()[Stage.SETTLED]
            except L1Error:
                raise RateLimitedError("proof", PATIENCE) from None
            count = settled.globals.exit_count
            header = tuple(
                spell_field(field) for field in to_header_tuple(settled.submitted.header)
            )
            encoded = "0x" + encode_globals(settled.globals).hex()
            exits = follower.state.exits
            found: list[ExitData] = []
            for index in range(len(exits) - 1, -1, -1):
                leaf = exits[index]
                if leaf.recipient != recipient:
                    continue
                proof = None
                if index < count:
                    tree = self._get_tree(exits[:count])
                    places, siblings = compress_branch(tree.get_branch(index))
                    text = ["0x" + sibling.hex() for sibling in siblings]
                    proof = ExitProof(header, encoded, places, text)
                found.append(ExitData(index, "0x" + recipient.hex(), str(leaf.amount), proof))
                if len(found) == RECENT_EXITS:
                    break
            return tuple(found)

    def _get_tree(self, exits: list[Exit]) -> MerkleTree:
        """Return the tree of some exits; what was hashed before is not hashed again."""
        known, tree = self._tree
        if known != exits[: len(known)]:
            # L1 has replaced a batch.
            known, tree = [], MerkleTree(EXIT_DEPTH)
        fresh = range(len(known), len(exits))
        tree.update({place: hash_leaf(encode_exit(exits[place])) for place in fresh})
        self._tree = (exits, tree)
        return tree

    @contextmanager
    def _hold(self) -> Iterator[Follower]:
        """Look at the follower while nobody polls it."""
        if not self.lock.acquire(timeout=PATIENCE):
            # L1 is being read, or a batch is waiting to be mined.
            raise RateLimitedError("proof", PATIENCE)
        try:
            if not self._follower.chain:
                raise UnknownError("proof: L1 has not been read yet")
            yield self._follower
        finally:
            self.lock.release()

    def get_batches(self, first: int | None = None) -> tuple[list[BatchData], int]:
        """Return batches with their stages, oldest first, and the first one's index: from number
        `first` on, or the latest."""
        with self.lock:
            chain = self._follower.chain[-RECENT:]
            if first is not None and chain:
                known = self._follower.chain
                chain = known[max(0, first - known[0].submitted.header.index) :]
            found = [
                BatchData(
                    batch.submitted.header.index,
                    "0x" + batch.submitted.header_hash.hex(),
                    stage.name.lower(),
                    batch.submitted.header.chunk_count,
                    batch.submitted.block,
                    batch.submitted.header.l1_time,
                )
                for batch, stage in zip(chain, self._follower.compute_stages(chain), strict=True)
            ]
        return found, found[0].index if found else 0


def spell_field(field: Any) -> Any:
    """Return a header's field as JSON has it."""
    if isinstance(field, bytes):
        return "0x" + field.hex()
    return str(field) if isinstance(field, int) and field >= EXACT else field
