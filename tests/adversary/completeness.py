"""Completeness: whatever rule a batch breaks, one transaction removes it (G2).

For every fault there are lies that break its rule and no other. Each is posted through the real
inbox and removed through the real prover: in the cheapest place, a batch of one chunk that holds
nothing else, by the smallest accounts; and in the dearest, at the end of the fullest chunk that may
stand before it, as the last chunk of the longest batch, by the largest accounts. Removed means: in
one transaction of less than 10,000,000 gas and 120,000 bytes, for the fault that Python names.

`python -m tests.adversary.completeness` prints what that took, as `docs/security.md` shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import compute_state_root
from tests.adversary import completeness_forms, completeness_markets, completeness_trades
from tests.adversary.campaign import Effort, Ledger, Row
from tests.adversary.completeness_arena import (
    FILLERS,
    Arena,
    fill_with_mixture,
    options,
    small,
    wide,
)
from tests.adversary.completeness_court import MAX_PROOF_BYTES, MAX_PROOF_GAS, StandsError
from tests.adversary.completeness_lies import RECIPES, Recipe
from tests.adversary.completeness_trial import Result, Trial
from tests.protocol.scenes import Step

ARENAS = {"small": small, "wide": wide, "options": options}
LARGE = ("wide", "options")
CHUNKS_BEFORE = 255
"""Of the longest batch."""
MOST_STEPS = 890
"""More transactions than any chunk has."""
MIXTURES = 2
"""Times effort: so many chunks of all kinds of transactions are tried."""
NOT_COVERED: dict[Fault, str] = {Fault.NONE: "no rule is broken"}
"""Faults without a lie here, and why."""
ROTATION = 3
"""At the smallest effort one in so many faults is tried in the dearest place."""
REGISTERED = (completeness_forms, completeness_trades, completeness_markets)
"""Where the lies are."""
COVERED = {recipe.fault for recipe in RECIPES}


@dataclass(frozen=True, slots=True)
class Place:
    """A lie, and where it stands."""

    recipe: Recipe
    arena: str
    filler: str | int | None
    """What fills the chunk before it, by its name or the seed of a mixture; None: nothing does, and
    the batch has no other chunk.
    """

    def __str__(self) -> str:
        """Enough to try it again."""
        before = f"mixture {self.filler}" if isinstance(self.filler, int) else self.filler
        return f"{self.recipe.name} in {self.arena} after {before or 'nothing'}"


@dataclass(slots=True)
class Figures:
    """What the lies of a fault took to remove."""

    attempts: int = 0
    cheapest_gas: int = 1 << 62
    cheapest_size: int = 1 << 62
    worst_gas: int = 0
    worst_gas_at: Place | None = None
    worst_size: int = 0
    worst_size_at: Place | None = None

    def add(self, place: Place, gas: int, size: int) -> None:
        """Take in another one."""
        self.attempts += 1
        self.cheapest_gas = min(self.cheapest_gas, gas)
        self.cheapest_size = min(self.cheapest_size, size)
        if gas > self.worst_gas:
            self.worst_gas, self.worst_gas_at = gas, place
        if size > self.worst_size:
            self.worst_size, self.worst_size_at = size, place


def run(place: Place) -> Result:
    """Tell a lie and remove it.

    Raises
    ------
    StandsError
        It cannot be removed.
    """
    arena = ARENAS[place.arena]()
    arena.state.begin()
    try:
        lie = place.recipe.build(arena)
        if place.filler is None:
            trial = Trial(arena, place.recipe.fault, lie, ())
            return trial.run(trial.compose(0, 0, lie.steps), 0)
        trial = Trial(arena, place.recipe.fault, lie, take(arena, place.filler))
        return trial.run(trial.fill(), CHUNKS_BEFORE)
    finally:
        arena.state.rollback()
        compute_state_root(arena.state)


def take(arena: Arena, filler: str | int) -> tuple[Step, ...]:
    """Return the first transactions of a filler."""
    if isinstance(filler, int):
        return tuple(islice(fill_with_mixture(arena, Random(filler)), MOST_STEPS))
    return tuple(islice(FILLERS[filler](arena), MOST_STEPS))


def plan(effort: Effort) -> Iterator[Place]:
    """Yield lies and where they stand, fault by fault.

    Every lie that small accounts can tell stands in the cheapest place. At the smallest effort a
    part of the faults, another one for each seed, stands in the dearest places too, once in each
    large arena; with more effort all lies do, after more and more kinds of filler.
    """
    fillers = tuple(FILLERS)
    for number, fault in enumerate(sorted(COVERED)):
        recipes = [recipe for recipe in RECIPES if recipe.fault == fault]
        for recipe in recipes:
            if not recipe.is_for_large:
                yield Place(recipe, "small", None)
        recipes = [recipe for recipe in recipes if not recipe.is_alone]
        turn = number + effort.seed
        if effort.scale > 1:
            several = min(len(fillers), 1 + effort.scale // 5)
        elif turn % ROTATION == 0:
            recipes = [recipes[turn // ROTATION % len(recipes)]]
            several = 1
        else:
            continue
        for place, recipe in enumerate(recipes):
            for shift in range(several):
                for step, arena in enumerate(LARGE):
                    at = turn // ROTATION + place + several * step + shift
                    yield Place(recipe, arena, fillers[at % len(fillers)])
            if effort.scale > 1 and not recipe.is_for_large:
                # What the lie itself weighs least leaves most room for what is dear.
                yield Place(recipe, "small", fillers[(turn + place) % len(fillers)])
    # Any honest chunk may hide a wrong root: search for the one that is dearest to prove.
    for recipe in [each for each in RECIPES if each.fault == Fault.WRONG_POST_ROOT][:1]:
        yield Place(recipe, "small", "transfers, handovers")
        for mixture in range(MIXTURES * effort.scale):
            yield Place(recipe, "small", effort.seed * 1_000 + mixture)


def try_all(effort: Effort) -> tuple[Ledger, dict[Fault, Figures]]:
    """Tell all lies of a plan."""
    ledger = Ledger()
    figures = {fault: Figures() for fault in sorted(COVERED)}
    for place in plan(effort):
        fault = place.recipe.fault
        name = f"completeness: {fault.name}"
        try:
            proof = run(place).proof
        except StandsError as error:
            ledger.accept(name, f"{place}: {error}")
            continue
        figures[fault].add(place, proof.gas, proof.size)
        if proof.fault != fault:
            ledger.accept(name, f"{place}: removed for {proof.fault.name}", proof.gas)
        elif proof.gas >= MAX_PROOF_GAS or proof.size >= MAX_PROOF_BYTES:
            note = f"{place}: {proof.gas:,} gas, {proof.size:,} bytes"
            ledger.accept(name, note, proof.gas)
        else:
            ledger.count(name, proof.gas)
    return ledger, figures


def attack(effort: Effort) -> Iterable[Row]:
    """A row for each fault: lies that could not be removed are wrongly accepted."""
    return try_all(effort)[0].to_rows()


def worst(effort: Effort) -> dict[Fault, Figures]:
    """Return what the lies of every fault took to remove."""
    return try_all(effort)[1]


def format_figures(figures: dict[Fault, Figures]) -> str:
    """Return them as the table of `docs/security.md`."""
    lines = [
        "| fault | lies | least gas | least bytes | most gas | most bytes |",
        "|---|---|---|---|---|---|",
    ]
    for fault, known in figures.items():
        numbers = (
            known.attempts,
            known.cheapest_gas,
            known.cheapest_size,
            known.worst_gas,
            known.worst_size,
        )
        lines.append(f"| {fault.name} | " + " | ".join(f"{each:,}" for each in numbers) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(format_figures(worst(Effort(10, 1))))
