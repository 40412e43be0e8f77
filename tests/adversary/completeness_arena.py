"""States for lies, and honest transactions that fill a chunk before one.

Two accounts, maker and taker, are as small or as large as accounts get. A crowd of small accounts
does what is honest meanwhile: nothing that a lie prepares stands in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, islice
from random import Random

from deltaroll.protocol.constants import MAX_GROUPS, MAX_POSITIONS
from deltaroll.protocol.state import (
    State,
    compute_state_root,
    reset_meter,
    set_account,
    set_market,
)
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Distress,
    MarketId,
    Series,
    SeriesKind,
    Underlying,
)
from tests.protocol.heavy import (
    deposit,
    fill_resting,
    mark_again,
    noise,
    observe,
    transfer,
    transfer_pairs,
)
from tests.protocol.scenes import Scene, Step, create_scene, make_expiry
from tests.protocol.strategies import UNDERLYINGS

CROWD = 180
"""Accounts that hold nothing: with more, a chunk's table could be full before its weight is."""
SURFACED = MarketId(25_000)
"""An expiry with a surface, in every arena."""
SPARE = MarketId(65_000)
"""Free for what a lie lists: after all that accounts hold."""


@dataclass(frozen=True, slots=True)
class Arena:
    """A state, and the parts that a lie may use."""

    name: str
    scene: Scene
    maker: AccountId
    taker: AccountId
    held: MarketId
    """The last series that both hold."""
    groups: int
    """Underlyings and expiries that their positions are spread over."""
    crowd: Scene
    """The same state, with the crowd for accounts, and series whose prices no lie touches."""

    @property
    def state(self) -> State:
        """The state."""
        return self.scene.state

    @property
    def is_large(self) -> bool:
        """Whether accounts are as large as they get."""
        return len(self.account(self.maker).positions) == MAX_POSITIONS

    def account(self, account_id: AccountId) -> Account:
        """An account that exists."""
        return self.state.accounts[account_id]

    def series(self, market: MarketId) -> Series:
        """A series that exists."""
        leaf = self.state.markets[market]
        assert isinstance(leaf, Series)
        return leaf

    def underlying(self, market: MarketId) -> Underlying:
        """The underlying of a series."""
        leaf = self.state.markets[self.series(market).underlying]
        assert isinstance(leaf, Underlying)
        return leaf


def create_arena(
    name: str, positions: int, series: int, *, underlyings: int = 1, expiries: int = 0
) -> Arena:
    """A scene of which the first two accounts keep their positions."""
    scene = create_scene(2 + CROWD, positions, series, underlyings=underlyings, expiries=expiries)
    state = scene.state
    for account_id in scene.accounts[2:]:
        account = replace(state.accounts[account_id], positions=())
        set_account(state, account_id, account)
    if SURFACED not in state.markets:
        set_market(state, SURFACED, make_expiry(UNDERLYINGS[0], 0, settled=False))
    maker, taker = scene.accounts[:2]
    held = state.accounts[maker].positions[-1].series
    # The group that a margin check comes to last holds one position.
    if expiries == 0:
        swap_underlyings(state, scene.series[underlyings - 1], held)
    groups = count_groups(state, state.accounts[maker])
    crowd = replace(
        scene,
        series=[market for market in scene.series if market != held],
        accounts=scene.accounts[2:],
        owners=scene.owners[2:],
    )
    compute_state_root(state)
    reset_meter(state)
    return Arena(name, scene, maker, taker, held, groups, crowd)


def swap_underlyings(state: State, one: MarketId, other: MarketId) -> None:
    """Let two series change places."""
    first, second = state.markets[one], state.markets[other]
    assert isinstance(first, Series)
    assert isinstance(second, Series)
    set_market(state, one, replace(first, underlying=second.underlying))
    set_market(state, other, replace(second, underlying=first.underlying))


def count_groups(state: State, account: Account) -> int:
    """Underlyings and expiries of an account's positions."""
    found = set()
    for position in account.positions:
        leaf = state.markets[position.series]
        assert isinstance(leaf, Series)
        found.add(leaf.underlying)
        if leaf.kind != SeriesKind.PERPETUAL:
            found.add(leaf.expiry)
    return len(found)


