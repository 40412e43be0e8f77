"""The mathematics over arrays comes to the protocol's bits."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from deltaroll.engine import pricing
from deltaroll.protocol import black76, fixed, normal
from deltaroll.protocol.black76 import MAX_DEVIATION, MAX_ROOT_TIME, MAX_TIME
from deltaroll.protocol.constants import ONE
from deltaroll.protocol.fixed import MAX_EXPONENT, MAX_VALUE, MIN_EXPONENT
from deltaroll.protocol.tables import CDF_ROWS

CASES = 20_000
WORD = 1 << 64
STEP = 1 << 45

Column = list[int]


def number(rng: Random, bits: int) -> int:
    """A number of any length."""
    return rng.getrandbits(rng.randrange(bits + 1))


def numbers(rng: Random, bits: int, *edges: int) -> Column:
    """Numbers of any length, among them all edges."""
    return [*edges, *(number(rng, bits) for _ in range(CASES - len(edges)))]


def mix(rng: Random, column: Column) -> Column:
    """The column in another order."""
    return rng.sample(column, len(column))


def check(
    reference: Callable[..., Any], function: Callable[..., Any], *columns: Column, kind: type = int
) -> None:
    """Compare a function over columns with the protocol's, row by row."""
    found = function(*(np.array(column, kind) for column in columns))
    results = found if isinstance(found, tuple) else (found,)
    for row, arguments in enumerate(zip(*columns, strict=True)):
        expected = reference(*arguments)
        values = expected if isinstance(expected, tuple) else (expected,)
        assert values == tuple(int(result[row]) for result in results), arguments


def positive(rng: Random) -> Column:
    """Something to take logarithms of."""
    edges = [(1 << length) + step for length in range(64) for step in (-1, 0, 1)]
    return [max(1, value) for value in numbers(rng, 64, *edges, WORD - 1)]


def options(rng: Random) -> tuple[Column, Column, Column]:
    """Forwards, strikes and deviations: any, edges, and near each other."""
    forwards = numbers(rng, 63, 0, 1, 2, MAX_VALUE - 1, MAX_VALUE)
    strikes = mix(rng, forwards)
    for row in range(0, CASES, 2):
        near = forwards[row] * rng.randrange(1, 40_000) // 10_000 + rng.randrange(-2, 3)
        strikes[row] = min(MAX_VALUE, max(0, near))
    deviations = mix(rng, numbers(rng, 63, 0, 1, MAX_DEVIATION, MAX_DEVIATION + 1, MAX_VALUE))
    for row in range(0, CASES, 3):
        deviations[row] = rng.randrange(6 * ONE) >> rng.randrange(12)
    return forwards, strikes, deviations


