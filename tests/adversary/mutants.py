"""Mutants of both implementations: those that have been noticed must go on being noticed.

A sample of those that were gone through, without the ones that `tests/mutation/survivors.toml`
lists as open. Wrongly accepted is a mutant that survives and is not explained there.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.adversary.campaign import Effort, Row
from tests.mutation.run import PYTHON, RUN, SIDES, SOLIDITY, Choice

MUTANTS = {PYTHON: 12, SOLIDITY: 30}
"""At scale 1."""
NAMES = {PYTHON: "mutants: Python", SOLIDITY: "mutants: Solidity"}


def attack(effort: Effort) -> Iterable[Row]:
    """Plant a sample of mutants on each side."""
    for side in SIDES:
        result = RUN[side](Choice(MUTANTS[side] * effort.scale, effort.seed, is_known=True))
        notes = tuple(result.new[:5])
        yield Row(NAMES[side], result.planted.total(), len(result.new), 0, 0, notes)
