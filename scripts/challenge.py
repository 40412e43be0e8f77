"""Watches a rollup: removes batches that break a rule, ends emergencies that are over."""

from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option

from deltaroll.cli import (
    get_view_policy,
    l1_options,
    load_deployment,
    load_project,
    once_option,
    open_sender,
    plain_errors,
    registry_option,
    unlock,
    watch,
)
from deltaroll.logs import configure_logs
from deltaroll.node.alarms import Alarms
from deltaroll.node.challenger import Challenger
from deltaroll.node.follower import Follower
from deltaroll.node.keeper import open_keeper


@click.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@once_option
@l1_options
@click.option(
    "--confirmations",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Blocks on top of a fraudulent batch before it is acted upon; none with --once.",
)
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    once: bool,
    interval: float,
    confirmations: int,
    urls: tuple[str, ...],
    max_fee: int | None,
    journal: Path | None,
    ignores_clock: bool,
) -> None:
    """Derive the state from L1; prove the first fraud in one transaction, end what emergencies are
    over.
    """
    configure_logs("info")
    found, gateway = load_deployment(provider, registry, urls)
    alarms = Alarms()
    follower = Follower(gateway, get_view_policy(provider, ignores_clock), alarms=alarms)
    sender = open_sender(gateway, unlock(account), journal, max_fee, alarms)
    challenger = Challenger(follower, sender, 0 if once else confirmations)
    keeper = open_keeper(load_project(), gateway, found, account)

    def look() -> None:
        challenger.follower.poll()
        removal = challenger.challenge()
        if keeper is not None and (ended := keeper.look()):
            click.echo(f"an emergency is over: {len(ended)} transactions")
        index = challenger.follower.chain[-1].submitted.header.index
        if removal is None:
            if once:
                click.echo(f"batch {index}: no fraud")
            return
        batch = removal.fraud.submitted.header.index
        click.echo(
            f"batch {batch} removed: {removal.fraud.fault.name}, "
            f"{removal.receipt.gas_used} gas, {removal.calldata} bytes"
        )

    watch(look, once, interval)
