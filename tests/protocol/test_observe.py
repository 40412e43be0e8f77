"""Observations: settlement averages, realised variance, the risk multiplier; both twins alike."""

from dataclasses import replace
from itertools import pairwise
from math import isqrt
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.protocol.constants import (
    DAY,
    MULTIPLIER_PERIOD,
    ONE,
    PPM,
    SETTLEMENT_WINDOW,
    TWAP_DAYS,
    VARIANCE_DECAY,
    YEAR,
)
from deltaroll.protocol.expiry import compute_boundary, compute_day, compute_settlement
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.leaf import encode_underlying
from deltaroll.protocol.observe import (
    compute_multiplier_after,
    compute_underlying_after,
    compute_variance_after,
    compute_window_after,
    process_observe,
)
from deltaroll.protocol.state import EMPTY_GLOBALS, State, set_market
from deltaroll.protocol.types import (
    Globals,
    MarketId,
    Observation,
    Observe,
    Timestamp,
    Underlying,
)
from tests.protocol.markets import (
    COMMITTEE,
    DAY_0,
    GRID,
    INDEX,
    MEMBERS,
    PARAMS,
    PRICE,
    START,
    any_underlyings,
    harness,
    make_expiry,
    make_state,
    make_underlying,
    near_times,
    prices,
    run_both,
    unsigned,
)

NEXT = compute_boundary(DAY_0 + 1)
LONG = PARAMS.max_mark_age
WIDE = replace(PARAMS, jump_band=1 << 99)
"""Nothing halts it."""
OPEN = NEXT - SETTLEMENT_WINDOW
"""When the window of the coming boundary opens."""


def observe_at(underlying: Underlying, time: int, price: int, **globals_: Any) -> Underlying:
    """The underlying after an observation at the clock's time."""
    known = replace(EMPTY_GLOBALS, clock=Timestamp(time), **globals_)
    return compute_underlying_after(underlying, price, Timestamp(time), known)


def observe_all(underlying: Underlying, seen: list[tuple[int, int]]) -> Underlying:
    """The underlying after observations, each at its own time."""
    for time, price in seen:
        underlying = observe_at(underlying, time, price)
    return underlying


def average_slowly(seen: list[tuple[int, int]], day: int) -> int:
    """What settles a day, second by second: `seen` begins before its window and ends after."""
    boundary = compute_boundary(day)
    known = [
        price
        for (time, price), (following, _) in pairwise(seen)
        if following - time <= LONG
        for second in range(max(time, boundary - SETTLEMENT_WINDOW), min(following, boundary))
    ]
    if known:
        return sum(known) // len(known)
    return next(price for time, price in seen if time >= boundary)


gaps = st.one_of(
    st.integers(1, 60),
    st.integers(1, LONG),
    st.sampled_from((LONG - 1, LONG, LONG + 1, SETTLEMENT_WINDOW)),
    st.integers(1, 3 * DAY),
)
flows = st.lists(st.tuples(gaps, st.integers(1, 3 * PRICE)), min_size=1, max_size=25)


@given(st.integers(0, DAY), flows)
@settings(max_examples=200)
def test_window__any_observations__settles_at_the_average_second_by_second(
    lead: int, flow: list[tuple[int, int]]
) -> None:
    time = NEXT - lead
    seen = [(time, PRICE)]
    for gap, price in flow:
        time += gap
        seen.append((time, price))
    first = make_underlying(params=WIDE, observed_at=Timestamp(NEXT - lead), day=DAY_0 + 1)
    if lead == 0:
        first = replace(first, day=DAY_0 + 2)
    last = observe_all(first, seen[1:])
    coming = compute_day(time + 1)
    assert last.day == coming
    for day in range(max(first.day, coming - TWAP_DAYS), coming):
        assert last.twaps[day % TWAP_DAYS] == average_slowly(seen, day)
        expiry = make_expiry(time=compute_boundary(day))
        assert compute_settlement(last, expiry) == average_slowly(seen, day)


