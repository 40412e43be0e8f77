"""The normal distribution: what the proof in normal.py takes for granted, and its accuracy."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

from deltaroll.protocol.constants import ONE
from deltaroll.protocol.normal import CERTAINTY, DENSITY_END, compute_cdf, compute_density
from deltaroll.protocol.tables import CDF_ROWS, get_cdf_row

STEP = 1 << 45
"""One interval of the table."""
END = len(CDF_ROWS) * STEP
POSITIVE_FROM = 31
"""First row whose coefficients the proof needs to be positive."""
SIZES = (63, 61, 57, 53, 48, 44, 40, 35, 30)
"""Bits of the values, as stated in normal.py and relied upon in engine/pricing.py."""
POINTS = 20_000
PRECISION = 140

anything = st.integers(-10 * ONE, 10 * ONE) | st.integers(-(1 << 254), 1 << 254)


def borders() -> list[int]:
    """First argument of every interval, 0 and the end included."""
    return [row * STEP for row in range(len(CDF_ROWS) + 2)]


def test_compute_cdf__every_border__does_not_fall():
    for border in borders():
        near = [compute_cdf(border + step) for step in range(-1_000, 1_000)]
        assert near == sorted(near)
        far = [compute_cdf(step - border) for step in range(-1_000, 1_000)]
        assert far == sorted(far)


def test_compute_cdf__consecutive_arguments_everywhere__do_not_fall():
    rng = Random(1)
    for row in range(len(CDF_ROWS)):
        start = row * STEP + rng.randrange(STEP)
        values = [compute_cdf(x) for x in range(start, start + 1_000)]
        assert values == sorted(values)


def test_get_cdf_row__coefficients_of_the_far_rows__are_positive():
    assert POSITIVE_FROM * STEP / ONE == 3.875
    for row in CDF_ROWS[POSITIVE_FROM:]:
        assert min(row) >= 0


def test_get_cdf_row__slope_of_the_near_rows__is_above_the_floors_noise():
    with mp.workprec(PRECISION):
        slope = mp.npdf(mpf(POSITIVE_FROM) / 8) * 2**-48 * 2**63
    assert slope > 7.1 > 2 * 3.1


def test_get_cdf_row__values_on_the_way__stay_within_their_sizes():
    for row in CDF_ROWS:
        bound = 0
        for power in range(8, 0, -1):
            bound += abs(row[power]) + 1
            assert bound < 1 << SIZES[power]
        assert row[0] + (bound >> 2) + 1 < 1 << SIZES[0]


def test_get_cdf_row__past_the_end__is_zero():
    assert get_cdf_row(len(CDF_ROWS)) == get_cdf_row(1 << 200) == (0,) * 9


@given(anything)
def test_compute_cdf__opposite_arguments__add_up_to_one(x: int):
    assert compute_cdf(x) + compute_cdf(-x) == CERTAINTY


@given(anything, anything)
def test_compute_cdf__larger_argument__does_not_fall(one: int, other: int):
    low, high = sorted((one, other))
    assert 0 <= compute_cdf(low) <= compute_cdf(high) <= CERTAINTY


def test_compute_cdf__middle_and_ends__are_exact():
    assert compute_cdf(0) == CERTAINTY // 2
    assert compute_cdf(END) == compute_cdf(1 << 254) == CERTAINTY
    assert compute_cdf(-END) == compute_cdf(-(1 << 254)) == 0


def test_compute_cdf__random_and_borders__errs_below_its_bound():
    rng = Random(2)
    points = [border + step for border in borders() for step in (-1, 0, 1)]
    points += [rng.randrange(-END - STEP, END + STEP) for _ in range(POINTS)]
    with mp.workprec(PRECISION):
        worst = max(abs(mpf(compute_cdf(x)) / CERTAINTY - mp.ncdf(mpf(x) / ONE)) for x in points)
    print(f"N: {float(worst):.2e}")
    assert worst < 1e-17


@given(anything)
def test_compute_density__opposite_arguments__agree(x: int):
    assert 0 <= compute_density(x) == compute_density(-x) < CERTAINTY * 2 // 5


def test_compute_density__random_and_end__errs_below_its_bound():
    rng = Random(3)
    points = [0, 1, DENSITY_END - 1, DENSITY_END, DENSITY_END + 1]
    points += [rng.randrange(DENSITY_END + STEP) for _ in range(POINTS)]
    with mp.workprec(PRECISION):
        worst = max(
            abs(mpf(compute_density(x)) / CERTAINTY - mp.npdf(mpf(x) / ONE)) for x in points
        )
    print(f"density: {float(worst):.2e}")
    assert worst < 4e-18
