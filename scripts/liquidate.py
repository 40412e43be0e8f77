"""Takes over accounts in distress, for the auction's reward."""

from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option

from deltaroll.amounts import to_money
from deltaroll.cli import (
    ACCOUNT_ID,
    PARTS,
    PORT,
    WalletSigner,
    load_deployment,
    once_option,
    plain_errors,
    registry_option,
    unlock,
    watch,
)
from deltaroll.logs import LEVELS, configure_logs
from deltaroll.node.liquidator import LineClient, Liquidator, Policy, Tally
from deltaroll.protocol.constants import PPM
from deltaroll.protocol.types import AccountId

DEFAULTS = Policy()


def describe(tally: Tally) -> str:
    """Return one line about a run."""
    return (
        f"looks {tally.looks}, accounts in distress {len(tally.seen)}, pokes {tally.pokes}, "
        f"bids {tally.bids}, taken {tally.taken}, refused {tally.refused}, "
        f"reward {to_money(tally.reward)}"
    )


@click.command(cls=ConnectedProviderCommand)
@account_option()
@registry_option
@once_option
@click.option(
    "--connect", "port", type=PORT, required=True, help="Port that the sequencer listens on."
)
@click.option(
    "--for",
    "rollup_account",
    type=ACCOUNT_ID,
    required=True,
    help="Account id that takes over; the Ape account is its owner or its trading key.",
)
@click.option(
    "--min-reward",
    type=PARTS,
    default=DEFAULTS.min_reward,
    show_default=True,
    help="Least reward, parts per million of the maintenance margin taken over.",
)
@click.option(
    "--max-share",
    type=click.IntRange(1, PPM),
    default=DEFAULTS.max_share,
    show_default=True,
    help="Most of an account in one bid, parts per million.",
)
@click.option(
    "--buffer",
    type=click.IntRange(min=0),
    default=DEFAULTS.buffer,
    show_default=True,
    help="Kept above the own initial margin, parts per million of it.",
)
@click.option(
    "--skip", type=click.IntRange(min=0), multiple=True, help="An account to leave alone; repeat."
)
@click.option("--log", "level", type=click.Choice(list(LEVELS)), default="info", show_default=True)
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    registry: Path,
    once: bool,
    interval: float,
    port: int,
    rollup_account: int,
    min_reward: int,
    max_share: int,
    buffer: int,
    skip: tuple[int, ...],
    level: str,
) -> None:
    """Watch for accounts in distress and take over what pays."""
    configure_logs(level)
    _, gateway = load_deployment(provider, registry)
    client = LineClient(port)
    liquidator = Liquidator(
        client,
        AccountId(rollup_account),
        WalletSigner(unlock(account), gateway),
        Policy(min_reward, max_share, buffer, frozenset(skip)),
    )
    try:
        watch(liquidator.look, once, interval)
    except OSError as problem:
        raise click.ClickException(f"--connect: port {port}: {problem}") from None
    finally:
        client.close()
        click.echo(describe(liquidator.tally))
