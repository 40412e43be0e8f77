"""Follows a rollup from L1 alone."""

from contextlib import ExitStack
from pathlib import Path

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand

from deltaroll.amounts import to_money
from deltaroll.cli import (
    config_option,
    load_deployment,
    metrics_option,
    omit_configured,
    once_option,
    plain_errors,
    registry_option,
    serve_monitor,
    watch,
)
from deltaroll.config import Settings
from deltaroll.l1.types import Stage
from deltaroll.logs import configure_logs
from deltaroll.node.audit import Audit, compute_audit
from deltaroll.node.follower import Follower
from deltaroll.node.watched import Watched


def show(follower: Follower, audit: Audit) -> None:
    """Print head, finality stages, state root and the conservation check."""
    head = follower.head
    assert head is not None
    newest = follower.find_newest()
    click.echo(f"L1 head     {head.number} 0x{head.hash.hex()}")
    click.echo(f"batch       {follower.chain[-1].submitted.header.index}")
    for stage in (Stage.POSTED, Stage.SAFE, Stage.FINAL, Stage.SETTLED):
        if stage in newest:
            click.echo(f"{stage.value:11s} up to batch {newest[stage].submitted.header.index}")
    click.echo(f"state root  0x{follower.state_root.hex()}")
    click.echo(f"vault       {to_money(audit.vault)}")
    click.echo(f"liabilities {to_money(audit.liabilities)}")
    click.echo(f"conserved   {'yes' if audit.is_conserved else 'NO'}")
    if follower.fraud is not None:
        fraud = follower.fraud
        click.echo(f"FRAUD       batch {fraud.submitted.header.index}: {fraud.fault.name}")
    closing = follower.closing
    if closing is None:
        return
    click.echo(f"FROZEN      for ever, in L1 block {closing.block}")
    opened = closing.opened
    if opened is not None:
        click.echo(f"final       batch {opened.batch}; claims are paid after {opened.closes_at}")
        click.echo(f"available   {to_money(opened.available)}")
        total = sum(one.amount for one in closing.escaped.values())
        click.echo(f"claims      {len(closing.escaped)}, {to_money(total)}")


@click.command(cls=ConnectedProviderCommand)
@config_option("follower")
@registry_option
@once_option
@metrics_option
@plain_errors()
def cli(
    provider: ProviderAPI,
    settings: Settings,
    registry: Path,
    once: bool,
    interval: float,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    """Derive the state from L1; print head, finality stages and state root."""
    configure_logs(settings.log.level or "warning", "follower", settings.log.format)
    _, gateway = load_deployment(provider, registry, settings.l1.nodes)
    watched = Watched("follower", settings.metrics.max_view_age)
    follower = Follower(gateway, alarms=watched.alarms, keep=settings.l1.keep_batches)

    def look() -> None:
        known = follower.head
        if follower.poll() != known:
            audit = compute_audit(follower)
            watched.l1.conserved.set(audit.is_conserved)
            show(follower, audit)
        watched.look(follower)

    with ExitStack() as stack:
        port = omit_configured(metrics_port, settings.metrics.port, once)
        if port is not None:
            stack.callback(serve_monitor(watched.monitor, port, metrics_host).close)
        watch(look, once, interval, watched.l1.note_failure)
