"""How exact, how fast and how dear one option price is.

`python -m benchmarks.pricing` prints the figures as JSON. The speed is CPU time of one core,
against float64 in the same run: the same formula by numpy, as exact as doubles allow.
"""

import json
import time
from collections.abc import Callable, Sequence
from math import exp
from random import Random
from typing import Any, NamedTuple, TypedDict

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

from deltaroll.engine import pricing
from deltaroll.protocol.black76 import compute_pair
from deltaroll.protocol.constants import ONE
from deltaroll.protocol.normal import CERTAINTY, compute_cdf
from deltaroll.protocol.tables import CDF_ROWS

POINTS = 20_000
PRECISION = 110
"""Bits of the reference, 33 digits."""
FORWARD = 1 << 56
"""So fine that rounding is no part of the error, and strikes of 100 times as much still fit."""
PRICES = 200_000
ROUNDS = 7

HART_NUMERATOR = (
    3.52624965998911e-02,
    0.700383064443688,
    6.37396220353165,
    33.912866078383,
    112.079291497871,
    221.213596169931,
    220.206867912376,
)
HART_DENOMINATOR = (
    8.83883476483184e-02,
    1.75566716318264,
    16.064177579207,
    86.7807322029461,
    296.564248779674,
    637.333633378831,
    793.826512519948,
    440.413735824752,
)
"""Hart's rational function for the normal tail (1968), as on-chain libraries use it too."""

Floats = NDArray[np.float64]
Price = Callable[[int, int, int], tuple[int, int, int]]
"""Call, put and gas for forward, strike and deviation."""


class Figures(TypedDict):
    """What `measure_pricing` returns."""

    cdf_max_error: float
    """Absolute, of the normal distribution."""
    price_max_error: float
    """Parts of the forward: strikes of 0.01 to 100 forwards, deviations up to 6."""
    pair_ns: float
    """A call and a put together, by numpy in integers, CPU time."""
    float_pair_ns: float
    """The same by numpy in float64."""
    pair_over_float: float
    protocol_pair_ns: float
    """The same by the protocol's Python."""


class Speed(NamedTuple):
    """CPU nanoseconds for a call and a put."""

    integers: float
    floats: float
    protocol: float


def measure_cdf_error() -> float:
    """Return the largest error over random arguments and all borders of the table."""
    rng = Random(1)
    step = ONE >> 3
    points = [row * step + near for row in range(len(CDF_ROWS) + 1) for near in (-1, 0, 1)]
    points += [rng.randrange(-10 * ONE, 10 * ONE) for _ in range(POINTS)]
    with mp.workprec(PRECISION):
        return max(
            float(abs(mpf(compute_cdf(x)) / CERTAINTY - mp.ncdf(mpf(x) / ONE))) for x in points
        )


def measure_price_error() -> float:
    """Return the largest error of a call's price, parts of the forward."""
    rng = Random(2)
    worst = 0.0
    with mp.workprec(PRECISION):
        root = mp.sqrt(2)
        for _ in range(POINTS):
            spread = rng.gauss(0, 0.3) if rng.random() < 0.5 else rng.uniform(-4.605, 4.605)
            strike = int(FORWARD * exp(spread))
            units = max(1, rng.randrange(6 * ONE) >> rng.randrange(10))
            deviation = mpf(units) / ONE
            d1 = mp.log(mpf(FORWARD) / strike) / deviation + deviation / 2
            exact = (FORWARD * mp.erfc(-d1 / root) - strike * mp.erfc((deviation - d1) / root)) / 2
            error = abs(compute_pair(FORWARD, strike, units)[0] - exact) / FORWARD
            worst = max(worst, float(error))
    return worst


def compute_float_cdf(x: Floats) -> Floats:
    """Return the normal distribution in float64."""
    distance = np.minimum(np.abs(x), 7.07)
    above = np.full_like(x, HART_NUMERATOR[0])
    for coefficient in HART_NUMERATOR[1:]:
        above *= distance
        above += coefficient
    below = np.full_like(x, HART_DENOMINATOR[0])
    for coefficient in HART_DENOMINATOR[1:]:
        below *= distance
        below += coefficient
    tail: Floats = np.exp(distance * distance * -0.5) * above / below
    return np.where(x > 0, 1 - tail, tail)


def compute_float_pair(forward: Floats, strike: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """Return calls and puts in float64."""
    d1 = np.log(forward / strike) / deviation + deviation / 2
    call = forward * compute_float_cdf(d1) - strike * compute_float_cdf(d1 - deviation)
    return call, call - forward + strike


def run_in_pieces(function: Callable[..., Any], *columns: NDArray[Any]) -> list[NDArray[Any]]:
    """Call a function of arrays piece by piece, as `deltaroll.engine.pricing` does."""
    pieces = [
        function(*(column[start : start + pricing.CHUNK] for column in columns))
        for start in range(0, len(columns[0]), pricing.CHUNK)
    ]
    return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


def time_least(work: Callable[[], object]) -> float:
    """Return the CPU seconds of the quickest round."""
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return min(spent)


def measure_speed() -> Speed:
    """Return nanoseconds for a call and a put, once both ways agree."""
    rng = np.random.default_rng(3)
    forwards = rng.integers(10**10, 10**12, PRICES)
    strikes = (forwards * rng.uniform(0.5, 2, PRICES)).astype(np.int64)
    deviations = rng.integers(ONE // 100, ONE, PRICES)
    integers = (forwards, strikes, deviations)
    floats = (forwards.astype(float), strikes.astype(float), deviations / ONE)
    calls = pricing.compute_call(*integers)
    difference = np.abs(run_in_pieces(compute_float_pair, *floats)[0] - calls) / forwards
    if difference.max() > 1e-10:
        raise AssertionError("integers and floats come to different prices")
    rows = list(zip(*(column[: PRICES // 20].tolist() for column in integers), strict=True))
    return Speed(
        time_least(lambda: pricing.compute_pair(*integers)) / PRICES * 1e9,
        time_least(lambda: run_in_pieces(compute_float_pair, *floats)) / PRICES * 1e9,
        time_least(lambda: [compute_pair(*row) for row in rows]) / len(rows) * 1e9,
    )


def measure_price_gas(price: Price, deviations: Sequence[int] = (ONE // 20, ONE // 5, ONE)) -> int:
    """Return the most gas that `computePair` takes, `Black76Harness.pair` being the price.

    Strikes run from 0.5 to 2 forwards. A price takes as many steps everywhere, but for the row of
    the table that it looks up.
    """
    forward = 10**12
    return max(
        price(forward, forward * percent // 100, deviation)[2]
        for deviation in deviations
        for percent in range(50, 201, 10)
    )


def measure_pricing() -> Figures:
    """Return all figures but the gas."""
    speed = measure_speed()
    return Figures(
        cdf_max_error=measure_cdf_error(),
        price_max_error=measure_price_error(),
        pair_ns=speed.integers,
        float_pair_ns=speed.floats,
        pair_over_float=speed.integers / speed.floats,
        protocol_pair_ns=speed.protocol,
    )


if __name__ == "__main__":
    print(json.dumps(measure_pricing(), indent=1))
