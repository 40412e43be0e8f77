"""keccak256, the only hash of the protocol."""

from sha3 import keccak_256

ZERO_HASH = bytes(32)
"""Hash of an empty leaf and of every empty subtree."""


def keccak(data: bytes) -> bytes:
    """Return the 32-byte keccak256 of `data`."""
    digest: bytes = keccak_256(data).digest()
    return digest