def test_compute_log_ratio__random_and_edges__is_the_protocols():
    rng = Random(1)
    above = positive(rng)
    check(
        fixed.compute_log_ratio, pricing.compute_log_ratio, above, mix(rng, above), kind=np.uint64
    )
    near = [min(WORD - 1, max(1, value * rng.randrange(400, 2_500) // 1_000)) for value in above]
    check(fixed.compute_log_ratio, pricing.compute_log_ratio, above, near, kind=np.uint64)


def test_compute_log_ratio__quotients_that_are_guessed_too_high__is_the_protocols():
    # A small leading half with a large rest below it, and dividends next to it.
    rng = Random(2)
    below = [
        (1 << 31 | rng.randrange(4)) << 32 | (1 << 32) - rng.randrange(1, 8) for _ in range(CASES)
    ]
    above = [
        value + rng.choice((-1, 1, -(1 << 31), -(1 << 32), -rng.getrandbits(62))) for value in below
    ]
    check(fixed.compute_log_ratio, pricing.compute_log_ratio, above, below, kind=np.uint64)


def test_compute_ln__random_and_edges__is_the_protocols():
    check(fixed.compute_ln, pricing.compute_ln, positive(Random(3)), kind=np.uint64)


def test_compute_exp__random_and_edges__is_the_protocols():
    rng = Random(4)
    edges = [edge + step for edge in (0, MIN_EXPONENT, MAX_EXPONENT) for step in range(-3, 4)]
    spread = [rng.randrange(-36 * ONE, 11 * ONE) for _ in range(CASES)]
    wide = [number(rng, 63) - number(rng, 63) for _ in range(CASES)]
    check(fixed.compute_exp, pricing.compute_exp, edges + spread + wide)


def test_compute_sqrt__random_and_edges__is_the_protocols():
    rng = Random(5)
    roots = numbers(rng, 32, *range(100), (1 << 32) - 1)
    squares = [max(0, root * root + rng.choice((-1, 0, 1))) for root in roots]
    check(fixed.compute_sqrt, pricing.compute_sqrt, squares + positive(rng), kind=np.uint64)


def test_compute_power__random_and_edges__is_the_protocols():
    rng = Random(6)
    bases = positive(rng)
    exponents = mix(rng, [value - WORD // 2 for value in bases])
    for row in range(0, CASES, 2):
        exponents[row] = rng.randrange(-2 * ONE, 2 * ONE)
    found = pricing.compute_power(np.array(bases, np.uint64), np.array(exponents))
    for base, exponent, value in zip(bases, exponents, found.tolist(), strict=True):
        assert value == fixed.compute_power(base, exponent), (base, exponent)


@pytest.mark.parametrize("name", ["compute_cdf", "compute_density"])
def test_compute_normal__random_and_borders__is_the_protocols(name: str):
    rng = Random(7)
    rows = range(-len(CDF_ROWS) - 3, len(CDF_ROWS) + 4)
    borders = [row * STEP + step for row in rows for step in range(-3, 4)]
    spread = [rng.randrange(-10 * ONE, 10 * ONE) for _ in range(CASES)]
    ends = [-MAX_VALUE - 1, -MAX_VALUE, MAX_VALUE]
    check(getattr(normal, name), getattr(pricing, name), borders + spread + ends)


@pytest.mark.parametrize(
    "name", ["compute_pair", "compute_call", "compute_put", "compute_delta", "compute_gamma"]
)
def test_compute_price__random_and_edges__is_the_protocols(name: str):
    check(getattr(black76, name), getattr(pricing, name), *options(Random(8)))


@pytest.mark.parametrize("name", ["compute_vega", "compute_theta"])
def test_compute_greek__random_and_edges__is_the_protocols(name: str):
    rng = Random(9)
    edges = (0, 1, MAX_ROOT_TIME, MAX_ROOT_TIME + 1, MAX_TIME, MAX_TIME + 1, MAX_VALUE)
    times = mix(rng, numbers(rng, 63, *edges))
    check(getattr(black76, name), getattr(pricing, name), *options(rng), times)


def test_compute_pair__shapes_that_broadcast__keep_their_shape():
    forwards = np.array([[10**9], [2 * 10**9]])
    strikes = np.array([10**9, 11 * 10**8, 3 * 10**9])
    calls, puts = pricing.compute_pair(forwards, strikes, ONE // 2)
    assert calls.shape == puts.shape == (2, 3)
    assert calls[1, 2] == black76.compute_call(2 * 10**9, 3 * 10**9, ONE // 2)
    assert pricing.compute_call(10**9, 10**9, ONE).shape == ()
    assert pricing.compute_call(forwards[:0], 10**9, ONE).shape == (0, 1)


def test_compute_pair__more_than_a_chunk__joins_the_pieces():
    count = 2 * pricing.CHUNK + 1
    forwards = np.arange(10**9, 10**9 + count)
    calls = pricing.compute_call(forwards, 10**9, ONE // 8)
    for row in (0, pricing.CHUNK - 1, pricing.CHUNK, count - 1):
        assert calls[row] == black76.compute_call(10**9 + row, 10**9, ONE // 8)
