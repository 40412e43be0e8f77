"""Matching rules, one by one. The mark is 1,000, the band 10 %, the tick 10."""

from dataclasses import replace

import pytest

from deltaroll.engine.matching import (
    Executor,
    MatchingEngine,
    OrderStatus,
    RejectReason,
    SelfTradePolicy,
    TradeReport,
)
from deltaroll.engine.orders import PriceLevel
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import set_market, set_slot
from deltaroll.protocol.types import (
    Series,
    Slot,
    SlotId,
    TimeInForce,
    Timestamp,
    Transaction,
)
from tests.engine.support import (
    ALICE,
    ALICE_TOO,
    BOB,
    BTC,
    BTC_TWIN,
    CAROL,
    ETH,
    GENESIS,
    OTHER_UNDERLYING,
    UNDERLYING,
    Venue,
    build_state,
    lots_of,
    make_address,
    reasons_of,
)

BUY, SELL = True, False
IOC, FOK = TimeInForce.IOC, TimeInForce.FOK
KEY = make_address(0x7E)


# Price, time, quantity


def test_submit__nothing_to_cross__rests() -> None:
    venue = Venue()
    execution = venue.submit(ALICE, 1, BUY, 990, 5)
    assert execution.status == OrderStatus.RESTING
    assert execution.reason is None
    venue.rest(BOB, 1, SELL, 1_000, 5)
    assert venue.engine.best(BTC) == (990, 1_000)
    assert venue.executor.tried == 0


def test_submit__crosses__trades_at_the_makers_price() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    execution = venue.submit(BOB, 2, BUY, 1_050, 5)
    assert execution.status == OrderStatus.FILLED
    assert execution.filled == 5
    assert execution.fills == (TradeReport(1_000, 5, ALICE, SlotId(1), 0),)
    assert (venue.size_of(ALICE), venue.size_of(BOB)) == (-5, 5)
    assert venue.engine.best(BTC) == (None, None)
    assert len(venue.engine) == 0


def test_submit__several_makers__best_price_then_oldest() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_010, 1)
    venue.rest(ALICE, 2, SELL, 1_000, 2)
    venue.rest(CAROL, 1, SELL, 1_000, 3)
    venue.rest(ALICE, 3, SELL, 1_000, 4)
    execution = venue.submit(BOB, 1, BUY, 1_010, 8)
    assert [(report.maker, report.maker_slot, report.lots) for report in execution.fills] == [
        (ALICE, 2, 2),
        (CAROL, 1, 3),
        (ALICE, 3, 3),
    ]
    assert execution.fills[-1].maker_remaining == 1
    assert venue.engine.depth(BTC, 5).asks == (PriceLevel(1_000, 1, 1), PriceLevel(1_010, 1, 1))


def test_submit__partly_filled_maker__keeps_its_place() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    venue.submit(BOB, 1, BUY, 1_000, 2)
    execution = venue.submit(BOB, 2, BUY, 1_000, 4)
    assert [(report.maker, report.lots) for report in execution.fills] == [(ALICE, 3), (CAROL, 1)]


def test_submit__larger_than_the_book__remainder_rests() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    execution = venue.submit(BOB, 1, BUY, 1_000, 8)
    assert execution.status == OrderStatus.PARTIALLY_FILLED
    assert execution.filled == 5
    resting = venue.engine.find(BOB, SlotId(1))
    assert resting is not None
    assert (resting.remaining, resting.posted) == (3, True)
    assert venue.engine.best(BTC) == (1_000, None)


def test_submit__later_fills__post_each_order_once() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.submit(BOB, 1, BUY, 1_000, 2)
    venue.submit(BOB, 2, BUY, 1_000, 7)
    venue.submit(CAROL, 1, SELL, 1_000, 4)
    posted = [
        (fill.maker_order is not None, fill.taker_order is not None)
        for fill in venue.executor.get_fills()
    ]
    assert posted == [(True, True), (False, True), (False, True)]


def test_submit__other_market__does_not_cross() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(BOB, 1, BUY, 1_000, 5, market=BTC_TWIN)
    assert venue.engine.best(BTC_TWIN) == (1_000, None)


# Replacement and cancellation


