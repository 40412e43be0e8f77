"""Surfaces fitted to chains, made up and real."""

from pathlib import Path

import numpy as np
import pytest

from deltaroll.history.chains import (
    Chain,
    Fit,
    Option,
    compare,
    compare_folder,
    fit_surface,
    is_allowed,
    read_chains,
)
from deltaroll.protocol.black76 import compute_pair
from deltaroll.protocol.constants import DAY, ONE

DERIBIT = Path(__file__).parents[3] / "shared" / "data" / "deribit"
TRUE = Fit(a=0.004, b=0.05, rho=-0.4, m=0.02, sigma=0.15)


def compute_variance(fit: Fit, moneyness: np.ndarray) -> np.ndarray:
    distance = moneyness - fit.m
    return fit.a + fit.b * (fit.rho * distance + np.sqrt(distance**2 + fit.sigma**2))


def test_fit_surface__its_own_kind__is_found_again():
    moneyness = np.linspace(-0.5, 0.5, 41)
    variance = compute_variance(TRUE, moneyness)
    fit = fit_surface(moneyness, variance, np.ones_like(moneyness))
    assert is_allowed(fit)
    assert np.abs(compute_variance(fit, moneyness) - variance).max() < 2e-5


def test_fit_surface__wings_too_steep__stays_within_the_protocols_bounds():
    moneyness = np.linspace(-1, 1, 21)
    fit = fit_surface(moneyness, 5 * np.abs(moneyness), np.ones_like(moneyness))
    assert is_allowed(fit)


def test_compare__chain_of_the_formula_itself__is_met():
    """A venue that marks by the same surface differs by the fit alone."""
    time, forward = 1_767_000_000, 90_000.0
    options = []
    for days in (7, 35):
        expiry = time + days * DAY
        for strike in range(60_000, 125_000, 2_500):
            variance = float(compute_variance(TRUE, np.log(np.array([strike / forward])))[0])
            pair = compute_pair(int(forward * 1e6), strike * 10**6, round(variance**0.5 * ONE))
            volatility = (variance / (days / 365)) ** 0.5
            for is_call in (True, False):
                mark = pair[0 if is_call else 1] / 1e6
                options.append(Option(expiry, strike, is_call, forward, mark, volatility))
    result = compare(Chain("BTC", time, forward, tuple(options)))
    assert result.options == len(options)
    assert result.worst_percent < 0.2
    assert result.formula_worst_percent < 1e-3


@pytest.mark.skipif(not DERIBIT.is_dir(), reason="needs ../shared/data/deribit")
def test_compare__deribits_chain__marks_are_theirs():
    path = min(DERIBIT.glob("*.csv.gz"))
    for chain in read_chains(path):
        result = compare(chain)
        assert result.options > 500
        assert result.formula_median < 0.1
        assert result.median < 1
        assert result.worst_percent < 5


def test_compare_folder__absent__is_empty(tmp_path: Path):
    assert compare_folder(tmp_path / "none") == []
