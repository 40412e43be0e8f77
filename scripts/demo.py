"""Runs the whole rollup on a local chain: orders, batches, a lie, its removal, exits."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from ape import accounts
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand
from ape.logging import LogLevel, logger
from rich.console import Console

from deltaroll.cli import load_project
from deltaroll.demo.report import print_summary
from deltaroll.demo.story import DemoError, run_story
from deltaroll.demo.venue import create_venue, make_dice
from deltaroll.logs import configure_logs


@click.command(cls=ConnectedProviderCommand)
@click.option("--seed", type=int, default=1, show_default=True, help="Of all chance in the run.")
def cli(provider: ProviderAPI, seed: int) -> None:
    """Run the whole rollup on a local chain and end with a summary."""
    logger.set_level(LogLevel.WARNING)
    configure_logs("error")
    console = Console(width=124, highlight=False)
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - started:6.1f} s] {text}", markup=False)

    with TemporaryDirectory() as folder:
        test_accounts = [accounts.test_accounts[index] for index in range(12)]
        venue = create_venue(
            load_project(), provider, test_accounts, str(Path(folder) / "demo.sqlite")
        )
        say(f"contracts deployed on chain {provider.chain_id}, one index perpetual listed")
        try:
            score = run_story(venue, make_dice(seed), say)
        except DemoError as problem:
            say(str(problem))
            sys.exit(1)
        finally:
            venue.sequencer.store.close()
    print_summary(score, venue, console)
    say("every check held")
