"""List: the next expiries of an underlying and their strikes, by a rule that governance has set.

Expiry number e is the boundary `list_period * e + 1` days after 1970-01-01, a Thursday: with a
period of seven days, every Friday. The expiries alive have consecutive numbers and take turns in
`list_expiries` places of the id space. A place is an expiry's leaf, then the call and the put of
each of its strikes, ascending. A place is used again when nothing in it is alive any more.
"""

from deltaroll.protocol.constants import (
    MARKET_DEPTH,
    MAX_PRICE,
    ONE,
    WEIGHT_LIST_LEAF_GAS,
)
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fresh import validate_observed
from deltaroll.protocol.state import (
    State,
    charge,
    charge_module,
    get_underlying,
    set_market,
    touch_market,
)
from deltaroll.protocol.types import (
    Expiry,
    List,
    MarketId,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
    UnderlyingParams,
)

MAX_STRIKES = 16
"""Of one expiry: its series are among the 2 * MAX_STRIKES ids after its own, whoever lists them."""
TIME_BOUND = 1 << 40


def create_expiry(underlying: MarketId, time: Timestamp) -> Expiry:
    """Return the leaf of an expiry without a surface."""
    return Expiry(
        underlying=underlying,
        time=time,
        ratio=ONE,
        rate=0,
        a=0,
        b=0,
        rho=0,
        m=0,
        sigma=0,
        surfaced_at=Timestamp(0),
        settlement=0,
        long_discount=0,
        short_discount=0,
        basis_factor=0,
        priced_at=Timestamp(0),
    )


def create_series(
    kind: SeriesKind, status: SeriesStatus, underlying: MarketId, expiry: MarketId, strike: int
) -> Series:
    """Return the leaf of a series that was never marked and that nobody holds."""
    return Series(
        kind=kind,
        status=status,
        underlying=underlying,
        expiry=expiry,
        strike=strike,
        mark=0,
        mark_index=0,
        marked_at=Timestamp(0),
        carry_long=0,
        carry_short=0,
        accrued_at=Timestamp(0),
        funding_remainder=0,
        open_interest=0,
        risk=(),
    )


def compute_number(params: UnderlyingParams, clock: Timestamp, offset: int) -> int:
    """Return the number of the expiry that is the `offset`-th after `clock`, from 0."""
    day = max(1, compute_day(clock + 1))
    return (day - 1 + params.list_period - 1) // params.list_period + offset


def compute_place(params: UnderlyingParams, number: int) -> MarketId:
    """Return the id of the leaf of an expiry by its number."""
    place = number % params.list_expiries
    return MarketId(params.list_base + place * (1 + 2 * params.list_strikes))


def compute_lowest_strike(underlying: Underlying) -> int:
    """Return the lowest strike to list: as many are below the index as above, all are multiples of
    the step, and none is 0.
    """
    step = underlying.params.strike_step
    center = (underlying.index + step // 2) // step * step
    return max(center - underlying.params.list_strikes // 2 * step, step)


def is_finished(series: Series, underlying: MarketId) -> bool:
    """Return whether a series of an underlying has settled and nobody holds it."""
    return (
        series.underlying == underlying
        and series.status == SeriesStatus.SETTLED
        and series.open_interest == 0
    )


def validate_place(state: State, underlying: MarketId, place: MarketId, strikes: int) -> None:
    """Check that an expiry of an underlying may take a place: what was there before is over.

    Before an expiry's leaf is used again, all series that name it have to be finished, also those
    whose leaves stay as they are.

    Raises
    ------
    TransitionFault
        OVERWEIGHT; NOT_DUE when anything there is alive, of another type or underlying.
    """
    before = touch_market(state, place)
    if before is not None and (
        not isinstance(before, Expiry) or before.underlying != underlying or before.settlement == 0
    ):
        raise TransitionFault(Fault.NOT_DUE)
    needed = 2 * strikes
    last = needed if before is None else 2 * MAX_STRIKES
    for offset in range(1, min(last, (1 << MARKET_DEPTH) - 1 - place) + 1):
        leaf = touch_market(state, MarketId(place + offset))
        if leaf is None:
            continue
        if offset > needed and not (isinstance(leaf, Series) and leaf.expiry == place):
            continue
        if not isinstance(leaf, Series) or not is_finished(leaf, underlying):
            raise TransitionFault(Fault.NOT_DUE)


def process_list(state: State, listing: List) -> None:
    """List an expiry with its series.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET; HALTED when there is no price to center the strikes on; NOT_DUE
        when the underlying lists nothing or not so far ahead, or the expiry's place is not free;
        OUT_OF_RANGE for a strike that is no price, or a time that no leaf can hold.
    """
    charge_module(state, 0)
    underlying = get_underlying(state, listing.market)
    params = underlying.params
    if params.list_base == 0 or listing.offset >= params.list_expiries:
        raise TransitionFault(Fault.NOT_DUE)
    clock = state.globals.clock
    validate_observed(underlying, clock)
    number = compute_number(params, clock, listing.offset)
    time = compute_boundary(number * params.list_period + 1)
    lowest = compute_lowest_strike(underlying)
    highest = lowest + (params.list_strikes - 1) * params.strike_step
    if time >= TIME_BOUND or highest > MAX_PRICE:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    charge(state, (1 + 2 * params.list_strikes) * WEIGHT_LIST_LEAF_GAS, 0)
    place = compute_place(params, number)
    validate_place(state, listing.market, place, params.list_strikes)
    set_market(state, place, create_expiry(listing.market, time))
    for index in range(params.list_strikes):
        strike = lowest + index * params.strike_step
        for kind in (SeriesKind.CALL, SeriesKind.PUT):
            market = MarketId(place + 2 * index + kind)
            series = create_series(kind, SeriesStatus.ACTIVE, listing.market, place, strike)
            set_market(state, market, series)
