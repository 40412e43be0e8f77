"""Daily prices and volatilities of real markets, and the storms among them.

The S&P 500 and the VIX stand in `facts`. Bitcoin and ether come from a folder that is not part of
the project; where it is absent there are none.
"""

import csv
import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from pathlib import Path

UNIT = 1_000_000
"""Collateral units in a dollar."""
HOUR = 3600
OVERNIGHT = Fraction("0.0001")
"""Funding of a perpetual for which there is no history: a venue's usual base rate, per 8 hours."""
THIN_INDEX, THIN_COIN = 6, 3
"""Some regimes are run once more with this part of the margin."""
ETHER_OVER_BITCOIN = Fraction("1.25")
"""Volatility of ether over that of bitcoin: of ether's there is no history here."""


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a market, in dollars."""

    date: datetime.date
    open: Fraction
    high: Fraction
    low: Fraction
    close: Fraction
    volatility: Fraction
    """Implied, a year, as of the close."""
    funding: Fraction
    """What longs pay shorts in 8 hours, of notional."""


@dataclass(frozen=True, slots=True)
class Asset:
    """How a market is listed."""

    name: str
    lot: Fraction
    """Of the underlying."""
    strike_step: int
    """Dollars of the underlying."""
    hours: tuple[int, int, int, int]
    """Seconds after midnight UTC of open, the two extremes and close."""
    correlation: Fraction
    """Of price and volatility: the smile's lean."""
    curvature: Fraction
    """Of the smile."""


@dataclass(frozen=True, slots=True)
class Regime:
    """Some months of a market."""

    name: str
    asset: Asset
    days: tuple[Day, ...]
    thinness: int = 1
    """Margin requirements are divided by it; the protocol's own are 1."""


SP500 = Asset(
    name="S&P 500",
    lot=Fraction("0.01"),
    strike_step=40,
    hours=(52_200, 59_400, 67_500, 75_600),
    correlation=Fraction("-0.6"),
    curvature=Fraction("0.7"),
)
_CRYPTO_HOURS = (300, 8 * HOUR + 2_400, 16 * HOUR, 23 * HOUR + 1_800)
BITCOIN = Asset(
    name="BTC",
    lot=Fraction("0.001"),
    strike_step=2_000,
    hours=_CRYPTO_HOURS,
    correlation=Fraction("-0.2"),
    curvature=Fraction("0.8"),
)
ETHER = Asset(
    name="ETH",
    lot=Fraction("0.01"),
    strike_step=100,
    hours=_CRYPTO_HOURS,
    correlation=Fraction("-0.2"),
    curvature=Fraction("0.8"),
)


