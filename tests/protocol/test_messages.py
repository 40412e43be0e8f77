"""Messages from L1 that single tests are about; the rest is in random chunks."""

from __future__ import annotations

import pytest

from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.messages import process_cancel_all
from tests.protocol.money import owner_of
from tests.protocol.test_force_close import HOLDER, make_state


def test_process_cancel_all__body_of_an_account__raises_its_epoch_by_one() -> None:
    state = make_state()
    epoch = state.accounts[HOLDER].epoch
    process_cancel_all(state, owner_of(HOLDER), HOLDER.to_bytes(4, "big"))
    assert state.accounts[HOLDER].epoch == epoch + 1


@pytest.mark.parametrize("width", [0, 3, 5, 8])
def test_process_cancel_all__body_of_another_length__is_not_canonical(width: int) -> None:
    """The number in it may be an account's all the same."""
    state = make_state()
    body = HOLDER.to_bytes(width, "big") if width else b""
    before = state.accounts[HOLDER]
    with pytest.raises(TransitionFault) as caught:
        process_cancel_all(state, owner_of(HOLDER), body)
    assert caught.value.fault == Fault.NON_CANONICAL
    assert state.accounts[HOLDER] == before
