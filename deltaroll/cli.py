"""What the Ape scripts share: options, loading a deployment, plain output."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import click
from ape import Project
from ape.api import AccountAPI, ProviderAPI
from ape.exceptions import ApeException
from ape.managers.project import ProjectManager
from ape_accounts import KeyfileAccount
from eth_utils.address import is_address
from eth_utils.conversions import to_bytes

from deltaroll.l1.deployment import DeploymentError, load_gateway
from deltaroll.l1.gateway import Gateway, L1Error
from deltaroll.l1.registry import Registry, RegistryError, get_registry_path, read_registry
from deltaroll.l1.wallets import sign_typed_data
from deltaroll.node.batcher import BatcherError
from deltaroll.node.challenger import ChallengeError
from deltaroll.node.exits import ExitError
from deltaroll.node.liquidator import LiquidatorError
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
PASSING = (L1Error, ChallengeError, ApeException, OSError)
"""What may be better the next time."""
FINAL = (BatcherError, DeploymentError, ExitError, LiquidatorError, RegistryError, StoreError)


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


def load_deployment(provider: ProviderAPI, registry: Path) -> tuple[Registry, Gateway]:
    """Return the deployment on the connected chain.

    Raises
    ------
    RegistryError
        When there is no usable registry file.
    """
    found = read_registry(get_registry_path(registry, provider.chain_id), provider.chain_id)
    return found, load_gateway(load_project(), provider, found)


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


def watch(look: Callable[[], None], once: bool, interval: float) -> None:
    """Call `look` until interrupted or terminated; just once when `once`.

    What may be better the next time is reported and tried again, unless `once`.
    """
    stop = Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    while True:
        try:
            look()
        except PASSING as problem:
            if once:
                raise
            click.echo(f"{type(problem).__name__}: {problem}", err=True)
        if once or stop.wait(interval):
            return
