"""Posting: on the head, in turn, from the queue as it is, in provable pieces."""

import pytest
from ape import chain, project
from eth_utils import keccak

from tests.contracts.reference import ZERO, Message, chunk_levels
from tests.contracts.support import (
    BOND,
    CHALLENGE_WINDOW,
    FORCED_DELAY,
    FORCED_PER_BATCH,
    GENESIS_ROOT,
    LIMIT,
    NO_CAP,
    PROPOSER_DELAY,
    ROOT,
    SUCCESS,
    ZERO_ADDRESS,
    Revert,
    advance,
    batch,
    chunk,
    deploy_rollup,
    deployment_outcome,
    isolated,
    last_header,
    now,
    outcome,
    parameters,
    post,
    remove,
    set_time,
)

MAX_DATA = 16_384
MAX_SIGNATURES = 32_768
BODY = (1).to_bytes(4, "big")


@pytest.fixture
def submit(inbox, sequencer):
    """Outcome of posting a batch."""

    def submit(previous, *arguments, sender=sequencer, **options):
        return outcome(inbox.submitBatch, batch(previous, *arguments, **options), sender=sender)

    return submit


@pytest.fixture
def enqueue(bridge, alice):
    """Queue one message."""

    def enqueue() -> Message:
        receipt = bridge.cancelAll(1, sender=alice)
        return Message(3, alice.address, receipt.timestamp, keccak(BODY))

    return enqueue


@pytest.fixture
def flood(bridge, deployer):
    """Queue many messages in one transaction."""

    def flood(count: int) -> Message:
        caller = deployer.deploy(project.Caller)
        payload = bridge.cancelAll.encode_input(1)
        receipt = caller.repeat(bridge, payload, count, sender=deployer)
        return Message(3, caller.address, receipt.timestamp, keccak(BODY))

    return flood


# What is recorded


def test_constructor__genesis__is_settled(inbox, genesis):
    assert genesis.post_root == GENESIS_ROOT
    assert genesis.index == genesis.chunk_count == genesis.queue_end == 0
    assert genesis.previous == genesis.chunks_root == genesis.queue_hash == ZERO
    assert genesis.proposer == ZERO_ADDRESS
    assert genesis.l1_time > 0
    assert genesis.parameter_hash == inbox.parameterHash()
    assert inbox.headerHash(0) == inbox.headHeaderHash() == genesis.hash
    assert inbox.batchCount() == 1
    assert inbox.isSettled(genesis)


def test_submit__valid_batch__commits_to_all_of_it(rollup, inbox, bridge, genesis, sequencer):
    for account in (1, 2, 3):
        bridge.cancelAll(account, sender=sequencer)
    chain.provider.web3.provider.make_request("anvil_setNextBlockBaseFeePerGas", [hex(7 * 10**8)])
    chunks = [chunk(keccak(bytes([n])), bytes([n + 1]) * 99, bytes([n]) * n) for n in range(5)]
    header = post(rollup, sequencer, genesis, chunks, queue_end=3, queue_hash=bridge.queueHash(2))
    block = chain.blocks.head
    assert header.index == 1
    assert header.previous == genesis.hash
    assert header.post_root == chunks[-1].post_root
    assert header.chunks_root == chunk_levels([item.commitment for item in chunks])[-1][0]
    assert header.chunk_count == 5
    assert (header.queue_start, header.queue_end) == (0, 3)
    assert header.queue_hash == bridge.queueHash(2)
    assert (header.l1_block, header.l1_time) == (block.number, block.timestamp)
    assert (header.l1_base_fee, header.l1_blob_fee) == (7 * 10**8, 1)
    assert header.proposer == sequencer.address.lower()
    assert header.data_mode == 0
    assert header.parameter_hash == inbox.parameterHash()
    assert inbox.headerHash(1) == inbox.headHeaderHash() == header.hash
    assert inbox.bondOf(sequencer).lastBatchTime == header.l1_time


def test_submit__next_batch__continues_the_queue(rollup, bridge, genesis, sequencer, enqueue):
    enqueue()
    enqueue()
    first = post(rollup, sequencer, genesis, queue_end=2, queue_hash=bridge.queueHash(1))
    enqueue()
    second = post(rollup, sequencer, first, queue_end=3, queue_hash=bridge.queueHash(2))
    third = post(rollup, sequencer, second)
    assert (second.queue_start, second.queue_end) == (2, 3)
    assert (third.queue_start, third.queue_end) == (3, 3)
    assert third.queue_hash == second.queue_hash


