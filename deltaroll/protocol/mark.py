"""Mark: re-price series and their risk vectors from index and surface. Anyone may; the state
decides it all.
"""

from dataclasses import replace

from deltaroll.protocol.constants import (
    MARKET_DEPTH,
    WEIGHT_MARK_GAS,
    WEIGHT_MARK_OPTION_GAS,
)
from deltaroll.protocol.expiry import compute_forward_parts, compute_settlement
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fresh import get_expiry_of, validate_observed, validate_surfaced
from deltaroll.protocol.funding import compute_accrued
from deltaroll.protocol.risk import (
    Quote,
    compute_board,
    compute_deviation,
    compute_discounts,
    compute_log_moneyness,
    compute_pair_risk,
    compute_perpetual_mark,
    compute_perpetual_risk,
)
from deltaroll.protocol.state import (
    UINT64_BOUND,
    State,
    charge,
    charge_module,
    get_expiry,
    get_grid,
    get_series,
    get_underlying,
    set_market,
)
from deltaroll.protocol.types import (
    Expiry,
    Mark,
    MarketId,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying,
)


def is_pair(call: Series, other: Series) -> bool:
    """Return whether a series and the one with the next id are call and put of one strike, both
    alive.
    """
    return (
        call.kind == SeriesKind.CALL
        and other.kind == SeriesKind.PUT
        and call.expiry == other.expiry
        and call.strike == other.strike
        and other.status != SeriesStatus.SETTLED
    )


def compute_marked(series: Series, underlying: Underlying, quote: Quote) -> Series:
    """Return a series with its new mark; its age counts from the observation that it is priced
    from.
    """
    return replace(
        series,
        mark=quote.mark,
        mark_index=underlying.index,
        marked_at=underlying.observed_at,
        risk=quote.risk,
    )


def compute_settled(series: Series, underlying: Underlying, settlement: int) -> Series:
    """Return an option after its expiry: its mark is what a lot pays, and it has no risk. From here
    on its open interest counts longs and shorts, who leave one by one.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE when the open interest does not fit uint64.
    """
    if 2 * series.open_interest >= UINT64_BOUND:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    if series.kind == SeriesKind.CALL:
        payoff = max(0, settlement - series.strike)
    else:
        payoff = max(0, series.strike - settlement)
    return replace(
        series,
        status=SeriesStatus.SETTLED,
        mark=payoff,
        marked_at=underlying.observed_at,
        open_interest=2 * series.open_interest,
        risk=(),
    )


def process_mark_perpetual(state: State, market: MarketId, series: Series) -> None:
    """Mark a perpetual, whose funding is accrued up to the clock by the mark before.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET, HALTED, OUT_OF_RANGE.
    """
    charge(state, WEIGHT_MARK_GAS, 0)
    underlying = get_underlying(state, series.underlying)
    validate_observed(underlying, state.globals.clock)
    expiry = get_expiry_of(state, series)
    grid = get_grid(state, underlying.params.grid)
    accrued = compute_accrued(series, underlying.params, state.globals.clock)
    mark = compute_perpetual_mark(underlying, expiry)
    quote = Quote(mark, compute_perpetual_risk(mark, grid))
    set_market(state, market, compute_marked(accrued, underlying, quote))


def process_settle(
    state: State,
    market: MarketId,
    first: Series,
    second: Series | None,
    underlying: Underlying,
    expiry: Expiry,
) -> None:
    """Settle one option or a strike's two; the first of an expiry fixes its settlement price.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE.
    """
    if expiry.settlement == 0:
        expiry = replace(expiry, settlement=compute_settlement(underlying, expiry))
        set_market(state, first.expiry, expiry)
    set_market(state, market, compute_settled(first, underlying, expiry.settlement))
    if second is not None:
        following = MarketId(market + 1)
        set_market(state, following, compute_settled(second, underlying, expiry.settlement))


def process_mark_options(
    state: State,
    market: MarketId,
    first: Series,
    second: Series | None,
    underlying: Underlying,
    expiry: Expiry,
) -> None:
    """Mark one option or a strike's two, and renew what margin needs of their expiry.

    Raises
    ------
    TransitionFault
        UNKNOWN_MARKET; HALTED when the expiry's surface is missing or too old; OUT_OF_RANGE.
    """
    validate_surfaced(expiry, underlying, state.globals.clock)
    grid = get_grid(state, underlying.params.grid)
    remaining = expiry.time - underlying.observed_at
    fixed, variable = compute_forward_parts(underlying, expiry)
    board = compute_board(fixed, variable, remaining, expiry.rate, grid.model)
    log_moneyness = compute_log_moneyness(board, first.strike)
    deviation = compute_deviation(expiry, remaining, log_moneyness)
    call, put = compute_pair_risk(board, grid.scenarios, first.strike, log_moneyness, deviation)
    long_discount, short_discount, basis_factor = compute_discounts(
        remaining, expiry.rate, grid.model
    )
    renewed = replace(
        expiry,
        long_discount=long_discount,
        short_discount=short_discount,
        basis_factor=basis_factor,
        priced_at=underlying.observed_at,
    )
    if renewed != expiry:
        set_market(state, first.expiry, renewed)
    quote = call if first.kind == SeriesKind.CALL else put
    set_market(state, market, compute_marked(first, underlying, quote))
    if second is not None:
        set_market(state, MarketId(market + 1), compute_marked(second, underlying, put))


def process_mark_strike(state: State, market: MarketId, series: Series, left: int) -> int:
    """Mark an option, and the next series with it when `left`, the length of the range, is not 1
    and they are call and put of one strike. What has settled stays as it is.

    Returns
    -------
    int
        How many series that were.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET, HALTED, OUT_OF_RANGE.
    """
    charge(state, WEIGHT_MARK_OPTION_GAS, 0)
    if series.status == SeriesStatus.SETTLED:
        return 1
    underlying = get_underlying(state, series.underlying)
    validate_observed(underlying, state.globals.clock)
    expiry = get_expiry(state, series.expiry)
    other = None
    if left > 1 and series.kind == SeriesKind.CALL:
        following = get_series(state, MarketId(market + 1))
        if is_pair(series, following):
            other = following
    if underlying.observed_at >= expiry.time:
        process_settle(state, market, series, other, underlying, expiry)
    else:
        process_mark_options(state, market, series, other, underlying, expiry)
    return 1 if other is None else 2


def process_mark_series(state: State, market: MarketId, left: int) -> int:
    """Mark a series of any kind. Returns and raises what `process_mark_strike` does."""
    series = get_series(state, market)
    if series.kind == SeriesKind.PERPETUAL:
        process_mark_perpetual(state, market, series)
        return 1
    return process_mark_strike(state, market, series, left)


def process_mark_range(state: State, mark: Mark) -> None:
    """Mark consecutive series. Raises what `process_mark_series` does."""
    done = 0
    while done < mark.count:
        done += process_mark_series(state, MarketId(mark.market + done), mark.count - done)


def process_mark(state: State, mark: Mark) -> None:
    """Mark consecutive series. From the first option on, a proof goes on in another contract.

    Raises
    ------
    TransitionFault
        What `process_mark_series` raises; UNKNOWN_MARKET when the range leaves the id space.
    """
    if mark.market + mark.count > 1 << MARKET_DEPTH:
        raise TransitionFault(Fault.UNKNOWN_MARKET)
    for done in range(mark.count):
        market = MarketId(mark.market + done)
        series = get_series(state, market)
        if series.kind != SeriesKind.PERPETUAL:
            charge_module(state, 0)
            process_mark_range(state, Mark(market, mark.count - done))
            return
        process_mark_perpetual(state, market, series)
