"""Oracle members: fractions without floats, surfaces that the rollup takes, signatures in order."""

from dataclasses import replace
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaroll.protocol.constants import ONE
from deltaroll.protocol.eip712 import compute_digest
from deltaroll.protocol.expiry import compute_boundary
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.recovery import recover_signer
from deltaroll.protocol.signatures import Role, compute_requests
from deltaroll.protocol.types import MarketId, Surface, Timestamp
from deltaroll.sdk.oracle import (
    Smile,
    combine_signatures,
    from_q48,
    from_surface,
    sign_surface,
    to_q48,
    to_surface,
)
from deltaroll.sdk.signing import Signer

DOMAIN = keccak(b"domain")
MARKET = MarketId(30)
EXPIRES = compute_boundary(20_000)
TIME = Timestamp(EXPIRES - 100_000)
SMILE = Smile(
    ratio=Decimal("1.002"),
    rate=Decimal("0.05"),
    a=Decimal("0.0143"),
    b=Decimal("0.0827"),
    rho=Decimal("-0.38"),
    m=Decimal("-0.09"),
    sigma=Decimal("0.13"),
)


@given(st.integers(-(1 << 63), 1 << 63))
def test_q48__there_and_back__is_exact(value: int) -> None:
    assert to_q48(from_q48(value)) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-20_000, max_value=20_000))
def test_q48__any_number__is_the_nearest(number: Decimal) -> None:
    with localcontext() as context:
        context.prec = 200
        assert abs(from_q48(to_q48(number)) - number) * 2 * ONE <= 1


def test_q48__whatever_the_context__is_the_same() -> None:
    with localcontext() as context:
        context.prec = 2
        assert to_q48("1.000000000000003") == ONE + 1
        assert from_q48(ONE + 1) * 1 != from_q48(ONE + 1)
        assert to_q48(from_q48(ONE + 1)) == ONE + 1


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_q48__no_number__is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="no finite number"):
        to_q48(number)


def test_surface__of_a_smile__is_in_q48() -> None:
    surface = to_surface(MARKET, SMILE, TIME, EXPIRES)
    assert surface.ratio == round(Decimal("1.002") * ONE)
    assert surface.rho == -round(Decimal("0.38") * ONE)
    assert (surface.market, surface.signers, surface.time) == (MARKET, 0, TIME)
    assert to_surface(MARKET, from_surface(surface), TIME, EXPIRES) == surface


@pytest.mark.parametrize(
    "changes",
    [
        {"b": Decimal(-1)},
        {"rho": Decimal(1)},
        {"a": Decimal(-1)},
        {"ratio": Decimal(5)},
        {"sigma": Decimal(0)},
    ],
)
def test_surface__that_the_rollup_refuses__is_refused(changes: dict[str, Decimal]) -> None:
    with pytest.raises(ValueError, match="negative variance"):
        to_surface(MARKET, replace(SMILE, **changes), TIME, EXPIRES)


def test_surface__not_before_the_expiry__is_refused() -> None:
    with pytest.raises(ValueError, match="not before the expiry"):
        to_surface(MARKET, SMILE, EXPIRES, EXPIRES)


def test_surface__of_a_perpetual__is_a_ratio_alone() -> None:
    premium = Smile(ratio=Decimal("0.999"))
    surface = to_surface(MARKET, premium, TIME, Timestamp(0))
    assert from_surface(surface).rate == 0
    with pytest.raises(ValueError, match="negative variance"):
        to_surface(MARKET, SMILE, TIME, Timestamp(0))


def test_signatures__of_some_members__stand_as_a_chunk_requires_them() -> None:
    committee = [Signer(bytes([n]) * 32) for n in range(1, 6)]
    surface = to_surface(MARKET, SMILE, TIME, EXPIRES)
    signed, signatures = combine_signatures(
        surface, {n: sign_surface(DOMAIN, committee[n], surface) for n in (4, 0, 2)}
    )
    assert signed == replace(surface, signers=0b10101)
    requests = compute_requests(signed)
    assert [(request.role, request.signer) for request in requests] == [
        (Role.SURFACE, member) for member in (0, 2, 4)
    ]
    for request, signature in zip(requests, signatures, strict=True):
        digest = compute_digest(DOMAIN, request.struct_hash)
        assert recover_signer(digest, signature) == committee[request.signer].address


@pytest.mark.parametrize("member", [-1, 16])
def test_signatures__no_such_member__is_refused(member: int) -> None:
    surface: Surface = to_surface(MARKET, SMILE, TIME, EXPIRES)
    with pytest.raises(ValueError, match="members"):
        combine_signatures(surface, {member: bytes(64)})