def test_stage_of__each_batch__follows_time(rollup, inbox, genesis, sequencer):
    first = post(rollup, sequencer, genesis)
    advance(100)
    second = post(rollup, sequencer, first)
    assert [inbox.stageOf(header) for header in (genesis, first, second)] == [2, 1, 1]
    set_time(first.l1_time + CHALLENGE_WINDOW)
    assert inbox.isPending(first)
    assert not inbox.isSettled(first)
    set_time(first.l1_time + CHALLENGE_WINDOW + 1)
    assert [inbox.stageOf(header) for header in (genesis, first, second)] == [2, 2, 1]
    assert inbox.stageOf(second._replace(l1_time=0)) == 0
    assert inbox.stageOf(second._replace(index=3)) == 0
    assert inbox.headerHash(3) == ZERO


# On the head


def test_submit__same_batch_twice__lands_once(rollup, genesis, sequencer, submit):
    head = post(rollup, sequencer, genesis)
    assert submit(genesis) == Revert("RollupInbox_StaleHead", head.hash, genesis.hash)
    assert submit(head) is SUCCESS


@pytest.mark.parametrize(
    "changes",
    [{"l1_time": 1}, {"queue_end": 1}, {"post_root": ROOT}, {"index": 5}],
    ids=lambda changes: next(iter(changes)),
)
def test_submit__forged_head__reverts(genesis, submit, changes):
    forged = genesis._replace(**changes)
    expected = Revert("RollupInbox_StaleHead", genesis.hash, forged.hash)
    options = {"queue_end": 0, "queue_hash": ZERO}
    assert submit(forged, **options) == expected


def test_submit__on_a_removed_batch__reverts(rollup, genesis, proposer, sequencer, challenger):
    """Words of removed batches stay in storage and must never be trusted."""
    first = post(rollup, sequencer, genesis)
    second = post(rollup, sequencer, first)
    remove(rollup, challenger, first, genesis)
    for removed in (first, second):
        result = outcome(rollup.inbox.submitBatch, batch(removed), sender=proposer)
        assert result == Revert("RollupInbox_StaleHead", genesis.hash, removed.hash)


def test_submit__deadline__is_the_last_second(genesis, submit):
    assert submit(genesis, deadline=now()) is SUCCESS
    expected = Revert("RollupInbox_DeadlinePassed", now() - 1)
    assert submit(genesis, deadline=now() - 1) == expected


# In turn


def test_submit__without_bond__reverts(genesis, inbox, submit, alice, sequencer):
    assert submit(genesis, sender=alice) == Revert("RollupInbox_NotBonded", alice)
    inbox.withdrawBond(sender=sequencer)
    assert submit(genesis, sender=sequencer) == Revert("RollupInbox_NotBonded", sequencer)


def test_submit__not_the_sequencer__reverts(genesis, submit, proposer):
    assert submit(genesis, sender=proposer) == Revert("RollupInbox_NotProposer", proposer)


def test_submit__sequencer_silent__is_open_to_anyone(rollup, genesis, sequencer, submit, proposer):
    head = post(rollup, sequencer, genesis)
    set_time(head.l1_time + PROPOSER_DELAY)
    assert submit(head, sender=proposer) == Revert("RollupInbox_NotProposer", proposer)
    set_time(head.l1_time + PROPOSER_DELAY + 1)
    head = post(rollup, proposer, head)
    assert head.proposer == proposer.address.lower()
    assert submit(head, sender=proposer) == Revert("RollupInbox_NotProposer", proposer)
    assert submit(head, sender=sequencer) is SUCCESS


def test_submit__sequencer_without_bond__is_open_to_anyone(
    inbox, genesis, submit, sequencer, proposer
):
    inbox.withdrawBond(sender=sequencer)
    assert submit(genesis, sender=proposer) is SUCCESS
    inbox.bond(value=BOND, sender=sequencer)
    assert submit(genesis, sender=proposer) == Revert("RollupInbox_NotProposer", proposer)


def test_submit__from_a_contract__reverts(inbox, genesis, deployer, sequencer):
    """Its calldata would be no transaction's: a follower could not read it from the blocks."""
    caller = deployer.deploy(project.Caller)
    caller.execute(inbox, inbox.bond.encode_input(), value=BOND, sender=sequencer)
    assert inbox.bondOf(caller).amount == BOND
    payload = inbox.submitBatch.encode_input(batch(genesis))
    failed = outcome(caller.execute, inbox, payload, sender=sequencer)
    (inner,) = failed.arguments
    assert inner[:4] == keccak(text="RollupInbox_NotTopLevel(address)")[:4]


