"""An explanation's parts are the protocol's own, and add up to its margin."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from benchmarks.margin import EXPIRIES, PERPETUAL, build_holder, build_markets, mark_all
from deltaroll.engine.explain import Explanation, explain_margin
from deltaroll.presets import DERIBIT, PMRM_2, SPAN_16
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.state import State, reset_meter, set_account
from deltaroll.protocol.types import AccountId, MarketId, Position, Series, Timestamp

ACCOUNT = AccountId(1)
GRIDS = {"PMRM_2": PMRM_2, "DERIBIT": DERIBIT, "SPAN_16": SPAN_16}


def build_state(grid: str, positions: dict[int, int]) -> State:
    """A marked state with one account that holds these sizes."""
    state = build_markets(GRIDS[grid], 3, 2)
    mark_all(state)
    held = tuple(Position(MarketId(key), size, 2) for key, size in sorted(positions.items()))
    set_account(state, ACCOUNT, replace(build_holder(State(), 0), positions=held, cash=9))
    return state


def check(state: State) -> Explanation:
    """Explain the account, and compare every sum with the protocol's result."""
    clock = state.globals.clock
    reset_meter(state)
    explanation = explain_margin(state, ACCOUNT, clock)
    assert state.meter.gas == 0
    margin = compute_margin(state, state.accounts[ACCOUNT], clock)
    assert (explanation.equity, explanation.maintenance, explanation.initial) == (
        margin.equity,
        margin.maintenance,
        margin.initial,
    )
    for name in ("maintenance", "initial"):
        assert getattr(explanation, name) == sum(
            getattr(part, name)
            for book in explanation.books
            for part in (book.scenario_margin, book.perpetual_margin, book.option_margin)
        )
    for book in explanation.books:
        assert book.basis == sum(expiry.basis for expiry in book.expiries)
        for place, total in enumerate(book.totals):
            terms = [expiry.terms[place] for expiry in book.expiries]
            assert total == book.perpetuals[place] + sum(terms)
        assert book.loss == -min(0, book.basis, *book.totals)
        if book.binding is not None:
            assert book.totals[book.binding] == -book.loss < 0
    return explanation


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("number", range(20))
def test_explain_margin__random_positions__parts_add_up(grid, number):
    rng = Random(number)
    series = [
        market
        for market, leaf in build_markets(PMRM_2, 3, 2).markets.items()
        if isinstance(leaf, Series)
    ]
    chosen = rng.sample(series, rng.randint(1, len(series)))
    check(build_state(grid, {market: rng.choice((-5, -1, 1, 10**6)) for market in chosen}))


def test_explain_margin__a_long_perpetual__is_bound_by_the_deepest_fall():
    (book,) = check(build_state("PMRM_2", {PERPETUAL: 3})).books
    assert book.binding is not None
    # -18 % in full loses more than -66 % at 21 %, or -33 % at 42 %.
    assert book.scenarios[book.binding].spot_shock == -180_000
    assert book.expiries == ()
    assert book.option_margin.initial == 0 < book.perpetual_margin.maintenance
    assert book.perpetual_lots == 3


def test_explain_margin__a_naked_short_call__names_its_contingency():
    (book,) = check(build_state("PMRM_2", {EXPIRIES + 1: -3})).books
    assert book.binding is not None
    assert book.scenarios[book.binding].spot_shock > 0
    assert book.naked_lots == 3
    assert 0 < book.option_margin.maintenance < book.option_margin.initial
    assert book.perpetual_margin.initial == 0
    assert [expiry.expiry for expiry in book.expiries] == [EXPIRIES]


def test_explain_margin__nothing_held__has_no_books():
    assert check(build_state("PMRM_2", {})).books == ()


def test_explain_margin__stale_marks_or_no_account__are_the_protocols_faults():
    state = build_state("PMRM_2", {PERPETUAL: 1})
    for account, clock, fault in (
        (ACCOUNT, state.globals.clock + 4_000, Fault.HALTED),
        (AccountId(2), state.globals.clock, Fault.UNKNOWN_ACCOUNT),
    ):
        with pytest.raises(TransitionFault) as problem:
            explain_margin(state, account, Timestamp(clock))
        assert problem.value.fault == fault
