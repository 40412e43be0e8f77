"""What a lie is, and what lies are made of.

A lie may change the state before it: it is made between `State.begin` and `State.rollback`. Its
last transaction is the bad one, as deep in its own course as its rule is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from deltaroll.protocol.fault import Fault
from deltaroll.protocol.listing import create_series
from deltaroll.protocol.margin import Margin, compute_margin
from deltaroll.protocol.state import (
    State,
    reset_meter,
    set_account,
    set_market,
    set_slot,
)
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Committee,
    Fill,
    Liquidate,
    MarketId,
    Observation,
    Observe,
    Order,
    SeriesKind,
    SeriesStatus,
    Slot,
    SlotId,
    Surface,
    Timestamp,
    Transfer,
    Withdraw,
)
from tests.adversary.completeness_arena import SPARE, Arena
from tests.protocol.heavy import make_surface
from tests.protocol.scenes import PRICE, Step, order
from tests.protocol.strategies import SIGNERS, START

MAKER_SLOT, TAKER_SLOT = SlotId(100), SlotId(3997)
LOTS = 5
OWN_COMMITTEE = MarketId(3)
NONCE = 99_999_999
RUIN = -(1 << 120)


def same(data: bytes) -> bytes:
    """Leave a chunk's data as it is."""
    return data


@dataclass(frozen=True, slots=True)
class Lie:
    """What comes last in a chunk, and what is wrong with the chunk around it."""

    steps: tuple[Step, ...]
    spoil: Callable[[bytes], bytes] = same
    """What is done to the data."""
    clock: int = 0
    """Seconds from the state's clock to the chunk's."""
    lag: int = 0
    """Seconds from the state's clock to the L1 block."""
    queue: int = 0
    """Messages that the header claims beyond those that the chunk consumes."""
    is_first: bool = False
    """Nothing may stand before it in the batch."""
    is_short: bool = False
    """One of the signatures is missing. Else a wrong number is as many as the inbox takes."""


Build = Callable[[Arena], Lie]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to break a rule in any arena."""

    fault: Fault
    build: Build
    is_for_large: bool
    """Only accounts as large as they get can break the rule like this."""
    is_alone: bool
    """It breaks the rule like this only where nothing stands before it in the chunk."""

    @property
    def name(self) -> str:
        """What is done."""
        return self.build.__name__


RECIPES: list[Recipe] = []


def breaks(
    fault: Fault, is_for_large: bool = False, is_alone: bool = False
) -> Callable[[Build], Build]:
    """Register a lie under the rule that it breaks."""

    def register(build: Build) -> Build:
        RECIPES.append(Recipe(fault, build, is_for_large, is_alone))
        return build

    return register


# Honest transactions of the two accounts, to be changed in one point each


def make_fill(arena: Arena, of_maker: Any = None, of_taker: Any = None, **changes: Any) -> Fill:
    """The maker buys back some of what it is short of, the taker goes further short."""
    market = changes.get("market", arena.held)
    maker_order = replace(order(market, True, NONCE), **(of_maker or {}))
    taker_order = replace(order(market, False, NONCE), **(of_taker or {}))
    known = Fill(
        market,
        arena.maker,
        arena.taker,
        MAKER_SLOT,
        TAKER_SLOT,
        True,
        LOTS,
        maker_order,
        taker_order,
    )
    return replace(known, **changes)


def make_transfer(arena: Arena, **changes: Any) -> Transfer:
    """The maker gives a little to a small account."""
    recipient = arena.crowd.accounts[0]
    return replace(Transfer(arena.maker, recipient, 99_999_999_999, NONCE), **changes)


def make_withdraw(arena: Arena, **changes: Any) -> Withdraw:
    """The maker leaves with a little."""
    owner = arena.scene.owners[0]
    return replace(Withdraw(arena.maker, owner, 99_999_999_999, NONCE), **changes)


def make_liquidate(arena: Arena, **changes: Any) -> Liquidate:
    """The maker takes over a little of the taker."""
    return replace(Liquidate(arena.maker, arena.taker, 1_000, 0, NONCE), **changes)


def make_observe(arena: Arena) -> Observe:
    """Sixteen members see the price of what both hold."""
    underlying = arena.series(arena.held).underlying
    seen = tuple(Observation(n, PRICE + 999 - n, Timestamp(START - 9)) for n in range(16))
    return Observe(underlying, seen)


def plain(*steps: Step) -> Lie:
    """Return a lie that is nothing but transactions."""
    return Lie(steps)


# Changes of the state before


def change_account(state: State, account_id: AccountId, **changes: Any) -> Account:
    """Change an account; return it."""
    account = replace(state.accounts[account_id], **changes)
    set_account(state, account_id, account)
    return account


def change_series(arena: Arena, **changes: Any) -> None:
    """Change the last series that both hold."""
    set_market(arena.state, arena.held, replace(arena.series(arena.held), **changes))


def change_underlying(arena: Arena, **changes: Any) -> None:
    """Change the underlying of that series; names of parameters are found."""
    leaf = arena.underlying(arena.held)
    of_params = {key: value for key, value in changes.items() if hasattr(leaf.params, key)}
    rest = {key: value for key, value in changes.items() if key not in of_params}
    changed = replace(leaf, params=replace(leaf.params, **of_params), **rest)
    set_market(arena.state, arena.series(arena.held).underlying, changed)


def set_committee(arena: Arena, threshold: int, members: int) -> None:
    """Give that underlying a committee of its own."""
    signers = tuple(sorted(signer.address for signer in SIGNERS[:members]))
    set_market(arena.state, OWN_COMMITTEE, Committee(threshold, signers))
    change_underlying(arena, committee=OWN_COMMITTEE)


def rest_order(arena: Arena, account_id: AccountId, slot: SlotId, left: Order) -> None:
    """Leave an order of an account."""
    set_slot(arena.state, account_id, slot, Slot(left, 0))


def margin_of(arena: Arena, account: Account) -> Margin:
    """An account's margin, weighed apart."""
    reset_meter(arena.state)
    return compute_margin(arena.state, account, arena.state.globals.clock)


def set_equity(arena: Arena, equity: Callable[[Margin], int], since: int, insurance: int) -> None:
    """Bring the taker into an auction, with so much equity and so much in the fund."""
    state = arena.state
    account = change_account(state, arena.taker, cash=0)
    margin = margin_of(arena, account)
    cash = equity(margin) - margin.equity
    change_account(state, arena.taker, cash=cash, distressed_at=Timestamp(START - since))
    state.globals = replace(state.globals, insurance=insurance, insurance_peak=insurance)


def list_new(arena: Arena, count: int) -> list[MarketId]:
    """List perpetuals that nobody has marked or holds, after all that accounts hold."""
    name = arena.series(arena.held).underlying
    kind, status = SeriesKind.PERPETUAL, SeriesStatus.ACTIVE
    markets = [MarketId(SPARE + place) for place in range(count)]
    for market in markets:
        set_market(arena.state, market, create_series(kind, status, name, MarketId(0), 0))
    return markets


def list_spare(arena: Arena, **changes: Any) -> MarketId:
    """List a series after all that accounts hold."""
    leaf = replace(arena.series(arena.held), **changes)
    set_market(arena.state, SPARE, leaf)
    return SPARE


def change_surface(arena: Arena, **changes: Any) -> Lie:
    """Return a surface by all members that is wrong in one point."""
    known = make_surface(arena.scene, 0)
    assert isinstance(known, Surface)
    return plain(replace(known, **changes))
