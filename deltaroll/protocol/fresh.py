"""Whether prices may be relied upon: the observation of an underlying, the surface of an expiry,
the mark of a series.
"""

from deltaroll.protocol.arithmetic import is_within_band
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import (
    State,
    get_expiry,
)
from deltaroll.protocol.types import (
    Expiry,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
)


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


def validate_surfaced(expiry: Expiry, underlying: Underlying, clock: Timestamp) -> None:
    """Check that an expiry has a volatility surface to mark options from.

    Raises
    ------
    TransitionFault
        HALTED when it is too old or there was none.
    """
    if expiry.surfaced_at == 0 or clock > expiry.surfaced_at + underlying.params.max_surface_age:
        raise TransitionFault(Fault.HALTED)


def validate_fresh(
    series: Series, underlying: Underlying, expiry: Expiry | None, clock: Timestamp
) -> None:
    """Check that a mark may be relied upon; what has settled always may be.

    Raises
    ------
    TransitionFault
        HALTED when no mark could be fresh: the breaker has tripped, the observation or the surface
        is too old, or the option has expired and no observation is from after that; STALE_MARK when
        a Mark would help: the mark is too old, the index has moved past the band, or the option can
        settle.
    """
    if series.status == SeriesStatus.SETTLED:
        return
    validate_observed(underlying, clock)
    if expiry is not None and series.kind != SeriesKind.PERPETUAL:
        validate_alive(expiry, underlying, clock)
    if not is_fresh(series.mark_index, series.marked_at, underlying, clock):
        raise TransitionFault(Fault.STALE_MARK)


def validate_alive(expiry: Expiry, underlying: Underlying, clock: Timestamp) -> None:
    """Do the part of `validate_fresh` that depends on the expiry.

    Raises
    ------
    TransitionFault
        STALE_MARK, HALTED.
    """
    if clock >= expiry.time:
        passed = underlying.observed_at >= expiry.time
        raise TransitionFault(Fault.STALE_MARK if passed else Fault.HALTED)
    validate_surfaced(expiry, underlying, clock)


def is_fresh(
    mark_index: int, marked_at: Timestamp, underlying: Underlying, clock: Timestamp
) -> bool:
    """Return whether a mark from an index, observed at a time, may be relied upon."""
    return clock <= marked_at + underlying.params.max_mark_age and is_within_band(
        underlying.index, mark_index, underlying.params.move_band
    )


def get_expiry_of(state: State, series: Series) -> Expiry | None:
    """Return the expiry of a series, None for a perpetual without a premium.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET.
    """
    return None if series.expiry == 0 else get_expiry(state, series.expiry)
