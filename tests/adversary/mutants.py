"""Mutants of both implementations: those that have been noticed must go on being noticed.

Some of the sample that `make mutants` plants. Wrongly accepted is a mutant that survives and is not
in `tests/mutation/survivors.toml`.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.adversary.campaign import Effort, Row
from tests.mutation.run import PYTHON, RUN, SIDES, SOLIDITY, Choice

MUTANTS = {PYTHON: 6, SOLIDITY: 8}
"""At scale 1."""
NAMES = {PYTHON: "mutants: Python", SOLIDITY: "mutants: Solidity"}


def attack(effort: Effort) -> Iterable[Row]:
    """Plant a sample of mutants on each side."""
    for side in SIDES:
        result = RUN[side](Choice(MUTANTS[side] * effort.scale, effort.seed, is_sampled=True))
        notes = tuple(result.new[:5])
        yield Row(NAMES[side], result.planted.total(), len(result.new), 0, 0, notes)
