"""Runs every attack and prints one table.

`python -m tests.adversary.run --scale N --seed S` runs them on all cores, prints a line for each
class and writes the same to `build/adversary.json`. Exit code 1 when anything was wrongly accepted
or refused, or an attack could not be run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.adversary.campaign import Attack, Effort, Row

ATTACKS = (
    "completeness",
    "symbolic",
    "machine",
    "mutants",
    "soundness",
    "totality",
    "differential",
    "escape",
    "catalogue",
)
"""Modules beside this one, longest first. Each has a function `attack(effort)`."""
RESULT = Path(__file__).resolve().parents[2] / "build" / "adversary.json"


def load(name: str) -> Attack:
    """Return the attack of a module."""
    attack: Attack = importlib.import_module(f"tests.adversary.{name}").attack
    return attack


def is_clean(rows: Sequence[Row]) -> bool:
    """Whether every class was tried and nothing went wrong."""
    wrong = any(row.wrongly_accepted or row.wrongly_refused for row in rows)
    return bool(rows) and all(row.attempts for row in rows) and not wrong


def run_attack(name: str, effort: Effort) -> list[Row]:
    """Run one module's attacks."""
    started = time.monotonic()
    rows = list(load(name)(effort))
    seconds = time.monotonic() - started
    attempts = sum(row.attempts for row in rows)
    print(f"{name}: {attempts:,} attempts in {seconds:,.0f} s", flush=True)
    return rows


def run_all(names: Sequence[str], effort: Effort, workers: int) -> list[Row]:
    """Run the attacks, so many at once; rows come in the order of names."""
    with ProcessPoolExecutor(workers) as pool:
        return [
            row
            for rows in pool.map(run_attack, names, [effort] * len(names), chunksize=1)
            for row in rows
        ]


def print_table(rows: Iterable[Row]) -> None:
    """Print a line for each class, then what went wrong."""
    table = Table(title="Attacks")
    table.add_column("class")
    for title in ("attempts", "wrongly accepted", "wrongly refused", "worst gas"):
        table.add_column(title, justify="right")
    notes = []
    for row in rows:
        figures = (row.attempts, row.wrongly_accepted, row.wrongly_refused, row.worst_gas)
        table.add_row(row.name, *(f"{figure:,}" for figure in figures))
        notes.extend(f"{row.name}: {note}" for note in row.notes)
    console = Console(width=max(100, Console().width))
    console.print(table)
    for note in notes:
        print(note, file=sys.stderr)


def write_result(rows: Iterable[Row], path: Path = RESULT) -> None:
    """Write the table as JSON, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = [
        {
            "class": row.name,
            "attempts": row.attempts,
            "wrongly_accepted": row.wrongly_accepted,
            "wrongly_refused": row.wrongly_refused,
            "worst_gas": row.worst_gas,
        }
        for row in rows
    ]
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=10, help="attempts, as multiples of make test")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("attacks", nargs="*", default=ATTACKS, metavar="attack")
    arguments = parser.parse_args()
    effort = Effort(arguments.scale, arguments.seed)
    rows = run_all(arguments.attacks, effort, arguments.workers)
    print_table(rows)
    # A part must not pass for the whole.
    if set(arguments.attacks) == set(ATTACKS):
        write_result(rows)
    return 0 if is_clean(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
