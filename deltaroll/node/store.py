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
from contextlib import contextmanager, suppress
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
NOTE_CUT = "INSERT OR REPLACE INTO meta VALUES ('cut', ?)"


def connect(path: Path | str) -> sqlite3.Connection:
    """Open or create a store's file; StoreError when it is something else."""
    connection = sqlite3.connect(str(path), isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(SCHEMA)
    except sqlite3.DatabaseError as problem:
        connection.close()
        raise StoreError(f"store: {path}: {problem}") from problem
    return connection


class Readable:
    """Yields records as far as SQLite can read them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.after = 0
        """The record after the last one that could be read."""
        self.problem: sqlite3.DatabaseError | None = None
        """Why that is where it ends; None: there are no more."""

    def __iter__(self) -> Iterator[Record]:
        try:
            for record in self._connection.execute("SELECT * FROM log ORDER BY sequence"):
                yield record
                self.after = record[0] + 1
        except sqlite3.DatabaseError as problem:
            self.problem = problem


def copy_tables(source: sqlite3.Connection, new: Path, entries: int, cut: Cut) -> None:
    """Write a new store with all tables of another, of the log only so many entries.

    Raises
    ------
    sqlite3.DatabaseError
        When something else cannot be read.
    """
    target = connect(new)
    try:
        target.execute("BEGIN")
        for table, choice in (
            ("meta", "LIMIT -1"),
            ("log", "ORDER BY sequence LIMIT :entries"),
            ("chunks", "LIMIT -1"),
            ("batches", "LIMIT -1"),
            ("rebases", "LIMIT -1"),
            ("receipts", "WHERE sequence < :entries"),
        ):
            rows = source.execute(f"SELECT * FROM {table} {choice}", {"entries": entries})
            marks = ", ".join("?" * len(rows.description))
            target.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        target.execute(NOTE_CUT, (msgspec.json.encode(cut),))
        target.execute("COMMIT")
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        target.close()


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
        self._connection = connect(path)
        self._entries: list[tuple[int, bytes, bytes]] = []
        self._chunks: list[SealedChunk] = []
        self._receipts: dict[int, bytes] = {}
        held = self._select("SELECT value FROM meta WHERE key='domain'")
        if not held:
            self._connection.execute("INSERT INTO meta VALUES ('domain', ?)", (domain,))
        elif held[0][0] != domain:
            self._connection.close()
            raise StoreError(f"store: {path} belongs to another rollup")
        self._is_repaired = False
        self._rewind: tuple[int, int] | None = None
        self.next_sequence: int = 0
        self._chain: bytes = ZERO_HASH
        # Where the end cannot be read nothing can be added either, before `repair`.
        with suppress(sqlite3.DatabaseError):
            self._find_end()

    def _select(self, query: str, *values: object) -> list[Any]:
        """Return the rows of a short answer; StoreError when the file cannot be read."""
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as problem:
            raise StoreError(
                f"store: {self._path}: {problem}: restore it from a backup"
            ) from problem

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
        return int(self._select("SELECT COUNT(*) FROM rebases")[0][0])

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
        rows = self._select("SELECT receipt FROM receipts WHERE sequence = ?", sequence)
        return bytes(rows[0][0]) if rows else None

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
        """As `Log.repair`; once is enough. What is cut is written to a file beside the store."""
        if not self._is_repaired:
            self._repair()
            self._is_repaired = True
        row = self._connection.execute("SELECT value FROM meta WHERE key='cut'").fetchone()
        if row is None:
            return None
        return msgspec.json.decode(row[0], type=Cut)

    def _repair(self) -> None:
        self._tell_dropped()
        readable = Readable(self._connection)
        try:
            first = find_damage(readable)
            if readable.problem is not None:
                first = readable.after if first is None else first
                self._validate_end(readable)
                self._validate_no_rebase(first)
                self._salvage(first)
            elif first is not None:
                self._validate_no_rebase(first)
                self._cut(first)
        except sqlite3.DatabaseError as problem:
            raise StoreError(
                f"store: {self._path}: {problem}: restore it from a backup"
            ) from problem

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

    def _validate_end(self, readable: "Readable") -> None:
        """Check that there is something to go on from, and nothing can be read from the other end
        either."""
        if readable.after == 0:
            raise StoreError(
                f"store: {self._path}: no log entry can be read ({readable.problem}): restore it "
                "from a backup"
            )
        with suppress(sqlite3.DatabaseError):
            (last,) = self._connection.execute(
                "SELECT sequence FROM log ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
            raise StoreError(
                f"store: {self._path}: log entry {readable.after} cannot be read "
                f"({readable.problem}), and entry {last} after it can: this is no torn end; "
                "restore the store from a backup"
            )

    def _validate_no_rebase(self, first: int) -> None:
        (rebases,) = self._connection.execute(
            "SELECT COUNT(*) FROM rebases WHERE sequence >= ?", (first,)
        ).fetchone()
        if rebases:
            # The chunks that it took back are gone: what is left would not explain those that are.
            raise StoreError(
                f"store: log entry {first} is damaged, and a rebase is among those from there on: "
                "restore the store from a backup"
            )

    def _cut(self, first: int) -> None:
        """Take the records from `first` on out of the log."""
        select = self._connection.execute
        rows = select("SELECT * FROM log WHERE sequence >= ?", (first,)).fetchall()
        receipts = select("SELECT * FROM receipts WHERE sequence >= ?", (first,)).fetchall()
        aside = f"{self._path}.cut-{first}-{time_ns()}"
        self._keep_aside(aside, {"log": rows, "receipts": receipts})
        cut = Cut(first, len(rows), aside)
        with self._transaction("cut"):
            self._connection.execute("DELETE FROM log WHERE sequence >= ?", (first,))
            self._connection.execute("DELETE FROM receipts WHERE sequence >= ?", (first,))
            self._connection.execute(NOTE_CUT, (msgspec.json.encode(cut),))
        self._find_end()
        log.critical("log_end_cut", first=first, entries=len(rows), aside=aside)

    def _salvage(self, first: int) -> None:
        """Take another file with all but the records from `first` on, which cannot be read."""
        path = Path(self._path)
        aside = Path(f"{path}.cut-{first}-{time_ns()}")
        new = Path(f"{path}.salvaged")
        new.unlink(missing_ok=True)
        copy_tables(self._connection, new, first, Cut(first, None, str(aside)))
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        wal = Path(f"{path}-wal")
        if wal.exists() and wal.stat().st_size:
            raise StoreError(f"store: {path} is in use: stop whoever has it open")
        # There is a store under this name at any time.
        os.link(path, aside)
        new.replace(path)
        sync_folder(path.parent)
        self._connection = connect(path)
        self._find_end()
        log.critical("log_end_cut", first=first, entries=None, aside=str(aside))

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
        rows = self._select("SELECT chain FROM log WHERE sequence = ?", sequence - 1)
        return bytes(rows[0][0]) if rows else None

    def count_chunks(self) -> int:
        """Return how many chunks are durable."""
        return int(self._select("SELECT COUNT(*) FROM chunks")[0][0])

    def get_chunk(self, number: int) -> SealedChunk | None:
        """Return a durable chunk, None when there is none of this number."""
        rows = self._select("SELECT * FROM chunks WHERE number = ?", number)
        return SealedChunk(*rows[0]) if rows else None

    def record_batch(self, header_hash: bytes, batch: int, first: int, after: int) -> None:
        """Remember which chunks a batch carries: from `first` up to, not with, `after`.

        Raises
        ------
        StoreError
            When it is not remembered: the disk is full, or somebody else holds the file.
        """
        with self._transaction("batch"):
            self._connection.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)",
                (header_hash, batch, first, after),
            )

    def record_head(self, header_hash: bytes, batch: int, after: int) -> None:
        """Remember that chunks from `after` on follow a batch of somebody else."""
        self.record_batch(header_hash, batch, after, after)

    def get_next_chunk(self, header_hash: bytes) -> int | None:
        """Return the first chunk after a batch; None when this store did not post that batch."""
        rows = self._select("SELECT next_chunk FROM batches WHERE header_hash = ?", header_hash)
        return int(rows[0][0]) if rows else None

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
