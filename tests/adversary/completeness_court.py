"""The real inbox, prover and verifiers, and batches whose last chunk is a lie.

The lie stands where it is dearest to prove: behind as many honest chunks as it is asked for. All of
those are empty, so the state before it is the genesis state of the deployment.
"""

from __future__ import annotations

from dataclasses import dataclass

from deltaroll.l1.commitments import compute_chunk_tree
from deltaroll.l1.types import PostedChunk
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import keccak
from tests.protocol.proving import (
    CHALLENGER,
    FLOOR_TOKEN,
    PROVEN,
    SEQUENCER,
    Proof,
    Rollup,
    encode_call,
)

MAX_PROOF_GAS = 10_000_000
"""Gas limit of a removal, and with it what it may take."""
MAX_PROOF_BYTES = 120_000
"""Bytes of calldata that a removal must stay below."""
NOBODY = "0x" + "00" * 20
NO_MESSAGE = (0, NOBODY, 0, bytes(32))
FOREVER = (1 << 64) - 1


class StandsError(Exception):
    """The batch could not be removed."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a challenger sends besides the place of the chunk."""

    witness: bytes
    position: int | None = None
    """Of the bad signature; None where the transition is wrong."""


class Court(Rollup):
    """A deployment that takes one batch and hears one proof."""

    def post(self, chunks: list[PostedChunk], queue_end: int, queue_hash: bytes) -> None:
        """Post a batch."""
        contents = [(chunk.data, chunk.signatures, chunk.post_root) for chunk in chunks]
        batch = (self._genesis, queue_end, queue_hash, FOREVER, NO_MESSAGE, contents)
        self._call(SEQUENCER, self._inbox, "RollupInbox", "submitBatch", batch)
        self._head = self._last_header()
        self._chunks = chunks

    def remove(self, evidence: Evidence, limit: int = MAX_PROOF_GAS) -> Proof:
        """Prove that the last chunk is a lie.

        Parameters
        ----------
        limit
            Gas limit of the transaction: what is kept back at each call has to fit in as well.

        Raises
        ------
        StandsError
            The transaction reverts, or nothing is removed.
        """
        calldata = self._encode(evidence)
        try:
            self._evm.message_call(CHALLENGER, self._prover, calldata=calldata, gas=limit)
        except RuntimeError as error:
            raise StandsError(str(error)[:160]) from error
        result = self._evm.result
        assert result is not None
        fault = Fault(int.from_bytes(self._last_event(PROVEN)[:32], "big"))
        # Genesis alone is left.
        if self._count_batches() != 1:
            raise StandsError("the proof went through, and the batch is there")
        floor = 21_000 + FLOOR_TOKEN * (4 * len(calldata) - 3 * calldata.count(0))
        return Proof(fault, max(result.gas_used + result.gas_refunded, floor), len(calldata))

    def _count_batches(self) -> int:
        return int.from_bytes(self._call(CHALLENGER, self._inbox, "RollupInbox", "batchCount"))

    def _encode(self, evidence: Evidence) -> bytes:
        tree = compute_chunk_tree(self._chunks)
        index = len(self._chunks) - 1
        chunk = self._chunks[index]
        before = self._chunks[index - 1] if index else PostedChunk(b"", b"", bytes(32))
        branch = tree.get_branch(index)
        place = (
            self._head,
            self._genesis,
            index,
            keccak(chunk.signatures),
            chunk.post_root,
            branch,
            keccak(before.data) if index else bytes(32),
            keccak(before.signatures) if index else bytes(32),
            before.post_root,
            tree.get_branch(index - 1) if index else [bytes(32)] * len(branch),
        )
        if evidence.position is None:
            return encode_call("FraudProver", "prove", place, chunk.data, evidence.witness)
        return encode_call(
            "FraudProver",
            "proveSignature",
            place,
            chunk.data,
            chunk.signatures,
            evidence.position,
            evidence.witness,
        )
