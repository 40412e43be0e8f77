"""What takes an account's orders off the book for its own good: a dead-man switch, and protection
of market makers against being swept on many series at once.

Time is the log's clock, L1 time: seconds that come in steps of a block.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from deltaroll.engine.matching import RestingOrder
from deltaroll.protocol.state import State
from deltaroll.protocol.types import AccountId, MarketId, Series, Timestamp


@dataclass(slots=True)
class Protection:
    """An account's limits on one underlying, and what has traded within the window."""

    seconds: int
    lots: int
    """0: no limit; likewise for fills."""
    fills: int
    is_frozen: bool = False
    traded: int = 0
    """Lots within the window."""
    window: deque[tuple[Timestamp, int]] = field(default_factory=deque)
    """(Time, lots) of each fill."""

    def advance(self, clock: Timestamp) -> None:
        """Forget what is out of the window."""
        window = self.window
        while window and window[0][0] + self.seconds <= clock:
            self.traded -= window.popleft()[1]

    def is_spent(self, lots: int, fills: int) -> bool:
        """Return whether a limit is reached with so much more."""
        return self.is_frozen or (
            (self.lots != 0 and self.traded + lots >= self.lots)
            or (self.fills != 0 and len(self.window) + fills >= self.fills)
        )

    def note(self, clock: Timestamp, lots: int) -> None:
        """Count a fill."""
        self.window.append((clock, lots))
        self.traded += lots


Key = tuple[AccountId, MarketId]


class Protections:
    """The protections of all accounts."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._all: dict[Key, Protection] = {}

    def find(self, account: AccountId, underlying: MarketId) -> Protection | None:
        """Return an account's protection on an underlying."""
        return self._all.get((account, underlying))

    def get_all(self) -> dict[Key, Protection]:
        """Return all of them."""
        return dict(self._all)

    def restore(self, key: Key, protection: Protection) -> None:
        """Have a protection of a snapshot again."""
        self._all[key] = protection

    def set(
        self, account: AccountId, underlying: MarketId, seconds: int, lots: int, fills: int
    ) -> None:
        """Change an account's limits; what has traded is forgotten, a freeze is not."""
        before = self._all.pop((account, underlying), None)
        if seconds:
            is_frozen = before is not None and before.is_frozen
            self._all[account, underlying] = Protection(seconds, lots, fills, is_frozen)

    def resume(self, account: AccountId, underlying: MarketId) -> None:
        """Take quotes again."""
        protection = self._all[account, underlying]
        self.set(account, underlying, protection.seconds, protection.lots, protection.fills)
        self._all[account, underlying].is_frozen = False

    def find_underlying(self, market: MarketId) -> MarketId | None:
        """Return a series' underlying."""
        series = self._state.markets.get(market)
        return series.underlying if isinstance(series, Series) else None

    def find_of(self, resting: RestingOrder) -> Protection | None:
        """Return the protection that an order is under."""
        underlying = self.find_underlying(resting.order.market)
        return None if underlying is None else self._all.get((resting.account, underlying))

    def is_spent(self, maker: RestingOrder, trades: Sequence[tuple[RestingOrder, int]]) -> bool:
        """Return whether a quote may trade no more, `trades` of the same sweep included."""
        protection = self.find_of(maker)
        if protection is None:
            return False
        protection.advance(self._state.globals.clock)
        # A sweep is of one series: all its makers' quotes are on the same underlying.
        mine = [lots for other, lots in trades if other.is_quote and other.account == maker.account]
        return bool(mine) and protection.is_spent(sum(mine), len(mine))

    def note_fills(self, makers: Sequence[RestingOrder], lots: Sequence[int]) -> list[Key]:
        """Count the fills of quotes; return the protections that have tripped by them."""
        clock = self._state.globals.clock
        tripped = []
        for maker, traded in zip(makers, lots, strict=True):
            underlying = self.find_underlying(maker.order.market) if maker.is_quote else None
            protection = None if underlying is None else self.find(maker.account, underlying)
            if protection is None or underlying is None:
                continue
            protection.advance(clock)
            protection.note(clock, traded)
            if not protection.is_frozen and protection.is_spent(0, 0):
                protection.is_frozen = True
                tripped.append((maker.account, underlying))
        return tripped


class DeadMen:
    """Until when each account wants to be heard of."""

    def __init__(self) -> None:
        self._deadlines: dict[AccountId, Timestamp] = {}

    def set(self, account: AccountId, deadline: Timestamp | None) -> None:
        """Move an account's deadline; None: it has none."""
        if deadline is None:
            self._deadlines.pop(account, None)
        else:
            self._deadlines[account] = deadline

    def get_all(self) -> dict[AccountId, Timestamp]:
        """Return all deadlines."""
        return dict(self._deadlines)

    def take_due(self, clock: Timestamp) -> list[AccountId]:
        """Return the accounts whose deadline has passed; they have none from now on."""
        due = sorted(account for account, until in self._deadlines.items() if until < clock)
        for account in due:
            del self._deadlines[account]
        return due
