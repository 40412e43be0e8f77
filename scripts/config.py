"""Shows the configuration that the processes would run with, and where each value comes from."""

import json
import os
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from deltaroll.config import ConfigError, load


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file; by default $DELTAROLL_CONFIG, else deltaroll.toml where there is one.",
)
@click.option("--check", is_flag=True, help="Only say whether it can be used.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def cli(path: Path | None, check: bool, as_json: bool) -> None:
    """Show every field, its value and its source; secrets are hidden."""
    try:
        loaded = load(os.environ, path)
    except ConfigError as problem:
        raise click.ClickException(str(problem)) from None
    if check:
        given = len(loaded.sources)
        click.echo(f"configuration: good, {given} fields given, the others are defaults")
        return
    rows = list(loaded.iterate())
    if as_json:
        found = {name: {"value": value, "source": source} for name, value, source in rows}
        click.echo(json.dumps(found, indent=2))
        return
    table = Table("field", "value", "source", box=None, pad_edge=False)
    for name, value, source in rows:
        table.add_row(name, "" if value is None else json.dumps(value), source)
    Console(width=160, highlight=False, no_color=True).print(table, markup=False)
