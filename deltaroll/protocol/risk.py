"""Marks and risk vectors: what a series is worth now and under every scenario of its grid.

The formulas are those of PMRM_2; docs/margin.md has them as they are here. Q48 values are rounded
down step by step, prices to nearest, once.
"""

from dataclasses import dataclass

from deltaroll.protocol.arithmetic import div_away, div_down
from deltaroll.protocol.black76 import compute_pair
from deltaroll.protocol.constants import DAY, MAX_PRICE, ONE, PPM, YEAR
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fixed import (
    compute_exp,
    compute_log_ratio,
    compute_sqrt,
    multiply_down,
)
from deltaroll.protocol.surface import compute_variance
from deltaroll.protocol.types import Expiry, Grid, RiskModel, Scenario, Underlying

INT64_BOUND = 1 << 63
UINT64_MAX = (1 << 64) - 1
MONTH = 30 * DAY
"""Seconds; the time at which volatility shocks are quoted."""


@dataclass(frozen=True, slots=True)
class Board:
    """What the options of an expiry share while they are priced. Q48 where nothing else is said."""

    fixed: int
    """What settlement has fixed of the forward already, per lot."""
    variable: int
    """The rest of the forward, per lot: what shocks move."""
    discount: int
    up: int
    """Factor of a raised volatility."""
    down: int
    least: int
    """Deviation that a raised volatility has at least."""
    linear_cap: int
    absolute_cap: int
    width: int
    """Log-moneyness at which a skew reaches its cap."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A series' mark per lot and its risk vector."""

    mark: int
    risk: tuple[int, ...]


def compute_perpetual_mark(underlying: Underlying, expiry: Expiry | None) -> int:
    """Return the mark of a perpetual per lot: the index, times the ratio of its premium leaf if it
    has one, rounded down.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE when it is no price.
    """
    if expiry is None:
        return underlying.index
    mark = multiply_down(underlying.index, expiry.ratio)
    if mark > MAX_PRICE:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    return mark


def compute_perpetual_risk(mark: int, grid: Grid) -> tuple[int, ...]:
    """Return profit and loss per lot under each scenario: mark * shock * weight, rounded away.

    A perpetual has no volatility: vol shocks leave it alone.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE when an entry does not fit int64.
    """
    risk = tuple(
        div_away(mark * scenario.spot_shock * scenario.weight, PPM * ONE)
        for scenario in grid.scenarios
    )
    for entry in risk:
        if not -INT64_BOUND <= entry < INT64_BOUND:
            raise TransitionFault(Fault.OUT_OF_RANGE)
    return risk


def compute_years(remaining: int) -> int:
    """Return seconds as years, Q48."""
    return remaining * ONE // YEAR


def compute_discounts(remaining: int, rate: int, model: RiskModel) -> tuple[int, int, int]:
    """Return what margin counts of an expiry's value when it is long, when it is short, and of its
    loss in the basis scenarios: Q48, from 0 to 2^64 - 1.

    Arguments are the seconds to expiry and its rate, Q48; a negative rate counts as 0.
    """
    years = compute_years(remaining)
    rate = max(rate, 0)
    long_rate = multiply_down(rate, model.long_rate_scale) + model.long_rate_add
    short_rate = multiply_down(rate, model.short_rate_scale) + model.short_rate_add
    long_discount = multiply_down(model.long_base, compute_exp(-multiply_down(years, long_rate)))
    short_discount = min(
        compute_exp(multiply_down(years, rate)),
        multiply_down(model.short_base, compute_exp(multiply_down(years, short_rate))),
    )
    basis_factor = model.basis_add + multiply_down(model.basis_scale, years)
    return (
        min(max(long_discount, 0), UINT64_MAX),
        min(max(short_discount, 0), UINT64_MAX),
        min(max(basis_factor, 0), UINT64_MAX),
    )


