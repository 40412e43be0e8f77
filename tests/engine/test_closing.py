"""A series that is closing: the book trades what both sides may reduce, and no more."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaroll.engine.matching import OrderStatus
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import set_market
from deltaroll.protocol.types import Series, SeriesStatus, TimeInForce
from tests.engine.support import ALICE, BOB, BTC, CAROL, Venue

BUY, SELL = True, False
OPEN = 100
"""More than what the tests give out."""


def change_status(venue: Venue, status: SeriesStatus) -> None:
    leaf = venue.state.markets[BTC]
    assert isinstance(leaf, Series)
    set_market(venue.state, BTC, replace(leaf, status=status, open_interest=OPEN))


def close(venue: Venue) -> None:
    change_status(venue, SeriesStatus.CLOSING)


@pytest.mark.parametrize("held", [0, 5])
def test_submit__closing_and_nothing_to_reduce__rejected(held: int) -> None:
    venue = Venue()
    if held:
        venue.hold(ALICE, held)
    close(venue)
    execution = venue.submit(ALICE, 1, BUY, 1_000, 1)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.REDUCE_ONLY)


def test_submit__closing_and_both_reduce__trades() -> None:
    venue = Venue()
    venue.hold(ALICE, 5)
    venue.hold(BOB, -5)
    close(venue)
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    assert venue.submit(BOB, 1, BUY, 1_000, 5).status == OrderStatus.FILLED
    assert venue.size_of(ALICE) == venue.size_of(BOB) == 0


def test_submit__closing_and_larger_than_the_position__stops_at_zero() -> None:
    venue = Venue()
    venue.hold(ALICE, 9)
    venue.hold(BOB, -3)
    close(venue)
    venue.rest(ALICE, 1, SELL, 1_000, 9)
    execution = venue.submit(BOB, 1, BUY, 1_000, 4)
    assert (execution.status, execution.reason) == (OrderStatus.CANCELLED, Fault.REDUCE_ONLY)
    assert (execution.filled, venue.size_of(BOB), venue.size_of(ALICE)) == (3, 0, 6)


def test_submit__fill_or_kill_larger_than_the_position__rejected_and_nothing_traded() -> None:
    venue = Venue()
    venue.hold(ALICE, 9)
    venue.hold(BOB, -3)
    close(venue)
    venue.rest(ALICE, 1, SELL, 1_000, 9)
    execution = venue.submit(BOB, 1, BUY, 1_000, 4, time_in_force=TimeInForce.FOK)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.REDUCE_ONLY)
    assert venue.size_of(BOB) == -3


def test_submit__maker_rested_before_it_closed__cannot_open_and_is_passed() -> None:
    venue = Venue()
    venue.hold(CAROL, 5)
    venue.hold(BOB, -5)
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    close(venue)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert [report.maker for report in execution.fills] == [CAROL]
    assert [(maker.account, why) for maker, why in execution.cancelled_makers] == [
        (ALICE, Fault.REDUCE_ONLY)
    ]


def test_submit__open_again__opens_positions() -> None:
    venue = Venue()
    close(venue)
    change_status(venue, SeriesStatus.ACTIVE)
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    assert venue.submit(BOB, 1, BUY, 1_000, 5).status == OrderStatus.FILLED


sizes = st.integers(-6, 6)
orders = st.tuples(st.sampled_from((ALICE, BOB, CAROL)), st.booleans(), st.integers(1, 8))


@given(sizes, sizes, st.lists(orders, max_size=4), st.lists(orders, min_size=1, max_size=8))
def test_submit__any_orders__no_position_grows_or_turns_and_no_fill_fails(
    alice: int, bob: int, early: list[tuple], late: list[tuple]
) -> None:
    """The venue's executor raises nothing that the book has not foreseen: no maker is blamed for
    anything but having nothing left to reduce."""
    venue = Venue()
    held = {ALICE: alice, BOB: bob, CAROL: -alice - bob}
    for account, size in held.items():
        if size:
            venue.hold(account, size)
    for slot, (account, is_buy, size) in enumerate(early):
        venue.submit(account, slot, is_buy, 1_000, size, post_only=True)
    before = {account: venue.size_of(account) for account in held}
    close(venue)
    for slot, (account, is_buy, size) in enumerate(late, len(early)):
        execution = venue.submit(account, slot, is_buy, 1_000, size)
        reasons = {why for _, why in execution.cancelled_makers}
        assert reasons <= {Fault.REDUCE_ONLY, Fault.SELF_TRADE}
        assert execution.reason in (None, Fault.REDUCE_ONLY)
        for holder, size_before in before.items():
            size_after = venue.size_of(holder)
            assert abs(size_after) <= abs(size_before)
            assert size_after * size_before >= 0
