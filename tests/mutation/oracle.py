"""What notices a mutant: the recorded outcomes of random chunks, then the unit tests.

The outcomes are those on which both implementations agree (`make fuzz`), so whoever changes one of
them changes what Solidity says.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from types import FunctionType
from typing import Any

from deltaroll.protocol.codec import decode_chunk, encode_chunk
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.signatures import compute_chunk_requests
from deltaroll.protocol.state import State, compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import Context
from deltaroll.protocol.witness import encode_witness
from tests.protocol.strategies import Case, generate_case
from tests.protocol.verifiers import case_rng

PACKAGE = "deltaroll.protocol."


@dataclass(frozen=True, slots=True)
class Record:
    """A chunk and what comes of it."""

    state: State
    data: bytes
    context: Context
    outcome: tuple[Any, ...]


def run(state: State, data: bytes, context: Context) -> tuple[Any, ...]:
    """Return both roots, fault, a digest of the witness, the meter, and what the codec says."""
    before = compute_state_root(state)
    fault = 0
    root = b""
    state.begin()
    try:
        process_chunk(state, data, context)
        root = compute_state_root(state)
    except TransitionFault as problem:
        fault = problem.fault
    meter = state.meter
    state.rollback()
    witness = keccak(encode_witness(state, meter))
    try:
        clock, transactions = decode_chunk(data)
        again: Any = encode_chunk(clock, transactions)
        asked = keccak(repr(compute_chunk_requests(data)).encode())
    except TransitionFault as problem:
        again, asked = int(problem.fault), b""
    return before, fault, root, witness, meter.gas, meter.witness, again, asked


def record(seed: int, count: int) -> list[Record]:
    """Return the records of a seed's first cases."""
    records = []
    for number in range(count):
        case: Case = generate_case(case_rng(seed, number))
        pristine = deepcopy(case.state)
        compute_state_root(case.state)
        outcome = run(case.state, case.data, case.context)
        # Half of them hash from scratch. Cases may share what is in their states.
        state = pristine if number % 2 else deepcopy(case.state)
        records.append(Record(state, case.data, case.context, outcome))
    return records


def differs(records: Iterable[Record]) -> bool:
    """Whether any outcome is another than recorded. An exception that is no fault is one."""
    for item in records:
        try:
            if run(item.state, item.data, item.context) != item.outcome:
                return True
        except Exception:  # noqa: BLE001 - whatever a mutant raises gives it away
            return True
    return False


def find_function(module: str, name: str) -> FunctionType:
    """Return the function object that everybody holds a reference to."""
    found: Any = sys.modules[PACKAGE + module]
    for part in name.split("."):
        found = vars(found)[part]
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, (classmethod, staticmethod)):
        found = found.__func__
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    assert isinstance(found, FunctionType)
    return found


def plant(module: str, name: str, source: str) -> None:
    """Put a mutant in its function's place, for every reference to it; forget what was cached."""
    function = find_function(module, name)
    scope = dict(function.__globals__)
    code = compile(source, f"<mutant of {name}>", "exec", dont_inherit=True)
    exec(code, scope)
    mutant = scope[name.rpartition(".")[2]]
    function.__code__ = mutant.__code__
    function.__defaults__ = mutant.__defaults__
    function.__kwdefaults__ = mutant.__kwdefaults__
    for other in list(sys.modules.values()):
        if other.__name__.startswith(PACKAGE):
            for member in vars(other).values():
                if isinstance(member, functools._lru_cache_wrapper):
                    member.cache_clear()


def sample(mutants: Sequence[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """Return so many mutants, in order; all of them for 0."""
    if not count or count >= len(mutants):
        return list(mutants)
    chosen = sorted(Random(seed).sample(range(len(mutants)), count))
    return [mutants[place] for place in chosen]
