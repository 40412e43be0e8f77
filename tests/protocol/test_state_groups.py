"""Groups of changes: what can be undone, and what no longer can."""

from dataclasses import replace

import pytest

from deltaroll.protocol.state import State, compute_state_root, set_account, touch_account
from deltaroll.protocol.types import AccountId
from tests.node.support import CASH, Venue

ADA = AccountId(1)


@pytest.fixture
def state() -> State:
    return Venue().open().state


def change(state: State, cash: int) -> None:
    """A group that sets Ada's cash, and the insurance fund's."""
    state.begin()
    account = touch_account(state, ADA)
    assert account is not None
    set_account(state, ADA, replace(account, cash=cash))
    state.globals = replace(state.globals, insurance=cash)


@pytest.mark.parametrize("forgotten", [0, 1, 2, 3])
def test_forget__oldest_groups__the_others_can_still_be_undone(state, forgotten):
    roots = [compute_state_root(state)]
    for cash in (1, 2, 3):
        change(state, cash)
        roots.append(compute_state_root(state))
    state.forget(forgotten)
    assert compute_state_root(state) == roots[-1]
    for left in range(2, forgotten - 1, -1):
        state.rollback()
        assert compute_state_root(state) == roots[left]
    expected = (CASH, 0) if forgotten == 0 else (forgotten, forgotten)
    assert (state.accounts[ADA].cash, state.globals.insurance) == expected


def test_forget__all_groups__nothing_is_remembered(state):
    change(state, 1)
    change(state, 2)
    state.forget(2)
    with pytest.raises(IndexError):
        state.rollback()
    assert not state._journal