def test_submit__slot_taken__replaces() -> None:
    venue = Venue()
    old = venue.rest(ALICE, 1, BUY, 990, 5)
    execution = venue.submit(ALICE, 1, BUY, 980, 6)
    assert execution.replaced is old
    assert venue.engine.depth(BTC, 5).bids == (PriceLevel(980, 6, 1),)


def test_submit__slot_taken_in_another_market__replaces() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, BUY, 990, 5)
    venue.rest(ALICE, 1, BUY, 990, 5, market=ETH)
    assert venue.engine.best(BTC) == (None, None)
    assert venue.engine.best(ETH) == (990, None)


def test_submit__crosses_the_order_it_replaces__does_not_meet_it() -> None:
    for policy in SelfTradePolicy:
        venue = Venue(self_trade=policy)
        old = venue.rest(ALICE, 1, SELL, 1_000, 5)
        venue.rest(BOB, 1, SELL, 1_000, 2)
        execution = venue.submit(ALICE, 1, BUY, 1_000, 3)
        assert execution.status == OrderStatus.PARTIALLY_FILLED
        assert execution.replaced is old
        assert execution.cancelled_makers == ()
        assert venue.engine.best(BTC) == (1_000, None)


def test_submit__rejected__old_order_keeps_its_place() -> None:
    venue = Venue()
    old = venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    assert venue.submit(ALICE, 1, SELL, 1_005, 5).reason == Fault.TICK
    venue.rest(BOB, 9, BUY, 980, 1)
    assert venue.submit(ALICE, 1, SELL, 980, 5, post_only=True).reason == Fault.POST_ONLY
    assert venue.submit(ALICE, 1, SELL, 980, 5, time_in_force=FOK).status == OrderStatus.REJECTED
    assert venue.engine.find(ALICE, SlotId(1)) is old
    assert venue.submit(BOB, 1, BUY, 1_000, 1).fills[0].maker == ALICE


def test_submit__lower_nonce_than_the_resting_order__rejected() -> None:
    venue = Venue()
    old = venue.rest(ALICE, 1, BUY, 990, 5, nonce=10)
    assert venue.submit(ALICE, 1, BUY, 980, 5, nonce=10).reason == Fault.ORDER_NONCE
    assert venue.engine.find(ALICE, SlotId(1)) is old


def test_submit__unfilled_ioc_on_a_taken_slot__old_order_gone() -> None:
    venue = Venue()
    old = venue.rest(ALICE, 1, BUY, 990, 5)
    execution = venue.submit(ALICE, 1, BUY, 990, 5, time_in_force=IOC)
    assert execution.status == OrderStatus.CANCELLED
    assert execution.replaced is old
    assert len(venue.engine) == 0


def test_cancel__resting__exactly_that_order() -> None:
    venue = Venue()
    resting = venue.rest(ALICE, 1, BUY, 990, 5)
    other = venue.rest(ALICE, 2, BUY, 990, 5)
    assert venue.engine.cancel(ALICE, SlotId(1)) is resting
    assert venue.engine.cancel(ALICE, SlotId(1)) is None
    assert venue.engine.cancel(BOB, SlotId(2)) is None
    assert venue.engine.get_orders() == [other]


def test_cancel_all__market_given__only_there() -> None:
    venue = Venue()
    here = venue.rest(ALICE, 1, BUY, 990, 5)
    there = venue.rest(ALICE, 2, BUY, 990, 5, market=ETH)
    other = venue.rest(ALICE_TOO, 2, BUY, 990, 5)
    assert venue.engine.cancel_all(ALICE, ETH) == [there]
    assert venue.engine.cancel_all(ALICE) == [here]
    assert venue.engine.get_orders() == [other]


# Immediate orders


def test_submit__ioc_larger_than_the_book__remainder_cancelled() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    execution = venue.submit(BOB, 1, BUY, 1_000, 8, time_in_force=IOC)
    assert execution.status == OrderStatus.CANCELLED
    assert execution.reason == RejectReason.NO_LIQUIDITY
    assert execution.filled == 5
    assert len(venue.engine) == 0


def test_submit__ioc_over_several_makers__one_sweep() -> None:
    venue = Venue()
    for slot in range(3):
        venue.rest(ALICE, slot, SELL, 1_000, 1)
    execution = venue.submit(BOB, 1, BUY, 1_000, 3, time_in_force=IOC)
    assert execution.status == OrderStatus.FILLED
    assert len(venue.executor.chunks) == 1


