"""Compares both implementations of the protocol on random chunks, valid and adversarial.

`python -m tests.fuzz --n N --seed S` runs cases until N transactions have been compared, on all
cores. The same seed gives the same cases. Exit code 1 when the implementations differ anywhere.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from deltaroll.protocol.fault import Fault
from tests.protocol.strategies import generate_case
from tests.protocol.verifiers import DisagreementError, Tally, case_rng, compare

GROUP = 100
"""Cases that a worker runs before it reports."""
SHOWN = 10
"""Disagreements that are printed in full."""


@dataclass(slots=True)
class Report:
    """What a group of cases came to."""

    tally: Tally = field(default_factory=Tally)
    disagreements: list[str] = field(default_factory=list)


def run_group(seed: int, first: int) -> Report:
    """Run GROUP cases from number `first` on."""
    report = Report()
    for number in range(first, first + GROUP):
        try:
            compare(generate_case(case_rng(seed, number)), report.tally)
        except DisagreementError as problem:
            report.disagreements.append(f"seed {seed} case {number}: {problem}")
    return report


def run(count: int, seed: int, workers: int) -> Report:
    """Run until `count` transactions have been compared; groups end in the order of numbers."""
    total = Report()
    with ProcessPoolExecutor(workers) as pool:
        pending = []
        first = 0
        while total.tally.transactions < count:
            while len(pending) < 2 * workers:
                pending.append(pool.submit(run_group, seed, first))
                first += GROUP
            report = pending.pop(0).result()
            total.tally.merge(report.tally)
            total.disagreements.extend(report.disagreements)
        for left in pending:
            left.cancel()
    return total


def print_report(report: Report, seconds: float) -> None:
    """Print counts, speed, coverage of faults, disagreements."""
    tally = report.tally
    print(
        f"{tally.transactions:,} transactions in {tally.cases:,} chunks, "
        f"{tally.transactions / seconds:,.0f} transactions/s, "
        f"{len(report.disagreements)} disagreements"
    )
    for fault in Fault:
        line = f"  {fault.name:18s} {tally.faults[fault]:>10,}"
        if tally.skipped[fault]:
            line += f"  as a reason to skip a message: {tally.skipped[fault]:,}"
        print(line)
    never = [fault.name for fault in Fault if not tally.faults[fault] and not tally.skipped[fault]]
    # Signatures have their own proof and their own tests.
    print(f"not reached by a transition: {', '.join(never) or 'none'}")
    for line in report.disagreements[:SHOWN]:
        print(line, file=sys.stderr)


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000, help="transactions to compare")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    started = time.monotonic()
    report = run(arguments.n, arguments.seed, arguments.workers)
    print_report(report, time.monotonic() - started)
    return 1 if report.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
