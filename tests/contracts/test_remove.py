"""Removal, bonds and rewards. P is the public proposer, S the sequencer."""

import pytest
from ape import chain, project
from eth_utils import keccak

from tests.contracts.reference import ZERO
from tests.contracts.support import (
    BOND,
    CHALLENGE_WINDOW,
    PROPOSER_DELAY,
    SUCCESS,
    ZERO_ADDRESS,
    Revert,
    advance,
    batch,
    chunk,
    chunk_proof,
    outcome,
    post,
    remove,
    set_time,
    verdict,
)

HALF = BOND // 2


@pytest.fixture
def settle():
    """Let a batch leave its challenge window."""

    def settle(header) -> None:
        set_time(header.l1_time + CHALLENGE_WINDOW + 1)

    return settle


@pytest.fixture
def post_in_public(rollup, proposer):
    """P posts after the sequencer's silence."""

    def post_in_public(previous):
        advance(PROPOSER_DELAY + 1)
        return post(rollup, proposer, previous)

    return post_in_public


# Removal


def test_remove__pending_batch__takes_all_after_it(
    rollup, inbox, genesis, sequencer, challenger, alice
):
    headers = [genesis]
    for _ in range(4):
        headers.append(post(rollup, sequencer, headers[-1]))
    receipt = remove(rollup, challenger, headers[2], headers[1], fault=7)
    (event,) = receipt.decode_logs(inbox.BatchRemoved)
    assert (event.index, event.headerHash) == (2, headers[2].hash)
    assert (event.fault, event.challenger) == (7, challenger)
    assert inbox.batchCount() == 2
    assert inbox.headHeaderHash() == headers[1].hash
    assert [inbox.stageOf(header) for header in headers] == [2, 1, 0, 0, 0]
    assert inbox.headerHash(2) == ZERO


def test_remove__by_anyone_but_the_prover__reverts(
    rollup, inbox, genesis, sequencer, alice, bridge
):
    header = post(rollup, sequencer, genesis)
    for caller in (alice, sequencer, bridge):
        expected = Revert("RollupInbox_NotProver", caller)
        assert outcome(inbox.remove, header, 6, alice, sender=caller) == expected


def test_remove__settled_batch__reverts(rollup, inbox, prover, genesis, sequencer, alice):
    header = post(rollup, sequencer, genesis)
    set_time(header.l1_time + CHALLENGE_WINDOW)
    assert outcome(inbox.remove, header, 6, alice, sender=prover) is SUCCESS
    set_time(header.l1_time + CHALLENGE_WINDOW + 1)
    expected = Revert("RollupInbox_NotPending", header.hash)
    assert outcome(inbox.remove, header, 6, alice, sender=prover) == expected


def test_remove__genesis_or_unknown_header__reverts(
    inbox, prover, genesis, rollup, sequencer, alice
):
    header = post(rollup, sequencer, genesis)
    unknown = [header._replace(index=2), header._replace(post_root=keccak(b"other"))]
    for wrong in (genesis, *unknown):
        expected = Revert("RollupInbox_NotPending", wrong.hash)
        assert outcome(inbox.remove, wrong, 6, alice, sender=prover) == expected


def test_remove__twice__reverts(rollup, inbox, prover, genesis, sequencer, challenger):
    header = post(rollup, sequencer, genesis)
    later = post(rollup, sequencer, header)
    remove(rollup, challenger, header, genesis)
    for removed in (header, later):
        expected = Revert("RollupInbox_NotPending", removed.hash)
        assert outcome(inbox.remove, removed, 6, challenger, sender=prover) == expected


def test_remove__then_post_again__addresses_by_content(
    rollup, inbox, prover, genesis, sequencer, proposer, challenger
):
    """A challenge aimed at the removed batch cannot hit the one that took its index."""
    bad = post(rollup, sequencer, genesis)
    remove(rollup, challenger, bad, genesis)
    good = post(rollup, proposer, genesis)
    assert good.index == bad.index
    assert inbox.headerHash(1) == good.hash
    expected = Revert("RollupInbox_NotPending", bad.hash)
    assert outcome(inbox.remove, bad, 6, challenger, sender=prover) == expected
    assert inbox.isPending(good)


def test_remove__sequencer_slashed__opens_the_turn(
    rollup, inbox, genesis, sequencer, proposer, challenger
):
    first = post(rollup, sequencer, genesis)
    bad = post(rollup, sequencer, first)
    remove(rollup, challenger, bad, first)
    expected = Revert("RollupInbox_NotBonded", sequencer)
    assert outcome(inbox.submitBatch, batch(first), sender=sequencer) == expected
    assert outcome(inbox.submitBatch, batch(first), sender=proposer) is SUCCESS


# Bonds


def test_bond__right_amount__is_recorded(inbox, alice):
    receipt = inbox.bond(value=BOND, sender=alice)
    (event,) = receipt.decode_logs(inbox.Bonded)
    assert (event.proposer, event.amount) == (alice, BOND)
    assert inbox.bondOf(alice).amount == BOND


