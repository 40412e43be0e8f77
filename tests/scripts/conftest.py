"""A chain and a shell for each module that needs them."""

from collections.abc import Iterator

import pytest

from tests.scripts.shell import CHAIN, Shell, open_chain


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A chain for this module alone."""
    log = tmp_path_factory.mktemp("chain") / "anvil.log"
    with open_chain(log, "--chain-id", str(CHAIN), "--accounts", "20") as url:
        yield url


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, url: str) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"), url, CHAIN, "ethereum:local")
