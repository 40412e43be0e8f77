"""The mathematics in Solidity comes to Python's bits, within its budget of gas."""

from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any

import pytest

from deltaroll.protocol import black76, fixed, normal
from deltaroll.protocol.constants import ONE
from deltaroll.protocol.fixed import MAX_EXPONENT, MIN_EXPONENT
from deltaroll.protocol.tables import CDF_ROWS
from tests.protocol.evm import Contract

CASES = 3_000
MAX_PRICE = (1 << 63) - 1
STEP = 1 << 45
GAS = {
    "logRatio": 530,
    "exp": 550,
    "sqrt": 350,
    "cdf": 580,
    "density": 460,
    "pair": 2_000,
    "delta": 1_350,
    "gamma": 1_400,
    "vega": 1_350,
    "theta": 1_550,
}
"""Most that a call of each function may take: the call itself, in another contract's code."""


@cache
def harness() -> Contract:
    """The functions at work."""
    return Contract("Black76Harness")


def number(rng: Random, bits: int) -> int:
    """A number of any length."""
    return rng.getrandbits(rng.randrange(bits + 1))


def prices(rng: Random) -> tuple[int, int]:
    """A forward and a strike: any, edges, or near each other."""
    edges = (0, 1, 2, MAX_PRICE - 1, MAX_PRICE)
    forward = rng.choice(edges) if rng.random() < 0.1 else number(rng, 63)
    match rng.randrange(6):
        case 0:
            strike = rng.choice(edges)
        case 1:
            strike = number(rng, 63)
        case 2:
            strike = forward + rng.randrange(-2, 3)
        case _:
            strike = forward * rng.randrange(1, 40_000) // 10_000
    return forward, min(MAX_PRICE, max(0, strike))


def deviation(rng: Random) -> int:
    """A deviation: usual, any, or an edge."""
    match rng.randrange(6):
        case 0:
            return rng.choice((0, 1, black76.MAX_DEVIATION, black76.MAX_DEVIATION + 1, 1 << 255))
        case 1:
            return number(rng, 64)
        case _:
            return rng.randrange(6 * ONE) >> rng.randrange(12)


def positive(rng: Random) -> int:
    """Something to take a logarithm of."""
    return rng.choice((1, 2, 3, (1 << 64) - 1, ONE)) if rng.random() < 0.1 else 1 | number(rng, 64)


def argument(rng: Random) -> int:
    """Something to take the distribution of."""
    if rng.random() < 0.5:
        return rng.randrange(-10 * ONE, 10 * ONE)
    border = rng.randrange(-len(CDF_ROWS) - 3, len(CDF_ROWS) + 4) * STEP
    return border + rng.randrange(-3, 4)


def exponent(rng: Random) -> int:
    """Something to raise e to."""
    edge = rng.choice((0, MIN_EXPONENT, MAX_EXPONENT)) + rng.randrange(-3, 4)
    return edge if rng.random() < 0.1 else rng.randrange(-36 * ONE, 11 * ONE)


def option(rng: Random) -> tuple[int, int, int]:
    """Forward, strike and deviation."""
    return (*prices(rng), deviation(rng))


def valid_option(rng: Random) -> tuple[int, int, int]:
    """Forward, strike and deviation that have moments."""
    arguments = (max(1, value) for value in prices(rng))
    return (*arguments, min(black76.MAX_DEVIATION, max(1, deviation(rng))))


