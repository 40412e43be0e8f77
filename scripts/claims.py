"""Sells exits that have not settled, and buys those of others: money now for money later."""

from datetime import UTC, datetime
from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option
from eth_utils.conversions import to_bytes

from deltaroll.amounts import to_money
from deltaroll.cli import (
    L1_ADDRESS,
    MONEY,
    PARTS,
    load_deployment,
    plain_errors,
    registry_option,
    unlock,
)
from deltaroll.l1.commitments import compress_branch
from deltaroll.l1.gateway import Gateway
from deltaroll.node.claims import Claim, find_claims, get_claim, quote_claim
from deltaroll.node.exits import ExitError, prove_exit
from deltaroll.node.follower import Follower
from deltaroll.protocol.types import Address
from deltaroll.sdk.fast_exit import Terms

ZERO = "0x" + bytes(20).hex()
DEFAULTS = Terms(0, 0)
HOUR = 3_600
INDEX = click.IntRange(0, 2**32 - 1)
index_option = click.option("--exit", "index", type=INDEX, required=True, help="Index of the exit.")


def follow(provider: ProviderAPI, registry: Path) -> tuple[Gateway, Follower]:
    """Derive the state of the deployment: what a claim is worth rests on it."""
    _, gateway = load_deployment(provider, registry)
    follower = Follower(gateway)
    follower.poll()
    return gateway, follower


def describe(claim: Claim, now: int) -> str:
    """Return one line about a claim."""
    if claim.is_claimed:
        state = f"delayed by the vault until {to_date(claim.payable_at)}"
    elif now >= claim.settles_at:
        state = "settled: can be claimed"
    else:
        state = f"settles {to_date(claim.settles_at)}, in {(claim.settles_at - now) // HOUR} h"
    if claim.is_beyond_bound and not claim.is_claimed:
        state += ", beyond what the vault would pay at once"
    if claim.offer is not None:
        buyer = "anyone" if claim.offer.buyer is None else "0x" + claim.offer.buyer.hex()
        state += (
            f", offered to {buyer} for {to_money(claim.offer.price)} "
            f"until {to_date(claim.offer.deadline)}"
        )
    return f"exit {claim.index}: {to_money(claim.amount)}, {claim.stage.value}, {state}"


def to_date(time: int) -> str:
    """Return a time of L1 to be read; those past the calendar as they are."""
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return str(time)


def own(follower: Follower, index: int, account: AccountAPI) -> Claim:
    """Return a claim that is the account's to part with.

    Raises
    ------
    ExitError
        When it is not, or is paid.
    """
    claim = get_claim(follower, index)
    if claim.owner != to_bytes(hexstr=account.address):
        raise ExitError(f"exit: {index} is of 0x{claim.owner.hex()}, not of {account.address}")
    if claim.is_claimed:
        raise ExitError(f"exit: {index} is claimed already")
    return claim


@click.group()
def cli() -> None:
    """List, quote, offer, take, give away and collect the claims of exits."""


@cli.command("list", cls=ConnectedProviderCommand)
@account_option()
@registry_option
@plain_errors()
def list_claims(provider: ProviderAPI, account: AccountAPI, registry: Path) -> None:
    """List the account's claims that are not paid yet."""
    gateway, follower = follow(provider, registry)
    claims = find_claims(follower, Address(to_bytes(hexstr=account.address)))
    now = gateway.get_head().time
    for claim in claims:
        click.echo(describe(claim, now))
    click.echo(f"{len(claims)} claims, {to_money(sum(claim.amount for claim in claims))}")


