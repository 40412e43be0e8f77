"""What the Ape scripts share: options, loading a deployment, plain output."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from random import random
from threading import Event
from typing import Any, TypeVar

import click
from ape import Project
from ape.api import AccountAPI, ProviderAPI
from ape.cli import ConnectedProviderCommand
from ape.exceptions import ApeException
from ape.managers.project import ProjectManager
from ape_accounts import KeyfileAccount
from eth_utils.address import is_address
from eth_utils.conversions import to_bytes

from deltaroll.amounts import DECIMALS
from deltaroll.config import ConfigError, MetricsSettings, Settings, get_value, load
from deltaroll.l1.deployment import DeploymentError, load_gateway
from deltaroll.l1.discovery import DiscoveryError, discover
from deltaroll.l1.gateway import Gateway, L1Error
from deltaroll.l1.governance import GovernanceError
from deltaroll.l1.nodes import HttpNode, NodePool
from deltaroll.l1.proposals import ProposalError
from deltaroll.l1.registry import Registry, RegistryError, get_registry_path, read_registry
from deltaroll.l1.sending import SendError
from deltaroll.l1.wallets import sign_typed_data
from deltaroll.leave.force import ForceError
from deltaroll.leave.leaver import LeaveError
from deltaroll.leave.memory import RecordError
from deltaroll.leave.proof import ProofError
from deltaroll.logs import redact
from deltaroll.node.alarms import Alarms
from deltaroll.node.batcher import BatcherError, ForeignBatchError, StaleChunksError
from deltaroll.node.challenger import ChallengeError
from deltaroll.node.escape import EscapeError
from deltaroll.node.exits import ExitError
from deltaroll.node.follower import ViewPolicy
from deltaroll.node.journal import JournalError
from deltaroll.node.liquidator import LiquidatorError
from deltaroll.node.monitor import Monitor, MonitorServer
from deltaroll.node.readmodel.database import HistoryError
from deltaroll.node.sender import Sender, SendPolicy
from deltaroll.node.store import StoreError
from deltaroll.protocol.constants import ACCOUNT_DEPTH, MAX_AMOUNT, PPM
from deltaroll.protocol.types import Address, Liquidate
from deltaroll.sdk.signing import Action, to_typed_data

Function = TypeVar("Function", bound=Callable[..., Any])
DEPLOYMENTS = Path("data") / "deployments"
ACCOUNT_ID = click.IntRange(1, 2**ACCOUNT_DEPTH - 1)
PARTS = click.IntRange(0, PPM)
"""Parts per million."""
PORT = click.IntRange(1, 2**16 - 1)
PASSING = (
    L1Error,
    ChallengeError,
    ForeignBatchError,
    StaleChunksError,
    ApeException,
    OSError,
)
"""What may be better the next time."""
FINAL = (
    BatcherError,
    DeploymentError,
    DiscoveryError,
    EscapeError,
    ExitError,
    ForceError,
    GovernanceError,
    HistoryError,
    JournalError,
    LeaveError,
    LiquidatorError,
    ProofError,
    ProposalError,
    RecordError,
    RegistryError,
    SendError,
    StoreError,
)
PUBLIC_VIEW = ViewPolicy(max_age=120.0, max_lead=60.0, lag_patience=60.0)
"""Of a chain that mines all the time."""
MAX_DELAY = 60.0
"""Seconds between two looks at an L1 that does not answer, at most."""
GWEI = 10**9


def config_option(process: str) -> Callable[[Function], Function]:
    """Add `--config`: a file whose values, and those of the environment, take the place of the
    defaults of the options. The command gets all of it as `settings`.
    """
    fields = {
        "network": "network",
        "account": f"{process}.account",
        "registry": "l1.registry",
        "interval": "l1.interval",
        "urls": "l1.nodes",
        "max_fee": "l1.max_fee",
        "journal": "l1.journal",
        "ignores_clock": "l1.ignore_clock",
        "metrics_port": "metrics.port",
        "metrics_host": "metrics.host",
        "store": f"{process}.store",
        "receipt_key": f"{process}.receipt_key",
        "port": f"{process}.listen",
        "api_port": f"{process}.api",
        "host": f"{process}.host",
        "depth": f"{process}.depth",
        "history_url": f"{process}.history",
        "confirmations": f"{process}.confirmations",
    }

    def read(ctx: click.Context, param: click.Parameter, value: Path | None) -> Settings:
        try:
            loaded = load(os.environ, value)
        except ConfigError as problem:
            raise click.ClickException(str(problem)) from None
        ctx.default_map = {
            option: get_value(loaded.settings, field)
            for option, field in fields.items()
            if field in loaded.sources
        }
        return loaded.settings

    return click.option(
        "--config",
        "settings",
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        callback=read,
        help="TOML file; by default $DELTAROLL_CONFIG, else deltaroll.toml where there is one.",
    )


def metrics_option(function: Function) -> Function:
    """Add `--metrics`: a port for metrics, health and readiness."""
    function = click.option(
        "--metrics-host",
        default=MetricsSettings().host,
        show_default=True,
        help="Address that --metrics listens on.",
    )(function)
    return click.option(
        "--metrics",
        "metrics_port",
        type=click.IntRange(0, 2**16 - 1),
        help="Serve /metrics, /health and /ready on this port; 0 takes a free one and says which.",
    )(function)


def omit_configured(port: int | None, configured: int | None, once: bool) -> int | None:
    """Return a port; None when it is for one look only and was not asked for on the command line:
    the process that runs for good has it."""
    return None if once and port == configured else port


def serve_monitor(monitor: Monitor, port: int, host: str) -> MonitorServer:
    """Serve a monitor's pages; a plain error when the address is not to be had."""
    try:
        server = MonitorServer(monitor, port, host)
    except OSError as problem:
        raise click.ClickException(f"--metrics: {host}:{port}: {problem.strerror}") from None
    click.echo(f"metrics on http://{host}:{server.port}/metrics", err=True)
    return server


