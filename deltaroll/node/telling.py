"""The steps of a log for whoever has not heard of them yet, from the log alone."""

from deltaroll.node.entries import RebaseEntry
from deltaroll.node.events import Listener
from deltaroll.node.log import Log, StoreError
from deltaroll.node.machine import Machine
from deltaroll.node.replay import (
    FOREVER,
    Origin,
    Part,
    Replay,
    compute_parts,
    has_survived,
    read_entry,
)
from deltaroll.node.snapshots import Snapshots
from deltaroll.protocol.state import State


def tell_steps(
    source: Log,
    domain: bytes,
    listener: Listener,
    first: int = 0,
    snapshots: Snapshots | None = None,
) -> None:
    """Give a listener the steps of the durable entries from `first` on. No sequencer is needed, and
    one that runs is not disturbed.

    A listener that has heard of all entries before `first` goes on as if it had never been away. If
    none of those was undone since, what was undone later is left out, `Rebased` apart; else it gets
    every step that it would have got.

    Parameters
    ----------
    snapshots
        Of this log; they save most of the way to `first`.

    Raises
    ------
    StoreError
        When the log is damaged, or does not have the entries before `first`.
    """
    validate_heard(source, first)
    _Teller(source, Origin(source, domain, State(), snapshots), listener).tell(first)


def validate_heard(source: Log, first: int) -> None:
    """Check that a log has the entries before `first`, that a listener says it has heard of.

    Raises
    ------
    StoreError
        When it ends before: its end was cut, or it is an older copy.
    """
    if first > source.next_sequence:
        raise StoreError(
            f"listener: it has heard of entries up to {first - 1}, and the log ends at "
            f"{source.next_sequence - 1}: what it made of them has to be made again"
        )


class _Teller:
    def __init__(self, source: Log, origin: Origin, listener: Listener) -> None:
        self._source = source
        self._origin = origin
        self._listener = listener

    def tell(self, first: int) -> None:
        parts = compute_parts(self._source)
        if first == 0 or has_survived(parts, first - 1):
            machine, start = self._origin.build(parts, first)
            self._run(machine, parts, start, first)
        else:
            self._tell_as_it_was(first)

    def _run(
        self, machine: Machine, parts: list[Part], start: int, first: int, is_checked: bool = True
    ) -> None:
        def hand_over() -> None:
            self._publish(machine)

        Replay(machine, self._source, parts, start, first, is_checked).run(hand_over)

    def _publish(self, machine: Machine) -> None:
        steps, machine.steps = machine.steps, []
        if steps:
            self._listener(steps)

    def _tell_as_it_was(self, first: int) -> None:
        """Go through the log as the sequencer has gone, back at each rebase included."""
        then = compute_parts(self._source, until=first)
        machine, start = self._origin.build(then, first)
        Replay(machine, self._source, then, start, is_checked=False).run(lambda: None)
        for sequence, encoding in self._source.iterate_rebases():
            if sequence < first:
                continue
            entry = read_entry(sequence, encoding)
            if not isinstance(entry, RebaseEntry):
                raise StoreError(f"store: log entry {sequence} is no rebase")
            self._run(machine, [Part(first, sequence)], first, first, is_checked=False)
            told = machine.recorder, machine.desk.get_orders()
            machine = self._origin.build_before(sequence, entry, is_checked=False)
            machine.recorder.is_on = True
            machine.recorder.take_over(*told)
            machine.apply(sequence, entry)
            self._publish(machine)
            first = sequence + 1
        self._run(machine, [Part(first, FOREVER)], first, first, is_checked=False)
