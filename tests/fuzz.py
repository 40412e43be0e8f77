"""Compares both implementations of the protocol on random chunks, valid and adversarial.

`python -m tests.fuzz --n N --seed S` runs cases until N transactions have been compared, on all
cores. The same seed gives the same cases, whatever the number of workers. After every group of
cases, what was seen is in `build/fuzz/S.json`, and a campaign that was stopped goes on from there;
`--fresh` starts over. A case on which the implementations differ is made small and written as a
vector beside that file. Exit code 1 when they differ anywhere, 128 and the signal's number when the
campaign was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import Kind
from tests import pairs
from tests.protocol import strategies
from tests.protocol.evm import artifacts
from tests.protocol.strategies import Case
from tests.protocol.verifiers import PAIRS, Pair, Tally, case_rng
from tests.shrink import Trouble, find_trouble, shrink, write_case

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "fuzz"
GROUP = 100
"""Cases that a worker runs before it reports."""
PAIR_PERIOD = 4
"""Every so many cases, one is drawn for its pairs of kinds."""
SHOWN = 10
"""Disagreements that are printed in full."""
KEPT = 100
"""Disagreements of which the text is kept; all are counted."""
SHRUNK = 10
"""Ways of differing of which a case is made small."""
REPORT_SECONDS = 60
"""Between two lines on how far a campaign is, where nobody watches a terminal."""


# Cases


def generate(seed: int, number: int) -> Case:
    """Return a run's n-th case: the same in any process."""
    rng = case_rng(seed, number)
    if number % PAIR_PERIOD == PAIR_PERIOD - 1:
        return pairs.generate_pairs(rng)
    return strategies.generate_case(rng)


@dataclass(frozen=True, slots=True)
class Finding:
    """A case on which the implementations differ."""

    seed: int
    case: int
    label: str
    detail: str
    vector: str = ""
    """Folder of the case made small; empty: one that differs in the same way was written before."""

    def __str__(self) -> str:
        where = f" ({self.vector})" if self.vector else ""
        return f"seed {self.seed} case {self.case}: {self.detail}{where}"


def forget_worlds() -> None:
    """Build the worlds that cases share again: one was left in the middle of a change."""
    strategies.world_of.cache_clear()
    pairs.world_of.cache_clear()


def run_case(seed: int, number: int, tally: Tally) -> Finding | None:
    """Compare the implementations on one case."""
    try:
        case = generate(seed, number)
    except Exception as problem:  # noqa: BLE001 (a rule that fails with no fault is a finding)
        forget_worlds()
        label = f"generator raises {type(problem).__name__}"
        return Finding(seed, number, label, f"{label}: {problem}")
    trouble = find_trouble(case, tally)
    if trouble is None:
        return None
    return Finding(seed, number, trouble.label, trouble.detail)


def write_small(finding: Finding, folder: Path) -> Finding:
    """Make a case small and write it below `folder`."""
    try:
        case = generate(finding.seed, finding.case)
    except Exception:  # noqa: BLE001 (no case came of it, so there is nothing to write)
        forget_worlds()
        return finding
    small, trouble = shrink(case, Trouble(finding.label, finding.detail))
    path = folder / f"{finding.seed}-{finding.case}"
    write_case(small, trouble, path)
    return Finding(finding.seed, finding.case, trouble.label, trouble.detail, str(path))


# A campaign's memory


@dataclass(slots=True)
class Report:
    """What a campaign has come to."""

    tally: Tally = field(default_factory=Tally)
    disagreed: int = 0
    disagreements: list[Finding] = field(default_factory=list)
    """The first of them."""
    next_group: int = 0
    seconds: float = 0.0
    """That it took so far."""

    def add(self, other: Report) -> None:
        """Add what a group came to."""
        self.tally.merge(other.tally)
        self.disagreed += other.disagreed
        self.disagreements.extend(other.disagreements[: KEPT - len(self.disagreements)])
        self.next_group += 1

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        tally = self.tally
        return {
            "next_group": self.next_group,
            "seconds": self.seconds,
            "cases": tally.cases,
            "transactions": tally.transactions,
            "faults": {fault.name: count for fault, count in sorted(tally.faults.items())},
            "skipped": {fault.name: count for fault, count in sorted(tally.skipped.items())},
            "pairs": {
                name_pair(pair): [count, tally.passed[pair]]
                for pair, count in sorted(tally.pairs.items())
            },
            "disagreed": self.disagreed,
            "disagreements": [asdict(finding) for finding in self.disagreements],
        }


