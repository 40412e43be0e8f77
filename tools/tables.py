"""Write the tables of the protocol's mathematics: polynomial coefficients and constants.

`python -m tools.tables` computes them at high precision and writes both twins,
`deltaroll/protocol/tables.py` and `contracts/protocol/Tables.sol`. A test regenerates and compares.

The formats are those of `fixed.py` and `normal.py`, which evaluate the polynomials. Interpolation
nodes are Chebyshev's, stretched until the outermost lie on the ends of the interval: there the
polynomial is exact, so that neighbours meet.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mpmath import mp, mpf

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "deltaroll/protocol/tables.py"
SOLIDITY = "contracts/protocol/Tables.sol"

DIGITS = 80

CDF_STEP_BITS = 3
"""The tail has a polynomial for every 2^-3 of x."""
CDF_ROWS = 72
"""Intervals: up to x = 9, beyond which the tail is below 2^-62."""
NEAR_ROWS = 32
"""Those up to x = 4, which most prices are in: Solidity comes to them first."""
CDF_DEGREE = 8
CDF_SCALES = (63, *[65] * CDF_DEGREE)
"""Fractional bits of each coefficient, the distance taken in units of the interval."""
CDF_UNIT_BITS = 45
"""Bits of such a unit of distance: 2^-3 in Q48."""

LN_DEGREE = 4
LN_SCALE = 54
LN_STEP_BITS = 8
"""The square of the argument stays below 2^-8: each power has that many bits less to carry."""
LN_CENTRES = 4
"""Mantissas are compared with the nearest of 1, 5/4, 6/4, 7/4 and 2."""

EXP_DEGREE = 11
EXP_SCALE = 60

SIGNED = ("LN_TWO_56", "LN_TWO_60", "INVERSE_LN_TWO")
"""Constants, apart from the exponential's, that Solidity calculates with as signed numbers."""


def interpolate(function: Callable[[mpf], mpf], low: mpf, high: mpf, degree: int) -> list[mpf]:
    """Return a polynomial's coefficients, constant first, close to the best there is."""
    count = degree + 1
    stretch = mp.cos(mp.pi / (2 * count))
    nodes = [
        (low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * node + 1) / (2 * count)) / stretch
        for node in range(count)
    ]
    powers = mp.matrix([[node**power for power in range(count)] for node in nodes])
    return list(mp.lu_solve(powers, mp.matrix([function(node) for node in nodes])))


def round_scaled(value: mpf, bits: int) -> int:
    """Return value * 2^bits, rounded to nearest."""
    return int(mp.nint(mp.ldexp(value, bits)))


def tail(x: mpf) -> mpf:
    """Return the probability beyond x."""
    return mp.erfc(x / mp.sqrt(2)) / 2


def evaluate_tail(row: list[int], distance: int) -> int:
    """Return what `compute_cdf` makes of a row, before its last rounding."""
    value = row[8]
    value = row[7] + (value * (distance >> 12) >> CDF_UNIT_BITS - 12)
    for power in range(6, 0, -1):
        value = row[power] + (value * distance >> CDF_UNIT_BITS)
    return row[0] + (value * distance >> CDF_UNIT_BITS + CDF_SCALES[1] - CDF_SCALES[0])


def compute_cdf_rows() -> list[list[int]]:
    """Return the tail's polynomials, in the distance to the right end of each interval.

    Constants are moved up, by what rounding has cost, until no interval ends below the start of the
    next; that of the first until the tail at 0 is exactly one half.
    """
    step = mp.ldexp(1, -CDF_STEP_BITS)
    unit = 1 << CDF_UNIT_BITS
    rows: list[list[int]] = []
    floor = 0
    for index in reversed(range(CDF_ROWS)):
        right = (index + 1) * step
        exact = interpolate(
            lambda part: tail(right - part * step),  # noqa: B023
            mpf(0),
            mpf(1),
            CDF_DEGREE,
        )
        row = [round_scaled(value, bits) for value, bits in zip(exact, CDF_SCALES, strict=True)]
        row[0] = max(row[0], floor)
        if index == 0:
            row[0] += (1 << CDF_SCALES[0] - 1) - evaluate_tail(row, unit)
        floor = evaluate_tail(row, unit)
        rows.append(row)
    return rows[::-1]


def compute_ln_coefficients() -> list[int]:
    """Return the polynomial of atanh(z) / z in z^2."""

    def function(square: mpf) -> mpf:
        root = mp.sqrt(square)
        return mp.atanh(root) / root if root else mpf(1)

    # The mantissa farthest from its centre is 9/8, from 1.
    limit = mpf(1) / (4 * LN_CENTRES + 1)
    exact = interpolate(function, mpf(0), limit**2, LN_DEGREE)
    return [
        round_scaled(value, LN_SCALE - LN_STEP_BITS * power) for power, value in enumerate(exact)
    ]


def compute_exp_coefficients() -> list[int]:
    """Return the polynomial of e^r."""
    limit = mp.ln(2) / 2 + mp.ldexp(1, -20)
    exact = interpolate(mp.exp, -limit, limit, EXP_DEGREE)
    return [round_scaled(value, EXP_SCALE) for value in exact]


