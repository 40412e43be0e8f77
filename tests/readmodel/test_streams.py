"""Whatever happens at a venue, its history says what its state says."""

import random

import pytest

from deltaroll.node.events import FlowKind
from deltaroll.node.readmodel import tables
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from deltaroll.protocol.types import AccountId, Kind, Transfer
from tests.node import desk_streams
from tests.node.distress import ADA, BLAISE, CARL, open_insolvent
from tests.node.streams import make_option_stream, make_rush, make_stream
from tests.node.support import DOMAIN, Bid, Recorder, Venue, play
from tests.readmodel.support import (
    Steps,
    check_against_state,
    open_historian,
    read_all,
    read_standing,
)

LENGTH = 250


def make_steps(path, kind: str, seed: int, length: int = LENGTH) -> tuple[Sequencer, Steps]:
    """A stream that has been played, and a sequencer that has replayed its log."""
    dice = random.Random(seed)
    venue = Venue(Recorder(path))
    if kind == "options":
        venue.open_options()
        stream = make_option_stream(dice, length)
    else:
        venue.open()
        stream = make_rush(dice, length) if kind == "rush" else make_stream(dice, length)
    if kind == "desk":
        for _ in range(2 * length):
            desk_streams.play(venue, dice)
    else:
        for operation in stream:
            play(venue, operation)
    venue.sequencer.flush()
    steps = Steps()
    return Sequencer(Store(path, DOMAIN), DOMAIN, listener=steps), steps


@pytest.mark.parametrize(
    ("kind", "seed"), [("trading", 0), ("trading", 1), ("rush", 0), ("desk", 0)]
)
def test_history__any_stream__says_what_the_state_says(new_path, new_sqlite, kind, seed):
    sequencer, steps = make_steps(new_path(), kind, seed)
    check(sequencer, steps, new_sqlite())


def test_history__in_any_pieces_on_any_database__tables_are_the_same(new_path, new_sqlite, new_url):
    _, steps = make_steps(new_path(), "options", 0)
    whole = open_historian(new_sqlite())
    whole.apply(steps.all)
    url, dice, at = new_url(), random.Random(1), 0
    while at < len(steps.all):
        pieces = open_historian(url)
        for _ in range(3):
            length = dice.choice((1, 3, 40))
            # Some of them for the second time.
            pieces.apply(steps.all[max(0, at - dice.randrange(5)) : at + length])
            at += length
        pieces.close()
    assert read_all(open_historian(url).engine) == read_all(whole.engine)


def test_history__options_and_an_insolvent_account__every_kind_of_row_is_compared(
    new_path, new_sqlite
):
    """What the tests here compare is there: no kind of row has only been thought of."""
    seen: set[str] = set()
    for kind, seed in (("options", 0), ("options", 6)):
        sequencer, steps = make_steps(new_path(), kind, seed, 500)
        seen |= check(sequencer, steps, new_sqlite())
    path = new_path()
    venue = open_insolvent(Recorder(path))
    venue.act(Transfer(BLAISE, AccountId(0), 1_000, venue.state.accounts[BLAISE].nonce + 1))
    venue.sequencer.poke(Kind.SOCIALISE, ADA)
    play(venue, Bid(CARL, ADA, 400_000))
    venue.sequencer.flush()
    steps = Steps()
    seen |= check(Sequencer(Store(path, DOMAIN), DOMAIN, listener=steps), steps, new_sqlite())
    assert seen >= {kind.value for kind in FlowKind if kind != FlowKind.OTHER}
    assert seen >= {f"table {table.__tablename__}" for table in tables.NOTED}


def check(sequencer: Sequencer, steps: Steps, url: str) -> set[str]:
    """Compare; return what there is."""
    historian = open_historian(url)
    historian.apply(steps.all)
    engine = historian.engine
    check_against_state(engine, sequencer)
    found = {row["kind"] for row in read_standing(engine, tables.Flow)}
    filled = (table for table in tables.NOTED if read_standing(engine, table))
    return found | {f"table {table.__tablename__}" for table in filled}
