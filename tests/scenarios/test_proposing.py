"""Proposing without the sequencer, on a real L1; and the L1 queue against a sequencer that works.

| who | moves |
|---|---|
| the operator | falls silent, comes back, works through a flood |
| the standby | a follower with a bond |
| Alice, Bob | trade; their fills are accepted before the silence |
| Erin | asks L1 for her money |
| a spammer | fills the queue |
"""

import io
import json
from dataclasses import replace
from typing import Any

import click
import pytest

from deltaroll.engine.matching import RestingOrder
from deltaroll.leave.force import ForceError, encode_forced, forecast_forced, read_forced
from deltaroll.node.batcher import (
    Batcher,
    ForeignBatchError,
    StaleChunksError,
    compute_submission,
)
from deltaroll.node.entries import OrderEntry
from deltaroll.node.follower import Follower
from deltaroll.node.intake import take_in
from deltaroll.node.machine import copy_state
from deltaroll.node.proposer import Proposer, Right
from deltaroll.node.recovery import Obstacle, Recovery, Report
from deltaroll.node.sender import Sender
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import compute_state_root
from deltaroll.protocol.types import AccountId, Mark, Observation, SlotId, Timestamp
from deltaroll.sdk.signing import Action
from tests.loading import load_script
from tests.scenarios.support import (
    ALICE,
    BOB,
    BTC,
    BTC_PERP,
    ERIN,
    EXPIRY,
    FOREVER,
    FRANK,
    PRICES,
    RICH,
    THRESHOLD,
    Lab,
    Lie,
    observe_with,
    order_with,
    surface_with,
)

HOUR = 3_600
DELAY = 12 * HOUR
ALL = (1 << 128) - 1


def open_proposer(lab: Lab) -> Proposer:
    proposer = Proposer(Follower(lab.venue.gateway), Sender(lab.venue.gateway, lab.venue.standby))
    proposer.follower.poll()
    return proposer


def force_exit(lab: Lab, account: AccountId, amount: int = ALL) -> None:
    bridge = lab.contracts.bridge
    lab.venue.send(bridge.forceExit, account, amount, sender=lab.venue.owners[account])


def price(lab: Lab, sequencer: Sequencer) -> None:
    """Have the committee price everything."""
    for market, index in PRICES.items():
        observe_with(lab.venue, sequencer, market, index)
    surface_with(lab.venue, sequencer, EXPIRY)


def rejoin(sequencer: Sequencer, follower: Follower) -> Report | None:
    """Go on from what L1 holds and seal what is sequenced again."""
    report = Recovery(follower, patience=0).check(sequencer)
    sequencer.seal()
    sequencer.flush()
    return report


def get_book(sequencer: Sequencer) -> list[RestingOrder]:
    """All resting orders, without their places in the log: those of a repeated one are new."""
    return [replace(resting, sequence=0) for resting in sequencer.engine.get_orders()]


def compute_told_root(lab: Lab, sequencer: Sequencer) -> bytes:
    """The root of a live state with the clock and the fee levels of L1's: it is told the one before
    it seals, and of the other only what the data fee needs."""
    state, told = copy_state(sequencer.state), lab.state.globals
    state.globals = replace(
        state.globals,
        clock=told.clock,
        base_fee_level=told.base_fee_level,
        blob_fee_level=told.blob_fee_level,
    )
    return compute_state_root(state)


def orders_of(report: Report) -> list[OrderEntry]:
    """What a recovery has reverted, all of it orders."""
    entries = [one.entry for one in report.reverted]
    assert all(isinstance(entry, OrderEntry) for entry in entries)
    return [entry for entry in entries if isinstance(entry, OrderEntry)]


def make_observation_line(lab: Lab, time: int) -> bytes:
    """Signed prices as a request."""
    prices = []
    for member in range(THRESHOLD):
        seen = Observation(member, PRICES[BTC], Timestamp(time))
        signature = lab.venue.committee[member].sign_observation(lab.domain, BTC, seen)
        entry = {"signer": member, "price": seen.price, "time": time}
        prices.append({**entry, "signature": "0x" + signature.hex()})
    return json.dumps({"type": "observe", "market": BTC, "prices": prices}).encode()


