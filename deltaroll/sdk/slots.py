"""Order slots: which are free, and the next nonce of each."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from deltaroll.protocol.constants import SLOT_DEPTH
from deltaroll.sdk.errors import NoSlotError

ALL = range(1 << SLOT_DEPTH)


class Slots:
    """Gives out slots and nonces, none of them twice. Not for several threads: a client uses it on
    its event loop alone.

    Two clients of one account have to use slots that are disjoint: a new order takes the place of
    the one in its slot.
    """

    def __init__(self, allowed: Iterable[int] = ALL) -> None:
        """Start with slots that have never been used.

        Raises
        ------
        ValueError
            When a slot is outside 0..4095, or there is none.
        """
        self._free = list(dict.fromkeys(allowed))
        if not self._free or any(slot not in ALL for slot in self._free):
            raise ValueError(f"slots: not one or more of 0..{ALL[-1]}")
        heapify(self._free)
        self._nonces = dict.fromkeys(self._free, 0)
        self._uses: dict[int, int] = {}

    def note(self, slot: int, nonce: int) -> None:
        """Note a nonce that has been used."""
        if slot in self._nonces:
            self._nonces[slot] = max(self._nonces[slot], nonce)

    def take(self) -> tuple[int, int]:
        """Return a free slot, the lowest, and its next nonce; it is used from now on.

        Raises
        ------
        NoSlotError
        """
        while self._free:
            slot = heappop(self._free)
            if not self._uses.get(slot):
                return slot, self.renew(slot)
        raise NoSlotError(f"slots: all {len(self._nonces)} are in use")

    def renew(self, slot: int) -> int:
        """Return the next nonce of a slot, for one order more in it; ValueError when it is not ours
        to use."""
        if slot not in self._nonces:
            raise ValueError(f"slot: {slot} is none of those that this client may use")
        nonce = self._nonces[slot] = self._nonces[slot] + 1
        self.hold(slot)
        return nonce

    def hold(self, slot: int) -> None:
        """Count an order more in a slot; one that is not ours to use is not counted."""
        if slot in self._nonces:
            self._uses[slot] = self._uses.get(slot, 0) + 1

    def release(self, slot: int) -> None:
        """Count an order less; a slot without any is free."""
        if slot not in self._nonces:
            return
        left = self._uses.get(slot, 0) - 1
        if left > 0:
            self._uses[slot] = left
        else:
            self._uses.pop(slot, None)
            heappush(self._free, slot)

    @property
    def in_use(self) -> int:
        """How many slots have orders that are alive."""
        return len(self._uses)
