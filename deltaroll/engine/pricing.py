"""The protocol's mathematics over arrays, bit for bit that of `deltaroll/protocol`.

Functions have the names, formats and domains of fixed.py, normal.py and black76.py, take arrays (or
numbers) that broadcast together, and return arrays. Everything is 64-bit integers: where the
protocol multiplies or divides wider numbers, the parts are handled one by one, with floors nested:
floor(floor(a / m) / n) = floor(a / (m * n)). Work is done in pieces that stay in the cache.

Arguments outside their domains give arbitrary results, never an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deltaroll.protocol import tables
from deltaroll.protocol.black76 import MAX_DEVIATION, MAX_ROOT_TIME, MAX_TIME
from deltaroll.protocol.constants import ONE
from deltaroll.protocol.fixed import MAX_EXPONENT, MAX_VALUE, MIN_EXPONENT
from deltaroll.protocol.normal import CERTAINTY, DENSITY_END

Signed = NDArray[np.int64]
Unsigned = NDArray[Any]
"""Of uint64, which numpy's type stubs do not follow through operations with Python's integers."""
Function = Callable[..., Any]

CHUNK = 8192
"""Elements handled at once: a temporary is 64 KiB."""
LOW_32 = (1 << 32) - 1
LOW_30 = (1 << 30) - 1
LOW_28 = (1 << 28) - 1
LOW_23 = (1 << 23) - 1
LOW_22 = (1 << 22) - 1
LOW_15 = (1 << 15) - 1
DE_BRUIJN = 0x03F79D71B4CB0A89
"""Times this, 2^n - 1 has another leading six bits for every n from 1 to 64."""


def _make_lengths() -> Signed:
    lengths = np.zeros(64, np.int64)
    for length in range(1, 65):
        lengths[((1 << length) - 1) * DE_BRUIJN % (1 << 64) >> 58] = length
    return lengths


LENGTHS = _make_lengths()
CENTRES = np.array(
    [tables.LN_CENTRE_WORD >> 64 * (8 - quarters) & (1 << 64) - 1 for quarters in range(4, 9)],
    np.int64,
)
CDF_COLUMNS = [np.array([*column, 0], np.int64) for column in zip(*tables.CDF_ROWS, strict=True)]
"""Coefficients by power; the last row is that past the end of the table."""
EXP_COEFFICIENTS = (
    tables.EXP_10,
    tables.EXP_9,
    tables.EXP_8,
    tables.EXP_7,
    tables.EXP_6,
    tables.EXP_5,
    tables.EXP_4,
    tables.EXP_3,
    tables.EXP_2,
    tables.EXP_1,
    tables.EXP_0,
)


def compute_log_ratio(numerator: ArrayLike, denominator: ArrayLike) -> Signed:
    """Return ln(numerator / denominator) in Q48; both from 1 to 2^64 - 1."""
    return _run(_log_ratio, (np.int64,), _unsigned(numerator), _unsigned(denominator))[0]


def compute_ln(value: ArrayLike) -> Signed:
    """Return the natural logarithm in Q48 of integers from 1 to 2^64 - 1."""
    return compute_log_ratio(value, 1)


def compute_exp(exponent: ArrayLike) -> Signed:
    """Return e to exponents in Q48, in Q48."""
    return _run(_exp, (np.int64,), _signed(exponent))[0]


def compute_sqrt(value: ArrayLike) -> Unsigned:
    """Return square roots of integers from 0 to 2^64 - 1, rounded down."""
    return _run(_sqrt, (np.uint64,), _unsigned(value))[0]


def compute_power(base: ArrayLike, exponent: ArrayLike) -> Signed:
    """Return bases to exponents, all in Q48: base from 1 to 2^64 - 1."""
    return _run(_power, (np.int64,), _unsigned(base), _signed(exponent))[0]


def compute_cdf(x: ArrayLike) -> Signed:
    """Return the probability, in Q60, of a normal value up to x in Q48."""
    return _run(_cdf, (np.int64,), _signed(x))[0]


def compute_density(x: ArrayLike) -> Signed:
    """Return the normal density, in Q60, at x in Q48."""
    return _run(_density, (np.int64,), _signed(x))[0]


def compute_pair(
    forward: ArrayLike, strike: ArrayLike, deviation: ArrayLike
) -> tuple[Signed, Signed]:
    """Return the prices of calls and puts."""
    calls, puts = _run(_pair, (np.int64, np.int64), *map(_signed, (forward, strike, deviation)))
    return calls, puts


def compute_call(forward: ArrayLike, strike: ArrayLike, deviation: ArrayLike) -> Signed:
    """Return the prices of calls."""
    return compute_pair(forward, strike, deviation)[0]


def compute_put(forward: ArrayLike, strike: ArrayLike, deviation: ArrayLike) -> Signed:
    """Return the prices of puts."""
    return compute_pair(forward, strike, deviation)[1]


def compute_delta(forward: ArrayLike, strike: ArrayLike, deviation: ArrayLike) -> Signed:
    """Return the calls' change of price with the forward, in Q48."""
    return _run(_delta, (np.int64,), *map(_signed, (forward, strike, deviation)))[0]


