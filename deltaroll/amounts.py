"""Amounts of collateral as people read them."""

DECIMALS = 6
"""Of the collateral."""


def to_money(units: int) -> str:
    """Return collateral units (1e-6) as a readable amount."""
    sign = "-" if units < 0 else ""
    scale = 10**DECIMALS
    return f"{sign}{abs(units) // scale:,}.{abs(units) % scale:0{DECIMALS}d}"
