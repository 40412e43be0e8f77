"""Plants mutants of the Python protocol and returns who is not noticed.

A mutant is killed when a recorded outcome changes, when it runs for too long, or when a unit test
of its module fails. Only records that execute the changed statement are replayed.
"""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Collection, Sequence
from pathlib import Path

from tests.mutation import oracle
from tests.mutation.processes import BROKEN, KILLED, SURVIVED, in_child, judge
from tests.mutation.python_mutants import Mutant
from tests.mutation.unit_tests import PythonProbe, find_unnoticed

REPLAY_SECONDS = 10
"""Many times what all records take together."""
SEED = 1
"""Of the recorded chunks, whatever mutants are drawn."""


def trace_in_child(records: Sequence[oracle.Record], folder: Path) -> dict[oracle.Line, list[int]]:
    """Return which records execute a line; the records here stay as they are."""
    path = folder / "traced.pickle"
    path.unlink(missing_ok=True)

    def task() -> int:
        path.write_bytes(pickle.dumps(oracle.trace(records)))
        return 0

    child = in_child(task, 600)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the records do not replay without a mutant"
    traced: dict[oracle.Line, list[int]] = pickle.loads(path.read_bytes())
    path.unlink()
    return traced


def find_survivors(
    mutants: Sequence[Mutant],
    explained: Collection[str],
    *,
    cases: int,
    workers: int,
    folder: Path,
) -> list[Mutant]:
    """Return the mutants that nothing notices. Unit tests are not asked about explained ones."""
    folder.mkdir(parents=True, exist_ok=True)
    records = oracle.record(SEED, cases)
    traced = trace_in_child(records, folder)
    # Nothing of what is there now is garbage, and a child that marked it would copy it.
    gc.collect()
    gc.freeze()

    def replay(mutant: Mutant) -> int:
        try:
            oracle.plant(mutant)
        except oracle.StillbornError:
            return KILLED
        chosen = oracle.select(records, traced, mutant)
        return KILLED if oracle.differs(chosen) else SURVIVED

    survivors = []
    for mutant, code in judge(mutants, replay, workers, REPLAY_SECONDS):
        assert code != BROKEN, f"not planted: {mutant.key}"
        if code == SURVIVED:
            survivors.append(mutant)
    asked = [mutant for mutant in survivors if mutant.key not in explained]
    left = find_unnoticed(PythonProbe(), asked, folder, workers)
    keys = {mutant.key for mutant in survivors if mutant.key in explained}
    keys |= {mutant.key for mutant in left}
    return [mutant for mutant in mutants if mutant.key in keys]