@pytest.mark.parametrize("value", [0, 1, BOND - 1, BOND + 1])
def test_bond__wrong_amount__reverts(inbox, alice, value):
    expected = Revert("RollupInbox_WrongBond", BOND, value)
    assert outcome(inbox.bond, sender=alice, value=value) == expected


def test_bond__twice__reverts(inbox, sequencer):
    expected = Revert("RollupInbox_AlreadyBonded", sequencer)
    assert outcome(inbox.bond, sender=sequencer, value=BOND) == expected


def test_inbox__plain_ether__is_refused(inbox, alice):
    transaction = {"from": alice.address, "to": inbox.address, "value": hex(1)}
    response = chain.provider.web3.provider.make_request("eth_call", [transaction, "latest"])
    assert "error" in response


def test_withdraw_bond__pending_batch__reverts(rollup, inbox, genesis, sequencer, settle):
    first = post(rollup, sequencer, genesis)
    advance(1000)
    last = post(rollup, sequencer, first)
    until = last.l1_time + CHALLENGE_WINDOW
    set_time(until)
    expected = Revert("RollupInbox_BondLocked", until)
    assert outcome(inbox.withdrawBond, sender=sequencer) == expected
    settle(last)
    before = sequencer.balance
    receipt = inbox.withdrawBond(sender=sequencer)
    (event,) = receipt.decode_logs(inbox.BondWithdrawn)
    assert (event.proposer, event.amount) == (sequencer, BOND)
    assert sequencer.balance == before + BOND - receipt.total_fees_paid
    assert inbox.bondOf(sequencer).amount == 0


def test_withdraw_bond__nothing_there__reverts(inbox, alice, sequencer):
    expected = Revert("RollupInbox_NotBonded", alice)
    assert outcome(inbox.withdrawBond, sender=alice) == expected
    inbox.withdrawBond(sender=sequencer)
    expected = Revert("RollupInbox_NotBonded", sequencer)
    assert outcome(inbox.withdrawBond, sender=sequencer) == expected


def test_withdraw_bond__reentered__pays_once(inbox, deployer):
    caller = deployer.deploy(project.Caller)
    caller.execute(inbox, inbox.bond.encode_input(), value=BOND, sender=deployer)
    withdraw = inbox.withdrawBond.encode_input()
    caller.callOnReceive(inbox, withdraw, sender=deployer)
    assert outcome(caller.execute, inbox, withdraw, sender=deployer).name == "Caller_Failed"


# Slashing and rewards


def test_slash__bad_batch__burns_half_and_holds_half(
    rollup, inbox, genesis, sequencer, challenger, alice
):
    bad = post(rollup, sequencer, genesis)
    before = inbox.balance
    receipt = remove(rollup, challenger, bad, genesis)
    (event,) = receipt.decode_logs(inbox.BondSlashed)
    assert (event.proposer, event.challenger) == (sequencer, challenger)
    assert (event.reward, event.burnt) == (HALF, BOND - HALF)
    assert inbox.balance == before
    assert inbox.bondOf(sequencer).amount == 0
    until = receipt.timestamp + CHALLENGE_WINDOW
    assert inbox.rewardOf(sequencer).challenger == challenger
    assert inbox.rewardOf(sequencer).claimableAt == until
    assert outcome(inbox.withdrawBond, sender=sequencer).name == "RollupInbox_NotBonded"

    set_time(until)
    expected = Revert("RollupInbox_RewardLocked", until)
    assert outcome(inbox.claimReward, sequencer, sender=challenger) == expected
    set_time(until + 1)
    funds = challenger.balance
    receipt = inbox.claimReward(sequencer, sender=alice)
    (event,) = receipt.decode_logs(inbox.RewardClaimed)
    assert (event.proposer, event.challenger, event.amount) == (sequencer, challenger, HALF)
    assert challenger.balance == funds + HALF
    assert inbox.balance == before - HALF
    expected = Revert("RollupInbox_NoReward", sequencer)
    assert outcome(inbox.claimReward, sequencer, sender=challenger) == expected


def test_slash__batches_of_others_after_it__cost_them_nothing(
    rollup, inbox, genesis, sequencer, challenger, post_in_public, proposer, settle
):
    """S: bad, P: built on it. P goes with S but keeps its bond."""
    bad = post(rollup, sequencer, genesis)
    honest = post_in_public(bad)
    remove(rollup, challenger, bad, genesis)
    assert inbox.stageOf(honest) == 0
    assert inbox.bondOf(proposer).amount == BOND
    assert inbox.rewardOf(proposer).challenger == ZERO_ADDRESS
    settle(honest)
    assert outcome(inbox.withdrawBond, sender=proposer) is SUCCESS


