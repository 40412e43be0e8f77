"""Samples that come out the same for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

Item = TypeVar("Item")


def sample(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """Return so many, in order; all of them for 0."""
    if not count or count >= len(items):
        return list(items)
    chosen = sorted(Random(seed).sample(range(len(items)), count))
    return [items[place] for place in chosen]
