"""Flow of options and of accounts in trouble, for the drafts of `strategies`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from deltaroll.protocol.configure import (
    encode_configure_expiry,
    encode_configure_series,
)
from deltaroll.protocol.constants import DAY, EXPIRY_TIME, INSURANCE_ACCOUNT, ONE
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Address,
    DataFee,
    Distress,
    Expiry,
    Fund,
    Liquidate,
    List,
    Mark,
    MarketId,
    MessageKind,
    Observation,
    Observe,
    Series,
    SeriesKind,
    SeriesStatus,
    Socialise,
    Surface,
    Sweep,
    Timestamp,
    Transaction,
    Underlying,
)

if TYPE_CHECKING:
    from tests.protocol.strategies import Draft

LIST_BASES = {10: 1_000, 11: 1_100, 12: 1_200}
"""Where each underlying's expiries are listed."""
STRIKES, EXPIRIES, PERIOD = 3, 2, 7


def is_expiry(leaf: object) -> bool:
    """Whether a leaf is an expiry of options."""
    return isinstance(leaf, Expiry) and leaf.time != 0


def find_expiries(draft_state: object, options_only: bool = False) -> list[MarketId]:
    """All expiry leaves of a state."""
    markets = draft_state.markets  # type: ignore[attr-defined]
    return sorted(
        market
        for market, leaf in markets.items()
        if isinstance(leaf, Expiry) and (leaf.time != 0 or not options_only)
    )


def find_series(state: object, expiry: MarketId) -> list[MarketId]:
    """The series of an expiry."""
    markets = state.markets  # type: ignore[attr-defined]
    return sorted(
        market
        for market, leaf in markets.items()
        if isinstance(leaf, Series) and leaf.expiry == expiry
    )


