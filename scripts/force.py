"""Puts any L2 transaction on L2 past the sequencer, or kills all open orders of an account."""

from pathlib import Path
from typing import BinaryIO

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option
from eth_utils.conversions import to_bytes

from deltaroll.cli import (
    ACCOUNT_ID,
    WalletSigner,
    bridge_options,
    open_gateway,
    plain_errors,
    registry_option,
    unlock,
)
from deltaroll.l1.gateway import Gateway
from deltaroll.leave.force import ForceError, encode_forced, forecast_forced, read_forced
from deltaroll.leave.words import describe_span
from deltaroll.logs import configure_logs
from deltaroll.node.follower import Follower
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import Address, Timestamp


def make_body(gateway: Gateway, account: AccountAPI, lines: list[bytes], anyway: bool) -> bytes:
    """Return the message of a request; what would be passed over now is refused here."""
    follower = Follower(gateway)
    head = follower.poll()
    transaction, signatures = read_forced(lines, WalletSigner(account, gateway))
    body = encode_forced(transaction, signatures, Timestamp(head.time))
    sender = Address(to_bytes(hexstr=account.address))
    refusal = forecast_forced(follower, sender, body)
    if refusal != Fault.NONE and not anyway:
        raise ForceError(
            f"--request: it would be passed over now: {refusal.name}; --anyway sends it"
        )
    return body


@click.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@bridge_options
@click.option(
    "--request",
    type=click.File("rb"),
    help="A request as `sequence` takes it, or two orders that cross, the maker's first; - for "
    "standard input. What the account may sign and nobody has signed, it signs.",
)
@click.option(
    "--cancel-all",
    "cancelled",
    type=ACCOUNT_ID,
    help="Kill every order that this account has signed.",
)
@click.option("--anyway", is_flag=True, help="Send even what would be passed over now.")
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    bridge: str | None,
    first_block: int | None,
    request: BinaryIO | None,
    cancelled: int | None,
    anyway: bool,
) -> None:
    """Send a transaction, an observation or a mark through L1: no sequencer can leave it out."""
    if (request is None) == (cancelled is None):
        raise click.UsageError("give one of --request and --cancel-all")
    configure_logs("error")
    gateway = open_gateway(provider, registry, bridge, first_block)
    contracts = gateway.contracts
    unlock(account)
    if request is None:
        receipt = contracts.bridge.cancelAll(cancelled, sender=account)
    else:
        lines = request.read().splitlines()
        body = make_body(gateway, account, lines, anyway)
        receipt = contracts.bridge.force(body, sender=account)
    click.echo(
        f"message {contracts.bridge.queueCount() - 1} queued: transaction {receipt.txn_hash}, "
        f"{receipt.gas_used:,} gas; after {describe_span(int(contracts.inbox.forcedDelay()))} no "
        "batch can leave it out"
    )
