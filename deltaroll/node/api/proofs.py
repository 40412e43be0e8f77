"""Proofs against L1, from a follower's state."""

from threading import Lock

from deltaroll.node.api.data import AccountProof, BatchData
from deltaroll.node.api.errors import RateLimitedError, UnknownError
from deltaroll.node.follower import Follower
from deltaroll.protocol.leaf import encode_account, encode_globals
from deltaroll.protocol.state import compute_state_root, get_slot_root
from deltaroll.protocol.types import AccountId

PATIENCE = 2.0
"""Seconds that a client waits for its turn."""
RECENT = 50
"""Batches that clients are told of."""


class FollowerView:
    """A follower that the API may look at; who polls it holds `lock`."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.lock = Lock()

    def prove_account(self, account: int) -> AccountProof:
        """Return an account's leaf in the newest honest batch, with its siblings.

        Raises
        ------
        RejectedError
            When no batch has been derived yet, or L1 is being read just now.
        """
        if not self.lock.acquire(timeout=PATIENCE):
            # L1 is being read, or a batch is waiting to be mined.
            raise RateLimitedError("proof", PATIENCE)
        try:
            follower = self._follower
            if not follower.chain:
                raise UnknownError("proof: L1 has not been read yet")
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
