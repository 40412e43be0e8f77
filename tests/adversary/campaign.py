"""What an attack is given and what it comes to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to try. The same effort makes the same attempts."""

    scale: int
    """1 in `make test`, more in `make adversary`; attempts grow with it."""
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """One class of attacks."""

    name: str
    attempts: int
    wrongly_accepted: int
    """Attacks that went through, rules whose breach could not be proven, theorems that are false,
    inputs on which both implementations differ: in all cases what must be 0.
    """
    wrongly_refused: int
    """Honest moves that were refused, among them honest proofs of fraud."""
    worst_gas: int
    """Of one transaction of the class; 0 where nothing runs on a chain."""
    notes: tuple[str, ...] = ()
    """What went wrong, in words that are enough to repeat it."""


Attack = Callable[[Effort], Iterable[Row]]


@dataclass(slots=True)
class Ledger:
    """Counts attempts by class while an attack goes on."""

    _rows: dict[str, _Counts] = field(default_factory=lambda: defaultdict(_Counts))

    def count(self, name: str, gas: int = 0) -> None:
        """Count an attempt that ended as it should."""
        row = self._rows[name]
        row.attempts += 1
        row.gas = max(row.gas, gas)

    def accept(self, name: str, note: str, gas: int = 0) -> None:
        """Count an attempt that went through and must not."""
        self.count(name, gas)
        self._rows[name].accepted.append(note)

    def refuse(self, name: str, note: str, gas: int = 0) -> None:
        """Count an honest move that was refused."""
        self.count(name, gas)
        self._rows[name].refused.append(note)

    def to_rows(self) -> list[Row]:
        """Return what was counted, in the order in which classes came."""
        return [
            Row(
                name,
                counts.attempts,
                len(counts.accepted),
                len(counts.refused),
                counts.gas,
                (*counts.accepted[:SHOWN], *counts.refused[:SHOWN]),
            )
            for name, counts in self._rows.items()
        ]


SHOWN = 5
"""Notes of each sort that a row keeps."""


@dataclass(slots=True)
class _Counts:
    attempts: int = 0
    gas: int = 0
    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
