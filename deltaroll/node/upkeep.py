"""What a sequencer does without being asked, because the state calls for it.

Marks, settlement and sweeps, auctions of accounts in distress, the listing of the next expiry.
Every transaction here is one that anyone may send and that the state alone decides. All functions
read the state and nothing else, so a replayed log repeats them.
"""

from collections.abc import Iterable, Iterator

from deltaroll.engine.aside import find_refusal, set_aside
from deltaroll.protocol.arithmetic import is_within_band
from deltaroll.protocol.constants import INSURANCE_ACCOUNT
from deltaroll.protocol.expiry import compute_boundary
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fresh import validate_fresh, validate_observed, validate_surfaced
from deltaroll.protocol.liquidation import process_accrual
from deltaroll.protocol.listing import compute_number, compute_place
from deltaroll.protocol.margin import Margin, compute_margin
from deltaroll.protocol.mark import is_pair
from deltaroll.protocol.state import State
from deltaroll.protocol.types import (
    Account,
    Distress,
    Expiry,
    List,
    Mark,
    MarketId,
    Series,
    SeriesKind,
    SeriesStatus,
    Sweep,
    Timestamp,
    Underlying,
)

EARLY = 4
"""An option is marked again when a mark of a quarter of the allowed age or move is reached."""
MAX_RUN = 16
"""Series of one Mark: few enough that the rest of the chunk has room."""


def get_expiry_leaf(state: State, series: Series) -> Expiry | None:
    """Return the expiry of a series; None for a perpetual without a premium."""
    leaf = state.markets.get(series.expiry) if series.expiry else None
    return leaf if isinstance(leaf, Expiry) else None


def is_markable(
    series: Series, underlying: Underlying, expiry: Expiry | None, clock: Timestamp
) -> bool:
    """Return whether the protocol would mark a series now: there is a price to mark it from, and a
    surface unless it can settle."""
    if series.status == SeriesStatus.SETTLED:
        return False
    try:
        validate_observed(underlying, clock)
        if (
            series.kind != SeriesKind.PERPETUAL
            and expiry is not None
            and underlying.observed_at < expiry.time
        ):
            validate_surfaced(expiry, underlying, clock)
    except TransitionFault:
        return False
    return True


def is_mark_due(
    series: Series, underlying: Underlying, expiry: Expiry | None, clock: Timestamp
) -> bool:
    """Return whether a series should be marked before the protocol calls its mark stale.

    A mark says what the last observation says: before the next one there is nothing to renew.
    """
    if series.status == SeriesStatus.SETTLED:
        return False
    is_option = series.kind != SeriesKind.PERPETUAL and expiry is not None
    if is_option and expiry is not None and underlying.observed_at >= expiry.time:
        return True
    if series.marked_at >= underlying.observed_at:
        return False
    if not is_option or expiry is None or series.marked_at < expiry.surfaced_at:
        return True
    params = underlying.params
    return clock > series.marked_at + params.max_mark_age // EARLY or not is_within_band(
        underlying.index, series.mark_index, params.move_band // EARLY
    )


def is_needed(series: Series, underlying: Underlying, expiry: Expiry | None) -> bool:
    """Return whether somebody's margin or the listing of a later expiry depends on a mark."""
    if series.kind == SeriesKind.PERPETUAL or expiry is None:
        # One that trades no more is marked while somebody holds it.
        return series.status == SeriesStatus.ACTIVE or series.open_interest != 0
    return series.open_interest != 0 or underlying.observed_at >= expiry.time


def iterate_series(state: State) -> Iterator[tuple[MarketId, Series, Underlying, Expiry | None]]:
    """Yield all series by id, each with what it is priced from."""
    for market in sorted(state.markets):
        series = state.markets[market]
        if not isinstance(series, Series):
            continue
        underlying = state.markets.get(series.underlying)
        if isinstance(underlying, Underlying):
            yield market, series, underlying, get_expiry_leaf(state, series)


def collect_marks(state: State, markets: Iterable[MarketId]) -> Iterator[Mark]:
    """Yield marks of series, ids ascending. Those of one expiry with consecutive ids stand in one,
    so that what one expiry lacks does not hold up another, and never end between call and put."""
    first = count = 0
    shared: MarketId | None = None
    for market in markets:
        series = state.markets[market]
        if not isinstance(series, Series):
            continue
        room = MAX_RUN - 1 if series.kind == SeriesKind.CALL else MAX_RUN
        if count and market == first + count and count < room and series.expiry == shared:
            count += 1
            continue
        if count:
            yield Mark(MarketId(first), count)
        first, count, shared = market, 1, series.expiry
    if count:
        yield Mark(MarketId(first), count)


