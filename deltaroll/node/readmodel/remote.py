"""A history that a process of its own writes, as the node sees it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

import deltaroll
from deltaroll.node.api.data import BatchData
from deltaroll.node.events import Step
from deltaroll.node.readmodel.database import HistoryDownError, HistoryError
from deltaroll.node.readmodel.frames import (
    Applied,
    Apply,
    NoteBatches,
    Open,
    Request,
    read_answer,
    write_frame,
)

log = structlog.get_logger(__name__)

WORKER = "deltaroll.node.readmodel.worker"
ROOT = Path(deltaroll.__path__[0]).parent


class RemoteHistorian:
    """Asks a process to write; when it has died the next question starts another one."""

    def __init__(self, url: str, domain: bytes, store: Path | None = None) -> None:
        """Start the process and open the history, as `Historian` does.

        Raises
        ------
        HistoryError, HistoryDownError
        """
        self._open = Open(url, domain.hex(), None if store is None else str(store))
        self._process: subprocess.Popen[bytes] | None = None
        self._applied = self._start()

    def get_applied(self) -> int:
        """Return the last step that was in at the start; -1 when there was none."""
        return self._applied

    def apply(self, steps: Sequence[Step]) -> int:
        """Write the steps that are not in yet; return the last one that is.

        Raises
        ------
        HistoryError, HistoryDownError
        """
        return self._ask(Apply(list(steps)))

    def note_batches(self, batches: Sequence[BatchData], first: int) -> None:
        """Write what L1 says about batches from number `first` on.

        Raises
        ------
        HistoryError, HistoryDownError
        """
        self._ask(NoteBatches(list(batches), first))

    def abort(self) -> None:
        """Kill the process; from any thread."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError):
                process.communicate()

    @property
    def pid(self) -> int | None:
        """The process, None when there is none."""
        return None if self._process is None else self._process.pid

    def _start(self) -> int:
        paths = (str(ROOT), os.environ.get("PYTHONPATH", ""))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
                # An interrupt from the keyboard is the node's: it ends this one when it is done.
                start_new_session=True,
            )
        except OSError as problem:
            raise HistoryDownError(f"history: no process for it: {problem}") from None
        try:
            return self._exchange(self._process, self._open)
        except HistoryError:
            self.close()
            raise

    def _ask(self, request: Request) -> int:
        if self._process is None:
            self._start()
        assert self._process is not None
        return self._exchange(self._process, request)

    def _exchange(self, process: subprocess.Popen[bytes], request: Request) -> int:
        """Return the last step that is in after a request."""
        assert process.stdin is not None
        assert process.stdout is not None
        answer = None
        with suppress(OSError):
            write_frame(process.stdin, request)
            answer = read_answer(process.stdout)
        if answer is None:
            self.abort()
            self.close()
            raise HistoryDownError(f"history: its process has ended, {process.returncode}")
        if isinstance(answer, Applied):
            return answer.sequence
        raise (HistoryDownError if answer.is_down else HistoryError)(answer.problem)
