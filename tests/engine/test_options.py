"""Options, and perpetuals whose funding runs, in the book: what differs from plain perpetuals.

The index is 1,000, fills stay within 100 of a mark, `CALL` and `PUT` are at the money.
"""

from dataclasses import replace

import pytest

from deltaroll.engine.matching import OrderStatus
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.mark import compute_settled
from deltaroll.protocol.state import Meter, set_account, set_market
from deltaroll.protocol.types import (
    AccountId,
    Expiry,
    MarketId,
    Position,
    Series,
    SeriesStatus,
    Timestamp,
    Underlying,
)
from tests.engine.support import (
    ALICE,
    BOB,
    BTC,
    CALL,
    CAROL,
    EXPIRIES,
    EXPIRY,
    GENESIS,
    INDEX,
    OPTIONS,
    PARAMS,
    PREMIUM_PERP,
    PUT,
    UNDERLYING,
    Venue,
    build_state,
    list_options,
    reasons_of,
)

BUY, SELL = True, False
SOON = Timestamp(GENESIS + 3_600)
LAST = Timestamp(EXPIRIES[EXPIRY] - 1)
"""Last second in which an option of the first expiry trades."""


@pytest.fixture
def venue() -> Venue:
    return Venue(options=True)


def get_series(venue: Venue, market: MarketId) -> Series:
    leaf = venue.state.markets[market]
    assert isinstance(leaf, Series)
    return leaf


def get_price(venue: Venue, market: MarketId) -> int:
    """The tick above the mark."""
    return get_series(venue, market).mark // 10 * 10 + 10


def change_expiry(venue: Venue, **changes: object) -> None:
    leaf = venue.state.markets[EXPIRY]
    assert isinstance(leaf, Expiry)
    set_market(venue.state, EXPIRY, replace(leaf, **changes))  # type: ignore[arg-type]


def settle(venue: Venue, market: MarketId, price: int) -> None:
    """Settle a series as its expiry would."""
    underlying = venue.state.markets[UNDERLYING]
    assert isinstance(underlying, Underlying)
    settled = compute_settled(get_series(venue, market), underlying, price)
    set_market(venue.state, market, settled)


def find_least_cash(venue: Venue, account: AccountId) -> int:
    """Cash with which an account just meets initial margin, given its positions."""
    state = venue.state
    state.meter, meter = Meter(), state.meter
    margin = compute_margin(state, state.accounts[account], state.globals.clock)
    state.meter = meter
    return state.accounts[account].cash + margin.initial - margin.equity


def test_submit__options_cross__trade_and_replay(venue: Venue) -> None:
    for turn, option in enumerate(OPTIONS):
        price = get_price(venue, option)
        venue.rest(ALICE, turn, SELL, price, 5, market=option, expiry=SOON)
        execution = venue.submit(BOB, turn, BUY, price, 3, market=option, expiry=SOON)
        assert execution.status == OrderStatus.FILLED
        assert (venue.size_of(ALICE, option), venue.size_of(BOB, option)) == (-3, 3)
    genesis = build_state()
    list_options(genesis)
    venue.executor.replay(genesis)


@pytest.mark.parametrize(
    ("expiry", "reason"),
    [
        (LAST, None),
        (Timestamp(LAST + 1), Fault.ORDER_EXPIRED),
        (Timestamp(LAST + 9), Fault.ORDER_EXPIRED),
    ],
)
def test_submit__order_that_may_outlive_its_option__rejected(
    venue: Venue, expiry: Timestamp, reason: Fault | None
) -> None:
    """The id may mean another option by then."""
    execution = venue.submit(ALICE, 1, BUY, 10, 1, market=CALL, expiry=expiry)
    assert execution.reason == reason


def test_submit__order_outlives_perpetuals_of_a_premium__rests(venue: Venue) -> None:
    """Their expiry leaf has no time."""
    venue.rest(ALICE, 1, BUY, 1_000, 1, market=PREMIUM_PERP)


@pytest.mark.parametrize(
    ("changes", "clock", "reason"),
    [
        ({}, LAST, None),
        ({}, LAST + 1, Fault.INACTIVE),
        ({"surfaced_at": Timestamp(0)}, GENESIS, Fault.HALTED),
        ({"surfaced_at": Timestamp(GENESIS - PARAMS.max_surface_age)}, GENESIS, None),
        ({"surfaced_at": Timestamp(GENESIS - PARAMS.max_surface_age - 1)}, GENESIS, Fault.HALTED),
    ],
)
def test_submit__option_expired_or_without_a_surface__rejected(
    venue: Venue, changes: dict[str, object], clock: int, reason: Fault | None
) -> None:
    if clock != GENESIS:
        params = replace(PARAMS, max_mark_age=10**6, max_surface_age=10**6)
        leaf = venue.state.markets[UNDERLYING]
        assert isinstance(leaf, Underlying)
        set_market(venue.state, UNDERLYING, replace(leaf, params=params))
        venue.executor.advance(clock - GENESIS)
    change_expiry(venue, **changes)
    execution = venue.submit(ALICE, 1, BUY, 10, 1, market=CALL, expiry=Timestamp(clock))
    assert execution.reason == reason


