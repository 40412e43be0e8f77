"""What the Ape scripts share: options, loading a deployment, plain output."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from random import random
from threading import Event
from typing import Any, TypeVar

import click
from ape import Project
from ape.api import AccountAPI, ProviderAPI
from ape.exceptions import ApeException
from ape.managers.project import ProjectManager
from ape_accounts import KeyfileAccount
from eth_utils.conversions import to_bytes

from deltaroll.l1.deployment import DeploymentError, load_gateway
from deltaroll.l1.gateway import Gateway, L1Error
from deltaroll.l1.nodes import HttpNode, NodePool
from deltaroll.l1.registry import Registry, RegistryError, get_registry_path, read_registry
from deltaroll.l1.wallets import sign_typed_data
from deltaroll.node.alarms import Alarms
from deltaroll.node.batcher import BatcherError, ForeignBatchError, StaleChunksError
from deltaroll.node.challenger import ChallengeError
from deltaroll.node.exits import ExitError
from deltaroll.node.follower import ViewPolicy
from deltaroll.node.journal import JournalError
from deltaroll.node.liquidator import LiquidatorError
from deltaroll.node.sender import Sender, SendError, SendPolicy
from deltaroll.node.store import StoreError
from deltaroll.protocol.constants import ACCOUNT_DEPTH, MAX_AMOUNT, PPM
from deltaroll.protocol.types import Address, Liquidate
from deltaroll.sdk.signing import to_typed_data

Function = TypeVar("Function", bound=Callable[..., Any])
DEPLOYMENTS = Path("data") / "deployments"
DECIMALS = 6
"""Of the collateral."""
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
    ExitError,
    JournalError,
    LiquidatorError,
    RegistryError,
    SendError,
    StoreError,
)
PUBLIC_VIEW = ViewPolicy(max_age=120.0, max_lead=60.0, lag_patience=60.0)
"""Of a chain that mines all the time."""
MAX_DELAY = 60.0
"""Seconds between two looks at an L1 that does not answer, at most."""
GWEI = 10**9


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
    """Add `--node`, `--max-fee` and `--journal`: how to read L1 and what to pay there."""
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


def get_view_policy(provider: ProviderAPI) -> ViewPolicy:
    """Return when a view of the connected chain is to be acted upon: a local one mines only when
    there is something to mine."""
    return ViewPolicy() if provider.network.is_local else PUBLIC_VIEW


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
    gateway.nodes = NodePool((provider, *(HttpNode(url) for url in urls)))
    return found, gateway


class WalletSigner:
    """An Ape account that signs bids as EIP-712 typed data."""

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
        document = to_typed_data(self._chain, self._inbox, bid)
        try:
            return sign_typed_data(self._account, document)
        except ValueError as problem:
            raise LiquidatorError(str(problem)) from None


def to_money(units: int) -> str:
    """Return collateral units (1e-6) as a readable amount."""
    sign = "-" if units < 0 else ""
    scale = 10**DECIMALS
    return f"{sign}{abs(units) // scale:,}.{abs(units) % scale:0{DECIMALS}d}"


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


def watch(look: Callable[[], None], once: bool, interval: float) -> None:
    """Call `look` until interrupted or terminated; just once when `once`.

    What may be better the next time is reported and tried again, unless `once`; the more often in
    a row, the later.
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
            click.echo(f"{type(problem).__name__}: {problem}", err=True)
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
