"""Pays into an account on the rollup."""

from decimal import Decimal
from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option

from deltaroll.cli import MONEY, load_deployment, registry_option, to_money


@click.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@click.option("--amount", type=MONEY, required=True, help="Collateral, like 250.50.")
@click.option("--to", "rollup_account", type=int, default=0, help="Account id; 0 opens one.")
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    amount: Decimal,
    rollup_account: int,
) -> None:
    """Approve the bridge for the amount and deposit it."""
    _, gateway = load_deployment(provider, registry)
    contracts = gateway.contracts
    units = int(amount * 10**6)
    held = contracts.token.balanceOf(account)
    if held < units:
        raise click.ClickException(
            f"--amount: {to_money(units)} is more than {account.address} holds, {to_money(held)}"
        )
    if contracts.token.allowance(account, contracts.bridge) < units:
        contracts.token.approve(contracts.bridge, units, sender=account)
    receipt = contracts.bridge.deposit(account, rollup_account, units, sender=account)
    click.echo(
        f"deposited {to_money(units)}: message {contracts.bridge.queueCount() - 1}, "
        f"transaction {receipt.txn_hash}, {receipt.gas_used} gas"
    )
