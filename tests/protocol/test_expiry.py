"""Expiries: boundaries, forwards that decay into the average, and what settles."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaroll.protocol.constants import (
    DAY,
    EXPIRY_TIME,
    ONE,
    SETTLEMENT_WINDOW,
    TWAP_DAYS,
)
from deltaroll.protocol.expiry import (
    compute_boundary,
    compute_day,
    compute_forward,
    compute_forward_parts,
    compute_settlement,
    is_boundary,
)
from deltaroll.protocol.leaf import encode_expiry, encode_underlying
from deltaroll.protocol.observe import compute_window_after
from deltaroll.protocol.types import Expiry, Timestamp, Underlying
from tests.protocol.markets import (
    DAY_0,
    PARAMS,
    PRICE,
    START,
    any_expiries,
    any_underlyings,
    harness,
    make_expiry,
    make_underlying,
    near_times,
    unsigned,
)

NEXT = compute_boundary(DAY_0 + 1)
DUE = make_expiry(time=NEXT, ratio=ONE * 3 // 2)


@given(unsigned(40))
def test_day__any_time__is_the_first_boundary_not_before(time: int) -> None:
    day = compute_day(time)
    assert time <= compute_boundary(day)
    assert day == 0 or compute_boundary(day - 1) < time
    assert is_boundary(time) == (time >= EXPIRY_TIME and (time - EXPIRY_TIME) % DAY == 0)
    assert tuple(harness().call("day", time)) == (day, is_boundary(time), compute_boundary(day))


@given(st.integers(0, 1 << 24))
def test_day__of_an_expiry__is_its_own(day: int) -> None:
    assert compute_day(compute_boundary(day)) == day


@pytest.mark.parametrize("remaining", [SETTLEMENT_WINDOW, SETTLEMENT_WINDOW + 1, DAY])
def test_forward_parts__before_the_window__are_all_variable(remaining: int) -> None:
    underlying = make_underlying(observed_at=Timestamp(NEXT - remaining), day=DAY_0 + 1)
    assert compute_forward_parts(underlying, DUE) == (0, PRICE * 3 // 2)


def test_forward_parts__another_boundary_coming__are_all_variable() -> None:
    underlying = make_underlying(observed_at=Timestamp(NEXT - 100), day=DAY_0 + 2)
    assert compute_forward_parts(underlying, DUE) == (0, PRICE * 3 // 2)


def test_forward_parts__of_perpetuals__are_all_variable() -> None:
    assert compute_forward_parts(make_underlying(), replace(DUE, time=Timestamp(0))) == (
        0,
        PRICE * 3 // 2,
    )


@given(st.integers(1, SETTLEMENT_WINDOW - 1))
def test_forward_parts__all_seconds_seen__delta_falls_linearly(remaining: int) -> None:
    seen = SETTLEMENT_WINDOW - remaining
    underlying = make_underlying(
        observed_at=Timestamp(NEXT - remaining),
        window_seconds=seen,
        window_sum=seen * 2 * PRICE,
    )
    fixed, variable = compute_forward_parts(underlying, DUE)
    assert fixed == seen * 2 * PRICE // SETTLEMENT_WINDOW
    assert variable == PRICE * remaining // SETTLEMENT_WINDOW


@given(
    st.integers(1, SETTLEMENT_WINDOW - 1),
    st.integers(0, SETTLEMENT_WINDOW),
    st.integers(1, 1 << 62),
)
def test_forward_parts__index_stays__foretell_the_settlement(
    remaining: int, seen: int, price: int
) -> None:
    # Seconds that were not seen count for neither.
    seen = min(seen, SETTLEMENT_WINDOW - remaining)
    underlying = make_underlying(
        index=price,
        observed_at=Timestamp(NEXT - remaining),
        window_seconds=seen,
        window_sum=seen * 1_000_000,
        params=replace(PARAMS, max_mark_age=SETTLEMENT_WINDOW),
    )
    fixed, variable = compute_forward_parts(underlying, DUE)
    after = compute_window_after(underlying, 7, NEXT, True)
    settled = compute_settlement(after, DUE)
    assert settled - 1 <= fixed + variable <= settled


@given(any_underlyings())
def test_forward_parts__any_leaf__are_no_more_than_the_known_prices(
    underlying: Underlying,
) -> None:
    fixed, variable = compute_forward_parts(underlying, replace(DUE, ratio=ONE))
    assert variable <= underlying.index
    assert 0 <= fixed <= underlying.window_sum


@pytest.mark.parametrize("age", range(1, TWAP_DAYS + 1))
def test_settlement__boundary_remembered__is_its_average(age: int) -> None:
    day = DAY_0 + age
    twaps = tuple(1_000 + place for place in range(TWAP_DAYS))
    underlying = make_underlying(day=day, twaps=twaps)
    settled = compute_settlement(underlying, make_expiry(time=START))
    assert settled == 1_000 + DAY_0 % TWAP_DAYS


@pytest.mark.parametrize("age", [0, TWAP_DAYS + 1, TWAP_DAYS + 9])
def test_settlement__boundary_not_remembered__is_the_index(age: int) -> None:
    underlying = make_underlying(day=DAY_0 + age, twaps=(5,) * TWAP_DAYS)
    assert compute_settlement(underlying, make_expiry(time=START)) == PRICE


def test_settlement__first_observed_after_the_boundary__is_the_index() -> None:
    underlying = make_underlying(day=DAY_0 + 1, twaps=(0,) * TWAP_DAYS)
    assert compute_settlement(underlying, make_expiry(time=START)) == PRICE


def test_settlement__nothing_known__is_one() -> None:
    underlying = make_underlying(index=0)
    assert compute_settlement(underlying, make_expiry(time=START)) == 1


@given(any_underlyings(), any_expiries, st.one_of(near_times, st.just(0), unsigned(40)))
def test_twins__forward_and_settlement__are_one(
    underlying: Underlying, expiry: Expiry, time: int
) -> None:
    expiry = replace(expiry, time=Timestamp(time))
    assert tuple(
        harness().call("forward", encode_underlying(underlying), encode_expiry(expiry))
    ) == (
        compute_forward(underlying, expiry),
        *compute_forward_parts(underlying, expiry),
        compute_settlement(underlying, expiry),
    )
