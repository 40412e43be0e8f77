"""Every rule can be enforced in the cheapest and in the dearest place, and the trial would notice
if one could not.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from deltaroll.protocol.constants import MAX_CHUNK_GAS
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import compute_state_root
from tests.adversary import completeness
from tests.adversary.campaign import Effort, Ledger, Row
from tests.adversary.completeness import COVERED, NOT_COVERED, Figures, Place, run
from tests.adversary.completeness_arena import FILLERS, options, small, wide
from tests.adversary.completeness_court import StandsError
from tests.adversary.completeness_lies import RECIPES, Lie, Recipe, make_transfer, plain
from tests.adversary.completeness_trial import Trial, find_last

SEED = 1


@pytest.fixture(scope="module")
def tried() -> tuple[Ledger, dict[Fault, Figures]]:
    return completeness.try_all(Effort(1, SEED))


@pytest.fixture(scope="module")
def rows(tried: tuple[Ledger, dict[Fault, Figures]]) -> list[Row]:
    return tried[0].to_rows()


def test_attack__any_fault__removed_in_one_transaction_within_the_bounds(rows: list[Row]) -> None:
    assert [row.notes for row in rows if row.wrongly_accepted or row.wrongly_refused] == []
    assert all(0 < row.worst_gas < 10_000_000 for row in rows)


def test_attack__every_fault__has_a_row(rows: list[Row]) -> None:
    assert {row.name for row in rows} == {f"completeness: {fault.name}" for fault in COVERED}
    assert all(row.attempts for row in rows)


def test_figures__every_fault__least_and_most_are_told(
    tried: tuple[Ledger, dict[Fault, Figures]],
) -> None:
    for known in tried[1].values():
        assert 90_000 < known.cheapest_gas <= known.worst_gas < 10_000_000
        assert 2_000 < known.cheapest_size <= known.worst_size < 120_000
    assert len(completeness.format_figures(tried[1]).splitlines()) == 2 + len(COVERED)


def test_recipes__all_faults__are_covered_or_explained() -> None:
    assert set(Fault) - set(NOT_COVERED) == COVERED
    assert all(NOT_COVERED.values())


def test_recipes__every_fault__has_a_lie_of_small_accounts() -> None:
    assert {recipe.fault for recipe in RECIPES if not recipe.is_for_large} == COVERED


def test_plan__seeds_of_a_rotation__try_every_fault_in_the_dearest_place() -> None:
    dear = {
        place.recipe.fault
        for seed in range(completeness.ROTATION)
        for place in completeness.plan(Effort(1, seed))
        if place.arena != "small"
    }
    assert dear == COVERED


def test_plan__much_effort__every_lie_in_every_large_arena_and_every_filler() -> None:
    places = list(completeness.plan(Effort(10, SEED)))
    tried = {(place.recipe.name, place.arena) for place in places if place.filler}
    lies = [recipe.name for recipe in RECIPES if not recipe.is_alone]
    assert tried >= {(lie, arena) for lie in lies for arena in completeness.LARGE}
    assert {place.filler for place in places} >= {None, *FILLERS}


@pytest.mark.parametrize("create", [wide, options])
def test_arena__large__holds_all_that_an_account_may(create) -> None:  # type: ignore[no-untyped-def]
    arena = create()
    for account in (arena.maker, arena.taker):
        assert len(arena.account(account).positions) == 64
    assert arena.groups == 48
    assert {len(arena.series(each).risk) for each in arena.scene.series} == {33}


# Controls: what the trial says when a lie is none, is removed for something else, or costs too much


def build_honest(arena) -> Lie:  # type: ignore[no-untyped-def]
    return plain(make_transfer(arena))


def test_run__nothing_wrong__batch_stands() -> None:
    """Else `removed` would mean nothing."""
    arena = small()
    trial = Trial(arena, Fault.NONE, build_honest(arena), ())
    transactions = trial.compose(0, 0, trial.lie.steps)
    with pytest.raises(StandsError):
        trial.run(transactions, 0)


def test_run__recipe_under_another_name__is_noticed() -> None:
    """A lie that breaks another rule than it says is a defect of the recipe."""
    known = next(recipe for recipe in RECIPES if recipe.fault == Fault.MARGIN)
    with pytest.raises(AssertionError):
        run(Place(replace(known, fault=Fault.TICK), "small", None))


def test_attack__lie_that_nobody_can_remove__is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An honest chunk in place of the lie: all of its row is wrongly accepted."""
    honest = Recipe(Fault.NONE, build_honest, False, False)
    monkeypatch.setattr(completeness, "RECIPES", [honest])
    monkeypatch.setattr(completeness, "COVERED", {Fault.NONE})
    (row,) = completeness.attack(Effort(1, 1))
    assert row.wrongly_accepted == row.attempts > 0


@pytest.mark.parametrize("bound", ["MAX_PROOF_GAS", "MAX_PROOF_BYTES"])
def test_attack__lie_beyond_a_bound__is_counted(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    known = next(recipe for recipe in RECIPES if recipe.fault == Fault.CLOCK_AHEAD)
    monkeypatch.setattr(completeness, "RECIPES", [known])
    monkeypatch.setattr(completeness, "COVERED", {known.fault})
    monkeypatch.setattr(completeness, bound, 2_000)
    (row,) = completeness.attack(Effort(1, 1))
    assert row.wrongly_accepted == row.attempts > 0


@pytest.mark.parametrize("arena", ["wide", "options"])
def test_fill__any_filler__leaves_no_room_for_another_transaction(arena: str) -> None:
    known = next(recipe for recipe in RECIPES if recipe.name == "withdraws_all")
    state = completeness.ARENAS[arena]().state
    state.begin()
    lie = known.build(completeness.ARENAS[arena]())
    compute_state_root(state)
    steps = completeness.take(completeness.ARENAS[arena](), "fills")
    trial = Trial(completeness.ARENAS[arena](), known.fault, lie, steps)
    transactions = trial.fill()
    assert trial.find_fault(transactions, False) == Fault.MARGIN
    assert MAX_CHUNK_GAS - 10_100 < trial.weight <= MAX_CHUNK_GAS
    state.rollback()
    compute_state_root(state)


@pytest.mark.parametrize("leap", [0, 1, 6, 7, 8, 50, 100, 1_000])
@pytest.mark.parametrize("last", [0, 1, 7, 99, 100])
def test_find_last__any_leap__finds_it(last: int, leap: int) -> None:
    assert find_last(lambda number: number <= last, 100, leap, lambda _: leap) == last
