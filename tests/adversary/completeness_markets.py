"""For every rule about oracles, listings and auctions, transactions that break just that one."""

from __future__ import annotations

from dataclasses import replace

from deltaroll.protocol.constants import ONE, PPM
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import set_market
from deltaroll.protocol.types import Distress, Expiry, List, MarketId, Socialise, Sweep, Timestamp
from tests.adversary.completeness_arena import SPARE, SURFACED, Arena
from tests.adversary.completeness_lies import (
    RUIN,
    Lie,
    breaks,
    change_account,
    change_surface,
    change_underlying,
    make_liquidate,
    make_observe,
    plain,
    set_committee,
    set_equity,
)
from tests.protocol.scenes import PRICE
from tests.protocol.strategies import START

# Oracles and listings


@breaks(Fault.QUORUM)
def observes_with_an_outlier(arena: Arena) -> Lie:
    """Sixteen are needed, and one of them is far off."""
    set_committee(arena, 16, 16)
    known = make_observe(arena)
    far = replace(known.observations[15], price=2 * PRICE)
    return plain(replace(known, observations=(*known.observations[:15], far)))


@breaks(Fault.QUORUM)
def observes_what_is_old(arena: Arena) -> Lie:
    change_underlying(arena, observed_at=Timestamp(START - 9))
    return plain(make_observe(arena))


@breaks(Fault.UNKNOWN_SIGNER)
def observes_with_a_stranger(arena: Arena) -> Lie:
    set_committee(arena, 15, 15)
    return plain(make_observe(arena))


@breaks(Fault.UNKNOWN_SIGNER)
def surface_by_a_stranger(arena: Arena) -> Lie:
    set_committee(arena, 15, 15)
    leaf = arena.state.markets[SURFACED]
    assert isinstance(leaf, Expiry)
    set_market(arena.state, SPARE, replace(leaf, underlying=arena.series(arena.held).underlying))
    return change_surface(arena, market=SPARE)


@breaks(Fault.SURFACE)
def surface_below_zero(arena: Arena) -> Lie:
    return change_surface(arena, a=-ONE)


@breaks(Fault.SURFACE)
def surface_with_steep_wings(arena: Arena) -> Lie:
    return change_surface(arena, b=2 * ONE)


@breaks(Fault.NOT_DUE)
def distress_of_the_healthy(arena: Arena) -> Lie:
    """Everything is accrued and margined."""
    change_account(arena.state, arena.maker, distressed_at=Timestamp(0))
    return plain(Distress(arena.maker))


@breaks(Fault.NOT_DUE)
def sweeps_nothing(arena: Arena) -> Lie:
    return plain(Sweep(arena.maker))


@breaks(Fault.NOT_DUE)
def lists_over_what_lives(arena: Arena) -> Lie:
    """The last leaf of the place is not free."""
    change_underlying(arena, list_base=SPARE, list_expiries=1)
    name = arena.series(arena.held).underlying
    set_market(arena.state, MarketId(SPARE + 32), arena.series(arena.held))
    return plain(List(name, 0))


# Auctions


@breaks(Fault.SOLVENT)
def takes_over_the_healthy(arena: Arena) -> Lie:
    return plain(make_liquidate(arena))


@breaks(Fault.SOLVENT)
def socialises_what_is_not_lost(arena: Arena) -> Lie:
    return plain(Socialise(arena.maker))


@breaks(Fault.SHARE)
def takes_over_too_much(arena: Arena) -> Lie:
    """A part would do: the auction has just begun, and there is equity."""
    set_equity(arena, lambda margin: margin.maintenance * 9 // 10, 0, 1 << 120)
    return plain(make_liquidate(arena, share=PPM))


@breaks(Fault.SHARE)
def takes_over_nothing(arena: Arena) -> Lie:
    set_equity(arena, lambda margin: 1, 40_000, 1 << 120)
    return plain(make_liquidate(arena, share=0))


@breaks(Fault.REWARD)
def asks_for_more_than_the_fund_has(arena: Arena) -> Lie:
    """Found when the payment is known."""
    set_equity(arena, lambda margin: 1, 40_000, 0)
    return plain(make_liquidate(arena, reward=20_000))


@breaks(Fault.REWARD)
def asks_too_early(arena: Arena) -> Lie:
    set_equity(arena, lambda margin: 1, 0, 1 << 120)
    return plain(make_liquidate(arena, reward=900_000))


@breaks(Fault.INSURANCE)
def takes_over_a_hole(arena: Arena) -> Lie:
    set_equity(arena, lambda margin: -(10**15), 40_000, 0)
    return plain(make_liquidate(arena, share=PPM))


@breaks(Fault.INSURANCE)
def socialises_with_nobody_to_charge(arena: Arena) -> Lie:
    """A debt is all that is left."""
    change_account(arena.state, arena.maker, cash=RUIN, positions=())
    return plain(Socialise(arena.maker))