def parse_rows(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file, comments left out."""
    yield from csv.DictReader(line for line in lines if not line.startswith("#"))


def read_facts(name: str) -> list[dict[str, str]]:
    """Return the rows of a file that comes with the project."""
    text = resources.files("deltaroll.history").joinpath(f"facts/{name}").read_text()
    return list(parse_rows(text.splitlines()))


def read_file(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file."""
    with path.open(encoding="utf-8") as file:
        return list(parse_rows(file))


def read_sp500() -> list[Day]:
    """Return the S&P 500 of 2015 and 2018 with the VIX."""
    volatility = {row["date"]: Fraction(row["close"]) / 100 for row in read_facts("vix.csv")}
    return [
        Day(
            date=datetime.date.fromisoformat(row["date"]),
            open=Fraction(row["open"]),
            high=Fraction(row["high"]),
            low=Fraction(row["low"]),
            close=Fraction(row["close"]),
            volatility=volatility[row["date"]],
            funding=OVERNIGHT,
        )
        for row in read_facts("sp500.csv")
    ]


def read_funding(folder: Path) -> dict[str, Fraction]:
    """Return a perpetual's mean funding rate of each day, per 8 hours."""
    rates: dict[str, list[Fraction]] = {}
    for row in read_file(folder / "btc_funding_8h.csv"):
        rates.setdefault(row["time_utc"][:10], []).append(Fraction(row["rate_pct_per_8h"]) / 100)
    return {date: sum(values, Fraction(0)) / len(values) for date, values in rates.items()}


def read_volatility(folder: Path) -> dict[str, Fraction]:
    """Return bitcoin's implied volatility of each day."""
    rows = read_file(folder / "btc_dvol_daily.csv")
    return {row["date_utc"]: Fraction(row["dvol_close_pct"]) / 100 for row in rows}


def read_bitcoin(folder: Path) -> list[Day]:
    """Return bitcoin's days for which there are price, volatility and funding."""
    volatility, funding = read_volatility(folder), read_funding(folder)
    return [
        Day(
            date=datetime.date.fromisoformat(row["date_utc"]),
            open=Fraction(row["open"]),
            high=Fraction(row["high"]),
            low=Fraction(row["low"]),
            close=Fraction(row["close"]),
            volatility=volatility[row["date_utc"]],
            funding=funding[row["date_utc"]],
        )
        for row in read_file(folder / "btc_spot_daily.csv")
        if row["date_utc"] in volatility and row["date_utc"] in funding
    ]


def read_ether(folder: Path) -> list[Day]:
    """Return ether's days: closes are all there is, so a day moves in one step.

    Volatility is bitcoin's times `ETHER_OVER_BITCOIN`, funding is bitcoin's.
    """
    volatility, funding = read_volatility(folder), read_funding(folder)
    days = []
    before: Fraction | None = None
    for row in read_file(folder / "eth_spot_daily.csv"):
        date, close = row["date_utc"], Fraction(row["close"])
        before = close if before is None else before
        if date in volatility and date in funding:
            days.append(
                Day(
                    date=datetime.date.fromisoformat(date),
                    open=before,
                    high=max(before, close),
                    low=min(before, close),
                    close=close,
                    volatility=volatility[date] * ETHER_OVER_BITCOIN,
                    funding=funding[date],
                )
            )
        before = close
    return days


def cut(name: str, asset: Asset, days: list[Day], first: str, last: str) -> Regime:
    """Return the days from `first` to `last` as a regime."""
    window = tuple(day for day in days if first <= day.date.isoformat() <= last)
    if not window:
        raise ValueError(f"no prices of {name}")
    return Regime(name, asset, window)


def thin(regime: Regime, thinness: int) -> Regime:
    """Return a regime at a part of the margin, where the same strategies take as much more risk."""
    name = f"{regime.name}, 1/{thinness} of the margin"
    return Regime(name, regime.asset, regime.days, thinness)


def make_regimes(folder: Path | None) -> list[Regime]:
    """Return all regimes; those of coins only when their folder is there."""
    sp500 = read_sp500()
    year_2015 = cut("S&P 500, 2015", SP500, sp500, "2015-01-01", "2015-12-31")
    year_2018 = cut("S&P 500, 2018", SP500, sp500, "2018-01-01", "2018-12-31")
    regimes = [year_2015, year_2018, thin(year_2015, THIN_INDEX), thin(year_2018, THIN_INDEX)]
    if folder is None or not folder.is_dir():
        return regimes
    bitcoin, ether = read_bitcoin(folder), read_ether(folder)
    winter = cut("BTC, Nov 2022 to Jan 2023", BITCOIN, bitcoin, "2022-11-06", "2023-01-31")
    return [
        *regimes,
        winter,
        thin(winter, THIN_COIN),
        cut("BTC, Jul to Sep 2024", BITCOIN, bitcoin, "2024-07-01", "2024-09-30"),
        cut("BTC, Sep to Nov 2025", BITCOIN, bitcoin, "2025-09-01", "2025-11-09"),
        cut("ETH, Nov 2022 to Jan 2023", ETHER, ether, "2022-11-08", "2023-01-31"),
        cut("ETH, Feb to Apr 2025", ETHER, ether, "2025-02-01", "2025-04-30"),
    ]
