"""What L1 undoes is revised: the history says what the state says, whenever it has looked away."""

import random
from contextlib import suppress

import pytest

from deltaroll.node.admission import RejectedError
from deltaroll.node.readmodel import tables
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from deltaroll.node.telling import tell_steps
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from tests.node import desk_streams
from tests.node.streams import make_stream
from tests.node.support import CASH, DOMAIN, INDEX, OTHER_INDEX, PRICE, make_order, play
from tests.node.test_batcher import ADA, BLAISE, Desk
from tests.node.test_recovery import CARL, deposit, open_desk, recover
from tests.readmodel.support import (
    UNSTEADY,
    Steps,
    check_against_state,
    open_historian,
    read,
    read_standing,
)


def replay(desk: Desk) -> Steps:
    """What whoever replays the log is told."""
    steps = Steps()
    Sequencer(Store(desk.path, DOMAIN), DOMAIN, listener=steps)
    return steps


def open_told(path) -> tuple[Desk, Steps]:
    desk = open_desk(path)
    desk.venue.observe(PRICE, index=OTHER_INDEX)
    desk.sequencer.flush()
    steps = replay(desk)
    desk.sequencer.listen(steps)
    return desk, steps


def strip(rows):
    """Rows without what depends on when they were told."""
    return [{name: row[name] for name in row.keys() - UNSTEADY} for row in rows]


def test_rebase__trades_done_again__the_first_ones_are_marked_and_count_no_more(new_path, new_url):
    desk, steps = open_told(new_path())
    deposit(desk, CARL, CASH)
    desk.sync()
    for account, is_buy in ((ADA, True), (BLAISE, False)):
        desk.venue.submit(account, 0, make_order(PRICE, 3, is_buy=is_buy))
    desk.seal()
    desk.l1.reorganise(1)
    report = recover(desk)
    assert report is not None
    assert report.reverted == ()
    historian = open_historian(new_url())
    historian.apply(steps.all)
    fills = read(historian.engine, tables.Fill)
    (rebase,) = read(historian.engine, tables.Rebase)
    at = rebase["id"] >> tables.PLACE_BITS
    assert [row["reverted_by"] for row in fills] == [at, at, None, None]
    assert strip(fills[:2]) == strip(fills[2:])
    (candle,) = [row for row in read(historian.engine, tables.Candle) if row["width"] == 60]
    assert (candle["lots"], candle["trades"]) == (3, 1)
    check_against_state(historian.engine, desk.sequencer)


@pytest.mark.parametrize("seed", range(3))
def test_rebase__whenever_the_history_looked_away__it_ends_alike(new_path, new_sqlite, seed):
    """
    | history | sees |
    |---|---|
    | live | everything, as it happens |
    | late | the log, replayed when all is over |
    | back | what comes up to some step, then the log replayed from there |
    """
    dice = random.Random(seed)
    desk, steps = open_told(new_path())
    deposit(desk, CARL, CASH)
    desk.sync()
    back = open_historian(new_sqlite())
    for _ in range(3):
        for operation in make_stream(dice, 40):
            desk_streams.play(desk.venue, dice)
            if type(operation).__name__ != "FromL1":
                play(desk.venue, operation)
        deposit(desk, CARL, 1 + dice.randrange(9))
        desk.sync()
        for _ in range(10):
            desk_streams.play(desk.venue, dice)
        desk.seal()
        missed = dice.randrange(len(steps.all))
        back.apply(steps.all[:missed])
        if dice.random() < 0.7:
            desk.l1.reorganise(1)
        else:
            desk.l1.mine(MAX_CLOCK_LAG)
        assert recover(desk) is not None
        for index in (INDEX, OTHER_INDEX):
            # It may have been observed at this time.
            with suppress(RejectedError):
                desk.venue.observe(PRICE, index=index)
        desk.sequencer.flush()
        told = Steps()
        tell_steps(Store(desk.path, DOMAIN), DOMAIN, told, back.get_applied() + 1)
        back.apply(told.all)
        check_against_state(back.engine, desk.sequencer)
    live, late = open_historian(new_sqlite()), open_historian(new_sqlite())
    live.apply(steps.all)
    late.apply(replay(desk).all)
    for one in (live, late):
        check_against_state(one.engine, desk.sequencer)
    for table in (tables.Fill, tables.Flow, tables.Candle):
        rows = [
            read(one.engine, table) if table is tables.Candle else read_standing(one.engine, table)
            for one in (live, late, back)
        ]
        assert rows[0] == rows[1] == rows[2]
    assert read(live.engine, tables.Rebase)


