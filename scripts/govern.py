"""Changes parameters behind the timelock, and acts for the guardian."""

from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option

from deltaroll.cli import load_deployment, load_project, plain_errors, registry_option, unlock
from deltaroll.l1.governance import Governance, Operation, OperationState, to_days, to_utc
from deltaroll.l1.proposals import describe_body, encode_proposal
from deltaroll.protocol.configure import MAX_CLOSING
from deltaroll.protocol.types import MarketId

MARKET = click.IntRange(0, 2**16 - 1)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def load(provider: ProviderAPI, registry: Path) -> Governance:
    """Return the governance of the deployment on the connected chain."""
    found, gateway = load_deployment(provider, registry)
    return Governance(load_project(), gateway, found)


def find(governance: Governance, prefix: str) -> Operation:
    """Return the one operation whose id begins like this."""
    begin = prefix.removeprefix("0x").lower()
    found = [each for each in governance.list_operations() if each.id.hex().startswith(begin)]
    if len(found) != 1:
        raise click.ClickException(f"{len(found)} operations have an id that begins with {prefix}")
    return found[0]


def show(governance: Governance, operation: Operation) -> None:
    """Print an operation: what it does, and when it can."""
    when = {
        OperationState.UNKNOWN: "cancelled, or not executed in time",
        OperationState.WAITING: f"can be executed from {to_utc(operation.ready_at)}",
        OperationState.READY: "can be executed now, by anyone",
        OperationState.DONE: "executed",
    }
    click.echo(f"0x{operation.id.hex()}  {when[operation.state]}")
    for call in operation.calls:
        click.echo(f"  {governance.describe(call)}")


@click.group()
def cli() -> None:
    """Change parameters behind the timelock, or act for the guardian."""


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@click.argument("changes", type=click.File("rb"))
@yes_option
@plain_errors()
def propose(
    provider: ProviderAPI, account: AccountAPI, registry: Path, changes: click.File, yes: bool
) -> None:
    """Schedule the changes of a YAML or JSON file, as one operation."""
    governance = load(provider, registry)
    bodies = encode_proposal(changes.read(), governance.read_params)  # type: ignore[attr-defined]
    for body in bodies:
        click.echo(describe_body(body, governance.read_params))
    click.echo(
        f"can be executed {to_days(governance.delay)} from now, and is on the rollup within "
        f"{to_days(governance.forced_delay)} of that. Until it is executed, everybody who dislikes "
        "it can leave"
    )
    if not yes:
        click.confirm("Schedule it?", abort=True)
    operation = governance.propose(bodies, unlock(account))
    show(governance, find(governance, operation.hex()))


@cli.command("list", cls=ConnectedProviderCommand)
@registry_option
@click.option("--all", "everything", is_flag=True, help="Also what is over.")
@plain_errors()
def list_(provider: ProviderAPI, registry: Path, everything: bool) -> None:
    """List what is scheduled, what it does, and when it can be executed."""
    governance = load(provider, registry)
    operations = governance.list_operations()
    shown = [each for each in operations if everything or each.ready_at != 0]
    for operation in shown:
        show(governance, operation)
    click.echo(f"{len(shown)} operations; the timelock's delay is {to_days(governance.delay)}")


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@click.argument("operation")
@plain_errors()
def execute(provider: ProviderAPI, account: AccountAPI, registry: Path, operation: str) -> None:
    """Execute an operation that is ready, by its id or the beginning of it."""
    governance = load(provider, registry)
    found = find(governance, operation)
    show(governance, found)
    receipt = governance.execute(found, unlock(account))
    click.echo(
        f"executed: {receipt.txn_hash}, {receipt.gas_used} gas; on the rollup within "
        f"{to_days(governance.forced_delay)}"
    )


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@click.argument("operation")
@plain_errors()
def cancel(provider: ProviderAPI, account: AccountAPI, registry: Path, operation: str) -> None:
    """Cancel a scheduled operation."""
    governance = load(provider, registry)
    found = find(governance, operation)
    show(governance, found)
    receipt = governance.cancel(found, unlock(account))
    click.echo(f"cancelled: {receipt.txn_hash}, {receipt.gas_used} gas")


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@click.option("--underlying", type=MARKET, required=True)
@click.option(
    "--factor",
    type=click.IntRange(10**6, 2 * 10**6),
    required=True,
    help="Of the timelocked margins, parts per million; none is raised above its bound.",
)
@yes_option
@plain_errors()
def tighten(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    underlying: int,
    factor: int,
    yes: bool,
) -> None:
    """Raise margins of an underlying for the emergency period. For the guardian."""
    governance = load(provider, registry)
    market = MarketId(underlying)
    margins = governance.compute_margins(market, factor)
    for name, value in margins.items():
        click.echo(f"{name} {value}")
    announce(governance)
    if not yes:
        click.confirm(f"Tighten underlying {underlying}?", abort=True)
    receipt = governance.tighten(market, margins, unlock(account))
    click.echo(f"tightened: {receipt.txn_hash}, {receipt.gas_used} gas")


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@click.option("--series", type=MARKET, required=True, help="The lowest id.")
@click.option("--count", type=click.IntRange(1, MAX_CLOSING), default=1, show_default=True)
@yes_option
@plain_errors()
def close(
    provider: ProviderAPI, account: AccountAPI, registry: Path, series: int, count: int, yes: bool
) -> None:
    """Close series to new risk for the emergency period. For the guardian."""
    governance = load(provider, registry)
    click.echo(f"series {series} to {series + count - 1}: positions can only be reduced")
    announce(governance)
    if not yes:
        click.confirm("Close them?", abort=True)
    receipt = governance.close(series, count, unlock(account))
    click.echo(f"closed: {receipt.txn_hash}, {receipt.gas_used} gas")


@cli.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@plain_errors()
def restore(provider: ProviderAPI, account: AccountAPI, registry: Path) -> None:
    """End every emergency whose period is over. For anyone."""
    governance = load(provider, registry)
    overdue = governance.find_overdue(provider.get_block("latest").timestamp)
    for market in overdue.underlyings:
        click.echo(f"underlying {market}: the timelocked parameters are in force again")
    for first, count in overdue.series:
        click.echo(f"series {first} to {first + count - 1}: open again")
    receipts = governance.restore(overdue, unlock(account))
    click.echo(f"{len(receipts)} transactions")


def announce(governance: Governance) -> None:
    """Say how long an emergency lasts."""
    period, cooldown = (int(governance.gate.emergencyPeriod()), int(governance.gate.cooldown()))
    click.echo(
        f"on the rollup within {to_days(governance.forced_delay)}; anyone may end it after "
        f"{to_days(period)}; then nothing of the kind for {to_days(cooldown)}"
    )
