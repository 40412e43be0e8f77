"""Mutants of the Python protocol: what they are, and that records notice them."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from functools import cache

import pytest

from tests.mutation import oracle
from tests.mutation.processes import KILLED, SURVIVED, judge
from tests.mutation.python_mutants import Mutant, generate, iterate_mutants
from tests.mutation.run import PYTHON, read_explained, read_open
from tests.mutation.sampling import sample

SOURCE = '''
def clip(value, limit=4):
    """Text."""
    if value > limit and not value == 9:
        log(value, "big")
        return limit - 1
    raise ValueError(f"{value} is small")
'''
CHANGES = (
    "4 -> 5",
    "value > limit -> value >= limit",
    "value == 9 -> value != 9",
    "9 -> 10",
    "not value == 9 -> value == 9",
    "value > limit and (not value == 9) -> value > limit or not value == 9",
    "value > limit and (not value == 9) -> not (value > limit and (not value == 9))",
    "log(value, 'big') -> log(None, 'big')",
    "log(value, 'big') -> log('big')",
    "log(value, 'big') -> log(value, None)",
    "log(value, 'big') -> pass",
    "'big' -> 'XXbigXX'",
    "limit - 1 -> limit + 1",
    "1 -> 2",
    "return limit - 1 -> return None",
    "-> pass",
    "ValueError(f'{value} is small') -> ValueError(None)",
    "ValueError(f'{value} is small') -> ValueError()",
)


@cache
def records() -> list[oracle.Record]:
    return oracle.record(1, 60)


def parse() -> list[Mutant]:
    tree = ast.parse(SOURCE).body[0]
    assert isinstance(tree, ast.FunctionDef)
    return list(iterate_mutants("module", "clip", tree))


def test_iterate_mutants__a_function__every_change_once() -> None:
    keys = [mutant.key for mutant in parse()]
    assert len(keys) == len(CHANGES)
    for change in CHANGES:
        assert sum(key.endswith(change) for key in keys) >= 1, change


@pytest.mark.parametrize("place", range(len(CHANGES)))
def test_compile__a_mutant__is_another_function(place: int) -> None:
    original = ast.dump(ast.parse(SOURCE))
    assert ast.dump(parse()[place].compile()) != original


def test_generate__whole_protocol__keys_are_unique() -> None:
    counts = Counter(mutant.key for mutant in generate())
    assert max(counts.values()) == 1
    assert len(counts) > 10_000


def test_read_explained__every_key__is_a_mutant() -> None:
    assert read_explained(PYTHON) | read_open(PYTHON) <= {mutant.key for mutant in generate()}


def test_find_function__every_mutant__is_of_a_function() -> None:
    for mutant in generate():
        oracle.find_function(vars(sys.modules[oracle.PREFIX + mutant.module]), mutant.function)


def test_plant__default_that_raises__stillborn() -> None:
    key = "| MarketId(0) -> MarketId()"
    (mutant, *_) = (item for item in generate() if item.key.endswith(key))
    with pytest.raises(oracle.StillbornError):
        oracle.plant(mutant)


def test_differs__no_mutant__does_not() -> None:
    ((_, code),) = judge([records()], lambda item: int(oracle.differs(item)), 1, 60)
    assert code == 0


def test_differs__mutants_of_what_every_chunk_executes__are_noticed() -> None:
    every = [item for item in generate() if item.key.startswith("transition.process_chunk:")]

    def replay(mutant: Mutant) -> int:
        oracle.plant(mutant)
        return KILLED if oracle.differs(records()) else SURVIVED

    codes = [code for _, code in judge(sample(every, 12, 1), replay, 1, 60)]
    assert codes.count(SURVIVED) <= 1
