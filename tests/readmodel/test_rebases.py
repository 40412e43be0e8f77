"""What L1 undoes is revised: the history says what the state says, whenever it has looked away."""

import random
from contextlib import suppress

import pytest

from deltaroll.node.admission import RejectedError
from deltaroll.node.readmodel import tables
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
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


@pytest.mark.parametrize("seed", range(6))
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
        back.apply(replay(desk).all)
        check_against_state(back.engine, desk.sequencer)
    live, late = open_historian(new_sqlite()), open_historian(new_sqlite())
    live.apply(steps.all)
    late.apply(replay(desk).all)
    for one in (live, late):
        check_against_state(one.engine, desk.sequencer)
    for table in (tables.Fill, tables.Flow, tables.Candle):
        told = [
            strip(
                read(one.engine, table)
                if table is tables.Candle
                else read_standing(one.engine, table)
            )
            for one in (live, late, back)
        ]
        assert told[0] == told[1] == told[2]
    assert read(live.engine, tables.Rebase)