def check_everywhere(desk: Desk, steps: Steps, new_url) -> None:
    """A history that was there and one that is made now say what the state says."""
    desk.sequencer.flush()
    for told in (steps, replay(desk)):
        historian = open_historian(new_url())
        historian.apply(told.all)
        check_against_state(historian.engine, desk.sequencer)


def test_rebase__chunk_ended_within_a_sweep__its_first_fills_are_kept_under_the_new_step(
    new_path, new_sqlite, monkeypatch
):
    """One order trades with so many makers that its fills are in two chunks; L1 has the first."""
    monkeypatch.setattr("deltaroll.node.batcher.MAX_CHUNKS", 1)
    monkeypatch.setattr("deltaroll.node.builder.WEIGHT_CHUNK_GAS", 7_500_000)
    desk, steps = open_told(new_path())
    while desk.batcher.post() is not None:
        pass
    for slot in range(30):
        desk.venue.submit(ADA, slot, make_order(PRICE, 1))
    desk.venue.submit(BLAISE, 50, make_order(PRICE, 30, is_buy=False))
    desk.seal()
    desk.batcher.follower.poll()
    held = desk.batcher.follower.state.accounts
    while not held[BLAISE].positions:
        assert desk.batcher.post() is not None
    done = -held[BLAISE].positions[0].size
    assert 0 < done < 30
    desk.l1.mine(MAX_CLOCK_LAG)
    assert recover(desk) is not None
    check_everywhere(desk, steps, new_sqlite)
    historian = open_historian(new_sqlite())
    historian.apply(steps.all)
    (rebase,) = read(historian.engine, tables.Rebase)
    standing = read_standing(historian.engine, tables.Fill)
    assert len(standing) == 2 * done
    assert {row["id"] >> tables.PLACE_BITS for row in standing} == {
        rebase["id"] >> tables.PLACE_BITS
    }
    orders = read(historian.engine, tables.Order)
    assert [row["state"] for row in orders if row["account"] == ADA].count("filled") == done


def test_rebase__fills_in_the_batch_of_somebody_else__are_in_the_history(new_path, new_sqlite):
    desk, steps = open_told(new_path())
    desk.venue.submit(ADA, 3, make_order(PRICE, 5))
    desk.pay()
    desk.post_all()
    copy = new_path()
    desk.store._connection.execute("VACUUM INTO ?", (str(copy),))
    other = Desk(copy, desk.l1)
    other.venue.submit(BLAISE, 3, make_order(PRICE, 2, is_buy=False))
    other.pay(9)
    other.post_all()
    assert recover(desk) is not None
    check_everywhere(desk, steps, new_sqlite)
    historian = open_historian(new_sqlite())
    historian.apply(steps.all)
    assert [row["lots"] for row in read_standing(historian.engine, tables.Fill)] == [2, 2]


def test_rebase__l1_goes_back_to_what_was_undone__history_goes_there_too(new_path, new_sqlite):
    """Branch A holds a deposit and a fill, branch B does not; then A again, with another block."""
    desk, steps = open_told(new_path())
    start = list(desk.l1.blocks)
    deposit(desk, CARL, 5)
    desk.sync()
    desk.venue.submit(ADA, 3, make_order(PRICE, 5))
    desk.venue.submit(BLAISE, 3, make_order(PRICE, 2, is_buy=False))
    assert desk.post_all() == 1
    old = list(desk.l1.blocks)
    desk.l1.blocks[:] = start
    desk.l1.forks += 1
    desk.l1.mine()
    assert recover(desk) is not None
    check_everywhere(desk, steps, new_sqlite)
    desk.pay(3)
    assert desk.post_all() == 1
    desk.l1.blocks[:] = old
    desk.l1.mine()
    assert recover(desk) is not None
    check_everywhere(desk, steps, new_sqlite)
