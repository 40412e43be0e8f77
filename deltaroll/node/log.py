"""The durable log as a sequencer sees it, whatever carries it.

`Log` is the one interface: the SQLite store (`node/store.py`) is behind it, an engine that
replicates can be. A log numbers entries without a gap, takes them in groups that are durable whole
or not at all, and never gives back anything but what was put in: each entry is chained by a hash to
all before it. Chunks and receipts go along in the same group, so that neither can be there without
its entry.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from deltaroll.protocol.hashing import ZERO_HASH, keccak


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


@dataclass(frozen=True, slots=True)
class Cut:
    """The end of a log that was damaged, and is gone from it."""

    first: int
    """The first entry that is gone."""
    entries: int | None
    """How many records were there from that one on; None: they cannot be read."""
    aside: str
    """Where they are kept."""


class Log(Protocol):
    """One sequencer's log with what follows from it, for one writer."""

    @property
    def next_sequence(self) -> int:
        """Number of the next entry; those before it are 0, 1, 2..."""

    def append(self, entry: bytes) -> int:
        """Add an entry to the open group and return its sequence number."""

    def seal(self, chunk: SealedChunk) -> None:
        """Add a chunk to the open group."""

    def keep_receipt(self, sequence: int, receipt: bytes) -> None:
        """Add the receipt of an entry to the open group."""

    def rewind(self, sequence: int, chunk: int) -> None:
        """Have the open group take the place of the chunks from `chunk` on; `sequence` is that of
        the entry that says so."""

    def flush(self) -> None:
        """Make the open group durable, all or nothing.

        Raises
        ------
        StoreError
            When it is not durable: nothing of it may be acknowledged.
        """

    def repair(self) -> Cut | None:
        """Look at every record; cut a damaged end off and keep it aside.

        Returns what was cut, now or before, until `finish_cut`; None for a log that is whole. Only
        its writer may call it, before anything else.

        Raises
        ------
        StoreError
            When a record is damaged that good ones follow: nothing was changed.
        """

    def finish_cut(self, chunks: int) -> None:
        """Keep only so many chunks: those that what is left of a cut log explains."""

    def iterate_entries(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield durable entries in order, from number `first` on.

        Raises
        ------
        StoreError
            At the first entry that is missing or not the one that was written.
        """

    def iterate_rebases(self) -> Iterator[tuple[int, bytes]]:
        """Yield the durable entries that undo others, in order."""

    def get_chain(self, sequence: int) -> bytes | None:
        """Return the hash over the durable entries before a number; None when they are not all
        there."""

    def count_chunks(self) -> int:
        """Return how many chunks are durable."""

    def get_chunk(self, number: int) -> SealedChunk | None:
        """Return a durable chunk, None when there is none of this number."""

    def get_receipt(self, sequence: int) -> bytes | None:
        """Return the receipt of an entry, None when it has none."""

    def get_next_chunk(self, header_hash: bytes) -> int | None:
        """Return the first chunk after a batch; None when it was not posted from this log."""

    def close(self) -> None:
        """Flush and close."""


Record = tuple[int, bytes, bytes]
"""(Sequence number, entry, hash over this entry and all before it)."""


def extend(chain: bytes, entry: bytes) -> bytes:
    """Return the hash over an entry and all before it."""
    return keccak(chain + entry)


def find_damage(records: Iterable[Record]) -> int | None:
    """Return the number of the first record that is missing or not what was written, where only
    such follow; None when all are good.

    Raises
    ------
    StoreError
        When a good one follows: then it is not the end of the log that is damaged.
    """
    chain = ZERO_HASH
    expected = 0
    bad: int | None = None
    held_before = computed_before = ZERO_HASH
    for sequence, entry, held in records:
        if bad is None:
            computed = extend(chain, entry)
            if sequence == expected and computed == held:
                chain = held
                expected += 1
                continue
            bad = expected
        else:
            computed = extend(held_before, entry)
            # It follows from its predecessor's hash, or from the hash that this should have.
            if held in (computed, extend(computed_before, entry)):
                raise StoreError(
                    f"store: log entry {bad} is missing or damaged, and entry {sequence} after it "
                    "is not: this is no torn end; restore the store from a backup"
                )
        held_before, computed_before = held, computed
    return bad
