"""The unit tests of the protocol, inside one pytest session that forks for every mutant.

What a test executes is found out once for each file of tests and kept in `build/mutation`;
a mutant then meets only the tests that execute what it changes, the quickest first.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

from tests.mutation.oracle import plant
from tests.mutation.processes import KILLED, SURVIVED, be_quiet, judge
from tests.mutation.python_mutants import PACKAGE, Mutant

TESTS = Path(__file__).resolve().parents[1] / "protocol"
TRACE_SECONDS = 60
"""A test that takes longer with a tracer is left out."""
TEST_SECONDS = 150
"""A mutant that takes longer hangs: every test that it meets has been traced in less."""
ENOUGH_SECONDS = 30
"""No further test is begun after so many."""
PROFILE = "mutants"
OTHER_TESTS = {
    "actions": ("money", "fill"),
    "arithmetic": ("fill",),
    "bits": ("codec",),
    "black76": ("black76_differential",),
    "books": ("margin", "liquidation", "risk", "risk_differential"),
    "fault": ("codec",),
    "fill": ("forced",),
    "fixed": ("black76", "black76_differential"),
    "fresh": ("margin", "fill", "liquidation"),
    "hashing": ("tree",),
    "lanes": ("margin", "risk_differential"),
    "margin": ("risk_differential", "liquidation"),
    "mark": ("margin", "risk", "risk_differential"),
    "messages": ("force_close", "money", "configure", "forced"),
    "normal": ("black76_differential",),
    "realise": ("overweight",),
    "recovery": ("signatures",),
    "risk": ("risk_differential",),
    "scenarios": ("margin", "risk", "risk_differential"),
    "state": ("witness", "money"),
    "tables": ("normal",),
    "transition": ("witness", "forced", "overweight"),
    "witness": ("signatures",),
}
"""Whose tests a module's mutants meet, besides those in the file of its own name."""
FOR_ALL = ("vectors",)
"""Whose tests all mutants meet."""
Mark = tuple[str, int]
"""What a test leaves: a line of Python that it executes, or a mutant of Solidity that it meets."""
Traced = list[tuple[str, float, frozenset[Mark]]]
"""A test's name, its seconds and what it leaves."""
Planted = TypeVar("Planted")


def fails(item: pytest.Item) -> bool:
    """Whether a test fails."""
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def trace(item: pytest.Item) -> frozenset[Mark]:
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


class Probe(Protocol[Planted]):
    """What a session needs to know about the mutants of a side."""

    name: str
    """Of the side; part of the names of files that are kept."""

    def files_of(self, mutant: Planted) -> Iterable[Path]:
        """Return the files whose tests a mutant meets, its own first."""

    def marks_of(self, mutant: Planted) -> frozenset[Mark]:
        """Return what a test leaves that may notice a mutant: at least one of these."""

    def trace(self, item: pytest.Item) -> frozenset[Mark]:
        """Return what a test leaves; nothing when it fails without a mutant."""

    def fingerprint(self, path: Path) -> str:
        """Return what the traces of a file of tests depend on."""

    def plant(self, mutant: Planted) -> None:
        """Put a mutant in its place, in this process."""


class PythonProbe:
    """The lines of the protocol that a test executes."""

    name = "python"

    def files_of(self, mutant: Mutant) -> Iterable[Path]:
        """Return the files of tests of a mutant's module."""
        names = (mutant.module, *OTHER_TESTS.get(mutant.module, ()), *FOR_ALL)
        paths = (TESTS / f"test_{name}.py" for name in names)
        return [path for path in paths if path.is_file()]

    def marks_of(self, mutant: Mutant) -> frozenset[Mark]:
        """Return the lines that a mutant changes."""
        return frozenset((mutant.module, at) for at in range(mutant.first, mutant.last + 1))

    def trace(self, item: pytest.Item) -> frozenset[Mark]:
        """Return the lines that a test executes."""
        return trace(item)

    def fingerprint(self, path: Path) -> str:
        """Return a hash of the protocol and the tests."""
        return fingerprint(*sorted(PACKAGE.glob("*.py")), path)

    def plant(self, mutant: Mutant) -> None:
        """Change the mutant's function."""
        plant(mutant)