@given(st.integers(1, LONG), st.sets(st.integers(1, LONG - 1), max_size=9), near_times)
def test_window__same_price_in_pieces__has_the_same_sum(
    whole: int, cuts: set[int], begin: int
) -> None:
    first = make_underlying(observed_at=Timestamp(begin), day=compute_day(begin + 1))
    pieces = [cut for cut in sorted(cuts) if cut < whole] + [whole]
    apart = observe_all(first, [(begin + cut, PRICE) for cut in pieces])
    assert apart == replace(
        observe_at(first, begin + whole, PRICE),
        variance=apart.variance,
        multiplier=apart.multiplier,
    )


@given(flows)
def test_window__replayed__is_identical(flow: list[tuple[int, int]]) -> None:
    time = int(NEXT) - DAY
    seen = [(time := time + gap, price) for gap, price in flow]
    first = make_underlying(params=WIDE)
    assert observe_all(first, seen) == observe_all(first, seen)


def test_window__halves_at_two_prices__settles_between() -> None:
    first = make_underlying(observed_at=Timestamp(OPEN), index=100)
    params = replace(WIDE, max_mark_age=SETTLEMENT_WINDOW)
    half = OPEN + SETTLEMENT_WINDOW // 2
    last = observe_all(replace(first, params=params), [(half, 200), (NEXT, 999)])
    assert last.twaps[(DAY_0 + 1) % TWAP_DAYS] == 150
    assert (last.window_sum, last.window_seconds, last.day) == (0, 0, DAY_0 + 2)


def test_window__no_observation_inside__takes_the_first_after() -> None:
    first = make_underlying(params=WIDE, observed_at=Timestamp(OPEN - 1), index=100)
    last = observe_at(first, NEXT + 5_000, 300)
    assert last.twaps[(DAY_0 + 1) % TWAP_DAYS] == 300


def test_window__gap_too_long_inside__counts_nothing_of_it() -> None:
    first = make_underlying(params=WIDE, observed_at=Timestamp(OPEN), index=100)
    seen = [(OPEN + 60, 200), (OPEN + 61 + LONG, 400), (OPEN + 62 + LONG, 500), (NEXT + 9_999, 7)]
    last = observe_all(first, seen)
    # A minute at 100, nothing for the gap that follows, a second at 400.
    assert last.twaps[(DAY_0 + 1) % TWAP_DAYS] == (60 * 100 + 400) // 61


def test_window__several_days_missed__take_the_first_price_after() -> None:
    first = make_underlying(params=WIDE, observed_at=Timestamp(OPEN), index=100)
    known = observe_at(first, OPEN + 10, 200)
    last = observe_at(known, NEXT + 2 * DAY + 77, 300)
    assert [last.twaps[(DAY_0 + d) % TWAP_DAYS] for d in (1, 2, 3)] == [100, 300, 300]
    assert last.day == DAY_0 + 4


def test_window__more_days_missed_than_remembered__forgets_the_oldest() -> None:
    first = make_underlying(params=WIDE, observed_at=Timestamp(OPEN), index=100)
    last = observe_at(observe_at(first, OPEN + 10, 200), NEXT + 50 * DAY, 300)
    assert last.twaps == (300,) * TWAP_DAYS
    assert last.day == DAY_0 + 52
    # An expiry from before is settled at the index.
    assert compute_settlement(last, make_expiry(time=NEXT)) == 300


def test_window__on_the_boundary__belongs_to_the_next_day() -> None:
    first = make_underlying(params=WIDE, observed_at=Timestamp(NEXT - 1), index=100)
    assert observe_at(first, NEXT, 200).day == DAY_0 + 2


def test_window__first_observation_ever__knows_no_boundary() -> None:
    first = make_underlying(index=0, observed_at=Timestamp(0), day=0)
    last = observe_at(first, NEXT - 5, PRICE)
    assert (last.day, last.window_sum, last.twaps) == (DAY_0 + 1, 0, (0,) * TWAP_DAYS)


