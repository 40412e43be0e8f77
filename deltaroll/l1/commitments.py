"""Hashes that the L1 contracts compute too: the twin of `contracts/libraries/Commitments.sol`."""

from collections.abc import Sequence
from typing import Any

from eth_abi.abi import encode

from deltaroll.l1.types import Header, PostedChunk
from deltaroll.protocol.constants import CHUNK_DEPTH, EXIT_DEPTH
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.tree import MerkleTree
from deltaroll.protocol.types import Address, Message

HEADER_DOMAIN = keccak(b"deltaroll.header.v1")
CHUNK_DOMAIN = keccak(b"deltaroll.chunk.v1")
MESSAGE_DOMAIN = keccak(b"deltaroll.message.v1")

HEADER_ABI = (
    "(uint64,bytes32,bytes32,bytes32,uint32,uint64,uint64,bytes32,uint64,uint64,uint64,uint64,"
    "address,uint8,bytes32)"
)
BATCH_SUBMITTED_TOPIC = keccak(f"BatchSubmitted(uint64,bytes32,{HEADER_ABI})".encode())
PROPOSER_FIELD = 12
MAX_CHUNKS = 1 << CHUNK_DEPTH


def to_header_tuple(header: Header) -> tuple[object, ...]:
    """Return a header's fields in ABI order."""
    return (
        header.index,
        header.previous,
        header.post_root,
        header.chunks_root,
        header.chunk_count,
        header.queue_start,
        header.queue_end,
        header.queue_hash,
        header.l1_block,
        header.l1_time,
        header.l1_base_fee,
        header.l1_blob_fee,
        "0x" + header.proposer.hex(),
        header.data_mode,
        header.parameter_hash,
    )


def to_header(fields: Sequence[Any]) -> Header:
    """Return the header of fields in ABI order, as they are decoded."""
    values = list(fields)
    values[PROPOSER_FIELD] = Address(bytes.fromhex(values[PROPOSER_FIELD][2:]))
    return Header(*values)


def compute_header_hash(header: Header) -> bytes:
    """Return what the inbox stores for a batch."""
    return keccak(encode(["bytes32", HEADER_ABI], [HEADER_DOMAIN, to_header_tuple(header)]))


def compute_chunk_commitment(chunk: PostedChunk) -> bytes:
    """Return the commitment to one chunk."""
    return keccak(CHUNK_DOMAIN + keccak(chunk.data) + keccak(chunk.signatures) + chunk.post_root)


def compute_chunk_tree(chunks: Sequence[PostedChunk]) -> MerkleTree:
    """Return the tree of chunk commitments, at most MAX_CHUNKS."""
    tree = MerkleTree(CHUNK_DEPTH)
    tree.update({index: compute_chunk_commitment(chunk) for index, chunk in enumerate(chunks)})
    return tree


def compute_message_hash(message: Message) -> bytes:
    """Return the hash of a queue message."""
    return keccak(
        encode(
            ["bytes32", "uint8", "address", "uint64", "bytes32"],
            [MESSAGE_DOMAIN, message.kind, message.sender, message.time, keccak(message.body)],
        )
    )


def compute_queue_hash(previous: bytes, message: Message) -> bytes:
    """Return the queue's accumulator after one more message."""
    return keccak(previous + compute_message_hash(message))


def compress_branch(branch: Sequence[bytes]) -> tuple[int, list[bytes]]:
    """Return the map of non-zero siblings of an exit branch, and those siblings.

    Raises
    ------
    ValueError
        When the branch is not as deep as the exit tree.
    """
    if len(branch) != EXIT_DEPTH:
        raise ValueError(f"exit branch: {len(branch)} siblings instead of {EXIT_DEPTH}")
    sibling_map = 0
    siblings: list[bytes] = []
    for level, sibling in enumerate(branch):
        if sibling != ZERO_HASH:
            sibling_map |= 1 << level
            siblings.append(sibling)
    return sibling_map, siblings
