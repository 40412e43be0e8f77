"""Looks at a node's history, and builds it again from the log. Needs no network."""

from pathlib import Path

import click

from deltaroll.cli import plain_errors
from deltaroll.node.readmodel.database import connect, get_default_url
from deltaroll.node.readmodel.reader import Reader, get_applied
from deltaroll.node.readmodel.rebuild import rebuild
from deltaroll.node.store import Store, read_domain


def describe(store: Path, url: str) -> str:
    """Return how far a history is."""
    log = Store(store, read_domain(store))
    last = log.next_sequence - 1
    log.close()
    reader = Reader(url)
    try:
        applied = reader.answer(get_applied)
    finally:
        reader.close()
    return f"step {applied} of {last} is written"


@click.command()
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("data") / "sequencer.sqlite",
    show_default=True,
    help="The durable log.",
)
@click.option(
    "--url",
    help="The history: sqlite:///FILE or postgresql://...  [default: SQLite beside the store]",
)
@click.option(
    "--rebuild",
    "is_rebuilt",
    is_flag=True,
    help="Drop what is there and build it again from the log. Stop the node first, or build "
    "another one and let the node go on with that.",
)
@click.option("--catch-up", "is_continued", is_flag=True, help="Add what is missing.")
@plain_errors()
def cli(store: Path, url: str | None, is_rebuilt: bool, is_continued: bool) -> None:
    """Say how far the history is, or build it again."""
    chosen = get_default_url(store) if url is None else url
    shown = connect(chosen).url.render_as_string(hide_password=True)
    if is_rebuilt or is_continued:
        rebuild(store, chosen, is_rebuilt)
    click.echo(f"{shown}: {describe(store, chosen)}")
