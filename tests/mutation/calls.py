"""A call of a contract, as it is replayed for mutants."""

from __future__ import annotations

from dataclasses import dataclass

Outcome = bytes | tuple[str, bytes]
"""What a call returned, or the first bytes of what it reverted with."""


@dataclass(frozen=True, slots=True)
class Call:
    """A proof, and what comes of it."""

    contract: str
    data: bytes
    queue: tuple[tuple[int, bytes], ...]
    """What the queue holds around the messages that it consumes."""
    outcome: Outcome
