"""What a fill costs, when it may not be, and what else it does to the accounts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.constants import (
    DATA_GAS,
    FILL_BYTES,
    FUNDING_PERIOD,
    ONE,
    ORDER_BYTES,
    PPM,
)
from deltaroll.protocol.expiry import compute_boundary
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.fill import compute_data_fee, compute_fee, compute_fees
from deltaroll.protocol.listing import create_expiry, create_series
from deltaroll.protocol.state import (
    State,
    compute_state_root,
    set_account,
    set_market,
    set_slot,
)
from deltaroll.protocol.types import (
    AccountId,
    Fill,
    MarketId,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Slot,
    SlotId,
    TimeInForce,
    Timestamp,
    Underlying,
)
from tests.protocol.money import (
    DAY_0,
    EXPIRIES,
    GRID,
    INDEXES,
    START,
    compute_total,
    make_account,
    make_order,
    make_underlying,
    margin_of,
    owner_of,
    run_both,
)

PERP, CALL, PUT, SETTLED = MarketId(100), MarketId(101), MarketId(102), MarketId(103)
MAKER, TAKER = AccountId(1), AccountId(2)
INDEX = 10**6
PREMIUM = 20_000
EXPIRY = Timestamp(compute_boundary(DAY_0 + 7))
RICH = 10**15
rates = st.integers(0, 10_000)
prices = st.integers(0, (1 << 63) - 1)
lots = st.integers(1, (1 << 31) - 1)


def build(**changes: Any) -> State:
    """Two rich accounts, a perpetual, a call, a put, and an option that has settled."""
    state = State()
    state.globals = replace(state.globals, clock=Timestamp(START + 10), account_count=2)
    grid = replace(PMRM_2, scenarios=PMRM_2.scenarios[:3], basis_up=0, basis_down=1)
    set_market(state, GRID, grid)
    params = replace(make_params(MarketId(1), GRID, 1), **changes)
    set_market(state, INDEXES[0], make_underlying(params, INDEX))
    expiry = replace(
        create_expiry(INDEXES[0], EXPIRY),
        surfaced_at=START,
        priced_at=START,
        long_discount=ONE,
        short_discount=ONE,
    )
    set_market(state, EXPIRIES[0], expiry)
    for market, kind in zip(
        (PERP, CALL, PUT, SETTLED),
        (SeriesKind.PERPETUAL, SeriesKind.CALL, SeriesKind.PUT, SeriesKind.CALL),
        strict=True,
    ):
        is_perpetual = kind == SeriesKind.PERPETUAL
        leaf = MarketId(0) if is_perpetual else EXPIRIES[0]
        strike = 0 if is_perpetual else INDEX
        series = create_series(kind, SeriesStatus.ACTIVE, INDEXES[0], leaf, strike)
        series = replace(
            series,
            mark=INDEX if is_perpetual else PREMIUM,
            mark_index=INDEX,
            marked_at=START,
            accrued_at=Timestamp(START + 10 if is_perpetual else 0),
            risk=(-INDEX // 10, 0, INDEX // 10),
        )
        if market == SETTLED:
            series = replace(series, status=SeriesStatus.SETTLED, risk=(), mark=700)
        set_market(state, market, series)
    for account in (MAKER, TAKER):
        set_account(state, account, make_account(owner_of(account), RICH))
    compute_state_root(state)
    return state


def make_fill(market: MarketId, price: int, size: int, **changes: Any) -> Fill:
    """MAKER buys, TAKER sells."""
    maker = make_order(market, True, price, size, **changes)
    taker = make_order(market, False, price, size, **changes)
    return Fill(market, MAKER, TAKER, SlotId(0), SlotId(0), True, size, maker, taker)


def leaves(state: State, market: MarketId) -> tuple[Series, Underlying]:
    """A series and its underlying."""
    series, underlying = state.markets[market], state.markets[INDEXES[0]]
    assert isinstance(series, Series)
    assert isinstance(underlying, Underlying)
    return series, underlying


# Fees


@given(prices, lots, st.integers(-10_000, 10_000))
def test_compute_fee__perpetual__is_rounded_up_against_the_account(
    price: int, size: int, rate: int
):
    fee = compute_fee(*leaves(build(), PERP), price, size, rate)
    assert (fee - 1) * PPM < price * size * rate <= fee * PPM


@given(prices, lots, st.integers(-10_000, 10_000), st.integers(0, PPM))
def test_compute_fee__option__is_within_a_part_of_the_premium(
    price: int, size: int, rate: int, cap: int
):
    fee = compute_fee(*leaves(build(option_fee_cap=cap), CALL), price, size, rate)
    assert abs(fee) * PPM <= price * size * cap
    assert (fee - 1) * PPM < INDEX * size * rate or rate < 0
    if INDEX * size * abs(rate) < price * size * cap - PPM:
        assert fee == -(-INDEX * size * rate // PPM)


@given(
    st.sampled_from((PERP, CALL)),
    prices,
    lots,
    st.integers(-10_000, 10_000),
    rates,
    st.integers(0, PPM),
)
def test_compute_fees__any_rates__pool_never_falls(
    market: MarketId, price: int, size: int, maker: int, taker: int, cap: int
):
    changes = {
        "maker_fee": maker,
        "taker_fee": taker,
        "option_maker_fee": maker,
        "option_taker_fee": taker,
        "option_fee_cap": cap,
    }
    maker_fee, taker_fee = compute_fees(*leaves(build(**changes), market), price, size)
    assert taker_fee >= 0
    assert maker_fee + taker_fee >= 0
    assert maker >= 0 or maker_fee <= 0


@pytest.mark.parametrize(
    ("market", "price", "changes", "maker", "taker"),
    [
        (PERP, INDEX, {}, 50 * 7, 300 * 7),
        (PERP, INDEX - 1, {}, 350, 2_100),
        (PERP, INDEX, {"maker_fee": -100}, -700, 2_100),
        (PERP, INDEX, {"maker_fee": -400}, -2_100, 2_100),
        (PERP, INDEX, {"maker_fee": 0, "taker_fee": 0}, 0, 0),
        # 100 and 300 parts of the index, up to an eighth of the premium.
        (CALL, PREMIUM, {}, 700, 2_100),
        (CALL, 1_000, {}, 7 * 100, 7 * 125),
        (PUT, 7, {}, 6, 6),
        (CALL, 1_000, {"option_maker_fee": -200}, -875, 875),
        (CALL, 1_000, {"option_maker_fee": -50}, -350, 875),
    ],
)
def test_process_fill__seven_lots__fees_are_those_of_the_class(
    market: MarketId, price: int, changes: dict[str, int], maker: int, taker: int
):
    state = build(fill_band=PPM, **changes)
    total = compute_total(state)
    assert run_both(state, make_fill(market, price, 7))[0] == Fault.NONE
    assert state.accounts[MAKER].cash == RICH - 7 * price - maker
    assert state.accounts[TAKER].cash == RICH + 7 * price - taker
    assert state.globals.fee_pool == maker + taker
    assert compute_total(state) == total


@given(st.integers(0, 10**12), st.integers(1, (1 << 64) - 1), st.integers(0, 200))
def test_compute_data_fee__any_price_of_gas__is_rounded_up(fee: int, lot: int, size: int):
    state = build(gas_market=INDEXES[0], gas_lot=lot)
    state.globals = replace(state.globals, data_fee=fee)
    params = leaves(state, PERP)[1].params
    paid = compute_data_fee(state, params, size)
    cost = size * DATA_GAS * fee * INDEX
    assert (paid - 1) * lot < cost <= paid * lot


def test_process_fill__data_has_a_price__each_pays_for_its_own_bytes():
    """At 1 gwei a gas, a lot of 1e15 wei and a dollar a lot."""
    state = build(gas_market=INDEXES[0], gas_lot=10**15, maker_fee=0, taker_fee=0)
    state.globals = replace(state.globals, data_fee=10**9)
    fill = make_fill(PERP, INDEX, 10)
    posted, byte = ORDER_BYTES * DATA_GAS, DATA_GAS
    first = replace(fill, lots=4)
    assert run_both(state, first)[0] == Fault.NONE
    assert state.accounts[MAKER].cash == RICH - 4 * INDEX - posted
    assert state.accounts[TAKER].cash == RICH + 4 * INDEX - posted - FILL_BYTES * byte
    again = replace(fill, lots=6, maker_order=None, taker_order=None)
    assert run_both(state, again)[0] == Fault.NONE
    assert state.accounts[MAKER].cash == RICH - 10 * INDEX - posted
    assert state.accounts[TAKER].cash == RICH + 10 * INDEX - posted - 2 * FILL_BYTES * byte
    assert state.globals.fee_pool == 2 * posted + 2 * FILL_BYTES * byte


@pytest.mark.parametrize("changes", [{"gas_market": INDEXES[0]}, {"gas_lot": 7}])
def test_process_fill__no_price_for_data__data_is_free(changes: dict[str, int]):
    state = build(maker_fee=0, taker_fee=0, **changes)
    state.globals = replace(state.globals, data_fee=10**9)
    assert run_both(state, make_fill(PERP, INDEX, 10))[0] == Fault.NONE
    assert state.globals.fee_pool == 0


def test_process_fill__market_of_gas_is_gone__unknown_market():
    state = build(gas_market=MarketId(9_999), gas_lot=1)
    assert run_both(state, make_fill(PERP, INDEX, 10))[0] == Fault.UNKNOWN_MARKET


# When it may not be


@pytest.mark.parametrize(
    ("market", "price", "fault"),
    [
        (PERP, INDEX + 30_000, Fault.NONE),
        (PERP, INDEX + 30_001, Fault.PRICE_BAND),
        (PERP, INDEX - 30_001, Fault.PRICE_BAND),
        # Of an option the band is a part of the index, so that cheap ones trade.
        (CALL, PREMIUM + 30_000, Fault.NONE),
        (CALL, PREMIUM + 30_001, Fault.PRICE_BAND),
        (CALL, 1, Fault.NONE),
    ],
)
def test_process_fill__price_around_the_mark__is_held_to_the_band(
    market: MarketId, price: int, fault: Fault
):
    assert run_both(build(), make_fill(market, price, 1))[0] == fault


@pytest.mark.parametrize("time_in_force", list(TimeInForce))
@pytest.mark.parametrize("whose", [MAKER, TAKER])
def test_process_fill__order_of_an_earlier_transaction__only_a_resting_one_goes_on(
    time_in_force: TimeInForce, whose: AccountId
):
    """Who takes at once takes now: what such an order has left is dead after it."""
    state = build()
    fill = make_fill(PERP, INDEX, 1)
    for account, is_buy in ((MAKER, True), (TAKER, False)):
        kind = time_in_force if account == whose else TimeInForce.GTC
        resting = make_order(PERP, is_buy, INDEX, 5, time_in_force=kind)
        set_slot(state, account, SlotId(0), Slot(resting, 1))
    fault = Fault.NONE if time_in_force == TimeInForce.GTC else Fault.TIME_IN_FORCE
    later = replace(fill, maker_order=None, taker_order=None)
    assert run_both(state, later)[0] == fault


@pytest.mark.parametrize("whose", ["maker_order", "taker_order"])
@pytest.mark.parametrize(
    ("market", "late", "fault"),
    [
        (CALL, -1, Fault.NONE),
        (CALL, 0, Fault.ORDER_EXPIRED),
        (CALL, 1, Fault.ORDER_EXPIRED),
        (PERP, 10**6, Fault.NONE),
    ],
)
def test_process_fill__order_that_outlives_its_option__order_expired(
    whose: str, market: MarketId, late: int, fault: Fault
):
    """The id of an option is used again: no order may wake up in its next life."""
    fill = make_fill(market, INDEX if market == PERP else PREMIUM, 1)
    order = replace(getattr(fill, whose), expiry=Timestamp(EXPIRY + late))
    assert run_both(build(), replace(fill, **{whose: order}))[0] == fault


@pytest.mark.parametrize("late", [0, 1])
def test_process_fill__option_has_expired__inactive(late: int):
    state = build()
    state.globals = replace(state.globals, clock=Timestamp(EXPIRY + late))
    assert run_both(state, make_fill(CALL, PREMIUM, 1))[0] == Fault.INACTIVE


def test_process_fill__settled__inactive():
    assert run_both(build(), make_fill(SETTLED, 700, 1))[0] == Fault.INACTIVE


@pytest.mark.parametrize("market", [PERP, CALL, PUT])
@pytest.mark.parametrize(
    ("maker", "taker", "fault"),
    [
        # MAKER buys five lots, TAKER sells them.
        (-5, 5, Fault.NONE),
        (-6, 9, Fault.NONE),
        (-4, 5, Fault.REDUCE_ONLY),
        (-5, 4, Fault.REDUCE_ONLY),
        (0, 5, Fault.REDUCE_ONLY),
        (-5, 0, Fault.REDUCE_ONLY),
        (5, 5, Fault.REDUCE_ONLY),
        (-5, -5, Fault.REDUCE_ONLY),
        (0, 0, Fault.REDUCE_ONLY),
    ],
)
def test_process_fill__closing__both_sides_must_reduce(
    market: MarketId, maker: int, taker: int, fault: Fault
):
    state = build()
    series, _ = leaves(state, market)
    status = SeriesStatus.CLOSING
    set_market(state, market, replace(series, status=status, open_interest=100))
    for account, size in ((MAKER, maker), (TAKER, taker)):
        held = (Position(market, size, 0),) if size else ()
        set_account(state, account, make_account(owner_of(account), RICH, *held))
    compute_state_root(state)
    assert run_both(state, make_fill(market, series.mark, 5))[0] == fault


def test_process_fill__closing_and_expired__inactive():
    state = build()
    series, _ = leaves(state, CALL)
    set_market(state, CALL, replace(series, status=SeriesStatus.CLOSING))
    state.globals = replace(state.globals, clock=EXPIRY)
    assert run_both(state, make_fill(CALL, PREMIUM, 1))[0] == Fault.INACTIVE


@pytest.mark.parametrize(("held", "fault"), [(-1, Fault.NONE), (0, Fault.OUT_OF_RANGE)])
def test_process_fill__open_interest_at_the_bound__out_of_range(held: int, fault: Fault):
    """Half of the leaf is kept for settlement, which counts both sides."""
    state = build()
    series, _ = leaves(state, PERP)
    set_market(state, PERP, replace(series, open_interest=(1 << 63) - 1 + held))
    assert run_both(state, make_fill(PERP, INDEX, 1))[0] == fault


def test_process_fill__below_initial_at_a_bad_price__equity_may_not_go_below_zero():
    """Else a friend on the other side would win what the insurance fund loses."""
    state = build(fill_band=PPM, maker_fee=0, taker_fee=0)
    series, _ = leaves(state, PERP)
    set_market(state, PERP, replace(series, open_interest=100))
    poor = make_account(owner_of(2), -100 * INDEX + 5 * INDEX, Position(PERP, 100, 0))
    set_account(state, TAKER, poor)
    set_account(state, MAKER, make_account(owner_of(1), RICH, Position(PERP, -100, 0)))
    margin = margin_of(state, TAKER)
    assert 0 < margin.equity == 5 * INDEX < margin.maintenance
    assert run_both(state, make_fill(PERP, INDEX - 100_000, 100))[0] == Fault.MARGIN
    assert run_both(state, make_fill(PERP, INDEX - 40_000, 100))[0] == Fault.NONE
    assert margin_of(state, TAKER).equity == INDEX


# What else it does


@pytest.mark.parametrize("premium", [-5_000, 0, 5_000, 90_000])
def test_process_fill__time_has_passed__funding_accrues_before_the_trade(premium: int):
    state = build(maker_fee=0, taker_fee=0, fill_band=PPM)
    series, _ = leaves(state, PERP)
    early = replace(
        series,
        mark=INDEX + premium,
        open_interest=10,
        accrued_at=Timestamp(state.globals.clock - FUNDING_PERIOD),
    )
    set_market(state, PERP, early)
    set_account(state, MAKER, make_account(owner_of(1), RICH, Position(PERP, 10, 0)))
    set_account(state, TAKER, make_account(owner_of(2), RICH, Position(PERP, -10, 0)))
    total = compute_total(state)
    assert run_both(state, make_fill(PERP, INDEX, 1))[0] == Fault.NONE
    paid = max(-INDEX // 100, min(premium, INDEX // 100))
    after, _ = leaves(state, PERP)
    assert (after.carry_long, after.carry_short) == (paid, paid)
    assert state.accounts[MAKER].cash == RICH - 10 * paid - INDEX
    assert state.accounts[TAKER].cash == RICH + 10 * paid + INDEX
    assert state.accounts[MAKER].positions == (Position(PERP, 11, paid),)
    assert compute_total(state) == total


def test_process_fill__position_flips__takes_the_carry_of_its_new_side():
    state = build(maker_fee=0, taker_fee=0)
    series, _ = leaves(state, PERP)
    set_market(state, PERP, replace(series, carry_long=70, carry_short=-30, open_interest=4))
    set_account(state, MAKER, make_account(owner_of(1), RICH, Position(PERP, -4, 5)))
    set_account(state, TAKER, make_account(owner_of(2), RICH, Position(PERP, 4, 5)))
    assert run_both(state, make_fill(PERP, INDEX, 9))[0] == Fault.NONE
    assert state.accounts[MAKER].positions == (Position(PERP, 5, 70),)
    assert state.accounts[TAKER].positions == (Position(PERP, -5, -30),)
    assert state.accounts[MAKER].cash == RICH - 9 * INDEX + 4 * (-30 - 5)
    assert state.accounts[TAKER].cash == RICH + 9 * INDEX - 4 * (70 - 5)
    assert leaves(state, PERP)[0].open_interest == 5


def test_process_fill__settled_positions__are_cash_first():
    state = build(maker_fee=0, taker_fee=0)
    series, _ = leaves(state, SETTLED)
    set_market(state, SETTLED, replace(series, open_interest=30))
    set_account(state, MAKER, make_account(owner_of(1), RICH, Position(SETTLED, 10, 0)))
    set_account(state, TAKER, make_account(owner_of(2), RICH, Position(SETTLED, -20, 0)))
    assert run_both(state, make_fill(PERP, INDEX, 1))[0] == Fault.NONE
    assert state.accounts[MAKER].cash == RICH - INDEX + 10 * 700
    assert state.accounts[TAKER].cash == RICH + INDEX - 20 * 700
    assert [len(state.accounts[key].positions) for key in (MAKER, TAKER)] == [1, 1]
    assert leaves(state, SETTLED)[0].open_interest == 0
