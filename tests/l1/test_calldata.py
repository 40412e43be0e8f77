"""Whatever layout of calldata the inbox accepts, the gateway reads the same batch out of it."""

from collections.abc import Callable, Sequence
from functools import cache

import pytest
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.l1.calldata import CHUNKS_FIELD, MODULUS, WORD, decode_chunks
from deltaroll.l1.commitments import compute_chunk_tree, to_header_tuple
from deltaroll.l1.gateway import BATCH_INPUT_ABI, SUBMIT_BATCH_SELECTOR
from deltaroll.l1.types import BatchSubmitted, Header, PostedChunk
from deltaroll.protocol.hashing import ZERO_HASH
from tests.l1.inbox import Inbox, RevertedError

NEVER = 2**64 - 1
NO_MESSAGE = (0, "0x" + bytes(20).hex(), 0, ZERO_HASH)
START = 4 + WORD
"""Selector, and the offset of the batch."""


@cache
def get_inbox() -> Inbox:
    return Inbox()


def get_head() -> list[bytes]:
    """The words of `BatchInput` before the chunks."""
    arguments = (to_header_tuple(get_inbox().genesis.header), 0, ZERO_HASH, NEVER, NO_MESSAGE, [])
    usual = encode([BATCH_INPUT_ABI], [arguments])
    return [usual[WORD * (place + 1) :][:WORD] for place in range(CHUNKS_FIELD)]


def to_word(value: int) -> bytes:
    return (value % MODULUS).to_bytes(WORD, "big")


def lay_out(
    chunks: Sequence[PostedChunk],
    order: Sequence[int] = (),
    gaps: Sequence[int] = (),
    junk: int = 0xAA,
) -> bytes:
    """Calldata of a batch: its parts in any order with junk between them, every offset right."""
    parts: dict[str, int] = {"batch": (CHUNKS_FIELD + 1) * WORD, "array": (1 + len(chunks)) * WORD}
    for index, chunk in enumerate(chunks):
        parts[f"chunk {index}"] = 3 * WORD
        parts[f"data {index}"] = WORD + len(chunk.data)
        parts[f"signatures {index}"] = WORD + len(chunk.signatures)
    names = sorted(parts, key=dict(zip(parts, order, strict=False)).get) if order else list(parts)
    place = START
    at: dict[str, int] = {}
    for turn, name in enumerate(names):
        place += gaps[turn % len(gaps)] if gaps else 0
        at[name] = place
        place += parts[name]
    calldata = bytearray([junk]) * place
    calldata[:START] = SUBMIT_BATCH_SELECTOR + to_word(at["batch"] - 4)

    def put(start: int, *words: bytes) -> None:
        content = b"".join(words)
        calldata[start : start + len(content)] = content

    put(at["batch"], *get_head(), to_word(at["array"] - at["batch"]))
    elements = at["array"] + WORD
    heads = [to_word(at[f"chunk {index}"] - elements) for index in range(len(chunks))]
    put(at["array"], to_word(len(chunks)), *heads)
    for index, chunk in enumerate(chunks):
        base = at[f"chunk {index}"]
        offsets = [to_word(at[f"{part} {index}"] - base) for part in ("data", "signatures")]
        put(base, *offsets, chunk.post_root)
        put(at[f"data {index}"], to_word(len(chunk.data)), chunk.data)
        put(at[f"signatures {index}"], to_word(len(chunk.signatures)), chunk.signatures)
    return bytes(calldata)


def submit(calldata: bytes) -> Header | None:
    """The header that the inbox makes of calldata; None when it reverts."""
    inbox = get_inbox()
    with inbox.undone():
        try:
            (event,) = inbox.transact(inbox.inbox, calldata)
        except RevertedError:
            return None
    assert isinstance(event, BatchSubmitted)
    return event.header


def check(calldata: bytes) -> tuple[PostedChunk, ...] | None:
    """The inbox's and the gateway's reading agree; return it."""
    header = submit(calldata)
    if header is None:
        return None
    chunks = decode_chunks(calldata, header.chunk_count)
    assert compute_chunk_tree(chunks).root == header.chunks_root
    assert chunks[-1].post_root == header.post_root
    return chunks


