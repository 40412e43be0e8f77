"""Division with the rounding in its name. All integers, any width."""


def div_down(numerator: int, denominator: int) -> int:
    """Return the quotient rounded towards minus infinity; `denominator` > 0."""
    return numerator // denominator


def div_up(numerator: int, denominator: int) -> int:
    """Return the quotient rounded towards plus infinity; `denominator` > 0."""
    return -(-numerator // denominator)


def div_away(numerator: int, denominator: int) -> int:
    """Return the quotient rounded away from zero; `denominator` > 0.

    For profit and loss per lot, whose sign depends on the side that holds it: the loss of either
    side comes out no smaller than it is.
    """
    if numerator < 0:
        return div_down(numerator, denominator)
    return div_up(numerator, denominator)


def is_within_band(value: int, reference: int, band: int) -> bool:
    """Return whether |value - reference| <= band parts per million of `reference` >= 0."""
    return abs(value - reference) * 1_000_000 <= band * reference
