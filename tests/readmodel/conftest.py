from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.node.conftest import new_path, silence_logs
from tests.readmodel.postgres import Cluster, find_binaries, run_cluster

__all__ = ["new_path", "silence_logs"]
DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server on this machine: Debian's package is `postgresql`")
    with run_cluster(binaries) as running:
        yield running


@pytest.fixture
def new_sqlite(tmp_path: Path) -> Callable[[], str]:
    """URLs of empty histories."""
    numbers = count()
    return lambda: f"sqlite:///{tmp_path}/history{next(numbers)}.sqlite"


@pytest.fixture(params=DATABASES)
def new_url(request: pytest.FixtureRequest, new_sqlite: Callable[[], str]) -> Callable[[], str]:
    """The same, of each database."""
    if request.param == "sqlite":
        return new_sqlite
    return request.getfixturevalue("cluster").create