def test_propose__sequencer_silent_while_work_waits__queue_is_served(lab: Lab):
    proposer = open_proposer(lab)
    assert proposer.find_right() == Right.NONE
    force_exit(lab, ERIN)
    proposer.follower.poll()
    assert proposer.has_work()
    assert proposer.propose() == []
    lab.advance(DELAY + 60)
    proposer.follower.poll()
    assert proposer.find_right() == Right.SILENCE
    assert proposer.follower.head is not None
    time = proposer.follower.head.time
    (answer,) = proposer.take([make_observation_line(lab, time)])
    assert json.loads(answer)["status"] == "done"
    (posting,) = proposer.propose()
    assert posting.header.proposer == bytes.fromhex(lab.venue.standby.address[2:])
    lab.sync()
    assert lab.follower.fraud is None
    assert lab.state.exits[-1].amount == RICH
    assert lab.state.markets[BTC].observed_at == time
    assert not proposer.has_work()
    # The turn is the sequencer's again.
    assert proposer.find_right() == Right.NONE
    assert proposer.propose() == []


def test_propose__positions_without_a_price__request_is_consumed_and_passed_over(lab: Lab):
    """Nobody gives the proposer prices: Bob's request cannot be honoured, and stops nobody."""
    force_exit(lab, BOB)
    lab.advance(DELAY + 60)
    proposer = open_proposer(lab)
    skipped = proposer.follower.state.globals.skipped
    assert len(proposer.propose()) == 1
    lab.sync()
    assert lab.follower.fraud is None
    assert lab.state.globals.skipped == skipped + 1


def test_propose__sequencer_slashed__at_once_and_for_as_long_as_it_lasts(lab: Lab):
    bad = lab.lie(lab.transfer(), root=bytes(31) + b"\x01")
    findings, posted = lab.judge(bad)
    assert [finding.fault for finding in findings] == [Fault.WRONG_POST_ROOT]
    lab.post(bad, posted)
    lab.challenge()
    proposer = open_proposer(lab)
    assert proposer.find_right() == Right.NO_BOND
    for account in (ERIN, ALICE):
        force_exit(lab, account, 10**6)
        proposer.follower.poll()
        proposer.take([])
        assert len(proposer.propose()) == 1
        assert not proposer.has_work()


def test_rejoin__others_proposed_meanwhile__accepted_fills_settle_on_their_head(lab: Lab):
    """Fills that were accepted before somebody else's batch landed are sealed again behind it; the
    book is as it was, and a restart repeats all of it.
    """
    sequencer = lab.open_sequencer()
    follower = Follower(lab.venue.gateway)
    batcher = Batcher(sequencer.store, follower, Sender(lab.venue.gateway, lab.venue.operator))
    force_exit(lab, ERIN)
    lab.advance(DELAY + 60)
    take_in(sequencer, follower)
    price(lab, sequencer)
    sides = ((ALICE, False), (BOB, True))
    for account, is_buy in sides:
        order_with(lab.venue, sequencer, account, SlotId(70), BTC_PERP, is_buy, PRICES[BTC], 3)
    order_with(lab.venue, sequencer, ALICE, SlotId(71), BTC_PERP, False, PRICES[BTC] + 1_000, 5)
    sequencer.seal()
    sequencer.flush()
    held = [sequencer.state.accounts[account].positions for account, _ in sides]
    book = get_book(sequencer)
    assert len(book) == 1

    lab.advance(60)
    proposer = open_proposer(lab)
    proposer.take([])
    assert len(proposer.propose()) == 1
    follower.poll()
    with pytest.raises(ForeignBatchError, match="was not posted from this store"):
        batcher.post()
    report = rejoin(sequencer, follower)
    assert report is not None
    assert (report.obstacle, report.reverted) == (Obstacle.FOREIGN_BATCH, ())
    assert batcher.post() is not None
    assert batcher.post() is None
    lab.sync()
    assert lab.follower.fraud is None
    assert lab.follower.state_root == compute_told_root(lab, sequencer)
    assert [lab.state.accounts[account].positions for account, _ in sides] == held
    assert get_book(sequencer) == book
    assert [leaf.amount for leaf in lab.state.exits[-1:]] == [RICH], "Erin left once"

    again = Sequencer(sequencer.store, lab.domain)
    assert compute_state_root(again.state) == lab.follower.state_root
    assert again.engine.get_orders() == sequencer.engine.get_orders()
    # Trading goes on.
    order_with(lab.venue, sequencer, BOB, SlotId(72), BTC_PERP, True, PRICES[BTC] + 1_000, 5)
    sequencer.seal()
    sequencer.flush()
    assert batcher.post() is not None
    lab.sync()
    assert lab.follower.fraud is None