def registry_option(function: Function) -> Function:
    """Add `--registry`: the folder in which deployments are written down."""
    return click.option(
        "--registry",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEPLOYMENTS,
        show_default=True,
        help="Folder of registry files, one per chain.",
    )(function)


def once_option(function: Function) -> Function:
    """Add `--once` and `--interval`."""
    function = click.option(
        "--interval",
        type=click.FloatRange(min=0.1),
        default=4.0,
        show_default=True,
        help="Seconds between two looks at L1.",
    )(function)
    return click.option("--once", is_flag=True, help="Look once and stop.")(function)


def l1_options(function: Function) -> Function:
    """Add `--node`, `--ignore-clock`, `--max-fee` and `--journal`: how to read L1 and what to pay
    there."""
    function = click.option(
        "--ignore-clock",
        "ignores_clock",
        is_flag=True,
        help="Act on L1 however old or early this machine's clock says it is: for chains that keep "
        "a time of their own.",
    )(function)
    function = click.option(
        "--journal",
        type=click.Path(path_type=Path, dir_okay=False),
        default=None,
        help="What the account has sent; by default in data/, on a local chain in memory.",
    )(function)
    function = click.option(
        "--max-fee",
        type=click.IntRange(min=1),
        default=None,
        help="Gwei per gas that are never exceeded; above it transactions wait.",
    )(function)
    return click.option(
        "--node",
        "urls",
        multiple=True,
        help="Another L1 node, by its URL; may be given several times.",
    )(function)


def get_view_policy(provider: ProviderAPI, ignores_clock: bool = False) -> ViewPolicy:
    """Return when a view of the connected chain is to be acted upon: a local one mines only when
    there is something to mine."""
    if provider.network.is_local:
        return ViewPolicy()
    return replace(PUBLIC_VIEW, max_age=None, max_lead=None) if ignores_clock else PUBLIC_VIEW


def open_sender(
    gateway: Gateway,
    account: AccountAPI,
    journal: Path | None,
    max_fee: int | None,
    alarms: Alarms,
) -> Sender:
    """Return the sender of an account, with the journal that it had before.

    Raises
    ------
    JournalError
    """
    policy = SendPolicy(max_fee=None if max_fee is None else max_fee * GWEI)
    if journal is None and gateway.provider.network.is_local:
        # The next chain may have the same name and none of these transactions.
        return Sender(gateway, account, policy=policy, alarms=alarms)
    name = f"{gateway.domain.hex()[:16]}-{account.address}.journal.sqlite"
    path = journal or Path("data") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return Sender(gateway, account, path, policy, alarms)


