"""Orders that wait for a price: stop and take-profit orders, signed like any other.

They live in the sequencer's log, not in the protocol: nobody can prove that one was triggered late.
What was signed still holds: none trades beyond its limit, its size or its expiry.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from deltaroll.node.entries import HoldEntry
from deltaroll.protocol.state import State
from deltaroll.protocol.types import AccountId, MarketId, Series, SlotId, Timestamp, Underlying

SPARE_LEVELS = 1_000
"""Levels of orders that are held no more that are kept beside as many as are held."""
Key = tuple[AccountId, SlotId]
Level = tuple[int, int, Key]
"""A level, negated where it triggers from above, and whose it is."""
Watch = tuple[MarketId, bool]
"""What a trigger looks at: a market, and whether the index of its underlying."""


@dataclass(frozen=True, slots=True)
class Held:
    """An order that waits."""

    sequence: int
    entry: HoldEntry

    @property
    def key(self) -> Key:
        """Account and slot."""
        return AccountId(self.entry.order.account), SlotId(self.entry.order.slot)


class Triggers:
    """All held orders, at most one a slot."""

    def __init__(self) -> None:
        self._held: dict[AccountId, dict[SlotId, Held]] = {}
        # Of each price two heaps: levels that it triggers from below, and from above, negated.
        self._watched: dict[Watch, tuple[list[Level], list[Level]]] = {}
        self._levels = 0
        """In all heaps."""
        self._count = 0
        """Orders held."""

    def __bool__(self) -> bool:
        return bool(self._held)

    def find(self, account: AccountId, slot: SlotId) -> Held | None:
        """Return the order that is held in a slot."""
        held = self._held.get(account)
        return None if held is None else held.get(slot)

    def get_all(self, account: AccountId | None = None) -> list[Held]:
        """Return the held orders of an account, or all, oldest first."""
        groups = self._held.values() if account is None else (self._held.get(account, {}),)
        found = [held for group in groups for held in group.values()]
        return sorted(found, key=lambda held: held.sequence)

    def get_expired(self, clock: Timestamp) -> list[Held]:
        """Return the held orders that may not trade at `clock` any more, oldest first."""
        found = [
            held
            for group in self._held.values()
            for held in group.values()
            if held.entry.order.expiry < clock
        ]
        return sorted(found, key=lambda held: held.sequence)

    def count(self, account: AccountId) -> int:
        """Return how many orders of an account are held."""
        return len(self._held.get(account, ()))

    def add(self, sequence: int, entry: HoldEntry) -> Held | None:
        """Hold an order; return the one that its slot held before."""
        held = Held(sequence, entry)
        account, slot = held.key
        group = self._held.setdefault(account, {})
        before = group.get(slot)
        group[slot] = held
        self._count += before is None
        heap, level = self._find_heap(held)
        heappush(heap, level)
        self._levels += 1
        if self._levels > 2 * self._count + SPARE_LEVELS:
            self._forget_levels()
        return before

    def remove(self, account: AccountId, slot: SlotId) -> Held | None:
        """Hold an order no more; None when none was held."""
        group = self._held.get(account)
        held = None if group is None else group.pop(slot, None)
        if group is not None and not group:
            del self._held[account]
        self._count -= held is not None
        return held

    def find_due(self, state: State) -> Held | None:
        """Return an order whose trigger is met; None when there is none. Of one price and direction
        it is the one whose level comes first on the way there, of several such the oldest."""
        due: Held | None = None
        for watch in list(self._watched):
            price = get_price(state, watch)
            if price is None:
                continue
            for heap, bound in zip(self._watched[watch], (price, -price), strict=True):
                for held in self._iterate_met(heap, bound):
                    if due is None or held.sequence < due.sequence:
                        due = held
            if not any(self._watched[watch]):
                del self._watched[watch]
        return due

    def _find_heap(self, held: Held) -> tuple[list[Level], Level]:
        """Return the heap that an order's level belongs to, and the level."""
        entry = held.entry
        watch = MarketId(entry.order.market), entry.is_index
        heaps = self._watched.setdefault(watch, ([], []))
        level = entry.level if entry.is_above else -entry.level
        return heaps[0 if entry.is_above else 1], (level, held.sequence, held.key)

    def _forget_levels(self) -> None:
        """Drop the levels of orders that are held no more: prices may never come to them."""
        self._watched.clear()
        for held in self.get_all():
            heap, level = self._find_heap(held)
            heap.append(level)
        for heaps in self._watched.values():
            for heap in heaps:
                heapify(heap)
        self._levels = self._count

    def _iterate_met(self, heap: list[Level], bound: int) -> Iterator[Held]:
        """Yield the first order that is met; forget those before it that are held no more."""
        while heap and heap[0][0] <= bound:
            _, sequence, (account, slot) = heap[0]
            held = self.find(account, slot)
            if held is not None and held.sequence == sequence:
                yield held
                return
            heappop(heap)
            self._levels -= 1


def get_price(state: State, watch: Watch) -> int | None:
    """Return the price that a trigger looks at; None while there is none."""
    market, is_index = watch
    series = state.markets.get(market)
    if not isinstance(series, Series):
        return None
    if not is_index:
        return series.mark if series.marked_at else None
    underlying = state.markets.get(series.underlying)
    return underlying.index or None if isinstance(underlying, Underlying) else None
