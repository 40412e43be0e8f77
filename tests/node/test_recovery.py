"""What cannot come to L1 any more is sequenced again, and nothing of it is lost silently."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from deltaroll.node.admission import RejectedError
from deltaroll.node.batcher import BatcherError, ForeignBatchError, StaleChunksError
from deltaroll.node.recovery import Obstacle, Recovery, Report
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from deltaroll.protocol.types import AccountId, MessageKind, SlotId, Transfer
from tests.node.l1 import SLOT, FakeL1
from tests.node.support import (
    CASH,
    OWNERS,
    PRICE,
    compute_fingerprint,
    encode_deposit,
    make_order,
)
from tests.node.test_batcher import ADA, BLAISE, Desk, move

CARL = AccountId(3)


def recover(desk: Desk, patience: int = 0) -> Report | None:
    """Poll, and do what the node does when something stands in the way."""
    desk.batcher.follower.poll()
    return Recovery(desk.batcher.follower, patience).check(desk.sequencer)


def check_restart(desk: Desk) -> Desk:
    """A restart gives the same state, book and chunks."""
    before = compute_fingerprint(desk.sequencer)
    again = desk.crash()
    assert compute_fingerprint(again.sequencer) == before
    return again


def finish(desk: Desk) -> None:
    """Post what is left; L1 then has every chunk once, also after a restart."""
    desk.sync()
    desk.seal()
    recover(desk)
    desk.seal()
    desk = check_restart(desk)
    desk.post_all()
    desk.check()
    desk.store.close()


def open_desk(path: object, markets: bool = True) -> Desk:
    desk = Desk(path, FakeL1()).open()  # type: ignore[arg-type]
    if markets:
        desk.list_markets()
    desk.post_all()
    return desk


def trade(desk: Desk, lots: int = 1) -> None:
    for account, is_buy in ((ADA, True), (BLAISE, False)):
        nonce = desk.sequencer.engine.nonces.get((account, SlotId(0)), 0) + 1
        execution = desk.venue.submit(
            account, 0, make_order(PRICE, lots, is_buy=is_buy, nonce=nonce)
        )
    assert execution.filled == lots


def deposit(desk: Desk, account: AccountId, amount: int) -> None:
    body = encode_deposit(OWNERS[account].address, account, amount)
    desk.l1.enqueue(MessageKind.DEPOSIT, OWNERS[account].address, body)


def get_bid(desk: Desk) -> int:
    """Lots of the best bid."""
    return desk.sequencer.engine.depth(make_order().market, 1).bids[0].lots


def test_check__all_is_well__does_nothing(new_path):
    desk = open_desk(new_path())
    trade(desk)
    sequence = desk.store.next_sequence
    assert recover(desk) is None
    assert desk.store.next_sequence == sequence


def test_check__consumed_deposit_reorganised_away__only_what_it_paid_for_is_reverted(new_path):
    # | user | L1 |
    # |---|---|
    # | Carl deposits as much again | holds it |
    # | Ada and Blaise trade; Carl pays Ada all that he has; Ada leaves an order | |
    # | | takes the deposit back |
    # | trade and order stand, Carl's payment does not | |
    desk = open_desk(new_path())
    deposit(desk, CARL, CASH)
    desk.sync()
    trade(desk, 3)
    payment = Transfer(CARL, ADA, 2 * CASH, desk.venue.state.accounts[CARL].nonce + 1)
    paid = desk.venue.act(payment)
    desk.venue.submit(ADA, 1, make_order(PRICE - 100, 5))
    desk.seal()
    desk.l1.reorganise(1)
    report = recover(desk)
    assert report is not None
    assert report.obstacle == Obstacle.LOST_MESSAGE
    assert [(one.sequence, type(one.entry).__name__) for one in report.reverted] == [
        (paid.sequence, "TransferEntry")
    ]
    assert "MARGIN" in report.reverted[0].reason
    assert desk.venue.state.accounts[CARL].cash == CASH
    assert get_bid(desk) == 5
    assert recover(desk) is None
    finish(desk)


def test_check__deposit_comes_back_in_another_block__nothing_is_reverted(new_path):
    desk = open_desk(new_path())
    deposit(desk, CARL, CASH)
    desk.sync()
    desk.venue.act(Transfer(CARL, ADA, 2 * CASH, desk.venue.state.accounts[CARL].nonce + 1))
    desk.seal()
    desk.l1.reorganise(1)
    deposit(desk, CARL, CASH)
    report = recover(desk)
    assert report is not None
    assert report.reverted == ()
    assert desk.venue.state.accounts[CARL].cash == 0
    finish(desk)


def test_check__killed_before_the_rebase_is_on_disk__is_as_before_and_recovers(
    new_path, monkeypatch
):
    desk = open_desk(new_path())
    deposit(desk, CARL, CASH)
    desk.sync()
    trade(desk)
    desk.seal()
    before = compute_fingerprint(desk.sequencer)
    desk.l1.reorganise(1)

    def die() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(desk.sequencer, "flush", die)
    with pytest.raises(KeyboardInterrupt):
        recover(desk)
    desk = desk.crash()
    assert desk.venue.state.accounts[CARL].cash == 2 * CASH
    assert compute_fingerprint(desk.sequencer).book == before.book
    assert recover(desk) is not None
    finish(desk)


def test_check__same_bytes_with_another_message__are_not_taken_for_ours(new_path):
    """A chunk says that it consumes a message, not which: somebody posts it on another branch."""
    desk = open_desk(new_path())
    deposit(desk, CARL, 5)
    desk.sync()
    desk.pay()
    desk.seal()
    desk.l1.reorganise(1)
    deposit(desk, CARL, 6)
    desk.batcher.follower.poll()
    assert desk.batcher.post() is not None
    report = recover(desk)
    assert report is not None
    assert report.obstacle == Obstacle.FOREIGN_BATCH
    finish(desk)
    assert desk.venue.state.accounts[CARL].cash == CASH + 6


def test_check__branch_that_does_not_last__undoes_nothing(new_path):
    desk = open_desk(new_path())
    deposit(desk, CARL, CASH)
    desk.sync()
    recovery = Recovery(desk.batcher.follower, patience=2)
    kept = list(desk.l1.blocks)
    desk.l1.reorganise(1)
    desk.batcher.follower.poll()
    assert recovery.check(desk.sequencer) is None
    desk.l1.blocks[:] = kept
    for _ in range(3):
        desk.l1.mine()
        desk.batcher.follower.poll()
        assert recovery.check(desk.sequencer) is None
    finish(desk)


def test_check__chunks_too_old__are_sequenced_again_and_land(new_path):
    # | hour | |
    # |---|---|
    # | 0 | Ada and Blaise trade, L1 is not to be had |
    # | 2 | they trade again |
    # | 4 | L1 is back: the first trade is too old as it is, both land |
    desk = open_desk(new_path())
    trade(desk)
    desk.seal()
    desk.sequencer.set_clock(desk.sequencer.clock + MAX_CLOCK_LAG // 2)
    desk.venue.observe(PRICE)
    trade(desk, 2)
    desk.seal()
    desk.l1.mine(MAX_CLOCK_LAG)
    desk.batcher.follower.poll()
    with pytest.raises(StaleChunksError):
        desk.batcher.step()
    report = recover(desk)
    assert report is not None
    assert (report.obstacle, report.reverted) == (Obstacle.STALE_CHUNK, ())
    assert recover(desk) is None
    finish(desk)
    assert desk.venue.state.accounts[ADA].positions[0].size == 3


def test_check__batch_of_somebody_else__log_goes_on_from_it(new_path):
    # | operator | standby, with a store of its own |
    # |---|---|
    # | Ada pays Blaise 5; not posted | |
    # | | posts a batch in which Ada pays Blaise 7 |
    # | its log goes on from that; Ada's payment of 5 has a used nonce: reverted | |
    # | Ada pays 9 | |
    path, other_path = new_path(), new_path()
    desk = Desk(path).open()
    desk.post_all()
    other = Desk(other_path, desk.l1)
    with pytest.raises(ForeignBatchError):
        other.batcher.find_next_chunk()
    desk.pay(5)
    desk.seal()
    assert recover(other) is not None
    other.pay(7)
    assert other.post_all() == 1
    desk.batcher.follower.poll()
    with pytest.raises(ForeignBatchError):
        desk.batcher.step()
    report = recover(desk)
    assert report is not None
    assert report.obstacle == Obstacle.FOREIGN_BATCH
    (payment,) = report.reverted
    assert "ACTION_NONCE" in payment.reason
    desk.pay(9)
    finish(desk)
    assert desk.venue.state.accounts[BLAISE].cash == CASH + 7 + 9


def test_check__fill_of_ours_in_a_batch_of_somebody_else__is_in_the_book_once(new_path):
    """A standby posts from a copy of the log what we had sealed, and something of its own."""
    desk = open_desk(new_path())
    desk.venue.submit(ADA, 3, make_order(PRICE, 5))
    desk.pay()
    desk.post_all()
    desk.store.flush()
    copy = new_path()
    desk.store._connection.execute("VACUUM INTO ?", (str(copy),))
    other = Desk(copy, desk.l1)
    other.venue.submit(BLAISE, 3, make_order(PRICE, 2, is_buy=False))
    other.post_all()
    report = recover(desk)
    assert report is not None
    assert report.reverted == ()
    assert get_bid(desk) == 3
    finish(desk)


def test_check__l1_goes_back_to_what_was_undone__goes_there_too(new_path):
    # | L1 | operator |
    # |---|---|
    # | branch A holds a deposit and a batch with it | has posted that |
    # | branch B does not | is rebased, posts there |
    # | goes back to branch A, with another block | is rebased onto its own old batch |
    desk = open_desk(new_path())
    start = list(desk.l1.blocks)
    deposit(desk, CARL, 5)
    desk.sync()
    desk.pay(1)
    assert desk.post_all() == 1
    old = list(desk.l1.blocks)
    desk.l1.blocks[:] = start
    desk.l1.forks += 1
    desk.l1.mine()
    assert recover(desk) is not None
    assert desk.post_all() == 1
    desk.l1.blocks[:] = old
    desk.l1.mine()
    report = recover(desk)
    assert report is not None
    assert report.obstacle == Obstacle.FOREIGN_BATCH
    finish(desk)
    assert desk.venue.state.accounts[CARL].cash == CASH + 5


def test_check__chunk_ended_in_the_middle_of_a_sweep__rest_goes_on_from_there(
    new_path, monkeypatch
):
    """One order trades with so many makers that its fills are in two chunks; L1 has the first."""
    monkeypatch.setattr("deltaroll.node.batcher.MAX_CHUNKS", 1)
    monkeypatch.setattr("deltaroll.node.builder.WEIGHT_CHUNK_GAS", 7_500_000)
    desk = open_desk(new_path())
    while desk.batcher.post() is not None:
        pass
    deposit(desk, CARL, CASH)
    desk.sync()
    for slot in range(30):
        desk.venue.submit(ADA, slot, make_order(PRICE, 1))
    taken = desk.venue.submit(BLAISE, 50, make_order(PRICE, 30, is_buy=False))
    assert taken.filled == 30
    desk.seal()
    first = desk.batcher.find_next_chunk()
    assert desk.store.count_chunks() - first >= 2
    desk.batcher.follower.poll()
    held = desk.batcher.follower.state.accounts
    while not held[BLAISE].positions:
        assert desk.batcher.post() is not None
    done = -held[BLAISE].positions[0].size
    assert 0 < done < 30
    desk.l1.mine(MAX_CLOCK_LAG)
    report = recover(desk)
    assert report is not None
    assert [type(one.entry).__name__ for one in report.reverted] == ["OrderEntry"]
    assert -desk.venue.state.accounts[BLAISE].positions[0].size == done
    assert len(desk.sequencer.engine.get_orders(ADA)) == 30 - done
    finish(desk)


moves = st.one_of(
    st.tuples(st.sampled_from(["pay", "trade", "deposit"]), st.integers(1, 3)),
    st.tuples(st.sampled_from(["seal", "post", "crash", "lie", "foreign"]), st.just(0)),
    st.tuples(st.sampled_from(["remove", "lose", "reorganise"]), st.integers(1, 6)),
    st.tuples(st.just("wait"), st.sampled_from([1, MAX_CLOCK_LAG])),
)


def play(desk: Desk, what: str, much: int) -> Desk:
    match what:
        case "lose":
            desk.l1.reorganise(much)
        case "wait":
            desk.l1.mine(much)
        case "foreign" if desk.batcher.follower.fraud is None:
            other = Desk(l1=desk.l1)
            recover(other)
            if AccountId(2) in other.venue.state.accounts:
                other.pay(much + 1)
            other.post_all()
            other.store.close()
        case "foreign":
            pass
        case _:
            try:
                desk = move(desk, what, much)
            except BatcherError:
                # A lie was posted, or chunks are older than their clock was at the last look.
                desk.batcher.follower.poll()
    report = recover(desk)
    if report is not None:
        assert recover(desk) is None
    return desk


@settings(
    phases=[Phase.generate],
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(history=st.lists(moves, min_size=4, max_size=14))
def test_check__any_history__every_chunk_lands_and_a_restart_is_the_same(new_path, history):
    desk = Desk(new_path()).open()
    desk.list_markets()
    desk.post_all()
    genesis = len(desk.l1.blocks)
    for what, much in history:
        if what in ("lose", "reorganise"):
            # Nobody has accounts before this.
            much = min(much, len(desk.l1.blocks) - genesis)
        if what == "trade":
            desk.sync()
            with suppress(RejectedError):
                desk.venue.observe(PRICE)
        if much or what in ("seal", "post", "crash", "lie", "foreign"):
            # Refused at once, for what a lost price or deposit leaves: nobody was told otherwise.
            with suppress(RejectedError):
                desk = play(desk, what, much)
    if desk.batcher.follower.fraud is not None:
        desk.l1.remove(desk.batcher.follower.fraud.submitted.header.index)
    desk.l1.mine(SLOT)
    recover(desk)
    finish(desk)