def compute_gamma(forward: ArrayLike, strike: ArrayLike, deviation: ArrayLike) -> Signed:
    """Return the change of delta for a relative change of the forward, in Q48."""
    return _run(_gamma, (np.int64,), *map(_signed, (forward, strike, deviation)))[0]


def compute_vega(
    forward: ArrayLike, strike: ArrayLike, deviation: ArrayLike, root_time: ArrayLike
) -> Signed:
    """Return the change of price for 1.00 of volatility; `root_time` in Q48."""
    arguments = map(_signed, (forward, strike, deviation, root_time))
    return _run(_vega, (np.int64,), *arguments)[0]


def compute_theta(
    forward: ArrayLike, strike: ArrayLike, deviation: ArrayLike, time: ArrayLike
) -> Signed:
    """Return the change of price per year that passes; `time` in years, Q48."""
    arguments = map(_signed, (forward, strike, deviation, time))
    return _run(_theta, (np.int64,), *arguments)[0]


def _signed(values: ArrayLike) -> Signed:
    return np.asarray(values, np.int64)


def _unsigned(values: ArrayLike) -> Unsigned:
    return np.asarray(values, np.uint64)


def _run(
    function: Function, types: tuple[type, ...], *arguments: NDArray[Any]
) -> list[NDArray[Any]]:
    """Call a function of flat arrays piece by piece; one result of each type."""
    arguments = tuple(np.broadcast_arrays(*arguments))
    shape = arguments[0].shape
    flat = [argument.reshape(-1) for argument in arguments]
    results: list[NDArray[Any]] = [np.empty(flat[0].size, kind) for kind in types]
    for start in range(0, flat[0].size, CHUNK):
        piece = slice(start, start + CHUNK)
        # A number that was broadcast is a view without strides, slower to work on than a copy.
        values = function(*(np.ascontiguousarray(argument[piece]) for argument in flat))
        for result, value in zip(results, values if len(types) > 1 else (values,), strict=True):
            result[piece] = value
    return [result.reshape(shape) for result in results]


def _as_signed(values: NDArray[Any]) -> Signed:
    """Return the same bits as signed integers."""
    return values.view(np.int64)


def _as_unsigned(values: NDArray[Any]) -> Unsigned:
    """Return the same bits as unsigned integers."""
    return values.view(np.uint64)


def _compute_length(values: Unsigned) -> Signed:
    """Return the bits of each value; arbitrary for 0."""
    filled = values | values >> 1
    for shift in (2, 4, 8, 16, 32):
        filled |= filled >> shift
    filled *= DE_BRUIJN
    filled >>= 58
    return np.take(LENGTHS, _as_signed(filled), mode="clip")


def _divide_digit(high: Unsigned, divisor: Unsigned, top: Unsigned, rest: Unsigned) -> Unsigned:
    """Return floor(high * 2^32 / divisor), below 2^32, for high < divisor >= 2^63.

    Knuth's algorithm D: the quotient by the divisor's leading half is too large by two at most.
    """
    digit = high // top
    remainder = high - digit * top
    # digit * divisor <= high * 2^32 if and only if digit * rest <= remainder * 2^32. The digit is
    # at most 2^32 + 1, and so this product below 2^64.
    product = digit * rest
    for _ in range(2):
        over = ((remainder << 32 < product) & (remainder <= LOW_32)).astype(np.uint64)
        digit -= over
        product -= over * rest
        remainder += over * top
    return digit


def _divide_fraction(numerator: Unsigned, divisor: Unsigned) -> Unsigned:
    """Return floor(numerator * 2^64 / divisor), for numerator < divisor >= 2^63."""
    top, rest = divisor >> 32, divisor & LOW_32
    high = _divide_digit(numerator, divisor, top, rest)
    remainder = (numerator << 32) - high * divisor
    return (high << 32) + _divide_digit(remainder, divisor, top, rest)


