"""Where the L1 state machine plays: a real deployment on a node of its own, and what L1 shows.

What L1 shows is read from its events each time, not from a node of the rollup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ape import Project, accounts, networks
from ape.api import AccountAPI, ProviderAPI
from ape.logging import LogLevel, logger
from eth_abi.abi import decode

from deltaroll.l1.types import BatchSubmitted, MessageQueued
from deltaroll.logs import configure_logs
from deltaroll.node.follower import compute_chain, compute_queue
from tests.scenarios.support import BLOCK_SECONDS, BOND, Venue, create_venue, encode_call

HONEST, LIARS = 11, 3
"""Accounts of each: the venue's own and its users, then those who lie."""
START = 2_000_000_000
"""L1 time of the deployment: with the blocks' fixed distance the same effort gives the same L1."""
HALF = BOND // 2


class View(NamedTuple):
    """A question to a contract."""

    method: Any
    types: Sequence[str]
    """Of the answer."""
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A venue, those who wish it ill, and a folder for logs."""

    venue: Venue
    liars: tuple[AccountAPI, ...]
    """Propose when it is anybody's turn, lies only."""
    rival: AccountAPI
    """Proves what cannot be proven."""
    folder: Path

    @property
    def proposers(self) -> tuple[AccountAPI, ...]:
        """Whose bonds are in the inbox: the sequencer, an honest standby, liars."""
        return (self.venue.operator, self.venue.standby, *self.liars)

    def request(self, method: str, *parameters: Any) -> Any:
        """Ask the node."""
        return self.venue.provider.make_request(method, list(parameters))

    def get_balance(self, address: Any) -> int:
        """Return an address's ether."""
        return int(self.request("eth_getBalance", str(address), "latest"), 16)

    def read(self, method: Any, types: Sequence[str], *arguments: Any) -> tuple[Any, ...]:
        """Return what a view returns, without what Ape asks the node around it."""
        (answer,) = self.read_all([View(method, types, arguments)])
        return answer

    def read_all(self, views: Sequence[View]) -> list[tuple[Any, ...]]:
        """Return what views return, asked in one request."""
        calls = [
            ("eth_call", [encode_call(view.method, *view.arguments, sender=self.rival), "latest"])
            for view in views
        ]
        answers = self.venue.provider.web3.provider.make_batch_request(calls)
        return [
            decode(view.types, bytes.fromhex(answer["result"][2:]))
            for view, answer in zip(views, answers, strict=True)
        ]

    def read_chain(self) -> tuple[list[BatchSubmitted], list[MessageQueued]]:
        """Return the batches that count and the queue, from L1's events."""
        gateway = self.venue.gateway
        events = gateway.get_events(gateway.first_block, gateway.get_head().number)
        return compute_chain(events), compute_queue(events, [])


@contextmanager
def open_stage() -> Iterator[Stage]:
    """Set up a stage on the node that is running, or on one of its own, and clear it away."""
    with ExitStack() as stack:
        provider = networks.active_provider
        if provider is None:
            logger.set_level(LogLevel.ERROR)
            configure_logs("error")
            provider = stack.enter_context(networks.parse_network_choice("ethereum:local:foundry"))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        snapshot = provider.make_request("evm_snapshot", [])
        try:
            yield create_stage(provider, folder)
        finally:
            provider.make_request("anvil_removeBlockTimestampInterval", [])
            assert provider.make_request("evm_revert", [snapshot])


def create_stage(provider: ProviderAPI, folder: Path) -> Stage:
    """Deploy and make the base state; everybody who proposes has a bond."""
    provider.make_request("anvil_setBlockTimestampInterval", [BLOCK_SECONDS])
    provider.make_request("evm_setNextBlockTimestamp", [START])
    provider.make_request("evm_mine", [])
    actors = [accounts.test_accounts[place] for place in range(HONEST + LIARS + 1)]
    honest, liars, rival = actors[:HONEST], tuple(actors[HONEST:-1]), actors[-1]
    # Ape prints a line for each deployment.
    with redirect_stdout(StringIO()):
        venue = create_venue(Project(Path.cwd()), provider, honest, folder / "base.sqlite")
    for liar in liars:
        venue.send(venue.contracts.inbox.bond, sender=liar, value=BOND)
    return Stage(venue, liars, rival, folder)
