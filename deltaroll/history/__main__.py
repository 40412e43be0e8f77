"""`python -m deltaroll.history`: replay real markets, print what came of it, write plots.

Exit code 1 when a unit of money or a lot was made or lost anywhere.
"""

from pathlib import Path

import click
from rich.console import Console

from deltaroll.history.chains import compare_folder
from deltaroll.history.data import make_regimes
from deltaroll.history.exchange import LedgerError
from deltaroll.history.replay import Score, replay
from deltaroll.history.report import make_chain_table, make_profit_table, make_table, write

SHARED = Path("..") / "shared" / "data"
OUTPUT = Path("build") / "history"
ACROSS = 4
"""Regimes in one table."""


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=SHARED,
    show_default=True,
    help="Folder with `history` and `deribit`; coins are left out without it.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=OUTPUT,
    show_default=True,
    help="Folder for plots and figures.",
)
def main(data: Path, output: Path) -> None:
    """Replay real markets through the protocol."""
    console = Console(width=150, highlight=False)
    regimes = make_regimes(data / "history")
    if not (data / "history").is_dir():
        console.print(f"{data / 'history'} is not there: no BTC and no ETH")
    scores: list[Score] = []
    for regime in regimes:
        console.print(f"{regime.name}: {len(regime.days)} days")
        try:
            scores.append(replay(regime))
        except LedgerError as problem:
            raise click.ClickException(f"{regime.name}: {problem}") from None
    for first in range(0, len(scores), ACROSS):
        console.print(make_table(scores[first : first + ACROSS]))
    for first in range(0, len(scores), ACROSS):
        console.print(make_profit_table(scores[first : first + ACROSS]))
    comparisons = compare_folder(data / "deribit")
    if comparisons:
        console.print(make_chain_table(comparisons))
    else:
        console.print(f"{data / 'deribit'} is not there: no option chains")
    write(scores, comparisons, output)
    console.print(f"Plots and figures are in {output}")


if __name__ == "__main__":
    main()