def test_submit__fok_fits__filled_in_a_group() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_010, 5)
    execution = venue.submit(BOB, 1, BUY, 1_010, 8, time_in_force=FOK)
    assert execution.status == OrderStatus.FILLED
    assert lots_of(execution) == [(1_000, 5), (1_010, 3)]
    assert venue.executor.calls == ["begin", "commit"]


def test_submit__fok_too_large__rejected_without_a_try() -> None:
    venue = Venue()
    maker = venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_020, 5)
    execution = venue.submit(BOB, 1, BUY, 1_010, 8, time_in_force=FOK)
    assert execution.status == OrderStatus.REJECTED
    assert execution.reason == RejectReason.NO_LIQUIDITY
    assert (maker.remaining, maker.posted) == (5, False)
    assert venue.executor.tried == 0


def test_submit__fok_in_an_empty_market__rejected() -> None:
    execution = Venue().submit(BOB, 1, BUY, 1_010, 8, time_in_force=FOK)
    assert execution.reason == RejectReason.NO_LIQUIDITY


def test_submit__fok_meets_a_bankrupt_maker__rolled_back() -> None:
    venue = Venue()
    first = venue.rest(ALICE, 1, SELL, 1_000, 5)
    second = venue.rest(CAROL, 1, SELL, 1_000, 5)
    venue.set_cash(CAROL, 0)
    accounts = dict(venue.state.accounts)
    execution = venue.submit(BOB, 1, BUY, 1_000, 8, time_in_force=FOK)
    assert execution.status == OrderStatus.REJECTED
    assert execution.reason == RejectReason.NO_LIQUIDITY
    assert execution.fills == ()
    assert execution.cancelled_makers == ()
    assert venue.state.accounts == accounts
    assert venue.executor.get_fills() == []
    assert [(each.remaining, each.posted) for each in (first, second)] == [(5, False)] * 2
    assert venue.engine.get_orders() == [first, second]


def test_submit__fok_passes_a_bankrupt_maker__filled_behind_it() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    venue.rest(ALICE, 2, SELL, 1_000, 5)
    venue.set_cash(CAROL, 0)
    execution = venue.submit(BOB, 1, BUY, 1_000, 8, time_in_force=FOK)
    assert execution.status == OrderStatus.FILLED
    assert reasons_of(execution) == [(CAROL, Fault.MARGIN)]
    assert venue.engine.depth(BTC, 5).asks == (PriceLevel(1_000, 2, 1),)


def test_submit__rejected_fok__dead_makers_go_nevertheless() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5, expiry=GENESIS)
    venue.executor.advance(1)
    execution = venue.submit(BOB, 1, BUY, 1_000, 8, time_in_force=FOK)
    assert execution.status == OrderStatus.REJECTED
    assert reasons_of(execution) == [(CAROL, Fault.ORDER_EXPIRED)]
    assert len(venue.engine) == 1


# Post-only


@pytest.mark.parametrize("owner", [ALICE, BOB])
def test_submit__post_only_would_cross__rejected(owner: int) -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    execution = venue.submit(ALICE if owner == ALICE else BOB, 2, BUY, 1_000, 5, post_only=True)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.POST_ONLY)
    assert len(venue.engine) == 1


def test_submit__post_only_behind_dead_orders__rests() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5, expiry=GENESIS)
    venue.executor.advance(1)
    execution = venue.submit(BOB, 2, BUY, 1_000, 5, post_only=True)
    assert execution.status == OrderStatus.RESTING
    assert reasons_of(execution) == [(ALICE, Fault.ORDER_EXPIRED)]
    assert venue.engine.best(BTC) == (1_000, None)


def test_submit__post_only_order_as_maker__trades() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5, post_only=True)
    assert venue.submit(BOB, 2, BUY, 1_000, 5).filled == 5


# Reduce-only