def fingerprint(*parts: bytes | Path) -> str:
    """Return a short hash of files and other bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) else part)
    return digest.hexdigest()[:16]


class Session(Generic[Planted]):
    """A pytest plugin: in place of the tests, it asks those that meet a mutant about it."""

    def __init__(
        self, probe: Probe[Planted], mutants: Sequence[Planted], folder: Path, workers: int
    ) -> None:
        self._probe = probe
        self._mutants = mutants
        self._folder = folder
        self._workers = workers
        self._items: dict[str, pytest.Item] = {}
        self._traced: dict[Path, Traced] = {}
        self.left: list[Planted] = []
        """Mutants that no test notices."""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Judge the mutants; the tests count as run."""
        self._items = {item.nodeid: item for item in session.items}
        # While no mutant is in place.
        for path in {path for mutant in self._mutants for path in self._probe.files_of(mutant)}:
            self._traced[path] = self._read(path)
        for mutant, code in judge(self._mutants, self._test, self._workers, TEST_SECONDS):
            if code == SURVIVED:
                self.left.append(mutant)
        return True

    def _test(self, mutant: Planted) -> int:
        be_quiet()
        chosen = self._select(mutant)
        self._probe.plant(mutant)
        for item in chosen:
            if fails(item):
                return KILLED
            if time.process_time() > ENOUGH_SECONDS:
                break
        return SURVIVED

    def _select(self, mutant: Planted) -> list[pytest.Item]:
        """Return the tests that meet a mutant: of its own file, then others; the quickest first."""
        marks = self._probe.marks_of(mutant)
        found = [
            (rank > 0, seconds, name)
            for rank, path in enumerate(self._probe.files_of(mutant))
            for name, seconds, seen in self._traced[path]
            if not marks.isdisjoint(seen)
        ]
        return [self._items[name] for *_, name in sorted(found)]

    def _read(self, path: Path) -> Traced:
        name = f"{self._probe.name}-{path.stem}"
        cached = self._folder / f"{name}-{self._probe.fingerprint(path)}.pickle"
        if not cached.is_file():
            for outdated in self._folder.glob(f"{name}-*.pickle"):
                outdated.unlink()
            cached.write_bytes(pickle.dumps(self._trace(path)))
        traced: Traced = pickle.loads(cached.read_bytes())
        return traced

    def _trace(self, path: Path) -> Traced:
        items = [item for item in self._items.values() if item.path == path]
        places = list(range(len(items)))
        results = [self._folder / f"item-{os.getpid()}-{place}.pickle" for place in places]

        def trace_one(place: int) -> int:
            be_quiet()
            started = time.process_time()
            marks = self._probe.trace(items[place])
            seconds = time.process_time() - started
            results[place].write_bytes(pickle.dumps((items[place].nodeid, seconds, marks)))
            return 0

        for _ in judge(places, trace_one, self._workers, TRACE_SECONDS):
            pass
        found: Traced = []
        for result in results:
            if result.is_file():
                found.append(pickle.loads(result.read_bytes()))
                result.unlink()
        return found


def find_unnoticed(
    probe: Probe[Planted], mutants: Sequence[Planted], folder: Path, workers: int
) -> list[Planted]:
    """Return the mutants that no unit test notices."""
    paths = sorted({str(path) for mutant in mutants for path in probe.files_of(mutant)})
    if not paths:
        return list(mutants)
    # A failing example says enough; nobody looks at the smallest one.
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(PROFILE, phases=phases, database=None, deadline=None)
    arguments: Sequence[str] = (
        *("-q", "-s", "--no-header", "--no-summary", "--disable-warnings"),
        *("--hypothesis-seed=1", f"--hypothesis-profile={PROFILE}"),
        *("-p", "no:cacheprovider", "-p", "no:ape_test"),
        *paths,
    )
    session = Session(probe, mutants, folder, workers)
    code = pytest.main([*arguments], plugins=[session])
    assert code == pytest.ExitCode.OK, f"pytest ended with {code!r}"
    return session.left
