"""Mark: re-price series and their risk vectors from the index. Anyone may; the state decides it
all.
"""

from dataclasses import replace

from deltaroll.protocol.constants import WEIGHT_MARK_GAS
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.margin import validate_observed
from deltaroll.protocol.risk import compute_mark, compute_risk
from deltaroll.protocol.state import (
    State,
    charge,
    get_grid,
    get_series,
    get_underlying,
    set_market,
)
from deltaroll.protocol.types import Mark, MarketId


def process_mark_series(state: State, market: MarketId) -> None:
    """Mark one series; its age counts from the observation that it is priced from.

    Raises
    ------
    TransitionFault
        UNKNOWN_MARKET, HALTED, OUT_OF_RANGE.
    """
    charge(state, WEIGHT_MARK_GAS, 0)
    series = get_series(state, market)
    underlying = get_underlying(state, series.underlying)
    validate_observed(underlying, state.globals.clock)
    grid = get_grid(state, underlying.params.grid)
    mark = compute_mark(series, underlying)
    risk = compute_risk(series, mark, grid)
    set_market(
        state,
        market,
        replace(
            series,
            mark=mark,
            mark_index=underlying.index,
            marked_at=underlying.observed_at,
            risk=risk,
        ),
    )


def process_mark(state: State, mark: Mark) -> None:
    """Mark consecutive series.

    Raises
    ------
    TransitionFault
        What `process_mark_series` raises; UNKNOWN_MARKET when the range leaves the id space.
    """
    for offset in range(mark.count):
        market = mark.market + offset
        if market >= 1 << 16:
            raise TransitionFault(Fault.UNKNOWN_MARKET)
        process_mark_series(state, MarketId(market))
