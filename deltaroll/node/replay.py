"""A log applied to a machine, as far as it still counts: rebases have taken parts of it back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from deltaroll.node.admission import Receipt
from deltaroll.node.capture import restore
from deltaroll.node.entries import Entry, RebaseEntry, decode_entry
from deltaroll.node.log import Log, SealedChunk, StoreError
from deltaroll.node.machine import Machine, copy_state
from deltaroll.node.snapshots import Snapshots
from deltaroll.protocol.state import State

log = structlog.get_logger(__name__)

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


def compute_parts(
    source: Log,
    pending: tuple[int, RebaseEntry] | None = None,
    until: int = FOREVER,
) -> list[Part]:
    """Return what rebases have left of a log, in order.

    Parameters
    ----------
    pending
        One more rebase, that is not in the log yet.
    until
        As it was before that entry.

    Raises
    ------
    StoreError
        When an entry that should be a rebase is none.
    """
    rebases: list[tuple[int, RebaseEntry]] = [] if pending is None else [pending]
    for sequence, encoding in source.iterate_rebases():
        entry = read_entry(sequence, encoding)
        if not isinstance(entry, RebaseEntry):
            raise StoreError(f"store: log entry {sequence} is no rebase")
        if sequence < until:
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
    return [*parts, Part(start, until)]


def is_start(parts: Sequence[Part], sequence: int) -> bool:
    """Return whether all entries before one, as they were applied when it came, still count."""
    return any(part.first < sequence < part.after for part in parts)


def has_survived(parts: Sequence[Part], sequence: int) -> bool:
    """Return whether an entry counts in full."""
    return any(part.first <= sequence < part.after - 1 for part in parts)


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

    def __init__(
        self,
        machine: Machine,
        source: Log,
        parts: Sequence[Part],
        first: int = 0,
        record_from: int = FOREVER,
        is_checked: bool = True,
    ) -> None:
        """Prepare.

        Parameters
        ----------
        first
            The first entry that the machine does not know; see `is_start`.
        record_from
            The first entry whose step is recorded; those after the log's end are, too.
        is_checked
            Whether chunks have to be there: those that were replaced since are not.
        """
        self._machine = machine
        self._source = source
        self._parts = parts
        self._first = first
        self._record_from = record_from
        self._is_checked = is_checked
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
        part: Part | None = next(parts)
        for sequence, encoding in self._source.iterate_entries(self._first):
            while part is not None and part.after <= sequence:
                part = next(parts, None)
            if part is None:
                break
            if sequence < part.first:
                continue
            if sequence >= self._record_from and not machine.recorder.is_on:
                self._record()
            entry = read_entry(sequence, encoding)
            self._last_chunk = part.last_chunk if sequence == part.after - 1 else None
            if self._last_chunk is not None:
                machine.recorder.watch()
            try:
                on_applied(Applied(sequence, entry, machine.apply(sequence, entry)))
            except _SealedError:
                machine.builder.discard()
                machine.recorder.keep(machine.catch_up())
                machine.finish(sequence)
            if len(machine.steps) >= REPLAY_STEPS:
                on_steps()
        on_steps()
        if self._record_from != FOREVER and not machine.recorder.is_on:
            self._record()
        machine.on_seal = live

    def _record(self) -> None:
        recorder = self._machine.recorder
        recorder.is_on = True
        recorder.take_state()

    def _check_seal(self, chunk: SealedChunk) -> None:
        if self._is_checked and self._source.get_chunk(chunk.number) != chunk:
            raise StoreError(f"store: replaying the log does not reproduce chunk {chunk.number}")
        if chunk.number == self._last_chunk:
            raise _SealedError


class Origin:
    """What a machine can be made again from: a log, and snapshots that save most of the way."""

    def __init__(
        self, source: Log, domain: bytes, start: State, snapshots: Snapshots | None
    ) -> None:
        self._source = source
        self._domain = domain
        self._start = start
        self._snapshots = snapshots

    def build(self, parts: Sequence[Part], before: int = FOREVER) -> tuple[Machine, int]:
        """Return a machine that knows as much as a snapshot says, and the first entry that it does
        not know, which is not after `before`. Its chunks go nowhere."""
        if self._snapshots is not None:
            found = self._snapshots.find(
                self._source,
                self._domain,
                lambda sequence: sequence <= before and is_start(parts, sequence),
            )
            if found is not None:
                log.info("snapshot_loaded", sequence=found.sequence)
                return restore(found.contents, self._make), found.sequence
        return self._make(copy_state(self._start)), 0

    def build_before(self, sequence: int, entry: RebaseEntry, is_checked: bool) -> Machine:
        """Return a machine that knows what a rebase leaves of the entries before it, and not the
        rebase.

        Raises
        ------
        StoreError
            When the log does not lead there.
        """
        parts = compute_parts(self._source, (sequence, entry), sequence)
        machine, first = self.build(parts, max(0, entry.at))
        Replay(machine, self._source, parts, first, is_checked=is_checked).run(lambda: None)
        if machine.builder.number != entry.chunk:
            raise StoreError(f"store: no way back to chunk {entry.chunk}")
        return machine

    def _make(self, state: State) -> Machine:
        return Machine(state, self._domain, lambda chunk: None)
