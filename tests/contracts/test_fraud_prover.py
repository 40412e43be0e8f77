"""Proofs: bound to a pending batch, and nothing but a verifier's clear word counts."""

import pytest
from ape import project
from eth_abi import encode
from eth_utils import keccak

from deltaroll.protocol.fault import Fault
from tests.contracts.reference import NO_BRANCH, ZERO, chunk_levels, tree_branch
from tests.contracts.support import (
    BURN_GAS,
    CHALLENGE_WINDOW,
    HONEST,
    LIMIT,
    NO_CAP,
    REVERT,
    SHOW_CONTEXT,
    SUCCESS,
    Revert,
    chunk,
    chunk_proof,
    deployment_outcome,
    outcome,
    parameters,
    post,
    remove,
    set_time,
    verdict,
)

FRAUD = verdict(Fault.WRONG_POST_ROOT)
LAST_FAULT = max(Fault)
CHUNKS = [chunk(keccak(bytes([n])), bytes([n + 1]) * 50, bytes([n]) * 8 * n) for n in range(5)]


class Case:
    """A batch of five chunks, the batch before it, and attempts to prove it wrong."""

    def __init__(self, rollup, previous, header, sender):
        self.rollup = rollup
        self.previous = previous
        self.header = header
        self.sender = sender

    def proof(self, index=2, **changes):
        return chunk_proof(
            changes.pop("header", self.header),
            changes.pop("previous", self.previous),
            CHUNKS,
            index,
            **changes,
        )

    def prove(self, index=2, data=None, witness=FRAUD, gas=0, **changes):
        data = CHUNKS[index].data if data is None else data
        arguments = (self.proof(index, **changes), data, witness)
        return outcome(self.rollup.prover.prove, *arguments, sender=self.sender, gas=gas)

    def prove_signature(self, index=2, data=None, signatures=None, witness=FRAUD, gas=0, **changes):
        data = CHUNKS[index].data if data is None else data
        signatures = CHUNKS[index].signatures if signatures is None else signatures
        arguments = (self.proof(index, **changes), data, signatures, 3, witness)
        return outcome(self.rollup.prover.proveSignature, *arguments, sender=self.sender, gas=gas)


@pytest.fixture
def case(rollup, bridge, genesis, sequencer, challenger):
    previous = post(rollup, sequencer, genesis)
    bridge.cancelAll(1, sender=sequencer)
    header = post(rollup, sequencer, previous, CHUNKS, queue_end=1, queue_hash=bridge.queueHash(0))
    return Case(rollup, previous, header, challenger)


@pytest.fixture(params=["prove", "prove_signature"])
def prove(case, request):
    """Both kinds of proof, which fail alike."""
    return getattr(case, request.param)


# What a verifier's answer does


def test_prove__fault__removes_the_batch(case, rollup, inbox, prover, challenger, sequencer):
    receipt = prover.prove(case.proof(3), CHUNKS[3].data, verdict(17), sender=challenger)
    (event,) = receipt.decode_logs(prover.FraudProven)
    assert (event.headerHash, event.chunkIndex) == (case.header.hash, 3)
    assert (event.fault, event.challenger) == (17, challenger)
    assert inbox.stageOf(case.header) == 0
    assert inbox.headHeaderHash() == case.previous.hash
    assert inbox.rewardOf(sequencer).challenger == challenger


def test_prove_signature__fault__removes_the_batch(case, inbox, prover, challenger):
    arguments = (case.proof(4), CHUNKS[4].data, CHUNKS[4].signatures, 3, verdict(13))
    receipt = prover.proveSignature(*arguments, sender=challenger)
    (event,) = receipt.decode_logs(prover.FraudProven)
    assert (event.headerHash, event.chunkIndex) == (case.header.hash, 4)
    assert (event.fault, event.challenger) == (13, challenger)
    assert inbox.stageOf(case.header) == 0


