"""Proposes in the sequencer's place, when it is silent or has lost its bond."""

from pathlib import Path
from typing import BinaryIO

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option

from deltaroll.cli import (
    bridge_options,
    get_view_policy,
    l1_options,
    once_option,
    open_gateway,
    open_sender,
    plain_errors,
    registry_option,
    unlock,
    watch,
)
from deltaroll.l1.gateway import Gateway
from deltaroll.leave.words import describe_ether, describe_span, describe_time
from deltaroll.logs import configure_logs
from deltaroll.node.alarms import Alarms
from deltaroll.node.follower import Follower
from deltaroll.node.proposer import Proposer, Right


def bond(gateway: Gateway, account: AccountAPI, yes: bool) -> None:
    """Pay the bond, after saying what it risks."""
    inbox = gateway.contracts.inbox
    amount = int(inbox.bondAmount())
    click.echo(
        f"The bond is {describe_ether(amount)}. A batch that breaks a rule costs all of it: half "
        "goes to who proves it, half is burnt. Every batch is checked before it is sent. The bond "
        f"can be taken back (--withdraw-bond) {describe_span(gateway.challenge_window)} after the "
        "last batch."
    )
    if not yes:
        click.confirm("Pay it?", abort=True)
    receipt = inbox.bond(sender=account, value=amount)
    click.echo(f"bond paid: transaction {receipt.txn_hash}")


def has_bond(gateway: Gateway, account: AccountAPI) -> bool:
    """Return whether an account's bond is in place."""
    return bool(gateway.contracts.inbox.bondOf(account).amount)


@click.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@bridge_options
@once_option
@l1_options
@click.option("--bond", "pays_bond", is_flag=True, help="Pay the bond first, if it is not there.")
@click.option("--yes", is_flag=True, help="Do not ask before the bond is paid.")
@click.option("--withdraw-bond", is_flag=True, help="Take the bond back and stop.")
@click.option(
    "--requests",
    type=click.File("rb"),
    help="Signed requests for the first batch, prices among them, one JSON object a line.",
)
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    bridge: str | None,
    first_block: int | None,
    once: bool,
    interval: float,
    pays_bond: bool,
    yes: bool,
    withdraw_bond: bool,
    requests: BinaryIO | None,
    urls: tuple[str, ...],
    max_fee: int | None,
    journal: Path | None,
    ignores_clock: bool,
) -> None:
    """Serve the L1 queue in batches of one's own, whenever anybody may."""
    configure_logs("warning")
    gateway = open_gateway(provider, registry, bridge, first_block, urls)
    unlock(account)
    if withdraw_bond:
        receipt = gateway.contracts.inbox.withdrawBond(sender=account)
        click.echo(f"bond taken back: transaction {receipt.txn_hash}")
        return
    alarms = Alarms()
    follower = Follower(gateway, get_view_policy(provider, ignores_clock), alarms=alarms)
    proposer = Proposer(follower, open_sender(gateway, account, journal, max_fee, alarms))
    lines = [line for line in requests or () if line.strip()]

    def look() -> None:
        proposer.follower.poll()
        if proposer.follower.fraud is not None:
            index = proposer.follower.fraud.submitted.header.index
            click.echo(f"batch {index} is fraudulent: ape run challenge removes it", err=True)
            return
        right = proposer.find_right()
        if right in (Right.NONE, Right.FROZEN) or not (lines or proposer.has_work()):
            if once:
                click.echo(describe_turn(proposer, right))
            return
        if not has_bond(gateway, account):
            if not pays_bond:
                raise click.ClickException(f"{account.address} has no bond: --bond pays it first")
            bond(gateway, account, yes)
            proposer.follower.poll()
        for answer in proposer.take(lines):
            click.echo(answer.decode())
        lines.clear()
        for posting in proposer.propose():
            click.echo(
                f"batch {posting.header.index}: {len(posting.chunks)} chunks, messages "
                f"{posting.header.queue_start} to {posting.header.queue_end - 1}, "
                f"{posting.receipt.gas_used:,} gas ({right.value})"
            )

    watch(look, once, interval)


def describe_turn(proposer: Proposer, right: Right) -> str:
    """Return why nothing was posted."""
    if right == Right.FROZEN:
        return "nothing to propose: the rollup is frozen"
    if right != Right.NONE:
        return "nothing to propose: no message waits and no request was given"
    gateway = proposer.follower.gateway
    delay = int(gateway.contracts.inbox.proposerDelay())
    time = proposer.follower.posted[-1].header.l1_time + delay
    return f"not yet: {right.value}; anybody may if no batch comes until {describe_time(time)}"
