"""The unit tests of the protocol, inside one pytest session that forks for every mutant.

Which lines a test executes is found out once for each file of tests and kept in `build/mutation`;
a mutant then meets only the tests that execute what it changes, the quickest first.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.processes import be_quiet, judge
from tests.mutation.python_mutants import PACKAGE, Mutant

TESTS = Path(__file__).resolve().parents[1] / "protocol"
TRACE_SECONDS = 60
"""A test that takes longer with a tracer is left out."""
OTHER_TESTS = {
    "actions": ("money", "fill"),
    "arithmetic": ("fill",),
    "books": ("margin", "liquidation", "risk"),
    "fault": ("codec",),
    "fixed": ("black76",),
    "fresh": ("margin", "fill", "liquidation"),
    "hashing": ("tree",),
    "lanes": ("margin",),
    "mark": ("margin", "risk"),
    "messages": ("force_close", "money", "configure"),
    "recovery": ("signatures",),
    "scenarios": ("margin", "risk"),
    "state": ("witness", "money"),
    "tables": ("normal",),
    "transition": ("witness",),
}
"""Whose tests a module's mutants meet, besides those in the file of its own name."""
Lines = frozenset[tuple[str, int]]
Traced = list[tuple[str, float, Lines]]
"""A test's name, its seconds and the lines of the protocol that it executes."""


def files_of(module: str) -> list[Path]:
    """Return the files that test a module."""
    paths = (TESTS / f"test_{name}.py" for name in (module, *OTHER_TESTS.get(module, ())))
    return [path for path in paths if path.is_file()]


def fails(item: pytest.Item) -> bool:
    """Whether a test fails."""
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def trace(item: pytest.Item) -> Lines:
    """Return the lines of the protocol that a test executes; none when it fails as it is."""
    package = str(PACKAGE)
    lines: set[tuple[str, int]] = set()

    def trace_line(frame: FrameType, event: str, argument: object) -> Any:
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace_line

    def trace_call(frame: FrameType, event: str, argument: object) -> Any:
        is_inside = frame.f_code.co_filename.startswith(package)
        return trace_line(frame, event, argument) if is_inside else None

    sys.settrace(trace_call)
    is_failure = fails(item)
    sys.settrace(None)
    return frozenset() if is_failure else frozenset((Path(path).stem, n) for path, n in lines)


def fingerprint(path: Path) -> str:
    """Return what a file's traces depend on."""
    digest = hashlib.sha256()
    for source in (*sorted(PACKAGE.glob("*.py")), path):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


class Session:
    """A pytest plugin: in place of the tests, it runs a function that may ask about mutants."""

    def __init__(self, folder: Path, workers: int, task: Callable[[Session], None]) -> None:
        self._folder = folder
        self._workers = workers
        self._task = task
        self._items: dict[str, pytest.Item] = {}
        self._traced: dict[Path, Traced] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the function; the tests count as run."""
        self._items = {item.nodeid: item for item in session.items}
        self._task(self)
        return True

    def select(self, mutant: Mutant) -> list[pytest.Item]:
        """Return the tests that execute what a mutant changes, the quickest first."""
        lines = {(mutant.module, line) for line in range(mutant.first, mutant.last + 1)}
        found = [
            (seconds, name)
            for path in files_of(mutant.module)
            for name, seconds, seen in self._trace_file(path)
            if not lines.isdisjoint(seen)
        ]
        return [self._items[name] for _, name in sorted(found)]

    def trace_files(self, modules: Iterable[str]) -> None:
        """Find out what the tests of some modules execute, while no mutant is in place."""
        for path in {path for module in modules for path in files_of(module)}:
            self._trace_file(path)

    def _trace_file(self, path: Path) -> Traced:
        if path not in self._traced:
            cached = self._folder / f"{path.stem}-{fingerprint(path)}.pickle"
            if not cached.is_file():
                for outdated in self._folder.glob(f"{path.stem}-*.pickle"):
                    outdated.unlink()
                cached.write_bytes(pickle.dumps(self._trace_items(path)))
            self._traced[path] = pickle.loads(cached.read_bytes())
        return self._traced[path]

    def _trace_items(self, path: Path) -> Traced:
        items = [item for item in self._items.values() if item.path == path]
        places = list(range(len(items)))
        results = [self._folder / f"item-{os.getpid()}-{place}.pickle" for place in places]

        def trace_one(place: int) -> int:
            be_quiet()
            started = time.monotonic()
            lines = trace(items[place])
            seconds = time.monotonic() - started
            results[place].write_bytes(pickle.dumps((items[place].nodeid, seconds, lines)))
            return 0

        for _ in judge(places, trace_one, self._workers, TRACE_SECONDS):
            pass
        found: Traced = []
        for result in results:
            if result.is_file():
                found.append(pickle.loads(result.read_bytes()))
                result.unlink()
        return found


def run_session(
    modules: Iterable[str], folder: Path, workers: int, task: Callable[[Session], None]
) -> None:
    """Collect the tests of some modules and run a function among them."""
    paths = sorted({str(path) for module in modules for path in files_of(module)})
    arguments: Sequence[str] = (
        *("-q", "-s", "--no-header", "--no-summary", "--hypothesis-seed=1"),
        *("-p", "no:cacheprovider", "-p", "no:ape_test"),
        *paths,
    )
    code = pytest.main([*arguments], plugins=[Session(folder, workers, task)])
    assert code == pytest.ExitCode.OK, f"pytest ended with {code!r}"
