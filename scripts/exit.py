"""Leaves the rollup: finds what belongs to a key, picks the fastest way out and goes it."""

from pathlib import Path

import click
from ape.api import AccountAPI, ProviderAPI
from ape.cli import AccountAliasPromptChoice, account_option
from eth_utils.conversions import to_bytes

from deltaroll.cli import (
    ACCOUNT_ID,
    MONEY,
    PORT,
    OfflineCommand,
    WalletSigner,
    bridge_options,
    open_gateway,
    plain_errors,
    registry_option,
    unlock,
)
from deltaroll.l1.gateway import Gateway
from deltaroll.leave.channels import FileChannel, LineChannel
from deltaroll.leave.decide import Wishes, check_same, decide
from deltaroll.leave.leaver import Channel, LeaveError, Leaver, look
from deltaroll.leave.memory import Memory
from deltaroll.leave.moves import Route
from deltaroll.leave.plan import Plan, list_routes, make_plan
from deltaroll.leave.proof import check_proof, from_hex, read_proof, write_proof
from deltaroll.leave.situation import Situation
from deltaroll.leave.submission import make_proof, submit_proof
from deltaroll.leave.words import (
    describe_asks,
    describe_holdings,
    describe_others,
    describe_plan,
    describe_time,
)
from deltaroll.logs import configure_logs
from deltaroll.node.follower import Follower
from deltaroll.protocol.types import Address

FOLDER = Path("data") / "exits"


def check(path: Path, header_hash: str | None) -> None:
    """Say what a proof proves; no network, no account."""
    expected = None if header_hash is None else from_hex("--header-hash", header_hash, 32)
    found = check_proof(read_proof(path), expected)
    click.echo(f"proves: {found.text}")
    click.echo(f"state root   0x{found.post_root.hex()}")
    click.echo(f"header hash  0x{found.header_hash.hex()}")
    if expected is None:
        click.echo(
            f"It is worth what that header is: L1 must have it as batch {found.batch} "
            f"(RollupInbox.headerHash({found.batch}))."
        )


def explain(situation: Situation, plan: Plan, others: list[Plan], has_channel: bool) -> None:
    """Print what there is, the way that is taken, and the others."""
    for line in describe_holdings(situation):
        click.echo(line)
    if not plan.steps and not plan.blocked:
        return
    click.echo()
    click.echo("The way:")
    for line in describe_plan(plan, situation):
        click.echo(line)
    rest = list(describe_others(situation, others, has_channel))
    if rest:
        click.echo("Other ways:")
    for line in rest:
        click.echo(f"  {line}")


def has_anything(situation: Situation) -> bool:
    """Return whether anything here is the owner's."""
    return bool(situation.accounts or situation.exits or situation.delayed or situation.asked)


def make_channel(
    gateway: Gateway, account: AccountAPI, port: int | None, requests: Path | None
) -> Channel | None:
    """Return how the sequencer is reached; None when nobody has said how."""
    if port is not None:
        return LineChannel(port, WalletSigner(account, gateway))
    if requests is not None:
        return FileChannel(requests, WalletSigner(account, gateway))
    return None


def get_memory(gateway: Gateway, owner: Address, path: Path | None) -> Memory:
    """Return where an exit of this owner from this rollup is written down."""
    bridge = str(gateway.contracts.bridge.address)
    name = f"{gateway.provider.chain_id}-{bridge[2:10].lower()}-{owner.hex()[:8]}.json"
    return Memory(path or FOLDER / name)


