"""Marks and risk vectors: what must hold whatever the numbers are."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.margin import EXPIRIES, GRID, PERPETUAL, UNDERLYING, build_markets
from deltaroll.presets import DERIBIT, PMRM_2, SPAN_16, make_params, to_q48
from deltaroll.protocol.arithmetic import div_away
from deltaroll.protocol.configure import validate_model, validate_params, validate_scenario
from deltaroll.protocol.constants import (
    DAY,
    MAX_PRICE,
    MAX_SCENARIOS,
    ONE,
    PPM,
    WEIGHT_MARK_OPTION_GAS,
    YEAR,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.mark import process_mark
from deltaroll.protocol.risk import (
    MONTH,
    Board,
    compute_board,
    compute_discounts,
    compute_log_moneyness,
    compute_pair_risk,
    compute_pair_value,
    compute_perpetual_mark,
    compute_perpetual_risk,
    compute_shocked_deviations,
    compute_skew,
    compute_years,
)
from deltaroll.protocol.state import State, reset_meter, set_market
from deltaroll.protocol.types import (
    Expiry,
    Mark,
    MarketId,
    Scenario,
    Series,
    SeriesStatus,
    Timestamp,
    Underlying,
)

PRESETS = {"PMRM_2": PMRM_2, "DERIBIT": DERIBIT, "SPAN_16": SPAN_16}
MODEL = PMRM_2.model

forwards = st.integers(1, 1 << 40)
deviations = st.integers(0, 8 * ONE)
remainders = st.integers(0, 3 * YEAR)
rates = st.integers(-ONE, ONE)


def board_of(forward: int, remaining: int = 30 * DAY, rate: int = 0) -> Board:
    """An expiry's board."""
    return compute_board(0, forward, remaining, rate, MODEL)


def series_of(state: State, market: int) -> Series:
    """A series that is there."""
    leaf = state.markets[MarketId(market)]
    assert isinstance(leaf, Series)
    return leaf


def expiry_of(state: State, market: int = EXPIRIES) -> Expiry:
    """An expiry that is there."""
    leaf = state.markets[MarketId(market)]
    assert isinstance(leaf, Expiry)
    return leaf


def underlying_of(state: State) -> Underlying:
    """The underlying."""
    leaf = state.markets[UNDERLYING]
    assert isinstance(leaf, Underlying)
    return leaf


def fault_of(state: State, mark: Mark) -> Fault:
    """What a mark faults with."""
    try:
        process_mark(state, mark)
    except TransitionFault as problem:
        return problem.fault
    return Fault.NONE


@pytest.mark.parametrize("name", PRESETS)
def test_presets__every_grid__may_be_configured(name):
    grid = PRESETS[name]
    assert 0 < len(grid.scenarios) <= MAX_SCENARIOS
    for scenario in grid.scenarios:
        validate_scenario(scenario)
    validate_model(grid.model)
    # The basis scenarios of PMRM_2 and DERIBIT are what they are for.
    assert grid.scenarios[grid.basis_up].spot_shock > 0
    assert grid.scenarios[grid.basis_down].spot_shock < 0


def test_make_params__default_parameters__may_be_configured():
    validate_params(make_params(MarketId(1), MarketId(2), 1))


def test_compute_perpetual_risk__weights_in_q48__are_those_in_millionths_before():
    """A weight of n parts per million gives what the formula with PPM * PPM gave."""
    for scenario in PMRM_2.scenarios:
        weight = round(Fraction(scenario.weight, ONE) * PPM)
        for mark in (1, 59_999, 60_000_000, 1 << 46):
            before = div_away(mark * scenario.spot_shock * weight, PPM * PPM)
            after = compute_perpetual_risk(mark, replace(PMRM_2, scenarios=(scenario,)))[0]
            assert abs(after - before) <= 1


def test_compute_perpetual_risk__full_weights__are_as_before_to_the_unit():
    full = tuple(item for item in PMRM_2.scenarios if item.weight == ONE)
    for mark in (1, 59_999, 60_000_001, 1 << 62):
        before = tuple(div_away(mark * item.spot_shock, PPM) for item in full)
        assert compute_perpetual_risk(mark, replace(PMRM_2, scenarios=full)) == before


