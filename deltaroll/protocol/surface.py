"""Surface: forward, rate and volatility of an expiry, as a quorum of the committee has signed them.

Volatility is raw SVI: at log-moneyness k = ln(strike / forward), the total variance is
a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)). A surface with negative variance anywhere is
refused, and one whose wings are steeper than any price can be (Lee's bound).
"""

from dataclasses import replace

from deltaroll.protocol.constants import ONE
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fixed import compute_sqrt
from deltaroll.protocol.state import (
    State,
    charge_module,
    get_committee,
    get_expiry,
    get_underlying,
    set_market,
)
from deltaroll.protocol.types import Committee, Expiry, Surface, Timestamp, Underlying

MIN_RATIO = ONE // 4
MAX_RATIO = 4 * ONE
MAX_RATE = ONE
MAX_VARIANCE = 144 * ONE
"""Total variance beyond it counts as this."""
MAX_LEVEL = 36 * ONE
"""Of a and sigma, either way."""
MAX_CENTER = 16 * ONE
"""Of m, either way."""
MAX_WING = 2 * ONE
"""Of the wings' slopes b (1 - rho) and b (1 + rho)."""


def validate_surface(expiry: Expiry, surface: Surface) -> None:
    """Check that a surface gives every strike a variance and no wing an arbitrage.

    Of perpetuals only the ratio means anything; all else is 0.

    Raises
    ------
    TransitionFault
        SURFACE.
    """
    if not MIN_RATIO <= surface.ratio <= MAX_RATIO:
        raise TransitionFault(Fault.SURFACE)
    a, b, rho, m, sigma = surface.a, surface.b, surface.rho, surface.m, surface.sigma
    if expiry.time == 0:
        if any((surface.rate, a, b, rho, m, sigma)):
            raise TransitionFault(Fault.SURFACE)
        return
    if (
        abs(surface.rate) > MAX_RATE
        or abs(a) > MAX_LEVEL
        or abs(rho) >= ONE
        or abs(m) > MAX_CENTER
        or not 0 < sigma <= MAX_LEVEL
        or b < 0
        or b * (ONE + abs(rho)) > MAX_WING * ONE
    ):
        raise TransitionFault(Fault.SURFACE)
    # The least variance, at k = m - rho sigma / sqrt(1 - rho^2), is a + b sigma sqrt(1 - rho^2).
    if a * ONE * ONE + b * sigma * compute_sqrt(ONE * ONE - rho * rho) < 0:
        raise TransitionFault(Fault.SURFACE)


def compute_variance(expiry: Expiry, moneyness: int) -> int:
    """Return total variance from `surfaced_at` to expiry at a log-moneyness, both Q48, rounded
    down; between 0 and MAX_VARIANCE.
    """
    distance = moneyness - expiry.m
    root = compute_sqrt(distance * distance + expiry.sigma * expiry.sigma)
    variance = expiry.a + (expiry.b * (expiry.rho * distance + root * ONE) >> 96)
    return max(0, min(variance, MAX_VARIANCE))


def validate_quorum(
    expiry: Expiry,
    underlying: Underlying,
    committee: Committee,
    surface: Surface,
    clock: Timestamp,
) -> None:
    """Check that enough members have signed, in time.

    Raises
    ------
    TransitionFault
        UNKNOWN_SIGNER; QUORUM when there are too few of them, or the surface is not newer than the
        one there is, is from the future, too old, or not from before the expiry.
    """
    if surface.signers >> len(committee.signers) != 0:
        raise TransitionFault(Fault.UNKNOWN_SIGNER)
    if (
        surface.signers.bit_count() < committee.threshold
        or not expiry.surfaced_at < surface.time <= clock
        or clock > surface.time + underlying.params.max_observation_age
        or (expiry.time != 0 and surface.time >= expiry.time)
    ):
        raise TransitionFault(Fault.QUORUM)


def process_surface(state: State, surface: Surface) -> None:
    """Set what an expiry's options are priced from, or the premium of a perpetual.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET; INACTIVE when the expiry is settled; UNKNOWN_SIGNER, QUORUM,
        SURFACE.
    """
    charge_module(state, 0)
    expiry = get_expiry(state, surface.market)
    if expiry.settlement != 0:
        raise TransitionFault(Fault.INACTIVE)
    underlying = get_underlying(state, expiry.underlying)
    committee = get_committee(state, underlying.params.committee)
    validate_quorum(expiry, underlying, committee, surface, state.globals.clock)
    validate_surface(expiry, surface)
    set_market(
        state,
        surface.market,
        replace(
            expiry,
            ratio=surface.ratio,
            rate=surface.rate,
            a=surface.a,
            b=surface.b,
            rho=surface.rho,
            m=surface.m,
            sigma=surface.sigma,
            surfaced_at=surface.time,
        ),
    )
