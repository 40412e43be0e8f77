"""An oracle member's side: fractions as the protocol takes them, surfaces and their signatures."""

from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal

from deltaroll.protocol.constants import MAX_SIGNERS, ONE
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.listing import create_expiry
from deltaroll.protocol.surface import validate_surface
from deltaroll.protocol.types import MarketId, Surface, Timestamp
from deltaroll.sdk.signing import Signer

_EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Smile:
    """A fitted surface in plain numbers.

    Total variance from `time` to expiry at log-moneyness k is
    a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)). A perpetual has a ratio alone.
    """

    ratio: Decimal
    """Forward over index."""
    rate: Decimal = Decimal(0)
    """A year, continuous."""
    a: Decimal = Decimal(0)
    b: Decimal = Decimal(0)
    rho: Decimal = Decimal(0)
    m: Decimal = Decimal(0)
    sigma: Decimal = Decimal(0)


def to_q48(value: Decimal | int | str) -> int:
    """Return a number in Q48, rounded to nearest, half to even.

    Raises
    ------
    ValueError
        When it is no finite number.
    """
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"{value} is no finite number")
    return int(_EXACT.multiply(number, Decimal(ONE)).to_integral_value(ROUND_HALF_EVEN))


def from_q48(value: int) -> Decimal:
    """Return the number that a Q48 value stands for, exactly."""
    return _EXACT.divide(Decimal(value), Decimal(ONE))


def to_surface(market: MarketId, smile: Smile, time: Timestamp, expires: Timestamp) -> Surface:
    """Return what the committee signs of a smile, signed by nobody yet.

    Arguments are the expiry's leaf, when the smile was fitted, and the expiry's time: 0 for
    perpetuals.

    Raises
    ------
    ValueError
        When the rollup would refuse it.
    """
    surface = Surface(
        market=market,
        signers=0,
        ratio=to_q48(smile.ratio),
        rate=to_q48(smile.rate),
        a=to_q48(smile.a),
        b=to_q48(smile.b),
        rho=to_q48(smile.rho),
        m=to_q48(smile.m),
        sigma=to_q48(smile.sigma),
        time=time,
    )
    try:
        validate_surface(create_expiry(MarketId(0), expires), surface)
    except TransitionFault as fault:
        raise ValueError(f"{smile} has negative variance, wings too steep or too large") from fault
    if expires != 0 and time >= expires:
        raise ValueError(f"{time} is not before the expiry, {expires}")
    return surface


def from_surface(surface: Surface) -> Smile:
    """Return a surface in plain numbers, exactly."""
    return Smile(
        ratio=from_q48(surface.ratio),
        rate=from_q48(surface.rate),
        a=from_q48(surface.a),
        b=from_q48(surface.b),
        rho=from_q48(surface.rho),
        m=from_q48(surface.m),
        sigma=from_q48(surface.sigma),
    )


def sign_surface(domain: bytes, signer: Signer, surface: Surface) -> bytes:
    """Return a committee member's signature: the same document for every member."""
    return signer.sign_surface(domain, surface)


def combine_signatures(
    surface: Surface, signatures: dict[int, bytes]
) -> tuple[Surface, tuple[bytes, ...]]:
    """Return the surface that names its signers, and their signatures in the order of a chunk.

    `signatures` is by the member's index in the committee.

    Raises
    ------
    ValueError
        For an index that no committee has.
    """
    if any(not 0 <= member < MAX_SIGNERS for member in signatures):
        raise ValueError(f"members: {sorted(signatures)}")
    signers = sum(1 << member for member in signatures)
    return replace(surface, signers=signers), tuple(
        signatures[member] for member in sorted(signatures)
    )
