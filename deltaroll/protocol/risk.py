"""Marks and risk vectors: what a series is worth now and under every scenario of its grid."""

from deltaroll.protocol.arithmetic import div_away
from deltaroll.protocol.constants import PPM
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.types import Grid, Series, Underlying

INT64_BOUND = 1 << 63


def compute_perpetual_mark(underlying: Underlying) -> int:
    """Return the mark of a perpetual per lot: the index."""
    return underlying.index


def compute_perpetual_risk(mark: int, grid: Grid) -> tuple[int, ...]:
    """Return profit and loss per lot under each scenario: mark * shock * weight, rounded away.

    A perpetual has no volatility: vol shocks leave it alone.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE when an entry does not fit int64.
    """
    risk = tuple(
        div_away(mark * scenario.spot_shock * scenario.weight, PPM * PPM)
        for scenario in grid.scenarios
    )
    for entry in risk:
        if not -INT64_BOUND <= entry < INT64_BOUND:
            raise TransitionFault(Fault.OUT_OF_RANGE)
    return risk


def compute_mark(series: Series, underlying: Underlying) -> int:
    """Return the mark of a series per lot; perpetuals are the only kind."""
    return compute_perpetual_mark(underlying)


def compute_risk(series: Series, mark: int, grid: Grid) -> tuple[int, ...]:
    """Return the risk vector of a series marked at `mark`; perpetuals are the only kind."""
    return compute_perpetual_risk(mark, grid)
