"""What a replay came to: tables for the terminal, a plot and a file for each regime."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from deltaroll.history.chains import Comparison
from deltaroll.history.plot import Panel, draw
from deltaroll.history.replay import Score
from deltaroll.protocol.constants import ONE, PPM

UNIT = 1_000_000


def to_dollars(units: int) -> str:
    """Return collateral units as whole dollars."""
    return f"{round(units / UNIT):,}"


def make_slug(name: str) -> str:
    """Return a name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def make_rows(score: Score) -> list[tuple[str, str]]:
    """Return the figures of a regime. Money in dollars."""
    worst = score.worst
    return [
        ("days", f"{len(score.samples):,}"),
        ("steps, the books checked after each", f"{score.steps:,}"),
        ("transactions", f"{sum(score.counts.values()):,}"),
        ("trades", f"{score.trades:,}"),
        ("volume", to_dollars(score.volume)),
        ("fees", to_dollars(score.fees)),
        ("funding paid", to_dollars(score.funding)),
        ("times the breaker tripped", f"{score.halts:,}"),
        ("highest risk multiplier", f"{score.multiplier / PPM:.2f}"),
        ("auctions", f"{score.distressed:,}"),
        ("liquidations", f"{score.liquidations:,}"),
        ("maintenance margin taken over", to_dollars(score.liquidated)),
        ("rewards of liquidators", to_dollars(score.rewards)),
        ("insurance fund: given", to_dollars(score.endowment)),
        ("insurance fund: earned", to_dollars(score.insurance_earned)),
        ("insurance fund: used", to_dollars(score.insurance_paid)),
        ("insurance fund: lowest", to_dollars(score.insurance_lowest)),
        ("socialised loss", to_dollars(score.socialised)),
        ("worst day", worst.date.isoformat()),
        ("lost by losers on that day", to_dollars(worst.lost)),
        ("state root", score.root.hex()[:16]),
    ]


def make_table(scores: Sequence[Score]) -> Table:
    """Return one column for each regime."""
    table = Table(title="History, replayed through the protocol (dollars)")
    table.add_column("")
    for score in scores:
        table.add_column(score.regime.name, justify="right")
    rows = [make_rows(score) for score in scores]
    for line in zip(*rows, strict=True):
        table.add_row(line[0][0], *(figure for _, figure in line))
    return table


def make_profit_table(scores: Sequence[Score]) -> Table:
    """Return what each kind of strategy gained or lost."""
    table = Table(title="Profit by strategy, fees and funding included (dollars)")
    table.add_column("")
    for score in scores:
        table.add_column(score.regime.name, justify="right")
    for kind in scores[0].profits:
        table.add_row(kind, *(to_dollars(score.profits[kind]) for score in scores))
    return table


def make_chain_table(comparisons: Sequence[Comparison]) -> Table:
    """Return how far marks are from a venue's, over all snapshots of a currency."""
    table = Table(title="Marks against Deribit's, basis points of the forward")
    for column in ("currency", "snapshots", "options", "surface", "99 %", "formula", "99 %"):
        table.add_column(column, justify="left" if column == "currency" else "right")
    for currency in sorted({comparison.currency for comparison in comparisons}):
        own = [comparison for comparison in comparisons if comparison.currency == currency]
        table.add_row(
            currency,
            f"{len(own)}",
            f"{sum(comparison.options for comparison in own):,}",
            *(
                f"{max(getattr(comparison, name) for comparison in own):.2f}"
                for name in ("median", "worst_percent", "formula_median", "formula_worst_percent")
            ),
        )
    return table


def make_plot(score: Score) -> str:
    """Return a regime's plot."""
    samples = score.samples
    panels = [
        Panel("index, dollars a lot", [sample.index / UNIT for sample in samples]),
        Panel("implied volatility, %", [sample.volatility / ONE * 100 for sample in samples]),
        Panel("risk multiplier", [sample.multiplier / PPM for sample in samples]),
        Panel(
            "insurance fund, dollars", [sample.insurance / UNIT for sample in samples], False, True
        ),
        Panel(
            "maintenance margin taken over, dollars a day",
            [sample.liquidated / UNIT for sample in samples],
            is_bar=True,
        ),
        Panel(
            "socialised loss, dollars a day",
            [sample.socialised / UNIT for sample in samples],
            is_bar=True,
        ),
    ]
    return draw(score.regime.name, [sample.date for sample in samples], panels)


def write(scores: Sequence[Score], comparisons: Sequence[Comparison], folder: Path) -> None:
    """Write plots and figures."""
    folder.mkdir(parents=True, exist_ok=True)
    for score in scores:
        path = folder / f"{make_slug(score.regime.name)}.svg"
        path.write_text(make_plot(score), encoding="utf-8")
    figures = {
        "regimes": {
            score.regime.name: {
                **dict(make_rows(score)),
                "profits": {kind: to_dollars(profit) for kind, profit in score.profits.items()},
                "counts": score.counts,
                "refused": score.refused,
            }
            for score in scores
        },
        "chains": [asdict(comparison) for comparison in comparisons],
    }
    (folder / "history.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