def test_rejoin__l1_takes_that_head_back__both_lines_end_in_one(lab: Lab):
    """The batch of the others is reorganised away after the sequencer has gone on from it: both
    lines end in one, with nothing lost and nothing done twice.
    """
    provider = lab.venue.provider
    sequencer = lab.open_sequencer()
    follower = Follower(lab.venue.gateway)
    batcher = Batcher(sequencer.store, follower, Sender(lab.venue.gateway, lab.venue.operator))
    force_exit(lab, ERIN, 10**6)
    lab.advance(DELAY + 60)
    take_in(sequencer, follower)
    signed = lab.transfer()
    sequencer.submit_action(signed.transaction, signed.signatures[0])
    sequencer.seal()
    sequencer.flush()
    cash = sequencer.state.accounts[ERIN].cash
    lab.advance(60)
    snapshot = provider.make_request("evm_snapshot", [])
    proposer = open_proposer(lab)
    proposer.take([])
    proposer.propose()
    follower.poll()
    with pytest.raises(ForeignBatchError):
        batcher.post()
    report = rejoin(sequencer, follower)
    assert report is not None
    assert (report.obstacle, report.reverted) == (Obstacle.FOREIGN_BATCH, ())
    provider.make_request("evm_revert", [snapshot])
    lab.advance(60)
    take_in(sequencer, follower)
    # The chunk of the others is one of ours by now: it is posted again with what follows it.
    assert rejoin(sequencer, follower) is None
    while batcher.post() is not None:
        pass
    lab.sync()
    assert lab.follower.fraud is None
    assert lab.state.accounts[ERIN].cash == cash
    assert lab.follower.state_root == compute_told_root(lab, sequencer)
    again = Sequencer(sequencer.store, lab.domain)
    assert compute_state_root(again.state) == compute_state_root(sequencer.state)


def test_rejoin__chunks_too_old_to_land__what_still_holds_is_sealed_anew(lab: Lab):
    """After a day without posting a transfer still lands, a fill of expired orders does not."""
    sequencer = lab.open_sequencer()
    follower = Follower(lab.venue.gateway)
    batcher = Batcher(sequencer.store, follower, Sender(lab.venue.gateway, lab.venue.operator))
    take_in(sequencer, follower)
    signed = lab.transfer()
    sequencer.submit_action(signed.transaction, signed.signatures[0])
    for account, is_buy in ((ALICE, False), (BOB, True)):
        order_with(lab.venue, sequencer, account, SlotId(70), BTC_PERP, is_buy, PRICES[BTC], 3)
    sequencer.seal()
    sequencer.flush()
    cash = sequencer.state.accounts[ERIN].cash
    bob = lab.state.accounts[BOB].positions
    lab.advance(24 * HOUR)
    take_in(sequencer, follower)
    with pytest.raises(StaleChunksError, match="too old"):
        batcher.post()
    report = rejoin(sequencer, follower)
    assert report is not None
    assert report.obstacle == Obstacle.STALE_CHUNK
    assert [entry.account for entry in orders_of(report)] == [ALICE, BOB]
    assert batcher.post() is not None
    lab.sync()
    assert lab.follower.fraud is None
    assert lab.state.accounts[ERIN].cash == cash
    assert lab.state.accounts[BOB].positions == bob
    assert lab.follower.state_root == compute_told_root(lab, sequencer)


def test_queue__overdue_message__blocks_every_batch_that_leaves_it(lab: Lab):
    """Twelve hours old: a batch that does not consume it reverts, whoever posts it; serving the
    second before the first cannot even be said, the queue's hash fixes the order.
    """
    force_exit(lab, ERIN, 10**6)
    lab.advance(100)
    force_exit(lab, FRANK, 10**6)
    lab.advance(DELAY + 1)
    idle = lab.lie(lab.transfer(nonce=5), queue_end=0)
    consumed = lab.head.queue_end
    idle = Lie(idle.chunks, consumed)
    findings, posted = lab.judge(idle)
    assert findings == []
    arguments = compute_submission(lab.head, lab.follower, consumed, FOREVER, posted)
    for sender in (lab.venue.operator, lab.venue.standby):
        error = lab.venue.simulate(lab.inbox.submitBatch, arguments, sender=sender)
        assert error == "RollupInbox_ForcedInclusion"
    # The first alone leaves the second, which is overdue, too.
    half = lab.lie(lab.queue(), queue_end=consumed + 1)
    _, posted = lab.judge(half)
    arguments = compute_submission(lab.head, lab.follower, consumed + 1, FOREVER, posted)
    error = lab.venue.simulate(lab.inbox.submitBatch, arguments, sender=lab.venue.operator)
    assert error == "RollupInbox_ForcedInclusion"
    lab.post_honest(lab.chunk(lab.queue(), lab.queue()))
    assert [leaf.recipient for leaf in lab.state.exits[-2:]] == [
        lab.venue.keys[account].address for account in (ERIN, FRANK)
    ]