def test_submit__reduce_only_taker__stops_at_zero() -> None:
    venue = Venue()
    venue.hold(BOB, -3)
    venue.rest(ALICE, 1, SELL, 1_000, 2)
    venue.rest(ALICE, 2, SELL, 1_000, 5)
    execution = venue.submit(BOB, 1, BUY, 1_000, 10, reduce_only=True)
    assert lots_of(execution) == [(1_000, 2), (1_000, 1)]
    assert (execution.status, execution.reason) == (OrderStatus.CANCELLED, Fault.REDUCE_ONLY)
    assert venue.size_of(BOB) == 0
    assert venue.engine.depth(BTC, 5).asks == (PriceLevel(1_000, 4, 1),)


def test_submit__reduce_only_maker__capped_and_gone() -> None:
    venue = Venue()
    venue.hold(ALICE, 3)
    maker = venue.rest(ALICE, 1, SELL, 1_000, 10, reduce_only=True)
    venue.rest(CAROL, 1, SELL, 1_000, 10)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert [(report.maker, report.lots) for report in execution.fills] == [(ALICE, 3), (CAROL, 2)]
    assert execution.cancelled_makers == ((maker, Fault.REDUCE_ONLY),)
    assert maker.remaining == 7
    assert venue.size_of(ALICE) == 0
    assert venue.engine.find(ALICE, SlotId(1)) is None


def test_submit__reduce_only_maker_without_position__passed() -> None:
    venue = Venue()
    venue.hold(ALICE, 3)
    venue.rest(ALICE, 1, SELL, 1_000, 10, reduce_only=True)
    venue.hold(ALICE, -1)
    venue.rest(CAROL, 1, SELL, 1_000, 10)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert [report.maker for report in execution.fills] == [CAROL]
    assert reasons_of(execution) == [(ALICE, Fault.REDUCE_ONLY)]


def test_submit__reduce_only_fok_larger_than_the_position__rejected() -> None:
    venue = Venue()
    venue.hold(BOB, -3)
    venue.rest(ALICE, 1, SELL, 1_000, 4)
    execution = venue.submit(BOB, 1, BUY, 1_000, 4, reduce_only=True, time_in_force=FOK)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.REDUCE_ONLY)
    assert venue.size_of(BOB) == -3


# Self-trade prevention


def test_submit__own_maker_and_cancel_maker__passed() -> None:
    venue = Venue()
    own = venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    execution = venue.submit(ALICE_TOO, 1, BUY, 1_000, 3)
    assert execution.status == OrderStatus.FILLED
    assert [report.maker for report in execution.fills] == [CAROL]
    assert execution.cancelled_makers == ((own, Fault.SELF_TRADE),)


def test_submit__own_maker_and_cancel_taker__remainder_cancelled() -> None:
    venue = Venue(self_trade=SelfTradePolicy.CANCEL_TAKER)
    venue.rest(CAROL, 1, SELL, 1_000, 2)
    own = venue.rest(ALICE, 1, SELL, 1_000, 5)
    execution = venue.submit(ALICE_TOO, 1, BUY, 1_000, 3)
    assert (execution.status, execution.reason) == (OrderStatus.CANCELLED, Fault.SELF_TRADE)
    assert execution.filled == 2
    assert execution.cancelled_makers == ()
    assert venue.engine.get_orders() == [own]


@pytest.mark.parametrize("time_in_force", TimeInForce)
def test_submit__own_maker_and_cancel_both__both_gone(time_in_force: TimeInForce) -> None:
    venue = Venue(self_trade=SelfTradePolicy.CANCEL_BOTH)
    own = venue.rest(ALICE, 1, SELL, 1_000, 5)
    execution = venue.submit(ALICE_TOO, 1, BUY, 1_000, 3, time_in_force=time_in_force)
    assert (execution.status, execution.reason) == (OrderStatus.CANCELLED, Fault.SELF_TRADE)
    assert execution.cancelled_makers == ((own, Fault.SELF_TRADE),)
    assert len(venue.engine) == 0


def test_submit__rejected_after_passing_own_maker__own_maker_stays() -> None:
    venue = Venue()
    own = venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_010, 5)
    venue.set_cash(ALICE, 0)
    execution = venue.submit(ALICE, 2, BUY, 1_010, 5)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.MARGIN)
    assert execution.cancelled_makers == ()
    assert own in venue.engine.get_orders()


# Makers that are gone


