"""Proving: only what was simulated, only when there is fraud, never what a node would refuse."""

from types import SimpleNamespace

import pytest
from ape.exceptions import ContractLogicError

from deltaroll.l1.commitments import compute_chunk_commitment, compute_chunk_tree, to_header_tuple
from deltaroll.l1.gateway import ContradictionError
from deltaroll.l1.types import BatchSubmitted
from deltaroll.node.challenger import (
    MAX_PROOF_BYTES,
    ChallengeError,
    Challenger,
    compute_chunk_proof,
)
from deltaroll.node.follower import Follower
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.tree import compute_root_from_branch
from deltaroll.protocol.types import AccountId
from tests.node.l1 import FakeGateway, FakeL1, make_chunk
from tests.node.test_follower import deposit, post

ADA, BLAISE = AccountId(1), AccountId(2)


class FakeMethod:
    """A prover's method: what was simulated and what was sent."""

    def __init__(self, prover: "FakeProver", name: str) -> None:
        self.prover = prover
        self.name = name

    def encode_input(self, *_: object) -> bytes:
        return bytes(self.prover.size)

    def call(self, *arguments: object, sender: object) -> None:
        self.prover.log.append(("simulated", self.name, arguments))
        if self.prover.reverts:
            raise ContractLogicError("Prover_NoFault")

    def __call__(self, *arguments: object, sender: object) -> SimpleNamespace:
        self.prover.log.append(("sent", self.name, arguments))
        return SimpleNamespace(gas_used=1)


class FakeProver:
    def __init__(self) -> None:
        self.reverts = False
        self.size = 100
        self.log: list[tuple[str, str, tuple[object, ...]]] = []
        self.prove = FakeMethod(self, "prove")
        self.proveSignature = FakeMethod(self, "proveSignature")


@pytest.fixture
def l1():
    l1 = FakeL1()
    deposit(l1, ADA)
    deposit(l1, BLAISE)
    post(l1)
    return l1


@pytest.fixture
def challenger(l1):
    gateway = FakeGateway(l1)
    gateway.contracts.prover = FakeProver()
    return Challenger(Follower(gateway), object())  # type: ignore[arg-type]


def get_log(challenger: Challenger) -> list[tuple[str, str]]:
    prover = challenger.follower.gateway.contracts.prover
    return [(what, name) for what, name, _ in prover.log]


def test_challenge__honest_chain__does_nothing(challenger):
    challenger.follower.poll()
    assert challenger.challenge() is None
    assert get_log(challenger) == []


@pytest.mark.parametrize(
    ("options", "method", "fault"),
    [
        ({"spoil": True}, "prove", Fault.WRONG_POST_ROOT),
        ({"payment": 5, "is_forged": True}, "proveSignature", Fault.BAD_SIGNATURE),
    ],
)
def test_challenge__fraud__is_simulated_then_sent(l1, challenger, options, method, fault):
    post(l1, **options)
    challenger.follower.poll()
    removal = challenger.challenge()
    assert removal is not None
    assert (removal.fraud.fault, removal.calldata) == (fault, 100)
    assert get_log(challenger) == [("simulated", method), ("sent", method)]
    log = challenger.follower.gateway.contracts.prover.log
    assert log[0][2] == log[1][2]


def test_challenge__simulation_reverts__sends_nothing_and_says_so(l1, challenger):
    post(l1, spoil=True)
    challenger.follower.poll()
    challenger.follower.gateway.contracts.prover.reverts = True
    with pytest.raises(ChallengeError, match="batch 2 chunk 0: WRONG_POST_ROOT derived, but"):
        challenger.challenge()
    assert get_log(challenger) == [("simulated", "prove")]


def test_challenge__proof_no_node_would_relay__sends_nothing(l1, challenger):
    post(l1, spoil=True)
    challenger.follower.poll()
    challenger.follower.gateway.contracts.prover.size = MAX_PROOF_BYTES + 1
    with pytest.raises(ChallengeError, match="120001 bytes, at most 120000"):
        challenger.challenge()
    assert get_log(challenger) == []


def test_challenge__view_of_l1_contradicts_itself__sees_no_fraud(l1, challenger):
    gateway = challenger.follower.gateway
    honest = gateway.get_events
    gateway.get_events = lambda first, last: [
        event for event in honest(first, last) if isinstance(event, BatchSubmitted)
    ]
    with pytest.raises(ContradictionError):
        challenger.follower.poll()
    assert challenger.challenge() is None
    assert get_log(challenger) == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_compute_chunk_proof__any_chunk__opens_it_and_the_one_before(l1, challenger, place):
    chunks = [make_chunk(l1, []) for _ in range(3)]
    chunks[place] = make_chunk(l1, [], spoil=True)
    l1.submit(chunks, l1.batches[-1].header.queue_end)
    challenger.follower.poll()
    fraud = challenger.follower.fraud
    assert fraud is not None
    # Chunks of equal data give equal roots, so only the spoilt one differs.
    assert fraud.chunk == place
    proof = compute_chunk_proof(fraud)
    header, previous, index, signatures, root, branch, *prior = proof
    assert header == to_header_tuple(l1.batches[-1].header)
    assert previous == to_header_tuple(l1.batches[-2].header)
    assert (index, signatures, root) == (place, keccak(b""), chunks[place].post_root)
    commitment = compute_chunk_commitment(chunks[place])
    expected = compute_chunk_tree(chunks).root
    assert compute_root_from_branch(commitment, place, branch) == expected
    if place == 0:
        assert prior[:3] == [ZERO_HASH] * 3
    else:
        before = compute_chunk_commitment(chunks[place - 1])
        assert prior[2] == chunks[place - 1].post_root
        assert compute_root_from_branch(before, place - 1, prior[3]) == expected
