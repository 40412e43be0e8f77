"""Proving: only what was simulated, only when there is fraud, never what a node would refuse."""

import pytest

from deltaroll.l1.commitments import compute_chunk_commitment, compute_chunk_tree, to_header_tuple
from deltaroll.l1.gateway import ContradictionError, L1Error
from deltaroll.l1.types import BatchSubmitted
from deltaroll.node.challenger import (
    MAX_PROOF_BYTES,
    ChallengeError,
    Challenger,
    compute_chunk_proof,
)
from deltaroll.node.follower import Follower
from deltaroll.node.journal import Call, Intent
from deltaroll.node.sender import Mined, RefusedError
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.tree import compute_root_from_branch
from deltaroll.protocol.types import AccountId
from tests.node.l1 import FakeGateway, FakeL1, make_chunk
from tests.node.test_follower import deposit, post

ADA, BLAISE = AccountId(1), AccountId(2)


class FakeMethod:
    """A prover's method: what it was encoded with."""

    def __init__(self, prover: "FakeProver", name: str) -> None:
        self.prover = prover
        self.name = name

    def encode_input(self, *arguments: object) -> bytes:
        self.prover.encoded = (self.name, arguments)
        return bytes(self.prover.size)


class FakeProver:
    """A prover and the account that sends to it: what was simulated and what was sent."""

    address = "prover"

    def __init__(self) -> None:
        self.reverts = False
        self.size = 100
        self.log: list[tuple[str, str, tuple[object, ...]]] = []
        self.encoded: tuple[str, tuple[object, ...]] = ("", ())
        self.open: list[Intent] = []
        self.cancelled: list[Intent] = []
        self.is_mined = True
        self.prove = FakeMethod(self, "prove")
        self.proveSignature = FakeMethod(self, "proveSignature")

    def tick(self, head: object) -> None:
        pass

    def estimate(self, target: str, data: bytes) -> int:
        self.log.append(("simulated", *self.encoded))
        if self.reverts:
            raise RefusedError("no", "Prover_NoFault")
        return 7

    def submit(self, kind: str, key: bytes, call: Call) -> Intent:
        self.log.append(("sent", *self.encoded))
        intent = Intent(1, 0, kind, key, call, mined_in=5 if self.is_mined else None)
        if not self.is_mined:
            self.open.append(intent)
        return intent

    def cancel(self, intent: Intent) -> None:
        self.open.remove(intent)
        self.cancelled.append(intent)

    def find_mined(self, intent: Intent) -> Mined:
        return Mined("0x1", 5, 1, True, intent.call.content)


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
    return Challenger(Follower(gateway), gateway.contracts.prover)  # type: ignore[arg-type]


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
    with pytest.raises(L1Error, match="queue does not match"):
        challenger.challenge()
    assert get_log(challenger) == []


def test_challenge__lie_is_fresh__waits_for_confirmations(l1, challenger):
    challenger.confirmations = 3
    post(l1, spoil=True)
    for blocks in range(3):
        challenger.follower.poll()
        assert challenger.challenge() is None, blocks
        l1.mine()
    challenger.follower.poll()
    assert challenger.challenge() is not None


def test_step__proof_on_its_way__is_not_sent_twice_and_taken_back_when_in_vain(l1, challenger):
    post(l1, spoil=True)
    prover = challenger.follower.gateway.contracts.prover
    prover.is_mined = False
    for _ in range(3):
        challenger.follower.poll()
        assert challenger.step() is not None
        l1.mine()
    assert get_log(challenger) == [("simulated", "prove"), ("sent", "prove")]
    l1.remove(2)
    challenger.follower.poll()
    assert challenger.step() is None
    assert (len(prover.cancelled), prover.open) == (1, [])


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