def test_submit__maker_of_an_old_epoch__passed() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    venue.executor.raise_epoch(ALICE)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert [report.maker for report in execution.fills] == [CAROL]
    assert reasons_of(execution) == [(ALICE, Fault.ORDER_EPOCH)]


def test_submit__maker_signed_by_a_former_key__passed() -> None:
    venue = Venue()
    venue.set_key(ALICE, KEY, Timestamp(GENESIS + 10))
    venue.rest(ALICE, 1, SELL, 1_000, 5, signer=KEY)
    assert venue.submit(BOB, 1, BUY, 1_000, 1).filled == 1
    venue.set_key(ALICE, make_address(0x7F), Timestamp(GENESIS + 10))
    execution = venue.submit(BOB, 2, BUY, 1_000, 1)
    assert execution.status == OrderStatus.RESTING
    assert reasons_of(execution) == [(ALICE, Fault.BAD_SIGNATURE)]


def test_submit__makers_slot_taken_by_a_forced_order__passed() -> None:
    venue = Venue()
    maker = venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    forced = replace(maker.order, nonce=maker.order.nonce + 1)
    set_slot(venue.state, ALICE, SlotId(1), Slot(forced, 2))
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert [report.maker for report in execution.fills] == [CAROL]
    assert reasons_of(execution) == [(ALICE, Fault.ORDER_NONCE)]


def test_drop_stale__epoch_raised__all_old_orders_gone() -> None:
    venue = Venue()
    old = [venue.rest(ALICE, slot, SELL, 1_000, 5) for slot in (1, 2)]
    other = venue.rest(BOB, 1, BUY, 990, 5)
    venue.executor.raise_epoch(ALICE)
    young = venue.rest(ALICE, 3, SELL, 1_000, 5)
    assert venue.engine.drop_stale(ALICE) == old
    assert venue.engine.drop_stale(ALICE) == []
    assert venue.engine.get_orders() == [other, young]


def test_drop_stale__key_changed__only_its_orders_gone() -> None:
    venue = Venue()
    venue.set_key(ALICE, KEY, Timestamp(GENESIS + 10))
    keyed = venue.rest(ALICE, 1, SELL, 1_000, 5, signer=KEY)
    owned = venue.rest(ALICE, 2, SELL, 1_000, 5)
    venue.set_key(ALICE, make_address(0x7F), Timestamp(GENESIS + 10))
    assert venue.engine.drop_stale(ALICE) == [keyed]
    assert venue.engine.get_orders() == [owned]


def test_drop_stale__slot_filled_by_force__gone() -> None:
    venue = Venue()
    moved = venue.rest(ALICE, 1, SELL, 1_000, 5)
    partly = venue.rest(ALICE, 2, SELL, 1_000, 5)
    assert venue.submit(BOB, 1, BUY, 1_000, 7).filled == 7
    assert moved.remaining == 0
    assert venue.engine.drop_stale(ALICE) == []
    set_slot(venue.state, ALICE, SlotId(2), Slot(partly.order, 4))
    assert venue.engine.drop_stale(ALICE) == [partly]


def test_expire__past_expiry__exactly_those() -> None:
    venue = Venue()
    first = venue.rest(ALICE, 1, SELL, 1_000, 5, expiry=Timestamp(GENESIS + 1))
    kept = venue.rest(ALICE, 2, SELL, 1_000, 5, expiry=Timestamp(GENESIS + 2))
    venue.rest(ALICE, 3, SELL, 1_000, 5, expiry=GENESIS)
    replaced = venue.rest(ALICE, 3, SELL, 1_000, 5)
    assert venue.engine.expire(Timestamp(GENESIS + 1)) == []
    assert venue.engine.expire(Timestamp(GENESIS + 2)) == [first]
    assert venue.engine.get_orders() == [kept, replaced]


def test_expire__many_cancelled_orders__heap_stays_small() -> None:
    venue = Venue()
    for _ in range(5_000):
        venue.rest(ALICE, 1, SELL, 1_000, 5)
    assert len(venue.engine._expiries) < 1_100
    assert len(venue.engine.expire(Timestamp(2**40 - 1))) == 1


# The band around the mark


