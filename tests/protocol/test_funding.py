"""Funding: what longs pay shorts receive, however often it is accrued."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaroll.protocol.constants import FUNDING_PERIOD, PPM
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.funding import (
    compute_accrued,
    compute_carry,
    compute_premium,
    process_fund,
)
from deltaroll.protocol.leaf import encode_params, encode_series
from deltaroll.protocol.state import set_market
from deltaroll.protocol.types import (
    Fund,
    MarketId,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    UnderlyingParams,
)
from tests.protocol.markets import (
    INDEX,
    PARAMS,
    PRICE,
    START,
    any_params,
    attempt,
    harness,
    make_perpetual,
    make_state,
    prices,
    run_both,
    signed,
    unsigned,
)

MARKET = MarketId(20)
INT128 = 1 << 127
seconds = st.integers(0, 10 * FUNDING_PERIOD)
moves = st.integers(-PRICE // 20, PRICE // 20)


@st.composite
def any_series(draw: st.DrawFn) -> Series:
    """Any leaf that a state can hold."""
    carry = st.one_of(signed(127), st.sampled_from((INT128 - 1, -INT128)))
    return make_perpetual(
        kind=draw(st.sampled_from((SeriesKind.PERPETUAL,) * 5 + tuple(SeriesKind))),
        status=draw(st.sampled_from(SeriesStatus)),
        mark=draw(prices),
        mark_index=draw(st.one_of(st.just(0), prices)),
        accrued_at=draw(st.one_of(st.just(0), unsigned(40))),
        carry_long=draw(carry),
        carry_short=draw(carry),
        funding_remainder=draw(st.integers(0, FUNDING_PERIOD - 1)),
    )


@given(moves, st.lists(seconds, max_size=8), st.integers(0, FUNDING_PERIOD - 1))
def test_accrued__any_split__equals_one_accrual_to_the_unit(
    move: int, parts: list[int], remainder: int
) -> None:
    series = make_perpetual(mark=PRICE + move, funding_remainder=remainder)
    clock = START
    split = series
    for part in parts:
        clock = Timestamp(clock + part)
        split = compute_accrued(split, PARAMS, clock)
    assert split == compute_accrued(series, PARAMS, clock)


@given(moves, seconds)
def test_accrued__any_time__both_carries_move_alike_and_by_the_premium(
    move: int, elapsed: int
) -> None:
    series = make_perpetual(mark=PRICE + move, carry_long=5, carry_short=-7)
    after = compute_accrued(series, PARAMS, Timestamp(START + elapsed))
    step = after.carry_long - 5
    assert after.carry_short + 7 == step
    assert 0 <= after.funding_remainder < FUNDING_PERIOD
    premium = compute_premium(series, PARAMS)
    assert step * FUNDING_PERIOD + after.funding_remainder == premium * elapsed


@given(prices, prices, st.integers(0, PPM))
def test_premium__mark_off_index__has_its_sign_and_stays_in_the_cap(
    mark: int, index: int, cap: int
) -> None:
    series = make_perpetual(mark=mark, mark_index=index)
    premium = compute_premium(series, replace(PARAMS, funding_cap=cap))
    assert premium * (mark - index) >= 0
    assert abs(premium) <= min(abs(mark - index), index * cap // PPM)
    if abs(mark - index) <= index * cap // PPM:
        assert premium == mark - index


def test_accrued__one_period__pays_the_premium_once() -> None:
    series = make_perpetual(mark=PRICE + 1_000)
    after = compute_accrued(series, PARAMS, Timestamp(START + FUNDING_PERIOD))
    assert (after.carry_long, after.carry_short, after.funding_remainder) == (1_000, 1_000, 0)


def test_carry__either_side__is_the_one_of_the_size() -> None:
    series = make_perpetual(carry_long=5, carry_short=-7)
    assert (compute_carry(series, 3), compute_carry(series, -3)) == (5, -7)


def test_accrued__never_accrued__starts_the_clock() -> None:
    series = make_perpetual(mark=PRICE * 2, accrued_at=Timestamp(0))
    after = compute_accrued(series, PARAMS, START)
    assert after == replace(series, accrued_at=START)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": SeriesKind.CALL},
        {"kind": SeriesKind.PUT},
        {"status": SeriesStatus.SETTLED},
        {"accrued_at": Timestamp(START + 100)},
        {"accrued_at": Timestamp(START + 101)},
    ],
)
def test_accrued__nothing_to_accrue__is_the_same_object(changes: dict[str, object]) -> None:
    series = make_perpetual(mark=PRICE + 1_000, **changes)
    assert compute_accrued(series, PARAMS, Timestamp(START + 100)) is series


@pytest.mark.parametrize("side", ["carry_long", "carry_short"])
@pytest.mark.parametrize("sign", [1, -1])
def test_accrued__carry_at_its_end__out_of_range(side: str, sign: int) -> None:
    edge = INT128 - 1 if sign > 0 else -INT128
    series = make_perpetual(mark=PRICE + sign * 1_000, **{side: edge})
    with pytest.raises(TransitionFault) as raised:
        compute_accrued(series, PARAMS, Timestamp(START + FUNDING_PERIOD))
    assert raised.value.fault == Fault.OUT_OF_RANGE


@given(any_series(), any_params, unsigned(40), st.sampled_from((-1, 1)))
def test_twins__accrued__are_one(
    series: Series, params: UnderlyingParams, clock: int, size: int
) -> None:
    carry, premium, encoding, fault = harness().call(
        "accrue", encode_series(series), encode_params(params), clock, size
    )
    assert carry == compute_carry(series, size)
    assert premium == compute_premium(series, params)
    found = attempt(lambda: compute_accrued(series, params, Timestamp(clock)))
    assert fault == found
    if found == Fault.NONE:
        assert encoding == encode_series(compute_accrued(series, params, Timestamp(clock)))


@pytest.mark.parametrize(
    ("market", "leaf", "fault"),
    [
        (MARKET, make_perpetual(mark=PRICE + 999), Fault.NONE),
        (MARKET, make_perpetual(accrued_at=Timestamp(0)), Fault.NONE),
        (MARKET, make_perpetual(kind=SeriesKind.PUT), Fault.INACTIVE),
        (MARKET, make_perpetual(underlying=MarketId(9)), Fault.UNKNOWN_MARKET),
        (MARKET, make_perpetual(mark=1, carry_long=-INT128), Fault.OUT_OF_RANGE),
        (MarketId(21), make_perpetual(), Fault.UNKNOWN_MARKET),
        (INDEX, make_perpetual(), Fault.UNKNOWN_MARKET),
    ],
)
def test_twins__process_fund__are_one(market: MarketId, leaf: Series, fault: Fault) -> None:
    state = make_state(START + 1_234)
    set_market(state, MARKET, leaf)
    assert run_both(state, process_fund, "runFund", Fund(market)) == fault