@pytest.mark.parametrize(
    ("is_buy", "inside", "outside"), [(BUY, 130, 140), (SELL, 350, 340)], ids=["buy", "sell"]
)
def test_submit__option_price_beyond_the_band__measured_by_the_index(
    venue: Venue, is_buy: bool, inside: int, outside: int
) -> None:
    """The band is 100 around the mark, whatever the option is worth."""
    mark = 30 if is_buy else 450
    set_market(venue.state, CALL, replace(get_series(venue, CALL), mark=mark))
    venue.rest(ALICE, 1, not is_buy, outside, 1, market=CALL, expiry=SOON)
    execution = venue.submit(BOB, 1, is_buy, outside, 1, market=CALL, expiry=SOON)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.PRICE_BAND)
    venue.rest(CAROL, 1, not is_buy, inside, 1, market=CALL, expiry=SOON)
    execution = venue.submit(BOB, 1, is_buy, outside, 2, market=CALL, expiry=SOON)
    assert [(fill.maker, fill.price) for fill in execution.fills] == [(CAROL, inside)]
    assert (execution.status, execution.reason) == (OrderStatus.CANCELLED, Fault.PRICE_BAND)


def test_submit__option_maker_left_behind_by_the_mark__passed(venue: Venue) -> None:
    venue.rest(ALICE, 1, BUY, 200, 1, market=CALL, expiry=SOON)
    assert get_series(venue, CALL).mark < 100
    execution = venue.submit(BOB, 1, SELL, 200, 1, market=CALL, expiry=SOON)
    assert reasons_of(execution) == [(ALICE, Fault.PRICE_BAND)]


def test_submit__naked_short_at_the_edge__one_lot_too_many_is_rejected(venue: Venue) -> None:
    price = get_price(venue, CALL)
    venue.rest(ALICE, 1, BUY, price, 51, market=CALL, expiry=SOON)
    venue.submit(BOB, 1, SELL, price, 50, market=CALL, expiry=SOON)
    spent = 10**12 - venue.state.accounts[BOB].cash
    least = find_least_cash(venue, BOB) + spent
    other = Venue(options=True)
    other.rest(ALICE, 1, BUY, price, 51, market=CALL, expiry=SOON)
    other.set_cash(BOB, least - 1)
    assert other.submit(BOB, 1, SELL, price, 50, market=CALL, expiry=SOON).reason == Fault.MARGIN
    other.set_cash(BOB, least)
    assert other.submit(BOB, 1, SELL, price, 50, market=CALL, expiry=SOON).filled == 50
    assert other.submit(BOB, 2, SELL, price, 1, market=CALL, expiry=SOON).reason == Fault.MARGIN


def test_submit__hedge_of_a_short_put__fills_below_initial_margin(venue: Venue) -> None:
    """What makes the shortfall smaller may be traded."""
    venue.hold(BOB, -40, PUT)
    venue.set_cash(BOB, find_least_cash(venue, BOB) - 500)
    venue.rest(ALICE, 1, SELL, 1_000, 20)
    venue.rest(CAROL, 1, BUY, 990, 20)
    assert venue.submit(BOB, 1, BUY, 1_000, 5).reason == Fault.MARGIN
    assert venue.submit(BOB, 2, SELL, 990, 10).filled == 10


# Funding


def pay_funding(venue: Venue, seconds: int) -> None:
    """The perpetual stands 20 above its index, and time passes."""
    venue.remark(BTC, INDEX + 20)
    venue.executor.advance(seconds)


def test_submit__maker_pays_funding__blamed_for_the_unit_that_is_missing() -> None:
    """A long would pass by the marks alone; the fill accrues what it owes first."""
    venue = Venue()
    venue.hold(ALICE, 100)
    venue.rest(ALICE, 1, BUY, 1_020, 5)
    venue.rest(CAROL, 1, BUY, 1_020, 5)
    pay_funding(venue, 28_800)
    venue.set_cash(ALICE, find_least_cash(venue, ALICE) + 5 * 230)
    execution = venue.submit(BOB, 1, SELL, 1_020, 5)
    assert reasons_of(execution) == [(ALICE, Fault.MARGIN)]
    assert [report.maker for report in execution.fills] == [CAROL]


def test_submit__taker_pays_funding__maker_stays() -> None:
    venue = Venue()
    venue.hold(BOB, 100)
    maker = venue.rest(ALICE, 1, SELL, 1_020, 5)
    pay_funding(venue, 28_800)
    venue.set_cash(BOB, find_least_cash(venue, BOB) + 5 * 230)
    execution = venue.submit(BOB, 1, BUY, 1_020, 5)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.MARGIN)
    assert venue.engine.get_orders() == [maker]