def load_project() -> ProjectManager:
    """Return the Ape project of the working directory."""
    project: ProjectManager = Project(Path.cwd())
    return project


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn the errors that a person can do something about into one line each."""
    try:
        yield
    except (*FINAL, L1Error, ChallengeError) as problem:
        raise click.ClickException(str(problem)) from None


def unlock(account: AccountAPI) -> AccountAPI:
    """Let a keyfile account sign without asking, if its passphrase is where Ape looks for it:
    in the environment, as `APE_ACCOUNTS_<alias>_PASSPHRASE`.
    """
    if (
        isinstance(account, KeyfileAccount)
        and f"APE_ACCOUNTS_{account.alias}_PASSPHRASE" in os.environ
    ):
        account.set_autosign(True)
    return account


def load_deployment(
    provider: ProviderAPI, registry: Path, urls: Sequence[str] = ()
) -> tuple[Registry, Gateway]:
    """Return the deployment on the connected chain; `urls` of more nodes to read it from.

    Raises
    ------
    RegistryError
        When there is no usable registry file.
    """
    found = read_registry(get_registry_path(registry, provider.chain_id), provider.chain_id)
    gateway = load_gateway(load_project(), provider, found)
    gateway.nodes = open_nodes(provider, urls)
    return found, gateway


def open_nodes(provider: ProviderAPI, urls: Sequence[str]) -> NodePool:
    """Return the nodes to read from: the one that is connected, then those of `urls`."""
    return NodePool((provider, *(HttpNode(url) for url in urls)))


def bridge_options(function: Function) -> Function:
    """Add `--bridge` and `--first-block`: a deployment without a registry file."""
    function = click.option(
        "--first-block",
        type=click.IntRange(min=0),
        help="With --bridge: a block before the deployment; else it is looked for.",
    )(function)
    return click.option(
        "--bridge",
        help="Address of the bridge; everything else is read from the contracts, no registry is "
        "needed.",
    )(function)


def open_gateway(
    provider: ProviderAPI,
    registry: Path,
    bridge: str | None,
    first_block: int | None,
    urls: Sequence[str] = (),
) -> Gateway:
    """Return a gateway to the deployment of a bridge, or to the registered one; `urls` of more
    nodes to read it from.

    Raises
    ------
    DiscoveryError, RegistryError
        When there is none.
    """
    if bridge is not None:
        gateway = discover(load_project(), provider, bridge, first_block)
        gateway.nodes = open_nodes(provider, urls)
        return gateway
    if first_block is not None:
        raise click.UsageError("--first-block: only with --bridge")
    return load_deployment(provider, registry, urls)[1]


class WalletSigner:
    """An Ape account that signs actions as EIP-712 typed data."""

    def __init__(self, account: AccountAPI, gateway: Gateway) -> None:
        self.address = Address(to_bytes(hexstr=account.address))
        self._account = account
        self._chain = gateway.provider.chain_id
        self._inbox = str(gateway.contracts.inbox.address)

    def sign(self, bid: Liquidate) -> bytes:
        """Return the 64-byte signature of a bid.

        Raises
        ------
        LiquidatorError
            When the account declines to sign.
        """
        try:
            return self.sign_action(bid)
        except ValueError as problem:
            raise LiquidatorError(str(problem)) from None

    def sign_action(self, action: Action) -> bytes:
        """Return the 64-byte signature of an action.

        Raises
        ------
        ValueError
            When the account declines to sign.
        """
        return sign_typed_data(self._account, to_typed_data(self._chain, self._inbox, action))


class OfflineCommand(ConnectedProviderCommand):
    """A command that needs no network with one of its options."""

    def __init__(self, *arguments: Any, offline: str, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        self.offline = offline

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, without connecting to anything when the option is given."""
        if ctx.params.get(self.offline) is None:
            return super().invoke(ctx)
        for name in ("network", "provider_settings"):
            ctx.params.pop(name, None)
        return click.Command.invoke(self, ctx)


class Money(click.ParamType):
    """A decimal amount of collateral, in units of its last decimal place."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the units; fails when it is no positive amount of whole units."""
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value} is not a number", param, ctx)
        if not amount.is_finite() or amount <= 0:
            self.fail(f"{value} is not a positive amount", param, ctx)
        _, digits, exponent = amount.as_tuple()
        assert isinstance(exponent, int)
        if exponent < -DECIMALS:
            self.fail(f"{value} has more than {DECIMALS} decimal places", param, ctx)
        if amount > MAX_AMOUNT // 10**DECIMALS:
            self.fail(f"{value} is more than can be moved at once", param, ctx)
        units: int = int("".join(map(str, digits))) * 10 ** (exponent + DECIMALS)
        return units


MONEY = Money()


class L1Address(click.ParamType):
    """An address, its checksum right if it has one, and not zero."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as given; fails when it is none."""
        address = str(value)
        if not address.startswith("0x") or not is_address(address):
            self.fail(f"{address} is not an address", param, ctx)
        if not any(to_bytes(hexstr=address)):
            self.fail("the zero address", param, ctx)
        return address


L1_ADDRESS = L1Address()


def watch(
    look: Callable[[], None],
    once: bool,
    interval: float,
    on_failure: Callable[[], None] = lambda: None,
) -> None:
    """Call `look` until interrupted or terminated; just once when `once`.

    What may be better the next time is reported and tried again, unless `once`; the more often in
    a row, the later. `on_failure` is told, for metrics.
    """
    stop = Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    failures = 0
    while True:
        try:
            look()
            failures = 0
        except PASSING as problem:
            if once:
                raise
            failures += 1
            on_failure()
            click.echo(redact(f"{type(problem).__name__}: {problem}"), err=True)
        if once or stop.wait(compute_delay(interval, failures, random())):
            return


def compute_delay(interval: float, failures: int, chance: float) -> float:
    """Return the seconds to the next look: twice as many after each failure, and not the same for
    everybody; `chance` in 0..1."""
    if failures == 0:
        return interval
    longest = max(interval, MAX_DELAY)
    delay: float = min(longest, interval * 2.0 ** min(failures, 16))
    return delay * (1 + chance) / 2
