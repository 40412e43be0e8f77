"""What a claim is worth to somebody who pays for it now and is paid by L1 later."""

from dataclasses import dataclass

from deltaroll.protocol.constants import PPM

YEAR = 365 * 24 * 3600
WEI = 10**18
"""In an ether."""
PURCHASE_GAS = 120_000
"""`Bridge.takeClaim` by somebody without a balance: above the record."""
CLAIM_GAS = 115_000
"""`Bridge.claimExit` of a claim that was transferred: above the record."""
PAYMENT_GAS = 75_000
"""`MarginVault.payDelayed`: above the record."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a buyer asks for."""

    base_fee: int
    """Wei for a unit of gas, for the purchase and for what follows it."""
    ether_price: int
    """Collateral units for an ether."""
    premium: int = 80_000
    """Parts per million of the amount, for a year of waiting."""
    risk: int = 5_000
    """Parts per million of the amount while L1 may still replace the batch."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A price and what it is made of, in collateral units."""

    amount: int
    """What L1 pays in the end."""
    gas: int
    premium: int
    risk: int
    price: int
    """What is left of the amount; 0: not worth it."""


def compute_price(
    amount: int, seconds: int, terms: Terms, *, is_delayed: bool, is_risky: bool
) -> Quote:
    """Return what to pay for a claim.

    Each deduction is rounded down on its own: against the buyer, by less than a unit each.

    Parameters
    ----------
    amount
        Collateral units that the claim pays.
    seconds
        Until it does.
    terms
        What the buyer asks for.
    is_delayed
        Whether the vault's limiter takes another transaction.
    is_risky
        Whether L1 may still replace the batch.

    Returns
    -------
    Quote
        Its price is within 0 and the amount, and never rises with the time, the gas or the risk.

    Raises
    ------
    ValueError
        When a number is negative.
    """
    numbers = {"amount": amount, "seconds": seconds, "base_fee": terms.base_fee}
    numbers |= {"ether_price": terms.ether_price, "premium": terms.premium, "risk": terms.risk}
    for name, value in numbers.items():
        if value < 0:
            raise ValueError(f"{name}: {value} is negative")
    units = PURCHASE_GAS + CLAIM_GAS + (PAYMENT_GAS if is_delayed else 0)
    gas = units * terms.base_fee * terms.ether_price // WEI
    premium = amount * terms.premium * seconds // (PPM * YEAR)
    risk = amount * terms.risk // PPM if is_risky else 0
    return Quote(amount, gas, premium, risk, max(amount - gas - premium - risk, 0))
