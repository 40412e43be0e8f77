"""Observe: the median of independently signed prices moves an underlying's index.

A price beyond the jump band halts the underlying until a second observation confirms it or the
halt's time has passed.
"""

from collections.abc import Sequence
from dataclasses import replace

from deltaroll.protocol.arithmetic import is_within_band
from deltaroll.protocol.constants import WEIGHT_OBSERVATION_GAS
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import State, charge, get_committee, get_underlying, set_market
from deltaroll.protocol.types import (
    Committee,
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


def compute_underlying_after(
    underlying: Underlying, price: int, time: Timestamp, clock: Timestamp
) -> Underlying:
    """Return the underlying after an observation of `price`: moved, halted or resumed."""
    band = underlying.params.jump_band
    halted = underlying.pending_index != 0
    confirmed = halted and (
        is_within_band(price, underlying.pending_index, band) or clock >= underlying.halted_until
    )
    calm = not halted and (underlying.index == 0 or is_within_band(price, underlying.index, band))
    if confirmed or calm:
        return Underlying(underlying.params, price, time, 0, Timestamp(0))
    until = underlying.halted_until if halted else Timestamp(clock + underlying.params.halt_seconds)
    return replace(underlying, observed_at=time, pending_index=price, halted_until=until)


def process_observe(state: State, observe: Observe) -> None:
    """Take the median of what is usable.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET, UNKNOWN_SIGNER; QUORUM when fewer observations are usable than
        the threshold.
    """
    charge(state, len(observe.observations) * WEIGHT_OBSERVATION_GAS, 0)
    underlying = get_underlying(state, observe.market)
    committee = get_committee(state, underlying.params.committee)
    validate_signers(committee, observe.observations)
    clock = state.globals.clock
    usable = compute_usable(underlying, observe.observations, clock)
    if len(usable) < committee.threshold:
        raise TransitionFault(Fault.QUORUM)
    price = compute_median([entry.price for entry in usable])
    time = max(entry.time for entry in usable)
    set_market(state, observe.market, compute_underlying_after(underlying, price, time, clock))