@cli.command(cls=ConnectedProviderCommand)
@registry_option
@index_option
@click.option("--ether-price", type=MONEY, required=True, help="Collateral for one ether.")
@click.option("--base-fee", type=click.IntRange(0), help="Wei; else that of the next block.")
@click.option("--premium", type=PARTS, default=DEFAULTS.premium, show_default=True, help="A year.")
@click.option("--risk", type=PARTS, default=DEFAULTS.risk, show_default=True, help="Until final.")
@plain_errors()
def quote(
    provider: ProviderAPI,
    registry: Path,
    index: int,
    ether_price: int,
    base_fee: int | None,
    premium: int,
    risk: int,
) -> None:
    """Say what a claim is worth, from the state that this command derives itself."""
    gateway, follower = follow(provider, registry)
    fee = provider.base_fee if base_fee is None else base_fee
    claim, found = quote_claim(follower, index, Terms(fee, ether_price, premium, risk))
    click.echo(describe(claim, gateway.get_head().time))
    for name in ("amount", "gas", "premium", "risk", "price"):
        click.echo(f"{name:8s} {to_money(getattr(found, name))}")


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@index_option
@click.option("--price", type=MONEY, required=True, help="Collateral.")
@click.option("--to", "buyer", type=L1_ADDRESS, help="Who may take it; else anyone.")
@click.option("--hours", type=click.IntRange(1), default=24, show_default=True)
@plain_errors()
def offer(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    index: int,
    price: int,
    buyer: str | None,
    hours: int,
) -> None:
    """Offer a claim for sale, in place of any earlier offer."""
    gateway, follower = follow(provider, registry)
    claim = own(follower, index, unlock(account))
    deadline = gateway.get_head().time + hours * HOUR
    arguments = (claim.exit, buyer or ZERO, price, deadline)
    receipt = gateway.contracts.bridge.offerClaim(*arguments, sender=account)
    click.echo(
        f"exit {index} offered for {to_money(price)} until {to_date(deadline)}: "
        f"transaction {receipt.txn_hash}, {receipt.gas_used} gas"
    )


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@index_option
@plain_errors()
def withdraw(provider: ProviderAPI, account: AccountAPI, registry: Path, index: int) -> None:
    """Withdraw an offer."""
    gateway, follower = follow(provider, registry)
    claim = own(follower, index, unlock(account))
    receipt = gateway.contracts.bridge.withdrawOffer(claim.exit, sender=account)
    click.echo(f"offer of exit {index} withdrawn: transaction {receipt.txn_hash}")


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@index_option
@click.option("--max-price", type=MONEY, required=True, help="The most to pay.")
@plain_errors()
def take(
    provider: ProviderAPI, account: AccountAPI, registry: Path, index: int, max_price: int
) -> None:
    """Buy a claim that is for sale, once its exit was derived from L1."""
    gateway, follower = follow(provider, registry)
    unlock(account)
    contracts = gateway.contracts
    claim = get_claim(follower, index)
    if claim.is_claimed:
        raise ExitError(f"exit: {index} is claimed already")
    if claim.offer is None:
        raise ExitError(f"exit: {index} is not for sale")
    price = claim.offer.price
    if price > max_price:
        raise ExitError(f"exit: {index} costs {to_money(price)}, more than {to_money(max_price)}")
    if contracts.token.allowance(account, contracts.bridge) < price:
        contracts.token.approve(contracts.bridge, price, sender=account)
    owner = "0x" + claim.owner.hex()
    receipt = contracts.bridge.takeClaim(claim.exit, owner, price, sender=account)
    click.echo(
        f"exit {index} of {to_money(claim.amount)} bought for {to_money(price)}: "
        f"transaction {receipt.txn_hash}, {receipt.gas_used} gas"
    )


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@index_option
@click.option("--to", "receiver", type=L1_ADDRESS, required=True, help="New owner of the claim.")
@plain_errors()
def transfer(
    provider: ProviderAPI, account: AccountAPI, registry: Path, index: int, receiver: str
) -> None:
    """Give a claim away, or to another address of one's own."""
    gateway, follower = follow(provider, registry)
    claim = own(follower, index, unlock(account))
    receipt = gateway.contracts.bridge.transferClaim(claim.exit, receiver, sender=account)
    click.echo(
        f"exit {index} of {to_money(claim.amount)} is of {receiver} now: "
        f"transaction {receipt.txn_hash}, {receipt.gas_used} gas"
    )


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@index_option
@plain_errors()
def collect(provider: ProviderAPI, account: AccountAPI, registry: Path, index: int) -> None:
    """Have a settled exit paid to its owner, whoever that is, or one that the vault delayed."""
    gateway, follower = follow(provider, registry)
    unlock(account)
    contracts = gateway.contracts
    claim = get_claim(follower, index)
    if claim.payable_at:
        receipt = contracts.vault.payDelayed(index, sender=account)
    elif claim.is_claimed:
        raise ExitError(f"exit: {index} is paid already")
    else:
        proof = prove_exit(follower, index)
        receipt = contracts.bridge.claimExit(
            proof.header, proof.globals, claim.exit, *compress_branch(proof.branch), sender=account
        )
    waiting = int(contracts.vault.delayedOf(index).payableAt)
    outcome = f"is paid from {to_date(waiting)} on" if waiting else "paid"
    click.echo(
        f"exit {index} of {to_money(claim.amount)} {outcome}: "
        f"transaction {receipt.txn_hash}, {receipt.gas_used} gas"
    )