def iterate_marks(state: State, underlying_id: MarketId) -> Iterator[Mark]:
    """Yield the marks of an underlying's series that are needed and due."""
    clock = state.globals.clock
    due = [
        market
        for market, series, underlying, expiry in iterate_series(state)
        if series.underlying == underlying_id
        and is_needed(series, underlying, expiry)
        and is_mark_due(series, underlying, expiry, clock)
        and is_markable(series, underlying, expiry, clock)
    ]
    return collect_marks(state, due)


def iterate_surfaced(state: State, expiry_id: MarketId) -> Iterator[Mark]:
    """Yield the marks of an expiry's series that are needed, after it has got a new surface."""
    clock = state.globals.clock
    found = [
        market
        for market, series, underlying, expiry in iterate_series(state)
        if series.expiry == expiry_id
        and is_needed(series, underlying, expiry)
        and is_markable(series, underlying, expiry, clock)
    ]
    return collect_marks(state, found)


def iterate_stale(state: State, markets: Iterable[MarketId]) -> Iterator[Mark]:
    """Yield the marks of those among some leaves that are stale, whoever needs them."""
    clock = state.globals.clock
    wanted = set(markets)
    stale = [
        market
        for market, series, underlying, expiry in iterate_series(state)
        if market in wanted
        and is_stale(series, underlying, expiry, clock)
        and is_markable(series, underlying, expiry, clock)
    ]
    return collect_marks(state, stale)


def is_stale(
    series: Series, underlying: Underlying, expiry: Expiry | None, clock: Timestamp
) -> bool:
    """Return whether a Mark is all that a series lacks."""
    try:
        validate_fresh(series, underlying, expiry, clock)
    except TransitionFault as problem:
        return problem.fault == Fault.STALE_MARK
    return False


def compute_pair_mark(state: State, market: MarketId) -> Mark:
    """Return the Mark of a series, with the other one of its strike when that is its neighbour."""
    series = state.markets.get(market)
    if not isinstance(series, Series) or series.kind == SeriesKind.PERPETUAL:
        return Mark(market, 1)
    first = market if series.kind == SeriesKind.CALL else MarketId(market - 1)
    call, put = state.markets.get(first), state.markets.get(MarketId(first + 1))
    if isinstance(call, Series) and isinstance(put, Series) and is_pair(call, put):
        return Mark(first, 2)
    return Mark(market, 1)


def has_settled(state: State, account: Account) -> bool:
    """Return whether an account holds a position that a sweep turns into cash."""
    return any(
        isinstance(series := state.markets.get(position.series), Series)
        and series.status == SeriesStatus.SETTLED
        for position in account.positions
    )


def iterate_sweeps(state: State) -> Iterator[Sweep]:
    """Yield the sweeps of all accounts that hold settled positions and can bear them."""
    if not any(
        isinstance(leaf, Series) and leaf.status == SeriesStatus.SETTLED and leaf.open_interest != 0
        for leaf in state.markets.values()
    ):
        return
    for account_id in sorted(state.accounts):
        sweep = Sweep(account_id)
        if (
            has_settled(state, state.accounts[account_id])
            and find_refusal(state, sweep) == Fault.NONE
        ):
            yield sweep


def compute_margin_apart(state: State, account: Account) -> Margin | None:
    """Return an account's margin with its funding accrued, as an auction sees it, and leave state
    and open chunk as they are; None when a mark is not fresh.
    """
    clock = state.globals.clock
    with set_aside(state):
        try:
            process_accrual(state, account, clock)
            return compute_margin(state, account, clock)
        except TransitionFault:
            return None


def iterate_distress(state: State) -> Iterator[Distress]:
    """Yield the starts and ends of auctions that are due."""
    for account_id in sorted(state.accounts):
        account = state.accounts[account_id]
        if account_id == INSURANCE_ACCOUNT or not (account.positions or account.distressed_at):
            continue
        margin = compute_margin_apart(state, account)
        if margin is None:
            continue
        is_below = margin.equity < margin.maintenance
        if is_below != (account.distressed_at != 0):
            yield Distress(account_id)


def iterate_listings(state: State) -> Iterator[List]:
    """Yield one listing for each expiry that an underlying's rule asks for and that can be listed:
    there is a price, and what stood in its place is over."""
    for market in sorted(state.markets):
        leaf = state.markets[market]
        if isinstance(leaf, Underlying) and leaf.params.list_base != 0:
            for offset in range(leaf.params.list_expiries):
                listing = List(market, offset)
                if is_listed(state, leaf, offset):
                    continue
                if find_refusal(state, listing) == Fault.NONE:
                    yield listing


def is_listed(state: State, underlying: Underlying, offset: int) -> bool:
    """Return whether the expiry at an offset stands in its place already."""
    params = underlying.params
    number = compute_number(params, state.globals.clock, offset)
    leaf = state.markets.get(compute_place(params, number))
    time = compute_boundary(number * params.list_period + 1)
    return isinstance(leaf, Expiry) and leaf.time == time
