"""What a linter found, and how it says so."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, order=True, slots=True)
class Finding:
    """One broken rule at one place."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def report(findings: Iterable[Finding]) -> int:
    """Print the findings in file order and return the exit code."""
    ordered = sorted(findings)
    for finding in ordered:
        print(finding, file=sys.stderr)
    return 1 if ordered else 0
