"""Logarithm, exponential and roots in binary fixed point.

Values are Q48: integers that stand for value / 2^48. Every function is a fixed sequence of integer
operations, so that any language comes to the same bits; `deltaroll/engine/pricing.py` does it in
64-bit words. No function raises inside its domain, and none can overflow 256 bits.
"""

from deltaroll.protocol.constants import ONE
from deltaroll.protocol.tables import (
    EXP_0,
    EXP_1,
    EXP_2,
    EXP_3,
    EXP_4,
    EXP_5,
    EXP_6,
    EXP_7,
    EXP_8,
    EXP_9,
    EXP_10,
    EXP_11,
    INVERSE_LN_TWO,
    LN_0,
    LN_1,
    LN_2,
    LN_3,
    LN_4,
    LN_CENTRE_WORD,
    LN_TWO_56,
    LN_TWO_60,
)

MAX_VALUE = (1 << 63) - 1
"""Largest value that comes out: results saturate here, below 2^15 in Q48."""
MIN_EXPONENT = -34 * ONE
"""Least exponent worth computing: e^-34 is 0.48 units."""
MAX_EXPONENT = (15 * LN_TWO_56 >> 8) + 1
"""From here on, 15 * ln(2) or 10.397, e^x is 2^15 or more."""


def multiply_down(left: int, right: int) -> int:
    """Return the product of two Q48 values, rounded towards minus infinity."""
    return left * right >> 48


def compute_fine_log_ratio(numerator: int, denominator: int) -> int:
    """Return ln(numerator / denominator) in Q56; both from 1 to 2^64 - 1.

    The error is below 2^-50, and 0 where they are equal.
    """
    # numerator / denominator = m * 2^e, where m is cut to 53 bits, Q52, and at least 1.
    quotient = (numerator << 128) // denominator
    length = quotient.bit_length()
    mantissa = quotient >> length - 53
    # ln(m) = ln(c) + 2 * atanh(z) of the nearest quarter c, where z = (m - c) / (m + c). That is
    # |z| <= 1 / 17. It is in Q54, below 2^50, and its square in Q54, below 2^46.
    quarters = (mantissa + (1 << 49)) >> 50
    centre = quarters << 50
    root = (abs(mantissa - centre) << 54) // (mantissa + centre)
    square = root * root >> 54
    # A coefficient and what is added to it have 8 fractional bits less for each power of the
    # square, and the square is cut to what the product can use.
    value = LN_3 + (LN_4 * (square >> 2) >> 44)
    value = LN_2 + (value * (square >> 11) >> 35)
    value = LN_1 + (value * square >> 46)
    value = LN_0 + (value * square >> 46)
    # Twice Q54 * Q54 in Q56.
    fraction = root * value >> 51
    if mantissa < centre:
        fraction = -fraction
    centre_ln = LN_CENTRE_WORD >> 64 * (8 - quarters) & (1 << 64) - 1
    return (length - 129) * LN_TWO_56 + centre_ln + fraction


def compute_log_ratio(numerator: int, denominator: int) -> int:
    """Return ln(numerator / denominator) in Q48, rounded to nearest; both from 1 to 2^64 - 1.

    The error is below 0.75 units.
    """
    return (compute_fine_log_ratio(numerator, denominator) + 128) >> 8


def compute_ln(value: int) -> int:
    """Return the natural logarithm in Q48 of an integer from 1 to 2^64 - 1, not itself in Q48."""
    return compute_log_ratio(value, 1)


def compute_exp_mantissa(exponent: int) -> tuple[int, int]:
    """Return m in Q60 and n such that m * 2^n is e to an exponent in Q60.

    The mantissa is between 0.70 and 1.42, its relative error below 2^-57. Exponents from -2^67 to
    2^67, 128 either way.
    """
    # exponent = n * ln(2) + rest, and n needs no more than the exponent's first 24 fractional bits.
    shift = ((exponent >> 36) * INVERSE_LN_TWO + (1 << 47)) >> 48
    # |rest| < 0.3466 * 2^60.
    rest = exponent - shift * LN_TWO_60
    mantissa = EXP_10 + (EXP_11 * rest >> 60)
    mantissa = EXP_9 + (mantissa * rest >> 60)
    mantissa = EXP_8 + (mantissa * rest >> 60)
    mantissa = EXP_7 + (mantissa * rest >> 60)
    mantissa = EXP_6 + (mantissa * rest >> 60)
    mantissa = EXP_5 + (mantissa * rest >> 60)
    mantissa = EXP_4 + (mantissa * rest >> 60)
    mantissa = EXP_3 + (mantissa * rest >> 60)
    mantissa = EXP_2 + (mantissa * rest >> 60)
    mantissa = EXP_1 + (mantissa * rest >> 60)
    mantissa = EXP_0 + (mantissa * rest >> 60)
    return mantissa, shift


def compute_exp(exponent: int) -> int:
    """Return e to an exponent in Q48, any integer; itself in Q48, rounded to nearest.

    0 below -34, where it is less than half a unit; at most `MAX_VALUE`. The relative error is below
    2^-48, that of the exponent's own unit being as large.
    """
    if exponent < MIN_EXPONENT:
        return 0
    if exponent >= MAX_EXPONENT:
        return MAX_VALUE
    mantissa, shift = compute_exp_mantissa(exponent << 12)
    # Q60 to Q48, with a bit to spare because n may be as large as 15.
    return min(MAX_VALUE, ((mantissa << 4 >> 15 - shift) + 1) >> 1)


def compute_sqrt(value: int) -> int:
    """Return the square root of an integer from 0 to 2^256 - 1, rounded down."""
    if value == 0:
        return 0
    # Newton's steps come down from a power of two above the root, and end at its floor.
    root = 1 << (value.bit_length() + 1) // 2
    while (lower := (root + value // root) >> 1) < root:
        root = lower
    return root


def compute_power(base: int, exponent: int) -> int:
    """Return base to an exponent, all in Q48: base from 1 to 2^64 - 1, exponent within 2^127.

    That is e to ln(base) * exponent, saturating as `compute_exp` does. The relative error is below
    2^-48 times the exponent, plus 2^-47.
    """
    return compute_exp(multiply_down(compute_log_ratio(base, ONE), exponent))