def test_queue__served_out_of_order__is_a_provable_fault(lab: Lab):
    """Whoever serves the second message first has a state that does not follow."""
    force_exit(lab, ERIN, 10**6)
    force_exit(lab, ALICE, 2 * 10**6)
    lab.sync()
    messages = lab.state.messages
    first = lab.head.queue_end
    lab.state.messages = {**messages, first: messages[first + 1], first + 1: messages[first]}
    swapped = lab.lie(lab.queue(), lab.queue())
    findings, posted = lab.judge(swapped)
    assert findings == []
    lab.state.messages = messages
    lab.post(swapped, posted)
    lab.remove(Fault.WRONG_POST_ROOT)


def test_queue__left_out_of_a_batch_that_claims_it__is_a_provable_fault(lab: Lab):
    force_exit(lab, ERIN, 10**6)
    lab.sync()
    claimed = lab.lie(lab.transfer(nonce=5))
    findings, posted = lab.judge(claimed)
    assert [finding.fault for finding in findings] == [Fault.QUEUE_UNDERRUN]
    lab.post(claimed, posted)
    lab.remove(Fault.QUEUE_UNDERRUN)


def test_queue__flooded_while_the_book_lives__every_accepted_fill_settles(lab: Lab):
    """A spammer sends 300 messages of every kind between trades: all are consumed, in order, none
    stops the sequencer, and what it matched is on L1 as it was accepted.
    """
    sequencer = lab.open_sequencer()
    follower = Follower(lab.venue.gateway)
    batcher = Batcher(sequencer.store, follower, Sender(lab.venue.gateway, lab.venue.operator))
    bridge, spammer = lab.contracts.bridge, lab.venue.watcher
    take_in(sequencer, follower)
    bodies = [
        bridge.forceExit.encode_input(ALICE, ALL),
        bridge.forceClose.encode_input(BOB, BTC_PERP, 0),
        bridge.cancelAll.encode_input(BOB),
        bridge.force.encode_input(b"\x00"),
        bridge.force.encode_input(b"\xff" * 1_024),
        bridge.force.encode_input(make_mark_body(lab)),
    ]
    filled = 0
    for number in range(10):
        for body in bodies * 5:
            call = {"from": spammer.address, "to": bridge.address, "data": "0x" + body.hex()}
            lab.venue.provider.make_request("eth_sendTransactionSync", [call])
        take_in(sequencer, follower)
        for account, is_buy in ((ALICE, False), (BOB, True)):
            slot = SlotId(200 + number)
            order_with(lab.venue, sequencer, account, slot, BTC_PERP, is_buy, PRICES[BTC], 1)
        filled += 1
        sequencer.seal()
        sequencer.flush()
    take_in(sequencer, follower)
    sequencer.seal()
    sequencer.flush()
    before = {account: count_lots(lab, account) for account in (ALICE, BOB)}
    while batcher.post() is not None:
        pass
    lab.sync()
    assert lab.follower.fraud is None
    assert lab.follower.state_root == compute_told_root(lab, sequencer)
    assert lab.state.globals.queue_index == bridge.queueCount()
    assert count_lots(lab, ALICE) == before[ALICE] - filled
    assert count_lots(lab, BOB) == before[BOB] + filled


def count_lots(lab: Lab, account: AccountId) -> int:
    positions = lab.state.accounts[account].positions
    return sum(position.size for position in positions if position.series == BTC_PERP)


def make_mark_body(lab: Lab) -> bytes:
    """A forced Mark, which anybody may send."""
    return encode_forced(Mark(BTC_PERP, 1), (), lab.time)


