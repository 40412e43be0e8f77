"""Funding: the premium of a perpetual's mark over the index, paid from one side to the other.

Every lot pays the premium once in FUNDING_PERIOD: what longs pay, shorts receive. It accrues into
the series' two carry indexes, so one step does it for the whole market, and any number of steps
accrues what one would, to the unit.
"""

from dataclasses import replace

from deltaroll.protocol.arithmetic import div_down
from deltaroll.protocol.constants import FUNDING_PERIOD, PPM
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import (
    INT128_BOUND,
    State,
    charge_module,
    get_series,
    get_underlying,
    set_market,
)
from deltaroll.protocol.types import (
    Fund,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    UnderlyingParams,
)


def compute_carry(series: Series, size: int) -> int:
    """Return the carry index of a position's side."""
    return series.carry_long if size > 0 else series.carry_short


def compute_premium(series: Series, params: UnderlyingParams) -> int:
    """Return what longs pay a lot and FUNDING_PERIOD: mark over index, capped either way."""
    cap = div_down(series.mark_index * params.funding_cap, PPM)
    return max(-cap, min(series.mark - series.mark_index, cap))


def compute_accrued(series: Series, params: UnderlyingParams, clock: Timestamp) -> Series:
    """Return the series with its funding accrued up to `clock`; itself when nothing changes.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE when a carry index leaves its range.
    """
    if (
        series.kind != SeriesKind.PERPETUAL
        or series.status == SeriesStatus.SETTLED
        or clock <= series.accrued_at
    ):
        return series
    # A series that was never accrued was never marked either: there is no premium yet.
    if series.accrued_at == 0:
        return replace(series, accrued_at=clock)
    premium = compute_premium(series, params)
    total = series.funding_remainder + premium * (clock - series.accrued_at)
    step = div_down(total, FUNDING_PERIOD)
    carry_long = series.carry_long + step
    carry_short = series.carry_short + step
    if (
        not -INT128_BOUND <= carry_long < INT128_BOUND
        or not -INT128_BOUND <= carry_short < INT128_BOUND
    ):
        raise TransitionFault(Fault.OUT_OF_RANGE)
    return replace(
        series,
        carry_long=carry_long,
        carry_short=carry_short,
        accrued_at=clock,
        funding_remainder=total - step * FUNDING_PERIOD,
    )


def process_fund(state: State, fund: Fund) -> None:
    """Accrue a perpetual's funding up to the clock.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET; INACTIVE for an option; OUT_OF_RANGE.
    """
    charge_module(state, 0)
    series = get_series(state, fund.market)
    underlying = get_underlying(state, series.underlying)
    if series.kind != SeriesKind.PERPETUAL:
        raise TransitionFault(Fault.INACTIVE)
    accrued = compute_accrued(series, underlying.params, state.globals.clock)
    set_market(state, fund.market, accrued)
