"""Portfolio margin: equity against the worst scenario of each underlying's grid.

The structure is PMRM_2's: factor times worst loss, plus contingencies, summed over underlyings.
With risk vectors stored in the series leaves a check is a dot product.
"""

from dataclasses import dataclass

from deltaroll.protocol.arithmetic import div_up, is_within_band
from deltaroll.protocol.constants import (
    LANE_BITS,
    MAX_SCENARIOS,
    PPM,
    WEIGHT_MARGIN_GAS,
    WEIGHT_MARGIN_GROUP_GAS,
    WEIGHT_MARGIN_POSITION_GAS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import (
    UINT64_BOUND,
    State,
    charge,
    get_lanes,
    get_series,
    get_underlying,
)
from deltaroll.protocol.types import Account, MarketId, Series, Timestamp, Underlying

LANE_SIGN = 1 << (LANE_BITS - 1)
LANE_MASK = (1 << LANE_BITS) - 1
LANE_BIAS = sum(LANE_SIGN << LANE_BITS * lane for lane in range(MAX_SCENARIOS + 1))
"""Added to a sum of signed lanes, it makes every lane non-negative: no borrow between
neighbours.
"""


@dataclass(frozen=True, slots=True)
class Margin:
    """An account against its requirements, collateral units."""

    equity: int
    maintenance: int
    initial: int


def compute_shortfall(margin: Margin) -> int:
    """Return how much equity is missing to initial margin, 0 when none is."""
    return max(0, margin.initial - margin.equity)


def validate_observed(underlying: Underlying, clock: Timestamp) -> None:
    """Check that an underlying has a price to mark from.

    Raises
    ------
    TransitionFault
        HALTED when the breaker has tripped or the last observation is too old (or there was none).
    """
    if (
        underlying.pending_index != 0
        or underlying.index == 0
        or clock > underlying.observed_at + underlying.params.max_mark_age
    ):
        raise TransitionFault(Fault.HALTED)


def validate_fresh(series: Series, underlying: Underlying, clock: Timestamp) -> None:
    """Check that a mark may be relied upon.

    Raises
    ------
    TransitionFault
        HALTED when no mark could be fresh: the breaker has tripped or the observation is too old;
        STALE_MARK when a Mark would help: the mark is too old or the index has moved past the band.
    """
    validate_observed(underlying, clock)
    if clock > series.marked_at + underlying.params.max_mark_age:
        raise TransitionFault(Fault.STALE_MARK)
    if not is_within_band(underlying.index, series.mark_index, underlying.params.move_band):
        raise TransitionFault(Fault.STALE_MARK)


def compute_equity_of(size: int, snapshot: int, series: Series) -> int:
    """Return what a position adds to equity: size * (mark - carry since it was touched)."""
    return size * (series.mark - (series.carry - snapshot))


def compute_worst(lanes: int) -> int:
    """Return the largest loss over the scenarios of packed lanes, as a non-negative number."""
    biased = lanes + LANE_BIAS
    worst = 0
    for _ in range(MAX_SCENARIOS):
        entry = (biased & LANE_MASK) - LANE_SIGN
        if entry < worst:
            worst = entry
        biased >>= LANE_BITS
    return -worst


def compute_requirement(underlying: Underlying, worst: int, perp_notional: int) -> tuple[int, int]:
    """Return maintenance and initial margin of what an account holds on one underlying, rounded
    up.
    """
    params = underlying.params
    loss = worst * params.risk_multiplier
    maintenance = div_up(loss * params.maintenance_factor, PPM * PPM) + div_up(
        perp_notional * params.perp_maintenance, PPM
    )
    initial = div_up(loss * params.initial_factor, PPM * PPM) + div_up(
        perp_notional * (params.perp_maintenance + params.perp_initial), PPM
    )
    return maintenance, initial


def compute_margin(state: State, account: Account, clock: Timestamp) -> Margin:
    """Return an account's equity and requirements at current marks.

    Raises
    ------
    TransitionFault
        OVERWEIGHT; HALTED, STALE_MARK when a mark it depends on cannot be relied upon;
        UNKNOWN_MARKET when a series held is gone; OUT_OF_RANGE for 2^64 lots or more, long and
        short added up.
    """
    positions = account.positions
    charge(state, WEIGHT_MARGIN_GAS + len(positions) * WEIGHT_MARGIN_POSITION_GAS, 0)
    equity = account.cash
    gross = 0
    groups: list[tuple[MarketId, Underlying]] = []
    lanes: dict[MarketId, int] = {}
    notional: dict[MarketId, int] = {}
    for position in positions:
        # Entries are int64: with this bound no sum of size * entry leaves its lane.
        gross += abs(position.size)
        if gross >= UINT64_BOUND:
            raise TransitionFault(Fault.OUT_OF_RANGE)
        series = get_series(state, position.series)
        key = series.underlying
        if key not in lanes:
            charge(state, WEIGHT_MARGIN_GROUP_GAS, 0)
        underlying = get_underlying(state, key)
        validate_fresh(series, underlying, clock)
        equity += compute_equity_of(position.size, position.snapshot, series)
        if key not in lanes:
            groups.append((key, underlying))
            lanes[key] = 0
            notional[key] = 0
        lanes[key] += position.size * get_lanes(state, position.series, series)
        notional[key] += abs(position.size) * series.mark
    maintenance = 0
    initial = 0
    for key, underlying in groups:
        of_maintenance, of_initial = compute_requirement(
            underlying, compute_worst(lanes[key]), notional[key]
        )
        maintenance += of_maintenance
        initial += of_initial
    return Margin(equity, maintenance, initial)


def validate_initial_margin(state: State, after: Account, clock: Timestamp) -> None:
    """Check that money that leaves an account leaves initial margin met.

    Raises
    ------
    TransitionFault
        MARGIN, and what `compute_margin` raises.
    """
    if compute_shortfall(compute_margin(state, after, clock)) != 0:
        raise TransitionFault(Fault.MARGIN)


def validate_margin(state: State, before: Account, after: Account, clock: Timestamp) -> None:
    """Check that a change leaves initial margin met, or a strictly smaller shortfall than before.

    Raises
    ------
    TransitionFault
        MARGIN, and what `compute_margin` raises.
    """
    shortfall = compute_shortfall(compute_margin(state, after, clock))
    if shortfall == 0:
        return
    if shortfall >= compute_shortfall(compute_margin(state, before, clock)):
        raise TransitionFault(Fault.MARGIN)
