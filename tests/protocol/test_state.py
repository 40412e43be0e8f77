"""The journal, copies of earlier states, and the bounds of what a leaf and a chunk hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.protocol.constants import (
    MAX_CHUNK_GAS,
    MAX_CHUNK_WITNESS,
    MAX_MESSAGE_GAS,
    MAX_MESSAGE_WITNESS,
)
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import (
    State,
    compute_state_root,
    limit_message,
    process_exit,
    reset_meter,
    set_account,
    set_market,
    set_slot,
    validate_account,
)
from deltaroll.protocol.types import AccountId, Exit, MarketId, Position, Slot, SlotId
from tests.protocol.markets import attempt, make_perpetual
from tests.protocol.money import make_account, make_order, owner_of

FIRST, SECOND = AccountId(1), AccountId(2)
MARKET, OTHER = MarketId(100), MarketId(101)
INT128 = 1 << 127
UINT32 = 1 << 32


def make_state() -> State:
    """Two accounts, a used slot and a series."""
    state = State()
    set_account(state, FIRST, make_account(owner_of(1), 5))
    set_account(state, SECOND, make_account(owner_of(2), 6))
    set_slot(state, FIRST, SlotId(3), make_slot(1))
    set_market(state, MARKET, make_perpetual())
    return state


def make_slot(filled: int) -> Slot:
    """An order for ten lots."""
    return Slot(make_order(MARKET, True, 7, 10), filled)


def change(state: State, kind: int, number: int) -> None:
    """Write one of every kind of leaf: known ones, and new ones."""
    if kind < 3:
        set_account(state, AccountId(kind), make_account(owner_of(1), number))
    elif kind < 5:
        set_account(state, AccountId(100 + number), make_account(owner_of(2), kind))
    elif kind < 7:
        set_market(state, MarketId(95 + kind), make_perpetual(mark=number))
    elif kind < 9:
        set_slot(state, FIRST, SlotId(kind), make_slot(number))
    elif kind < 11:
        process_exit(state, Exit(0, owner_of(1), number + 1))
    else:
        state.globals = replace(state.globals, insurance=number)


# Undoing


CHANGES: dict[str, Callable[[State], None]] = {
    "an account": lambda state: set_account(state, FIRST, make_account(owner_of(1), 9)),
    "a new account": lambda state: set_account(state, AccountId(7), make_account(owner_of(3), 1)),
    "a slot": lambda state: set_slot(state, FIRST, SlotId(3), make_slot(2)),
    "a new slot": lambda state: set_slot(state, SECOND, SlotId(0), make_slot(1)),
    "a series": lambda state: set_market(state, MARKET, make_perpetual(mark=9)),
    "a new series": lambda state: set_market(state, OTHER, make_perpetual()),
    "an exit": lambda state: process_exit(state, Exit(0, owner_of(1), 1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_rollback__root_was_computed_inside__root_is_the_one_before(name: str):
    """What the trees have hashed by then is stale."""
    state = make_state()
    before = compute_state_root(state)
    state.begin()
    CHANGES[name](state)
    assert compute_state_root(state) != before
    state.rollback()
    assert compute_state_root(state) == before


def test_note_changes__accounts_slots_and_markets__names_the_leaves_since_the_last_begin():
    state = make_state()
    state.begin()
    set_account(state, SECOND, make_account(owner_of(2), 1))
    state.begin()
    set_account(state, FIRST, make_account(owner_of(1), 1))
    set_slot(state, FIRST, SlotId(5), make_slot(1))
    set_market(state, OTHER, make_perpetual())
    accounts: set[AccountId] = set()
    markets: set[MarketId] = set()
    state.note_changes(accounts, markets)
    assert (accounts, markets) == ({FIRST}, {OTHER})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 11), max_size=4), min_size=1, max_size=6))
def test_copy_before__groups_of_changes__is_the_state_as_it_was(groups: list[list[int]]):
    state = make_state()
    roots = [compute_state_root(state)]
    sizes = [(len(state.accounts), len(state.exits))]
    for number, changes in enumerate(groups):
        state.begin()
        reset_meter(state)
        for kind in changes:
            change(state, kind, number)
        roots.append(compute_state_root(state))
        sizes.append((len(state.accounts), len(state.exits)))
    for back in range(len(groups) + 1):
        copy = state.copy_before(back)
        assert compute_state_root(copy) == roots[-1 - back]
        assert (len(copy.accounts), len(copy.exits)) == sizes[-1 - back]
        # It is on its own.
        set_account(copy, FIRST, make_account(owner_of(2), 99))
        assert compute_state_root(state) == roots[-1]


# Bounds


@pytest.mark.parametrize(
    ("gas", "witness", "has_room"),
    [
        (0, 0, True),
        (MAX_CHUNK_GAS - MAX_MESSAGE_GAS, 0, True),
        (MAX_CHUNK_GAS - MAX_MESSAGE_GAS + 1, 0, False),
        (0, MAX_CHUNK_WITNESS - MAX_MESSAGE_WITNESS, True),
        (0, MAX_CHUNK_WITNESS - MAX_MESSAGE_WITNESS + 1, False),
    ],
)
def test_limit_message__weight_so_far__is_limited_where_there_is_room(
    gas: int, witness: int, has_room: bool
):
    state = make_state()
    meter = state.meter
    meter.gas, meter.witness = gas, witness
    assert limit_message(state) == has_room
    if has_room:
        limits = (gas + MAX_MESSAGE_GAS, witness + MAX_MESSAGE_WITNESS)
    else:
        limits = (MAX_CHUNK_GAS, MAX_CHUNK_WITNESS)
    assert (meter.max_gas, meter.max_witness) == limits


@pytest.mark.parametrize(
    ("cash", "epoch", "fault"),
    [
        (-INT128, 0, Fault.NONE),
        (-INT128 - 1, 0, Fault.OUT_OF_RANGE),
        (INT128 - 1, UINT32 - 1, Fault.NONE),
        (INT128, 0, Fault.OUT_OF_RANGE),
        (0, UINT32, Fault.OUT_OF_RANGE),
    ],
)
def test_validate_account__ends_of_the_leafs_ranges__are_the_last_that_fit(
    cash: int, epoch: int, fault: Fault
):
    account = make_account(owner_of(1), cash, epoch=epoch)
    assert attempt(lambda: validate_account(account)) == fault


@pytest.mark.parametrize(
    ("size", "fault"), [(-(1 << 63), Fault.NONE), (1 << 63, Fault.OUT_OF_RANGE)]
)
def test_validate_account__position_at_the_end_of_its_range__is_the_last_that_fits(
    size: int, fault: Fault
):
    account = make_account(owner_of(1), 0, Position(MARKET, size, 0))
    assert attempt(lambda: validate_account(account)) == fault
