"""Snapshots: what a machine had become at a place of the log, so that a restart replays the rest.

A snapshot saves time and nothing else: whatever is wrong with one, an older one or the whole log
gives the same machine. Each is a file of its own, written by a thread of its own to another name,
made durable and renamed; it ends in a checksum, and begins with its format, the rollup, its place
in the log and the hash over the log up to there.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from time import monotonic

import msgspec
import structlog

from deltaroll.node.capture import Capture, Contents, capture, decode_capture, encode_capture
from deltaroll.node.log import Log, StoreError
from deltaroll.node.machine import Machine
from deltaroll.node.store import sync_folder

log = structlog.get_logger(__name__)

VERSION = 1
"""Of the format; one more whenever what a snapshot holds, or means, changes."""
EVERY = 5_000
"""Entries from one snapshot to the next, at least."""
COST_SHARE = 50
"""No more than one second of so many goes into writing snapshots."""
SUFFIX = ".snapshot"
UNFINISHED = ".unfinished"
CHECKSUM_BYTES = 32
END = b"checksum "


class Header(msgspec.Struct, frozen=True):
    """The first line."""

    version: int
    domain: bytes
    sequence: int
    """The first entry that it does not know."""
    chain: bytes
    """Hash over the log before that entry."""


class SnapshotError(Exception):
    """A file that is no snapshot, or not one of this log."""


@dataclass(frozen=True, slots=True)
class Found:
    """A snapshot that can be gone on from."""

    sequence: int
    """The first entry that it does not know."""
    contents: Contents


def select_kept(sequences: Iterable[int]) -> set[int]:
    """Return which snapshots are worth their room: the two newest, and behind them ever fewer, so
    that going back some way costs a replay of about that way, however far it is."""
    ascending = sorted(sequences)
    kept = set(ascending[-2:])
    oldest: dict[int, int] = {}
    for sequence in ascending:
        oldest.setdefault((ascending[-1] - sequence).bit_length(), sequence)
    return kept | set(oldest.values())


def encode_snapshot(header: Header, captured: Capture) -> Iterator[bytes]:
    """Yield a snapshot's lines with their ends."""
    digest = blake2b(digest_size=CHECKSUM_BYTES)
    for line in chain((msgspec.json.encode(header),), encode_capture(captured)):
        whole = line + b"\n"
        digest.update(whole)
        yield whole
    yield END + digest.hexdigest().encode() + b"\n"


def decode_header(data: bytes, domain: bytes) -> Header:
    """Check a snapshot's bytes and return its first line.

    Raises
    ------
    SnapshotError
    """
    body, end, checksum = data[:-1].rpartition(b"\n" + END)
    body += b"\n"
    if not end or blake2b(body, digest_size=CHECKSUM_BYTES).hexdigest().encode() != checksum:
        raise SnapshotError("its checksum is not that of its bytes")
    try:
        header = msgspec.json.decode(body.partition(b"\n")[0], type=Header)
    except msgspec.MsgspecError as problem:
        raise SnapshotError(f"its first line is none: {problem}") from None
    if header.version != VERSION:
        raise SnapshotError(f"its format is {header.version}, this program knows {VERSION}")
    if header.domain != domain:
        raise SnapshotError("it belongs to another rollup")
    return header


