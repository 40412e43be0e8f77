"""One deployment for all faults; every test starts from it on a chain of our own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ape import networks, project

from tests.faults.proxy import Proxy
from tests.faults.rig import Base, Chain, Rig, create_base
from tests.node.conftest import silence_logs

__all__ = ["silence_logs"]


@pytest.fixture(scope="session")
def base(accounts: Sequence[Any]) -> Base:
    return create_base(project, networks.provider, accounts)


@pytest.fixture(scope="session")
def started(base: Base) -> Iterator[Chain]:
    chain = Chain(base.provider.chain_id)
    assert chain("anvil_loadState", base.state)
    # The node's own clock may be ahead of the block that it has loaded: this one has caught up.
    chain("evm_mine")
    yield chain
    chain.close()


@pytest.fixture
def chain(started: Chain) -> Iterator[Chain]:
    """As the base left it."""
    snapshot = started("evm_snapshot")
    # What the next block asks for is no part of a snapshot.
    started("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    yield started
    assert started("evm_revert", snapshot)
    started("anvil_dropAllTransactions")


@pytest.fixture
def proxy(chain: Chain) -> Iterator[Proxy]:
    proxy = Proxy(chain.url)
    yield proxy
    proxy.close()


@pytest.fixture
def rig(base: Base, chain: Chain, proxy: Proxy, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(base, chain, proxy, tmp_path)
    # The base's messages are posted.
    rig.turn(2)
    yield rig
    rig.close()
