"""Plants mutants of the Python protocol one by one and counts who is noticed.

`python -m tests.mutation.run --mutants FILE --n N --seed S` takes a sample of the mutants that
`generate.py` has written (all for 0). Each is planted in a process of its own. It is killed when a
recorded outcome changes, when it runs for too long, or when a unit test of its module fails.
Survivors are listed in `build/mutants.json`; those that `survivors.toml` explains count as
equivalent. Exit code 1 when less than 95 in a hundred are killed or explained.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.mutation import oracle

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "build" / "mutants.json"
EXPLAINED = Path(__file__).with_name("survivors.toml")
BAR = 95
"""Mutants in a hundred that must be killed or explained."""
REPLAY_SECONDS = 30
TEST_SECONDS = 120
KILLED, SURVIVED, SLOW, BROKEN = range(4)
"""Exit codes of a mutant's process; it may also die of a signal, which is as good as killed."""
UNIT_TESTS = {
    "actions": ("transition",),
    "books": ("margin", "liquidation"),
    "fresh": ("margin", "mark"),
    "lanes": ("margin",),
    "scenarios": ("margin", "derive_cases"),
}
"""Where a module's unit tests are, if not in the file of its own name."""


def unit_tests(module: str) -> list[str]:
    """Return the files that test a module without a chain."""
    folder = ROOT / "tests" / "protocol"
    names = (module, *UNIT_TESTS.get(module, ()))
    paths = [folder / f"test_{name}.py" for name in names]
    return [str(path) for path in paths if path.is_file()]


def fails(paths: Sequence[str]) -> bool:
    """Whether a test in these files fails, with the mutant in place."""
    if not paths:
        return False
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-header", *paths]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return pytest.main(arguments) not in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        )


def in_child(task: Callable[[], int], seconds: int) -> int:
    """Start a task in a process of its own, which ends after so many seconds. Return its id."""
    child = os.fork()
    if child:
        return child
    # What a signal interrupts is over: nobody handles it.
    signal.alarm(seconds)
    try:
        os._exit(task())
    except BaseException:  # noqa: BLE001 - nothing may go on in a copy of the parent
        os._exit(BROKEN)


def judge(
    mutants: Sequence[dict[str, Any]],
    task: Callable[[dict[str, Any]], int],
    workers: int,
    seconds: int,
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield every mutant and how its process ended: an exit code, or minus the signal."""
    running: dict[int, dict[str, Any]] = {}
    waiting = iter(mutants)
    while True:
        while len(running) < workers and (mutant := next(waiting, None)) is not None:
            running[in_child(lambda item=mutant: task(item), seconds)] = mutant  # type: ignore[misc]
        if not running:
            return
        child, status = os.wait()
        yield running.pop(child), os.waitstatus_to_exitcode(status)


def replay(mutant: dict[str, Any], records: Sequence[oracle.Record]) -> int:
    """Plant a mutant and compare the records."""
    oracle.plant(mutant["module"], mutant["function"], mutant["source"])
    return KILLED if oracle.differs(records) else SURVIVED


def test(mutant: dict[str, Any]) -> int:
    """Plant a mutant and run the unit tests of its module."""
    oracle.plant(mutant["module"], mutant["function"], mutant["source"])
    return KILLED if fails(unit_tests(mutant["module"])) else SURVIVED


def report(mutants: Sequence[dict[str, Any]], survivors: Sequence[dict[str, Any]]) -> bool:
    """Print killed and explained by module, write the survivors; return whether the bar is met."""
    explained: dict[str, str] = {}
    if EXPLAINED.is_file():
        explained = tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))
    total = Counter(item["module"] for item in mutants)
    left = Counter(item["module"] for item in survivors)
    open_ = [item for item in survivors if key_of(item) not in explained]
    unexplained = Counter(item["module"] for item in open_)
    for module in sorted(total):
        counts = (total[module], left[module], unexplained[module])
        print(f"{module:12s} {describe(*counts)}")
    good = len(mutants) - len(open_)
    print(
        f"{'all':12s} {describe(len(mutants), len(survivors), len(open_))}: "
        f"{100 * good / max(1, len(mutants)):.1f} in a hundred killed or explained"
    )
    RESULT.parent.mkdir(exist_ok=True)
    listed = [{"key": key_of(item), "id": item["id"], "diff": item["diff"]} for item in open_]
    RESULT.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    return 100 * good >= BAR * len(mutants)


def describe(total: int, left: int, unexplained: int) -> str:
    """Return counts in words."""
    return (
        f"{total:>6,} mutants, {total - left:>6,} killed, "
        f"{left - unexplained:>4,} equivalent, {unexplained:>4,} survive"
    )


def key_of(mutant: dict[str, Any]) -> str:
    """Return what names a mutant as long as its lines stay: function and change."""
    lines = " ".join(" ".join(line.split()) for line in mutant["diff"])
    return f"{mutant['module']}.{mutant['function']}: {lines}"


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=Path, default=ROOT / "build" / "mutants.jsonl")
    parser.add_argument("--module", action="append", help="only these")
    parser.add_argument("--n", type=int, default=1000, help="mutants to plant; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=3000, help="recorded chunks")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    started = time.monotonic()
    lines = arguments.mutants.read_text(encoding="utf-8").splitlines()
    every = [json.loads(line) for line in lines]
    if arguments.module:
        every = [item for item in every if item["module"] in arguments.module]
    mutants = oracle.sample(every, arguments.n, arguments.seed)
    records = oracle.record(arguments.seed, arguments.cases)
    assert not oracle.differs(records), "the records do not replay without a mutant"
    # Nothing of what is there now is garbage, and a child that marked it would copy it.
    gc.collect()
    gc.freeze()
    print(f"{len(mutants):,} of {len(every):,} mutants, {len(records):,} records", flush=True)
    survivors = []
    judged = judge(mutants, lambda item: replay(item, records), arguments.workers, REPLAY_SECONDS)
    broken = []
    for mutant, code in judged:
        if code == SURVIVED:
            survivors.append(mutant)
        elif code == BROKEN:
            broken.append(mutant["id"])
    print(
        f"{len(survivors):,} survive the records ({time.monotonic() - started:,.0f} s)", flush=True
    )
    if broken:
        print(f"not planted: {', '.join(broken)}", file=sys.stderr)
        return 1
    survivors = [
        mutant
        for mutant, code in judge(survivors, test, arguments.workers, TEST_SECONDS)
        if code == SURVIVED
    ]
    is_good = report(mutants, survivors)
    print(f"{time.monotonic() - started:,.0f} s")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