def test_window__halted__goes_on_with_the_price_before() -> None:
    first = make_underlying(observed_at=Timestamp(OPEN), index=PRICE)
    halted = observe_at(first, OPEN + 10, 2 * PRICE)
    assert halted.pending_index == 2 * PRICE
    resumed = observe_at(halted, OPEN + 30, 2 * PRICE)
    assert (resumed.index, resumed.window_sum, resumed.window_seconds) == (
        2 * PRICE,
        30 * PRICE,
        30,
    )


def test_window__halted_after_a_boundary_not_seen__waits_for_a_price() -> None:
    first = make_underlying(observed_at=Timestamp(OPEN - 1))
    halted = observe_at(first, NEXT + 10, 3 * PRICE)
    assert (halted.day, halted.twaps) == (DAY_0 + 1, (0,) * TWAP_DAYS)
    resumed = observe_at(halted, NEXT + 20, 3 * PRICE + 1)
    assert resumed.day == DAY_0 + 2
    assert resumed.twaps[(DAY_0 + 1) % TWAP_DAYS] == 3 * PRICE + 1


def test_window__halted_after_a_boundary_seen__settles_it_at_once() -> None:
    first = make_underlying(observed_at=Timestamp(NEXT - 10))
    halted = observe_at(first, NEXT + 10, 3 * PRICE)
    assert halted.pending_index != 0
    assert halted.day == DAY_0 + 2
    assert halted.twaps[(DAY_0 + 1) % TWAP_DAYS] == PRICE


@given(any_underlyings(), prices, st.integers(1, 9 * DAY))
def test_window__price_accepted__day_is_the_coming_one(
    underlying: Underlying, price: int, elapsed: int
) -> None:
    underlying = replace(underlying, day=compute_day(underlying.observed_at + 1))
    time = underlying.observed_at + elapsed
    after = compute_window_after(underlying, price, Timestamp(time), True)
    assert after.day == compute_day(time + 1)
    assert after.window_seconds <= 2 * SETTLEMENT_WINDOW


@given(unsigned(63), st.integers(1, 3 * DAY))
def test_variance__price_stays__decays(variance: int, elapsed: int) -> None:
    underlying = make_underlying(variance=variance)
    after = compute_variance_after(underlying, PRICE, Timestamp(START + elapsed))
    part = min(elapsed, VARIANCE_DECAY)
    assert after == variance - variance * part // VARIANCE_DECAY
    assert after < variance or variance * part < VARIANCE_DECAY


