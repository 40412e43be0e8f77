"""What notices a mutant of the Python protocol first: the recorded outcomes of random chunks.

The outcomes are those on which both implementations agree (`make fuzz`), so whoever changes one of
them changes what Solidity says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

from deltaroll.protocol.codec import decode_chunk, encode_chunk
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.signatures import compute_chunk_requests
from deltaroll.protocol.state import State, compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import Context
from deltaroll.protocol.witness import encode_witness
from tests.mutation.python_mutants import PACKAGE, Mutant
from tests.protocol.strategies import Case, generate_case
from tests.protocol.verifiers import case_rng

PREFIX = "deltaroll.protocol."
Line = tuple[str, int]
"""A module of the protocol and a line of it."""


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


def trace(records: Sequence[Record]) -> dict[Line, list[int]]:
    """Return which records execute a line of the protocol. All of them must replay.

    States remember what they have computed: call it in a process that is not needed any more.
    """
    found: dict[Line, list[int]] = {}
    package = str(PACKAGE)
    lines: set[tuple[str, int]] = set()

    def trace_line(frame: FrameType, event: str, argument: object) -> Any:
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace_line

    def trace_call(frame: FrameType, event: str, argument: object) -> Any:
        return trace_line(frame, event, argument) if inside(frame) else None

    def inside(frame: FrameType) -> bool:
        return frame.f_code.co_filename.startswith(package)

    for number, item in enumerate(records):
        lines.clear()
        sys.settrace(trace_call)
        is_other = differs([item])
        sys.settrace(None)
        assert not is_other, "a record does not replay without a mutant"
        for path, line in lines:
            found.setdefault((Path(path).stem, line), []).append(number)
    return found


def select(
    records: Sequence[Record], traced: dict[Line, list[int]], mutant: Mutant
) -> list[Record]:
    """Return the records that execute what a mutant changes."""
    numbers = {
        number
        for line in range(mutant.first, mutant.last + 1)
        for number in traced.get((mutant.module, line), ())
    }
    return [records[number] for number in sorted(numbers)]


def find_function(scope: Any, name: str) -> FunctionType:
    """Return the function object that everybody holds a reference to."""
    *outer, last = name.split(".")
    for part in outer:
        scope = vars(scope[part])
    found: Any = scope[last]
    if isinstance(found, property):
        found = found.fget
    assert isinstance(found, FunctionType)
    return found


class StillbornError(Exception):
    """With this mutant its module could not even be imported."""


def plant(mutant: Mutant) -> None:
    """Put a mutant in its function's place, for every reference to it.

    Raises
    ------
    StillbornError
        When its defaults or decorators, which are executed here, raise anything.
    """
    function = find_function(vars(sys.modules[PREFIX + mutant.module]), mutant.function)
    scope = dict(function.__globals__)
    code = compile(mutant.compile(), "<mutant>", "exec", dont_inherit=True)
    try:
        exec(code, scope)
    except Exception as problem:
        raise StillbornError(mutant.key) from problem
    changed = find_function(scope, mutant.function)
    function.__code__ = changed.__code__
    function.__defaults__ = changed.__defaults__
    function.__kwdefaults__ = changed.__kwdefaults__
