"""Runs the sequencer and its batcher: JSON lines in, answers out, batches to L1."""

from pathlib import Path
from typing import BinaryIO

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option

from deltaroll.cli import (
    load_deployment,
    once_option,
    plain_errors,
    registry_option,
    unlock,
    watch,
)
from deltaroll.logs import configure_logs
from deltaroll.node.batcher import Batcher
from deltaroll.node.follower import Follower
from deltaroll.node.intake import take_in
from deltaroll.node.requests import answer_line
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store


@click.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@once_option
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("data") / "sequencer.sqlite",
    show_default=True,
    help="The durable log.",
)
@click.option(
    "--requests",
    type=click.File("rb"),
    help="Requests, one JSON object a line; - for standard input. Answers go to standard output.",
)
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    once: bool,
    interval: float,
    store: Path,
    requests: BinaryIO | None,
) -> None:
    """Sequence requests, serve the L1 queue, post batches."""
    configure_logs("info")
    _, gateway = load_deployment(provider, registry)
    inbox = gateway.contracts.inbox
    unlock(account)
    if inbox.bondOf(account).amount == 0:
        inbox.bond(sender=account, value=inbox.bondAmount())
    store.parent.mkdir(parents=True, exist_ok=True)
    log = Store(store, gateway.domain)
    sequencer = Sequencer(log, gateway.domain)
    follower = Follower(gateway)
    batcher = Batcher(log, follower, account)

    def post() -> None:
        take_in(sequencer, follower)
        sequencer.seal()
        sequencer.flush()
        if follower.fraud is not None:
            index = follower.fraud.submitted.header.index
            click.echo(f"batch {index} is fraudulent: waiting for its removal", err=True)
            return
        while (posting := batcher.post()) is not None:
            click.echo(
                f"batch {posting.header.index}: {len(posting.chunks)} chunks, "
                f"{posting.receipt.gas_used} gas",
                err=True,
            )

    try:
        take_in(sequencer, follower)
        for line in requests or ():
            if line.strip():
                click.echo(answer_line(sequencer, line).decode())
        watch(post, once, interval)
    finally:
        log.close()
