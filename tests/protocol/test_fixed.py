"""Logarithm, exponential and roots against mpmath, to parts of a unit."""

from math import isqrt
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from deltaroll.protocol.constants import ONE
from deltaroll.protocol.fixed import (
    MAX_EXPONENT,
    MAX_VALUE,
    MIN_EXPONENT,
    compute_exp,
    compute_exp_mantissa,
    compute_fine_log_ratio,
    compute_ln,
    compute_log_ratio,
    compute_power,
    compute_sqrt,
    multiply_down,
)

LIMIT = 1 << 64
PRECISION = 200
"""Bits of the reference."""
POINTS = 5_000

numbers = st.integers(1, LIMIT - 1)
words = st.integers(0, (1 << 256) - 1)
values = settings(max_examples=300, deadline=None, derandomize=True)


def edges(rng: Random) -> list[int]:
    """Numbers around every power of two and every change of the logarithm's centre."""
    near = [(1 << length) + step for length in range(64) for step in (-2, -1, 0, 1, 2)]
    between = [(eighths << 48) + rng.randrange(-2, 3) for eighths in range(8, 17)]
    wide = [rng.getrandbits(rng.randrange(1, 65)) for _ in range(POINTS)]
    return [value for value in near + between + wide if 0 < value < LIMIT] + [LIMIT - 1]


def test_multiply_down__negative_product__rounds_down():
    assert multiply_down(-1, 1) == -1
    assert multiply_down(-ONE, 3 * ONE) == -3 * ONE
    assert multiply_down(ONE - 1, ONE - 1) == ONE - 2


def test_compute_ln__edges_and_random__errs_below_three_quarters_of_a_unit():
    with mp.workprec(PRECISION):
        worst = max(abs(compute_ln(value) - mp.log(value) * ONE) for value in edges(Random(1)))
    print(f"ln: {float(worst):.3f} units")
    assert worst < 0.75


def test_compute_fine_log_ratio__edges_and_random__errs_below_its_bound():
    rng = Random(2)
    numerators = edges(rng)
    denominators = rng.sample(numerators, len(numerators))
    close = [
        (value, min(LIMIT - 1, max(1, value * rng.randrange(400, 2_500) // 1_000)))
        for value in numerators
    ]
    with mp.workprec(PRECISION):
        worst = max(
            abs(compute_fine_log_ratio(above, below) - mp.log(mpf(above) / below) * (1 << 56))
            for above, below in [*zip(numerators, denominators, strict=True), *close]
        )
    print(f"log ratio: {float(worst):.1f} units of Q56")
    assert worst < 64


@given(numbers)
def test_compute_log_ratio__equal__is_zero(value: int):
    assert compute_fine_log_ratio(value, value) == compute_log_ratio(value, value) == 0


@given(numbers, numbers, numbers)
def test_compute_log_ratio__larger_numerator__falls_by_a_unit_at_most(
    one: int, other: int, denominator: int
):
    low, high = sorted((one, other))
    assert compute_log_ratio(low, denominator) <= compute_log_ratio(high, denominator) + 1


def test_compute_log_ratio__whole_range__stays_within_45():
    assert compute_log_ratio(LIMIT - 1, 1) == -compute_log_ratio(1, LIMIT - 1)
    assert 44 * ONE < compute_log_ratio(LIMIT - 1, 1) < 45 * ONE


def test_compute_exp_mantissa__range__is_close_and_bounded():
    rng = Random(3)
    with mp.workprec(PRECISION):
        for _ in range(POINTS):
            exponent = rng.randrange(-(1 << 67), 1 << 67)
            mantissa, shift = compute_exp_mantissa(exponent)
            exact = mp.exp(mpf(exponent) / (1 << 60) - shift * mp.ln(2))
            assert 0.70 < mantissa / (1 << 60) < 1.42
            # For each doubling, ln(2) itself is off by a part of a unit.
            assert abs(mantissa / exact - (1 << 60)) < 8 + abs(shift) / 2


def test_compute_exp__below_one__is_rounded_to_nearest():
    rng = Random(4)
    with mp.workprec(PRECISION):
        worst = max(
            abs(compute_exp(exponent) - mp.exp(mpf(exponent) / ONE) * ONE)
            for exponent in (rng.randrange(2 * MIN_EXPONENT, 1) for _ in range(POINTS))
        )
    print(f"exp: {float(worst):.4f} units")
    assert worst < 0.501


def test_compute_exp__above_one__errs_below_its_bound():
    rng = Random(5)
    with mp.workprec(PRECISION):
        for _ in range(POINTS):
            exponent = rng.randrange(MAX_EXPONENT)
            exact = mp.exp(mpf(exponent) / ONE) * ONE
            assert abs(compute_exp(exponent) - exact) < exact / ONE


def test_compute_exp__ends_of_the_range__saturate():
    assert compute_exp(0) == ONE
    assert compute_exp(MIN_EXPONENT - 1) == compute_exp(-(1 << 200)) == 0
    assert compute_exp(MIN_EXPONENT) == 0
    assert compute_exp(MIN_EXPONENT + ONE // 10) == 1
    assert compute_exp(MAX_EXPONENT) == compute_exp(1 << 200) == MAX_VALUE
    assert MAX_VALUE - (1 << 18) < compute_exp(MAX_EXPONENT - 1) <= MAX_VALUE


@given(st.integers(MIN_EXPONENT - ONE, MAX_EXPONENT + ONE), st.integers(0, ONE))
def test_compute_exp__larger_exponent__falls_by_parts_of_the_bound_at_most(low: int, step: int):
    before, after = compute_exp(low), compute_exp(low + step)
    assert before <= after + (after >> 48)


@values
@given(words)
def test_compute_sqrt__any_word__is_the_floor(value: int):
    assert compute_sqrt(value) == isqrt(value)


@values
@given(st.integers(0, (1 << 128) - 1))
def test_compute_sqrt__around_squares__is_the_floor(root: int):
    assert compute_sqrt(root * root) == root
    assert compute_sqrt(root * root + 2 * root) == root


def test_compute_sqrt__least_values__is_the_floor():
    assert [compute_sqrt(value) for value in range(1_000)] == [
        isqrt(value) for value in range(1_000)
    ]


@given(numbers)
def test_compute_power__no_exponent__is_one(base: int):
    assert compute_power(base, 0) == ONE


def test_compute_power__random__errs_below_its_bound():
    rng = Random(6)
    worst = 0.0
    with mp.workprec(PRECISION):
        for _ in range(POINTS):
            base = rng.randrange(1, 100 * ONE)
            exponent = rng.randrange(-2 * ONE, 2 * ONE)
            exact = (mpf(base) / ONE) ** (mpf(exponent) / ONE) * ONE
            if not ONE >> 20 < exact < MAX_VALUE:
                continue
            bound = exact * (abs(mpf(exponent)) / ONE + 2) / ONE + 0.5
            worst = max(worst, float(abs(compute_power(base, exponent) - exact) / bound))
    print(f"power: {worst:.3f} of the bound")
    assert worst < 1
