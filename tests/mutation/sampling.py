"""Samples that come out the same for everybody, and grow without letting go of anything."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Named(Protocol):
    """Something with a name of its own."""

    @property
    def key(self) -> str:
        """The name."""


Item = TypeVar("Item", bound=Named)


def sample(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """Return so many, in order; all of them for 0.

    A larger sample holds a smaller one, and who is drawn does not depend on what else there is
    more than it must: after a change of the code a sample is mostly what it was.
    """
    if not count or count >= len(items):
        return list(items)

    def draw(place: int) -> bytes:
        return hashlib.sha256(f"{seed}:{items[place].key}".encode()).digest()

    chosen = sorted(sorted(range(len(items)), key=draw)[:count])
    return [items[place] for place in chosen]
