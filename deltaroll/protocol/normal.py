"""The normal distribution in fixed point.

Arguments are Q48, probabilities and densities Q60.

The tail Q(x) = 1 - N(x) comes from a table: for every interval of 1/8 a polynomial of degree 8 in
the distance to the interval's right end, d = right - x, from 1 to 2^45 units of Q48. With
v = d / 2^45, so 0 < v <= 1, it is evaluated by Horner's rule on integers:

    y8 = c8,  y_i = c_i + floor(y_(i+1) * v),  i = 7 .. 0

c0 and y0 have 63 fractional bits, the others 65. Sizes: |y0| < 2^63, |y1| < 2^61, |y2| < 2^57,
|y3| < 2^53, |y4| < 2^48, |y5| < 2^44, |y6| < 2^40, |y7| < 2^35, |y8| < 2^30. In Solidity every
product is below 2^107; 64-bit words take them in parts. y8 is multiplied by the leading 33 bits of
d only, which is all that it can use.

N is monotone, and N(x) + N(-x) = 1 exactly:

- Symmetry holds by construction for x != 0, N(x) being 1 - Q(|x|) or Q(|x|), and at 0 because the
  first row is made so that Q(0) is 2^59, one half.
- At x >= 3.875 (row 31 and on) all coefficients are non-negative: c_i is, but for interpolation,
  density(right) * He_(i-1)(right) / i!, and no root of the Hermite polynomials up to He_7 lies
  beyond 3.7505. Then y_i grows with y_(i+1) and with d, by induction: the tail cannot rise with x.
- At x < 3.875 the density is above 2.18e-4, so one step of x, 2^-48, moves the polynomial by more
  than 2.18e-4 * 2^-48 * 2^63 = 7.1 units of y0. What floors can take from the exact value of the
  polynomial is at most 1 unit in the last step, 2^-2 in each of the seven before it (they have two
  more bits, and v <= 1), and 2^-2 for what d is cut by: below 3.1 units. So the tail falls with
  every step.
- From one interval to the next the tail does not rise either: constants are set so, row by row from
  the right (tools/tables.py), and a test looks at every border.
- Rounding from 63 bits to 60 is monotone, and so is the end of the table: Q is 0 from 9 on.
"""

from deltaroll.protocol.constants import ONE
from deltaroll.protocol.fixed import compute_exp_mantissa
from deltaroll.protocol.tables import INVERSE_ROOT_TWO_PI, get_cdf_row

CERTAINTY = 1 << 60
"""Probability 1."""
DENSITY_END = 37 * ONE // 4
"""From 9.25 on the density is 0: it is 0.12 units of Q60."""


def compute_cdf(x: int) -> int:
    """Return the probability, in Q60, of a value up to x, any integer in Q48.

    The error is below 1e-17.
    """
    distance = abs(x)
    # Past the end of the table the row is 0, and so is the tail.
    c0, c1, c2, c3, c4, c5, c6, c7, c8 = get_cdf_row(distance >> 45)
    # To the right end of the interval.
    distance = (1 << 45) - (distance & (1 << 45) - 1)
    value = c7 + (c8 * (distance >> 12) >> 33)
    value = c6 + (value * distance >> 45)
    value = c5 + (value * distance >> 45)
    value = c4 + (value * distance >> 45)
    value = c3 + (value * distance >> 45)
    value = c2 + (value * distance >> 45)
    value = c1 + (value * distance >> 45)
    value = c0 + (value * distance >> 47)
    tail = (value + 4) >> 3
    return tail if x < 0 else CERTAINTY - tail


def compute_density(x: int) -> int:
    """Return the density at x, any integer in Q48; in Q60, rounded down.

    The error is below 4e-18.
    """
    distance = abs(x)
    if distance >= DENSITY_END:
        return 0
    # -x^2 / 2, from Q96 to Q60.
    mantissa, shift = compute_exp_mantissa(-(distance * distance >> 37))
    return mantissa * INVERSE_ROOT_TWO_PI >> 60 - shift
