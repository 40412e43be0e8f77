"""Greeks against what they are the slopes of: the protocol's own marks."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from benchmarks.books import (
    COMMITTEE,
    GENESIS,
    INDEX,
    TICK,
    add_account,
    build_board,
    find_series,
    make_sizes,
    make_underlying,
)
from deltaroll.engine.greeks import (
    ZERO,
    DeltaFlow,
    Greeks,
    Sensitivities,
    compute_account_greeks,
    compute_batch_report,
    compute_delta_flow,
    compute_pair_greeks,
    compute_positions,
    compute_venue_greeks,
    sum_greeks,
)
from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import DAY, ONE, SETTLEMENT_WINDOW, YEAR
from deltaroll.protocol.expiry import compute_forward_parts
from deltaroll.protocol.fixed import multiply_down
from deltaroll.protocol.listing import create_expiry
from deltaroll.protocol.risk import (
    compute_board,
    compute_deviation,
    compute_log_moneyness,
    compute_pair_risk,
)
from deltaroll.protocol.state import set_market
from deltaroll.protocol.types import (
    AccountId,
    Expiry,
    Fill,
    MarketId,
    Series,
    SeriesStatus,
    SlotId,
    Timestamp,
    Transfer,
    Underlying,
)

GRID = MarketId(2)
UNDERLYING = MarketId(3)
LARGE = INDEX * 10**6
"""An index whose marks have digits enough for differences."""


def make_flat(
    rng: Random, days: float | None = None, volatility: float | None = None
) -> tuple[Underlying, Expiry, int]:
    """An underlying, an expiry without a smile, and a strike within two deviations."""
    seconds = int((rng.uniform(0.5, 400) if days is None else days) * DAY)
    volatility = rng.uniform(0.1, 1.5) if volatility is None else volatility
    years = seconds / YEAR
    expiry = replace(
        create_expiry(UNDERLYING, Timestamp(GENESIS + seconds)),
        ratio=round(rng.uniform(0.9, 1.1) * ONE),
        rate=round(rng.uniform(-0.05, 0.2) * ONE),
        a=round(volatility**2 * years * ONE),
        sigma=1,
        surfaced_at=GENESIS,
    )
    strike = round(LARGE * (1 + rng.uniform(-2, 2) * min(0.45, volatility * years**0.5)))
    return make_underlying(make_params(COMMITTEE, GRID, TICK), LARGE), expiry, strike


def mark(underlying: Underlying, expiry: Expiry, strike: int) -> tuple[int, int]:
    """The protocol's marks of call and put."""
    remaining = expiry.time - underlying.observed_at
    fixed, variable = compute_forward_parts(underlying, expiry)
    board = compute_board(fixed, variable, remaining, expiry.rate, PMRM_2.model)
    log_moneyness = compute_log_moneyness(board, strike)
    deviation = compute_deviation(expiry, remaining, log_moneyness)
    call, put = compute_pair_risk(board, PMRM_2.scenarios, strike, log_moneyness, deviation)
    return call.mark, put.mark


def differentiate(
    function: Callable[[int], tuple[int, int]], step: int
) -> tuple[float, float, float, float]:
    """First and second central differences of two functions at 0."""
    low, middle, high = function(-step), function(0), function(step)
    first = [(high[side] - low[side]) / (2 * step) for side in (0, 1)]
    second = [(high[side] - 2 * middle[side] + low[side]) / step**2 for side in (0, 1)]
    return first[0], first[1], second[0], second[1]


