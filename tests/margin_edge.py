"""Orders at the edge of their accounts' margin, by the million: no accepted trade ever fails.

`python -m tests.margin_edge --n N --seed S` runs venues of 20,000 orders each on all cores until N
orders have been submitted; `tests.engine.edge` says what a venue is. The same seed gives the same
venues. Exit code 1 when a chunk does not stand, or differs in anything from what was reported.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from tests.engine.edge import DisagreementError, Tally, run_venue

VENUE = 20_000
"""Orders of one venue."""


@dataclass(slots=True)
class Report:
    """What a campaign came to."""

    tally: Tally = field(default_factory=Tally)
    disagreements: list[str] = field(default_factory=list)


def run_one(seed: int, number: int, orders: int) -> Tally | str:
    """Run one venue; a text is a disagreement."""
    try:
        return run_venue(seed, number, orders)
    except DisagreementError as problem:
        return str(problem)


def run(count: int, seed: int, workers: int) -> Report:
    """Run venues until `count` orders have been submitted."""
    report = Report()
    sizes = [min(VENUE, count - first) for first in range(0, count, VENUE)]
    with ProcessPoolExecutor(workers) as pool:
        futures = [pool.submit(run_one, seed, number, size) for number, size in enumerate(sizes)]
        for done, future in enumerate(as_completed(futures), 1):
            outcome = future.result()
            if isinstance(outcome, str):
                report.disagreements.append(outcome)
                print(outcome, file=sys.stderr, flush=True)
            else:
                report.tally.merge(outcome)
            if sys.stderr.isatty():
                print(f"\r{done} of {len(sizes)} venues", end="", file=sys.stderr)
    return report


def print_report(report: Report, seconds: float) -> None:
    """Print counts, speed, and what the orders met."""
    tally = report.tally
    print(
        f"{tally.orders:,} orders, {sum(tally.fills.values()):,} fills in {tally.chunks:,} chunks, "
        f"{tally.orders / seconds:,.0f} orders/s, {len(report.disagreements)} disagreements"
    )
    for name in ("statuses", "reasons", "fills", "edges", "transactions", "events"):
        counts = getattr(tally, name)
        print(f"{name}: " + ", ".join(f"{key} {count:,}" for key, count in counts.most_common()))


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100_000, help="orders")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    started = time.monotonic()
    report = run(arguments.n, arguments.seed, arguments.workers)
    print_report(report, time.monotonic() - started)
    return 1 if report.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
