"""Prices keep their bounds, parity and order for any arguments; limits are exact."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from deltaroll.protocol.black76 import (
    MAX_DEVIATION,
    MAX_ROOT_TIME,
    MAX_TIME,
    compute_call,
    compute_delta,
    compute_density_at,
    compute_gamma,
    compute_moments,
    compute_pair,
    compute_put,
    compute_theta,
    compute_vega,
)
from deltaroll.protocol.constants import ONE
from deltaroll.protocol.fixed import MAX_VALUE

LIMIT = (1 << 63) - 1

prices = st.integers(0, LIMIT) | st.integers(0, 10**6) | st.integers(10**9, 10**12)
deviations = (
    st.integers(0, 4 * ONE) | st.integers(0, 1 << 20) | st.integers(0, 1 << 70) | st.just(LIMIT)
)
times = st.integers(0, 2 * ONE) | st.integers(0, LIMIT)
many = settings(max_examples=500, deadline=None, derandomize=True)


def noise(forward: int, strike: int) -> int:
    """How far apart two prices may come out that are the same: twice the error of one."""
    return 1 + (forward + strike >> 53)


@many
@given(prices, prices, deviations)
@example(LIMIT, LIMIT, 1)
@example(LIMIT, LIMIT, LIMIT)
@example(LIMIT, 1, LIMIT)
@example(1, LIMIT, LIMIT)
@example(1, LIMIT, 1)
@example(LIMIT, LIMIT - 1, 1)
@example(1, 1, 1)
def test_compute_pair__any_arguments__keep_parity_and_bounds(
    forward: int, strike: int, deviation: int
):
    call, put = compute_pair(forward, strike, deviation)
    assert call - put == forward - strike
    assert max(0, forward - strike) <= call <= forward
    assert max(0, strike - forward) <= put <= strike
    assert call == compute_call(forward, strike, deviation)
    assert put == compute_put(forward, strike, deviation)


@many
@given(prices, prices, prices, deviations)
def test_compute_call__higher_forward__does_not_fall(
    one: int, other: int, strike: int, deviation: int
):
    low, high = sorted((one, other))
    before = compute_call(low, strike, deviation)
    assert before <= compute_call(high, strike, deviation) + noise(high, strike)


@many
@given(prices, prices, prices, deviations)
def test_compute_call__higher_strike__does_not_rise(
    forward: int, one: int, other: int, deviation: int
):
    low, high = sorted((one, other))
    after = compute_call(forward, high, deviation)
    assert after <= compute_call(forward, low, deviation) + noise(forward, high)


@many
@given(prices, prices, deviations, deviations)
def test_compute_call__higher_deviation__does_not_fall(
    forward: int, strike: int, one: int, other: int
):
    low, high = sorted((one, other))
    before = compute_call(forward, strike, low)
    assert before <= compute_call(forward, strike, high) + noise(forward, strike)


@many
@given(prices, prices, deviations)
def test_compute_put__prices_swapped__is_the_call(forward: int, strike: int, deviation: int):
    put = compute_put(forward, strike, deviation)
    assert abs(put - compute_call(strike, forward, deviation)) <= noise(forward, strike)


@given(prices, prices, deviations)
def test_compute_pair__nothing_to_be_uncertain_of__is_worth_it_at_once(
    forward: int, strike: int, deviation: int
):
    assert compute_pair(0, strike, deviation) == (0, strike)
    assert compute_pair(forward, 0, deviation) == (forward, 0)
    assert compute_pair(forward, strike, 0)[0] == max(0, forward - strike)


@given(st.integers(1, LIMIT), st.integers(1, LIMIT), st.integers(MAX_DEVIATION, LIMIT))
def test_compute_pair__no_bound_to_the_deviation__is_forward_and_strike(
    forward: int, strike: int, deviation: int
):
    assert compute_pair(forward, strike, deviation) == (forward, strike)


@given(prices)
def test_compute_pair__at_the_money__call_and_put_agree(price: int):
    call, put = compute_pair(price, price, ONE // 4)
    assert call == put


def test_compute_pair__deep_in_and_out_of_the_money__is_exact():
    assert compute_pair(10**12, 10**6, ONE // 100) == (10**12 - 10**6, 0)
    assert compute_pair(10**6, 10**12, ONE // 100) == (0, 10**12 - 10**6)


def test_compute_pair__known_price__is_that_price():
    # derivexyz/lyra-utils, Black76.t.sol: a week, volatility 100%, 1500 at the money.
    deviation = round((604_800 / 31_536_000) ** 0.5 * ONE)
    assert compute_call(1_500 * 10**12, 1_500 * 10**12, deviation) == 82_805_080_668_635


@many
@given(prices, prices, st.integers(1, MAX_DEVIATION))
def test_compute_moments__any_arguments__differ_by_the_deviation(
    forward: int, strike: int, deviation: int
):
    d1, d2 = compute_moments(max(1, forward), max(1, strike), deviation)
    assert d1 - d2 == deviation


@many
@given(prices, prices, deviations, times)
def test_compute_greeks__any_arguments__keep_their_bounds(
    forward: int, strike: int, deviation: int, time: int
):
    assert 0 <= compute_delta(forward, strike, deviation) <= ONE
    assert 0 <= compute_gamma(forward, strike, deviation) <= MAX_VALUE
    assert 0 <= compute_vega(forward, strike, deviation, time) <= MAX_VALUE
    assert -MAX_VALUE <= compute_theta(forward, strike, deviation, time) <= 0


@given(prices, prices, deviations)
def test_compute_greeks__nothing_to_be_uncertain_of__take_their_limits(
    forward: int, strike: int, deviation: int
):
    for arguments in ((0, strike, deviation), (forward, 0, deviation), (forward, strike, 0)):
        assert compute_density_at(*arguments) == compute_gamma(*arguments) == 0
        assert compute_vega(*arguments, ONE) == compute_theta(*arguments, ONE) == 0
    assert compute_theta(forward, strike, deviation, 0) == 0
    assert compute_delta(strike + 1, strike, 0) == ONE
    assert compute_delta(strike, strike, 0) == ONE // 2
    assert compute_delta(strike, strike + 1, 0) == 0


def test_compute_greeks__beyond_their_caps__stay_there():
    assert compute_vega(LIMIT, LIMIT, 1, LIMIT) == compute_vega(LIMIT, LIMIT, 1, MAX_ROOT_TIME)
    assert compute_theta(LIMIT, LIMIT, ONE, LIMIT) == compute_theta(LIMIT, LIMIT, ONE, MAX_TIME)
    assert compute_gamma(1, 1, 1) == MAX_VALUE
    assert compute_vega(LIMIT, LIMIT, 1, 4 * ONE) == MAX_VALUE
    assert compute_theta(LIMIT, LIMIT, ONE, 1) == -MAX_VALUE


@many
@given(st.integers(10**9, 10**12), st.integers(700, 1_400), st.integers(ONE // 50, 2 * ONE))
def test_compute_greeks__differences_of_prices__come_close(
    forward: int, thousandths: int, deviation: int
):
    strike = forward * thousandths // 1_000
    # A scale fine enough for differences to keep six digits.
    forward, strike = forward << 22, strike << 22
    step = forward >> 14
    up, here, down = (compute_call(forward + move, strike, deviation) for move in (step, 0, -step))
    delta = compute_delta(forward, strike, deviation) / ONE
    gamma = compute_gamma(forward, strike, deviation) / ONE
    assert abs((up - down) / (2 * step) - delta) < 1e-5
    assert abs((up - 2 * here + down) / step / step * forward - gamma) < 1e-3
    move = deviation >> 12
    wider = compute_call(forward, strike, deviation + move)
    narrower = compute_call(forward, strike, deviation - move)
    vega = compute_vega(forward, strike, deviation, ONE)
    assert abs((wider - narrower) / (2 * move) * ONE - vega) < 1e-5 * forward
    # A year at this deviation: the deviation's square falls with the time.
    assert compute_theta(forward, strike, deviation, ONE) <= 0
    theta = -vega * deviation / ONE / 2
    assert abs(compute_theta(forward, strike, deviation, ONE) - theta) < 1e-12 * forward
