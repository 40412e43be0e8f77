"""The durable log: what a sequencer has acknowledged survives the process.

SQLite in WAL mode with synchronous=FULL. Entries are committed in groups, before any of them is
acknowledged. Each carries a hash over itself and all before it, so that damage to the file never
passes for a log. `sqlite3` is used directly: an insert through an ORM costs more than the order it
logs.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from typing import Any

import msgspec
import structlog

from deltaroll.node.log import Cut, Record, SealedChunk, StoreError, extend, find_damage
from deltaroll.node.wal import read_commits
from deltaroll.protocol.hashing import ZERO_HASH

__all__ = ["MEMORY", "SealedChunk", "Store", "StoreError"]

log = structlog.get_logger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS log (
    sequence INTEGER PRIMARY KEY, entry BLOB NOT NULL, chain BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS chunks (
    number INTEGER PRIMARY KEY, data BLOB NOT NULL, signatures BLOB NOT NULL,
    queue_end INTEGER NOT NULL, transactions INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS batches (
    header_hash BLOB PRIMARY KEY, batch INTEGER NOT NULL, first_chunk INTEGER NOT NULL,
    next_chunk INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS rebases (sequence INTEGER PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS receipts (
    sequence INTEGER PRIMARY KEY, receipt BLOB NOT NULL) STRICT;
"""
MEMORY = ":memory:"


def read_domain(path: Path) -> bytes:
    """Return whose store a file is.

    Raises
    ------
    StoreError
        When it is not there, or no store.
    """
    if not path.is_file():
        raise StoreError(f"store: no file {path}")
    connection = sqlite3.connect(str(path))
    try:
        row = connection.execute("SELECT value FROM meta WHERE key='domain'").fetchone()
    except sqlite3.DatabaseError as problem:
        raise StoreError(f"store: {path}: {problem}") from problem
    finally:
        connection.close()
    if row is None:
        raise StoreError(f"store: {path} names no rollup")
    return bytes(row[0])