def compute_constants() -> list[tuple[str, int, str]]:
    """Return name, value and meaning of the scalar constants, in order."""
    constants = [
        ("LN_TWO_56", round_scaled(mp.ln(2), 56), "ln(2) with 56 fractional bits."),
        (
            "LN_CENTRE_WORD",
            sum(
                round_scaled(mp.ln(mpf(4 + index) / 4), 56) << 64 * (4 - index)
                for index in range(1, 5)
            ),
            "ln(5/4), ln(6/4), ln(7/4), ln(2) with 56 fractional bits, in 64 bits each.",
        ),
        ("LN_TWO_60", round_scaled(mp.ln(2), 60), "ln(2) with 60 fractional bits."),
        ("INVERSE_LN_TWO", round_scaled(1 / mp.ln(2), 24), "1 / ln(2) with 24 fractional bits."),
        (
            "INVERSE_ROOT_TWO_PI",
            round_scaled(1 / mp.sqrt(2 * mp.pi), 60),
            "1 / sqrt(2 * pi) with 60 fractional bits.",
        ),
    ]
    constants += [
        (f"LN_{power}", value, f"Coefficient {power} of atanh(z) / z in z^2.")
        for power, value in enumerate(compute_ln_coefficients())
    ]
    constants += [
        (f"EXP_{power}", value, f"Coefficient {power} of e^r.")
        for power, value in enumerate(compute_exp_coefficients())
    ]
    return constants


def group(value: int) -> str:
    """Return a number as we write it: a whole word in hexadecimal, others in thousands."""
    return f"{value:_}" if value < 1 << 64 else f"0x{value:064X}"


def write_python(constants: list[tuple[str, int, str]], rows: list[list[int]]) -> str:
    """Return the source of the Python twin."""
    lines = [
        '"""Coefficients and constants of the mathematics, written by tools/tables.py.',
        "",
        "Formats are explained where they are used: fixed.py and normal.py.",
        '"""',
        "",
    ]
    for name, value, meaning in constants:
        lines += [f"{name} = {group(value)}", f'"""{meaning}"""']
    lines += ["# fmt: off", "CDF_ROWS = ("]
    for row in rows:
        first, second = (", ".join(map(str, part)) for part in (row[:4], row[4:]))
        lines += [f"    ({first},", f"     {second}),"]
    lines += [
        ")",
        "# fmt: on",
        '"""Polynomials of the normal tail, constant first."""',
        "",
        "",
        "def get_cdf_row(index: int) -> tuple[int, int, int, int, int, int, int, int, int]:",
        '    """Return the polynomial of the normal tail from index / 8 on, 0 past the last."""',
        "    return CDF_ROWS[index] if index < len(CDF_ROWS) else (0, 0, 0, 0, 0, 0, 0, 0, 0)",
    ]
    return "\n".join(lines) + "\n"


def write_branch(rows: list[list[int]], first: int, last: int, indent: int) -> list[str]:
    """Return the statements that choose between rows, by halves."""
    margin = "    " * indent
    if last - first == 1:
        return [f"{margin}return ({', '.join(map(str, rows[first]))});"]
    middle = (first + last) // 2
    return [
        f"{margin}if (index > {middle - 1}) {{",
        *write_branch(rows, middle, last, indent + 1),
        f"{margin}}}",
        *write_branch(rows, first, middle, indent),
    ]


def write_solidity(constants: list[tuple[str, int, str]], rows: list[list[int]]) -> str:
    """Return the source of the Solidity twin."""
    lines = [
        "// SPDX-License-Identifier: MIT",
        "pragma solidity 0.8.37;",
        "",
        "// Coefficients and constants of the mathematics, written by tools/tables.py.",
        "//",
        "// Formats are explained where they are used: Fixed.sol and Normal.sol.",
        "",
    ]
    for name, value, meaning in constants:
        lines += [f"/// @dev {meaning}"]
        kind = "int256" if name in SIGNED or name.startswith("EXP_") else "uint256"
        if value < 1 << 64:
            lines += [f"{kind} constant {name} = {group(value)};"]
        else:
            lines += [f"{kind} constant {name} =", f"    {group(value)};"]
    lines += [
        "",
        "// forgefmt: disable-start",
        "// solhint-disable max-line-length, function-max-lines",
        "",
        "/// @dev Return the polynomial of the normal tail from index / 8 on, 0 past the last.",
        "///",
        "/// A tree of comparisons ending in constants: a table in memory would cost its copying,",
        "/// and Solidity tells no address of data in the code.",
        "function getCdfRow(uint256 index)",
        "    pure",
        f"    returns ({', '.join(f'int256 c{power}' for power in range(CDF_DEGREE + 1))})",
        "{",
        f"    if (index > {NEAR_ROWS - 1}) {{",
        f"        if (index > {CDF_ROWS - 1}) return (0, 0, 0, 0, 0, 0, 0, 0, 0);",
        *write_branch(rows, NEAR_ROWS, CDF_ROWS, 2),
        "    }",
        *write_branch(rows, 0, NEAR_ROWS, 1),
        "}",
        "// forgefmt: disable-end",
    ]
    return "\n".join(lines) + "\n"


def write_sources() -> dict[str, str]:
    """Return both sources by path."""
    with mp.workdps(DIGITS):
        constants = compute_constants()
        rows = compute_cdf_rows()
    return {PYTHON: write_python(constants, rows), SOLIDITY: write_solidity(constants, rows)}


if __name__ == "__main__":
    for path, text in write_sources().items():
        (ROOT / path).write_text(text, encoding="utf-8")
