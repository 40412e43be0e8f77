"""The commitments of the L1 contracts, written a second time and as plainly as possible."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from eth_abi import encode
from eth_abi.packed import encode_packed
from eth_utils import keccak

ZERO = bytes(32)
CHUNK_DEPTH = 8
EXIT_DEPTH = 32

HEADER_TYPE = (
    "(uint64,bytes32,bytes32,bytes32,uint32,uint64,uint64,bytes32,"
    "uint64,uint64,uint64,uint64,address,uint8,bytes32)"
)


class Header(NamedTuple):
    index: int
    previous: bytes
    post_root: bytes
    chunks_root: bytes
    chunk_count: int
    queue_start: int
    queue_end: int
    queue_hash: bytes
    l1_block: int
    l1_time: int
    l1_base_fee: int
    l1_blob_fee: int
    proposer: str
    data_mode: int
    parameter_hash: bytes

    @property
    def hash(self) -> bytes:
        domain = keccak(text="deltaroll.header.v1")
        return keccak(encode(["bytes32", HEADER_TYPE], [domain, tuple(self)]))


class Chunk(NamedTuple):
    data: bytes
    signatures: bytes
    post_root: bytes

    @property
    def commitment(self) -> bytes:
        domain = keccak(text="deltaroll.chunk.v1")
        hashes = [keccak(self.data), keccak(self.signatures)]
        return keccak(encode(["bytes32"] * 4, [domain, *hashes, self.post_root]))


class Message(NamedTuple):
    kind: int
    sender: str
    time: int
    body_hash: bytes

    def extend(self, previous: bytes) -> bytes:
        """The queue's hash with this message on top."""
        domain = keccak(text="deltaroll.message.v1")
        types = ["bytes32", "uint8", "address", "uint64", "bytes32"]
        return keccak(previous + keccak(encode(types, [domain, *self])))


class Exit(NamedTuple):
    index: int
    asset: int
    recipient: str
    amount: int

    @property
    def leaf(self) -> bytes:
        fields = [0x45, self.asset, self.recipient, self.amount]
        return keccak(keccak(encode_packed(["uint8", "uint16", "address", "uint128"], fields)))


class Branch(NamedTuple):
    sibling_map: int
    siblings: list[bytes]


NO_MESSAGE = Message(0, "0x" + "00" * 20, 0, ZERO)
NO_BRANCH = [ZERO] * CHUNK_DEPTH


def hash_node(left: bytes, right: bytes) -> bytes:
    """Empty subtrees hash to zero at every level."""
    return ZERO if left == right == ZERO else keccak(left + right)


def tree_levels(leaves: Mapping[int, bytes], depth: int) -> list[dict[int, bytes]]:
    """The non-empty nodes of a tree, level by level from the leaves up to the root."""
    levels = [dict(leaves)]
    for _ in range(depth):
        below = levels[-1]
        parents = {index >> 1 for index in below}
        levels.append(
            {i: hash_node(below.get(2 * i, ZERO), below.get(2 * i + 1, ZERO)) for i in parents}
        )
    return levels


def tree_branch(levels: Sequence[Mapping[int, bytes]], index: int) -> list[bytes]:
    """Siblings from the leaf up."""
    return [level.get((index >> n) ^ 1, ZERO) for n, level in enumerate(levels[:-1])]


def chunk_levels(commitments: Sequence[bytes]) -> list[dict[int, bytes]]:
    return tree_levels(dict(enumerate(commitments)), CHUNK_DEPTH)


def exit_levels(exits: Sequence[Exit]) -> list[dict[int, bytes]]:
    return tree_levels({item.index: item.leaf for item in exits}, EXIT_DEPTH)


def compress(siblings: Sequence[bytes]) -> Branch:
    """A branch as `claimExit` takes it: empty subtrees are left out."""
    sibling_map = sum(1 << n for n, sibling in enumerate(siblings) if sibling != ZERO)
    return Branch(sibling_map, [sibling for sibling in siblings if sibling != ZERO])


def encode_globals(exits_root: bytes, blob_fee_level: int = 0) -> bytes:
    """A state of which only the exit root matters to L1; its blob fee level tells two apart."""
    roots = [keccak(text="accounts"), keccak(text="markets"), exits_root]
    counts = [(1_000, 4), (1_000, 4), (1_800_000_000, 5), (5_000, 8)]
    money = [(10**12, 16), (10**12, 16), (10**10, 16), (10**15, 16), (10**13, 16)]
    fees = [(3, 8), (10**9, 8), (blob_fee_level, 8), (10**9, 8)]
    fields = [value.to_bytes(size, "big") for value, size in counts + money + fees]
    return b"\x47\x02" + b"".join(roots + fields)
