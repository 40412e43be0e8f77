"""Takes money out: asks L1 for a forced exit, or claims an exit that has settled."""

from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option
from eth_utils.conversions import to_bytes

from deltaroll.cli import (
    ACCOUNT_ID,
    MONEY,
    load_deployment,
    plain_errors,
    registry_option,
    to_money,
    unlock,
)
from deltaroll.l1.commitments import compress_branch
from deltaroll.l1.gateway import Gateway
from deltaroll.node.exits import find_exit
from deltaroll.node.follower import Follower
from deltaroll.protocol.types import Address


def force(gateway: Gateway, account: AccountAPI, rollup_account: int, units: int) -> None:
    """Queue a forced exit."""
    receipt = gateway.contracts.bridge.forceExit(rollup_account, units, sender=account)
    click.echo(
        f"forced exit of up to {to_money(units)} queued: transaction {receipt.txn_hash}, "
        f"{receipt.gas_used} gas; to be served within "
        f"{gateway.contracts.inbox.forcedDelay() // 3600} hours"
    )


def claim(gateway: Gateway, account: AccountAPI) -> None:
    """Claim the account's newest exit that is not claimed yet."""
    follower = Follower(gateway)
    follower.poll()
    found = find_exit(follower, Address(to_bytes(hexstr=account.address)))
    sibling_map, siblings = compress_branch(found.branch)
    receipt = gateway.contracts.bridge.claimExit(
        found.header,
        found.globals,
        (found.index, 0, account.address, found.amount),
        sibling_map,
        siblings,
        sender=account,
    )
    click.echo(
        f"claimed {to_money(found.amount)}: transaction {receipt.txn_hash}, {receipt.gas_used} gas"
    )


@click.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@click.option("--amount", type=MONEY, help="Force an exit of up to this much; else claim.")
@click.option("--from", "rollup_account", type=ACCOUNT_ID, help="Account id, with --amount.")
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    amount: int | None,
    rollup_account: int | None,
) -> None:
    """Force an exit through L1 (--amount, --from), or claim one that has settled."""
    _, gateway = load_deployment(provider, registry)
    unlock(account)
    if amount is None:
        claim(gateway, account)
        return
    if rollup_account is None:
        raise click.UsageError("--from: needed with --amount")
    force(gateway, account, rollup_account, amount)