def test_submit__best_maker_beyond_the_band__order_rejected() -> None:
    venue = Venue()
    far = venue.rest(ALICE, 1, SELL, 1_110, 5)
    execution = venue.submit(BOB, 1, BUY, 1_200, 5)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.PRICE_BAND)
    assert venue.engine.get_orders() == [far]


def test_submit__walks_up_to_the_band__remainder_cancelled() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_100, 5)
    venue.rest(ALICE, 2, SELL, 1_110, 5)
    execution = venue.submit(BOB, 1, BUY, 1_200, 8)
    assert (execution.status, execution.reason) == (OrderStatus.CANCELLED, Fault.PRICE_BAND)
    assert lots_of(execution) == [(1_100, 5)]


def test_submit__maker_left_behind_by_the_mark__does_not_block_the_book() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 890, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert [report.maker for report in execution.fills] == [CAROL]
    assert reasons_of(execution) == [(ALICE, Fault.PRICE_BAND)]


def test_submit__post_only_over_a_maker_left_behind__rests() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, BUY, 1_110, 5)
    execution = venue.submit(BOB, 1, SELL, 1_000, 5, post_only=True)
    assert execution.status == OrderStatus.RESTING
    assert reasons_of(execution) == [(ALICE, Fault.PRICE_BAND)]


# Whose fault it is


def test_submit__maker_cannot_pay__passed() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    venue.set_cash(ALICE, 0)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert execution.status == OrderStatus.FILLED
    assert reasons_of(execution) == [(ALICE, Fault.MARGIN)]


def test_submit__posted_maker_cannot_pay__passed() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.submit(BOB, 1, BUY, 1_000, 2)
    venue.set_cash(ALICE, 0)
    execution = venue.submit(BOB, 1, BUY, 1_000, 1)
    assert execution.status == OrderStatus.RESTING
    assert reasons_of(execution) == [(ALICE, Fault.MARGIN)]


def test_submit__search_for_the_culprit__does_not_weigh_on_the_chunk() -> None:
    venue = Venue()
    before = venue.state.meter.gas, venue.state.meter.witness
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.set_cash(ALICE, 0)
    assert reasons_of(venue.submit(BOB, 1, BUY, 1_000, 5)) == [(ALICE, Fault.MARGIN)]
    assert (venue.state.meter.gas, venue.state.meter.witness) == before


def test_submit__taker_cannot_pay__rejected_and_maker_stays() -> None:
    venue = Venue(cash={BOB: 0})
    maker = venue.rest(ALICE, 1, SELL, 1_000, 5)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.MARGIN)
    assert venue.engine.get_orders() == [maker]
    assert not maker.posted


def test_submit__taker_can_pay_for_part__remainder_cancelled() -> None:
    venue = Venue(cash={BOB: 1_200})
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(ALICE, 2, SELL, 1_000, 5)
    execution = venue.submit(BOB, 1, BUY, 1_000, 10)
    assert (execution.status, execution.reason) == (OrderStatus.CANCELLED, Fault.MARGIN)
    assert execution.filled == 5
    assert len(venue.engine) == 1


def test_submit__remainder_not_affordable__cancelled() -> None:
    venue = Venue(cash={BOB: 1_200})
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    execution = venue.submit(BOB, 1, BUY, 1_000, 10)
    assert (execution.status, execution.reason) == (OrderStatus.CANCELLED, Fault.MARGIN)
    assert execution.filled == 5
    assert len(venue.engine) == 0


def test_submit__both_cannot_pay__maker_passed_then_rejected() -> None:
    venue = Venue(cash={BOB: 0})
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    kept = venue.rest(CAROL, 1, SELL, 1_000, 5)
    venue.set_cash(ALICE, 0)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.MARGIN)
    assert kept in venue.engine.get_orders()


def test_submit__maker_holds_a_halted_underlying__passed() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    venue.hold(ALICE, 1, ETH)
    venue.halt(OTHER_UNDERLYING)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert [report.maker for report in execution.fills] == [CAROL]
    assert reasons_of(execution) == [(ALICE, Fault.HALTED)]


def test_submit__taker_holds_a_halted_underlying__rejected() -> None:
    venue = Venue()
    maker = venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.hold(BOB, 1, ETH)
    venue.halt(OTHER_UNDERLYING)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.HALTED)
    assert venue.engine.get_orders() == [maker]


