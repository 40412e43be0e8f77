"""Slots and nonces: none is given out twice, whoever asks and in whatever order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deltaroll.sdk.errors import NoSlotError
from deltaroll.sdk.slots import Slots

ALLOWED = range(3, 9)


class Traders(RuleBasedStateMachine):
    """Orders come, are replaced and go; a model knows which are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(ALLOWED)
        self.alive: list[tuple[int, int]] = []
        self.used: dict[int, int] = {}

    def note(self, slot: int, nonce: int) -> None:
        assert slot in ALLOWED
        assert nonce > self.used.get(slot, 0)
        self.used[slot] = nonce
        self.alive.append((slot, nonce))

    @rule()
    def take(self) -> None:
        busy = {slot for slot, _ in self.alive}
        if len(busy) == len(ALLOWED):
            with pytest.raises(NoSlotError):
                self.slots.take()
            return
        slot, nonce = self.slots.take()
        assert slot not in busy
        self.note(slot, nonce)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        slot, _ = data.draw(st.sampled_from(self.alive))
        self.note(slot, self.slots.renew(slot))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from(self.alive))
        self.alive.remove(order)
        self.slots.release(order[0])

    @rule(slot=st.integers(0, 12), nonce=st.integers(1, 50))
    def hear_of_another_run(self, slot: int, nonce: int) -> None:
        self.slots.note(slot, nonce)
        if slot in ALLOWED:
            self.used[slot] = max(self.used.get(slot, 0), nonce)

    @rule(slot=st.integers(0, 12), nonce=st.integers(1, 50))
    def adopt(self, slot: int, nonce: int) -> None:
        self.slots.note(slot, nonce)
        self.slots.hold(slot)
        if slot in ALLOWED:
            self.used[slot] = max(self.used.get(slot, 0), nonce)
            self.alive.append((slot, nonce))

    @invariant()
    def counts(self) -> None:
        assert self.slots.in_use == len({slot for slot, _ in self.alive})


Traders.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTraders = Traders.TestCase


@pytest.mark.parametrize("allowed", [[], [-1], [4_096], [0, 5_000]])
def test_slots__none_or_out_of_range__are_refused(allowed):
    with pytest.raises(ValueError, match=r"slots: not one or more of 0\.\.4095"):
        Slots(allowed)


@given(st.permutations(list(range(5))))
@settings(max_examples=20, deadline=None)
def test_take__after_any_order_of_release__is_the_lowest(order):
    slots = Slots(range(5))
    for _ in range(5):
        slots.take()
    for slot in order[:3]:
        slots.release(slot)
    assert slots.take() == (min(order[:3]), 2)


def test_renew__slot_of_another_client__is_refused():
    slots = Slots([3])
    slots.note(4, 7)
    with pytest.raises(ValueError, match="slot: 4 is none of those that this client may use"):
        slots.renew(4)
    assert (slots.renew(3), slots.in_use) == (1, 1)
