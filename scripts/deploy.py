"""Deploys the contracts and writes the registry file that the other commands read."""

from dataclasses import replace
from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option

from deltaroll.cli import load_project, plain_errors, registry_option, unlock
from deltaroll.l1.deployment import DeploymentParameters, deploy, validate_decisions
from deltaroll.l1.registry import get_registry_path, write_registry


@click.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@click.option("--token", help="Collateral. On a development chain, a test token when left out.")
@click.option("--sequencer", help="L1 address that posts batches; the account when left out.")
@click.option("--governor", help="L1 address that configures; the account when left out.")
@click.option("--challenge-window", type=int, default=7 * 24 * 3600, show_default=True)
@click.option("--forced-delay", type=int, default=12 * 3600, show_default=True)
@click.option("--proposer-delay", type=int, default=12 * 3600, show_default=True)
@click.option("--bond", type=int, default=10**18, show_default=True, help="Wei.")
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    token: str | None,
    sequencer: str | None,
    governor: str | None,
    challenge_window: int,
    forced_delay: int,
    proposer_delay: int,
    bond: int,
) -> None:
    """Deploy the contracts and write the registry file."""
    unlock(account)
    path = get_registry_path(registry, provider.chain_id)
    project = load_project()
    parameters = DeploymentParameters(
        token=token or "",
        sequencer=sequencer or account.address,
        governor=governor or account.address,
        challenge_window=challenge_window,
        forced_delay=forced_delay,
        proposer_delay=proposer_delay,
        bond=bond,
    )
    validate_decisions(parameters)
    if token is None:
        if not provider.network.is_local:
            raise click.UsageError("--token: needed on a network that is not a development chain")
        test_token = account.deploy(project.MockUSDC)
        test_token.mint(account, 10**15, sender=account)
        parameters = replace(parameters, token=str(test_token.address))
    deployed = deploy(project, provider, account, parameters)
    write_registry(path, deployed)
    for name, entry in deployed.contracts.items():
        click.echo(f"{name:20s} {entry.address}  block {entry.block}")
    click.echo(f"registry written to {path}")