class Refusing:
    """An executor that meets a fault that no side has by itself."""

    def __init__(self, fault: Fault) -> None:
        self.state = build_state()
        self.fault = fault

    def execute(self, transaction: Transaction, signatures: tuple[bytes, ...]) -> None:
        raise TransitionFault(self.fault)

    def cut(self) -> None:
        pass

    def begin(self) -> None:
        pass

    def commit(self) -> None:
        pass

    def rollback(self) -> None:
        pass


@pytest.mark.parametrize("fault", [Fault.OUT_OF_RANGE, Fault.STALE_MARK, Fault.OVERWEIGHT])
@pytest.mark.parametrize("time_in_force", TimeInForce)
def test_submit__fault_of_neither_side__rejected(fault: Fault, time_in_force: TimeInForce) -> None:
    venue = Venue()
    executor: Executor = Refusing(fault)
    venue.engine = MatchingEngine(executor)
    maker = venue.rest(ALICE, 1, SELL, 1_000, 5)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5, time_in_force=time_in_force)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, fault)
    assert venue.engine.get_orders() == [maker]
    assert not maker.posted


# Full chunks


def test_submit__gtc_meets_full_chunks__cuts_and_goes_on() -> None:
    venue = Venue(capacity=1)
    for slot in range(3):
        venue.rest(ALICE, slot, SELL, 1_000, 1)
    execution = venue.submit(BOB, 1, BUY, 1_000, 3)
    assert execution.status == OrderStatus.FILLED
    assert [len(chunk.transactions) for chunk in venue.executor.chunks] == [1, 1, 1]


def test_submit__ioc_meets_a_full_chunk_at_once__cuts() -> None:
    venue = Venue(capacity=2)
    for slot in range(3):
        venue.rest(ALICE, slot, SELL, 1_000, 1)
    venue.submit(CAROL, 1, BUY, 1_000, 1)
    venue.executor.capacity = 1
    execution = venue.submit(BOB, 1, BUY, 1_000, 1, time_in_force=IOC)
    assert execution.status == OrderStatus.FILLED
    assert venue.executor.calls == ["cut"]


def test_submit__ioc_meets_a_full_chunk_later__remainder_cancelled() -> None:
    venue = Venue(capacity=2)
    for slot in range(3):
        venue.rest(ALICE, slot, SELL, 1_000, 1)
    execution = venue.submit(BOB, 1, BUY, 1_000, 3, time_in_force=IOC)
    assert (execution.status, execution.reason) == (OrderStatus.CANCELLED, Fault.OVERWEIGHT)
    assert execution.filled == 2
    assert venue.executor.calls == []


def test_submit__fok_meets_a_full_chunk__starts_again_in_a_new_one() -> None:
    venue = Venue(capacity=3)
    for slot in range(5):
        venue.rest(ALICE, slot, SELL, 1_000, 1)
    venue.submit(CAROL, 1, BUY, 1_000, 2)
    execution = venue.submit(BOB, 1, BUY, 1_000, 3, time_in_force=FOK)
    assert execution.status == OrderStatus.FILLED
    assert venue.executor.calls == ["begin", "rollback", "cut", "begin", "commit"]
    assert [len(chunk.transactions) for chunk in venue.executor.chunks] == [2, 3]
    assert venue.size_of(BOB) == 3


def test_submit__fok_larger_than_any_chunk__rejected() -> None:
    venue = Venue(capacity=3)
    for slot in range(5):
        venue.rest(ALICE, slot, SELL, 1_000, 1)
    execution = venue.submit(BOB, 1, BUY, 1_000, 4, time_in_force=FOK)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.OVERWEIGHT)
    assert venue.executor.calls == ["begin", "rollback", "cut", "begin", "rollback"]
    assert len(venue.engine) == 5
    assert venue.size_of(ALICE) == 0


@pytest.mark.parametrize("time_in_force", TimeInForce)
def test_submit__clock_rises_with_the_cut__expired_taker_stops(time_in_force: TimeInForce) -> None:
    venue = Venue(capacity=1)
    venue.executor.seconds_per_chunk = 1
    for slot in range(2):
        venue.rest(ALICE, slot, SELL, 1_000, 1)
    venue.submit(CAROL, 1, BUY, 1_000, 1)
    execution = venue.submit(BOB, 1, BUY, 1_000, 1, expiry=GENESIS, time_in_force=time_in_force)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.ORDER_EXPIRED)
    assert len(venue.engine) == 1