def name_pair(pair: Pair) -> str:
    """Return how a pair of kinds is printed."""
    return f"{pair[0].name}>{pair[1].name}"


def read_report(saved: dict[str, Any]) -> Report:
    """Return what `to_json` has written."""
    tally = Tally(saved["cases"], saved["transactions"])
    tally.faults.update({Fault[name]: count for name, count in saved["faults"].items()})
    tally.skipped.update({Fault[name]: count for name, count in saved["skipped"].items()})
    for name, (count, passed) in saved["pairs"].items():
        before, _, after = name.partition(">")
        tally.pairs[Kind[before], Kind[after]] = count
        if passed:
            tally.passed[Kind[before], Kind[after]] = passed
    findings = [Finding(**finding) for finding in saved["disagreements"]]
    return Report(tally, saved["disagreed"], findings, saved["next_group"], saved["seconds"])


GENERATORS = ("strategies", "derivatives", "verifiers")
"""Modules of `tests.protocol` that decide what a seed's cases are, and what is counted."""


def compute_fingerprint() -> str:
    """Return what a campaign's figures are about: both implementations and the generator."""
    digest = hashlib.sha256()
    sources = [
        *(ROOT / "deltaroll" / "protocol").glob("*.py"),
        ROOT / "deltaroll" / "presets.py",
        *(ROOT / "tests" / "protocol" / f"{name}.py" for name in GENERATORS),
        *(ROOT / "tests" / f"{name}.py" for name in ("pairs", "fuzz")),
    ]
    for path in sorted(sources):
        digest.update(path.read_bytes())
    for name, artifact in sorted(artifacts().items()):
        if "Executor" in name or name in ("OptionPricer", "TransitionVerifier"):
            digest.update(artifact.bytecode)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file that a campaign goes on from."""

    path: Path
    fingerprint: str

    def read(self) -> Report:
        """Return what was done; nothing when it was about other code."""
        if not self.path.exists():
            return Report()
        saved = json.loads(self.path.read_text(encoding="ascii"))
        if saved["fingerprint"] != self.fingerprint:
            print(f"{self.path.name} is about other code: starting over", file=sys.stderr)
            return Report()
        return read_report(saved)

    def write(self, report: Report) -> None:
        """Write what was done, in one step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(self.path.name + ".tmp")
        saved = {"fingerprint": self.fingerprint, **report.to_json()}
        temporary.write_text(json.dumps(saved, indent=1) + "\n", encoding="ascii")
        temporary.replace(self.path)


# Running


def run_group(seed: int, group: int) -> Report:
    """Run the cases of a group."""
    report = Report()
    for number in range(group * GROUP, (group + 1) * GROUP):
        finding = run_case(seed, number, report.tally)
        if finding is not None:
            report.disagreed += 1
            report.disagreements.append(finding)
    return report