def _divide_long(remainder: Unsigned, divisor: Unsigned, bits: int) -> Unsigned:
    """Return floor(remainder * 2^bits / divisor), for remainder < divisor <= 2^54."""
    quotient = np.zeros_like(remainder)
    while bits:
        step = min(bits, 10)
        remainder = remainder << step
        digit = remainder // divisor
        remainder -= digit * divisor
        quotient <<= step
        quotient += digit
        bits -= step
    return quotient


def _multiply_wide(left: Unsigned, right: Unsigned, shift: int) -> Unsigned:
    """Return floor(left * right / 2^shift), at most `MAX_VALUE`; 0 < shift < 64."""
    left_high, left_low = left >> 32, left & LOW_32
    right_high, right_low = right >> 32, right & LOW_32
    low = left_low * right_low
    middle = left_high * right_low + (low >> 32)
    other = left_low * right_high + (middle & LOW_32)
    high = left_high * right_high + (middle >> 32) + (other >> 32)
    low = other << 32 | low & LOW_32
    result = high << 64 - shift | low >> shift
    return np.where(high >> shift - 1 == 0, result, np.uint64(MAX_VALUE))


def _multiply_60(left: Signed, right: Signed) -> Signed:
    """Return floor(left * right / 2^60), for |left| < 2^61 and |right| < 2^60."""
    left_high, left_low = left >> 30, left & LOW_30
    right_high, right_low = right >> 30, right & LOW_30
    middle = left_high * right_low + left_low * right_high + (left_low * right_low >> 30)
    result: Signed = left_high * right_high + (middle >> 30)
    return result


def _fine_log_ratio(numerator: Unsigned, denominator: Unsigned) -> Signed:
    numerator_length = _compute_length(numerator)
    denominator_length = _compute_length(denominator)
    left = numerator << _as_unsigned(64 - numerator_length)
    right = denominator << _as_unsigned(64 - denominator_length)
    # left / right is the mantissa, or twice that.
    below = (left < right).astype(np.uint64)
    quotient = _divide_fraction(left - right * (1 - below), right)
    mantissa = quotient >> 12 - below
    mantissa += (1 - below) << 52
    exponent = numerator_length - denominator_length - _as_signed(below)

    quarters = (mantissa + (1 << 49)) >> 50
    centre = quarters << 50
    difference = _as_signed(mantissa - centre)
    root = _divide_long(_as_unsigned(np.abs(difference)), mantissa + centre, 54)
    # Below 2^50: the square of two halves of 25 bits.
    high, low = root >> 25, root & ((1 << 25) - 1)
    square = (high * high + ((high * low * 2 + (low * low >> 25)) >> 25)) >> 4
    value = tables.LN_4 * (square >> 2) >> 44
    value += tables.LN_3
    value = value * (square >> 11) >> 35
    value += tables.LN_2
    # A value below 2^36, times 46 bits in two parts.
    value = (value * (square >> 23) + (value * (square & LOW_23) >> 23)) >> 23
    value += tables.LN_1
    # A value below 2^45, times 46 bits in three parts.
    value = (
        value * (square >> 30)
        + ((value * (square >> 15 & LOW_15) + (value * (square & LOW_15) >> 15)) >> 15)
    ) >> 16
    value += tables.LN_0
    # Below 2^50 and 2^55.
    value_high, value_low = value >> 30, value & LOW_30
    middle = high * value_low + (low * value_low >> 25) + (low * value_high << 5)
    fraction = _as_signed((high * value_high << 4) + (middle >> 26))
    # With the sign of the difference.
    sign = difference >> 63
    fraction = (fraction ^ sign) - sign
    fraction += np.take(CENTRES, _as_signed(quarters) - 4, mode="clip")
    fraction += exponent * tables.LN_TWO_56
    return fraction


def _log_ratio(numerator: Unsigned, denominator: Unsigned) -> Signed:
    return (_fine_log_ratio(numerator, denominator) + 128) >> 8


def _exp_mantissa(coarse: Signed, exponent: Signed) -> tuple[Signed, Signed]:
    """Return mantissa and shift for the exponent in Q60 modulo 2^64, and in Q24."""
    shift = (coarse * tables.INVERSE_LN_TWO + (1 << 47)) >> 48
    rest = exponent - shift * tables.LN_TWO_60
    mantissa = np.full_like(rest, tables.EXP_11)
    for coefficient in EXP_COEFFICIENTS:
        mantissa = _multiply_60(mantissa, rest)
        mantissa += coefficient
    return mantissa, shift


