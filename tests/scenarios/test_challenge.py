"""Whole stories around a challenge: who lies, who notices, who pays, and that money gets out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from deltaroll.l1.commitments import compress_branch, to_header_tuple
from deltaroll.l1.gateway import L1Error
from deltaroll.l1.types import PostedChunk
from deltaroll.node.audit import compute_audit
from deltaroll.node.batcher import Batcher, BatcherError
from deltaroll.node.challenger import ChallengeError, compute_chunk_proof
from deltaroll.node.exits import ExitClaim, ExitError, find_exit
from deltaroll.node.follower import Follower
from deltaroll.node.intake import take_in
from deltaroll.node.sender import Sender
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.leaf import encode_globals
from deltaroll.protocol.state import State, compute_state_root, process_exit, set_account
from deltaroll.protocol.types import Exit, Withdraw
from tests.scenarios.support import (
    ALICE,
    BOB,
    BOND,
    BTC,
    BTC_PERP,
    CALL,
    CAROL,
    DAVE,
    ERIN,
    ETH,
    ETH_PERP,
    FRANK,
    PRICES,
    WINDOW,
    Chunk,
    Lab,
    Lie,
    observe_with,
)

HOUR = 3_600
PRICE = PRICES[BTC]


def steal(state: State) -> None:
    """Make Frank a million richer."""
    thief = state.accounts[FRANK]
    set_account(state, FRANK, replace(thief, cash=thief.cash + 10**12))


class Operator:
    """The base's sequencer and batcher, started again."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.sequencer: Sequencer = lab.open_sequencer()
        self.batcher = Batcher(
            self.sequencer.store,
            Follower(lab.venue.gateway),
            Sender(lab.venue.gateway, lab.venue.operator),
        )

    def take_in(self) -> None:
        """Look at L1 a minute later, have the committee sign new prices."""
        self.lab.venue.advance(60)
        take_in(self.sequencer, self.batcher.follower)
        for underlying, price in PRICES.items():
            observe_with(self.lab.venue, self.sequencer, underlying, price)

    def withdraw(self, amount: int) -> None:
        """Have Erin withdraw."""
        recipient = self.lab.venue.keys[ERIN].address
        withdraw = Withdraw(ERIN, recipient, amount, self.sequencer.state.accounts[ERIN].nonce + 1)
        signature = self.lab.venue.keys[ERIN].sign_action(self.lab.domain, withdraw)
        self.sequencer.submit_action(withdraw, signature)

    def seal(self) -> None:
        """Close the open chunk."""
        self.sequencer.seal()
        self.sequencer.flush()

    def read_sealed(self) -> Lie:
        """Return what is sealed and not posted, as a batch."""
        number = self.batcher.find_next_chunk()
        chunks = []
        while (chunk := self.sequencer.store.get_chunk(number)) is not None:
            chunks.append(chunk)
            number += 1
        return Lie(tuple(Chunk(chunk.data, chunk.signatures) for chunk in chunks))


@pytest.fixture
def operator(lab: Lab) -> Operator:
    return Operator(lab)


def test_challenge__lie_between_honest_batches__later_ones_go_unslashed_and_come_back(
    lab: Lab, operator: Operator
) -> None:
    # | hour | operator (the sequencer) | standby | watcher |
    # |---|---|---|---|
    # | 0 | posts honest batch A | | |
    # | 13 | has been silent | posts a batch in which Frank is a million richer | |
    # | 13 | its batcher refuses to build on that | | |
    # | 13 | posts honest chunks on top of it all the same | | |
    # | 13 | | | proves the lie: both batches are gone, the standby's bond too |
    # | 13 | its batcher posts the same chunks again, on A | | |
    inbox = lab.inbox
    operator.take_in()
    operator.seal()
    assert operator.batcher.post() is not None
    lab.advance(13 * HOUR)
    before = lab.head

    lie = lab.lie(lab.transfer(sender=FRANK, recipient=BOB), twist=steal)
    findings, posted = lab.judge(lie)
    assert [finding.fault for finding in findings] == [Fault.WRONG_POST_ROOT]
    lab.post(lie, posted, sender=lab.venue.standby)

    operator.take_in()
    operator.withdraw(10**6)
    operator.seal()
    with pytest.raises(BatcherError, match="fraudulent"):
        operator.batcher.post()
    fraud = operator.batcher.follower.fraud
    assert fraud is not None
    later = operator.read_sealed()
    roots = [PostedChunk(*chunk, keccak_of(place)) for place, chunk in enumerate(later.chunks)]
    post_on(lab, fraud.submitted.header, later, roots)
    assert inbox.batchCount() == before.index + 3

    removal = lab.challenge()
    assert removal is not None
    assert removal.fraud.submitted.header.index == before.index + 1
    assert inbox.batchCount() == before.index + 1
    assert inbox.bondOf(lab.venue.standby).amount == 0
    assert inbox.rewardOf(lab.venue.standby).challenger == lab.venue.watcher.address
    assert inbox.bondOf(lab.venue.operator).amount == BOND
    assert inbox.rewardOf(lab.venue.operator).claimableAt == 0

    operator.batcher.follower.poll()
    posting = operator.batcher.post()
    assert posting is not None
    assert tuple((chunk.data, chunk.signatures) for chunk in posting.chunks) == later.chunks
    lab.sync()
    assert lab.head == posting.header
    assert lab.head.previous == removal.fraud.previous.header_hash
    assert compute_audit(lab.follower).is_conserved
    assert lab.state.accounts == operator.sequencer.state.accounts


