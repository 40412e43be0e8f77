"""A log applied to a machine, as far as it still counts: rebases have taken parts of it back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from deltaroll.node.admission import Receipt
from deltaroll.node.entries import Entry, RebaseEntry, decode_entry
from deltaroll.node.machine import Machine
from deltaroll.node.store import SealedChunk, Store, StoreError

REPLAY_STEPS = 1_024
"""Steps of a replayed log that are handed over at once."""
FOREVER = 1 << 63
"""After every sequence number."""


class _SealedError(Exception):
    """The chunk with which a part of the log ends has been sealed."""


@dataclass(frozen=True, slots=True)
class Applied:
    """An entry of the log and what came of it."""

    sequence: int
    entry: Entry
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Part:
    """Entries of the log that still count: from `first` up to, not with, `after`."""

    first: int
    after: int
    last_chunk: int | None = None
    """The last entry counts up to the seal of this chunk."""


def compute_parts(store: Store, pending: tuple[int, RebaseEntry] | None = None) -> list[Part]:
    """Return what rebases have left of a log, in order.

    Raises
    ------
    StoreError
        When an entry that should be a rebase is none.
    """
    rebases: list[tuple[int, RebaseEntry]] = [] if pending is None else [pending]
    for sequence, encoding in store.iterate_rebases():
        entry = read_entry(sequence, encoding)
        if not isinstance(entry, RebaseEntry):
            raise StoreError(f"store: log entry {sequence} is no rebase")
        rebases.append((sequence, entry))
    parts: list[Part] = []
    start = 0
    for sequence, entry in sorted(rebases, key=lambda one: one[0]):
        parts.append(Part(start, sequence))
        while parts and parts[-1].first > entry.at:
            parts.pop()
        if parts:
            parts[-1] = Part(parts[-1].first, entry.at + 1, entry.chunk - 1)
        start = sequence
    return [*parts, Part(start, FOREVER)]


def read_entry(sequence: int, encoding: bytes) -> Entry:
    """Return an entry of the log.

    Raises
    ------
    StoreError
        When it is none.
    """
    try:
        return decode_entry(encoding)
    except msgspec.DecodeError as problem:
        raise StoreError(f"store: log entry {sequence}: {problem}") from problem


class Replay:
    """Applies parts of a log to a machine, and checks that it seals the chunks that were sealed."""

    def __init__(self, machine: Machine, store: Store, parts: Sequence[Part]) -> None:
        self._machine = machine
        self._store = store
        self._parts = parts
        self._last_chunk: int | None = None
        """A chunk whose seal ends what is applied."""

    def run(
        self,
        on_steps: Callable[[], None],
        on_applied: Callable[[Applied], None] = lambda _: None,
    ) -> None:
        """Apply everything.

        Parameters
        ----------
        on_steps
            Called now and then when there are steps to take, and in the end.

        Raises
        ------
        StoreError
            When the log is damaged, or does not reproduce the chunks that were sealed from it.
        """
        machine = self._machine
        live, machine.on_seal = machine.on_seal, self._check_seal
        parts = iter(self._parts)
        part = next(parts)
        for sequence, encoding in self._store.iterate_entries():
            while part.after <= sequence:
                part = next(parts)
            if sequence < part.first:
                continue
            entry = read_entry(sequence, encoding)
            self._last_chunk = part.last_chunk if sequence == part.after - 1 else None
            try:
                on_applied(Applied(sequence, entry, machine.apply(sequence, entry)))
            except _SealedError:
                machine.builder.discard()
                machine.catch_up()
                machine.finish(sequence)
            if len(machine.steps) >= REPLAY_STEPS:
                on_steps()
        on_steps()
        machine.on_seal = live

    def _check_seal(self, chunk: SealedChunk) -> None:
        if self._store.get_chunk(chunk.number) != chunk:
            raise StoreError(f"store: replaying the log does not reproduce chunk {chunk.number}")
        if chunk.number == self._last_chunk:
            raise _SealedError
