"""Pays into an account on the rollup."""

from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option

from deltaroll.amounts import to_money
from deltaroll.cli import (
    ACCOUNT_ID,
    MONEY,
    load_deployment,
    plain_errors,
    registry_option,
    unlock,
)


@click.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@click.option("--amount", type=MONEY, required=True, help="Collateral, like 250.50.")
@click.option("--to", "rollup_account", type=ACCOUNT_ID, help="Account id; a new one if left out.")
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    amount: int,
    rollup_account: int | None,
) -> None:
    """Approve the bridge for the amount and deposit it."""
    _, gateway = load_deployment(provider, registry)
    contracts = gateway.contracts
    unlock(account)
    held = contracts.token.balanceOf(account)
    if held < amount:
        raise click.ClickException(
            f"--amount: {to_money(amount)} is more than {account.address} holds, {to_money(held)}"
        )
    if contracts.token.allowance(account, contracts.bridge) < amount:
        contracts.token.approve(contracts.bridge, amount, sender=account)
    receipt = contracts.bridge.deposit(account, rollup_account or 0, amount, sender=account)
    click.echo(
        f"deposited {to_money(amount)}: message {contracts.bridge.queueCount() - 1}, "
        f"transaction {receipt.txn_hash}, {receipt.gas_used} gas"
    )