class Snapshots:
    """The snapshots of one log, in a folder of their own."""

    def __init__(self, folder: Path, every: int = EVERY, cost_share: int = COST_SHARE) -> None:
        """Open or create the folder.

        Parameters
        ----------
        every
            Entries from one snapshot to the next, at least.
        cost_share
            No more than one second of so many goes into writing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._every = every
        self._cost_share = cost_share
        self._writer = ThreadPoolExecutor(1, "snapshot")
        self._writing: Future[None] | None = None
        self._not_before = 0.0
        self.latest = 0
        """The first entry that the newest one does not know, of those that were loaded or taken."""
        for path in folder.glob("*" + UNFINISHED):
            path.unlink()

    def get_sequences(self) -> list[int]:
        """Return the places in the log that there are snapshots of, whether or not they are good,
        in order."""
        names = [path.name for path in self._folder.glob("*" + SUFFIX)]
        stems = [name.removesuffix(SUFFIX) for name in names]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def get_path(self, sequence: int) -> Path:
        """Return the file of a snapshot."""
        return self._folder / f"{sequence:016}{SUFFIX}"

    def find(self, source: Log, domain: bytes, is_usable: Callable[[int], bool]) -> Found | None:
        """Return the newest good snapshot of those that are usable; others are skipped, loudly."""
        for sequence in reversed(self.get_sequences()):
            if not is_usable(sequence):
                continue
            try:
                return self._read(source, domain, sequence)
            except SnapshotError as problem:
                path = self.get_path(sequence)
                log.error("snapshot_skipped", file=str(path), reason=str(problem))
        return None

    def _read(self, source: Log, domain: bytes, sequence: int) -> Found:
        try:
            data = self.get_path(sequence).read_bytes()
        except OSError as problem:
            raise SnapshotError(str(problem)) from None
        header = decode_header(data, domain)
        if header.sequence != sequence or source.get_chain(sequence) != header.chain:
            raise SnapshotError("the log does not lead to it")
        lines = data.splitlines()[1:-1]
        try:
            return Found(sequence, decode_capture(iter(lines)))
        except ValueError as problem:
            raise SnapshotError(f"it cannot be read: {problem}") from None

    def go_on(self, loaded: int, end: int) -> None:
        """Go on from a snapshot that was loaded (0: none) and a log that ends before `end`: what
        claims to be of later is of a log that is no more."""
        self.drop(lambda sequence: sequence > end)
        self.latest = loaded

    def offer(self, machine: Machine, source: Log, domain: bytes) -> None:
        """Take a snapshot if it is time for one; between two commits, all entries durable. Only the
        copying happens here."""
        due = self.latest + self._every
        if source.next_sequence < due or monotonic() < self._not_before:
            return
        if self._writing is None or self._writing.done():
            self.start(machine, source, domain)

    def take(self, machine: Machine, source: Log, domain: bytes) -> None:
        """Take a snapshot and wait until it is written; all entries must be durable."""
        self.wait()
        self.start(machine, source, domain)
        self.wait()

    def start(self, machine: Machine, source: Log, domain: bytes) -> None:
        """Take a snapshot now, and have it written; all entries must be durable."""
        sequence = source.next_sequence
        before = source.get_chain(sequence)
        if before is None:
            raise StoreError(f"store: log entry {sequence - 1} is missing")
        self.latest = sequence
        header = Header(VERSION, domain, sequence, before)
        self._writing = self._writer.submit(self._write, header, capture(machine))

    def _write(self, header: Header, captured: Capture) -> None:
        started = monotonic()
        path = self.get_path(header.sequence)
        unfinished = path.with_suffix(UNFINISHED)
        try:
            with unfinished.open("wb") as file:
                for line in encode_snapshot(header, captured):
                    file.write(line)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            sync_folder(self._folder)
            self._prune()
        except Exception as problem:  # noqa: BLE001 (whatever it is, the log goes on without)
            log.error("snapshot_failed", file=str(path), error=str(problem))
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
        else:
            seconds = round(monotonic() - started, 3)
            log.info("snapshot_written", sequence=header.sequence, seconds=seconds)
        now = monotonic()
        self._not_before = now + (now - started) * self._cost_share

    def _prune(self) -> None:
        there = self.get_sequences()
        for sequence in set(there) - select_kept(there):
            self.get_path(sequence).unlink(missing_ok=True)

    def drop(self, is_gone: Callable[[int], bool]) -> None:
        """Delete the snapshots at certain places: what they know has been taken back."""
        self.wait()
        for sequence in self.get_sequences():
            if is_gone(sequence):
                self.get_path(sequence).unlink(missing_ok=True)
                log.warning("snapshot_dropped", sequence=sequence)
                self.latest = min(self.latest, sequence)

    def wait(self) -> None:
        """Wait until nothing is being written."""
        if self._writing is not None:
            self._writing.result()

    def close(self) -> None:
        """Wait, and write no more."""
        self._writer.shutdown()
