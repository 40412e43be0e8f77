"""How exact prices are: against mpmath, QuantLib and published tables."""

import csv
from collections.abc import Iterator
from math import exp, frexp, sqrt
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
import QuantLib
from mpmath import mp, mpf

from deltaroll.protocol.black76 import (
    compute_delta,
    compute_gamma,
    compute_pair,
    compute_theta,
    compute_vega,
)
from deltaroll.protocol.constants import ONE

POINTS = 100_000
PEER_POINTS = 20_000
PRECISION = 110
"""Bits of the reference, 33 digits."""
FORWARD = 1 << 56
"""Prices as fine as strikes of 100 times the forward leave room for."""
VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "black76"
YEAR = 31_536_000
PRICE_BITS = 57
"""Length of the larger of two prices that were floats: no bit is lost, and theta has room."""

needs_vectors = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the published tables are not part of the repository"
)


class Option(NamedTuple):
    """Integer arguments of a price."""

    forward: int
    strike: int
    deviation: int


class Values(NamedTuple):
    """Prices and Greeks in floats, undiscounted."""

    call: float
    put: float
    delta: float
    gamma: float
    vega: float
    theta: float


def options(rng: Random) -> Iterator[Option]:
    """Strikes of 0.01 to 100 forwards, deviations from 0 to 6, edges of both."""
    strikes = [FORWARD // 100, FORWARD - 1, FORWARD, FORWARD + 1, FORWARD * 100]
    deviations = [1, 2, 1 << 20, 1 << 32, ONE // 1_000, ONE, 6 * ONE]
    for strike in strikes:
        for deviation in deviations:
            yield Option(FORWARD, strike, deviation)
    for _ in range(POINTS - len(strikes) * len(deviations)):
        strike = int(FORWARD * 10 ** rng.uniform(-2, 2))
        if rng.random() < 0.5:
            strike = int(FORWARD * exp(rng.gauss(0, 0.3)))
        yield Option(FORWARD, strike, max(1, rng.randrange(6 * ONE) >> rng.randrange(10)))


def compute_reference(option: Option) -> mpf:
    """Return the call's price of exactly these arguments."""
    forward, strike = mpf(option.forward), mpf(option.strike)
    deviation = mpf(option.deviation) / ONE
    d1 = mp.log(forward / strike) / deviation + deviation / 2
    root = mp.sqrt(2)
    tails = mp.erfc(-d1 / root), mp.erfc((deviation - d1) / root)
    return (forward * tails[0] - strike * tails[1]) / 2


def test_compute_pair__hundred_thousand_points__errs_below_the_bound():
    worst = relative = 0.0
    with mp.workprec(PRECISION):
        for option in options(Random(1)):
            call, put = compute_pair(*option)
            exact = compute_reference(option)
            error = float(abs(call - exact))
            assert call - put == option.forward - option.strike
            worst = max(worst, error / option.forward)
            relative = max(relative, error / (option.forward + option.strike))
    print(f"price: {worst:.2e} of the forward, {relative:.2e} of forward and strike")
    assert worst < 1e-15
    assert relative < 2**-54


def compute_all(forward: float, strike: float, time: float, volatility: float) -> Values:
    """Return our prices and Greeks of arguments in floats, in floats."""
    scale = 2.0 ** (PRICE_BITS - frexp(max(forward, strike))[1])
    option = Option(
        round(forward * scale), round(strike * scale), round(volatility * sqrt(time) * ONE)
    )
    call, put = compute_pair(*option)
    gamma = compute_gamma(*option) / ONE / forward if forward else 0.0
    return Values(
        call / scale,
        put / scale,
        compute_delta(*option) / ONE,
        gamma,
        compute_vega(*option, round(sqrt(time) * ONE)) / scale,
        compute_theta(*option, round(time * ONE)) / scale,
    )


def test_compute_pair__quantlib__agrees_to_its_own_precision():
    rng = Random(2)
    worst: dict[str, float] = {}
    for _ in range(PEER_POINTS):
        forward = rng.uniform(1, 1_000)
        strike = forward * exp(rng.gauss(0, 0.5))
        time = 10 ** rng.uniform(-3, 0.5)
        volatility = rng.uniform(0.05, 2)
        ours = compute_all(forward, strike, time, volatility)
        deviation = volatility * sqrt(time)
        peers = [
            QuantLib.BlackCalculator(
                QuantLib.PlainVanillaPayoff(kind, strike), forward, deviation, 1.0
            )
            for kind in (QuantLib.Option.Call, QuantLib.Option.Put)
        ]
        scale = max(forward, strike)
        # Each in its natural size.
        errors = {
            "call": (ours.call - peers[0].value()) / scale,
            "put": (ours.put - peers[1].value()) / scale,
            "delta": ours.delta - peers[0].deltaForward(),
            "gamma": (ours.gamma - peers[0].gammaForward()) * forward * deviation,
            "vega": (ours.vega - peers[0].vega(time)) / (scale * sqrt(time)),
            "theta": (ours.theta - peers[0].theta(forward, time)) * time / (scale * deviation),
        }
        for name, error in errors.items():
            worst[name] = max(worst.get(name, 0.0), abs(error))
    print("QuantLib:", ", ".join(f"{name} {error:.1e}" for name, error in worst.items()))
    assert worst["call"] < 5e-15
    assert worst["put"] < 5e-15
    assert max(worst.values()) < 1e-12


@needs_vectors
def test_compute_pair__values_of_sixty_digits__agree():
    with (VECTORS / "highprec_centre.csv").open(encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) > 700
    for row in rows:
        forward, time = row["F"], row["T_years"]
        deviation = row["sigma"] * sqrt(time)
        ours = compute_all(forward, row["K"], time, row["sigma"])
        # Deviation and time are rounded to Q48 first: in the price that alone may be 1.4e-15 of the
        # forward, in theta of the shortest time 3e-12 of it. Each Greek in its natural size.
        prices = ours.call - row["call"], ours.put - row["put"]
        greeks = (
            ours.delta - row["call_delta"],
            (ours.gamma - row["gamma"]) * forward * deviation,
            (ours.vega - row["vega_per_1.00"]) / (forward * sqrt(time)),
        )
        theta = (ours.theta - row["theta_per_year"]) * time / (forward * deviation)
        assert max(map(abs, prices)) < 2e-15 * forward, row
        assert max(map(abs, greeks)) < 5e-13, row
        assert abs(theta) < 5e-12, row


@needs_vectors
def test_compute_pair__lyras_cases__agree():
    with (VECTORS / "lyra_black76_vectors.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["note"].startswith("extreme")]
    assert len(rows) == 7
    for row in rows:
        forward, strike, discount = (float(row[name]) for name in ("F", "K", "discount"))
        ours = compute_all(forward, strike, int(row["sec_to_expiry"]) / YEAR, float(row["sigma"]))
        assert ours.call * discount == pytest.approx(float(row["call"]), rel=0, abs=2e-12)
        assert ours.put * discount == pytest.approx(float(row["put"]), rel=0, abs=2e-12)
        delta = float(row["call_delta_undiscounted"])
        assert ours.delta == pytest.approx(delta, rel=0, abs=1e-12)


def compute_published(row: dict[str, str]) -> float:
    """Return what a row of Haug's, Hull's and vollib's examples asks for, from our figures."""
    names = ("S_or_F", "K", "q", "r", "T_years", "sigma")
    spot, strike, dividend, rate, time, volatility = (float(row[name] or 0) for name in names)
    is_forward = row["model"] == "black76"
    carry = 0.0 if is_forward else rate - dividend
    forward = spot * exp(carry * time)
    discount = exp(-rate * time)
    ours = compute_all(forward, strike, time, volatility)
    is_call = row["type"] == "call"
    price = discount * (ours.call if is_call else ours.put)
    # Of the forward, to begin with; then of the spot.
    delta = discount * (ours.delta - (not is_call)) * forward / spot
    strike_part = delta * spot - price
    theta = discount * ours.theta + rate * price - carry * spot * delta
    return {
        "price": price,
        "delta": delta,
        "gamma": discount * ours.gamma * (forward / spot) ** 2,
        "vega": discount * ours.vega,
        "theta": theta,
        "theta_per_day": theta / 365,
        "rho": time * strike_part,
        "dividend_rho": -time * delta * spot,
        "elasticity": delta * spot / price,
    }[row["quantity"]]


@needs_vectors
def test_compute_pair__published_examples__agree():
    with (VECTORS / "bsm_black76_reference.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 66
    for row in rows:
        found = compute_published(row)
        assert found == pytest.approx(float(row["recomputed_60digit"]), rel=1e-10, abs=1e-10), row
        if row["status"] == "ok":
            assert found == pytest.approx(float(row["expected"]), rel=0, abs=float(row["tol"])), row
