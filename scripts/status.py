"""Shows a deployment at one glance."""

from pathlib import Path

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand

from deltaroll.amounts import to_money
from deltaroll.cli import load_deployment, plain_errors, registry_option


@click.command(cls=ConnectedProviderCommand)
@registry_option
@plain_errors()
def cli(provider: ProviderAPI, registry: Path) -> None:
    """Show contracts, batches, bonds, queue and vault."""
    found, gateway = load_deployment(provider, registry)
    contracts = gateway.contracts
    head = gateway.get_head()
    click.echo(f"chain           {found.chain_id} ({found.network}), deployed in {found.block}")
    for name, entry in found.contracts.items():
        click.echo(f"{name:20s} {entry.address}")
    sequencer = contracts.inbox.sequencer()
    bond = contracts.inbox.bondOf(sequencer)
    rows = {
        "L1 head": f"{head.number} 0x{head.hash.hex()}",
        "batches": contracts.inbox.batchCount() - 1,
        "queue": f"{contracts.bridge.queueCount()} messages",
        "sequencer": sequencer,
        "bond": f"{bond.amount / 10**18:g} ether",
        "challenge window": f"{contracts.inbox.challengeWindow()} s",
        "vault": to_money(contracts.token.balanceOf(contracts.vault)),
    }
    for name, value in rows.items():
        click.echo(f"{name:20s} {value}")
