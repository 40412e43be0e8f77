"""Writes the vectors: `python -m tests.vectors.write`.

From many random chunks the smallest that reaches each fault, the smallest that reaches it behind
other transactions, and the smallest valid one of each kind of transaction and of message. The
directories of these groups are written anew, others are left alone.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from deltaroll.protocol.codec import decode_chunk, encode_chunk
from deltaroll.protocol.constants import MAX_CHUNK_GAS, WEIGHT_MARK_GAS
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.state import Meter
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import Mark, MessageKind, Queue, Transaction
from tests.protocol.strategies import Case, context_at, generate_case, world_of
from tests.vectors.format import OTHER_ROOT, judge_case, write_vector

FOLDER = Path(__file__).resolve().parent
FAULTS, TRANSACTIONS, MESSAGES, FLOW = "faults", "transactions", "messages", "flow"
GROUPS = (FAULTS, TRANSACTIONS, MESSAGES, FLOW)
CASES = 12_000
SEED = 20_261
FLOWS = 8
MAX_SIZE = 12_000
"""Bytes of a vector that something smaller could not replace."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A case that may become a vector."""

    number: int
    size: int
    """Of its data and witness."""


def make_case(number: int) -> Case:
    """The n-th random case."""
    return generate_case(Random(SEED << 32 | number))


def make_overweight() -> Case:
    """More marks of one series than a chunk may hold: heavy, but short on disk."""
    world = world_of("normal", 0)
    clock = world.state.globals.clock
    count = MAX_CHUNK_GAS // WEIGHT_MARK_GAS
    data = encode_chunk(clock, [Mark(world.series[0], 1)] * count)
    return Case(world.state, data, context_at(world.state, clock), count, bytes(32))


def snake_case(name: str) -> str:
    """The name of a class as the name of a file."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def list_transactions(data: bytes) -> tuple[Transaction, ...]:
    """What a chunk holds; nothing when it does not decode."""
    try:
        return decode_chunk(data)[1]
    except TransitionFault:
        return ()


def is_idle(case: Case) -> bool:
    """Whether a valid chunk leaves the state as one without transactions would."""
    clock, _ = decode_chunk(case.data)
    nothing = replace(
        case, data=encode_chunk(clock, ()), context=replace(case.context, is_last=False)
    )
    return judge_case(nothing)[0] == judge_case(case)[0]


def count_skipped(case: Case) -> int:
    """How many messages a valid chunk skips."""
    state = case.state
    before = state.globals.skipped
    state.begin()
    process_chunk(state, case.data, case.context)
    skipped = state.globals.skipped - before
    state.rollback()
    return skipped


def label_case(case: Case, fault: Fault, meter: Meter) -> Iterator[tuple[str, str]]:
    """Groups and names of the vectors that a case could be."""
    transactions = list_transactions(case.data)
    kinds = {snake_case(type(transaction).__name__) for transaction in transactions}
    if fault != Fault.NONE:
        yield FAULTS, fault.name.lower()
        if len(kinds) > 2 and len(meter.accounts) > 1:
            yield FAULTS, f"{fault.name.lower()}_late"
        return
    if is_idle(case):
        return
    if len(kinds) == 1:
        yield TRANSACTIONS, kinds.pop()
    if transactions == (Queue(),):
        message = case.state.messages[case.state.globals.queue_index]
        if message.kind in set(MessageKind):
            name = MessageKind(message.kind).name.lower()
            yield MESSAGES, f"{name}_{'skipped' if count_skipped(case) else 'honoured'}"
    if len(kinds) > 3:
        yield FLOW, "+".join(sorted(kinds))


def choose(numbers: Iterable[int]) -> dict[tuple[str, str], Candidate]:
    """The smallest case of each label."""
    best: dict[tuple[str, str], Candidate] = {}
    for number in numbers:
        case = make_case(number)
        _, fault, meter = judge_case(case)
        found = Candidate(number, meter.witness)
        for label in label_case(case, fault, meter):
            if label not in best or found.size < best[label].size:
                best[label] = found
    return best


def write_all(folder: Path, cases: int = CASES) -> int:
    """Write the groups; return how many vectors they have."""
    for group in GROUPS:
        shutil.rmtree(folder / group, ignore_errors=True)
    best = choose(range(cases))
    flows = [label for label in best if label[0] == FLOW]
    # Of the longer chunks those with most kinds.
    flows.sort(key=lambda label: (-label[1].count("+"), best[label].size))
    labels = [label for label in best if label[0] != FLOW] + flows[:FLOWS]
    count = 0
    for group, name in labels:
        candidate = best[group, name]
        if name.endswith("_late") and candidate.size > MAX_SIZE:
            continue
        if group == FLOW:
            name = f"case_{candidate.number}"
        if (group, name) != (FAULTS, Fault.OVERWEIGHT.name.lower()):
            write_vector(make_case(candidate.number), folder / group / name)
            count += 1
    write_vector(make_overweight(), folder / FAULTS / Fault.OVERWEIGHT.name.lower())
    valid = best[TRANSACTIONS, "transfer"]
    wrong_root = folder / FAULTS / Fault.WRONG_POST_ROOT.name.lower()
    write_vector(make_case(valid.number), wrong_root, OTHER_ROOT)
    return count + 2


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES)
    arguments = parser.parse_args()
    print(f"{write_all(FOLDER, arguments.cases)} vectors")


if __name__ == "__main__":
    main()