def compute_board(fixed: int, variable: int, remaining: int, rate: int, model: RiskModel) -> Board:
    """Return what the options of an expiry share.

    Arguments are the two parts of the forward, which counts as 1 when it is 0, the seconds to
    expiry, 0 and up, and the expiry's rate.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE when the forward is no price.
    """
    # An index of a few units, times a ratio below 1.
    variable = max(variable, 1 - fixed)
    if fixed + variable > MAX_PRICE:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    years = compute_years(remaining)
    root = compute_sqrt(years << 48)
    seconds = max(1, remaining, (model.day_floor * DAY + ONE // 2) >> 48)
    power = model.short_power if remaining <= MONTH else model.long_power
    growth = compute_exp(multiply_down(compute_log_ratio(MONTH, seconds), power))
    width = multiply_down(
        multiply_down(root, model.width_scale),
        model.width_static + multiply_down(root, model.width_slope),
    )
    return Board(
        fixed=fixed,
        variable=variable,
        discount=compute_exp(-multiply_down(max(rate, 0), years)),
        up=max(0, ONE + multiply_down(model.vol_up, growth)),
        down=max(0, ONE - multiply_down(model.vol_down, growth)),
        least=multiply_down(model.min_vol, root),
        linear_cap=multiply_down(model.linear_base, root) + model.linear_cap,
        absolute_cap=multiply_down(model.absolute_base, root) + model.absolute_cap,
        width=max(1, model.min_width, width),
    )


def compute_log_moneyness(board: Board, strike: int) -> int:
    """Return ln(strike / forward), Q48; both at least 1 and below 2^64."""
    return compute_log_ratio(strike, board.fixed + board.variable)


def compute_deviation(expiry: Expiry, remaining: int, log_moneyness: int) -> int:
    """Return the standard deviation of the logarithm at expiry, Q48, by the volatility surface.

    Its variance counts for the time from the surface to expiry, more than 0 seconds; what is left
    of them is the variance's share.
    """
    variance = compute_variance(expiry, log_moneyness)
    return compute_sqrt((variance * remaining // (expiry.time - expiry.surfaced_at)) << 48)


def compute_skew(log_moneyness: int, cap: int, width: int) -> int:
    """Return the factor that a skew puts on a deviation, Q48: it rises from 1 in proportion to
    log-moneyness until it is off by `cap`, at `width`.
    """
    change = div_down(log_moneyness * cap, width)
    change = min(change, cap) if log_moneyness >= 0 else max(change, -cap)
    return max(0, ONE + change)


def compute_shocked_deviations(
    board: Board, deviation: int, log_moneyness: int
) -> tuple[int, int, int, int, int]:
    """Return the deviation under vol shocks -1, 0, 1, 2 and 3: one after the other, from -1 on."""
    linear = compute_skew(log_moneyness, board.linear_cap, board.width)
    absolute = compute_skew(abs(log_moneyness), board.absolute_cap, board.width)
    return (
        multiply_down(deviation, board.down),
        deviation,
        max(board.least, multiply_down(deviation, board.up)),
        multiply_down(deviation, linear),
        multiply_down(deviation, absolute),
    )


def compute_pair_value(
    board: Board, spot_shock: int, strike: int, deviation: int
) -> tuple[int, int]:
    """Return what call and put are worth per lot, discounted, rounded to nearest; the shocked
    forward is rounded down.

    The put is the call less the discounted forward less strike, itself rounded: a call less its put
    is worth the same at every volatility, and neither is ever below 0.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE when the shocked forward is no price.
    """
    forward = board.fixed + div_down(board.variable * (PPM + spot_shock), PPM)
    if forward > MAX_PRICE:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    call, _ = compute_pair(forward, strike, deviation)
    call_value = (call * board.discount + ONE // 2) >> 48
    return call_value, call_value - (((forward - strike) * board.discount + ONE // 2) >> 48)


def compute_pair_risk(
    board: Board,
    scenarios: tuple[Scenario, ...],
    strike: int,
    log_moneyness: int,
    deviation: int,
) -> tuple[Quote, Quote]:
    """Return the quotes of a strike's call and put; entries of their risk vectors are not weighted.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE when a shocked forward is no price.
    """
    deviations = compute_shocked_deviations(board, deviation, log_moneyness)
    call_mark, put_mark = compute_pair_value(board, 0, strike, deviation)
    call_risk = []
    put_risk = []
    for scenario in scenarios:
        # A price is within 2^63 - 1, so the difference of two is, too.
        call, put = compute_pair_value(
            board, scenario.spot_shock, strike, deviations[scenario.vol_shock + 1]
        )
        call_risk.append(call - call_mark)
        put_risk.append(put - put_mark)
    return Quote(call_mark, tuple(call_risk)), Quote(put_mark, tuple(put_risk))
