"""Real option chains under the protocol's surface and formula: how far are its marks from theirs?

For every snapshot of a venue's chain a raw SVI surface is fitted to each expiry, as a committee
would sign it. The whole chain is then marked in integers and compared with the venue's own marks.
"""

import csv
import datetime
import gzip
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deltaroll.engine.board import compute_quotes
from deltaroll.history.data import BITCOIN, ETHER, UNIT, Asset
from deltaroll.history.exchange import COMMITTEE, GRID, TICK, UNDERLYING
from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.constants import ONE, YEAR
from deltaroll.protocol.listing import create_expiry, create_series
from deltaroll.protocol.state import State, set_market
from deltaroll.protocol.surface import validate_surface
from deltaroll.protocol.types import (
    Expiry,
    MarketId,
    SeriesKind,
    SeriesStatus,
    Surface,
    Timestamp,
    Underlying,
)

Floats = NDArray[np.float64]

ASSETS: dict[str, Asset] = {"BTC": BITCOIN, "ETH": ETHER}
FIRST = 100
"""Id of the first expiry."""
SHORTEST = 6 * 3600
"""Seconds; expiries closer than that are left out: their marks move while they are read."""
LARGEST_STRIKES = 4.0
"""Deviations from the forward; options further out are left out, worth less than a tick."""
GRID_POINTS = 11
ZOOMS = 6


@dataclass(frozen=True, slots=True)
class Option:
    """A row of a chain."""

    expiry: int
    strike: float
    is_call: bool
    forward: float
    """Dollars, of its expiry."""
    mark: float
    """Dollars."""
    volatility: float


@dataclass(frozen=True, slots=True)
class Chain:
    """A currency's options at one moment."""

    currency: str
    time: int
    index: float
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """Raw SVI, total variance."""

    a: float
    b: float
    rho: float
    m: float
    sigma: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A chain marked by the protocol. Errors are of the forward, in basis points."""

    currency: str
    time: int
    expiries: int
    options: int
    median: float
    worst_percent: float
    """99 % are closer than this."""
    formula_median: float
    """The same where every option has the volatility that its venue states: no surface between."""
    formula_worst_percent: float


def parse_time(text: str) -> int:
    """Return an ISO date and time as Unix seconds."""
    return int(datetime.datetime.fromisoformat(text).timestamp())


def read_chains(path: Path) -> list[Chain]:
    """Return the chains of one snapshot file, one per currency."""
    options: dict[str, list[Option]] = {}
    indexes: dict[str, list[float]] = {}
    times: dict[str, int] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not row["implied_volatility"] or not row["mark_price"]:
                continue
            currency = row["currency"]
            forward = float(row["underlying"])
            times[currency] = max(times.get(currency, 0), parse_time(row["timestamp"]))
            indexes.setdefault(currency, []).append(float(row["index_price"]))
            options.setdefault(currency, []).append(
                Option(
                    expiry=parse_time(row["expiry_datetime"]),
                    strike=float(row["strike"]),
                    is_call=row["option_type"] == "call",
                    forward=forward,
                    mark=float(row["mark_price"]) * forward,
                    volatility=float(row["implied_volatility"]),
                )
            )
    return [
        Chain(currency, times[currency], float(np.median(indexes[currency])), tuple(found))
        for currency, found in options.items()
    ]


def select_options(chain: Chain) -> dict[int, list[Option]]:
    """Return the options to compare, by expiry."""
    chosen: dict[int, list[Option]] = {}
    for option in chain.options:
        years = (option.expiry - chain.time) / YEAR
        if years * YEAR < SHORTEST or option.volatility <= 0:
            continue
        distance = abs(float(np.log(option.strike / option.forward)))
        if distance <= LARGEST_STRIKES * option.volatility * years**0.5:
            chosen.setdefault(option.expiry, []).append(option)
    return {expiry: found for expiry, found in sorted(chosen.items()) if len(found) >= 5}


def fit_surface(moneyness: Floats, variance: Floats, weights: Floats) -> Fit:
    """Return the SVI that fits best, among those that the protocol accepts.

    For given m and sigma the rest is linear: a + b rho (k - m) + b root. A grid of the two is
    searched, and zoomed into.
    """
    scale = float(np.sqrt(variance.mean()))
    center, width = 0.0, 2 * scale
    low, high = np.log(0.02 * scale), np.log(5 * scale)
    best = Fit(float(np.average(variance, weights=weights)), 0.0, 0.0, 0.0, scale)
    least = float("inf")
    for _ in range(ZOOMS):
        for m in np.linspace(center - width, center + width, GRID_POINTS):
            for sigma in np.exp(np.linspace(low, high, GRID_POINTS)):
                distance = moneyness - m
                root = np.sqrt(distance**2 + sigma**2)
                columns = np.stack((np.ones_like(root), distance, root), axis=1)
                scaled = columns * weights[:, None]
                solution, *_ = np.linalg.lstsq(scaled, variance * weights, rcond=None)
                a, lean, b = (float(value) for value in solution)
                fit = Fit(a, b, lean / b if b > 0 else 0.0, float(m), float(sigma))
                error = float((((columns @ solution - variance) * weights) ** 2).sum())
                if error < least and is_allowed(fit):
                    best, least = fit, error
        center, width = best.m, width / 3
        middle, reach = np.log(best.sigma), (high - low) / 6
        low, high = middle - reach, middle + reach
    return best


def is_allowed(fit: Fit) -> bool:
    """Return whether the protocol accepts a surface, with some room for its rounding."""
    return (
        fit.b >= 0
        and abs(fit.rho) < 0.999
        and fit.b * (1 + abs(fit.rho)) < 1.999
        and fit.a + fit.b * fit.sigma * (1 - fit.rho**2) ** 0.5 > 1e-9
    )


def make_surface(market: MarketId, fit: Fit, ratio: int, time: int) -> Surface:
    """Return a fit as committee members sign it."""
    values = (fit.a, fit.b, fit.rho, fit.m, fit.sigma)
    a, b, rho, m, sigma = (round(value * ONE) for value in values)
    return Surface(market, 0, ratio, 0, a, b, rho, m, max(1, sigma), Timestamp(time))


class Venue:
    """A state with a chain's index and its expiries."""

    def __init__(self, chain: Chain) -> None:
        self.state = State()
        self.chain = chain
        self.asset = ASSETS[chain.currency]
        time = Timestamp(chain.time)
        self.state.globals = replace(self.state.globals, clock=time)
        self.index = self.to_lot(chain.index)
        set_market(self.state, GRID, PMRM_2)
        set_market(
            self.state,
            UNDERLYING,
            Underlying(
                params=make_params(COMMITTEE, GRID, TICK),
                index=self.index,
                observed_at=time,
                pending_index=0,
                halted_until=Timestamp(0),
                variance=0,
                multiplier=0,
                window_sum=0,
                window_seconds=0,
                day=0,
                twaps=(0, 0, 0, 0),
            ),
        )
        self._next = FIRST
        self._series: dict[MarketId, Option] = {}

    def to_lot(self, dollars: float) -> int:
        """Return a price in dollars as units per lot."""
        return round(dollars * float(self.asset.lot) * UNIT)

    def add_expiry(self, time: int, forward: float, fit: Fit) -> MarketId:
        """Store an expiry with its surface, which the protocol has to accept."""
        market = MarketId(self._next)
        self._next += 1
        ratio = round(self.to_lot(forward) / self.index * ONE)
        expiry = create_expiry(UNDERLYING, Timestamp(time))
        surface = make_surface(market, fit, ratio, self.chain.time)
        validate_surface(expiry, surface)
        leaf: Expiry = replace(
            expiry,
            ratio=surface.ratio,
            a=surface.a,
            b=surface.b,
            rho=surface.rho,
            m=surface.m,
            sigma=surface.sigma,
            surfaced_at=surface.time,
        )
        set_market(self.state, market, leaf)
        return market

    def add_option(self, expiry: MarketId, option: Option) -> None:
        """List an option."""
        market = MarketId(self._next)
        self._next += 1
        kind = SeriesKind.CALL if option.is_call else SeriesKind.PUT
        strike = self.to_lot(option.strike)
        series = create_series(kind, SeriesStatus.ACTIVE, UNDERLYING, expiry, strike)
        set_market(self.state, market, series)
        self._series[market] = option

    def compute_errors(self) -> Floats:
        """Return how far marks are from the venue's, in basis points of the forward."""
        quotes = compute_quotes(self.state)
        scale = float(self.asset.lot) * UNIT
        return np.array(
            [
                abs(quotes[market].mark / scale - option.mark) / option.forward * 1e4
                for market, option in self._series.items()
            ]
        )


