"""Amounts as traders write them: whole units of the collateral, or exact decimals of it."""

from decimal import Decimal, InvalidOperation

from deltaroll.amounts import DECIMALS

Money = int | str | Decimal
"""An `int` counts collateral units (1e-6); text or a `Decimal` counts collateral: `"12.50"` is
12,500,000 units. A `float` is refused."""


def to_units(name: str, value: Money) -> int:
    """Return collateral units, exactly.

    Raises
    ------
    TypeError
        For a float, a bool, or anything else that is no exact number.
    ValueError
        When it is no number, or finer than a unit.
    """
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise TypeError(f"{name}: {value!r} is no int, text or Decimal")
    if isinstance(value, int):
        return value
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{name}: {value!r} is no number") from None
    if not number.is_finite():
        raise ValueError(f"{name}: {value} is not finite")
    numerator, denominator = number.as_integer_ratio()
    scale: int = 10**DECIMALS
    units, rest = divmod(numerator * scale, denominator)
    if rest:
        raise ValueError(f"{name}: {value} is finer than a unit, 1e-{DECIMALS}")
    return units
