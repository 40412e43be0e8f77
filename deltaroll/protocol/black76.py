"""Black's formula for options on a forward, undiscounted, in integers.

Forward and strike are prices from 0 to 2^63 - 1, and so are the results, in the same units. The
deviation is that of the logarithm at expiry: volatility times the root of the time in years, Q48.

    call = F * N(d1) - K * N(d2),  d1 = ln(F / K) / s + s / 2,  d2 = d1 - s

Whatever error there is in d1 is in d2 as well, and the price does not feel it to first order: there
F * density(d1) = K * density(d2). So the price is as exact as N: within 2^-54 * (F + K), and half a
unit of rounding. Where the formula has no value (no forward, no strike, no deviation) the limits
stand in: what the option is worth at once.
"""

from deltaroll.protocol.constants import ONE
from deltaroll.protocol.fixed import MAX_VALUE, compute_fine_log_ratio
from deltaroll.protocol.normal import CERTAINTY, compute_cdf, compute_density

MAX_DEVIATION = 32 * ONE
"""Larger ones count as this: there N(d1) is 1 and N(d2) is 0 at every ratio of prices."""
MAX_ROOT_TIME = 8 * ONE
"""Longer times count as this, in `compute_vega`."""
MAX_TIME = 64 * ONE
"""Longer times count as this, in `compute_theta`."""


def compute_moments(forward: int, strike: int, deviation: int) -> tuple[int, int]:
    """Return d1 and d2 in Q48; all arguments positive, the deviation at most `MAX_DEVIATION`."""
    distance = compute_fine_log_ratio(forward, strike)
    # Rounded towards 0, which is as good as any.
    quotient = (abs(distance) << 40) // deviation
    d1 = (quotient if distance >= 0 else -quotient) + (deviation >> 1)
    return d1, d1 - deviation


def compute_pair(forward: int, strike: int, deviation: int) -> tuple[int, int]:
    """Return the prices of call and put, rounded to nearest.

    The put is call - forward + strike exactly. Both are at least 0 and at least what they are worth
    at once; the call is at most the forward, the put at most the strike.
    """
    if forward == 0 or strike == 0 or deviation == 0:
        call = max(0, forward - strike)
    else:
        d1, d2 = compute_moments(forward, strike, min(deviation, MAX_DEVIATION))
        value = forward * compute_cdf(d1) - strike * compute_cdf(d2)
        call = (value + (CERTAINTY >> 1)) >> 60
        call = min(max(call, forward - strike, 0), forward)
    return call, call - forward + strike


def compute_call(forward: int, strike: int, deviation: int) -> int:
    """Return the price of the call, as `compute_pair` does."""
    return compute_pair(forward, strike, deviation)[0]


def compute_put(forward: int, strike: int, deviation: int) -> int:
    """Return the price of the put, as `compute_pair` does."""
    return compute_pair(forward, strike, deviation)[1]


def compute_delta(forward: int, strike: int, deviation: int) -> int:
    """Return the call's change of price with the forward, in Q48, rounded to nearest.

    The put's is less by 1. With no deviation it is 0, 1/2 or 1.
    """
    if forward == 0 or strike == 0 or deviation == 0:
        return ((forward >= strike) + (forward > strike)) * ONE >> 1
    d1, _ = compute_moments(forward, strike, min(deviation, MAX_DEVIATION))
    return (compute_cdf(d1) + (1 << 11)) >> 12


def compute_density_at(forward: int, strike: int, deviation: int) -> int:
    """Return the density at d1 in Q60, 0 where there is no d1. All Greeks but delta have it."""
    if forward == 0 or strike == 0 or deviation == 0:
        return 0
    return compute_density(compute_moments(forward, strike, min(deviation, MAX_DEVIATION))[0])


def compute_gamma(forward: int, strike: int, deviation: int) -> int:
    """Return the change of delta for a relative change of the forward, in Q48, rounded down.

    That is gamma times the forward; the same for call and put. At most `MAX_VALUE`.
    """
    density = compute_density_at(forward, strike, deviation)
    return min(MAX_VALUE, (density << 36) // max(1, min(deviation, MAX_DEVIATION)))


def compute_vega(forward: int, strike: int, deviation: int, root_time: int) -> int:
    """Return the change of price for 1.00 of volatility, rounded down; the same for call and put.

    `root_time` is the root of the time in years, Q48; with 1 it is the change for 1.00 of
    deviation. At most `MAX_VALUE`.
    """
    density = compute_density_at(forward, strike, deviation)
    factor = density * min(root_time, MAX_ROOT_TIME) >> 48
    return min(MAX_VALUE, forward * factor >> 60)


def compute_theta(forward: int, strike: int, deviation: int, time: int) -> int:
    """Return the change of price per year that passes, rounded towards 0; the same for call and
    put.

    `time` is in years, Q48; without any, 0. Never positive, at least `-MAX_VALUE`.
    """
    if time == 0:
        return 0
    density = compute_density_at(forward, strike, deviation)
    # density * deviation / (2 * time): from Q60 to Q48.
    decay = density * min(deviation, MAX_DEVIATION) >> 48
    rate = min(MAX_VALUE, (decay << 35) // min(time, MAX_TIME))
    return -min(MAX_VALUE, forward * rate >> 48)
