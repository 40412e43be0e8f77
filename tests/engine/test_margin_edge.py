"""No trade that was accepted fails in the protocol, with every account at the edge of its margin.

`make margin-edge N=1000000` runs the same for longer.
"""

from dataclasses import replace

import pytest

from deltaroll.protocol.state import set_account
from tests.engine.edge import BANK, TRADERS, DisagreementError, EdgeVenue, run_venue

ORDERS = 20_000
VENUES = 4


@pytest.fixture(scope="module")
def tallies():
    return [run_venue(7, number, ORDERS // VENUES) for number in range(VENUES)]


@pytest.mark.parametrize("number", range(VENUES))
def test_run_venue__orders_at_the_edge__every_chunk_stands(tallies, number):
    """Each chunk is applied to a second state as it is sealed: see `Follower.follow`."""
    tally = tallies[number]
    assert tally.orders >= ORDERS // VENUES
    assert tally.chunks > 100
    assert sum(tally.fills.values()) == tally.transactions["Fill"]


def test_run_venue__all_of_them__meet_all_that_may_happen(tallies):
    """A run in which nothing happens proves nothing."""
    total = tallies[0]
    for other in tallies[1:]:
        total.merge(other)
    assert total.fills["PERPETUAL"] > 500
    assert total.fills["CALL"] > 200
    assert total.fills["PUT"] > 200
    for edge in ("-1", "0", "1"):
        assert total.edges[edge] > 500
    for reason in ("MARGIN", "maker MARGIN", "HALTED", "REDUCE_ONLY", "POST_ONLY"):
        assert total.reasons[reason] > 20
    for kind in ("Sweep", "List", "Surface", "Distress", "Liquidate", "Mark", "Queue", "DataFee"):
        assert total.transactions[kind] > 5
    assert total.events["rests, and would settle"] > 500


def test_follow__one_unit_more_in_the_live_state__is_seen():
    """The comparison itself is not blind."""
    venue = EdgeVenue("spoilt")
    venue.submit()
    account = venue.state.accounts[BANK]
    set_account(venue.state, BANK, replace(account, cash=account.cash + 1))
    venue.transfer(BANK, TRADERS[0], 5)
    with pytest.raises(DisagreementError, match="accounts differ"):
        venue.sequencer.seal()


def test_finish__fill_that_was_not_posted__is_seen():
    venue = EdgeVenue("reported")
    venue.run(50)
    venue.reported.append((1, 2, 3, 4))
    with pytest.raises(DisagreementError, match="not what is posted"):
        venue.finish()
