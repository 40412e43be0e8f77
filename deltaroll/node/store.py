"""The durable log: what a sequencer has acknowledged survives the process.

SQLite in WAL mode with synchronous=FULL. Entries are committed in groups, before any of them is
acknowledged. Each carries a hash over itself and all before it, so that damage to the file never
passes for a log. `sqlite3` is used directly: an insert through an ORM costs more than the order it
logs.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deltaroll.protocol.hashing import ZERO_HASH, keccak

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


class StoreError(Exception):
    """The store on disk is not the one of this rollup, or contradicts itself."""


@dataclass(frozen=True, slots=True)
class SealedChunk:
    """A chunk that will not change, ready to be posted."""

    number: int
    data: bytes
    signatures: bytes
    queue_end: int
    """Queue messages consumed up to and with this chunk."""
    transactions: int


class Store:
    """One sequencer's log, chunks and postings."""

    def __init__(self, path: Path | str, domain: bytes) -> None:
        """Open or create; StoreError when the file is no store or belongs to another rollup."""
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
        last = self._connection.execute(
            "SELECT sequence, chain FROM log ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        self._rewind: tuple[int, int] | None = None
        self.next_sequence: int = 0 if last is None else last[0] + 1
        self._chain: bytes = ZERO_HASH if last is None else last[1]

    def append(self, entry: bytes) -> int:
        """Add an entry to the open group and return its sequence number."""
        sequence = self.next_sequence
        self.next_sequence += 1
        self._chain = keccak(self._chain + entry)
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

    def flush(self) -> None:
        """Make the open group durable, all or nothing."""
        if not self._entries and not self._chunks:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
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
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._entries.clear()
        self._chunks.clear()
        self._rewind = None
        self._receipts.clear()

    def iterate_entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield durable entries in order.

        Raises
        ------
        StoreError
            At the first entry that is missing or not the one that was written.
        """
        chain = ZERO_HASH
        rows = self._connection.execute("SELECT * FROM log ORDER BY sequence")
        for expected, (sequence, entry, held) in enumerate(rows):
            chain = keccak(chain + entry)
            if sequence != expected or chain != held:
                raise StoreError(f"store: log entry {expected} is missing or damaged")
            yield sequence, entry

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