def compare(chain: Chain) -> Comparison:
    """Mark a chain, by fitted surfaces and by the stated volatilities."""
    fitted, stated = Venue(chain), Venue(chain)
    chosen = select_options(chain)
    for time, options in chosen.items():
        years = (time - chain.time) / YEAR
        forward = float(np.median([option.forward for option in options]))
        moneyness = np.array([np.log(option.strike / option.forward) for option in options])
        volatility = np.array([option.volatility for option in options])
        variance = volatility**2 * years
        # Errors of price are errors of variance times vega, which falls off like the density.
        weights = np.exp(-(moneyness**2) / (2 * variance)) / np.sqrt(variance) + 1e-3
        expiry = fitted.add_expiry(time, forward, fit_surface(moneyness, variance, weights))
        for option in options:
            fitted.add_option(expiry, option)
            flat = Fit(option.volatility**2 * years, 0.0, 0.0, 0.0, 0.1)
            stated.add_option(stated.add_expiry(time, option.forward, flat), option)
    errors, formula = fitted.compute_errors(), stated.compute_errors()
    return Comparison(
        currency=chain.currency,
        time=chain.time,
        expiries=len(chosen),
        options=len(errors),
        median=float(np.median(errors)),
        worst_percent=float(np.quantile(errors, 0.99)),
        formula_median=float(np.median(formula)),
        formula_worst_percent=float(np.quantile(formula, 0.99)),
    )


def compare_folder(folder: Path) -> list[Comparison]:
    """Compare every snapshot of a folder; none when it is absent."""
    return [
        compare(chain) for path in sorted(folder.glob("*.csv.gz")) for chain in read_chains(path)
    ]
