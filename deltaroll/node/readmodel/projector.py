"""Keeps a history while the node runs: takes the steps of the log and has them written, on a thread
of its own. A database that is gone is tried again; the node trades on meanwhile.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import Protocol

import structlog

from deltaroll.node.api.data import BatchData
from deltaroll.node.events import Step
from deltaroll.node.readmodel.database import HistoryDownError, HistoryError
from deltaroll.node.readmodel.inbox import MAX_WAITING, Inbox

log = structlog.get_logger(__name__)

STEPS_AT_ONCE = 2_000
"""Of one transaction, about."""
SETTLED = "settled"
"""The last stage of a batch."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds until a database is tried again."""
MAX_TOLD = 50_000
"""Old steps that a start tells."""
CLOSE_SECONDS = 60.0
"""For what waits at the end."""


class AnyHistorian(Protocol):
    """What writes: here, or in a process of its own."""

    def get_applied(self) -> int:
        """Return the last step that is in; -1 when there is none."""

    def apply(self, steps: Sequence[Step]) -> int:
        """Write the steps that are not in yet; return the last one that is."""

    def note_batches(self, batches: Sequence[BatchData], first: int) -> None:
        """Write what L1 says about batches from number `first` on."""

    def abort(self) -> None:
        """Have whatever is under way fail soon; from any thread."""

    def close(self) -> None:
        """Let go of the database."""


class Projector:
    """Writes a history while the node runs."""

    def __init__(
        self,
        open_historian: Callable[[], AnyHistorian],
        spill: Path,
        most: int = MAX_WAITING,
    ) -> None:
        """Open the history and begin to write. A database that is not to be had is tried again
        later.

        Parameters
        ----------
        spill
            File for steps that wait beyond `most`, which may wait in memory.

        Raises
        ------
        HistoryError
            When it is not ours to write.
        """
        self._open_historian = open_historian
        self._historian: AnyHistorian | None = None
        self.applied = -1
        """Sequence number of the last step that is written, as far as is known."""
        self.told = -1
        """The same of the last one that was published."""
        self.problem = ""
        """Why nothing is written just now; empty: nothing is wrong."""
        self._inbox = Inbox(spill, most)
        self._written = Condition()
        try:
            self._open()
        except HistoryDownError as problem:
            self._note_problem(problem)
        self._batches: tuple[list[BatchData], int] | None = None
        self._told_batches: tuple[BatchData, ...] = ()
        self.first_unsettled = 0
        """Batches from this one on may still come to another stage."""
        self._lock = Lock()
        self._thread = Thread(target=self._run, name="history")
        self._thread.start()

    @property
    def lag(self) -> int:
        """How many steps the history is behind."""
        return max(0, self.told - self.applied)

    def listen(self, steps: Sequence[Step]) -> None:
        """Take the steps of a commit: a sequencer's listener."""
        if steps and steps[-1].sequence > self.told:
            self.told = steps[-1].sequence
            self._inbox.put(steps)

    def find_first(self, end: int) -> int:
        """Return the first step that has to be told, of a log that has so many entries.

        Where that is not known, or so far back that the start would take long, it is the next that
        there will be: what is missing before it is taken from the log, beside the node.

        Raises
        ------
        HistoryError
            When the history knows more than the log: it is another log's, or the log was set back.
        """
        if self._historian is None:
            return end
        if self.applied + 1 < end - MAX_TOLD:
            return end
        if self.applied >= end:
            raise HistoryError(
                f"history: it knows step {self.applied}, the log ends with {end - 1}: build it "
                "again, `ape run history --rebuild`"
            )
        return self.applied + 1

    def note_batches(self, batches: Sequence[BatchData], first: int) -> None:
        """Take what L1 says about batches from number `first` on."""
        told = tuple(batches)
        if not told or told == self._told_batches:
            return
        self._told_batches = told
        unsettled = (batch.index for batch in told if batch.stage != SETTLED)
        self.first_unsettled = min(unsettled, default=told[-1].index)
        with self._lock:
            self._wait_with(list(told), first)
        self._inbox.put(())

    def _put_back(self, batches: list[BatchData], first: int) -> None:
        later, self._batches = self._batches, (batches, first)
        if later is not None:
            self._wait_with(*later)

    def _wait_with(self, batches: list[BatchData], first: int) -> None:
        """Put batches to those that wait already, which are older."""
        if self._batches is not None:
            waiting, since = self._batches
            batches = [batch for batch in waiting if batch.index < first] + batches
            first = min(since, first)
        self._batches = batches, first

    def close(self) -> None:
        """Write what waits, if the database takes it in time, and end the thread."""
        self._inbox.close()
        self._thread.join(CLOSE_SECONDS)
        if self._historian is not None and self._thread.is_alive():
            self._historian.abort()
        self._thread.join()
        self._inbox.discard()

    def wait(self, sequence: int, seconds: float) -> bool:
        """Wait until a step is written; return whether it is."""
        with self._written:
            return self._written.wait_for(lambda: self.applied >= sequence, seconds)

    def _run(self) -> None:
        try:
            while (steps := self._inbox.take(STEPS_AT_ONCE)) is not None:
                if not self._persist(steps):
                    break
        except Exception as problem:  # noqa: BLE001 (whatever it is, the node trades on)
            self.problem = f"stopped: {problem!r}"
            log.error("history_failed", error=repr(problem), after=self.applied)
            self._inbox.close()
        finally:
            if self._historian is not None:
                self._historian.close()

    def _persist(self, steps: Sequence[Step]) -> bool:
        """Write steps, however long it takes; on the way out the database is tried once. Return
        whether they are in."""
        pause = FIRST_PAUSE
        while True:
            try:
                historian = self._open()
                if steps:
                    self._note_applied(historian.apply(steps))
                self._write_batches(historian)
            except HistoryDownError as problem:
                self._note_problem(problem)
                if self._inbox.is_closed:
                    return False
                self._inbox.pause(pause)
                pause = min(LONGEST_PAUSE, 2 * pause)
                continue
            if self.problem:
                log.info("history_back", after=self.applied)
                self.problem = ""
            return True

    def _open(self) -> AnyHistorian:
        if self._historian is None:
            self._historian = self._open_historian()
            self.applied = self._historian.get_applied()
            self.told = max(self.told, self.applied)
        return self._historian

    def _note_applied(self, sequence: int) -> None:
        with self._written:
            self.applied = sequence
            self._written.notify_all()

    def _note_problem(self, problem: Exception) -> None:
        if not self.problem:
            log.error("history_unavailable", error=str(problem), after=self.applied)
        self.problem = str(problem)

    def _write_batches(self, historian: AnyHistorian) -> None:
        with self._lock:
            batches, self._batches = self._batches, None
        if batches is None:
            return
        try:
            historian.note_batches(*batches)
        except BaseException:
            with self._lock:
                self._put_back(*batches)
            raise