class Store:
    """One sequencer's log, chunks and postings: the `Log` that a node runs on."""

    def __init__(self, path: Path | str, domain: bytes) -> None:
        """Open or create; StoreError when the file is no store or belongs to another rollup."""
        self._path = path
        # SQLite forgets what it cannot use of it as soon as it reads.
        self._found_commits = read_commits(Path(f"{path}-wal"))
        self._connection = sqlite3.connect(str(path), isolation_level=None)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(SCHEMA)
        except sqlite3.DatabaseError as problem:
            self._connection.close()
            raise StoreError(f"store: {path}: {problem}") from problem
        self._entries: list[tuple[int, bytes, bytes]] = []
        self._chunks: list[SealedChunk] = []
        self._receipts: dict[int, bytes] = {}
        row = self._connection.execute("SELECT value FROM meta WHERE key='domain'").fetchone()
        if row is None:
            self._connection.execute("INSERT INTO meta VALUES ('domain', ?)", (domain,))
        elif row[0] != domain:
            self._connection.close()
            raise StoreError(f"store: {path} belongs to another rollup")
        self._rewind: tuple[int, int] | None = None
        self.next_sequence: int = 0
        self._chain: bytes = ZERO_HASH
        self._find_end()

    def _find_end(self) -> None:
        last = self._connection.execute(
            "SELECT sequence, chain FROM log ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        self.next_sequence, self._chain = (0, ZERO_HASH) if last is None else (last[0] + 1, last[1])

    def append(self, entry: bytes) -> int:
        """Add an entry to the open group and return its sequence number."""
        sequence = self.next_sequence
        self.next_sequence += 1
        self._chain = extend(self._chain, entry)
        self._entries.append((sequence, entry, self._chain))
        return sequence

    def seal(self, chunk: SealedChunk) -> None:
        """Add a chunk to the open group."""
        self._chunks.append(chunk)

    def rewind(self, sequence: int, chunk: int) -> None:
        """Have the open group take the place of the chunks from `chunk` on; `sequence` is that of
        the entry that says so."""
        self._rewind = (sequence, chunk)

    @property
    def rebases(self) -> int:
        """How often chunks that were sealed have been sequenced again."""
        (count,) = self._connection.execute("SELECT COUNT(*) FROM rebases").fetchone()
        return int(count)

    def iterate_rebases(self) -> Iterator[tuple[int, bytes]]:
        """Yield the durable entries that undo others, in order."""
        yield from self._connection.execute(
            "SELECT sequence, entry FROM log JOIN rebases USING (sequence) ORDER BY sequence"
        )

    def keep_receipt(self, sequence: int, receipt: bytes) -> None:
        """Add the receipt of an entry to the open group."""
        self._receipts[sequence] = receipt

    def get_receipt(self, sequence: int) -> bytes | None:
        """Return the receipt of an entry, None when it has none."""
        waiting = self._receipts.get(sequence)
        if waiting is not None:
            return waiting
        row = self._connection.execute(
            "SELECT receipt FROM receipts WHERE sequence = ?", (sequence,)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def iterate_receipts(self, first: int, after: int) -> Iterator[bytes]:
        """Yield the durable receipts of entries from `first` up to, not with, `after`."""
        rows = self._connection.execute(
            "SELECT receipt FROM receipts WHERE sequence >= ? AND sequence < ? ORDER BY sequence",
            (first, after),
        )
        return (bytes(receipt) for (receipt,) in rows)

    def flush(self) -> None:
        """Make the open group durable, all or nothing.

        Raises
        ------
        StoreError
            When it is not: the disk is full, or another process writes to the same file.
        """
        if not self._entries and not self._chunks:
            return
        with self._transaction("commit"):
            if self._rewind is not None:
                sequence, chunk = self._rewind
                self._connection.execute("INSERT INTO rebases VALUES (?)", (sequence,))
                self._connection.execute("DELETE FROM chunks WHERE number >= ?", (chunk,))
                self._connection.execute("DELETE FROM batches WHERE next_chunk > ?", (chunk,))
            self._connection.executemany("INSERT INTO log VALUES (?, ?, ?)", self._entries)
            self._connection.executemany(
                "INSERT INTO chunks VALUES (?, ?, ?, ?, ?)",
                [
                    (c.number, c.data, c.signatures, c.queue_end, c.transactions)
                    for c in self._chunks
                ],
            )
            self._connection.executemany(
                "INSERT INTO receipts VALUES (?, ?)", self._receipts.items()
            )
        self._entries.clear()
        self._chunks.clear()
        self._rewind = None
        self._receipts.clear()

    @contextmanager
    def _transaction(self, name: str) -> Iterator[None]:
        """Have what is executed inside be durable in the end, all of it, or none."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.Error as problem:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise StoreError(f"store: {self._path}: {name}: {problem}") from problem

    def repair(self) -> Cut | None:
        """As `Log.repair`. What is cut is written to a file next to the store first."""
        self._tell_dropped()
        try:
            records = self._connection.execute("SELECT * FROM log ORDER BY sequence")
            first = find_damage(self._iterate_readable(records))
        except sqlite3.DatabaseError as problem:
            raise StoreError(f"store: {self._path}: {problem}: restore a backup") from problem
        if first is not None:
            self._cut(first)
        row = self._connection.execute("SELECT value FROM meta WHERE key='cut'").fetchone()
        if row is None:
            return None
        return msgspec.json.decode(row[0], type=Cut)

    def _tell_dropped(self) -> None:
        """Tell of commits that SQLite has found torn, and keep their bytes.

        A process that was killed, or a machine that went down while it committed, leaves such a
        one: nothing of it was acknowledged. Beyond that it is the disk that has not kept its word.
        """
        found, self._found_commits = self._found_commits, []
        if not found:
            return
        (_, good, _) = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        dropped = found[good:]
        if not dropped:
            return
        aside = f"{self._path}.dropped-{time_ns()}"
        shutil.copyfile(f"{self._path}-wal", aside)
        tell = log.critical if any(dropped) else log.warning
        tell("log_end_dropped", frames=len(dropped), commits=sum(dropped), aside=aside)

    def _iterate_readable(self, records: Iterator[Record]) -> Iterator[Record]:
        read = -1
        try:
            for record in records:
                yield record
                read = record[0]
        except sqlite3.DatabaseError as problem:
            raise StoreError(
                f"store: {self._path}: the file cannot be read after log entry {read}: {problem}: "
                "restore it from a backup"
            ) from problem

    def _cut(self, first: int) -> None:
        """Take the records from `first` on out of the log."""
        select = self._connection.execute
        rows = select("SELECT * FROM log WHERE sequence >= ?", (first,)).fetchall()
        receipts = select("SELECT * FROM receipts WHERE sequence >= ?", (first,)).fetchall()
        (rebases,) = select("SELECT COUNT(*) FROM rebases WHERE sequence >= ?", (first,)).fetchone()
        if rebases:
            # The chunks that it took back are gone: what is left would not explain those that are.
            raise StoreError(
                f"store: log entry {first} is damaged, and a rebase is among the {len(rows)} "
                "records from there on: restore the store from a backup"
            )
        aside = f"{self._path}.cut-{first}-{time_ns()}"
        self._keep_aside(aside, {"log": rows, "receipts": receipts})
        cut = Cut(first, len(rows), aside)
        with self._transaction("cut"):
            self._connection.execute("DELETE FROM log WHERE sequence >= ?", (first,))
            self._connection.execute("DELETE FROM receipts WHERE sequence >= ?", (first,))
            self._connection.execute(
                "INSERT OR REPLACE INTO meta VALUES ('cut', ?)", (msgspec.json.encode(cut),)
            )
        self._find_end()
        log.critical("log_end_cut", first=first, last=rows[-1][0], entries=len(rows), aside=aside)

    def finish_cut(self, chunks: int) -> None:
        """As `Log.finish_cut`; those that go are kept aside too."""
        row = self._connection.execute("SELECT value FROM meta WHERE key='cut'").fetchone()
        if row is None:
            return
        cut = msgspec.json.decode(row[0], type=Cut)
        rows = self._connection.execute(
            "SELECT * FROM chunks WHERE number >= ?", (chunks,)
        ).fetchall()
        if rows:
            aside = f"{cut.aside}-chunks-{time_ns()}"
            self._keep_aside(aside, {"chunks": rows})
            log.critical("chunks_cut", first=chunks, chunks=len(rows), aside=aside)
        with self._transaction("cut"):
            self._connection.execute("DELETE FROM chunks WHERE number >= ?", (chunks,))
            self._connection.execute("DELETE FROM batches WHERE next_chunk > ?", (chunks,))
            self._connection.execute("DELETE FROM meta WHERE key='cut'")

    def _keep_aside(self, name: str, tables: dict[str, list[Sequence[Any]]]) -> None:
        """Write rows to a new file, one JSON object a line, bytes in base64; durable."""
        with Path(name).open("xb") as file:
            for table, rows in tables.items():
                for row in rows:
                    file.write(msgspec.json.encode({"table": table, "row": row}) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(Path(name).parent)

    def iterate_entries(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield durable entries in order, from number `first` on.

        Raises
        ------
        StoreError
            At the first entry that is missing or not the one that was written.
        """
        chain = self.get_chain(first)
        if chain is None:
            raise StoreError(f"store: log entry {first - 1} is missing")
        rows = self._connection.execute(
            "SELECT * FROM log WHERE sequence >= ? ORDER BY sequence", (first,)
        )
        for expected, (sequence, entry, held) in enumerate(rows, first):
            chain = extend(chain, entry)
            if sequence != expected or chain != held:
                raise StoreError(f"store: log entry {expected} is missing or damaged")
            yield sequence, entry

    def get_chain(self, sequence: int) -> bytes | None:
        """Return the hash over the durable entries before a number; None when they are not all
        there."""
        if sequence == 0:
            return ZERO_HASH
        row = self._connection.execute(
            "SELECT chain FROM log WHERE sequence = ?", (sequence - 1,)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def count_chunks(self) -> int:
        """Return how many chunks are durable."""
        (count,) = self._connection.execute("SELECT COUNT(*) FROM chunks").fetchone()
        return int(count)

    def get_chunk(self, number: int) -> SealedChunk | None:
        """Return a durable chunk, None when there is none of this number."""
        row = self._connection.execute(
            "SELECT * FROM chunks WHERE number = ?", (number,)
        ).fetchone()
        return None if row is None else SealedChunk(*row)

    def record_batch(self, header_hash: bytes, batch: int, first: int, after: int) -> None:
        """Remember which chunks a batch carries: from `first` up to, not with, `after`."""
        self._connection.execute(
            "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)",
            (header_hash, batch, first, after),
        )

    def record_head(self, header_hash: bytes, batch: int, after: int) -> None:
        """Remember that chunks from `after` on follow a batch of somebody else."""
        self.record_batch(header_hash, batch, after, after)

    def get_next_chunk(self, header_hash: bytes) -> int | None:
        """Return the first chunk after a batch; None when this store did not post that batch."""
        row = self._connection.execute(
            "SELECT next_chunk FROM batches WHERE header_hash = ?", (header_hash,)
        ).fetchone()
        return None if row is None else int(row[0])

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._connection.close()


def sync_folder(folder: Path) -> None:
    """Make it durable which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
