"""Where the sequencer leaves its steps: it never waits.

A bounded number waits in memory. Beyond that they go to a file, in their order, until whoever
takes them has caught up. The file is worth nothing after a restart: the log is. So steps are left
out when the file cannot be written, or would take the room that the log needs.
"""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Condition
from typing import BinaryIO

import msgspec
import structlog

from deltaroll.node.events import Step

log = structlog.get_logger(__name__)

MAX_WAITING = 20_000
"""Steps in memory."""
MAX_SPILL = 1 << 30
"""Bytes in the file."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(tuple[Step, ...])


class Inbox:
    """A queue of steps between two threads."""

    def __init__(self, spill: Path, most: int = MAX_WAITING, max_spill: int = MAX_SPILL) -> None:
        """`spill`: the file for what does not fit, of `max_spill` bytes; what is in it goes.
        `most`: steps in memory."""
        self._spill = spill
        self._most = most
        self._max_spill = max_spill
        self._is_leaving_out = False
        self._waiting: deque[Sequence[Step]] = deque()
        self._count = 0
        self._file: BinaryIO | None = None
        self._read_at = 0
        self._written = 0
        self._changed = Condition()
        self._is_closed = False

    def put(self, steps: Sequence[Step]) -> None:
        """Leave steps."""
        with self._changed:
            if self._is_closed:
                return
            if self._file is None and (not self._count or self._count + len(steps) <= self._most):
                self._waiting.append(steps)
                self._count += len(steps)
            else:
                self._put_on_disk(steps)
            self._changed.notify()

    def take(self, most: int) -> list[Step] | None:
        """Return steps, about as many as `most`; wait for some. None: there will be none."""
        with self._changed:
            while not self._waiting and self._file is None and not self._is_closed:
                self._changed.wait()
            if not self._waiting and self._file is None:
                return None
            taken: list[Step] = []
            while len(taken) < most and (self._waiting or self._file is not None):
                if not self._waiting:
                    self._take_from_disk()
                    continue
                steps = self._waiting.popleft()
                self._count -= len(steps)
                taken += steps
            return taken

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, seconds)

    @property
    def is_closed(self) -> bool:
        """Whether nothing comes any more."""
        return self._is_closed

    def close(self) -> None:
        """Take nothing any more; what waits can still be taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def discard(self) -> None:
        """Drop what waits; the file goes."""
        with self._changed:
            self._waiting.clear()
            self._count = 0
            self._close_file()

    def _put_on_disk(self, steps: Sequence[Step]) -> None:
        try:
            if self._file is None:
                self._file = self._spill.open("w+b")
                self._read_at = self._written = 0
                log.warning("history_behind", waiting=self._count, file=str(self._spill))
            line = _encoder.encode(tuple(steps))
            if self._written + len(line) > self._max_spill:
                self._leave_out(f"{self._spill} has {self._written} bytes")
                return
            self._file.seek(self._written)
            self._file.write(len(line).to_bytes(8, "big") + line)
            self._file.flush()
            self._written += 8 + len(line)
        except OSError as problem:
            self._leave_out(str(problem))
            return
        self._is_leaving_out = False

    def _leave_out(self, reason: str) -> None:
        # The log has them: whoever takes what comes later sees that they are missing.
        if not self._is_leaving_out:
            log.error("history_left_out", reason=reason)
        self._is_leaving_out = True

    def _take_from_disk(self) -> None:
        """Move the next steps of the file into memory; the file goes when it is empty."""
        assert self._file is not None
        if self._read_at == self._written:
            self._close_file()
            return
        self._file.seek(self._read_at)
        length = int.from_bytes(self._file.read(8), "big")
        steps = _decoder.decode(self._file.read(length))
        self._read_at += 8 + length
        self._waiting.append(steps)
        self._count += len(steps)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._spill.unlink(missing_ok=True)
