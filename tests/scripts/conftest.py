"""A chain and a shell for each module that needs them."""

from collections.abc import Iterator

import pytest

from tests.scripts.shell import Shell, run_chain


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A chain for this module alone."""
    with run_chain(tmp_path_factory.mktemp("chain") / "anvil.log") as url:
        yield url


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, url: str) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"), url)
