"""A board in bulk is what Mark makes of every series, to the bit."""

from dataclasses import replace
from random import Random

import pytest

from benchmarks.books import GRIDS, build_board, find_series
from deltaroll.engine.board import compute_quotes
from deltaroll.protocol.constants import DAY, ONE
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.mark import process_mark_series
from deltaroll.protocol.risk import Quote
from deltaroll.protocol.state import State, reset_meter, set_market
from deltaroll.protocol.types import Expiry, MarketId, Series, SeriesStatus, Timestamp, Underlying


def mark_all(state: State) -> dict[MarketId, Quote]:
    """What the protocol makes of each series on its own."""
    quotes = {}
    for market in find_series(state):
        reset_meter(state)
        state.begin()
        try:
            process_mark_series(state, market, 1)
        except TransitionFault:
            continue
        finally:
            series = state.markets[market]
            assert isinstance(series, Series)
            state.rollback()
        if series.status != SeriesStatus.SETTLED:
            quotes[market] = Quote(series.mark, series.risk)
    return quotes


def move(state: State, rng: Random, index: int) -> None:
    """Another index, another time, other surfaces."""
    for market, leaf in list(state.markets.items()):
        if isinstance(leaf, Underlying):
            seconds = rng.choice((0, 60, 5_400, 2 * 3600, 3 * 3600 - 20, 3 * 3600, 2 * DAY))
            now = Timestamp(leaf.observed_at + seconds)
            window = max(0, seconds - 9_000)
            leaf = replace(
                leaf,
                index=index,
                observed_at=now,
                window_sum=window * rng.randint(1, 2 * index),
                window_seconds=window,
            )
            set_market(state, market, leaf)
            state.globals = replace(state.globals, clock=max(state.globals.clock, now))
    for market, leaf in list(state.markets.items()):
        if isinstance(leaf, Expiry) and leaf.time != 0:
            surface = replace(
                leaf,
                ratio=rng.randint(ONE // 4, 4 * ONE),
                rate=rng.randint(-ONE, ONE),
                a=rng.choice((0, rng.randrange(4 * ONE))),
                b=rng.choice((0, rng.randrange(ONE))),
                rho=rng.randint(1 - ONE, ONE - 1),
                m=rng.randint(-ONE, ONE),
                sigma=rng.randint(1, ONE),
            )
            set_market(state, market, rng.choice((leaf, surface)))
        elif isinstance(leaf, Series) and leaf.strike and rng.random() < 0.5:
            strike = max(1, rng.randrange(1, 3 * index))
            set_market(state, market, replace(leaf, strike=min(strike, (1 << 63) - 1)))


@pytest.mark.parametrize("seed", range(30))
def test_compute_quotes__any_board__is_the_protocols(seed: int) -> None:
    rng = Random(seed)
    state = build_board(underlyings=3, expiries=4, strikes=3, perpetuals=2, grids=GRIDS)
    assert compute_quotes(state) == mark_all(state)
    move(state, rng, rng.choice((1, 7, 10**4, 40_000_000, 10**12, 1 << 52, 1 << 59, 1 << 62)))
    assert compute_quotes(state) == mark_all(state)


def test_compute_quotes__some_series__are_those() -> None:
    state = build_board(expiries=2, strikes=2)
    markets = find_series(state)[1:4]
    quotes = compute_quotes(state, markets)
    assert list(quotes) == markets
    assert quotes == {market: mark_all(state)[market] for market in markets}


def test_compute_quotes__halted_stale_or_no_surface__are_left_out() -> None:
    state = build_board(underlyings=2, expiries=2, strikes=1)
    halted = state.markets[MarketId(1_000)]
    expiry = state.markets[MarketId(2_100)]
    assert isinstance(halted, Underlying)
    assert isinstance(expiry, Expiry)
    set_market(state, MarketId(1_000), replace(halted, pending_index=3))
    set_market(state, MarketId(2_100), replace(expiry, surfaced_at=Timestamp(0)))
    assert sorted(compute_quotes(state)) == [2_010, 2_104, 2_105]
    assert compute_quotes(state) == mark_all(state)
