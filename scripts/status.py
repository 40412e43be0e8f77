"""Shows a venue: what L1 says of it, and what its node does."""

import sys
from pathlib import Path
from threading import Event

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand
from rich.console import Console
from rich.live import Live

from deltaroll.cli import (
    L1_ADDRESS,
    PASSING,
    config_option,
    load_deployment,
    once_option,
    plain_errors,
    registry_option,
    watch,
)
from deltaroll.config import Settings
from deltaroll.logs import configure_logs, redact
from deltaroll.node.follower import Follower
from deltaroll.status import (
    NodeError,
    NodeView,
    Page,
    Row,
    Section,
    read_node,
    render,
    render_lines,
)

RATE_SECONDS = 1.0
"""Between the two looks at a node that a rate takes, when there is to be one page only."""


class Looker:
    """Looks at L1 and at the node."""

    def __init__(self, page: Page, api: str | None) -> None:
        self._page = page
        self._api = api
        self._node: NodeView | None = None
        self._last: list[Section] = []

    def look(self) -> list[Section]:
        """Return the page as of now.

        Raises
        ------
        L1Error
        """
        problem = self.ask_node()
        self._page.follower.poll()
        self._last = self._page.collect(self._node, problem)
        return self._last

    def explain(self, problem: Exception) -> list[Section]:
        """Return the page as it was, and why it is that old."""
        alarm = Section("alarms", (Row("alarm", redact(str(problem)), True),))
        return [*(one for one in self._last if one.title != alarm.title), alarm]

    def ask_node(self) -> str | None:
        """Look at the node; return what is wrong with it."""
        if self._api is None:
            return None
        try:
            self._node = read_node(self._api, self._node)
        except NodeError as problem:
            self._node = None
            return str(problem)
        return None


@click.command(cls=ConnectedProviderCommand)
@config_option("status")
@registry_option
@once_option
@click.option("--api", help="URL of the node, as http://127.0.0.1:8080: show what it says, too.")
@click.option(
    "--address",
    "addresses",
    type=L1_ADDRESS,
    multiple=True,
    help="Another account whose ether is shown, as the watcher's; may be given several times.",
)
@plain_errors()
def cli(
    provider: ProviderAPI,
    settings: Settings,
    registry: Path,
    once: bool,
    interval: float,
    api: str | None,
    addresses: tuple[str, ...],
) -> None:
    """Show contracts, finality, accounts, ether and alarms; live on a terminal, else once."""
    configure_logs(settings.log.level or "error", "status", settings.log.format)
    found, gateway = load_deployment(provider, registry, settings.l1.nodes)
    follower = Follower(gateway, keep=settings.l1.keep_batches)
    looker = Looker(Page(found, follower, addresses), api)
    if once or not sys.stdout.isatty():
        if looker.ask_node() is None and api is not None:
            Event().wait(RATE_SECONDS)
        for line in render_lines(looker.look()):
            click.echo(line)
        return
    with Live(console=Console(), screen=True, auto_refresh=False) as live:

        def show() -> None:
            try:
                live.update(render(looker.look()), refresh=True)
            except PASSING as problem:
                live.update(render(looker.explain(problem)), refresh=True)

        watch(show, once, interval)