@click.command(cls=OfflineCommand, offline="check_path")
@account_option(prompt=None)
@registry_option
@bridge_options
@click.option("--amount", type=MONEY, help="How much leaves; else all that is free.")
@click.option(
    "--from",
    "rollup_accounts",
    type=ACCOUNT_ID,
    multiple=True,
    help="An account that it leaves; repeat. Else all of the key's.",
)
@click.option(
    "--close", is_flag=True, help="Close all positions first, at the mark less a penalty."
)
@click.option("--claim", is_flag=True, help="Only bring home what is on its way already.")
@click.option(
    "--route",
    type=click.Choice([route.value for route in Route]),
    help="Which way; else the fastest that is open.",
)
@click.option("--connect", "port", type=PORT, help="Port that the sequencer listens on.")
@click.option(
    "--requests",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append a signed withdrawal to this file, for the sequencer.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--plan", "only_plan", is_flag=True, help="Explain, and do nothing.")
@click.option("--wait", is_flag=True, help="Stay until everything is paid.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=12.0,
    show_default=True,
    help="With --wait: seconds between two looks at L1.",
)
@click.option(
    "--state",
    "state_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where an exit under way is written down; else a file in data/exits.",
)
@click.option(
    "--export",
    "export_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the proof to a file and stop: of the exit that can be claimed, or of the account.",
)
@click.option(
    "--check",
    "check_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Check the proof in a file, without network or key, and stop.",
)
@click.option("--header-hash", help="With --check: the batch's header hash, as L1 has it.")
@click.option(
    "--submit",
    "submit_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Send the proof in a file, from any account, and stop.",
)
@plain_errors()
def cli(
    account: AccountAPI | None,
    registry: Path,
    bridge: str | None,
    first_block: int | None,
    amount: int | None,
    rollup_accounts: tuple[int, ...],
    close: bool,
    claim: bool,
    route: str | None,
    port: int | None,
    requests: Path | None,
    yes: bool,
    only_plan: bool,
    wait: bool,
    interval: float,
    state_path: Path | None,
    export_path: Path | None,
    check_path: Path | None,
    header_hash: str | None,
    submit_path: Path | None,
    provider: ProviderAPI | None = None,
) -> None:
    """Leave: force or sign a withdrawal, or escape, then claim. Run it again to go on."""
    if check_path is not None:
        check(check_path, header_hash)
        return
    assert provider is not None
    configure_logs("error")
    gateway = open_gateway(provider, registry, bridge, first_block)
    key = unlock(account or AccountAliasPromptChoice().select_account())
    owner = Address(to_bytes(hexstr=key.address))
    if submit_path is not None:
        click.echo(submit_proof(gateway, key, read_proof(submit_path)))
        return
    follower = Follower(gateway)
    memory = get_memory(gateway, owner, state_path)
    decision = memory.read(
        provider.chain_id, str(gateway.contracts.bridge.address), "0x" + owner.hex()
    )
    situation = look(follower, owner, decision.queue_from if decision else 2**64)
    if export_path is not None:
        write_proof(export_path, make_proof(follower, situation, rollup_accounts))
        check(export_path, None)
        return
    if decision is None and not has_anything(situation):
        raise LeaveError(f"{key.address} has no account and no exit here")
    channel = make_channel(gateway, key, port, requests)
    routes = list_routes(situation, channel is not None)
    wishes = Wishes(amount, rollup_accounts, close, claim, None if route is None else Route(route))
    if decision is None:
        decision = decide(situation, wishes, routes, gateway, len(follower.state.messages))
    else:
        check_same(decision, wishes, memory.path)
        click.echo(f"going on with: {describe_asks(decision.to_asks())} ({memory.path})")

    def show(plan: Plan, seen: Situation) -> None:
        others = [make_plan(seen, leaver.decision.to_asks(), each) for each in routes]
        rest = [each for each in others if each.route != plan.route]
        explain(seen, plan, rest, channel is not None)

    def agree(plan: Plan, seen: Situation) -> None:
        others = [make_plan(seen, leaver.decision.to_asks(), each) for each in routes]
        explain(
            seen, plan, [each for each in others if each.route != plan.route], channel is not None
        )
        if not yes:
            click.confirm("Go this way?", abort=True)
        memory.write(leaver.decision)

    leaver = Leaver(follower, key, memory, decision, channel, click.echo, agree)
    plan = leaver.make_plan(situation)
    if only_plan or plan.find_ready(situation.now) is None:
        show(plan, situation)
    if only_plan:
        return
    finish(leaver.go(interval if wait else None), leaver.look())


def finish(plan: Plan, situation: Situation) -> None:
    """Say what is left."""
    click.echo()
    following = plan.find_next()
    if following is not None:
        click.echo(
            f"Nothing more to do now. Run this again after {describe_time(following)}, or with "
            "--wait."
        )
        return
    if plan.blocked:
        raise click.ClickException("nothing more can leave now: see above")
    left = sum(owned.equity for owned in situation.accounts) and not situation.hatch.is_frozen
    click.echo(
        "Everything that was asked for is paid." + (" Some is left in the account." if left else "")
    )