def keccak_of(place: int) -> bytes:
    """Return a root that no state has: on top of a lie no root is right."""
    return bytes((place + 1,)) * 32


def post_on(lab: Lab, previous: object, lie: Lie, posted: list[PostedChunk]) -> None:
    """Post on top of a batch that the lab's own follower does not accept."""
    follower = lab.follower
    follower.poll()
    arguments = (
        to_header_tuple(previous),  # type: ignore[arg-type]
        len(follower.state.messages),
        follower.queue_hashes[len(follower.state.messages) - 1],
        2**64 - 1,
        (0, "0x" + bytes(20).hex(), 0, bytes(32)),
        [(chunk.data, chunk.signatures, chunk.post_root) for chunk in posted],
    )
    lab.venue.send(lab.inbox.submitBatch, arguments, sender=lab.venue.operator)


def test_challenge__two_frauds_in_a_batch__first_is_proven(lab: Lab) -> None:
    # | operator posts one batch | watcher |
    # |---|---|
    # | an honest chunk | |
    # | a chunk with a price between ticks | proves this one |
    # | a chunk with a transfer of nothing | |
    # | a chunk with a forged signature | |
    forged = lab.transfer(sender=DAVE)
    forged = forged._replace(signatures=lab.transfer(sender=BOB).signatures)
    lie = Lie(
        (
            lab.chunk(lab.transfer()),
            lab.chunk(lab.fill(of_maker={"price": PRICE - 1})),
            lab.chunk(lab.transfer(amount=0, sender=CAROL)),
            lab.chunk(forged),
        )
    )
    findings, posted = lab.judge(lie)
    faults = [(finding.chunk, finding.fault) for finding in findings]
    assert faults == [(1, Fault.TICK), (2, Fault.ZERO_AMOUNT), (3, Fault.BAD_SIGNATURE)]
    lab.post(lie, posted)
    lab.remove(Fault.TICK, chunk=1)


def test_challenge__fraud_in_second_chunk__bound_to_the_root_before_it(lab: Lab) -> None:
    # | operator | attacker of the proof | watcher |
    # |---|---|---|
    # | posts an honest chunk, then a stolen balance | | |
    # | | gives another root as the one before | fails |
    # | | gives another data hash for the chunk before | fails |
    # | | | proves the second chunk |
    lie = Lie((lab.chunk(lab.transfer()), lab.chunk(lab.transfer(sender=DAVE))), twist=steal)
    findings, posted = lab.judge(lie)
    assert [(finding.chunk, finding.fault) for finding in findings] == [(1, Fault.WRONG_POST_ROOT)]
    lab.post(lie, posted)
    watcher = Follower(lab.venue.gateway)
    watcher.poll()
    fraud = watcher.fraud
    assert fraud is not None
    proof = compute_chunk_proof(fraud)
    data, prove = fraud.chunks[1].data, lab.contracts.prover.prove
    for field, lies in ((6, bytes(32)), (7, b"\x01" * 32), (8, lab.head.post_root)):
        wrong = (*proof[:field], lies, *proof[field + 1 :])
        refusal = lab.venue.simulate(prove, wrong, data, fraud.witness, sender=lab.venue.watcher)
        assert refusal == "FraudProver_WrongChunk"
    lab.remove(Fault.WRONG_POST_ROOT, chunk=1)


