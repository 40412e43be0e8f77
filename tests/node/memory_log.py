"""A log without SQLite: what the interface says is all that a sequencer needs."""

from collections.abc import Iterator

from deltaroll.node.log import Cut, SealedChunk, extend
from deltaroll.protocol.hashing import ZERO_HASH


class MemoryLog:
    """A log that lasts as long as its process, under the rules of a durable one."""

    def __init__(self) -> None:
        self.next_sequence: int = 0
        self._records: list[tuple[bytes, bytes]] = []
        self._chunks: dict[int, SealedChunk] = {}
        self._receipts: dict[int, bytes] = {}
        self._rebases: list[int] = []
        self._entries: list[bytes] = []
        self._sealed: list[SealedChunk] = []
        self._signed: dict[int, bytes] = {}
        self._rewound: tuple[int, int] | None = None

    def append(self, entry: bytes) -> int:
        """As `Log`; so do the others."""
        self._entries.append(entry)
        self.next_sequence += 1
        return self.next_sequence - 1

    def seal(self, chunk: SealedChunk) -> None:
        """Add a chunk."""
        self._sealed.append(chunk)

    def keep_receipt(self, sequence: int, receipt: bytes) -> None:
        """Add a receipt."""
        self._signed[sequence] = receipt

    def rewind(self, sequence: int, chunk: int) -> None:
        """Replace chunks."""
        self._rewound = sequence, chunk

    def flush(self) -> None:
        """Keep the group."""
        if self._rewound is not None:
            sequence, first = self._rewound
            self._rebases.append(sequence)
            self._chunks = {one: held for one, held in self._chunks.items() if one < first}
        chain = self._records[-1][1] if self._records else ZERO_HASH
        for entry in self._entries:
            chain = extend(chain, entry)
            self._records.append((entry, chain))
        self._chunks.update({chunk.number: chunk for chunk in self._sealed})
        self._receipts.update(self._signed)
        self._entries, self._sealed, self._signed, self._rewound = [], [], {}, None

    def repair(self) -> Cut | None:
        """Find nothing: memory does not tear."""
        return None

    def finish_cut(self, chunks: int) -> None:
        """Drop chunks."""
        self._chunks = {one: held for one, held in self._chunks.items() if one < chunks}

    def iterate_entries(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield entries."""
        for sequence in range(first, len(self._records)):
            yield sequence, self._records[sequence][0]

    def iterate_rebases(self) -> Iterator[tuple[int, bytes]]:
        """Yield entries that undo others."""
        for sequence in self._rebases:
            yield sequence, self._records[sequence][0]

    def get_chain(self, sequence: int) -> bytes | None:
        """Return a hash."""
        if sequence == 0:
            return ZERO_HASH
        return self._records[sequence - 1][1] if 0 < sequence <= len(self._records) else None

    def count_chunks(self) -> int:
        """Count chunks."""
        return len(self._chunks)

    def get_chunk(self, number: int) -> SealedChunk | None:
        """Return a chunk."""
        return self._chunks.get(number)

    def get_receipt(self, sequence: int) -> bytes | None:
        """Return a receipt."""
        return self._signed.get(sequence) or self._receipts.get(sequence)

    def get_next_chunk(self, header_hash: bytes) -> int | None:
        """Nothing was posted."""
        return None

    def close(self) -> None:
        """Keep the group."""
        self.flush()
