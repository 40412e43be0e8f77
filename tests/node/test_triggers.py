"""Held orders: whichever was due is found, and those that are gone take no room."""

import random

import pytest

from deltaroll.node.entries import HoldEntry, to_order_entry
from deltaroll.node.triggers import SPARE_LEVELS, Triggers
from deltaroll.protocol.state import State
from deltaroll.protocol.types import AccountId, MarketId, SlotId
from tests.node.support import OWNERS, make_order

ADA = AccountId(1)


def hold(slot: int, level: int, market: int = 1, is_above: bool = True) -> HoldEntry:
    order = make_order(market=MarketId(market))
    entry = to_order_entry(ADA, SlotId(slot), order, b"", OWNERS[ADA].address)
    return HoldEntry(entry, False, is_above, level)


def find_due(held: dict[int, tuple[int, HoldEntry]], prices: dict[int, int]) -> int | None:
    """As `Triggers.find_due`, by looking at every order."""
    first: dict[tuple[int, bool], tuple[int, int]] = {}
    for sequence, entry in held.values():
        sign = 1 if entry.is_above else -1
        if sign * prices[entry.order.market] >= sign * entry.level:
            key = entry.order.market, entry.is_above
            first[key] = min(first.get(key, (10**9, 0)), (sign * entry.level, sequence))
    return min((sequence for _, sequence in first.values()), default=None)


def count_levels(triggers: Triggers) -> int:
    return sum(len(heap) for heaps in triggers._watched.values() for heap in heaps)


def test_add__held_and_cancelled_far_from_any_price__takes_no_room_for_good():
    triggers = Triggers()
    for sequence in range(5 * SPARE_LEVELS):
        triggers.add(sequence, hold(sequence % 3, 10**9))
        if sequence % 2:
            triggers.remove(ADA, SlotId(sequence % 3))
    assert count_levels(triggers) <= 2 * triggers.count(ADA) + SPARE_LEVELS


@pytest.mark.parametrize("seed", range(5))
def test_find_due__levels_forgotten_now_and_then__is_whoever_was_met_first(monkeypatch, seed):
    monkeypatch.setattr("deltaroll.node.triggers.SPARE_LEVELS", 2)
    prices = {1: 50, 2: 50}
    monkeypatch.setattr("deltaroll.node.triggers.get_price", lambda _, watch: prices[watch[0]])
    triggers, dice = Triggers(), random.Random(seed)
    held: dict[int, tuple[int, HoldEntry]] = {}
    for sequence in range(2_000):
        slot = dice.randrange(12)
        if dice.random() < 0.6:
            entry = hold(slot, dice.randint(1, 99), dice.randint(1, 2), dice.random() < 0.5)
            triggers.add(sequence, entry)
            held[slot] = sequence, entry
        else:
            assert (triggers.remove(ADA, SlotId(slot)) is None) is (held.pop(slot, None) is None)
        prices[dice.randint(1, 2)] = dice.randint(20, 80)
        due = triggers.find_due(State())
        assert (None if due is None else due.sequence) == find_due(held, prices)
        if due is not None:
            triggers.remove(*due.key)
            del held[due.key[1]]
    assert count_levels(triggers) <= 2 * len(held) + 2 * 12