@pytest.mark.parametrize(
    ("witness", "expected"),
    [
        (verdict(1), SUCCESS),
        (verdict(LAST_FAULT), SUCCESS),
        (HONEST, Revert("FraudProver_NoFault")),
        (REVERT, Revert("MockVerifier_BadWitness")),
        (b"\x00", Revert("FraudProver_InvalidVerdict")),
        (FRAUD[:-1], Revert("FraudProver_InvalidVerdict")),
        (FRAUD + b"\x00", Revert("FraudProver_InvalidVerdict")),
        (FRAUD + FRAUD[1:], Revert("FraudProver_InvalidVerdict")),
        (verdict(LAST_FAULT + 1), Revert("FraudProver_InvalidVerdict")),
        (verdict(256), Revert("FraudProver_InvalidVerdict")),
        (verdict(256 + 6), Revert("FraudProver_InvalidVerdict")),
        (verdict(2**256 - 1), Revert("FraudProver_InvalidVerdict")),
    ],
    ids=[
        *["first-fault", "last-fault", "honest", "reverts", "returns-nothing", "returns-31-bytes"],
        *["returns-33-bytes", "returns-two-words", "unknown-fault", "truncates-to-none"],
        *["truncates-to-a-fault", "all-ones"],
    ],
)
def test_prove__verdict__counts_only_when_it_is_a_known_fault(prove, witness, expected):
    assert prove(witness=witness) == expected


def test_prove__verifier_out_of_gas__proves_nothing(prove):
    for gas in (200_000, 1_000_000, 15_000_000):
        assert prove(witness=BURN_GAS, gas=gas) is not SUCCESS


def test_prove__any_gas_given__cannot_turn_honest_into_fraud(prove):
    """The 63/64 rule lets a caller starve the verifier and keep enough to go on: no use."""
    outcomes = [prove(witness=HONEST, gas=gas) for gas in range(40_000, 160_000, 1_500)]
    assert SUCCESS not in outcomes
    assert outcomes[-1] == Revert("FraudProver_NoFault")


# What the verifier is told


@pytest.mark.parametrize("index", [0, 2, 4])
def test_prove__context__describes_the_chunk(case, rollup, bridge, prover, index):
    context = (
        case.previous.post_root if index == 0 else CHUNKS[index - 1].post_root,
        CHUNKS[index].post_root,
        prover.domainSeparator(),
        bridge.address.lower(),
        case.header.l1_time,
        1,
        case.previous.l1_base_fee,
        case.previous.l1_blob_fee,
        index == 0,
        index == 4,
    )
    hashes = [keccak(CHUNKS[index].data), keccak(CHUNKS[index].signatures)]
    expected = Revert("MockVerifier_Asked", context, *hashes, 3)
    assert case.prove_signature(index, witness=SHOW_CONTEXT) == expected
    expected = Revert("MockVerifier_Asked", context, hashes[0], keccak(b""), 0)
    assert case.prove(index, witness=SHOW_CONTEXT) == expected


def test_prove__batch_of_one_chunk__is_first_and_last(rollup, prover, genesis, sequencer, alice):
    header = post(rollup, sequencer, genesis)
    arguments = (chunk_proof(header, genesis, [chunk()], 0), chunk().data, SHOW_CONTEXT)
    result = outcome(prover.prove, *arguments, sender=alice)
    assert result.arguments[0][-2:] == (True, True)


def test_domain_separator__is_eip_712_of_this_chain_and_inbox(prover, inbox):
    kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    hashes = [keccak(text=text) for text in (kind, "Deltaroll", "1")]
    types = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
    assert prover.domainSeparator() == keccak(encode(types, [*hashes, 31337, inbox.address]))


# Where the chunk is


def test_prove__removed_batch__reverts(case, prove, rollup, challenger):
    """Whoever comes second is told so before the verifier runs."""
    rollup.prover.prove(case.proof(), CHUNKS[2].data, FRAUD, sender=challenger)
    assert prove(witness=BURN_GAS) == Revert("FraudProver_NotPending", 2)


def test_prove__later_than_a_removed_batch__reverts(case, prove, rollup, genesis, challenger):
    remove(rollup, challenger, case.previous, genesis)
    assert prove() == Revert("FraudProver_NotPending", 2)


def test_prove__settled_batch__reverts(case, prove):
    set_time(case.header.l1_time + CHALLENGE_WINDOW)
    assert prove() is SUCCESS
    set_time(case.header.l1_time + CHALLENGE_WINDOW + 1)
    assert prove() == Revert("FraudProver_NotPending", 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"index": 1},
        {"chunks_root": ZERO},
        {"chunk_count": 6},
        {"l1_time": 2**64 - 1},
        {"queue_end": 0},
        {"proposer": "0x" + "11" * 20},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_prove__forged_header__reverts(case, prove, changes):
    header = case.header._replace(**changes)
    assert prove(header=header) == Revert("FraudProver_NotPending", header.index)


