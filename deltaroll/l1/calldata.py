"""Reads a batch out of calldata exactly as the inbox does.

Solidity follows any offset that stays inside the calldata: backwards, overlapping, unaligned, with
junk between. A library that insists on the usual layout would be blind to a batch that is laid out
otherwise, and a fraud in it could not be proven. So nothing is judged here: what was read has to
match the header's commitment.
"""

from deltaroll.l1.types import PostedChunk

SELECTOR_BYTES = 4
WORD = 32
CHUNKS_FIELD = 22
"""Words before the chunks in `BatchInput`: 15 of the header, 3, 4 of the next message."""
MODULUS = 1 << 256


def get_word(calldata: bytes, place: int) -> int:
    """Return the 32 bytes at `place`, zero where calldata has ended."""
    return int.from_bytes(calldata[place : place + WORD].ljust(WORD, b"\x00"), "big")


def follow_offset(calldata: bytes, base: int, place: int) -> int:
    """Return where the offset at `place` leads, counted from `base` with wrap-around."""
    return (base + get_word(calldata, place)) % MODULUS


def get_bytes(calldata: bytes, base: int, place: int) -> bytes:
    """Return the byte string that the offset at `place` leads to."""
    start = follow_offset(calldata, base, place)
    length = get_word(calldata, start)
    return calldata[start + WORD : start + WORD + length]


def decode_chunks(calldata: bytes, count: int) -> tuple[PostedChunk, ...]:
    """Return the first `count` chunks of the calldata of a `submitBatch` that has succeeded."""
    batch = follow_offset(calldata, SELECTOR_BYTES, SELECTOR_BYTES)
    array = follow_offset(calldata, batch, batch + CHUNKS_FIELD * WORD) + WORD
    chunks = []
    for index in range(count):
        chunk = follow_offset(calldata, array, array + index * WORD)
        chunks.append(
            PostedChunk(
                get_bytes(calldata, chunk, chunk),
                get_bytes(calldata, chunk, chunk + WORD),
                get_word(calldata, chunk + 2 * WORD).to_bytes(WORD, "big"),
            )
        )
    return tuple(chunks)
