"""Marks and risk vectors of a whole board in bulk, bit for bit those of `protocol/mark.py`.

What an expiry shares, and the deviations of each strike, are few numbers and the protocol's own
functions make them. The prices, strikes times scenarios, are made all at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deltaroll.engine.pricing import compute_call
from deltaroll.engine.revaluation import Words, is_small, shift_48
from deltaroll.protocol.arithmetic import div_down
from deltaroll.protocol.black76 import MAX_DEVIATION
from deltaroll.protocol.constants import ONE, PPM
from deltaroll.protocol.expiry import compute_forward_parts
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.fresh import validate_observed, validate_surfaced
from deltaroll.protocol.risk import (
    Board,
    Quote,
    compute_board,
    compute_deviation,
    compute_log_moneyness,
    compute_pair_risk,
    compute_perpetual_mark,
    compute_perpetual_risk,
    compute_shocked_deviations,
)
from deltaroll.protocol.state import State
from deltaroll.protocol.types import (
    Expiry,
    Grid,
    MarketId,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying,
)

Strikes = dict[int, list[tuple[MarketId, SeriesKind]]]
"""Options of an expiry by strike."""


@dataclass(slots=True)
class Strip:
    """An expiry that is priced in bulk."""

    board: Board
    forwards: list[int]
    """At the mark, and under each scenario."""
    strikes: Strikes
    deviations: list[list[int]]
    """By strike, like `forwards`."""


def compute_quotes(
    state: State, markets: Iterable[MarketId] | None = None
) -> dict[MarketId, Quote]:
    """Return marks and risk vectors as a Mark of each series would set them now.

    Series that it would not price are left out: settled, to be settled, halted, without a surface,
    or out of range. So is everything that is no series.

    Parameters
    ----------
    markets
        The series; None: all.
    """
    quotes: dict[MarketId, Quote] = {}
    chains: dict[MarketId, Strikes] = {}
    for market in sorted(state.markets) if markets is None else markets:
        series = state.markets.get(market)
        if not isinstance(series, Series) or series.status == SeriesStatus.SETTLED:
            continue
        if series.kind == SeriesKind.PERPETUAL:
            quote = compute_perpetual_quote(state, series)
            if quote is not None:
                quotes[market] = quote
        else:
            chain = chains.setdefault(series.expiry, {})
            chain.setdefault(series.strike, []).append((market, series.kind))
    by_grid: dict[MarketId, list[Strip]] = {}
    for key, strikes in chains.items():
        price_chain(state, key, strikes, quotes, by_grid)
    for strips in by_grid.values():
        price_strips(strips, quotes)
    return quotes


def compute_perpetual_quote(state: State, series: Series) -> Quote | None:
    """Return a perpetual's mark and risk vector, None where a Mark would be a fault."""
    underlying = state.markets.get(series.underlying)
    expiry = state.markets.get(series.expiry) if series.expiry else None
    if not isinstance(underlying, Underlying) or not isinstance(expiry, Expiry | None):
        return None
    grid = state.markets.get(underlying.params.grid)
    if not isinstance(grid, Grid):
        return None
    try:
        validate_observed(underlying, state.globals.clock)
        mark = compute_perpetual_mark(underlying, expiry)
        return Quote(mark, compute_perpetual_risk(mark, grid))
    except TransitionFault:
        return None


def price_chain(
    state: State,
    key: MarketId,
    strikes: Strikes,
    quotes: dict[MarketId, Quote],
    by_grid: dict[MarketId, list[Strip]],
) -> None:
    """Put an expiry's options among those that are priced in bulk; price them here where the
    numbers are too large for that.
    """
    expiry = state.markets.get(key)
    if not isinstance(expiry, Expiry):
        return
    underlying = state.markets.get(expiry.underlying)
    if not isinstance(underlying, Underlying):
        return
    grid = state.markets.get(underlying.params.grid)
    remaining = expiry.time - underlying.observed_at
    if not isinstance(grid, Grid) or remaining <= 0:
        return
    clock = state.globals.clock
    try:
        validate_observed(underlying, clock)
        validate_surfaced(expiry, underlying, clock)
        fixed, variable = compute_forward_parts(underlying, expiry)
        board = compute_board(fixed, variable, remaining, expiry.rate, grid.model)
    except TransitionFault:
        return
    forwards = [
        board.fixed + div_down(board.variable * (PPM + shock), PPM)
        for shock in (0, *(scenario.spot_shock for scenario in grid.scenarios))
    ]
    is_bulk = is_small(max(*forwards, *strikes))
    strip = Strip(board, forwards, {}, [])
    for strike, options in strikes.items():
        log_moneyness = compute_log_moneyness(board, strike)
        deviation = compute_deviation(expiry, remaining, log_moneyness)
        if not is_bulk:
            try:
                pair = compute_pair_risk(board, grid.scenarios, strike, log_moneyness, deviation)
            except TransitionFault:
                continue
            for market, kind in options:
                quotes[market] = pair[kind - SeriesKind.CALL]
            continue
        shocked = [
            min(value, MAX_DEVIATION)
            for value in compute_shocked_deviations(board, deviation, log_moneyness)
        ]
        strip.strikes[strike] = options
        strip.deviations.append(
            [shocked[1], *(shocked[scenario.vol_shock + 1] for scenario in grid.scenarios)]
        )
    if is_bulk:
        by_grid.setdefault(underlying.params.grid, []).append(strip)


def price_strips(strips: list[Strip], quotes: dict[MarketId, Quote]) -> None:
    """Price expiries that have one grid."""
    counts = [len(strip.strikes) for strip in strips]
    forwards = np.repeat(np.array([strip.forwards for strip in strips], np.int64), counts, axis=0)
    discounts = np.repeat(np.array([strip.board.discount for strip in strips], np.int64), counts)
    strikes = np.array([strike for strip in strips for strike in strip.strikes], np.int64)
    deviations = np.array([row for strip in strips for row in strip.deviations], np.int64)
    calls, puts = compute_values(forwards, strikes[:, None], deviations, discounts[:, None])
    risks = [(values[:, 1:] - values[:, :1]).tolist() for values in (calls, puts)]
    marks = [values[:, 0].tolist() for values in (calls, puts)]
    row = 0
    for strip in strips:
        for options in strip.strikes.values():
            for market, kind in options:
                side = kind - SeriesKind.CALL
                quotes[market] = Quote(marks[side][row], tuple(risks[side][row]))
            row += 1


def compute_values(
    forwards: Words, strikes: Words, deviations: Words, discounts: Words
) -> tuple[Words, Words]:
    """Return what calls and puts are worth per lot, as `risk.compute_pair_value` does, for
    shocked forwards and strikes below 2^58 and discounts up to 1.
    """
    half = np.full(1, ONE // 2, np.int64)
    calls = compute_call(forwards, strikes, deviations)
    call_values = shift_48(calls, discounts, half)
    return call_values, call_values - shift_48(forwards - strikes, discounts, half)