@pytest.mark.parametrize("index", [0, 2])
def test_prove__wrong_previous__reverts(case, prove, genesis, index):
    """Else a challenger could choose the pre-root or the fees."""
    for wrong in (
        genesis,
        case.header,
        case.previous._replace(post_root=ZERO),
        case.previous._replace(l1_base_fee=1),
    ):
        expected = Revert("FraudProver_WrongPrevious", case.previous.hash, wrong.hash)
        assert prove(index, previous=wrong) == expected


@pytest.mark.parametrize("index", [5, 256 + 2, 2**256 - 1])
def test_prove__index_outside_the_batch__reverts(case, index):
    """Bits above the tree's depth must not alias a chunk."""
    proof = list(case.proof())
    proof[2] = index
    result = outcome(
        case.rollup.prover.prove, tuple(proof), CHUNKS[2].data, FRAUD, sender=case.sender
    )
    assert result == Revert("FraudProver_ChunkIndex", index, 5)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": CHUNKS[3].data},
        {"data": b""},
        {"data": CHUNKS[2].data + b"\x00"},
        {"post_root": CHUNKS[3].post_root},
        {"branch": NO_BRANCH},
        {"branch": tree_branch(chunk_levels([item.commitment for item in CHUNKS]), 3)},
    ],
    ids=["other-data", "no-data", "longer-data", "post-root", "empty-branch", "other-branch"],
)
def test_prove__not_the_posted_chunk__reverts(prove, changes):
    assert prove(2, **changes) == Revert("FraudProver_WrongChunk", 2)


def test_prove__another_signature_hash__reverts(case):
    assert case.prove(2, signature_hash=keccak(b"")) == Revert("FraudProver_WrongChunk", 2)


def test_prove__inner_node_as_chunk__reverts(case, prove):
    """A branch has eight levels, whatever the batch's size; an inner node has 64 bytes below it."""
    levels = chunk_levels([item.commitment for item in CHUNKS])
    branch = [*tree_branch(levels, 2)[1:], ZERO]
    data = levels[0][2] + levels[0][3]
    assert prove(2, data=data, branch=branch) == Revert("FraudProver_WrongChunk", 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"prior_post_root": keccak(b"convenient")},
        {"prior_data_hash": keccak(b"other")},
        {"prior_signature_hash": keccak(b"other")},
        {"prior_branch": NO_BRANCH},
        {
            "prior_data_hash": keccak(CHUNKS[0].data),
            "prior_signature_hash": keccak(CHUNKS[0].signatures),
            "prior_post_root": CHUNKS[0].post_root,
            "prior_branch": tree_branch(chunk_levels([item.commitment for item in CHUNKS]), 0),
        },
    ],
    ids=["post-root", "data", "signatures", "branch", "earlier-chunk"],
)
def test_prove__wrong_prior_chunk__reverts(prove, changes):
    """The pre-root is what was posted, never what a challenger likes."""
    assert prove(2, **changes) == Revert("FraudProver_WrongChunk", 1)


def test_prove__first_chunk__ignores_the_prior_one(prove):
    assert prove(0, prior_post_root=keccak(b"convenient")) is SUCCESS


def test_prove_signature__other_signatures__reverts(case):
    for wrong in (b"", CHUNKS[3].signatures, CHUNKS[2].signatures + b"\x00"):
        expected = Revert("FraudProver_WrongSignatures")
        assert case.prove_signature(2, signatures=wrong) == expected


# Construction


def test_constructor__inbox_of_another_prover__reverts(rollup, alice):
    arguments = (rollup.inbox, rollup.verifier, rollup.verifier)
    result = deployment_outcome(project.FraudProver, *arguments, sender=alice)
    assert result == Revert("FraudProver_WrongInbox", rollup.inbox)


def test_constructor__verifier_without_code__reverts(
    rollup, token, alice, deployer, sequencer, governor, create_at
):
    vault = deployer.deploy(project.MarginVault, token, create_at(deployer, 1), deployer, LIMIT)
    bridge = deployer.deploy(project.Bridge, vault, create_at(deployer, 1), governor, NO_CAP)
    arguments = parameters(bridge, create_at(deployer, 1), deployer, sequencer)
    inbox = deployer.deploy(project.RollupInbox, arguments)
    for verifiers in [(alice, rollup.verifier), (rollup.verifier, alice)]:
        result = deployment_outcome(project.FraudProver, inbox, *verifiers, sender=deployer)
        assert result == Revert("FraudProver_InvalidVerifier", alice)