def test_challenge__l1_reorganised__follower_recovers_and_old_proof_fails_cleanly(
    lab: Lab,
) -> None:
    # | L1 | watcher |
    # |---|---|
    # | operator posts a lie | sees it |
    # | the block is reorganised away: an honest batch of the same index stands there | |
    # | | has not looked again: the block of its view is gone; nothing is sent |
    # | | looks again: no fraud, the honest state |
    watcher = lab.watch()
    lie = lab.lie(lab.transfer(), twist=steal)
    honest = lab.lie(lab.transfer())
    _, lying = lab.judge(lie)
    _, good = lab.judge(honest)
    with fork(lab):
        lab.post(lie, lying)
        watcher.follower.poll()
        assert watcher.follower.fraud is not None
    lab.post(honest, good)
    nonce = lab.venue.watcher.nonce
    with pytest.raises(L1Error):
        watcher.challenge()
    assert lab.venue.watcher.nonce == nonce
    assert lab.inbox.batchCount() == lab.head.index + 2

    watcher.follower.poll()
    lab.sync()
    assert watcher.follower.fraud is None
    assert watcher.challenge() is None
    assert watcher.follower.state_root == good[-1].post_root == lab.head.post_root


def test_challenge__removal_reorganised_away__proven_again(lab: Lab) -> None:
    # | L1 | watcher |
    # |---|---|
    # | operator posts a lie | proves it |
    # | the removal is reorganised away | looks again: the lie is back |
    # | | proves it again |
    watcher = lab.watch()
    lie = lab.lie(lab.transfer(), twist=steal)
    _, posted = lab.judge(lie)
    lab.post(lie, posted)
    watcher.follower.poll()
    with fork(lab):
        assert watcher.challenge() is not None
        watcher.follower.poll()
        assert watcher.follower.fraud is None
    lab.venue.advance(60)
    watcher.follower.poll()
    assert watcher.follower.fraud is not None
    lab.remove(Fault.WRONG_POST_ROOT)


@contextmanager
def fork(lab: Lab) -> Iterator[None]:
    """Forget at the end of the block of code what L1 has mined in it."""
    request = lab.venue.provider.make_request
    snapshot = request("evm_snapshot", [])
    yield
    assert request("evm_revert", [snapshot])


def test_challenge__two_watchers__second_fails_cleanly(lab: Lab) -> None:
    # | watcher | rival |
    # |---|---|
    # | sees the lie | sees the lie |
    # | proves it | |
    # | | simulates its proof: the batch is gone; nothing is sent |
    lie = lab.lie(lab.transfer(), twist=steal)
    _, posted = lab.judge(lie)
    lab.post(lie, posted)
    rival = lab.watch(lab.venue.standby)
    rival.follower.poll()
    lab.remove(Fault.WRONG_POST_ROOT)
    with pytest.raises(ChallengeError, match="the proof reverts"):
        rival.challenge()
    rival.follower.poll()
    assert rival.challenge() is None
    assert lab.inbox.rewardOf(lab.venue.operator).challenger == lab.venue.watcher.address


def test_claim_exit__of_a_removed_batch__never_paid(lab: Lab) -> None:
    # | operator | watcher | Frank |
    # |---|---|---|
    # | posts a state with an exit of all the money to Frank | | |
    # | | removes it | |
    # | | | waits a challenge window, proves his exit in that state: refused |
    loot = Exit(0, lab.venue.keys[FRANK].address, 10**11)

    def twist(state: State) -> None:
        process_exit(state, loot)

    lie = lab.lie(lab.transfer(), twist=twist)
    _, posted = lab.judge(lie)
    state = lab.state
    state.begin()
    twist(state)
    compute_state_root(state)
    branch = state.get_exit_branch(0)
    encoding = encode_globals(state.globals)
    state.rollback()
    lab.post(lie, posted)
    removal = lab.remove(Fault.WRONG_POST_ROOT)
    lab.advance(WINDOW + 1)
    recipient = "0x" + loot.recipient.hex()
    refusal = lab.venue.simulate(
        lab.contracts.bridge.claimExit,
        to_header_tuple(removal.fraud.submitted.header),
        encoding,
        (0, 0, recipient, loot.amount),
        *compress_branch(branch),
        sender=lab.venue.owners[FRANK],
    )
    assert refusal == "Bridge_NotSettled"


# Leaving