def test_submit__by_an_account_with_delegated_code__reverts(inbox, genesis, sequencer, submit):
    """Such an account (EIP-7702) can be the origin of a call from inside its own transaction."""
    delegation = "0xef0100" + inbox.address[2:]
    chain.provider.make_request("anvil_setCode", [sequencer.address, delegation])
    assert submit(genesis) == Revert("RollupInbox_NotTopLevel", sequencer)
    chain.provider.make_request("anvil_setCode", [sequencer.address, "0x"])


# From the queue


def test_submit__queue_range_outside_the_queue__reverts(
    rollup, bridge, genesis, sequencer, submit, enqueue
):
    enqueue()
    expected = Revert("RollupInbox_QueueRange", 0, 2, 1)
    assert submit(genesis, queue_end=2, queue_hash=ZERO) == expected
    head = post(rollup, sequencer, genesis, queue_end=1, queue_hash=bridge.queueHash(0))
    expected = Revert("RollupInbox_QueueRange", 1, 0, 1)
    assert submit(head, queue_end=0, queue_hash=ZERO) == expected


def test_submit__queue_other_than_seen__reverts(bridge, genesis, submit, enqueue):
    """What an L1 reorganisation of the queue looks like."""
    enqueue()
    seen = keccak(b"queue of an orphaned block")
    expected = Revert("RollupInbox_QueueMismatch", bridge.queueHash(0), seen)
    assert submit(genesis, queue_end=1, queue_hash=seen) == expected
    expected = Revert("RollupInbox_QueueMismatch", ZERO, seen)
    assert submit(genesis, queue_end=0, queue_hash=seen) == expected


def forge(message):
    """Yield what is nearly the message."""
    for changes in (
        {"kind": 1},
        {"sender": ZERO_ADDRESS},
        {"time": message.time + FORCED_DELAY},
        {"body_hash": ZERO},
    ):
        yield message._replace(**changes)


def test_submit__message_from_before_the_head_left_behind__must_be_shown(
    rollup, sequencer, genesis, submit, enqueue
):
    message = enqueue()
    head = post(rollup, sequencer, genesis)
    assert submit(head, next_message=message) is SUCCESS
    for forged in forge(message):
        assert submit(head, next_message=forged) == Revert("RollupInbox_WrongMessage", 0)


def test_submit__message_after_an_old_head_left_behind__must_be_shown(genesis, submit, enqueue):
    set_time(genesis.l1_time + 1)
    message = enqueue()
    set_time(genesis.l1_time + FORCED_DELAY + 1)
    assert submit(genesis, next_message=message) is SUCCESS
    for forged in forge(message):
        assert submit(genesis, next_message=forged) == Revert("RollupInbox_WrongMessage", 0)


def test_submit__message_lands_before_the_batch__need_not_be_shown(
    rollup, bridge, genesis, sequencer, submit, enqueue
):
    """Nobody can stop a batch by a message that the proposer could not know."""
    enqueue()
    head = post(rollup, sequencer, genesis, queue_end=1, queue_hash=bridge.queueHash(0))
    options = {"queue_end": 1, "queue_hash": bridge.queueHash(0)}
    assert submit(head, **options) is SUCCESS
    enqueue()
    assert submit(head, **options) is SUCCESS
    set_time(head.l1_time + FORCED_DELAY)
    assert submit(head, **options) is SUCCESS
    set_time(head.l1_time + FORCED_DELAY + 1)
    assert submit(head, **options) == Revert("RollupInbox_WrongMessage", 1)


def test_submit__messages_of_a_removed_batch_left_behind__must_be_shown(
    rollup, bridge, genesis, sequencer, challenger, proposer, submit, enqueue
):
    """What was known stays known: a removal must not make a message young again."""
    message = enqueue()
    bad = post(rollup, sequencer, genesis, queue_end=1, queue_hash=bridge.queueHash(0))
    remove(rollup, challenger, bad, genesis)
    assert submit(genesis, sender=proposer) == Revert("RollupInbox_WrongMessage", 0)
    assert submit(genesis, sender=proposer, next_message=message) is SUCCESS


def test_submit__overdue_message_left_behind__reverts(bridge, genesis, submit, enqueue):
    enqueue()
    set_time(now() + 100)
    late = enqueue()
    hashes = [bridge.queueHash(0), bridge.queueHash(1)]
    options = {"queue_end": 1, "queue_hash": hashes[0], "next_message": late}
    set_time(late.time + FORCED_DELAY)
    assert submit(genesis, **options) is SUCCESS
    set_time(late.time + FORCED_DELAY + 1)
    assert submit(genesis, **options) == Revert("RollupInbox_ForcedInclusion", 1)
    assert submit(genesis, queue_end=2, queue_hash=hashes[1]) is SUCCESS


