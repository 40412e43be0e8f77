"""Surfaces: every strike has a variance, wings allow no arbitrage, a quorum has signed in time."""

from dataclasses import replace
from decimal import Decimal
from math import isqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.protocol.constants import MAX_SIGNERS, ONE
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.leaf import encode_expiry, encode_underlying
from deltaroll.protocol.state import set_market
from deltaroll.protocol.surface import (
    MAX_VARIANCE,
    compute_variance,
    process_surface,
    validate_quorum,
    validate_surface,
)
from deltaroll.protocol.types import (
    Address,
    Committee,
    Expiry,
    MarketId,
    Surface,
    Timestamp,
)
from deltaroll.sdk.oracle import to_q48
from tests.protocol.markets import (
    INDEX,
    PARAMS,
    START,
    any_expiries,
    attempt,
    harness,
    make_expiry,
    make_state,
    make_surfaced,
    make_underlying,
    plain,
    run_both,
    unsigned,
)

MARKET = MarketId(30)
FLAT = Surface(MARKET, 0b111, ONE, 0, ONE // 50, 0, 0, 0, 1, START)
SMILE = replace(FLAT, b=ONE // 20, rho=-ONE // 5, m=ONE // 50, sigma=ONE // 10)
PREMIUM = replace(FLAT, ratio=ONE + 9, a=0, sigma=0)
TOP = (1 << 63) - 1

# Fits of Derive's options of February 2025: a, b, rho, m, sigma, from the published portfolios that
# test its margin (v2-core, 7736900).
FITS = [
    (
        "0.014300357704211502",
        "0.0827524527457924",
        "-0.382822578433611968",
        "-0.09580552917879888",
        "0.130054633001893984",
    ),
    (
        "0.07368236692851656",
        "0.205025228089922624",
        "-0.260716351690481504",
        "-0.220169931306819072",
        "0.556540627238575424",
    ),
    (
        "0.048077891716671768",
        "0.178708998415908352",
        "-0.303020572606101312",
        "-0.135449045846644848",
        "0.313322419209750784",
    ),
    (
        "0.132849597621646464",
        "0.210937285351309344",
        "-0.200960164470235232",
        "-0.217092600906592064",
        "0.623290216378740992",
    ),
    (
        "0.00747501222223352",
        "0.060665381044265232",
        "-0.328198412513659008",
        "-0.07261800280895024",
        "0.123029393387028608",
    ),
    (
        "0.028231989535813208",
        "0.109259425345882544",
        "-0.383013803740933184",
        "-0.133973849690965232",
        "0.194449491168214112",
    ),
    (
        "0.043042515189822624",
        "0.143810280190368896",
        "-0.352114091691820928",
        "-0.144020574302027056",
        "0.258085198203281856",
    ),
    (
        "0.002138900837067276",
        "0.041639765820381208",
        "-0.290894349076049536",
        "-0.026351062568175804",
        "0.062563079314213912",
    ),
    (
        "0.001312702925407463",
        "0.050422218997729072",
        "-0.098193989548562656",
        "-0.006080219757221094",
        "0.15345141996372912",
    ),
    (
        "0.007565004123347051",
        "0.056657535290617424",
        "-0.550126934432354304",
        "-0.063306755636129112",
        "0.04832319830307816",
    ),
    (
        "0.024537690770119612",
        "0.109352002425581584",
        "-0.415043334267211712",
        "-0.119132790857374784",
        "0.172435504151341056",
    ),
    (".002813917021071565824", "0.000", "-0.235144021250414", "-0.21", "0.5"),
    (
        "0.037574082463560592",
        "0.16849493188097248",
        "-0.210633086165414528",
        "-0.114253608478606368",
        "0.48027331501752384",
    ),
    (
        "0.184651883600824896",
        "0.27007198857772224",
        "-0.018780576719822544",
        "-0.03283364005471412",
        "0.608952685023779584",
    ),
    (
        "0.046070200405977232",
        "0.195834452450896224",
        "-0.208147474605539104",
        "-0.13536259372264304",
        "0.540183983238939136",
    ),
    (
        "0.051252167297758784",
        "0.25382695424078288",
        "-0.07902495377539872",
        "-0.083279458781217952",
        "0.790699139407959168",
    ),
    (
        "0.03238616829727426",
        "0.136118440184388432",
        "-0.29971908142941248",
        "-0.12737532672416784",
        "0.32482571527434912",
    ),
    (
        "0.013247160300999274",
        "0.076884552028962688",
        "-0.386659718191614976",
        "-0.095073882757906",
        "0.180724559364235648",
    ),
]

fractions = st.one_of(
    st.integers(-2 * ONE, 2 * ONE), st.integers(-ONE // 10, ONE // 10), st.integers(-TOP, TOP)
)
surfaces = st.builds(
    Surface,
    st.just(MARKET),
    st.just(0b111),
    st.one_of(st.integers(ONE // 4, 4 * ONE), unsigned(63)),
    st.one_of(st.integers(-ONE, ONE), fractions),
    fractions,
    st.one_of(st.integers(0, ONE), fractions),
    st.one_of(st.integers(-ONE, ONE), st.sampled_from((ONE - 1, 1 - ONE)), fractions),
    fractions,
    st.one_of(st.integers(1, ONE), fractions),
    st.just(START),
)
sound = st.builds(
    lambda a, b, rho, m, sigma: replace(FLAT, a=a, b=b, rho=rho, m=m, sigma=sigma),
    st.integers(-ONE // 8, ONE),
    st.integers(0, ONE),
    st.integers(1 - ONE, ONE - 1),
    st.integers(-ONE, ONE),
    st.integers(1, ONE),
)


def put_on(surface: Surface, **changes: Any) -> Expiry:
    """An expiry that a surface was set on."""
    names = ("ratio", "rate", "a", "b", "rho", "m", "sigma")
    return make_expiry(**{name: getattr(surface, name) for name in names}, **changes)


def find_fault(surface: Surface, **changes: Any) -> Fault:
    """What validation says of a surface of an option expiry, on both twins."""
    expiry = make_expiry(**changes)
    fault = attempt(lambda: validate_surface(expiry, surface))
    assert harness().call("checkSurface", encode_expiry(expiry), plain(surface)) == fault
    return fault


def compute_exactly(surface: Surface, moneyness: int) -> int:
    """Total variance in Q144, at most 2^-63 of a Q48 unit too small."""
    distance = moneyness - surface.m
    square = distance * distance + surface.sigma * surface.sigma
    root = isqrt(square << 192)
    return (surface.a << 96) + surface.b * (surface.rho * distance) + (surface.b * root >> 48)


@pytest.mark.parametrize("fit", FITS)
def test_surface__fits_of_a_real_market__are_accepted(fit: tuple[str, ...]) -> None:
    a, b, rho, m, sigma = (to_q48(Decimal(value)) for value in fit)
    surface = replace(FLAT, a=a, b=b, rho=rho, m=m, sigma=sigma)
    assert find_fault(surface) == Fault.NONE


@given(sound, st.integers(-8 * ONE, 8 * ONE))
@settings(max_examples=300)
def test_surface__accepted__has_no_negative_variance(surface: Surface, moneyness: int) -> None:
    if find_fault(surface) != Fault.NONE:
        return
    # Where it is least, around it, and anywhere.
    height = isqrt(ONE * ONE - surface.rho * surface.rho)
    least = surface.m - surface.rho * surface.sigma // max(height, 1)
    for k in (least, least - 1, least + 1, surface.m, moneyness, -moneyness, *range(-8, 9)):
        assert compute_exactly(surface, k) >= -1 << 80
        exact = max(0, compute_exactly(surface, k)) >> 96
        assert exact - 2 <= compute_variance(put_on(surface), k) <= exact + 1


@given(sound)
@settings(max_examples=300)
def test_surface__negative_variance_on_a_grid__is_refused(surface: Surface) -> None:
    grid = range(-2 * ONE, 2 * ONE + 1, ONE // 8)
    if any(compute_exactly(surface, k) < -(1 << 97) for k in grid):
        assert find_fault(surface) == Fault.SURFACE


@given(sound, st.integers(1, 40))
def test_variance__wings__rise_by_less_than_lee_allows(surface: Surface, at: int) -> None:
    if find_fault(surface) != Fault.NONE:
        return
    expiry = put_on(surface)
    for side in (1, -1):
        near = compute_variance(expiry, side * at * ONE)
        far = compute_variance(expiry, side * (at + 1) * ONE)
        assert far - near <= 2 * ONE + 2


@pytest.mark.parametrize(
    "changes",
    [
        {"ratio": ONE // 4 - 1},
        {"ratio": 4 * ONE + 1},
        {"rate": ONE + 1},
        {"rate": -ONE - 1},
        {"a": -1},
        {"a": 36 * ONE + 1},
        {"b": -1},
        {"rho": ONE},
        {"rho": -ONE},
        {"m": 16 * ONE + 1},
        {"m": -16 * ONE - 1},
        {"sigma": 0},
        {"sigma": -1},
        {"sigma": 36 * ONE + 1},
        {"b": 2 * ONE + 1, "rho": 0},
        {"b": ONE, "rho": ONE - 1, "a": -1, "sigma": 1},
        {"b": ONE + ONE // 2, "rho": ONE // 2},
        {"a": TOP},
        {"b": TOP},
        {"m": -TOP},
    ],
)
def test_surface__out_of_its_bounds__surface(changes: dict[str, Any]) -> None:
    assert find_fault(replace(FLAT, **changes)) == Fault.SURFACE


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ratio": ONE // 4, "rate": ONE},
        {"ratio": 4 * ONE, "rate": -ONE},
        {"a": 36 * ONE, "m": 16 * ONE, "sigma": 36 * ONE},
        {"b": 2 * ONE, "a": -2 * ONE, "sigma": ONE},
        {"b": ONE, "rho": ONE - 1, "sigma": 1},
        {"a": 0},
    ],
)
def test_surface__at_its_bounds__is_accepted(changes: dict[str, Any]) -> None:
    assert find_fault(replace(FLAT, **changes)) == Fault.NONE


@pytest.mark.parametrize("name", ["rate", "a", "b", "rho", "m", "sigma"])
def test_surface__of_perpetuals__is_a_ratio_alone(name: str) -> None:
    changes: Any = {name: 1}
    assert find_fault(PREMIUM, time=Timestamp(0)) == Fault.NONE
    assert find_fault(replace(PREMIUM, **changes), time=Timestamp(0)) == Fault.SURFACE
    assert find_fault(PREMIUM) == Fault.SURFACE


@given(any_expiries, st.integers(-TOP, TOP))
def test_variance__any_leaf__is_inside_its_bounds(expiry: Expiry, moneyness: int) -> None:
    assert 0 <= compute_variance(expiry, moneyness) <= MAX_VARIANCE


@given(surfaces, st.sampled_from((START, Timestamp(0))))
@settings(max_examples=300)
def test_twins__validate_surface__are_one(surface: Surface, time: Timestamp) -> None:
    expiry = make_expiry(time=time)
    found = harness().call("checkSurface", encode_expiry(expiry), plain(surface))
    assert found == attempt(lambda: validate_surface(expiry, surface))


@given(
    st.one_of(any_expiries, sound.map(put_on)),
    st.one_of(st.integers(-45 * ONE, 45 * ONE), st.integers(-ONE, ONE)),
)
@settings(max_examples=300)
def test_twins__variance__are_one(expiry: Expiry, moneyness: int) -> None:
    found, gas = harness().call("variance", encode_expiry(expiry), moneyness)
    assert found == compute_variance(expiry, moneyness)
    assert gas < 4_000


@given(
    unsigned(MAX_SIGNERS),
    st.integers(0, MAX_SIGNERS),
    st.integers(0, MAX_SIGNERS),
    st.integers(START - 3, START + 800),
    st.integers(START - 3, START + 3),
    st.sampled_from((0, START, START + 1, START + 9_999)),
    st.integers(0, 900),
)
@settings(max_examples=300)
def test_twins__quorum__are_one(
    signers: int, members: int, threshold: int, time: int, surfaced: int, expires: int, later: int
) -> None:
    expiry = make_expiry(time=Timestamp(expires), surfaced_at=Timestamp(surfaced))
    committee = Committee(threshold, tuple(Address(bytes([n]) * 20) for n in range(1, members + 1)))
    surface = replace(SMILE, signers=signers & ((2 << members) - 1), time=Timestamp(time))
    clock = Timestamp(START + later)
    found = harness().call(
        "checkQuorum",
        encode_expiry(expiry),
        encode_underlying(make_underlying()),
        plain(committee),
        plain(surface),
        clock,
    )
    assert found == attempt(
        lambda: validate_quorum(expiry, make_underlying(), committee, surface, clock)
    )


CLOCK = START + PARAMS.max_observation_age


@pytest.mark.parametrize(
    ("leaf", "surface", "fault"),
    [
        (make_expiry(), SMILE, Fault.NONE),
        (make_expiry(), replace(SMILE, signers=0b10101), Fault.NONE),
        (make_surfaced(surfaced_at=Timestamp(START - 1)), SMILE, Fault.NONE),
        (make_expiry(time=Timestamp(0)), PREMIUM, Fault.NONE),
        (make_expiry(time=Timestamp(START + 1)), SMILE, Fault.NONE),
        (make_expiry(time=START), SMILE, Fault.QUORUM),
        (make_expiry(surfaced_at=START), SMILE, Fault.QUORUM),
        (make_expiry(), replace(SMILE, signers=0b11), Fault.QUORUM),
        (make_expiry(), replace(SMILE, time=Timestamp(START - 1)), Fault.QUORUM),
        (make_expiry(), replace(SMILE, time=Timestamp(CLOCK + 1)), Fault.QUORUM),
        (make_expiry(), replace(SMILE, signers=0b100111), Fault.UNKNOWN_SIGNER),
        (make_expiry(), replace(SMILE, b=-1), Fault.SURFACE),
        (make_expiry(settlement=1), SMILE, Fault.INACTIVE),
        (make_expiry(underlying=MarketId(9)), SMILE, Fault.UNKNOWN_MARKET),
        (make_expiry(), replace(SMILE, market=INDEX), Fault.UNKNOWN_MARKET),
        (make_expiry(), replace(SMILE, market=MarketId(31)), Fault.UNKNOWN_MARKET),
    ],
)
def test_process_surface__each_case__has_its_fault(
    leaf: Expiry, surface: Surface, fault: Fault
) -> None:
    state = make_state(CLOCK)
    set_market(state, MARKET, leaf)
    assert run_both(state, process_surface, "runSurface", surface) == fault
    if fault == Fault.NONE:
        after = put_on(surface, time=leaf.time, surfaced_at=surface.time)
        assert state.markets[MARKET] == after
