"""What node tests share."""

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import structlog

MEMORY_FOLDER = "/dev/shm"
"""Files that need no disk: what is tested is what SQLite is told, not the disk."""


@pytest.fixture(autouse=True)
def silence_logs():
    """What is logged on purpose is no news."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[lambda *_: ""])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def new_path() -> Iterator[Callable[[], Path]]:
    """Paths of stores that do not exist yet; a fixture of its own because examples need many."""
    parent = MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK) else None
    numbers = count()
    with TemporaryDirectory(dir=parent) as folder:
        yield lambda: Path(folder) / f"{next(numbers)}.sqlite"
