"""Settled positions become cash, and the insurance fund's cash changes hands."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.realise import add_insurance, process_realise
from deltaroll.protocol.state import State, reset_meter, set_account, set_market
from deltaroll.protocol.types import (
    AccountId,
    MarketId,
    Position,
    Series,
    SeriesStatus,
    Socialise,
    Sweep,
    Timestamp,
    Transfer,
)
from tests.protocol.money import (
    FIRST_SERIES,
    FUND,
    SERIES_EACH,
    attempt,
    build_world,
    check_books,
    compute_total,
    make_account,
    margin_of,
    owner_of,
    run_both,
)

seeds = st.integers(0, (1 << 40) - 1)
many = settings(max_examples=200, deadline=None, derandomize=True)
SETTLED = MarketId(FIRST_SERIES + SERIES_EACH - 1)
ALIVE = MarketId(FIRST_SERIES + 1)
HOLDER, OTHER = AccountId(1), AccountId(2)


@many
@given(seeds)
def test_process_sweep__any_account__equity_and_requirements_stay(seed: int):
    rng = Random(seed)
    state = build_world(rng)
    for key in sorted(state.accounts):
        before, fund, total = margin_of(state, key), state.globals.insurance, compute_total(state)
        reset_meter(state)
        fault = attempt(state, Sweep(key))
        assert fault in (Fault.NONE, Fault.NOT_DUE)
        assert margin_of(state, key) == before
        assert compute_total(state) == total
        check_books(state)
        if key != FUND:
            assert state.globals.insurance == fund
        held = [state.markets[one.series] for one in state.accounts[key].positions]
        settled = [
            one for one in held if isinstance(one, Series) and one.status == SeriesStatus.SETTLED
        ]
        assert settled == [] or (key == FUND and fault == Fault.NOT_DUE)


@many
@given(seeds)
def test_process_sweep__everybody__nothing_is_left_of_what_has_settled(seed: int):
    """Then, and only then, a listing may use the ids again."""
    rng = Random(seed)
    state = build_world(rng)
    state.globals = replace(state.globals, insurance=10**30, insurance_peak=10**30)
    order = sorted(state.accounts)
    rng.shuffle(order)
    for key in order:
        settled = {
            market: leaf.open_interest
            for market, leaf in state.markets.items()
            if isinstance(leaf, Series) and leaf.status == SeriesStatus.SETTLED
        }
        for position in state.accounts[key].positions:
            assert settled.get(position.series, 1) > 0
        reset_meter(state)
        attempt(state, Sweep(key))
    for leaf in state.markets.values():
        if isinstance(leaf, Series) and leaf.status == SeriesStatus.SETTLED:
            assert leaf.open_interest == 0


def build(size: int, insurance: int = 100) -> State:
    """HOLDER has `size` lots that have settled at 10 and OTHER the opposite."""
    state = build_world(Random(1), trades=0)
    state.accounts.pop(FUND, None)
    series = state.markets[SETTLED]
    assert isinstance(series, Series)
    known = replace(series, mark=10, carry_long=0, carry_short=0, open_interest=2 * abs(size))
    set_market(state, SETTLED, known)
    set_account(state, HOLDER, make_account(owner_of(1), 50, Position(SETTLED, size, 0)))
    set_account(state, OTHER, make_account(owner_of(2), 50, Position(SETTLED, -size, 0)))
    state.globals = replace(state.globals, insurance=insurance, insurance_peak=insurance)
    return state


def open_interest(state: State) -> int:
    """Lots that are left of what has settled."""
    series = state.markets[SETTLED]
    assert isinstance(series, Series)
    return series.open_interest


@pytest.mark.parametrize("size", [3, -3])
def test_process_sweep__long_or_short__pays_or_is_paid_the_mark(size: int):
    state = build(size)
    assert run_both(state, Sweep(HOLDER))[0] == Fault.NONE
    assert state.accounts[HOLDER] == make_account(owner_of(1), 50 + 10 * size)
    assert open_interest(state) == 3
    assert run_both(state, Sweep(HOLDER))[0] == Fault.NOT_DUE
    assert run_both(state, Sweep(OTHER))[0] == Fault.NONE
    assert open_interest(state) == 0


def test_process_realise__nothing_has_settled__is_the_same_object():
    state = build(3)
    series = state.markets[ALIVE]
    assert isinstance(series, Series)
    account = make_account(owner_of(3), 7, Position(ALIVE, 5, 0))
    assert process_realise(state, AccountId(3), account) is account


@pytest.mark.parametrize(
    ("size", "insurance", "fault", "after"),
    [
        (-10, 100, Fault.NONE, 0),
        (-10, 99, Fault.NOT_DUE, 99),
        (10, 0, Fault.NONE, 100),
    ],
)
def test_process_sweep__the_fund__its_cash_is_in_the_globals(
    size: int, insurance: int, fault: Fault, after: int
):
    """What it cannot pay it keeps holding: it never goes below zero."""
    state = build(size, insurance)
    moved = replace(state.accounts[HOLDER], owner=owner_of(0), cash=0, distressed_at=Timestamp(1))
    set_account(state, FUND, moved)
    set_account(state, HOLDER, make_account(owner_of(1), 50))
    assert run_both(state, Sweep(FUND))[0] == fault
    assert state.globals.insurance == after
    assert state.accounts[FUND].cash == 0
    assert bool(state.accounts[FUND].positions) == (fault != Fault.NONE)


def test_process_socialise__fund_owes_more_than_it_has_and_holds_nothing_alive__insurance():
    state = build(-10, 99)
    set_account(state, FUND, replace(state.accounts[HOLDER], owner=owner_of(0), cash=0))
    set_account(state, HOLDER, make_account(owner_of(1), 50))
    assert run_both(state, Socialise(FUND))[0] == Fault.INSURANCE
    assert run_both(state, Transfer(OTHER, FUND, 1, 1))[0] in (Fault.NONE, Fault.MARGIN)


# The fund's cash


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(-(10**9), 10**9), st.data())
def test_add_insurance__anything__peak_is_never_below(
    insurance: int, more: int, gained: int, data: st.DataObject
):
    state = State()
    peak = insurance + more
    state.globals = replace(state.globals, insurance=insurance, insurance_peak=peak)
    swapped = data.draw(st.integers(-(10**9), 10**9))
    if insurance + gained + swapped < 0:
        with pytest.raises(TransitionFault) as problem:
            add_insurance(state, gained, swapped)
        assert problem.value.fault == Fault.INSURANCE
        return
    add_insurance(state, gained, swapped)
    known = state.globals
    assert known.insurance == insurance + gained + swapped
    assert known.insurance_peak >= known.insurance
    if gained <= 0:
        # A swap makes the fund look neither used nor fresh.
        assert known.insurance_peak - known.insurance == more - gained


def test_add_insurance__more_than_the_leaf_holds__out_of_range():
    state = State()
    add_insurance(state, (1 << 128) - 1, 0)
    with pytest.raises(TransitionFault) as problem:
        add_insurance(state, 1, 0)
    assert problem.value.fault == Fault.OUT_OF_RANGE


def test_process_transfer__to_the_fund__is_the_funds():
    state = build(3)
    set_account(state, OTHER, make_account(owner_of(2), 500))
    assert run_both(state, Transfer(OTHER, FUND, 77, 1))[0] == Fault.NONE
    assert state.accounts[OTHER].cash == 423
    assert (state.globals.insurance, state.globals.insurance_peak) == (177, 177)
    assert FUND not in state.accounts
    assert run_both(state, Transfer(OTHER, FUND, 424, 2))[0] == Fault.MARGIN