def _exp(exponent: Signed) -> Signed:
    clipped = np.clip(exponent, MIN_EXPONENT, MAX_EXPONENT - 1)
    mantissa, shift = _exp_mantissa(clipped >> 24, clipped << 12)
    # To the left by 0 to 3 bits, or to the right by up to 62 and rounded.
    right = np.maximum(12 - shift, 0)
    unsigned = _as_unsigned(mantissa) << _as_unsigned(np.maximum(shift - 12, 0))
    unsigned += _as_unsigned((np.int64(1) << right) >> 1)
    result = np.minimum(unsigned >> _as_unsigned(right), MAX_VALUE).astype(np.int64)
    result[exponent < MIN_EXPONENT] = 0
    result[exponent >= MAX_EXPONENT] = MAX_VALUE
    return result


def _sqrt(value: Unsigned) -> Unsigned:
    # From a power of two up to twice the root Newton's steps come down to its floor, of 32 bits in
    # six, and may then go up by one. 0 goes along as 1 until the last comparison.
    positive = np.maximum(value, 1)
    root = np.uint64(1) << _as_unsigned((_compute_length(positive) + 1) >> 1)
    for _ in range(6):
        root = (root + positive // root) >> 1
    result: Unsigned = root - (root > value // root)
    return result


def _power(base: Unsigned, exponent: Signed) -> Signed:
    logarithm = _log_ratio(base, np.full_like(base, ONE))
    left, right = _as_unsigned(np.abs(logarithm)), _as_unsigned(np.abs(exponent))
    # The floor of a negative product lies a unit further away if anything was cut off.
    product = _as_signed(np.minimum(_multiply_wide(left, right, 48), 1 << 62))
    cut = left * right & (1 << 48) - 1 != 0
    negative = (logarithm < 0) != (exponent < 0)
    return _exp(np.where(negative, -product - cut, product))


def _tail(distance: Signed) -> Signed:
    """Return 1 - N(distance) for distance >= 0."""
    row = np.minimum(distance >> 45, len(tables.CDF_ROWS))
    unit = (1 << 45) - (distance & (1 << 45) - 1)

    def add(value: Signed, power: int) -> Signed:
        value += np.take(CDF_COLUMNS[power], row, mode="clip")
        return value

    value = np.take(CDF_COLUMNS[8], row, mode="clip")
    value *= unit >> 12
    value >>= 33
    value = add(value, 7)
    # Below 2^40, times two parts.
    high, low = unit >> 22, unit & LOW_22
    for power in (6, 5):
        part = value * low
        part >>= 22
        value *= high
        value += part
        value >>= 23
        value = add(value, power)
    # Below 2^48, times three parts.
    first, second, third = unit >> 30, unit >> 15 & LOW_15, unit & LOW_15
    for power in (4, 3):
        part = value * third
        part >>= 15
        part += value * second
        part >>= 15
        value *= first
        value += part
        value >>= 15
        value = add(value, power)
    # Below 2^62, two parts times two parts.
    for power in (2, 1, 0):
        value_low = value & LOW_30
        value >>= 30
        part = value_low * low
        part >>= 22
        part += value_low * high
        part += value * low << 8
        part >>= 25 if power == 0 else 23
        value *= high
        value <<= 5 if power == 0 else 7
        value += part
        value = add(value, power)
    value += 4
    value >>= 3
    return value


def _cdf(x: Signed) -> Signed:
    # The least integer is its own absolute value.
    tail = _tail(np.abs(np.maximum(x, -MAX_VALUE)))
    return np.where(x < 0, tail, CERTAINTY - tail)


def _density(x: Signed) -> Signed:
    distance = np.abs(np.clip(x, -DENSITY_END, DENSITY_END))
    high, low = distance >> 26, distance & ((1 << 26) - 1)
    middle = high * low * 2 + (low * low >> 26)
    # x^2 / 2 in Q60 modulo 2^64, and its part in Q24.
    exponent = (high * high << 15) + (middle >> 11)
    coarse = (high * high + (middle >> 26)) >> 21
    coarse += exponent & ((1 << 36) - 1) != 0
    mantissa, shift = _exp_mantissa(-coarse, -exponent)
    scale = np.full_like(mantissa, tables.INVERSE_ROOT_TWO_PI)
    density = _multiply_60(mantissa, scale) >> -shift
    return np.where(distance == DENSITY_END, 0, density)


def _moments(forward: Signed, strike: Signed, deviation: Signed) -> tuple[Signed, Signed]:
    """Return d1 and d2; a moment past the end of the normal's table may be another one there."""
    distance = _fine_log_ratio(
        _as_unsigned(np.maximum(forward, 1)), _as_unsigned(np.maximum(strike, 1))
    )
    width = _as_unsigned(np.maximum(deviation, 1))
    remainder = _as_unsigned(np.abs(distance))
    whole = remainder // width
    remainder -= whole * width
    quotient = _as_signed(np.minimum(whole, 1 << 15) << 40)
    quotient += _as_signed(_divide_long(remainder, width, 40))
    sign = distance >> 63
    d1 = (quotient ^ sign) - sign
    d1 += deviation >> 1
    return d1, d1 - deviation


def _pair(forward: Signed, strike: Signed, deviation: Signed) -> tuple[Signed, Signed]:
    deviation = np.minimum(deviation, MAX_DEVIATION)
    d1, d2 = _moments(forward, strike, deviation)
    first, second = _cdf(d1), _cdf(d2)
    # forward * first - strike * second from the products of halves: 31 and 32 bits of prices, 31
    # and 30 of probabilities.
    forward_high, forward_low = forward >> 32, forward & LOW_32
    strike_high, strike_low = strike >> 32, strike & LOW_32
    first_high, first_low = first >> 30, first & LOW_30
    second_high, second_low = second >> 30, second & LOW_30
    low = forward_low * first_low - strike_low * second_low
    # Half a unit, to round to nearest.
    low += CERTAINTY >> 1
    low >>= 30
    low += forward_low * first_high - strike_low * second_high
    middle = forward_high * first_low - strike_high * second_low
    low += (middle & LOW_28) << 2
    low >>= 30
    low += middle >> 28
    low += (forward_high * first_high - strike_high * second_high) << 2
    least = np.maximum(forward - strike, 0)
    call = np.minimum(np.maximum(low, least), forward)
    call = np.where(deviation == 0, least, call)
    return call, call - forward + strike


def _find_degenerate(forward: Signed, strike: Signed, deviation: Signed) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (forward == 0) | (strike == 0) | (deviation == 0)
    return found


def _delta(forward: Signed, strike: Signed, deviation: Signed) -> Signed:
    deviation = np.minimum(deviation, MAX_DEVIATION)
    delta = (_cdf(_moments(forward, strike, deviation)[0]) + (1 << 11)) >> 12
    limit = ((forward >= strike).astype(np.int64) + (forward > strike)) * ONE >> 1
    return np.where(_find_degenerate(forward, strike, deviation), limit, delta)


def _density_at(forward: Signed, strike: Signed, deviation: Signed) -> Unsigned:
    density = _density(_moments(forward, strike, deviation)[0])
    return _as_unsigned(np.where(_find_degenerate(forward, strike, deviation), 0, density))


def _gamma(forward: Signed, strike: Signed, deviation: Signed) -> Signed:
    deviation = np.minimum(deviation, MAX_DEVIATION)
    density = _density_at(forward, strike, deviation)
    width = _as_unsigned(np.maximum(deviation, 1))
    whole = density // width
    gamma = (whole << 36) + _divide_long(density - whole * width, width, 36)
    return _as_signed(np.where(whole >> 27 == 0, gamma, np.uint64(MAX_VALUE)))


def _vega(forward: Signed, strike: Signed, deviation: Signed, root_time: Signed) -> Signed:
    density = _density_at(forward, strike, np.minimum(deviation, MAX_DEVIATION))
    root_time = np.minimum(root_time, MAX_ROOT_TIME)
    factor = _multiply_wide(density, _as_unsigned(root_time), 48)
    return _as_signed(_multiply_wide(_as_unsigned(forward), factor, 60))


def _theta(forward: Signed, strike: Signed, deviation: Signed, time: Signed) -> Signed:
    deviation = np.minimum(deviation, MAX_DEVIATION)
    density = _density_at(forward, strike, deviation)
    decay = _multiply_wide(density, _as_unsigned(deviation), 48)
    duration = _as_unsigned(np.clip(time, 1, MAX_TIME))
    whole = decay // duration
    rate = (whole << 35) + _divide_long(decay - whole * duration, duration, 35)
    rate = np.where(whole >> 28 == 0, rate, np.uint64(MAX_VALUE))
    loss = _as_signed(_multiply_wide(_as_unsigned(forward), rate, 48))
    return np.where(time == 0, 0, -loss)
