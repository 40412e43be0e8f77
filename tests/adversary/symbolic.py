"""Theorems about the contracts, proved by halmos, and what Slither finds in them.

Both need an environment of their own (`make prove`). A small effort uses one that is there; a
larger one makes it. Without one either is an error, never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.adversary.campaign import Effort, Ledger, Row
from tools.prove import NotReadyError, make_environment, prove
from tools.static import analyse

THEOREMS = "symbolic: theorems"
STATIC = "static: slither"
QUICK = ("ArithmeticTheorems",)
"""What fits a small effort."""
FULL_SCALE = 5


def attack(effort: Effort) -> Iterable[Row]:
    """Look for a refuted theorem and for a finding without a reason."""
    is_full = effort.scale >= FULL_SCALE
    if is_full:
        # Not to be made means not to be proved: let it fail.
        make_environment()
    ledger = Ledger()
    for result in prove(None if is_full else list(QUICK)):
        if result.is_fine:
            ledger.count(THEOREMS)
        else:
            ledger.accept(THEOREMS, f"{result.contract}.{result.name}: {result.outcome}")
    report = analyse()
    if not report.contracts:
        raise NotReadyError("Slither analysed no contract")
    findings = [f"{finding.detector} at {finding.place}" for finding in report.open]
    unused = [f"nothing needs the suppression of {name}" for name in report.unused]
    notes = tuple(findings + unused)
    return [
        *ledger.to_rows(),
        Row(STATIC, len(report.contracts), len(notes), 0, 0, notes[:5]),
    ]
