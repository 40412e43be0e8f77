"""Samples of mutants."""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutation.sampling import sample


@dataclass(frozen=True, slots=True)
class Thing:
    key: str


THINGS = [Thing(str(number)) for number in range(500)]


def test_sample__larger_count__holds_the_smaller_sample() -> None:
    small, large = sample(THINGS, 40, 1), sample(THINGS, 200, 1)
    assert len(small) == 40
    assert set(small) < set(large)
    assert large == sorted(large, key=THINGS.index)


def test_sample__other_seed__another_sample() -> None:
    assert sample(THINGS, 40, 1) != sample(THINGS, 40, 2)


def test_sample__some_things_gone__others_stay() -> None:
    kept = THINGS[10:]
    assert len(set(sample(THINGS, 40, 1)) - set(sample(kept, 40, 1))) <= 10


def test_sample__no_count_or_more_than_there_are__everything() -> None:
    assert sample(THINGS, 0, 1) == sample(THINGS, 501, 1) == THINGS
