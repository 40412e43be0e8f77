"""Which rollup a client trades on: everything that is signed is signed for it and no other."""

from dataclasses import dataclass
from pathlib import Path

from deltaroll.l1.registry import decode_registry
from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.types import Address


@dataclass(frozen=True, slots=True)
class Rollup:
    """A deployment on L1."""

    chain_id: int
    inbox: str
    """Address of its RollupInbox."""
    first_block: int = 0
    """The first L1 block that any of it is in: events are not looked for before it."""

    @property
    def domain(self) -> bytes:
        """EIP-712 domain separator."""
        return compute_domain_separator(self.chain_id, Address(bytes.fromhex(self.inbox[2:])))

    @classmethod
    def read(cls, path: str | Path) -> "Rollup":
        """Return the rollup of a registry file, as `ape run deploy` writes it.

        Raises
        ------
        RegistryError
            When the file is malformed or names no inbox.
        OSError
            When it cannot be read.
        """
        registry = decode_registry(Path(path))
        return cls(registry.chain_id, registry.get_address("RollupInbox"), registry.block)
