"""The challenger: a follower that proves.

Derives, compares, builds the witness, simulates the proof against the same L1 head, and only then
sends it. It never acts on a view of L1 that is behind or contradicts itself.
"""

from dataclasses import dataclass

import structlog
from ape.api import AccountAPI, ReceiptAPI
from ape.contracts import ContractInstance
from ape.exceptions import ContractLogicError

from deltaroll.l1.commitments import compute_chunk_tree, to_header_tuple
from deltaroll.node.follower import Follower, Fraud
from deltaroll.protocol.constants import CHUNK_DEPTH
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import ZERO_HASH, keccak

log = structlog.get_logger(__name__)

MAX_PROOF_BYTES = 120_000
"""Calldata of a proof: nodes refuse transactions over 131,072 bytes."""
ZERO_BRANCH = [ZERO_HASH] * CHUNK_DEPTH


class ChallengeError(Exception):
    """A fraud was derived that L1 does not accept a proof of: this must never happen."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A proof that was sent and mined."""

    fraud: Fraud
    receipt: ReceiptAPI
    calldata: int
    """Bytes of the proof transaction."""


def compute_chunk_proof(fraud: Fraud) -> tuple[object, ...]:
    """Return the `ChunkProof` struct that places the fraudulent chunk in its batch."""
    tree = compute_chunk_tree(fraud.chunks)
    chunk = fraud.chunks[fraud.chunk]
    if fraud.chunk == 0:
        prior = (ZERO_HASH, ZERO_HASH, ZERO_HASH, ZERO_BRANCH)
    else:
        before = fraud.chunks[fraud.chunk - 1]
        prior = (
            keccak(before.data),
            keccak(before.signatures),
            before.post_root,
            tree.get_branch(fraud.chunk - 1),
        )
    return (
        to_header_tuple(fraud.submitted.header),
        to_header_tuple(fraud.previous.header),
        fraud.chunk,
        keccak(chunk.signatures),
        chunk.post_root,
        tree.get_branch(fraud.chunk),
        *prior,
    )


class Challenger:
    """Removes fraudulent batches with one L1 account."""

    def __init__(self, follower: Follower, account: AccountAPI) -> None:
        self.follower = follower
        self.account = account

    def challenge(self) -> Removal | None:
        """Prove the first fraud that the follower sees; None when it sees none.

        The follower must have been polled just before.

        Raises
        ------
        ChallengeError
            When the simulation says that the proof would fail.
        """
        fraud = self.follower.fraud
        if fraud is None:
            return None
        prover: ContractInstance = self.follower.gateway.contracts.prover
        proof = compute_chunk_proof(fraud)
        chunk = fraud.chunks[fraud.chunk]
        if fraud.position is None:
            method = prover.prove
            arguments: tuple[object, ...] = (proof, chunk.data, fraud.witness)
        else:
            method = prover.proveSignature
            arguments = (proof, chunk.data, chunk.signatures, fraud.position, fraud.witness)
        calldata = bytes(method.encode_input(*arguments))
        if len(calldata) > MAX_PROOF_BYTES:
            raise ChallengeError(f"proof: {len(calldata)} bytes, at most {MAX_PROOF_BYTES}")
        try:
            method.call(*arguments, sender=self.account)
        except ContractLogicError as problem:
            raise ChallengeError(
                f"batch {fraud.submitted.header.index} chunk {fraud.chunk}: "
                f"{Fault(fraud.fault).name} derived, but the proof reverts: {problem}"
            ) from problem
        receipt = method(*arguments, sender=self.account)
        log.info(
            "batch_removed",
            index=fraud.submitted.header.index,
            fault=fraud.fault.name,
            gas=receipt.gas_used,
        )
        return Removal(fraud, receipt, len(calldata))
