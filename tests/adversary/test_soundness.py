"""No honest batch is removed; and the bench would notice if one were."""

from random import Random
from typing import Any

import pytest
from eth_utils import function_abi_to_4byte_selector

from deltaroll.protocol.fault import Fault
from tests.adversary.campaign import Effort
from tests.adversary.soundness import (
    attack_data,
    attack_header,
    attack_proof,
    attack_witness,
    survey,
)
from tests.adversary.soundness_bench import Bench, Exhibit, iterate_exhibits
from tests.adversary.soundness_chain import (
    INBOX,
    Chain,
    Place,
    Step,
    assemble,
    assemble_dive,
    word,
    wrap_code,
)
from tests.adversary.soundness_flow import Story, write_heavy_story, write_story
from tests.adversary.soundness_order import attack_order
from tests.adversary.soundness_parts import join, parse
from tests.adversary.soundness_paths import attack_depth, attack_paths, starve
from tests.adversary.soundness_signatures import attack_signatures
from tests.adversary.soundness_witness import FORGERS
from tests.protocol.evm import CALLER, artifacts
from tests.protocol.proving import DEPLOYER, abi_of

EFFORT = Effort(1, 20_260)
CLASSES = 38
"""Rows: one that got lost would be missed by nobody else."""
AT_THE_DOOR = {
    "FraudProver_NotPending",
    "FraudProver_WrongPrevious",
    "FraudProver_WrongChunk",
    "FraudProver_ChunkIndex",
    "FraudProver_WrongSignatures",
}
"""Refusals before a verifier is asked."""
HARMLESS = {"leaf not needed", "forged messages", "forged exits"}
"""Forgeries of which most leave a sound witness."""


@pytest.fixture(scope="module")
def bench() -> Bench:
    """All attacks, once."""
    return survey(EFFORT)


@pytest.fixture(scope="module")
def story() -> Story:
    """Honest batches."""
    return write_story(Random("soundness"), "normal")


def test_attack__honest_batches__stand(bench: Bench) -> None:
    rows = bench.ledger.to_rows()
    assert {
        row.name: row.notes for row in rows if row.wrongly_accepted or row.wrongly_refused
    } == {}
    assert len(rows) == CLASSES
    assert all(row.attempts >= 8 for row in rows)


def test_attack__forged_witnesses__reach_the_verifier(bench: Bench) -> None:
    # | class | refused |
    # |---|---|
    # | witness | by a verifier, never at the door |
    # | header, place, data | at the door, or the call is the honest one in other words |
    for (name, refusal), count in bench.refusals.items():
        if name.startswith("witness") or name == "signature: witness":
            assert refusal not in AT_THE_DOOR, (name, refusal, count)
        if name == "data":
            assert refusal in AT_THE_DOOR, (name, refusal, count)
        if name == "header fields":
            assert refusal in AT_THE_DOOR | {"nothing"}, (name, refusal, count)


@pytest.mark.parametrize("kind", ["normal", "trouble", "extreme", "big", "options", "empty"])
def test_prove__honest_chunk_of_any_world__no_fault(kind: str) -> None:
    bench = Bench(Random(kind))
    story = write_story(Random(kind), kind)
    for exhibit in iterate_exhibits(bench, story, kind):
        assert exhibit.chain.send(exhibit.calldata()).refusal == "FraudProver_NoFault"
        bench.prove("control", exhibit.label, exhibit.twin, exhibit.twin_calldata())
        assert join(parse(exhibit.chunk.witness)) == exhibit.chunk.witness
    (row,) = bench.ledger.to_rows()
    assert (row.attempts, row.wrongly_refused) == (9, 0)


def test_script__steps_that_fail_and_succeed__returns_which(story: Story) -> None:
    bench = Bench(Random(0))
    place = Place(1, 1)
    twin = bench.post_lie(story, place)
    true = Step(twin.prove_calldata(place))
    starved = Step(true.payload, gas=100_000)
    script = twin.install(assemble([starved, true, true]))
    for depth in (0, 3):
        attempt = twin.send(word(depth), to=twin.install(assemble_dive(script)))
        assert attempt.faults == (Fault.WRONG_POST_ROOT,)
        assert twin.standing().batches == twin.saved.batches - 1
        twin.restore()
        assert twin.standing() == twin.saved
    assert twin.send(b"", to=script).output == word(0) + word(1) + word(0)


