"""Whatever happens at a venue, its history says what its state says."""

import random

import pytest

from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from tests.node import desk_streams
from tests.node.streams import make_option_stream, make_rush, make_stream
from tests.node.support import DOMAIN, Recorder, Venue, play
from tests.readmodel.support import Steps, check_against_state, open_historian, read_all

LENGTH = 250


def make_steps(path, kind: str, seed: int) -> tuple[Sequencer, Steps]:
    """A stream that has been played, and a sequencer that has replayed its log."""
    dice = random.Random(seed)
    venue = Venue(Recorder(path))
    if kind == "options":
        venue.open_options()
        stream = make_option_stream(dice, LENGTH)
    else:
        venue.open()
        stream = make_rush(dice, LENGTH) if kind == "rush" else make_stream(dice, LENGTH)
    if kind == "desk":
        for _ in range(2 * LENGTH):
            desk_streams.play(venue, dice)
    else:
        for operation in stream:
            play(venue, operation)
    venue.sequencer.flush()
    steps = Steps()
    return Sequencer(Store(path, DOMAIN), DOMAIN, listener=steps), steps


@pytest.mark.parametrize("kind", ["trading", "options", "rush", "desk"])
@pytest.mark.parametrize("seed", range(2))
def test_history__any_stream__says_what_the_state_says(new_path, new_sqlite, kind, seed):
    sequencer, steps = make_steps(new_path(), kind, seed)
    historian = open_historian(new_sqlite())
    historian.apply(steps.all)
    check_against_state(historian.engine, sequencer)


@pytest.mark.parametrize("seed", range(2))
def test_history__in_any_pieces_on_any_database__tables_are_the_same(
    new_path, new_sqlite, new_url, seed
):
    _, steps = make_steps(new_path(), "options", seed)
    whole = open_historian(new_sqlite())
    whole.apply(steps.all)
    url, dice, at = new_url(), random.Random(seed), 0
    while at < len(steps.all):
        pieces = open_historian(url)
        for _ in range(3):
            length = dice.choice((1, 3, 40))
            # Some of them for the second time.
            pieces.apply(steps.all[max(0, at - dice.randrange(5)) : at + length])
            at += length
        pieces.close()
    assert read_all(open_historian(url).engine) == read_all(whole.engine)