def test_reward__earlier_batch_of_the_same_proposer__passes_it_on(
    rollup, inbox, genesis, sequencer, challenger, rival
):
    """S: bad, bad. S has a friend prove the second; whoever proves the first takes the reward."""
    first = post(rollup, sequencer, genesis)
    advance(3600)
    second = post(rollup, sequencer, first)
    remove(rollup, rival, second, first)
    until = inbox.rewardOf(sequencer).claimableAt
    receipt = remove_at(rollup, challenger, first, genesis, first.l1_time + CHALLENGE_WINDOW)
    (event,) = receipt.decode_logs(inbox.RewardPassed)
    assert (event.proposer, event["from"], event.to) == (sequencer, rival, challenger)
    assert inbox.rewardOf(sequencer).challenger == challenger
    assert inbox.rewardOf(sequencer).claimableAt == until
    set_time(until + 1)
    funds = challenger.balance
    inbox.claimReward(sequencer, sender=rival)
    assert challenger.balance == funds + HALF


def test_reward__earlier_batch_of_another_proposer__leaves_it(
    rollup, inbox, genesis, sequencer, proposer, challenger, rival, post_in_public
):
    """S: bad, P: bad. Each bond is slashed on its own."""
    first = post(rollup, sequencer, genesis)
    second = post_in_public(first)
    remove(rollup, challenger, second, first)
    remove(rollup, rival, first, genesis)
    assert inbox.rewardOf(proposer).challenger == challenger
    assert inbox.rewardOf(sequencer).challenger == rival


def test_reward__batches_around_another_proposer__passes_within_the_same_one(
    rollup, inbox, genesis, proposer, sequencer, challenger, rival, post_in_public
):
    """P: bad, S: honest on top, P: bad. The third falls first, then the first."""
    first = post_in_public(genesis)
    second = post(rollup, sequencer, first)
    third = post_in_public(second)
    remove(rollup, rival, third, second)
    assert inbox.isPending(second)
    remove(rollup, challenger, first, genesis)
    assert inbox.rewardOf(proposer).challenger == challenger
    assert inbox.bondOf(sequencer).amount == BOND


def test_reward__last_earlier_batch__settles_before_it_can_be_claimed(
    rollup, inbox, prover, genesis, sequencer, rival
):
    """All earlier batches of a slashed proposer are beyond removal when the reward is paid."""
    first = post(rollup, sequencer, genesis)
    second = post(rollup, sequencer, first)
    receipt = remove(rollup, rival, second, first)
    set_time(receipt.timestamp + CHALLENGE_WINDOW + 1)
    assert outcome(inbox.claimReward, sequencer, sender=rival) is SUCCESS
    assert outcome(inbox.remove, first, 6, rival, sender=prover).name == "RollupInbox_NotPending"


def test_bond__while_reward_is_open__reverts(rollup, inbox, genesis, sequencer, challenger, alice):
    """So a later bond and what is posted under it never mix with an old reward."""
    bad = post(rollup, sequencer, genesis)
    receipt = remove(rollup, challenger, bad, genesis)
    expected = Revert("RollupInbox_RewardOpen", sequencer)
    assert outcome(inbox.bond, sender=sequencer, value=BOND) == expected
    set_time(receipt.timestamp + CHALLENGE_WINDOW + 1)
    assert outcome(inbox.bond, sender=sequencer, value=BOND) == expected
    inbox.claimReward(sequencer, sender=alice)
    inbox.bond(value=BOND, sender=sequencer)
    assert inbox.bondOf(sequencer).lastBatchTime == 0

    bad = post(rollup, sequencer, genesis)
    remove(rollup, alice, bad, genesis)
    assert inbox.rewardOf(sequencer).challenger == alice


def test_reward__refused_by_the_challenger__is_forced_on_it(
    rollup, inbox, genesis, sequencer, deployer, alice
):
    """Else a challenger that takes no ether could keep a proposer from ever bonding again."""
    caller = deployer.deploy(project.Caller)
    bad = post(rollup, sequencer, genesis)
    proof = (chunk_proof(bad, genesis, [chunk()], 0), chunk().data, verdict(6))
    payload = rollup.prover.prove.encode_input(*proof)
    receipt = caller.execute(rollup.prover, payload, sender=deployer)
    set_time(receipt.timestamp + CHALLENGE_WINDOW + 1)
    inbox.claimReward(sequencer, sender=alice)
    assert caller.balance == HALF


def test_reward__unknown_proposer__reverts(inbox, alice):
    expected = Revert("RollupInbox_NoReward", alice)
    assert outcome(inbox.claimReward, alice, sender=alice) == expected


def test_slash__self_challenge__costs_half(rollup, inbox, genesis, sequencer):
    before = sequencer.balance + BOND
    bad = post(rollup, sequencer, genesis)
    receipt = remove(rollup, sequencer, bad, genesis)
    set_time(receipt.timestamp + CHALLENGE_WINDOW + 1)
    inbox.claimReward(sequencer, sender=sequencer)
    assert sequencer.balance <= before - BOND + HALF


def remove_at(rollup, challenger, header, previous, timestamp):
    """Remove in a block at `timestamp`."""
    request = chain.provider.web3.provider.make_request
    set_time(timestamp - 1)
    request("evm_setNextBlockTimestamp", [hex(timestamp)])
    return remove(rollup, challenger, header, previous)
