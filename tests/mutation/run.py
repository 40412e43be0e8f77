"""Plants mutants of both implementations and counts who is noticed.

`python -m tests.mutation.run` plants the samples of `SAMPLES` and writes the totals to
`results.toml`; with `--n N` and `--seed S` it plants N of each side instead (0: all). Whoever
survives has to be in `survivors.toml`: with the reason why nobody could notice, or among the open
ones, which a test should notice and none of those asked does. Others are printed and written to
`build/mutants.json`; exit code 1 when there are any. Nor may a sample that is kept hold a mutant
with such a reason that is noticed all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.mutation import contracts_side, python_side
from tests.mutation.python_mutants import Mutant as PythonMutant
from tests.mutation.python_mutants import generate
from tests.mutation.sampling import sample
from tests.mutation.schemata import Mutant as SolidityMutant
from tests.mutation.schemata_build import read_program

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "mutation"
FOUND = ROOT / "build" / "mutants.json"
LISTED = Path(__file__).with_name("survivors.toml")
RESULTS = Path(__file__).with_name("results.toml")
PYTHON, SOLIDITY = SIDES = ("python", "solidity")
CASES = {PYTHON: 800, SOLIDITY: 1200}
"""Recorded chunks."""
SAMPLES = {PYTHON: 1000, SOLIDITY: 400}
"""Sizes of the samples whose results are kept."""
SAMPLES_SEED = 1
Item = TypeVar("Item", PythonMutant, SolidityMutant)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of the mutants of one side."""

    side: str
    planted: Counter[str]
    """By module, as are the others."""
    explained: Counter[str]
    """Of those that survived."""
    open: Counter[str]
    """Of those that survived and are listed as open."""
    new: list[str]
    """Keys of the survivors that are not listed."""
    noticed: list[str]
    """Keys of the explained ones that did not survive, if the unit tests were asked about them."""

    def describe(self) -> str:
        """Return the totals in words: killed of all, and of those that are no equivalents."""
        planted, explained, left = (
            counter.total() for counter in (self.planted, self.explained, self.open)
        )
        killed = planted - explained - left - len(self.new)
        share = 100 * killed / max(1, planted)
        score = 100 * killed / max(1, planted - explained)
        return (
            f"{planted:,} mutants, {killed:,} killed ({share:.1f} % of all), {explained:,} "
            f"equivalent ({score:.1f} % of the others killed), {left:,} open, "
            f"{len(self.new):,} not listed"
        )


def read_explained(side: str) -> frozenset[str]:
    """Return the keys of the mutants that have a reason to survive."""
    groups = tomllib.loads(LISTED.read_text(encoding="utf-8"))[side]["explained"]
    return frozenset(key for group in groups for key in group["mutants"])


def read_open(side: str) -> frozenset[str]:
    """Return the keys of the mutants that are known to survive without a reason."""
    return frozenset(tomllib.loads(LISTED.read_text(encoding="utf-8"))[side]["open"])


def tell(
    side: str,
    planted: Sequence[tuple[str, str]],
    survivors: Sequence[tuple[str, str]],
    asked_all: bool,
) -> Result:
    """Return what came of mutants and which of them survived, each a module and a key."""
    explained, known = read_explained(side), read_open(side)
    left = [item for item in survivors if item[1] not in explained]
    killed = {key for _, key in planted} - {key for _, key in survivors}
    return Result(
        side,
        Counter(module for module, _ in planted),
        Counter(module for module, key in survivors if key in explained),
        Counter(module for module, key in left if key in known),
        [key for _, key in left if key not in known],
        sorted(killed & explained) if asked_all else [],
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """Which mutants to plant, and how to look for them."""

    count: int | None = None
    """0: all; None: all of the sample."""
    seed: int = SAMPLES_SEED
    workers: int = 1
    modules: Sequence[str] = ()
    """Only these; all when there are none."""
    is_sampled: bool = False
    """Only out of the sample whose results are kept."""

    @property
    def is_kept(self) -> bool:
        """Whether it is the sample whose results are kept, which takes no reason on trust."""
        return self.count is None

    def skip(self, side: str) -> frozenset[str]:
        """Return the mutants that unit tests are not asked about."""
        return frozenset() if self.is_kept else read_explained(side)

    def draw_program(self, side: str, every: Sequence[Item]) -> list[Item]:
        """Return the mutants that may be planted without compiling anew."""
        if self.is_sampled or self.count is None:
            return sample(every, SAMPLES[side], SAMPLES_SEED)
        return sample(every, self.count, self.seed)

    def draw(self, side: str, every: Sequence[Item], module: Callable[[Item], str]) -> list[Item]:
        """Return the mutants to plant."""
        mutants = sample(self.draw_program(side, every), self.count or 0, self.seed)
        return [item for item in mutants if not self.modules or module(item) in self.modules]


def run_python(choice: Choice) -> Result:
    """Plant mutants of `deltaroll/protocol`."""
    mutants = choice.draw(PYTHON, generate(), lambda item: item.module)
    survivors = python_side.find_survivors(
        mutants,
        choice.skip(PYTHON),
        cases=CASES[PYTHON],
        workers=choice.workers,
        folder=FOLDER,
    )
    planted, left = ([(one.module, one.key) for one in some] for some in (mutants, survivors))
    return tell(PYTHON, planted, left, choice.is_kept)


def run_solidity(choice: Choice) -> Result:
    """Plant mutants of `contracts/protocol` and of the contracts that run it."""
    program = read_program(FOLDER)
    mutants = choice.draw(SOLIDITY, program.mutants, lambda item: item.source)
    survivors = contracts_side.find_survivors(
        program,
        choice.draw_program(SOLIDITY, program.mutants),
        mutants,
        choice.skip(SOLIDITY),
        cases=CASES[SOLIDITY],
        workers=choice.workers,
    )
    planted, left = ([(one.source, one.key) for one in some] for some in (mutants, survivors))
    return tell(SOLIDITY, planted, left, choice.is_kept)


RUN: dict[str, Callable[[Choice], Result]] = {PYTHON: run_python, SOLIDITY: run_solidity}


def write_results(results: Sequence[Result]) -> None:
    """Write the totals by module; those of a side that was not run stay."""
    sides = tomllib.loads(RESULTS.read_text(encoding="utf-8"))
    for result in results:
        counters = (result.planted, result.explained, result.open)
        sides[result.side] = {"total": result.describe()} | {
            module: [counter[module] for counter in counters] for module in sorted(result.planted)
        }
    lines = ["# Written by `make mutants`: planted, equivalent (explained), open."]
    for side in SIDES:
        lines += ["", f"[{side}]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in sides[side].items()]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, action="append")
    parser.add_argument("--module", action="append", default=[], help="only these")
    parser.add_argument("--n", type=int, help="mutants to plant; 0: all")
    parser.add_argument("--seed", type=int, default=SAMPLES_SEED)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    results = []
    for side in arguments.side or SIDES:
        started = time.monotonic()
        choice = Choice(arguments.n, arguments.seed, arguments.workers, arguments.module)
        result = RUN[side](choice)
        results.append(result)
        print(f"{side}: {result.describe()} in {time.monotonic() - started:,.0f} s", flush=True)
        for key in result.new:
            print(f"  {key}", file=sys.stderr)
        for key in result.noticed:
            print(f"  explained, but noticed: {key}", file=sys.stderr)
    FOUND.parent.mkdir(exist_ok=True)
    FOUND.write_text(json.dumps({item.side: item.new for item in results}, indent=1) + "\n")
    if arguments.n is None and not arguments.module:
        write_results(results)
    return 1 if any(result.new or result.noticed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
