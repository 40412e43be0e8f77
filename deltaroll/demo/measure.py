"""What a chunk's bytes are spent on."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from deltaroll.protocol.codec import decode_header, decode_transaction
from deltaroll.protocol.types import Transaction

ZERO_BYTE_GAS = 10
OTHER_BYTE_GAS = 40
"""The calldata floor of EIP-7623."""


@dataclass(slots=True)
class Usage:
    """Bits and counts by kind of transaction."""

    bits: dict[type[Transaction], Fraction] = field(default_factory=dict)
    counts: dict[type[Transaction], int] = field(default_factory=dict)

    def bytes_each(self, kind: type[Transaction]) -> Fraction:
        """Return bytes per transaction of a kind, its share of the chunk's head included."""
        count = self.counts.get(kind, 0)
        return self.bits[kind] / 8 / count if count else Fraction(0)


def measure_chunks(chunks: Iterable[bytes]) -> Usage:
    """Return the usage of chunk data; signatures stand elsewhere and are not part of it.

    Clock, tables, end mark and padding are shared out in proportion to each transaction's own bits.
    """
    usage = Usage()
    for data in chunks:
        decoder = decode_header(data)
        spent: list[tuple[type[Transaction], int]] = []
        start = decoder.reader.position
        while (transaction := decode_transaction(decoder)) is not None:
            spent.append((type(transaction), decoder.reader.position - start))
            start = decoder.reader.position
        own = sum(bits for _, bits in spent)
        for kind, bits in spent:
            share = Fraction(bits * len(data) * 8, own)
            usage.bits[kind] = usage.bits.get(kind, Fraction(0)) + share
            usage.counts[kind] = usage.counts.get(kind, 0) + 1
    return usage


def compute_calldata_gas(data: bytes) -> int:
    """Return what bytes cost as calldata where the floor binds."""
    zeros = data.count(0)
    return zeros * ZERO_BYTE_GAS + (len(data) - zeros) * OTHER_BYTE_GAS