@pytest.mark.parametrize("time_in_force", TimeInForce)
def test_submit__clock_rises_with_the_cut__expired_key_stops(time_in_force: TimeInForce) -> None:
    venue = Venue(capacity=1)
    venue.executor.seconds_per_chunk = 1
    venue.set_key(BOB, KEY, GENESIS)
    for slot in range(2):
        venue.rest(ALICE, slot, SELL, 1_000, 1)
    venue.submit(CAROL, 1, BUY, 1_000, 1)
    execution = venue.submit(BOB, 1, BUY, 1_000, 1, signer=KEY, time_in_force=time_in_force)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.BAD_SIGNATURE)
    assert len(venue.engine) == 1


def test_submit__clock_rises_with_the_cut__expired_maker_passed() -> None:
    venue = Venue(capacity=1)
    venue.executor.seconds_per_chunk = 1
    venue.rest(ALICE, 0, SELL, 1_000, 1)
    venue.rest(ALICE, 1, SELL, 1_000, 1, expiry=GENESIS)
    venue.rest(ALICE, 2, SELL, 1_000, 1)
    execution = venue.submit(BOB, 1, BUY, 1_000, 2)
    assert execution.status == OrderStatus.FILLED
    assert [report.maker_slot for report in execution.fills] == [0, 2]
    assert reasons_of(execution) == [(ALICE, Fault.ORDER_EXPIRED)]


def test_submit__mark_stale_after_the_cut__remainder_cancelled() -> None:
    venue = Venue(capacity=1)
    venue.executor.seconds_per_chunk = 10
    leaf = venue.state.markets[BTC]
    assert isinstance(leaf, Series)
    set_market(venue.state, BTC, replace(leaf, marked_at=Timestamp(GENESIS - 10**5)))
    for slot in range(2):
        venue.rest(ALICE, slot, SELL, 1_000, 1)
    execution = venue.submit(BOB, 1, BUY, 1_000, 5)
    assert (execution.status, execution.reason) == (OrderStatus.CANCELLED, Fault.STALE_MARK)
    assert execution.filled == 1
    assert len(venue.engine) == 1


def test_submit__real_meter__full_chunks_replay() -> None:
    venue = Venue()
    for slot in range(200):
        venue.rest(ALICE, slot, SELL, 1_000, 1)
    assert venue.submit(BOB, 1, BUY, 1_000, 200).status == OrderStatus.FILLED
    assert len(venue.executor.chunks) > 1
    venue.executor.replay(build_state())


def test_submit__resting_orders__do_not_weigh_on_the_chunk() -> None:
    venue = Venue()
    before = venue.state.meter.gas, venue.state.meter.witness
    venue.rest(ALICE, 1, SELL, 1_000, 1)
    venue.rest(BOB, 1, BUY, 990, 1)
    assert (venue.state.meter.gas, venue.state.meter.witness) == before
    assert not venue.state.meter.markets


# Snapshots


def test_restore__orders_of_another_engine__same_book_and_priority() -> None:
    venue = Venue()
    venue.rest(ALICE, 1, SELL, 1_000, 5)
    venue.rest(CAROL, 1, SELL, 1_000, 5)
    venue.submit(BOB, 1, BUY, 1_000, 2)
    other = MatchingEngine(venue.executor)
    for resting in venue.engine.get_orders():
        other.restore(resting)
    assert other.depth(BTC, 9) == venue.engine.depth(BTC, 9)
    venue.engine = other
    execution = venue.submit(BOB, 1, BUY, 1_000, 4)
    assert [(report.maker, report.lots) for report in execution.fills] == [(ALICE, 3), (CAROL, 1)]
    assert venue.submit(CAROL, 1, SELL, 1_000, 4, nonce=2).reason == Fault.ORDER_NONCE


def test_depth__unknown_market__empty() -> None:
    depth = Venue().engine.depth(UNDERLYING, 5)
    assert (depth.bids, depth.asks) == ((), ())