Twin = tuple[Callable[..., Any], Callable[[Random], tuple[int, ...]]]
TWINS: dict[str, Twin] = {
    "multiply": (fixed.multiply_down, lambda rng: (exponent(rng), exponent(rng))),
    "logRatio": (fixed.compute_log_ratio, lambda rng: (positive(rng), positive(rng))),
    "ln": (fixed.compute_ln, lambda rng: (positive(rng),)),
    "expMantissa": (
        fixed.compute_exp_mantissa,
        lambda rng: (rng.randrange(-1 << 67, 1 << 67),),
    ),
    "exp": (fixed.compute_exp, lambda rng: (exponent(rng),)),
    "sqrt": (fixed.compute_sqrt, lambda rng: (number(rng, 256),)),
    "power": (fixed.compute_power, lambda rng: (positive(rng), number(rng, 127) - number(rng, 60))),
    "cdf": (normal.compute_cdf, lambda rng: (argument(rng),)),
    "density": (normal.compute_density, lambda rng: (argument(rng),)),
    "moments": (black76.compute_moments, valid_option),
    "pair": (black76.compute_pair, option),
    "callPrice": (black76.compute_call, option),
    "putPrice": (black76.compute_put, option),
    "delta": (black76.compute_delta, option),
    "densityAt": (black76.compute_density_at, option),
    "gamma": (black76.compute_gamma, option),
    "vega": (black76.compute_vega, lambda rng: (*option(rng), number(rng, 64))),
    "theta": (black76.compute_theta, lambda rng: (*option(rng), number(rng, 64))),
}


def run(name: str, *arguments: int) -> tuple[Any, int]:
    """What a function of the harness returns, and the gas it took (0 if it does not say)."""
    result = harness().call(name, *arguments)
    plain = name in ("expMantissa", "moments") or not isinstance(result, tuple)
    if plain:
        return result, 0
    *values, gas = result
    return values[0] if len(values) == 1 else tuple(values), gas


def compare(name: str, cases: int) -> int:
    """Compare a function's twins; return the most gas that a call took."""
    function, draw = TWINS[name]
    rng = Random(name)
    worst = 0
    for _ in range(cases):
        arguments = draw(rng)
        found, gas = run(name, *arguments)
        assert found == function(*arguments), arguments
        worst = max(worst, gas)
    return worst


@pytest.mark.parametrize("name", sorted(TWINS.keys() - GAS.keys()))
def test_compute_anything__random_and_edges__twins_agree(name: str):
    compare(name, CASES)


@pytest.mark.parametrize("name", GAS)
def test_compute_anything__random_and_edges__twins_agree_within_budget(name: str):
    worst = compare(name, CASES)
    print(f"{name}: {worst} gas")
    assert worst <= GAS[name]


@pytest.mark.parametrize("name", GAS)
def test_compute_anything__fewer_cases_whatever_gas__twins_agree(name: str):
    compare(name, CASES // 5)


def test_compute_sqrt__around_squares_of_any_length__twins_agree():
    rng = Random(1)
    roots = [number(rng, 128) for _ in range(300)] + [0, 1, 2, (1 << 128) - 1]
    roots += [(1 << length) - step for length in range(1, 129) for step in (0, 1)]
    for root in roots:
        for value in {root * root, max(0, root * root - 1), root * root + root}:
            if value < 1 << 256:
                assert run("sqrt", value)[0] == fixed.compute_sqrt(value)


def neighbours() -> Iterator[int]:
    """Arguments around every border of the table."""
    for row in range(-len(CDF_ROWS) - 2, len(CDF_ROWS) + 3):
        for step in (-1, 0, 1):
            yield row * STEP + step


def test_compute_cdf__every_border__twins_agree():
    for x in neighbours():
        assert run("cdf", x)[0] == normal.compute_cdf(x)


def test_compute_cdf__ends_of_the_word__twins_agree():
    for x in ((1 << 255) - 1, -(1 << 255) + 1):
        assert run("cdf", x)[0] == normal.compute_cdf(x)
        assert run("density", x)[0] == normal.compute_density(x)


@pytest.mark.parametrize("length", [70, 100, 116, 127, 128, 200, 244, 254, 255])
def test_compute_exp__far_beyond_its_range__twins_agree(length: int):
    for exponent in ((1 << length) - 1, -(1 << length), 1 - (1 << length) // 3):
        assert run("exp", exponent)[0] == fixed.compute_exp(exponent)
