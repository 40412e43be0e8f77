"""Fixed-depth binary Merkle trees in which every empty subtree hashes to zero.

An inner node hashes 64 bytes, a leaf hashes the 32-byte hash of its encoding (`leaf.hash_leaf`):
neither can pass as the other. A zero hash has no known preimage, so "empty" cannot be faked either.
"""

from collections.abc import Iterable, Mapping, Sequence

from deltaroll.protocol.hashing import ZERO_HASH, keccak


def hash_pair(left: bytes, right: bytes) -> bytes:
    """Return the parent of two nodes; zero when both are zero."""
    if left == ZERO_HASH and right == ZERO_HASH:
        return ZERO_HASH
    return keccak(left + right)


def compute_root_from_branch(leaf: bytes, index: int, branch: Sequence[bytes]) -> bytes:
    """Return the root above `leaf` at `index`; `branch` holds the siblings from the bottom up."""
    node = leaf
    for sibling in branch:
        node = hash_pair(sibling, node) if index & 1 else hash_pair(node, sibling)
        index >>= 1
    return node


def compute_root_from_multiproof(
    indices: Sequence[int], leaves: Sequence[bytes], siblings: Sequence[bytes], depth: int
) -> bytes:
    """Return the root above several leaves.

    Parameters
    ----------
    indices
        Strictly ascending positions of the leaves, at least one.
    siblings
        Nodes that the leaves do not determine: level by level from the bottom, each level from left
        to right. All of them are used, else ValueError.
    """
    level = list(zip(indices, leaves, strict=True))
    cursor = 0
    for _ in range(depth):
        parents: list[tuple[int, bytes]] = []
        position = 0
        while position < len(level):
            index, node = level[position]
            position += 1
            if index & 1 == 0 and position < len(level) and level[position][0] == index + 1:
                parent = hash_pair(node, level[position][1])
                position += 1
            else:
                if cursor == len(siblings):
                    raise ValueError("multiproof: a sibling is missing")
                sibling = siblings[cursor]
                cursor += 1
                parent = hash_pair(sibling, node) if index & 1 else hash_pair(node, sibling)
            parents.append((index >> 1, parent))
        level = parents
    if cursor != len(siblings):
        raise ValueError("multiproof: a sibling is left over")
    return level[0][1]


class MerkleTree:
    """A sparse tree that re-hashes only what changed."""

    __slots__ = ("_levels", "depth")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._levels: list[dict[int, bytes]] = [{} for _ in range(depth + 1)]

    @property
    def root(self) -> bytes:
        """Root of what `update` was told."""
        return self._levels[self.depth].get(0, ZERO_HASH)

    def get_leaf(self, index: int) -> bytes:
        """Return the leaf hash at `index`, zero when empty."""
        return self._levels[0].get(index, ZERO_HASH)

    def update(self, leaves: Mapping[int, bytes]) -> bytes:
        """Write leaf hashes by position and return the new root."""
        below = self._levels[0]
        for index, node in leaves.items():
            _put(below, index, node)
        dirty: Iterable[int] = {index >> 1 for index in leaves}
        for level in self._levels[1:]:
            for parent in dirty:
                left = below.get(parent * 2, ZERO_HASH)
                right = below.get(parent * 2 + 1, ZERO_HASH)
                _put(level, parent, hash_pair(left, right))
            dirty = {parent >> 1 for parent in dirty}
            below = level
        return self.root

    def get_branch(self, index: int) -> list[bytes]:
        """Return the siblings of one leaf from the bottom up."""
        return [
            self._levels[height].get((index >> height) ^ 1, ZERO_HASH)
            for height in range(self.depth)
        ]

    def get_multiproof(self, indices: Sequence[int]) -> list[bytes]:
        """Return the siblings that `compute_root_from_multiproof` needs for `indices`."""
        siblings: list[bytes] = []
        current = list(indices)
        for level in self._levels[:-1]:
            present = set(current)
            siblings.extend(
                level.get(index ^ 1, ZERO_HASH) for index in current if index ^ 1 not in present
            )
            current = sorted({index >> 1 for index in current})
        return siblings


def _put(level: dict[int, bytes], index: int, node: bytes) -> None:
    if node == ZERO_HASH:
        level.pop(index, None)
    else:
        level[index] = node
