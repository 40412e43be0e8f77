"""The challenger: a follower that proves.

Derives, compares, builds the witness, simulates the proof, and only then sends it. It never acts on
a view of L1 that is behind or does not add up, and waits until the lie is a few blocks deep.

What it derives from is calldata and events; the only state that it asks L1 for is of its head. So
it needs no archive node.
"""

from dataclasses import dataclass

import structlog
from ape.contracts import ContractInstance

from deltaroll.l1.commitments import compute_chunk_tree, to_header_tuple
from deltaroll.l1.gateway import L1Error
from deltaroll.node.follower import Follower, Fraud
from deltaroll.node.journal import Call, Intent
from deltaroll.node.sender import Mined, RefusedError, Sender, is_as_written, wait_for
from deltaroll.protocol.constants import CHUNK_DEPTH
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import ZERO_HASH, keccak

log = structlog.get_logger(__name__)

MAX_PROOF_BYTES = 120_000
"""Calldata of a proof: nodes refuse transactions over 131,072 bytes."""
PROOF = "proof"
ZERO_BRANCH = [ZERO_HASH] * CHUNK_DEPTH


class ChallengeError(Exception):
    """A fraud was derived that L1 does not accept a proof of: this must never happen."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A proof that was sent and mined."""

    fraud: Fraud
    receipt: Mined
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

    def __init__(self, follower: Follower, sender: Sender, confirmations: int = 0) -> None:
        """`confirmations`: blocks on top of a fraudulent batch before it is acted upon."""
        self.follower = follower
        self.sender = sender
        self.confirmations = confirmations

    def step(self) -> Intent | None:
        """Do what is due after a look at L1: prove the first fraud, or see to the proof that is on
        its way. Returns that.

        The follower must just have been polled.

        Raises
        ------
        ChallengeError
            When the simulation says that the proof would fail.
        L1Error
            When the view is not one to act upon.
        """
        head = self.follower.head
        if head is None or self.follower.behind is not None:
            raise L1Error(self.follower.behind or "L1: not polled yet")
        self.sender.tick(head)
        fraud = self.follower.fraud
        key = None if fraud is None else fraud.submitted.header_hash
        current: Intent | None = None
        for intent in self.sender.open:
            if intent.kind == PROOF and intent.key == key:
                current = intent
            elif intent.kind == PROOF:
                # Somebody else was faster, or L1 has taken the lie back.
                self.sender.cancel(intent)
        if fraud is None or current is not None:
            return current
        depth = head.number - fraud.submitted.block
        if depth < self.confirmations:
            log.info("fraud_waits", batch=fraud.submitted.header.index, blocks=depth)
            return None
        return self._send(fraud)

    def challenge(self, patience: float = 120.0) -> Removal | None:
        """Prove the first fraud that the follower sees and wait until that is mined; None when it
        sees none, when it is not deep enough yet, or when nothing pays for the proof.

        Raises
        ------
        ChallengeError
        L1Error
            As `step` does.
        PendingError
            When the proof is not mined within `patience` seconds. It stays on its way.
        """
        while True:
            fraud = self.follower.fraud
            intent = self.step()
            if intent is None or fraud is None:
                return None
            mined = self._wait_for(intent, patience)
            if is_as_written(intent, mined):
                break
            # A cancellation was faster than the proof that replaced it.
            self.follower.poll()
        if not mined.succeeded:
            raise ChallengeError(f"the proof in {mined.hash} reverted")
        index = fraud.submitted.header.index
        log.info("batch_removed", index=index, fault=fraud.fault.name, gas=mined.gas_used)
        return Removal(fraud, mined, len(intent.call.data))

    def _wait_for(self, intent: Intent, patience: float) -> Mined:
        """Return which transaction has used the nonce of a proof."""

        def look() -> Mined | None:
            self.sender.tick(self.follower.gateway.get_head())
            return self.sender.find_mined(intent) if intent.mined_in is not None else None

        return wait_for("a proof", look, patience)

    def _send(self, fraud: Fraud) -> Intent | None:
        prover: ContractInstance = self.follower.gateway.contracts.prover
        proof = compute_chunk_proof(fraud)
        chunk = fraud.chunks[fraud.chunk]
        if fraud.position is None:
            method = prover.prove
            arguments: tuple[object, ...] = (proof, chunk.data, fraud.witness)
        else:
            method = prover.proveSignature
            arguments = (proof, chunk.data, chunk.signatures, fraud.position, fraud.witness)
        data = bytes(method.encode_input(*arguments))
        if len(data) > MAX_PROOF_BYTES:
            raise ChallengeError(f"proof: {len(data)} bytes, at most {MAX_PROOF_BYTES}")
        target = str(prover.address)
        try:
            gas = self.sender.estimate(target, data)
        except RefusedError as problem:
            raise ChallengeError(
                f"batch {fraud.submitted.header.index} chunk {fraud.chunk}: "
                f"{Fault(fraud.fault).name} derived, but the proof reverts: {problem.reason}"
            ) from problem
        key = fraud.submitted.header_hash
        return self.sender.submit(PROOF, key, Call(target, data, gas))