chunk_lists = st.lists(
    st.builds(
        PostedChunk,
        st.binary(min_size=1, max_size=70),
        st.binary(max_size=130),
        st.binary(min_size=32, max_size=32).filter(any),
    ),
    min_size=1,
    max_size=4,
)
CHUNKS = [
    PostedChunk(b"\x01" * 40, b"\x02" * 64, b"\x03" * 32),
    PostedChunk(b"\x04" * 7, b"", b"\x05" * 32),
]


@settings(deadline=None, max_examples=60)
@given(chunks=chunk_lists)
def test_decode_chunks__usual_layout__is_what_was_encoded(chunks):
    rows = [(one.data, one.signatures, one.post_root) for one in chunks]
    head = (to_header_tuple(get_inbox().genesis.header), 0, ZERO_HASH, NEVER, NO_MESSAGE, rows)
    calldata = SUBMIT_BATCH_SELECTOR + encode([BATCH_INPUT_ABI], [head])
    assert decode_chunks(calldata, len(chunks)) == tuple(chunks)
    assert check(calldata) == tuple(chunks)


@settings(deadline=None, max_examples=120)
@given(
    chunks=chunk_lists,
    dice=st.randoms(use_true_random=False),
    gaps=st.lists(st.integers(0, 70), max_size=4),
    junk=st.integers(0, 255),
)
def test_decode_chunks__parts_in_any_order__is_what_was_encoded(chunks, dice, gaps, junk):
    """Backwards, unaligned, with junk between: the inbox takes it all."""
    order = list(range(2 + 3 * len(chunks)))
    dice.shuffle(order)
    calldata = lay_out(chunks, order, gaps, junk)
    assert check(calldata) == tuple(chunks)


def get_offset_places(calldata: bytes) -> list[int]:
    """Where a straight layout has its offsets and lengths."""
    array = START + (CHUNKS_FIELD + 1) * WORD
    return [
        4,
        START + CHUNKS_FIELD * WORD,
        *range(array, array + (1 + len(CHUNKS)) * WORD, WORD),
        *(place for place in range(array + 3 * WORD, len(calldata) - WORD, WORD)),
    ]


@settings(deadline=None, max_examples=250)
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, 30),
            st.integers(-700, 900) | st.integers(0, 2) | st.integers(0, MODULUS - 1),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_decode_chunks__any_offset_or_length__same_as_the_inbox_or_it_reverts(changes):
    calldata = bytearray(lay_out(CHUNKS))
    places = get_offset_places(bytes(calldata))
    for which, value in changes:
        place = places[which % len(places)]
        calldata[place : place + WORD] = to_word(value)
    check(bytes(calldata))


def alias_signatures(calldata: bytearray, chunk: int) -> None:
    """The offset of the signatures is also their length: 0x20 bytes, its own next word."""
    calldata[chunk + WORD : chunk + 2 * WORD] = to_word(WORD)


def share_a_word(calldata: bytearray, chunk: int) -> None:
    """The data starts in the middle of the head of its own chunk."""
    calldata[chunk : chunk + WORD] = to_word(WORD + 31)


@pytest.mark.parametrize("twist", [alias_signatures, share_a_word])
def test_decode_chunks__layout_that_a_library_refuses__is_read(
    twist: Callable[[bytearray, int], None],
):
    """A liar could hide a batch from every challenger that decodes it with eth_abi."""
    calldata = bytearray(lay_out(CHUNKS[:1]))
    twist(calldata, START + (CHUNKS_FIELD + 1) * WORD + 2 * WORD)
    chunks = check(bytes(calldata))
    with pytest.raises(DecodingError):
        decode([BATCH_INPUT_ABI], bytes(calldata[4:]), strict=False)
    if twist is alias_signatures:
        assert chunks is not None
        assert len(chunks[0].signatures) == WORD


def test_decode_chunks__backward_offset__is_read_though_a_library_refuses():
    order = list(range(2 + 3))
    calldata = lay_out(CHUNKS[:1], order[::-1])
    assert check(calldata) == tuple(CHUNKS[:1])
    with pytest.raises((DecodingError, OverflowError)):
        decode([BATCH_INPUT_ABI], calldata[4:], strict=False)


@pytest.mark.parametrize("calldata", [b"", b"\x01\x02", b"\xff" * 300, bytes(900)])
def test_decode_chunks__no_batch_at_all__is_total(calldata):
    assert len(decode_chunks(calldata, 3)) == 3