@pytest.mark.parametrize(("size", "is_buy"), [(100, BUY), (-100, SELL)])
def test_submit__rests_on_funding_that_is_not_accrued__is_filled_by_the_next(
    size: int, is_buy: bool
) -> None:
    """The least cash with which an order rests is the least with which it fills."""

    def rest(cash: int) -> Venue:
        venue = Venue()
        venue.hold(ALICE, size)
        pay_funding(venue, 28_800)
        venue.set_cash(ALICE, cash - size * (INDEX + 20))
        execution = venue.submit(ALICE, 1, is_buy, INDEX + 20, 50)
        assert execution.reason in (None, Fault.MARGIN)
        return venue

    low, high = 0, 100_000
    while high - low > 1:
        middle = (low + high) // 2
        if len(rest(middle).engine):
            high = middle
        else:
            low = middle
    for venue in (rest(high), rest(high + 1)):
        assert venue.submit(BOB, 1, not is_buy, INDEX + 20, 50).filled == 50


# What has settled


def test_submit__settled_options_held__cash_before_the_trade(venue: Venue) -> None:
    price = get_price(venue, CALL)
    venue.rest(ALICE, 1, SELL, price, 5, market=CALL, expiry=SOON)
    venue.submit(BOB, 1, BUY, price, 5, market=CALL, expiry=SOON)
    settle(venue, CALL, INDEX + 70)
    assert get_series(venue, CALL).status == SeriesStatus.SETTLED
    cash = {account: venue.state.accounts[account].cash for account in (ALICE, BOB)}
    venue.rest(ALICE, 2, SELL, 1_000, 5)
    venue.submit(BOB, 2, BUY, 1_000, 5)
    for account, sign in ((ALICE, -1), (BOB, 1)):
        after = venue.state.accounts[account]
        assert [position.series for position in after.positions] == [BTC]
        fee = 3 if account is BOB else 1
        assert after.cash == cash[account] + sign * (5 * 70 - 5_000) - fee
    assert get_series(venue, CALL).open_interest == 0


@pytest.mark.parametrize("is_resting", [True, False])
def test_submit__all_places_taken_but_one_has_settled__trades(
    venue: Venue, is_resting: bool
) -> None:
    state = venue.state
    others = tuple(MarketId(1_000 + number) for number in range(63))
    for market in others:
        set_market(state, market, get_series(venue, BTC))
    settle(venue, CALL, INDEX)
    held = (Position(CALL, 1, 0), *(Position(market, 1, 0) for market in others))
    set_account(state, BOB, replace(state.accounts[BOB], positions=held))
    if is_resting:
        venue.rest(BOB, 1, BUY, 1_000, 1)
        assert venue.submit(ALICE, 1, SELL, 1_000, 1).filled == 1
    else:
        venue.rest(ALICE, 1, SELL, 1_000, 1)
        assert venue.submit(BOB, 1, BUY, 1_000, 1).filled == 1
    assert len(state.accounts[BOB].positions) == 64


def test_submit__option_has_settled__rejected(venue: Venue) -> None:
    maker = venue.rest(ALICE, 1, SELL, 1_000, 1, market=CALL, expiry=SOON)
    settle(venue, CALL, INDEX)
    execution = venue.submit(BOB, 1, BUY, 1_000, 1, market=CALL, expiry=SOON)
    assert (execution.status, execution.reason) == (OrderStatus.REJECTED, Fault.INACTIVE)
    assert venue.engine.get_orders() == [maker]


# Fees


def test_submit__rebate_and_data__fees_are_what_each_side_pays() -> None:
    params = replace(PARAMS, maker_fee=-100, gas_market=UNDERLYING, gas_lot=10**9)
    venue = Venue(params=params, options=True)
    venue.state.globals = replace(venue.state.globals, data_fee=1_000)
    paid = [-(-size * 40 * 1_000 * INDEX // 10**9) for size in (88, 14 + 88, 14)]
    cash = {account: venue.state.accounts[account].cash for account in (ALICE, BOB)}
    venue.rest(ALICE, 1, SELL, 1_000, 200)
    venue.submit(BOB, 1, BUY, 1_000, 100)
    # 100,000 of notional: 500 and -100 parts per million.
    assert venue.state.accounts[ALICE].cash == cash[ALICE] + 100_000 + 10 - paid[0]
    assert venue.state.accounts[BOB].cash == cash[BOB] - 100_000 - 50 - paid[1]
    venue.submit(BOB, 2, BUY, 1_000, 100)
    assert venue.state.accounts[ALICE].cash == cash[ALICE] + 200_000 + 20 - paid[0]


def test_submit__data_fee_of_a_maker_not_posted_yet__part_of_its_margin() -> None:
    params = replace(PARAMS, gas_market=UNDERLYING, gas_lot=10**9)
    bytes_paid = -(-88 * 40 * 10**6 * INDEX // 10**9)
    for cash, reason in ((222 + 1 + bytes_paid - 1, Fault.MARGIN), (222 + 1 + bytes_paid, None)):
        venue = Venue(cash={ALICE: cash}, params=params)
        venue.state.globals = replace(venue.state.globals, data_fee=10**6)
        assert venue.submit(ALICE, 1, BUY, 1_000, 1).reason == reason
