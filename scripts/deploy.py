"""Deploys a venue from its file, or shows what that would take, or checks one that is deployed."""

from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option
from rich.console import Console
from rich.table import Table

from deltaroll.cli import plain_errors, registry_option, unlock
from deltaroll.l1.deployment.abi import read_blueprint
from deltaroll.l1.deployment.assembly import (
    Prepared,
    make_registry,
    prepare,
    validate_registry,
)
from deltaroll.l1.deployment.check import check
from deltaroll.l1.deployment.execution import execute, mint_test_tokens
from deltaroll.l1.deployment.parameters import resolve
from deltaroll.l1.deployment.plan import FACTORY, Step
from deltaroll.l1.deployment.simulation import (
    Outlook,
    compute_cost,
    find_first_block,
    forecast,
    validate_funds,
)
from deltaroll.l1.deployment.venue import read_venue
from deltaroll.l1.registry import decode_registry, get_registry_path, write_registry
from deltaroll.l1.sending import GWEI, Sender, get_base_fee, get_tip, to_ether, to_gwei
from tools.compile import Artifact, compile_contracts
from tools.verification import FOLDER, Deployed, write_verification

VENUES = Path("deployments")


def show_plan(provider: ProviderAPI, outlook: Outlook) -> None:
    """Print every step with its address and its gas, and what is still to be paid."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("contract", "address", "state"):
        table.add_column(title, no_wrap=True)
    table.add_column("gas", justify="right")
    factory = "there" if outlook.factory_there else "new"
    table.add_row(FACTORY, outlook.plan.factory, factory, f"{outlook.factory_gas:,}")
    for expected in outlook.forecasts:
        state = f"block {expected.block}" if expected.block else "new"
        table.add_row(expected.step.name, expected.step.address, state, f"{expected.gas:,}")
    Console(width=100, highlight=False).print(table)
    base, tip = get_base_fee(provider), get_tip(provider)
    click.echo(f"gas to be paid       {outlook.gas:,}, estimated by the node with state overrides")
    for factor in (1, 2):
        cost = to_ether(compute_cost(outlook, factor * base, tip))
        prices = f"base fee of {to_gwei(factor * base)} gwei and a tip of {to_gwei(tip)} gwei"
        click.echo(f"cost                 {cost} ether at a {prices}")


def show_check(provider: ProviderAPI, prepared: Prepared) -> None:
    """Print what the chain says otherwise than the plan; ends with an error if it does."""
    first_block = find_first_block(provider, prepared.plan)
    findings = check(provider, prepared.plan, prepared.parameters, first_block)
    for finding in findings:
        if not finding.is_good:
            click.echo(f"{finding.what}: {finding.actual} instead of {finding.expected}", err=True)
    wrong = sum(not finding.is_good for finding in findings)
    if wrong:
        raise click.ClickException(f"check: {wrong} of {len(findings)} findings are wrong")
    click.echo(f"check: all {len(findings)} findings are as planned")


def write_inputs(provider: ProviderAPI, artifacts: dict[str, Artifact], prepared: Prepared) -> None:
    """Write what explorers ask for."""
    plan = prepared.plan
    deployed = {step.name: Deployed(step.address, step.code) for step in plan.steps}
    deployed[FACTORY] = Deployed(plan.factory, plan.factory_code)
    folder = FOLDER / str(provider.chain_id)
    write_verification(folder, artifacts, deployed)
    click.echo(f"verification input   {folder}")


@click.command(cls=ConnectedProviderCommand)
@account_option(prompt=None)
@registry_option
@click.option(
    "--venue",
    "venue_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The venue's file; deployments/<network>.yaml when left out.",
)
@click.option("--dry-run", is_flag=True, help="Check and estimate everything, send nothing.")
@click.option("--check", "only_check", is_flag=True, help="Check a deployment, send nothing.")
@click.option(
    "--deployer", help="Whose deployment, where nothing is sent; the account's when left out."
)
@click.option("--max-fee", type=click.IntRange(1), help="Gwei per gas that are never exceeded.")
@click.option(
    "--poll", type=click.FloatRange(min=0.05), default=4.0, help="Seconds between looks at L1."
)
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI | None,
    registry: Path,
    venue_path: Path | None,
    dry_run: bool,
    only_check: bool,
    deployer: str | None,
    max_fee: int | None,
    poll: float,
) -> None:
    """Deploy the venue that a file describes, as the account that its addresses belong to.

    What is there already is checked and left alone, so a run that was interrupted goes on where it
    was.
    """
    is_silent = dry_run or only_check
    if account is None and not is_silent:
        raise click.UsageError("--account: needed to send anything")
    if deployer is not None and not is_silent:
        raise click.UsageError("--deployer: only with --dry-run or --check")
    owner = deployer or (account and account.address)
    if owner is None:
        raise click.UsageError("--deployer: needed without --account")
    venue = read_venue(venue_path or VENUES / f"{provider.network.name}.yaml")
    artifacts = compile_contracts()
    blueprints = {
        name: read_blueprint(name, artifact.abi, artifact.bytecode)
        for name, artifact in artifacts.items()
    }
    prepared = prepare(provider, venue, blueprints, str(resolve("--deployer", owner, owner)))
    for note in prepared.notes:
        click.echo(note)
    if only_check:
        show_check(provider, prepared)
        return
    outlook = forecast(provider, prepared.plan)
    path = get_registry_path(registry, provider.chain_id)
    if path.is_file():
        there = [each.step for each in outlook.forecasts if each.block]
        validate_registry(there, decode_registry(path))
    show_plan(provider, outlook)
    write_inputs(provider, artifacts, prepared)
    if dry_run or account is None:
        return
    limit = max_fee and max_fee * GWEI
    validate_funds(provider, outlook, limit)
    sender = Sender(provider, unlock(account), limit, poll, click.echo)
    blocks: dict[str, int] = {}

    def write_down(step: Step, block: int) -> None:
        blocks[step.name] = block
        token = prepared.parameters.token
        write_registry(path, make_registry(provider, prepared.plan, token, blocks))

    execute(sender, outlook, write_down)
    mint_test_tokens(sender, prepared.plan)
    click.echo(f"registry             {path}")
    show_check(provider, prepared)