def make_plausible_surface(rng: Random, market: MarketId, leaf: Expiry, clock: int) -> Surface:
    """A surface that a committee could have fitted."""
    ratio = ONE + rng.randint(-ONE // 50, ONE // 50)
    time = Timestamp(clock - rng.choice((0, 0, 1, 5)))
    if leaf.time == 0:
        return Surface(market, 0b11111, ratio, 0, 0, 0, 0, 0, 0, time)
    return Surface(
        market,
        0b11111,
        ratio,
        rng.randint(-ONE // 50, ONE // 10),
        rng.randint(0, ONE // 50),
        rng.randint(0, ONE // 4),
        rng.randint(-ONE * 9 // 10, ONE * 9 // 10),
        rng.randint(-ONE // 4, ONE // 4),
        rng.randint(ONE // 1000, ONE // 2),
        time,
    )


def make_surface(draft: Draft) -> Surface:
    """A surface of an expiry, mostly one that exists."""
    rng = draft.rng
    known = find_expiries(draft.state)
    if not known:
        return Surface(draft.market(), 31, ONE, 0, 0, 0, 0, 0, 1, Timestamp(draft.clock))
    market = rng.choice(known)
    leaf = draft.state.markets[market]
    assert isinstance(leaf, Expiry)
    surface = make_plausible_surface(rng, market, leaf, draft.clock)
    if not draft.is_bad():
        return surface
    match rng.randrange(8):
        case 0:
            return replace(surface, market=draft.market())
        case 1:
            return replace(surface, signers=rng.choice((0, 1, 1 << 15, 0xFFFF)))
        case 2:
            return replace(surface, ratio=rng.choice((0, ONE // 5, 5 * ONE, (1 << 63) - 1)))
        case 3:
            return replace(surface, b=rng.choice((-1, 3 * ONE, (1 << 63) - 1)))
        case 4:
            return replace(surface, rho=rng.choice((ONE, -ONE, 2 * ONE, ONE - 1)))
        case 5:
            return replace(surface, a=rng.choice((-ONE, -1, (1 << 63) - 1)))
        case 6:
            return replace(surface, sigma=rng.choice((0, -1, 1, (1 << 63) - 1)))
        case _:
            return replace(surface, time=Timestamp(max(0, draft.clock - 30_000)))


def make_list(draft: Draft) -> List:
    """A listing, mostly due sooner or later."""
    rng = draft.rng
    offset = rng.choice((0, 1, 1))
    if draft.is_bad():
        offset = rng.choice((2, 3, 255))
    return List(draft.underlying(), offset)


def make_fund(draft: Draft) -> Fund:
    """Funding of any series."""
    return Fund(draft.market())


def make_sweep(draft: Draft) -> Sweep:
    """A sweep of any account."""
    return Sweep(draft.account())


def make_distress(draft: Draft) -> Distress:
    """An auction of any account."""
    return Distress(draft.account())


def make_liquidate(draft: Draft) -> Liquidate:
    """A bid for an account, mostly one in distress when there is one."""
    rng = draft.rng
    account, target = draft.account(), draft.account()
    distressed = [key for key, leaf in draft.state.accounts.items() if leaf.distressed_at]
    if distressed and rng.random() < 0.9:
        target = rng.choice(sorted(distressed))
        owner = draft.state.accounts[target].owner
        others = sorted(
            key
            for key, leaf in draft.state.accounts.items()
            if leaf.owner != owner and key != INSURANCE_ACCOUNT and leaf.distressed_at == 0
        )
        if others and rng.random() < 0.8:
            account = AccountId(rng.choice(others))
    if rng.random() < 0.1:
        target = AccountId(INSURANCE_ACCOUNT)
    share = rng.choice((0, 1, 1_000, 50_000, 200_000, 500_000, 1_000_000, rng.randint(1, 10**6)))
    reward = rng.choice((0, 0, 0, 20_000, 500_000))
    nonce = draft.next_nonce(account)
    if draft.is_bad():
        share = rng.choice((0, share, 1_000_001))
        nonce = rng.choice((0, nonce))
    return Liquidate(account, target, share, reward, min(nonce, (1 << 63) - 1))


def make_socialise(draft: Draft) -> Socialise:
    """The loss of any account."""
    return Socialise(draft.account())


def make_data_fee(draft: Draft) -> DataFee:
    """What fills pay for data."""
    level = draft.state.globals.base_fee_level
    fee = draft.rng.choice((0, level, level * 4, level * 4 + 1, (1 << 63) - 1))
    return DataFee(min(fee, (1 << 63) - 1))


def make_force_close(draft: Draft) -> tuple[int, Address, bytes]:
    """A position that its owner wants to be rid of, through L1."""
    rng = draft.rng
    account = draft.account()
    known = draft.state.accounts.get(account)
    held = [] if known is None else list(known.positions)
    market = rng.choice(held).series if held and rng.random() < 0.9 else draft.market()
    lots = rng.choice((0, 1, 5, 1 << 40, (1 << 64) - 1))
    owner = ZERO_ADDRESS if known is None else known.owner
    if draft.is_bad():
        owner = Address(b"\x77" * 20)
    body = int(account).to_bytes(4, "big") + int(market).to_bytes(2, "big")
    body += lots.to_bytes(8, "big")
    if draft.is_bad():
        body = body[: rng.randrange(len(body) + 1)]
    return MessageKind.FORCE_CLOSE, owner, body


def make_configure_option(draft: Draft) -> tuple[int, Address, bytes]:
    """An expiry or an option listed by hand."""
    rng = draft.rng
    free = MarketId(rng.choice((410, 411, 412, 413)))
    if rng.random() < 0.4:
        day = draft.clock // DAY + rng.choice((0, 1, 2, 9))
        time = rng.choice((0, day * DAY + EXPIRY_TIME, day * DAY))
        body = encode_configure_expiry(free, draft.underlying(), Timestamp(time))
    else:
        known = find_expiries(draft.state)
        expiry = rng.choice(known) if known else MarketId(0)
        leaf = draft.state.markets.get(expiry)
        underlying = leaf.underlying if isinstance(leaf, Expiry) else draft.underlying()
        if draft.is_bad():
            underlying = draft.underlying()
        kind = rng.choice(list(SeriesKind))
        strike = 0 if kind == SeriesKind.PERPETUAL else rng.choice((0, 1, 10**6, 10**7))
        status = rng.choice(list(SeriesStatus))
        body = encode_configure_series(free, kind, status, underlying, expiry, strike)
    return MessageKind.CONFIGURE, ZERO_ADDRESS, body


def mark_all(draft: Draft, underlying: MarketId) -> None:
    """Mark every series of an underlying that is listed in a world's reach."""
    state = draft.state
    for market in sorted(state.markets):
        leaf = state.markets[market]
        if isinstance(leaf, Series) and leaf.underlying == underlying:
            count = 2 if leaf.kind == SeriesKind.CALL else 1
            if leaf.kind != SeriesKind.PUT:
                draft.add(Mark(market, count))


def agree(draft: Draft, market: MarketId, price: int, age: int = 0) -> Observe:
    """All members see one price."""
    time = Timestamp(draft.clock - age)
    return Observe(market, tuple(Observation(n, price, time) for n in range(5)))


def crash(draft: Draft, market: MarketId, percent: int) -> None:
    """Move an index, confirm it, mark everything."""
    leaf = draft.state.markets.get(market)
    if not isinstance(leaf, Underlying) or leaf.index == 0:
        return
    price = max(1, min(leaf.index * percent // 100, (1 << 63) - 10))
    draft.add(agree(draft, market, price, 1))
    draft.add(agree(draft, market, price))
    mark_all(draft, market)


def call_distress(draft: Draft) -> None:
    """Note who is in distress, and who is no longer."""
    for account in sorted(draft.state.accounts):
        if account != INSURANCE_ACCOUNT and draft.state.accounts[account].positions:
            draft.add(Distress(account))


def step_list(draft: Draft) -> None:
    """List an expiry, give it a surface, mark it."""
    listing = make_list(draft)
    draft.add(listing)
    step_surface(draft)


def step_surface(draft: Draft) -> None:
    """A surface, and mostly the marks that follow from it."""
    surface = make_surface(draft)
    if draft.add(surface) and draft.rng.random() < 0.7:
        for market in find_series(draft.state, surface.market)[::2]:
            draft.add(Mark(market, draft.rng.choice((1, 2, 2))))


def step_crash(draft: Draft) -> None:
    """A move that only some can bear: halted, confirmed, marked; then auctions and bids."""
    rng = draft.rng
    crash(draft, draft.underlying(), rng.choice((10, 50, 70, 90, 110, 150, 300)))
    if rng.random() < 0.7:
        call_distress(draft)
    step_trouble(draft)


def step_trouble(draft: Draft) -> None:
    """What happens to accounts that are in trouble, or are not."""
    make = draft.rng.choice(
        (make_distress, make_liquidate, make_liquidate, make_liquidate, make_socialise, make_sweep)
    )
    draft.add(make(draft))


def step_upkeep(draft: Draft) -> None:
    """Funding, sweeps, the price of data."""
    make: Callable[[Draft], Transaction] = draft.rng.choice(
        (make_fund, make_fund, make_sweep, make_data_fee)
    )
    draft.add(make(draft))


FORCEABLE: tuple[Callable[[Draft], Transaction], ...] = (
    make_surface,
    make_surface,
    make_list,
    make_fund,
    make_sweep,
    make_distress,
    make_liquidate,
    make_liquidate,
    make_socialise,
    make_data_fee,
)
MESSAGES: tuple[Callable[[Draft], tuple[int, Address, bytes]], ...] = (
    make_force_close,
    make_force_close,
    make_configure_option,
)
STEPS: tuple[tuple[Callable[[Draft], None], int], ...] = (
    (step_list, 4),
    (step_surface, 6),
    (step_crash, 4),
    (step_trouble, 8),
    (step_upkeep, 6),
)