@pytest.mark.parametrize("seed", range(200))
def test_pair_greeks__flat_surface__are_differences_of_marks(seed: int) -> None:
    rng = Random(seed)
    underlying, expiry, strike = make_flat(rng)
    call, put = compute_pair_greeks(underlying, expiry, strike, PMRM_2)

    def at_index(change: int) -> tuple[int, int]:
        return mark(replace(underlying, index=LARGE + change), expiry, strike)

    slopes = differentiate(at_index, LARGE // 10**5)
    bends = differentiate(at_index, LARGE // 2_000)
    for side, greeks in enumerate((call, put)):
        assert greeks.delta / ONE == pytest.approx(slopes[side], rel=1e-4, abs=1e-6)
        assert greeks.gamma / ONE == pytest.approx(bends[2 + side] * LARGE, rel=2e-2, abs=1e-3)

    years = (expiry.time - GENESIS) / YEAR
    volatility = (expiry.a / ONE / years) ** 0.5

    def at_volatility(change: int) -> tuple[int, int]:
        moved = (volatility + change / 10**6) ** 2 * years
        return mark(underlying, replace(expiry, a=round(moved * ONE)), strike)

    vegas = differentiate(at_volatility, 10)
    assert call.vega == pytest.approx(vegas[0] * 10**6, rel=1e-3, abs=LARGE / 10**6)
    assert put.vega == pytest.approx(vegas[1] * 10**6, rel=1e-3, abs=LARGE / 10**6)

    def at_time(change: int) -> tuple[int, int]:
        later = replace(underlying, observed_at=Timestamp(GENESIS + change))
        return mark(later, expiry, strike)

    thetas = differentiate(at_time, 60)
    for side, greeks in enumerate((call, put)):
        assert greeks.theta == pytest.approx(thetas[side] * YEAR, rel=1e-3, abs=LARGE / 10**5)


@pytest.mark.parametrize("seed", range(200))
def test_pair_greeks__any_expiry__keep_parity(seed: int) -> None:
    """Call less put is the discounted forward: its delta is discount times ratio, no more."""
    rng = Random(seed)
    underlying, expiry, strike = make_flat(rng)
    expiry = replace(expiry, b=rng.randrange(ONE // 2), rho=-ONE // 2, sigma=ONE // 5)
    call, put = compute_pair_greeks(underlying, expiry, strike, PMRM_2)
    fixed, variable = compute_forward_parts(underlying, expiry)
    remaining = expiry.time - underlying.observed_at
    board = compute_board(fixed, variable, remaining, expiry.rate, PMRM_2.model)
    slope = multiply_down(board.discount, variable * ONE // underlying.index)
    assert call.delta - put.delta == slope
    assert abs(slope - multiply_down(board.discount, expiry.ratio)) <= ONE // LARGE + 1
    assert (call.gamma, call.vega) == (put.gamma, put.vega)
    assert 0 <= call.delta <= slope
    assert min(call.gamma, call.vega) >= 0
    # And its theta is the rate's, on what call less put is worth.
    call_mark, put_mark = mark(underlying, expiry, strike)
    interest = multiply_down(max(0, expiry.rate), call_mark - put_mark)
    assert abs(call.theta - put.theta - interest) <= 1


def test_pair_greeks__in_the_settlement_window__delta_decays_with_time() -> None:
    rng = Random(1)
    underlying, expiry, _ = make_flat(rng, days=1, volatility=0.5)
    expiry = replace(expiry, time=Timestamp(GENESIS + 3 * 3600), ratio=ONE, rate=0)
    deltas = []
    for left in (SETTLEMENT_WINDOW, 1_200, 600, 60):
        seconds = SETTLEMENT_WINDOW - left
        inside = replace(
            underlying,
            observed_at=Timestamp(expiry.time - left),
            window_sum=LARGE * seconds,
            window_seconds=seconds,
        )
        call, put = compute_pair_greeks(inside, expiry, LARGE // 2, PMRM_2)
        assert put.delta == 0
        deltas.append(call.delta)
    expected = [ONE * left // SETTLEMENT_WINDOW for left in (1_800, 1_200, 600, 60)]
    assert all(abs(got - due) <= 8 for got, due in zip(deltas, expected, strict=True))


def test_pair_greeks__nothing_to_price__are_zero() -> None:
    underlying, expiry, strike = make_flat(Random(2))
    for dead_underlying, dead_expiry in (
        (underlying, replace(expiry, surfaced_at=Timestamp(0))),
        (replace(underlying, index=0), expiry),
        (replace(underlying, observed_at=expiry.time), expiry),
    ):
        greeks = compute_pair_greeks(dead_underlying, dead_expiry, strike, PMRM_2)
        assert greeks == (ZERO, ZERO)


def test_sensitivities__perpetuals__have_delta_only() -> None:
    state = build_board(expiries=1, strikes=1, perpetuals=2)
    sensitivities = Sensitivities(state)
    assert sensitivities.get(MarketId(1_010)) == Greeks(delta=ONE)
    assert sensitivities.get(MarketId(1_011)) == Greeks(delta=ONE + ONE // 1000)
    assert sensitivities.get(MarketId(1_000)) == ZERO


def test_sensitivities__settled__are_zero() -> None:
    state = build_board(expiries=1, strikes=1)
    series = state.markets[MarketId(1_101)]
    assert isinstance(series, Series)
    assert Sensitivities(state).get(MarketId(1_101)).delta > 0
    set_market(state, MarketId(1_101), replace(series, status=SeriesStatus.SETTLED))
    assert Sensitivities(state).get(MarketId(1_101)) == ZERO


def test_account_greeks__portfolio__is_the_sum_of_its_parts() -> None:
    rng = Random(3)
    state = build_board(underlyings=2, expiries=3, strikes=3, perpetuals=2)
    markets = find_series(state)
    first, second = (make_sizes(rng, markets, 10**6) for _ in range(2))
    both = {
        market: first.get(market, 0) + second.get(market, 0)
        for market in first.keys() | second.keys()
    }
    ids = [add_account(state, n, 0, sizes) for n, sizes in enumerate((first, second, both), 1)]
    sensitivities = Sensitivities(state)
    totals = [compute_account_greeks(sensitivities, state.accounts[key]) for key in ids]
    for key in totals[2]:
        assert totals[0].get(key, ZERO) + totals[1].get(key, ZERO) == totals[2][key]
    for key in ids:
        account = state.accounts[key]
        for position in compute_positions(sensitivities, account):
            single = sensitivities.get(position.series)
            assert position.greeks == Greeks(
                single.delta * position.size,
                single.gamma * position.size,
                single.vega * position.size,
                single.theta * position.size,
            )


def test_venue_greeks__all_accounts__add_up_to_zero() -> None:
    """Every lot has two sides: longs hold what shorts owe."""
    rng = Random(4)
    state = build_board(underlyings=2, expiries=2, strikes=3)
    markets = find_series(state)
    sizes = make_sizes(rng, markets, 1_000)
    add_account(state, 1, 0, sizes)
    add_account(state, 2, 0, {market: -size for market, size in sizes.items()})
    for market, size in sizes.items():
        series = state.markets[market]
        assert isinstance(series, Series)
        set_market(state, market, replace(series, open_interest=abs(size)))
    sensitivities = Sensitivities(state)
    positions = [
        position
        for account in state.accounts.values()
        for position in compute_positions(sensitivities, account)
    ]
    assert set(sum_greeks(positions).values()) == {ZERO}
    longs = [position for position in positions if position.size > 0]
    assert compute_venue_greeks(state, sensitivities) == sum_greeks(longs)


def make_fill(market: int, maker: int, taker: int, maker_is_buy: bool, lots: int) -> Fill:
    """A fill of orders that rest already."""
    return Fill(
        MarketId(market),
        AccountId(maker),
        AccountId(taker),
        SlotId(1),
        SlotId(2),
        maker_is_buy,
        lots,
        None,
        None,
    )


def test_delta_flow__fills_back_and_forth__nets_per_account() -> None:
    """1 sells ten to 2, who sells four on to 3, who gives one back to 1."""
    state = build_board(underlyings=2, expiries=1, strikes=1)
    fills = [
        make_fill(1_010, 1, 2, False, 10),
        make_fill(1_010, 3, 2, True, 4),
        make_fill(1_010, 1, 3, True, 1),
    ]
    flows = compute_delta_flow(Sensitivities(state), fills)
    assert flows == {
        MarketId(1_000): DeltaFlow(fills=3, gross=15 * ONE, taken=5 * ONE, moved=9 * ONE)
    }


@pytest.mark.parametrize("seed", range(20))
def test_batch_report__random_chunks__is_the_sum_over_fills(seed: int) -> None:
    rng = Random(seed)
    state = build_board(underlyings=2, expiries=2, strikes=2, perpetuals=2)
    markets = find_series(state)
    chunks = []
    fills = []
    for _ in range(3):
        chosen = []
        for _ in range(rng.randrange(1, 20)):
            maker, taker = rng.sample(range(1, 6), 2)
            chosen.append(
                make_fill(
                    rng.choice(markets), maker, taker, rng.random() < 0.5, rng.randint(1, 500)
                )
            )
        fills += chosen
        transfer = Transfer(AccountId(1), AccountId(2), 5, 1)
        chunks.append(encode_chunk(Timestamp(GENESIS), [*chosen, transfer]))
    report = compute_batch_report(state, chunks)
    sensitivities = Sensitivities(state)
    for key, flow in report.items():
        own = [fill for fill in fills if sensitivities.get_underlying(fill.market) == key]
        deltas = [sensitivities.get(fill.market).delta * fill.lots for fill in own]
        assert flow.fills == len(own)
        assert flow.gross == sum(map(abs, deltas))
        assert flow.taken == sum(
            -delta if fill.maker_is_buy else delta for fill, delta in zip(own, deltas, strict=True)
        )
        assert abs(flow.taken) <= flow.gross
        assert 0 <= flow.moved <= flow.gross
    assert sum(flow.fills for flow in report.values()) == len(fills)
