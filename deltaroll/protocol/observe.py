"""Observe: the median of independently signed prices moves an underlying's index.

A price beyond the jump band halts the underlying until a second observation confirms it or the
halt's time has passed. With every observation the underlying also carries on what is derived from
its index: the average of the settlement window, realised variance and the risk multiplier.
"""

from collections.abc import Sequence
from dataclasses import replace

from deltaroll.protocol.arithmetic import is_within_band
from deltaroll.protocol.constants import (
    MULTIPLIER_PERIOD,
    ONE,
    PPM,
    SETTLEMENT_WINDOW,
    TWAP_DAYS,
    VARIANCE_DECAY,
    WEIGHT_OBSERVATION_GAS,
    WEIGHT_OBSERVE_GAS,
    YEAR,
)
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fixed import compute_sqrt
from deltaroll.protocol.state import State, charge, get_committee, get_underlying, set_market
from deltaroll.protocol.types import (
    Committee,
    Globals,
    Observation,
    Observe,
    Timestamp,
    Underlying,
)


def compute_median(prices: Sequence[int]) -> int:
    """Return the middle price, the lower of the two middle ones of an even number."""
    return sorted(prices)[(len(prices) - 1) // 2]


def compute_usable(
    underlying: Underlying, observations: Sequence[Observation], clock: Timestamp
) -> list[Observation]:
    """Return the observations that are neither zero, stale, future nor replayed, then within the
    outlier band of their median."""
    timely = [
        entry
        for entry in observations
        if entry.price != 0
        and underlying.observed_at < entry.time <= clock
        and clock <= entry.time + underlying.params.max_observation_age
    ]
    if not timely:
        return timely
    median = compute_median([entry.price for entry in timely])
    return [
        entry
        for entry in timely
        if is_within_band(entry.price, median, underlying.params.outlier_band)
    ]


def validate_signers(committee: Committee, observations: Sequence[Observation]) -> None:
    """Check that every observation names a member.

    Raises
    ------
    TransitionFault
        UNKNOWN_SIGNER.
    """
    for entry in observations:
        if entry.signer >= len(committee.signers):
            raise TransitionFault(Fault.UNKNOWN_SIGNER)


def compute_window_after(
    underlying: Underlying, price: int, time: Timestamp, is_accepted: bool
) -> Underlying:
    """Return the underlying with its settlement window carried on to `time`.

    Between two observations the index of the first one counts, every second alike, unless they are
    further apart than `max_mark_age`: then nobody knows the price of that time. A boundary that has
    passed is settled at the average of what was observed of its window, or if that is nothing at
    `price`, the first one known afterwards. While that one is halted the boundary waits.
    """
    coming = compute_day(time + 1)
    if underlying.index == 0:
        return replace(underlying, day=coming)
    day = underlying.day
    window_sum = underlying.window_sum
    window_seconds = underlying.window_seconds
    twaps = list(underlying.twaps)
    # Older boundaries would be overwritten below.
    if day + TWAP_DAYS < coming:
        day = coming - TWAP_DAYS
        window_sum = window_seconds = 0
    is_known = time - underlying.observed_at <= underlying.params.max_mark_age
    while True:
        boundary = compute_boundary(day)
        start = max(underlying.observed_at, boundary - SETTLEMENT_WINDOW)
        end = min(time, boundary)
        if is_known and start < end:
            window_sum += underlying.index * (end - start)
            window_seconds += end - start
        if day >= coming or (window_seconds == 0 and not is_accepted):
            break
        twaps[day % TWAP_DAYS] = price if window_seconds == 0 else window_sum // window_seconds
        window_sum = window_seconds = 0
        day += 1
    return replace(
        underlying,
        window_sum=window_sum,
        window_seconds=window_seconds,
        day=day,
        twaps=tuple(twaps),
    )


def compute_variance_after(underlying: Underlying, price: int, time: Timestamp) -> int:
    """Return realised variance after the index has moved to `price`, later than `observed_at`.

    What was decays with VARIANCE_DECAY, and what fades gives way to the squared move, annualised.
    All is rounded down; a move counts as 100 % at most.
    """
    if underlying.index == 0:
        return underlying.variance
    elapsed = time - underlying.observed_at
    fading = min(elapsed, VARIANCE_DECAY)
    move = min(abs(price - underlying.index) * ONE // underlying.index, ONE)
    kept = underlying.variance - underlying.variance * fading // VARIANCE_DECAY
    added = move * move * YEAR * fading // (elapsed * VARIANCE_DECAY * ONE)
    return min(kept + added, (1 << 63) - 1)


def compute_multiplier_after(
    underlying: Underlying, variance: int, time: Timestamp, globals_: Globals
) -> int:
    """Return the risk multiplier at `time`, later than `observed_at`.

    It follows realised volatility and the part of the insurance fund that is used, no faster than
    its step for each MULTIPLIER_PERIOD and always inside its bounds.
    """
    params = underlying.params
    volatility = compute_sqrt(variance * ONE) * PPM // ONE
    excess = max(0, volatility - params.vol_reference)
    used = 0
    if globals_.insurance < globals_.insurance_peak:
        used = (globals_.insurance_peak - globals_.insurance) * PPM // globals_.insurance_peak
    rise = excess * params.vol_slope // PPM + used * params.insurance_slope // PPM
    elapsed = min(time - underlying.observed_at, MULTIPLIER_PERIOD)
    step = params.multiplier_step * elapsed // MULTIPLIER_PERIOD
    target = max(underlying.multiplier - step, min(PPM + rise, underlying.multiplier + step))
    return max(params.multiplier_min, min(target, params.multiplier_max))


def compute_underlying_after(
    underlying: Underlying, price: int, time: Timestamp, globals_: Globals
) -> Underlying:
    """Return the underlying after an observation of `price`: moved, halted or resumed."""
    band = underlying.params.jump_band
    halted = underlying.pending_index != 0
    confirmed = halted and (
        is_within_band(price, underlying.pending_index, band)
        or globals_.clock >= underlying.halted_until
    )
    calm = not halted and (underlying.index == 0 or is_within_band(price, underlying.index, band))
    is_accepted = confirmed or calm
    after = compute_window_after(underlying, price, time, is_accepted)
    variance = underlying.variance
    pending_index = 0
    halted_until = Timestamp(0)
    if is_accepted:
        variance = compute_variance_after(underlying, price, time)
    else:
        pending_index = price
        halted_until = underlying.halted_until
        if not halted:
            halted_until = Timestamp(globals_.clock + underlying.params.halt_seconds)
    return replace(
        after,
        index=price if is_accepted else underlying.index,
        observed_at=time,
        pending_index=pending_index,
        halted_until=halted_until,
        variance=variance,
        multiplier=compute_multiplier_after(underlying, variance, time, globals_),
    )


def process_observe(state: State, observe: Observe) -> None:
    """Take the median of what is usable.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET, UNKNOWN_SIGNER; QUORUM when fewer observations are usable than
        the threshold.
    """
    count = len(observe.observations)
    charge(state, WEIGHT_OBSERVE_GAS + count * WEIGHT_OBSERVATION_GAS, 0)
    underlying = get_underlying(state, observe.market)
    committee = get_committee(state, underlying.params.committee)
    validate_signers(committee, observe.observations)
    usable = compute_usable(underlying, observe.observations, state.globals.clock)
    if len(usable) < committee.threshold:
        raise TransitionFault(Fault.QUORUM)
    price = compute_median([entry.price for entry in usable])
    time = max(entry.time for entry in usable)
    after = compute_underlying_after(underlying, price, time, state.globals)
    set_market(state, observe.market, after)
