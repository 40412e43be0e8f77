"""Gas of what users and the batcher do all day, against the bars of the design."""

import os

import pytest
from eth_utils import keccak

from tests.contracts.reference import Exit, compress, encode_globals, exit_levels, tree_branch
from tests.contracts.support import (
    CHALLENGE_WINDOW,
    LIMIT,
    batch,
    chunk,
    last_header,
    post,
    set_time,
)

EXITS = 1_000


@pytest.fixture
def report(record_property):
    """Check one figure; `-s` shows them all."""

    def report(name: str, gas: int, bar: int) -> None:
        print(f"{name}: {gas:,} gas (bar {bar:,})")
        record_property(name, gas)
        assert gas <= bar

    return report


def test_deposit__warm_vault__is_below_the_bar(bridge, alice, report):
    bridge.deposit(alice, 0, 10**9, sender=alice)
    receipt = bridge.deposit(alice, 7, 123_456_789, sender=alice)
    report("deposit", receipt.gas_used, 80_000)


def test_requests__each_kind__is_below_the_bar(bridge, alice, report):
    bridge.cancelAll(1, sender=alice)
    report("cancelAll", bridge.cancelAll(7, sender=alice).gas_used, 60_000)
    report("forceExit", bridge.forceExit(7, 10**9, sender=alice).gas_used, 60_000)
    report("forceClose", bridge.forceClose(7, 100, 0, sender=alice).gas_used, 60_000)
    report("force, 200 bytes", bridge.force(os.urandom(200), sender=alice).gas_used, 70_000)


def test_submit__one_small_chunk__is_below_the_bar(
    rollup, inbox, bridge, genesis, sequencer, report
):
    head = post(rollup, sequencer, genesis)
    bridge.cancelAll(1, sender=sequencer)
    arguments = batch(head, [chunk()], queue_end=1, queue_hash=bridge.queueHash(0))
    receipt = inbox.submitBatch(arguments, sender=sequencer)
    report("submitBatch, overhead", receipt.gas_used, 100_000)
    head = last_header(inbox)
    receipt = inbox.submitBatch(batch(head, [chunk()] * 33), sender=sequencer)
    report("submitBatch, 32 chunks more", receipt.gas_used, 220_000)


def test_submit__much_data__costs_the_calldata_floor(inbox, genesis, sequencer, report):
    """Execution stays below what L1 asks for the bytes anyway."""
    chunks = [chunk(data=os.urandom(12_000), signatures=os.urandom(3_000)) for _ in range(8)]
    receipt = inbox.submitBatch(batch(genesis, chunks), sender=sequencer)
    report("submitBatch, 120 kB", receipt.gas_used, 40 * 122_000 + 21_000)


def test_claim__among_a_thousand_exits__is_below_the_bar(
    deploy, token, sequencer, alice, bob, report
):
    """With the limiter on."""
    rollup = deploy(token, limit=LIMIT)
    bridge = rollup.bridge
    rollup.inbox.bond(value=rollup.inbox.bondAmount(), sender=sequencer)
    exits = [Exit(n, 0, bob.address, 10**9 + n) for n in range(EXITS)]
    levels = exit_levels(exits)
    globals_ = encode_globals(levels[-1][0])
    header = post(rollup, sequencer, rollup.genesis, [chunk(keccak(globals_))])
    token.mint(rollup.vault, 10**15, sender=alice)
    set_time(header.l1_time + CHALLENGE_WINDOW + 1)

    def claim(index: int) -> int:
        branch = compress(tree_branch(levels, index))
        receipt = bridge.claimExit(header, globals_, exits[index], *branch, sender=bob)
        return receipt.gas_used

    report("claimExit, first ever of the recipient", claim(100), 118_000)
    report("claimExit, new nullifier word", claim(500), 102_000)
    report("claimExit", claim(501), 86_000)
