"""One live venue for all. What touches L1 comes last: Ape takes the chain back after it."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import structlog
from ape import networks, project

from tests.examples.live import LiveVenue


@pytest.fixture(autouse=True)
def silence_logs():
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[lambda *_: ""])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def live(accounts: Sequence[Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveVenue]:
    folder = tmp_path_factory.mktemp("live")
    venue = LiveVenue(project, networks.provider, accounts, folder)
    yield venue
    venue.close()