@cache
def small() -> Arena:
    """One position each."""
    return create_arena("1 position", 1, 2, underlyings=2)


@cache
def wide() -> Arena:
    """As many positions as an account may hold, of as many underlyings as it may be spread over."""
    arena = create_arena(
        "64 perpetuals, 48 groups", MAX_POSITIONS, MAX_POSITIONS, underlyings=MAX_GROUPS
    )
    assert arena.groups == MAX_GROUPS
    return arena


@cache
def options() -> Arena:
    """As many options as an account may hold, of 32 expiries and 16 underlyings."""
    arena = create_arena(
        "64 options, 48 groups", MAX_POSITIONS, MAX_POSITIONS, underlyings=16, expiries=32
    )
    assert arena.groups == MAX_GROUPS
    return arena


Filler = Callable[[Arena], Iterator[Step]]


def fill_with_transfers(arena: Arena) -> Iterator[Step]:
    """The most gas in the fewest bytes."""
    return transfer(arena.crowd)


def fill_with_pairs(arena: Arena) -> Iterator[Step]:
    """Accounts named once each: bytes, then as much work as is left."""
    pairs = replace(arena.crowd, accounts=arena.crowd.accounts[2:])
    return chain(transfer_pairs(pairs), transfer(arena.crowd))


def fill_with_pairs_and_fills(arena: Arena) -> Iterator[Step]:
    """The most memory, then the most work in it."""
    pairs = replace(arena.crowd, accounts=arena.crowd.accounts[2:])
    return chain(islice(transfer_pairs(pairs), 60), fill_with_fills(arena))


def fill_with_fills(arena: Arena) -> Iterator[Step]:
    """Two accounts trade again and again."""
    return fill_resting(arena.crowd)


def fill_with_messages(arena: Arena) -> Iterator[Step]:
    """The most bytes."""
    return noise(arena.crowd)


def fill_with_marks(arena: Arena) -> Iterator[Step]:
    """One series again and again."""
    return mark_again(arena.crowd)


def fill_with_observations(arena: Arena) -> Iterator[Step]:
    """The most signatures."""
    return observe(arena.crowd)


def fill_with_deposits(arena: Arena) -> Iterator[Step]:
    """The longest queue that does something."""
    return deposit(arena.crowd)


def fill_with_handovers(arena: Arena) -> Iterator[Step]:
    """What leaves most memory for its weight, then what has to hand it over: auctions that end."""
    over = (Distress(account) for account in arena.crowd.accounts[4:])
    return chain(islice(transfer(arena.crowd), 445), over)


def fill_with_marks_and_handovers(arena: Arena) -> Iterator[Step]:
    """Another way to use memory up, which nobody has to sign."""
    over = (Distress(account) for account in arena.crowd.accounts[4:])
    return chain(islice(fill_with_marks(arena), 160), over)


FILLERS: dict[str, Filler] = {
    "fills": fill_with_fills,
    "messages": fill_with_messages,
    "transfers, handovers": fill_with_handovers,
    "pairs, fills": fill_with_pairs_and_fills,
    "marks, handovers": fill_with_marks_and_handovers,
    "marks": fill_with_marks,
    "transfers": fill_with_transfers,
    "observations": fill_with_observations,
    "pairs": fill_with_pairs,
    "deposits": fill_with_deposits,
}
"""Those that come to most by themselves are first."""


def fill_with_mixture(arena: Arena, rng: Random) -> Iterator[Step]:
    """Runs of honest transactions of kinds that do not meet, in any order."""
    crowd = arena.crowd

    def part(first: int, last: int) -> Scene:
        return replace(crowd, accounts=crowd.accounts[first:last])

    kinds = [
        (400, transfer(part(0, 2))),
        (120, fill_resting(part(2, 4))),
        (200, mark_again(crowd)),
        (6, (Distress(account) for account in crowd.accounts[4:60])),
        (60, transfer_pairs(part(60, CROWD))),
        (30, deposit(crowd)),
        (60, noise(crowd)),
        (20, observe(crowd)),
    ]
    while True:
        longest, steps = rng.choice(kinds)
        yield from islice(steps, 1 + rng.randrange(longest))
