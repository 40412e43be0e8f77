"""Watches a rollup: removes batches that break a rule, ends emergencies that are over."""

from contextlib import ExitStack
from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand, account_option

from deltaroll.cli import (
    config_option,
    get_view_policy,
    l1_options,
    load_deployment,
    load_project,
    metrics_option,
    omit_configured,
    once_option,
    open_sender,
    plain_errors,
    registry_option,
    serve_monitor,
    unlock,
    watch,
)
from deltaroll.config import Settings
from deltaroll.logs import configure_logs
from deltaroll.node.challenger import ChallengeError, Challenger, Removal
from deltaroll.node.follower import Follower
from deltaroll.node.keeper import open_keeper
from deltaroll.node.metrics import ChallengerMetrics, ChallengerState, SenderMetrics
from deltaroll.node.watched import Watched


@click.command(cls=ConnectedProviderCommand)
@config_option("challenger")
@account_option()
@registry_option
@once_option
@l1_options
@metrics_option
@click.option(
    "--confirmations",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Blocks on top of a fraudulent batch before it is acted upon; none with --once.",
)
@plain_errors()
def cli(
    provider: ProviderAPI,
    account: AccountAPI,
    settings: Settings,
    registry: Path,
    once: bool,
    interval: float,
    confirmations: int,
    urls: tuple[str, ...],
    max_fee: int | None,
    journal: Path | None,
    ignores_clock: bool,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    """Derive the state from L1; prove the first fraud in one transaction, end what emergencies are
    over.
    """
    configure_logs(settings.log.level or "info", "challenger", settings.log.format)
    found, gateway = load_deployment(provider, registry, urls)
    watched = Watched("challenger", settings.metrics.max_view_age)
    follower = Follower(
        gateway,
        get_view_policy(provider, ignores_clock),
        alarms=watched.alarms,
        keep=settings.l1.keep_batches,
    )
    sender = open_sender(gateway, unlock(account), journal, max_fee, watched.alarms)
    challenger = Challenger(follower, sender, 0 if once else confirmations)
    keeper = open_keeper(load_project(), gateway, found, account)

    metrics = ChallengerMetrics(watched.registry)
    of_sender = SenderMetrics(watched.registry)

    def challenge() -> Removal | None:
        metrics.set(find_state(challenger))
        try:
            removal = challenger.challenge()
        except ChallengeError:
            metrics.set(ChallengerState.FAILED)
            raise
        finally:
            of_sender.look(sender)
        metrics.removed.inc(removal is not None)
        return removal

    def look() -> None:
        challenger.follower.poll()
        watched.look(follower)
        removal = challenge()
        if keeper is not None and (ended := keeper.look()):
            click.echo(f"an emergency is over: {len(ended)} transactions")
        index = challenger.follower.chain[-1].submitted.header.index
        if removal is None:
            if once:
                click.echo(f"batch {index}: no fraud")
            return
        metrics.set(ChallengerState.WATCHING)
        batch = removal.fraud.submitted.header.index
        click.echo(
            f"batch {batch} removed: {removal.fraud.fault.name}, "
            f"{removal.receipt.gas_used} gas, {removal.calldata} bytes"
        )

    def note_failure() -> None:
        watched.l1.note_failure()
        if follower.behind is not None:
            metrics.set(ChallengerState.BEHIND)

    with ExitStack() as stack:
        stack.callback(sender.close)
        port = omit_configured(metrics_port, settings.metrics.port, once)
        if port is not None:
            stack.callback(serve_monitor(watched.monitor, port, metrics_host).close)
        watch(look, once, interval, note_failure)


def find_state(challenger: Challenger) -> ChallengerState:
    """Return what a challenger is about to do, after a look at L1."""
    follower = challenger.follower
    if follower.behind is not None or follower.head is None:
        return ChallengerState.BEHIND
    if follower.fraud is None:
        return ChallengerState.WATCHING
    depth = follower.head.number - follower.fraud.submitted.block
    is_deep = depth >= challenger.confirmations
    return ChallengerState.PROVING if is_deep else ChallengerState.WAITING