def claim(lab: Lab, exit_claim: ExitClaim) -> str | None:
    """Simulate a claim, and send it when it would succeed; return the refusal."""
    arguments = (
        exit_claim.header,
        exit_claim.globals,
        (exit_claim.index, 0, "0x" + exit_claim.recipient.hex(), exit_claim.amount),
        *compress_branch(exit_claim.branch),
    )
    method = lab.contracts.bridge.claimExit
    refusal = lab.venue.simulate(method, *arguments, sender=lab.venue.watcher)
    if refusal is None:
        lab.venue.send(method, *arguments, sender=lab.venue.watcher)
    return refusal


def test_claim_exit__withdrawn_and_forced__paid_once_when_settled(
    lab: Lab, operator: Operator
) -> None:
    # | Erin | Bob, with open positions | L1 |
    # |---|---|---|
    # | signs a withdrawal | forces an exit through L1 | |
    # | | | operator posts both |
    # | claims with the newest header | | refused: not settled |
    # | | | the challenge window passes |
    # | claims | claims | pays each |
    # | claims again | claims again | refused |
    bridge, token = lab.contracts.bridge, lab.contracts.token
    amounts = {ERIN: 12_345_678, BOB: 1_000 * 10**6}
    owners = {account: lab.venue.owners[account].address for account in amounts}
    lab.venue.send(bridge.forceExit, BOB, amounts[BOB], sender=lab.venue.owners[BOB])
    operator.take_in()
    operator.withdraw(amounts[ERIN])
    operator.seal()
    assert operator.batcher.post() is not None
    lab.sync()
    assert lab.state.globals.queue_index == bridge.queueCount()
    assert lab.state.globals.skipped == 0
    with pytest.raises(ExitError, match="not settled yet"):
        find_exit(lab.follower, lab.venue.keys[ERIN].address)
    compute_state_root(lab.state)
    places = {leaf.recipient: place for place, leaf in enumerate(lab.state.exits)}
    early = [
        ExitClaim(
            to_header_tuple(lab.head),
            encode_globals(lab.state.globals),
            places[lab.venue.keys[account].address],
            lab.venue.keys[account].address,
            amounts[account],
            lab.state.get_exit_branch(places[lab.venue.keys[account].address]),
        )
        for account in amounts
    ]
    assert [claim(lab, each) for each in early] == ["Bridge_NotSettled"] * 2

    lab.advance(WINDOW + 1)
    before = {account: token.balanceOf(owner) for account, owner in owners.items()}
    claims = [find_exit(lab.follower, lab.venue.keys[account].address) for account in amounts]
    assert [(each.header, each.index) for each in claims] == [
        (each.header, each.index) for each in early
    ]
    assert [claim(lab, each) for each in claims] == [None, None]
    for account, owner in owners.items():
        assert token.balanceOf(owner) == before[account] + amounts[account]
    assert [claim(lab, each) for each in claims] == ["Bridge_AlreadyClaimed"] * 2
    with pytest.raises(ExitError):
        find_exit(lab.follower, lab.venue.keys[ERIN].address)
    assert compute_audit(lab.follower).is_conserved


def test_submit_batch__queue_ignored_for_12_hours__refused_until_honoured(
    lab: Lab, operator: Operator
) -> None:
    # | hour | Alice | operator | L1 |
    # |---|---|---|---|
    # | 0 | forces an exit | | |
    # | 1 | | posts without it | takes it |
    # | 13 | | posts without it | refuses |
    # | 13 | | posts it | takes it; she has her exit |
    bridge = lab.contracts.bridge
    lab.venue.send(bridge.forceExit, ALICE, 10**6, sender=lab.venue.owners[ALICE])
    waiting = lab.head.queue_end
    lab.advance(HOUR)
    lab.post_honest(lab.chunk(lab.transfer()), queue_end=waiting)
    lab.advance(12 * HOUR)
    ignoring = lab.lie(lab.transfer(nonce=101), queue_end=waiting)
    findings, posted = lab.judge(ignoring)
    assert not findings
    with pytest.raises(AssertionError, match="RollupInbox_ForcedInclusion"):
        lab.post(ignoring, posted)
    assert lab.inbox.batchCount() == lab.head.index + 1

    price = lab.observe(BTC, PRICE)
    other = lab.observe(ETH, PRICES[ETH])
    marks = (lab.mark(BTC_PERP, 3), lab.mark(ETH_PERP))
    options = (lab.surface(), lab.mark(CALL, 2))
    lab.post_honest(lab.chunk(price, other, *marks, *options, lab.queue()))
    (leaf,) = lab.state.exits
    assert (leaf.recipient, leaf.amount) == (lab.venue.keys[ALICE].address, 10**6)