def test_force__transfer_withdrawal_and_mark__signed_sent_and_honoured(lab: Lab):
    """What the command sends is what L2 does; what would be passed over is known before."""
    key = lab.venue.keys[ERIN]

    class Wallet:
        def sign_action(self, action: Action) -> bytes:
            return key.sign_action(lab.domain, action)

    recipient = "0x" + key.address.hex()
    lines = [
        b'{"type": "transfer", "sender": 5, "recipient": 2, "amount": 1000000, "nonce": 1}',
        b'{"type": "withdraw", "account": 5, "recipient": "%s", "amount": 2000000, "nonce": 2}'
        % recipient.encode(),
        b'{"type": "mark", "market": 16}',
    ]
    cash = lab.state.accounts[ERIN].cash
    for line in lines:
        transaction, signatures = read_forced([line], Wallet())
        body = encode_forced(transaction, signatures, lab.time)
        assert forecast_forced(lab.follower, key.address, body) == Fault.NONE
        lab.venue.send(lab.contracts.bridge.force, body, sender=lab.venue.owners[ERIN])
    lab.sync()
    skipped = lab.state.globals.skipped
    lab.post_honest(lab.chunk(lab.queue(), lab.queue(), lab.queue()))
    assert lab.state.globals.skipped == skipped
    assert lab.state.accounts[ERIN].cash == cash - 3 * 10**6
    assert lab.state.exits[-1].amount == 2 * 10**6
    transaction, signatures = read_forced(lines[:1], Wallet())
    body = encode_forced(transaction, signatures, lab.time)
    assert forecast_forced(lab.follower, key.address, body) == Fault.ACTION_NONCE
    for wrong, complaint in (
        ([b"nonsense"], "--request"),
        ([b'{"type": "account", "account": 1}'], "a question"),
        ([], "0 requests"),
        (lines, "3 requests"),
    ):
        with pytest.raises(ForceError, match=complaint):
            read_forced(wrong, Wallet())


def test_propose_command__bond_missing_then_paid__serves_the_queue(lab: Lab, monkeypatch, capsys):
    command = load_script("propose")
    monkeypatch.setattr(command, "open_gateway", lambda *_: lab.venue.gateway)
    monkeypatch.setattr(command, "watch", lambda look, once, interval: look())
    options: dict[str, Any] = {
        "provider": lab.venue.provider,
        "account": lab.venue.watcher,
        "registry": None,
        "bridge": None,
        "first_block": None,
        "once": True,
        "interval": 1.0,
        "pays_bond": False,
        "yes": True,
        "withdraw_bond": False,
        "requests": None,
        "urls": (),
        "max_fee": None,
        "journal": None,
        "ignores_clock": False,
    }
    command.cli.callback(**options)
    assert "not yet: it is the sequencer's turn" in capsys.readouterr().out
    force_exit(lab, ERIN)
    lab.advance(DELAY + 60)
    with pytest.raises(click.ClickException, match="has no bond"):
        command.cli.callback(**options)
    lines = io.BytesIO(make_observation_line(lab, lab.follower.poll().time) + b"\n")
    command.cli.callback(**options | {"pays_bond": True, "requests": lines})
    said = capsys.readouterr().out
    for words in (
        "The bond is 1.000000 ether",
        '"status":"done"',
        "no batch has come for too long",
    ):
        assert words in said
    lab.sync()
    assert lab.state.exits[-1].amount == RICH
    lab.advance(7 * 24 * HOUR + 60)
    command.cli.callback(**options | {"withdraw_bond": True})
    assert lab.inbox.bondOf(lab.venue.watcher).amount == 0


def test_force_command__request_and_cancel_all__are_queued_and_honoured(
    lab: Lab, monkeypatch, capsys
):
    command = load_script("force")
    monkeypatch.setattr(command, "open_gateway", lambda *_: lab.venue.gateway)
    options: dict[str, Any] = {
        "provider": None,
        "account": lab.venue.owners[ERIN],
        "registry": None,
        "bridge": None,
        "first_block": None,
        "request": None,
        "cancelled": None,
        "anyway": False,
    }
    line = b'{"type": "transfer", "sender": 5, "recipient": 2, "amount": 7, "nonce": 1}'
    command.cli.callback(**options | {"request": io.BytesIO(line)})
    command.cli.callback(**options | {"cancelled": ERIN})
    assert capsys.readouterr().out.count("no batch can leave it out") == 2
    wrong = line.replace(b'"sender": 5', b'"sender": 1')
    with pytest.raises(click.ClickException, match="passed over now: BAD_SIGNATURE"):
        command.cli.callback(**options | {"request": io.BytesIO(wrong)})
    for given in ({}, {"request": io.BytesIO(line), "cancelled": ERIN}):
        with pytest.raises(click.UsageError, match="give one of"):
            command.cli.callback(**options | given)
    lab.sync()
    epoch, cash = lab.state.accounts[ERIN].epoch, lab.state.accounts[ERIN].cash
    lab.post_honest(lab.chunk(lab.queue(), lab.queue()))
    account = lab.state.accounts[ERIN]
    assert (account.epoch, account.cash) == (epoch + 1, cash - 7)