def test_compute_perpetual_mark__ratio_of_a_premium__multiplies_the_index():
    state = build_markets(PMRM_2, 1, 1)
    underlying = underlying_of(state)
    premium = replace(expiry_of(state), time=Timestamp(0), ratio=to_q48("1.0005"))
    assert compute_perpetual_mark(underlying, None) == underlying.index
    mark = compute_perpetual_mark(underlying, premium)
    assert mark == underlying.index * premium.ratio // ONE
    with pytest.raises(TransitionFault) as problem:
        compute_perpetual_mark(replace(underlying, index=MAX_PRICE), premium)
    assert problem.value.fault == Fault.OUT_OF_RANGE


@given(forwards, forwards, deviations, remainders, rates, st.integers(-PPM, 5 * PPM))
def test_compute_pair_value__any_numbers__call_less_put_is_the_discounted_forward_less_strike(
    forward, strike, deviation, remaining, rate, shock
):
    board = board_of(forward, remaining, rate)
    call, put = compute_pair_value(board, shock, strike, deviation)
    shocked = forward * (PPM + shock) // PPM
    assert call - put == ((shocked - strike) * board.discount + ONE // 2) >> 48
    assert 0 <= call <= shocked
    assert 0 <= put <= strike


@given(forwards, forwards, remainders, st.integers(0, 8 * ONE), st.integers(0, 8 * ONE))
def test_compute_pair_value__more_volatility__is_never_worth_less(
    forward, strike, remaining, first, second
):
    board = board_of(forward, remaining)
    low, high = sorted((first, second))
    less = compute_pair_value(board, 0, strike, low)
    more = compute_pair_value(board, 0, strike, high)
    # A unit for the error of the formula where it is flat.
    assert more[0] >= less[0] - 1
    assert more[1] >= less[1] - 1


@given(forwards, forwards, deviations, st.integers(-PPM, 5 * PPM), st.integers(-PPM, 5 * PPM))
def test_compute_pair_value__higher_forward__calls_rise_and_puts_fall(
    forward, strike, deviation, first, second
):
    board = board_of(forward)
    low, high = sorted((first, second))
    call_low, put_low = compute_pair_value(board, low, strike, deviation)
    call_high, put_high = compute_pair_value(board, high, strike, deviation)
    assert call_high >= call_low - 1
    assert put_high <= put_low + 1


def test_compute_pair_value__shocked_forward_over_the_largest_price__is_out_of_range():
    board = board_of(MAX_PRICE)
    assert compute_pair_value(board, 0, 5, ONE)[0] <= MAX_PRICE
    with pytest.raises(TransitionFault) as problem:
        compute_pair_value(board, 1, 5, ONE)
    assert problem.value.fault == Fault.OUT_OF_RANGE


def test_compute_pair_value__fixed_part__is_not_shocked():
    half = compute_board(500, 500, 900, 0, MODEL)
    call, _ = compute_pair_value(half, 100_000, 1, 0)
    assert call == 500 + 550 - 1


def test_compute_board__forward_of_nothing__counts_as_one():
    assert compute_board(0, 0, DAY, 0, MODEL).variable == 1
    with pytest.raises(TransitionFault) as problem:
        compute_board(MAX_PRICE, 1, DAY, 0, MODEL)
    assert problem.value.fault == Fault.OUT_OF_RANGE


def test_compute_board__thirty_days__shocks_are_those_of_the_model():
    board = board_of(10**9)
    assert board.up == ONE + MODEL.vol_up
    assert board.down == ONE - MODEL.vol_down


@pytest.mark.parametrize(
    ("days", "power"), [(1, "0.3"), (10, "0.3"), (30, "0.3"), (31, "0.13"), (365, "0.13")]
)
def test_compute_board__other_days__shocks_follow_the_power_of_time(days, power):
    board = board_of(10**9, days * DAY)
    expected = 1 + 0.5 * (30 / days) ** float(power)
    assert board.up / ONE == pytest.approx(expected, rel=1e-13)


def test_compute_board__less_than_the_floor__counts_as_the_floor():
    assert board_of(10**9, DAY // 2).up == board_of(10**9, DAY).up
    assert board_of(10**9, 0).up == board_of(10**9, DAY).up


@pytest.mark.parametrize(("remaining", "power"), [(MONTH, "short"), (MONTH + 1, "long")])
def test_compute_board__floor_above_a_month__power_is_that_of_what_remains(remaining, power):
    model = replace(MODEL, day_floor=60 * ONE)
    board = compute_board(0, 10**9, remaining, 0, model)
    exponent = MODEL.short_power if power == "short" else MODEL.long_power
    expected = 1 + 0.5 * 0.5 ** (exponent / ONE)
    assert board.up / ONE == pytest.approx(expected, rel=1e-9)


def test_compute_board__negative_rate__counts_as_none():
    assert board_of(10**9, YEAR, -ONE // 10).discount == ONE
    assert board_of(10**9, YEAR, ONE // 10).discount < ONE


def test_compute_discounts__rates_and_times__are_the_formulas():
    rate = to_q48("0.2")
    long, short, basis = compute_discounts(YEAR // 2, rate, MODEL)
    assert long / ONE == pytest.approx(0.95 * 2.718281828459045 ** (-0.5 * 0.28), rel=1e-13)
    # 1.04 * e^(0.5 * 0.18) is 1.138, e^(0.5 * 0.2) is 1.105.
    assert short / ONE == pytest.approx(2.718281828459045**0.1, rel=1e-13)
    assert basis == to_q48("1.5")
    assert compute_discounts(YEAR, -rate, MODEL) == compute_discounts(YEAR, 0, MODEL)
    assert compute_discounts(0, rate, MODEL)[1] == ONE


@given(
    st.integers(0, 1 << 40),
    st.integers(-ONE, ONE),
    st.lists(st.integers(-64 * ONE, 64 * ONE), min_size=22, max_size=22),
)
def test_compute_discounts__any_numbers__fit_the_leaf(remaining, rate, numbers):
    model = type(MODEL)(*numbers)
    for number in compute_discounts(remaining, rate, model):
        assert 0 <= number < 1 << 64


@given(st.integers(-16 * ONE, 16 * ONE), st.integers(0, ONE), st.integers(1, 4 * ONE))
def test_compute_skew__any_moneyness__stays_within_its_cap(moneyness, cap, width):
    factor = compute_skew(moneyness, cap, width)
    assert ONE - cap <= factor <= ONE + cap
    if abs(moneyness) >= width + 2:
        assert factor == (ONE + cap if moneyness > 0 else ONE - cap)
    assert compute_skew(0, cap, width) == ONE


def test_compute_shocked_deviations__raised__has_the_floor():
    board = board_of(10**9, 10 * DAY)
    down, none, up, _, _ = compute_shocked_deviations(board, 1, 0)
    assert up == board.least > none == 1
    assert down == 0


@settings(max_examples=50)
@given(st.integers(1000, 1 << 40), st.integers(1, 1 << 40), deviations, remainders)
def test_compute_pair_risk__no_shock__is_no_change(forward, strike, deviation, remaining):
    board = board_of(forward, remaining)
    moneyness = compute_log_moneyness(board, strike)
    scenarios = (Scenario(0, 0, ONE), Scenario(0, 1, ONE), Scenario(0, -1, ONE))
    for quote in compute_pair_risk(board, scenarios, strike, moneyness, deviation):
        assert quote.risk[0] == 0
        assert quote.risk[1] >= -1
        assert quote.risk[2] <= 1
        assert all(quote.mark + entry >= 0 for entry in quote.risk)


def test_compute_years__a_year__is_one():
    assert compute_years(YEAR) == ONE


def test_process_mark__call_and_put__are_priced_from_one_set():
    together = build_markets(PMRM_2, 1, 2)
    process_mark(together, Mark(MarketId(EXPIRIES + 1), 4))
    apart = build_markets(PMRM_2, 1, 2)
    for market in range(EXPIRIES + 1, EXPIRIES + 5):
        process_mark(apart, Mark(MarketId(market), 1))
    assert together.markets == apart.markets
    call, put = series_of(together, EXPIRIES + 1), series_of(together, EXPIRIES + 2)
    assert call.marked_at == put.marked_at == underlying_of(together).observed_at
    assert call.mark > 0
    assert expiry_of(together).priced_at == call.marked_at


def test_process_mark__call_and_put_together__are_charged_once():
    state = build_markets(PMRM_2, 1, 2)
    process_mark(state, Mark(MarketId(EXPIRIES + 1), 2))
    gas = state.meter.gas
    process_mark(state, Mark(MarketId(EXPIRIES + 1), 2))
    once = state.meter.gas - gas
    process_mark(state, Mark(MarketId(EXPIRIES + 1), 1))
    process_mark(state, Mark(MarketId(EXPIRIES + 2), 1))
    assert state.meter.gas - gas - once == 2 * once
    assert once >= WEIGHT_MARK_OPTION_GAS


def test_process_mark__after_expiry__settles_by_what_a_lot_pays():
    state = build_markets(PMRM_2, 1, 2)
    expiry = expiry_of(state)
    underlying = underlying_of(state)
    price = 50_000_000
    day = underlying.day + 1
    twaps = tuple(price if place == day % 4 else 0 for place in range(4))
    late = replace(underlying, observed_at=expiry.time, day=day + 1, twaps=twaps)
    set_market(state, UNDERLYING, late)
    state.globals = replace(state.globals, clock=Timestamp(expiry.time + 1))
    call = series_of(state, EXPIRIES + 1)
    set_market(state, MarketId(EXPIRIES + 1), replace(call, open_interest=7))
    process_mark(state, Mark(MarketId(EXPIRIES + 1), 4))
    assert expiry_of(state).settlement == price
    for market in range(EXPIRIES + 1, EXPIRIES + 5):
        series = series_of(state, market)
        assert series.status == SeriesStatus.SETTLED
        sign = 1 if series.kind == 1 else -1
        assert series.mark == max(0, sign * (price - series.strike))
        assert series.risk == ()
    assert series_of(state, EXPIRIES + 1).open_interest == 14
    # Once settled it stays as it is, whatever the price does.
    before = dict(state.markets)
    set_market(state, UNDERLYING, replace(late, index=price * 2))
    process_mark(state, Mark(MarketId(EXPIRIES + 1), 4))
    for market in range(EXPIRIES, EXPIRIES + 5):
        assert state.markets[MarketId(market)] == before[MarketId(market)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"surfaced_at": 0}, Fault.HALTED),
        ({"surfaced_at": 1}, Fault.HALTED),
        ({"ratio": 4 * ONE}, Fault.NONE),
    ],
)
def test_process_mark__surface__must_be_fresh(change, expected):
    state = build_markets(PMRM_2, 1, 1)
    set_market(state, MarketId(EXPIRIES), replace(expiry_of(state), **change))
    assert fault_of(state, Mark(MarketId(EXPIRIES + 1), 1)) == expected


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        (Mark(PERPETUAL, 1), Fault.NONE),
        (Mark(PERPETUAL, 2), Fault.UNKNOWN_MARKET),
        (Mark(GRID, 1), Fault.UNKNOWN_MARKET),
        (Mark(MarketId(EXPIRIES + 1), 3), Fault.UNKNOWN_MARKET),
        (Mark(MarketId((1 << 16) - 1), 2), Fault.UNKNOWN_MARKET),
    ],
)
def test_process_mark__ranges__end_where_series_end(mark, expected):
    state = build_markets(PMRM_2, 1, 1)
    assert fault_of(state, mark) == expected


def test_process_mark__forward_without_a_price__is_a_fault():
    state = build_markets(PMRM_2, 1, 1)
    set_market(state, UNDERLYING, replace(underlying_of(state), index=MAX_PRICE))
    reset_meter(state)
    assert fault_of(state, Mark(MarketId(EXPIRIES + 1), 2)) == Fault.OUT_OF_RANGE