def start_worker() -> None:
    """Leave signals to the campaign's process, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_groups(seed: int, first: int, workers: int) -> Generator[Report, None, None]:
    """Yield what groups came to, in the order of their numbers, from `first` on without end."""
    if workers == 1:
        group = first
        while True:
            yield run_group(seed, group)
            group += 1
    with ProcessPoolExecutor(workers, initializer=start_worker) as pool:
        pending: list[Future[Report]] = []
        group = first
        try:
            while True:
                while len(pending) < 2 * workers:
                    pending.append(pool.submit(run_group, seed, group))
                    group += 1
                yield pending.pop(0).result()
        finally:
            for left in pending:
                left.cancel()


def run(
    count: int,
    seed: int,
    workers: int,
    *,
    folder: Path = FOLDER,
    report: Report | None = None,
    save: Callable[[Report], None] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Report:
    """Run until `count` transactions have been compared, in whole groups.

    Parameters
    ----------
    folder
        Where cases made small go.
    report
        What was done before; it is gone on with.
    save
        Called after every group.
    is_stopped
        Asked after every group: whether to leave it at that.
    """
    total = report or Report()
    labels = {finding.label for finding in total.disagreements}
    groups = run_groups(seed, total.next_group, workers)
    started, before = time.monotonic(), total.seconds
    try:
        while total.tally.transactions < count and not is_stopped():
            found = next(groups)
            for at, finding in enumerate(found.disagreements):
                if finding.label not in labels and len(labels) < SHRUNK:
                    labels.add(finding.label)
                    found.disagreements[at] = write_small(finding, folder)
            total.add(found)
            total.seconds = before + time.monotonic() - started
            if save is not None:
                save(total)
    finally:
        groups.close()
    return total


# What is printed


def print_report(report: Report, done_before: int) -> None:
    """Print counts, speed, coverage of faults and of pairs, disagreements."""
    tally = report.tally
    print(
        f"{tally.transactions:,} transactions in {tally.cases:,} chunks, "
        f"{tally.transactions / max(report.seconds, 1e-9):,.0f} transactions/s, "
        f"{report.disagreed:,} disagreements"
    )
    if done_before:
        print(f"{done_before:,} transactions were done before; --fresh starts over")
    for fault in Fault:
        line = f"  {fault.name:18s} {tally.faults[fault]:>10,}"
        if tally.skipped[fault]:
            line += f"  as a reason to skip a message: {tally.skipped[fault]:,}"
        print(line)
    never = [fault.name for fault in Fault if not tally.faults[fault] and not tally.skipped[fault]]
    # Signatures have their own proof and their own tests.
    print(f"not reached by a transition: {', '.join(never) or 'none'}")
    print_pairs(tally)
    for finding in report.disagreements[:SHOWN]:
        print(finding, file=sys.stderr)


def print_pairs(tally: Tally) -> None:
    """Print which kind was executed after which, and how that ended."""
    print(
        "kinds, downwards, and the kind after them: + broke no rule, - broke one, # both, . never"
    )
    print(" " * 18 + " ".join(kind.name[:4].rjust(4) for kind in Kind))
    for before in Kind:
        cells = (mark_pair(tally, (before, after)).rjust(4) for after in Kind)
        print(f"  {'(start)' if before == Kind.END else before.name:16s}" + " ".join(cells))
    print(f"{len(tally.pairs)} of {len(PAIRS)} pairs seen, {len(tally.passed)} without a fault")
    print_names("never seen", (pair for pair in PAIRS if not tally.pairs[pair]))
    missed = (pair for pair in PAIRS if tally.pairs[pair] and not tally.passed[pair])
    print_names("always a fault", missed)


def mark_pair(tally: Tally, pair: Pair) -> str:
    """Return one character for how a pair's second has ended."""
    seen, passed = tally.pairs[pair], tally.passed[pair]
    if not seen:
        return "."
    if not passed:
        return "-"
    return "+" if passed == seen else "#"


def print_names(title: str, found: Iterable[Pair]) -> None:
    """Print a list of pairs."""
    print(f"{title}: {', '.join(map(name_pair, found)) or 'none'}")


class Progress:
    """Says how far a campaign is: over and over on a terminal, else now and then."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._next = time.monotonic() + REPORT_SECONDS

    def tell(self, report: Report) -> None:
        """Print where a campaign stands."""
        is_watched = sys.stderr.isatty()
        if not is_watched and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + REPORT_SECONDS
        line = (
            f"{report.tally.transactions:,} of {self.count:,} transactions, "
            f"{report.disagreed:,} disagreements"
        )
        print(
            f"\r{line}" if is_watched else line,
            end="" if is_watched else "\n",
            file=sys.stderr,
            flush=True,
        )


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000, help="transactions to compare")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fresh", action="store_true", help="do not go on with what was done")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for what is written")
    arguments = parser.parse_args()

    caught: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: caught.append(received))
    path = arguments.folder / f"{arguments.seed}.json"
    checkpoint = Checkpoint(path, compute_fingerprint())
    report = Report() if arguments.fresh else checkpoint.read()
    done_before = report.tally.transactions
    progress = Progress(arguments.n)

    def save(found: Report) -> None:
        checkpoint.write(found)
        progress.tell(found)

    run(
        arguments.n,
        arguments.seed,
        arguments.workers,
        folder=arguments.folder,
        report=report,
        save=save,
        is_stopped=lambda: bool(caught),
    )
    print_report(report, done_before)
    if caught and report.tally.transactions < arguments.n:
        print(
            f"Stopped by {signal.Signals(caught[0]).name}. "
            f"To go on: make fuzz N={arguments.n} SEED={arguments.seed}",
            file=sys.stderr,
        )
        return 128 + caught[0]
    return 1 if report.disagreed else 0


if __name__ == "__main__":
    sys.exit(main())
