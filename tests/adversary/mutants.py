"""Mutants of both implementations: each must be noticed, or nobody may be able to notice it.

A sample of those that `make mutants` goes through; what is known to survive, and why, is listed in
`tests/mutation/survivors.toml`. Wrongly accepted is a mutant that survives and is not.
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
        notes = tuple(result.open[:5])
        yield Row(NAMES[side], result.planted.total(), len(result.open), 0, 0, notes)