def test_variance__steady_moves__comes_to_their_own() -> None:
    # A basis point a second either way: sqrt(YEAR) basis points a year.
    underlying = make_underlying(variance=0)
    for second in range(1, 200):
        time = START + second * 3_600
        price = PRICE + (PRICE // 100 if second % 2 else 0)
        underlying = observe_at(underlying, time, price)
    volatility = isqrt(underlying.variance * ONE) / ONE
    assert volatility == pytest.approx(0.01 * (YEAR / 3_600) ** 0.5, rel=0.05)


@given(any_underlyings(), prices, st.integers(1, 1 << 30))
def test_variance__any_move__fits_its_field(
    underlying: Underlying, price: int, elapsed: int
) -> None:
    time = Timestamp(underlying.observed_at + elapsed)
    assert 0 <= compute_variance_after(underlying, price, time) < 1 << 63


def test_variance__halted__stays() -> None:
    underlying = make_underlying(variance=ONE)
    halted = observe_at(underlying, START + 500, 2 * PRICE)
    assert (halted.pending_index, halted.variance) == (2 * PRICE, ONE)


def test_variance__long_gap__counts_the_move_as_slow() -> None:
    underlying = make_underlying(variance=ONE)
    price = PRICE + PRICE // 10
    after = compute_variance_after(underlying, price, Timestamp(START + 10 * DAY))
    assert after / ONE == pytest.approx(0.01 * YEAR / (10 * DAY), rel=1e-6)


def multiplier_of(underlying: Underlying, elapsed: int, **globals_: Any) -> int:
    """The multiplier a while later, volatility as it is."""
    known = replace(EMPTY_GLOBALS, **globals_)
    time = Timestamp(underlying.observed_at + elapsed)
    return compute_multiplier_after(underlying, underlying.variance, time, known)


@given(any_underlyings(), st.integers(1, 1 << 30), unsigned(127), unsigned(127))
def test_multiplier__any_leaf__moves_a_step_at_most_inside_its_bounds(
    underlying: Underlying, elapsed: int, insurance: int, peak: int
) -> None:
    params = replace(
        underlying.params,
        multiplier_min=500_000 + underlying.params.multiplier_min % PPM,
        multiplier_max=2_000_000 + underlying.params.multiplier_max % PPM,
    )
    low, high = params.multiplier_min, params.multiplier_max
    before = min(max(underlying.multiplier, low), high)
    underlying = replace(underlying, params=params, multiplier=before)
    after = multiplier_of(underlying, elapsed, insurance=insurance, insurance_peak=peak)
    assert low <= after <= high
    step = params.multiplier_step * min(elapsed, MULTIPLIER_PERIOD) // MULTIPLIER_PERIOD
    assert abs(after - before) <= step


def test_multiplier__calm_and_fund_full__falls_to_one() -> None:
    underlying = make_underlying(multiplier=1_150_000)
    assert multiplier_of(underlying, MULTIPLIER_PERIOD) == 1_050_000
    assert multiplier_of(replace(underlying, multiplier=1_050_000), DAY) == 1_000_000


def test_multiplier__volatile_and_fund_used__rises_by_formula() -> None:
    # Volatility 140 %, 40 points above: 20 %. Half of the fund used: 25 %.
    params = replace(PARAMS, multiplier_step=PPM)
    underlying = make_underlying(params=params, variance=ONE * 196 // 100 + 1)
    found = multiplier_of(underlying, DAY, insurance=50, insurance_peak=100)
    assert found == pytest.approx(1_450_000, abs=1)


def test_multiplier__new_bounds__meets_them_with_the_next_observation() -> None:
    params = replace(PARAMS, multiplier_min=1_500_000, multiplier_max=1_600_000)
    assert multiplier_of(make_underlying(params=params), 1) == 1_500_000
    assert multiplier_of(make_underlying(params=params, multiplier=9_000_000), 1) == 1_600_000


def test_multiplier__an_observation_a_second__still_moves() -> None:
    params = replace(PARAMS, multiplier_step=MULTIPLIER_PERIOD)
    underlying = make_underlying(params=params, variance=9 * ONE)
    assert multiplier_of(underlying, 1) == underlying.multiplier + 1


@given(any_underlyings(), prices, st.one_of(near_times, st.integers(1, 1 << 39)), st.booleans())
def test_twins__window__are_one(
    underlying: Underlying, price: int, time: int, is_accepted: bool
) -> None:
    time = max(time, underlying.observed_at + 1)
    after = compute_window_after(underlying, price, Timestamp(time), is_accepted)
    encoding, fault = harness().call(
        "window", encode_underlying(underlying), price, time, is_accepted
    )
    assert (encoding, fault) == (encode_underlying(after), Fault.NONE)


@given(
    any_underlyings(),
    st.one_of(prices, st.integers(PRICE * 8 // 10, PRICE * 12 // 10)),
    st.one_of(near_times, unsigned(39)),
    st.integers(0, 700),
    unsigned(127),
    unsigned(127),
)
@settings(max_examples=300)
def test_twins__observation__are_one(
    underlying: Underlying, price: int, time: int, lag: int, insurance: int, peak: int
) -> None:
    time = max(time, underlying.observed_at + 1)
    known: Globals = replace(
        EMPTY_GLOBALS, clock=Timestamp(time + lag), insurance=insurance, insurance_peak=peak
    )
    variance, multiplier, encoding, fault, _ = harness().call(
        "observe", encode_underlying(underlying), price, time, time + lag, insurance, peak
    )
    at = Timestamp(time)
    assert variance == compute_variance_after(underlying, price, at)
    assert multiplier == compute_multiplier_after(underlying, underlying.variance, at, known)
    after = compute_underlying_after(underlying, price, at, known)
    assert fault == Fault.NONE
    assert encoding == encode_underlying(after)


def test_twins__multiplier_of_any_volatility__is_one() -> None:
    rng = Random(7)
    params = replace(
        PARAMS,
        vol_reference=0,
        vol_slope=100 * PPM,
        multiplier_min=0,
        multiplier_max=(1 << 32) - 1,
        multiplier_step=(1 << 32) - 1,
    )
    time = START + 3_600
    for _ in range(300):
        variance = rng.getrandbits(rng.randrange(1, 45))
        underlying = make_underlying(params=params, variance=variance)
        _, multiplier, *_ = harness().call(
            "observe", encode_underlying(underlying), PRICE, time, time, 0, 0
        )
        known = replace(EMPTY_GLOBALS, clock=Timestamp(time))
        found = compute_multiplier_after(underlying, variance, Timestamp(time), known)
        assert multiplier == found


@st.composite
def observes(draw: st.DrawFn) -> Observe:
    """Observations of a chunk near START, most of them usable."""
    members = sorted(draw(st.sets(st.integers(0, MEMBERS), min_size=0, max_size=MEMBERS + 1)))
    center = draw(st.sampled_from((PRICE, PRICE, 2 * PRICE, 1, (1 << 63) - 1)))
    entries = tuple(
        Observation(
            member,
            max(0, min(center + draw(st.integers(-center // 90, center // 90)), (1 << 63) - 1)),
            Timestamp(START + draw(st.integers(-5, 700))),
        )
        for member in members
        if member < MEMBERS or draw(st.integers(0, 9)) == 0
    )
    return Observe(draw(st.sampled_from((INDEX, INDEX, INDEX, GRID, MarketId(77)))), entries)


@given(observes(), st.integers(0, 900), st.integers(0, 5), st.booleans())
@settings(max_examples=150)
def test_twins__process_observe__are_one(
    observe: Observe, later: int, insurance: int, is_halted: bool
) -> None:
    state: State = make_state(START + later, insurance=insurance, insurance_peak=5)
    if is_halted:
        leaf = make_underlying(pending_index=2 * PRICE, halted_until=Timestamp(START + 450))
        set_market(state, INDEX, leaf)
    run_both(state, process_observe, "runObserve", observe)


def test_process_observe__quorum__moves_the_index() -> None:
    state = make_state(START + 10)
    entries = tuple(Observation(n, PRICE + n, Timestamp(START + 5 + n)) for n in range(3))
    assert run_both(state, process_observe, "runObserve", Observe(INDEX, entries)) == Fault.NONE
    leaf = state.markets[INDEX]
    assert isinstance(leaf, Underlying)
    assert (leaf.index, leaf.observed_at) == (PRICE + 1, START + 7)


@pytest.mark.parametrize("missing", ["committee", "underlying"])
def test_process_observe__leaf_that_is_not_there__unknown_market(missing: str) -> None:
    full = make_state(START + 10)
    state = State()
    state.globals = full.globals
    kept = INDEX if missing == "committee" else COMMITTEE
    set_market(state, kept, full.markets[kept])
    entries = tuple(Observation(n, PRICE, Timestamp(START + 5)) for n in range(3))
    fault = run_both(state, process_observe, "runObserve", Observe(INDEX, entries))
    assert fault == Fault.UNKNOWN_MARKET


def test_process_observe__too_few__quorum() -> None:
    state = make_state(START + 10)
    entries = tuple(Observation(n, PRICE, Timestamp(START + 5)) for n in range(2))
    with pytest.raises(TransitionFault) as raised:
        process_observe(state, Observe(INDEX, entries))
    assert raised.value.fault == Fault.QUORUM
