"""Listing: which expiry is next, at which strikes, and in a place where nothing is alive."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.protocol.constants import (
    DAY,
    MAX_PRICE,
    ONE,
    WEIGHT_LIST_LEAF_GAS,
    WEIGHT_MODULE_GAS,
)
from deltaroll.protocol.expiry import compute_boundary, is_boundary
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.leaf import encode_series, encode_underlying
from deltaroll.protocol.listing import (
    MAX_STRIKES,
    compute_lowest_strike,
    compute_number,
    compute_place,
    create_expiry,
    create_series,
    is_finished,
    process_list,
)
from deltaroll.protocol.state import State, set_market
from deltaroll.protocol.types import (
    Expiry,
    List,
    MarketId,
    MarketLeaf,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
    UnderlyingParams,
)
from tests.protocol.markets import (
    COMMITTEE,
    GRID,
    INDEX,
    PARAMS,
    PRICE,
    START,
    harness,
    make_perpetual,
    make_state,
    make_underlying,
    run_both,
    unsigned,
)

SIZE = 1 + 2 * PARAMS.list_strikes
FIRST = PARAMS.list_base
FRIDAY = 4
rules = st.builds(
    lambda step, base, strikes, expiries, period: replace(
        PARAMS,
        strike_step=step,
        list_base=MarketId(base),
        list_strikes=strikes,
        list_expiries=expiries,
        list_period=period,
    ),
    st.one_of(st.integers(1, MAX_PRICE), st.integers(1, 10**7)),
    st.integers(1, 65_536 - 16 * 33),
    st.integers(1, 16),
    st.integers(1, 16),
    st.integers(1, 366),
)


def list_at(state: State, clock: int, offset: int = 0) -> Fault:
    """List on both twins, the index just observed."""
    leaf = state.markets[INDEX]
    assert isinstance(leaf, Underlying)
    set_market(state, INDEX, replace(leaf, observed_at=Timestamp(clock)))
    state.globals = replace(state.globals, clock=Timestamp(clock))
    return run_both(state, process_list, "runList", List(INDEX, offset))


def get_expiry_leaf(state: State, market: int) -> Expiry:
    """An expiry that must be there."""
    leaf = state.markets[MarketId(market)]
    assert isinstance(leaf, Expiry)
    return leaf


def change_series(state: State, market: int, **changes: object) -> None:
    """Change a series that must be there."""
    leaf = state.markets[MarketId(market)]
    assert isinstance(leaf, Series)
    set_market(state, MarketId(market), replace(leaf, **changes))  # type: ignore[arg-type]


def finish(state: State, place: int, strikes: int = PARAMS.list_strikes) -> None:
    """Settle an expiry with all of its series."""
    leaf = get_expiry_leaf(state, place)
    set_market(state, MarketId(place), replace(leaf, settlement=PRICE))
    for offset in range(1, 2 * strikes + 1):
        change_series(state, place + offset, status=SeriesStatus.SETTLED)


@given(rules, st.integers(0, 1 << 34), st.integers(0, 15))
def test_number__any_clock__is_the_next_by_the_rule(
    params: UnderlyingParams, clock: int, offset: int
) -> None:
    number = compute_number(params, Timestamp(clock), offset)
    first = number - offset
    time = compute_boundary(first * params.list_period + 1)
    assert time > clock
    assert first == 0 or compute_boundary((first - 1) * params.list_period + 1) <= clock
    assert is_boundary(time)


@given(unsigned(33), st.integers(0, 15))
def test_number__weekly__is_a_friday_at_eight(clock: int, offset: int) -> None:
    number = compute_number(PARAMS, Timestamp(clock), offset)
    time = datetime.fromtimestamp(compute_boundary(number * 7 + 1), UTC)
    assert (time.weekday(), time.hour, time.minute, time.second) == (FRIDAY, 8, 0, 0)
    assert 7 * offset * DAY < time.timestamp() - clock <= 7 * (offset + 1) * DAY or clock < DAY


@given(rules, st.integers(0, 1 << 34))
def test_place__expiries_alive__have_places_of_their_own(
    params: UnderlyingParams, clock: int
) -> None:
    places = [
        compute_place(params, compute_number(params, Timestamp(clock), offset))
        for offset in range(params.list_expiries)
    ]
    size = 1 + 2 * params.list_strikes
    begins = [params.list_base + turn * size for turn in range(params.list_expiries)]
    assert sorted(places) == begins


@given(rules, st.integers(1, MAX_PRICE))
def test_lowest_strike__any_index__centers_multiples_of_the_step(
    params: UnderlyingParams, index: int
) -> None:
    step, count = params.strike_step, params.list_strikes
    lowest = compute_lowest_strike(make_underlying(params=params, index=index))
    assert lowest >= step
    assert lowest % step == 0
    center = lowest + count // 2 * step
    if lowest > step:
        assert abs(center - index) <= (step + 1) // 2


@given(rules, st.integers(1, MAX_PRICE), unsigned(40), st.integers(0, 255))
def test_twins__rule__are_one(
    params: UnderlyingParams, index: int, clock: int, offset: int
) -> None:
    underlying = make_underlying(params=params, index=index)
    number = compute_number(params, Timestamp(clock), offset)
    assert tuple(harness().call("rule", encode_underlying(underlying), clock, offset)) == (
        number,
        compute_place(params, number),
        compute_lowest_strike(underlying),
    )


def test_list__empty_place__lists_expiry_and_pairs_of_strikes() -> None:
    state = make_state(START)
    assert list_at(state, START, 1) == Fault.NONE
    number = compute_number(PARAMS, START, 1)
    place = compute_place(PARAMS, number)
    expiry = get_expiry_leaf(state, place)
    assert expiry == create_expiry(INDEX, compute_boundary(7 * number + 1))
    assert (expiry.ratio, expiry.surfaced_at, expiry.settlement) == (ONE, 0, 0)
    for turn, strike in enumerate(range(28_000_000, 33_000_000, 1_000_000)):
        for kind in (SeriesKind.CALL, SeriesKind.PUT):
            leaf = state.markets[MarketId(place + 2 * turn + kind)]
            assert leaf == create_series(kind, SeriesStatus.ACTIVE, INDEX, place, strike)
    assert len(state.markets) == 3 + SIZE


def test_list__every_week_of_a_year__reuses_places_once_they_are_finished() -> None:
    state = make_state(START)
    for week in range(52):
        clock = START + 7 * DAY * week + 60
        for offset in range(3):
            fault = list_at(state, clock, offset)
            assert fault == (Fault.NONE if offset == 2 or week == 0 else Fault.NOT_DUE)
        times = sorted(get_expiry_leaf(state, FIRST + turn * SIZE).time for turn in range(3))
        assert times == [compute_boundary(START // DAY + 7 * (week + k)) for k in (1, 2, 3)]
        number = compute_number(PARAMS, Timestamp(clock), 0)
        finish(state, compute_place(PARAMS, number))
    assert len(state.markets) == 3 + 3 * SIZE


@pytest.mark.parametrize(
    "block",
    [
        lambda state: change_series(state, FIRST + 1, open_interest=1),
        lambda state: change_series(state, FIRST + SIZE - 1, status=SeriesStatus.ACTIVE),
        lambda state: change_series(state, FIRST + 4, status=SeriesStatus.INACTIVE),
        lambda state: change_series(state, FIRST + 4, underlying=MarketId(11)),
        lambda state: set_market(
            state, FIRST, replace(get_expiry_leaf(state, FIRST), settlement=0)
        ),
        lambda state: set_market(
            state, FIRST, replace(get_expiry_leaf(state, FIRST), underlying=MarketId(11))
        ),
        lambda state: set_market(state, FIRST, state.markets[GRID]),
        lambda state: set_market(state, FIRST, make_perpetual(status=SeriesStatus.SETTLED)),
        lambda state: set_market(state, MarketId(FIRST + 2), state.markets[COMMITTEE]),
        lambda state: set_market(state, MarketId(FIRST + 2), state.markets[FIRST]),
        # One more strike than the rule has now, listed by hand or by a rule before.
        lambda state: set_market(
            state,
            MarketId(FIRST + 2 * MAX_STRIKES),
            create_series(SeriesKind.CALL, SeriesStatus.ACTIVE, INDEX, FIRST, 5),
        ),
    ],
)
def test_list__anything_alive_in_the_place__not_due(block: object) -> None:
    state = make_state(START)
    number = compute_number(PARAMS, START, 0)
    ahead = -number % 3
    assert list_at(state, START, ahead) == Fault.NONE
    finish(state, FIRST)
    block(state)  # type: ignore[operator]
    assert list_at(state, START + 21 * DAY, ahead) == Fault.NOT_DUE


@pytest.mark.parametrize(
    ("market", "leaf"),
    [
        (FIRST + SIZE, create_expiry(INDEX, START)),
        (
            FIRST + SIZE,
            create_series(SeriesKind.CALL, SeriesStatus.ACTIVE, INDEX, MarketId(7), 5),
        ),
        (FIRST + 2 * MAX_STRIKES + 1, make_perpetual(expiry=FIRST)),
    ],
)
def test_list__others_past_the_place__do_not_matter(market: int, leaf: MarketLeaf) -> None:
    state = make_state(START)
    ahead = -compute_number(PARAMS, START, 0) % 3
    assert list_at(state, START, ahead) == Fault.NONE
    finish(state, FIRST)
    set_market(state, MarketId(market), leaf)
    assert list_at(state, START + 21 * DAY, ahead) == Fault.NONE


@pytest.mark.parametrize(
    ("changes", "params", "offset", "fault"),
    [
        ({}, {}, 3, Fault.NOT_DUE),
        ({}, {}, 255, Fault.NOT_DUE),
        ({}, {"list_base": 0}, 0, Fault.NOT_DUE),
        ({"pending_index": 1}, {}, 0, Fault.HALTED),
        ({"index": 0}, {}, 0, Fault.HALTED),
        ({"index": MAX_PRICE}, {}, 0, Fault.OUT_OF_RANGE),
        ({"index": MAX_PRICE}, {"strike_step": 3}, 0, Fault.OUT_OF_RANGE),
        ({}, {"strike_step": MAX_PRICE}, 0, Fault.OUT_OF_RANGE),
        ({}, {"strike_step": MAX_PRICE, "list_strikes": 1}, 0, Fault.NONE),
        ({"index": 1}, {"strike_step": 1}, 0, Fault.NONE),
        ({}, {"list_strikes": 16, "list_expiries": 16, "list_period": 366}, 15, Fault.NONE),
    ],
)
def test_list__each_case__has_its_fault(
    changes: dict[str, int], params: dict[str, int], offset: int, fault: Fault
) -> None:
    state = make_state(START)
    leaf = make_underlying(params=replace(PARAMS, **params), **changes)  # type: ignore[arg-type]
    set_market(state, INDEX, leaf)
    assert list_at(state, START, offset) == fault


def test_list__price_too_old__halted() -> None:
    state = make_state(START + PARAMS.max_mark_age + 1)
    assert run_both(state, process_list, "runList", List(INDEX, 0)) == Fault.HALTED


def test_list__no_such_underlying__unknown_market() -> None:
    state = make_state(START)
    for market in (GRID, MarketId(77)):
        fault = run_both(state, process_list, "runList", List(market, 0))
        assert fault == Fault.UNKNOWN_MARKET


def test_list__end_of_time__out_of_range() -> None:
    state = make_state(START)
    assert list_at(state, (1 << 40) - 2, 2) == Fault.OUT_OF_RANGE


def test_list__at_the_end_of_the_ids__is_listed_and_reused() -> None:
    params = replace(PARAMS, list_base=MarketId(65_536 - SIZE), list_expiries=1)
    state = make_state(START)
    set_market(state, INDEX, make_underlying(params=params))
    assert list_at(state, START) == Fault.NONE
    finish(state, 65_536 - SIZE)
    assert list_at(state, START + 7 * DAY) == Fault.NONE


def test_list__every_leaf__is_charged() -> None:
    state = make_state(START)
    list_at(state, START)
    assert state.meter.gas > WEIGHT_MODULE_GAS + SIZE * WEIGHT_LIST_LEAF_GAS


@st.composite
def leaves(draw: st.DrawFn) -> MarketLeaf | None:
    """What a place may hold."""
    underlying = draw(st.sampled_from((INDEX, INDEX, INDEX, MarketId(11))))
    match draw(st.integers(0, 5)):
        case 0:
            return None
        case 1:
            expiry = create_expiry(underlying, compute_boundary(19_999))
            return replace(expiry, settlement=draw(st.sampled_from((0, PRICE))))
        case _:
            series = create_series(
                draw(st.sampled_from(SeriesKind)),
                draw(st.sampled_from((SeriesStatus.SETTLED,) * 5 + (SeriesStatus.ACTIVE,))),
                underlying,
                draw(st.sampled_from((FIRST, MarketId(FIRST + SIZE)))),
                draw(unsigned(63)),
            )
            return replace(series, open_interest=draw(st.sampled_from((0,) * 12 + (1,))))


@given(st.lists(leaves(), max_size=36), st.booleans(), st.integers(0, 9 * DAY), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_twins__process_list__are_one(
    places: list[MarketLeaf | None], is_settled: bool, later: int, offset: int
) -> None:
    state = make_state(START)
    for turn, leaf in enumerate(places):
        if leaf is not None:
            set_market(state, MarketId(FIRST + turn), leaf)
    if is_settled:
        expiry = create_expiry(INDEX, compute_boundary(19_000))
        set_market(state, FIRST, replace(expiry, settlement=1))
    list_at(state, START + later, offset)


@given(
    st.sampled_from((MarketId(1), MarketId(2))),
    st.sampled_from(SeriesStatus),
    st.sampled_from((0, 1, 1 << 63)),
)
def test_twins__finished__are_one(underlying: MarketId, status: SeriesStatus, held: int) -> None:
    leaf = make_perpetual(underlying=underlying, status=status, open_interest=held)
    found = harness().call("finished", encode_series(leaf), 1)
    assert found == is_finished(leaf, MarketId(1))
    assert found == (underlying == 1 and status == SeriesStatus.SETTLED and held == 0)