def test_submit__more_overdue_messages_than_fit__takes_some_and_opens_the_turn(
    rollup, inbox, bridge, genesis, sequencer, proposer, challenger, submit, flood
):
    """A flood can neither stop the rollup nor hide a late request behind a slow sequencer."""
    message = flood(FORCED_PER_BATCH + 1)
    set_time(message.time + FORCED_DELAY + 1)
    hashes = {n: bridge.queueHash(n - 1) for n in range(FORCED_PER_BATCH - 1, FORCED_PER_BATCH + 2)}

    def options(end: int):
        return {"queue_end": end, "queue_hash": hashes[end], "next_message": message}

    few = FORCED_PER_BATCH - 1
    assert submit(genesis, **options(few)) == Revert("RollupInbox_ForcedInclusion", few)
    head = post(rollup, sequencer, genesis, **options(FORCED_PER_BATCH))
    assert inbox.hasBacklog()
    with isolated():
        remove(rollup, challenger, head, genesis)
        assert not inbox.hasBacklog()
    head = post(rollup, proposer, head, **options(FORCED_PER_BATCH + 1))
    assert not inbox.hasBacklog()
    assert submit(head, sender=proposer) == Revert("RollupInbox_NotProposer", proposer)


# In provable pieces


@pytest.mark.parametrize(("count", "accepted"), [(0, 0), (1, 1), (256, 1), (257, 0)])
def test_submit__chunk_count__is_bounded(genesis, submit, count, accepted):
    expected = SUCCESS if accepted else Revert("RollupInbox_ChunkCount", count)
    assert submit(genesis, [chunk()] * count) == expected


@pytest.mark.parametrize(("length", "accepted"), [(0, 0), (MAX_DATA, 1), (MAX_DATA + 1, 0)])
def test_submit__chunk_data__is_bounded(genesis, submit, length, accepted):
    expected = SUCCESS if accepted else Revert("RollupInbox_DataLength", 1, length)
    assert submit(genesis, [chunk(), chunk(data=bytes(length))]) == expected


@pytest.mark.parametrize(
    ("length", "accepted"), [(0, 1), (MAX_SIGNATURES, 1), (MAX_SIGNATURES + 1, 0)]
)
def test_submit__chunk_signatures__are_bounded(genesis, submit, length, accepted):
    expected = SUCCESS if accepted else Revert("RollupInbox_SignaturesLength", 1, length)
    assert submit(genesis, [chunk(), chunk(signatures=bytes(length))]) == expected


def test_submit__zero_post_root__reverts(genesis, submit):
    for chunks, position in [([chunk(ZERO)], 0), ([chunk(), chunk(ZERO), chunk()], 1)]:
        assert submit(genesis, chunks) == Revert("RollupInbox_ZeroPostRoot", position)


# Construction


def test_constructor__bridge_of_another_inbox__reverts(bridge, prover, sequencer, deployer):
    arguments = parameters(bridge, prover, prover, sequencer)
    result = deployment_outcome(project.RollupInbox, arguments, sender=deployer)
    assert result == Revert("RollupInbox_WrongBridge", bridge)


@pytest.mark.parametrize(
    "changes",
    [
        {"prover": ZERO_ADDRESS},
        {"escape_hatch": ZERO_ADDRESS},
        {"sequencer": ZERO_ADDRESS},
        {"challenge_window": 0},
        {"challenge_window": 365 * 86_400 + 1},
        {"bond_amount": 0},
        {"genesis_root": ZERO},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_constructor__impossible_parameter__reverts(
    token, prover, sequencer, governor, deployer, create_at, changes
):
    vault = deployer.deploy(project.MarginVault, token, create_at(deployer, 1), deployer, LIMIT)
    bridge = deployer.deploy(project.Bridge, vault, create_at(deployer, 1), governor, NO_CAP)
    arguments = parameters(bridge, prover, prover, sequencer, **changes)
    result = deployment_outcome(project.RollupInbox, arguments, sender=deployer)
    assert result == Revert("RollupInbox_InvalidParameters")


def test_parameter_hash__another_deployment__differs(rollup, token, deployer, sequencer, governor):
    other = deploy_rollup(deployer, token, sequencer, governor)
    assert other.inbox.parameterHash() != rollup.inbox.parameterHash()
    assert last_header(other.inbox).hash != last_header(rollup.inbox).hash