# A planted bug


class CredulousChain(Chain):
    """A rollup that takes the failure of a verifier for a fault."""

    def _deploy(self, contract: str, *arguments: Any) -> str:
        if contract not in ("TransitionVerifier", "SignatureVerifier"):
            return super()._deploy(contract, *arguments)
        code = artifacts()[contract].bytecode + b"".join(
            bytes.fromhex(argument[2:]).rjust(32, b"\0") for argument in arguments
        )
        real: str = self._evm.deploy(CALLER, code)
        # Asks the real one; 1, a fault, when that reverts.
        shim = f"365f5f375f5f365f73{real[2:]}5afa602e5760015f5260205ff35b3d5f5f3e3d5ff3"
        address: str = self._evm.deploy(DEPLOYER, wrap_code(bytes.fromhex(shim)))
        return address


class GullibleChain(Chain):
    """A rollup whose prover removes any batch that is named to it."""

    def _deploy(self, contract: str, *arguments: Any) -> str:
        if contract != "FraudProver":
            return super()._deploy(contract, *arguments)
        entry = abi_of("RollupInbox", "function", "remove")
        selector = function_abi_to_4byte_selector(entry).hex()
        # remove(header, 6, caller); reverts when that does.
        head = f"63{selector}60e01b5f526101e0600460043760066101e4523361020452"
        call = f"5f5f6102245f5f73{INBOX[2:]}5af1"
        code = bytes.fromhex(head + call)
        end = bytes.fromhex(f"1560{len(code) + 5:02x}57005b5f5ffd")
        address: str = self._evm.deploy(DEPLOYER, wrap_code(code + end))
        return address


def exhibits_of(bench: Bench, story: Story) -> list[Exhibit]:
    """Return every chunk of a story."""
    return list(iterate_exhibits(bench, story, "planted"))


def test_attack__failure_read_as_fault__every_forgery_is_noticed(story: Story) -> None:
    bench = Bench(Random(1), make=CredulousChain)
    for exhibit in exhibits_of(bench, story)[:4]:
        attack_witness(bench, exhibit)
        attack_signatures(bench, exhibit)
    accepted = {row.name: row.wrongly_accepted for row in bench.ledger.to_rows()}
    for forgery in FORGERS.keys() - HARMLESS:
        assert accepted[f"witness: {forgery}"], forgery
    assert accepted["signature: witness"]
    assert accepted["signature: position"]


def test_attack__failure_read_as_fault__starvation_is_noticed() -> None:
    bench = Bench(Random(1), make=CredulousChain)
    for exhibit in exhibits_of(bench, write_heavy_story()):
        calldata = exhibit.calldata()
        starve(bench, "gas: limit", "planted", exhibit.chain, calldata, 7_000_000)
        script = exhibit.chain.install(assemble([Step(calldata)]))
        starve(bench, "gas: 63/64", "planted", exhibit.chain, b"", 7_200_000, to=script)
    accepted = {row.name: row.wrongly_accepted for row in bench.ledger.to_rows()}
    assert accepted["gas: limit"]
    assert accepted["gas: 63/64"]


def test_attack__prover_that_asks_nobody__every_class_notices(story: Story) -> None:
    bench = Bench(Random(1), make=GullibleChain)
    for exhibit in exhibits_of(bench, story)[3:5]:
        attack_header(bench, exhibit)
        attack_proof(bench, exhibit)
        attack_data(bench, exhibit)
        attack_paths(bench, exhibit)
        attack_depth(bench, exhibit)
    attack_order(bench, "normal", "planted")
    accepted = {row.name: row.wrongly_accepted for row in bench.ledger.to_rows()}
    # What goes to the inbox or to modules never meets this prover, and settled batches are the
    # inbox's to keep.
    safe = {"order: after settlement", "path: inbox directly", "path: modules directly"}
    assert {name for name, count in accepted.items() if not count} <= safe
