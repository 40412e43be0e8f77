"""What the Ape scripts share: options, loading a deployment, plain output."""

import signal
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import click
from ape import Project
from ape.api import ProviderAPI
from ape.managers.project import ProjectManager

from deltaroll.l1.deployment import load_gateway
from deltaroll.l1.gateway import Gateway, L1Error
from deltaroll.l1.registry import Registry, RegistryError, get_registry_path, read_registry

Function = TypeVar("Function", bound=Callable[..., Any])
DEPLOYMENTS = Path("data") / "deployments"


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


def load_deployment(provider: ProviderAPI, registry: Path) -> tuple[Registry, Gateway]:
    """Return the deployment on the connected chain.

    Raises
    ------
    click.ClickException
        When there is no usable registry file.
    """
    try:
        found = read_registry(get_registry_path(registry, provider.chain_id), provider.chain_id)
    except RegistryError as problem:
        raise click.ClickException(str(problem)) from None
    return found, load_gateway(load_project(), provider, found)


def to_money(units: int) -> str:
    """Return collateral units (1e-6) as a readable amount."""
    sign = "-" if units < 0 else ""
    return f"{sign}{abs(units) // 10**6:,}.{abs(units) % 10**6:06d}"


class Money(click.ParamType):
    """A decimal amount of collateral with at most six places."""

    name = "amount"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """Return the amount; fails when it is no positive amount of whole units."""
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value} is not a number", param, ctx)
        if not amount.is_finite() or amount <= 0:
            self.fail(f"{value} is not a positive amount", param, ctx)
        if amount * 10**6 != int(amount * 10**6):
            self.fail(f"{value} has more than six decimal places", param, ctx)
        return amount


MONEY = Money()


def watch(look: Callable[[], None], once: bool, interval: float) -> None:
    """Call `look` until interrupted or terminated; just once when `once`.

    L1 that gives no answer is reported and asked again, unless `once`.
    """
    stop = Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    while True:
        try:
            look()
        except L1Error as problem:
            if once:
                raise click.ClickException(str(problem)) from None
            click.echo(f"L1: {problem}", err=True)
        if once or stop.wait(interval):
            return
