"""What API tests share: quiet logs, one venue for tests that only look."""

from collections.abc import Iterator

import pytest
import structlog

from tests.api.support import Server, serve


@pytest.fixture(autouse=True)
def silence_logs():
    """What is logged on purpose is no news."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[lambda *_: ""])
    yield
    structlog.reset_defaults()


@pytest.fixture
def server() -> Iterator[Server]:
    """A venue of its own."""
    with serve() as found:
        yield found
