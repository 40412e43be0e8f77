"""Random chunks in which every kind of transaction follows every other, and mostly succeeds.

The flow of `tests.protocol.strategies` looks like a venue's, so some kinds hardly ever meet there:
nobody socialises twice in a row. Here kinds are drawn alike, on worlds where most of them are due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from random import Random

from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import DAY, INSURANCE_ACCOUNT, MAX_CLOCK_LAG
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.state import compute_state_root, reset_meter, set_account
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Context,
    Distress,
    Expiry,
    Fund,
    Kind,
    List,
    Mark,
    Message,
    Queue,
    Socialise,
    Sweep,
    Timestamp,
    Transaction,
    Underlying,
)
from tests.protocol import derivatives
from tests.protocol.strategies import (
    DOMAIN,
    MESSAGES,
    UNDERLYINGS,
    Case,
    Draft,
    World,
    build_options_world,
    build_trouble_world,
    make_fill,
    make_mark,
    make_observe,
    make_resting_fill,
    make_set_trading_key,
    make_transfer,
    make_withdraw,
    submit,
)

WORLDS = 8
"""Worlds of each kind that the cases share."""
TRIES = 6
"""For a transaction of a kind that breaks no rule."""


def set_insurance(rng: Random, world: World) -> None:
    """Let the insurance fund be empty, poor or rich."""
    state = world.state
    fund = rng.choice((0, 0, 10**5, 10**13))
    state.globals = replace(
        state.globals,
        insurance=fund,
        insurance_peak=fund * rng.choice((1, 2)),
        deposited=state.globals.deposited + fund,
    )


def renew(rng: Random, world: World, clock: int) -> None:
    """Bring prices, surfaces and marks up to date, where they are not missing on purpose."""
    state = world.state
    draft = Draft(rng, world, clock, 0.0)
    for market in UNDERLYINGS:
        leaf = state.markets[market]
        assert isinstance(leaf, Underlying)
        draft.add(derivatives.agree(draft, market, leaf.pending_index or leaf.index))
    for market in derivatives.find_expiries(state, options_only=True):
        expiry = state.markets[market]
        assert isinstance(expiry, Expiry)
        draft.add(derivatives.make_plausible_surface(rng, market, expiry, clock))
    for market in UNDERLYINGS:
        if rng.random() < 0.9:
            derivatives.mark_all(draft, market)
    draft.finish(keep=True)


def impoverish(rng: Random, world: World) -> None:
    """Take cash from half of those who hold positions: to below maintenance margin, or to less
    than nothing.
    """
    state = world.state
    for key, account in sorted(state.accounts.items()):
        if key == INSURANCE_ACCOUNT or not account.positions or rng.random() < 0.5:
            continue
        reset_meter(state)
        try:
            margin = compute_margin(state, account, state.globals.clock)
        except TransitionFault:
            continue
        part = rng.choice((-20, -1, 30, 90))
        goal = margin.maintenance * part // 100
        set_account(state, key, replace(account, cash=account.cash + goal - margin.equity))


def build_poor_world(rng: Random) -> World:
    """A world before anybody has noted who is in distress; some are insolvent."""
    world = build_options_world(rng)
    impoverish(rng, world)
    set_insurance(rng, world)
    return world


def build_late_world(rng: Random) -> World:
    """A world after its first expiry: some series are settled and some are not, a listing is due,
    and some accounts are in trouble.
    """
    world = rng.choice((build_poor_world, build_trouble_world, build_options_world))(rng)
    state = world.state
    expiry = min(
        leaf.time for leaf in state.markets.values() if isinstance(leaf, Expiry) and leaf.time
    )
    for clock in (expiry - 1_500, expiry - 700, expiry - 5, expiry + 20, expiry + 40):
        if clock > state.globals.clock:
            renew(rng, world, clock)
    impoverish(rng, world)
    set_insurance(rng, world)
    return world


BUILDERS = (build_poor_world, build_late_world)


@cache
def world_of(number: int) -> World:
    """A world that cases share: they leave it as they find it."""
    world = BUILDERS[number % len(BUILDERS)](Random(f"pairs {number}"))
    compute_state_root(world.state)
    reset_meter(world.state)
    return world


def shuffled_accounts(draft: Draft) -> list[AccountId]:
    """Every account, the insurance fund's too."""
    accounts = sorted(draft.state.accounts)
    draft.rng.shuffle(accounts)
    return accounts


def propose_lists(draft: Draft) -> Iterator[Transaction]:
    """Every listing that the rules of underlyings know."""
    listings = [
        List(market, offset) for market in UNDERLYINGS for offset in range(derivatives.EXPIRIES)
    ]
    draft.rng.shuffle(listings)
    yield from listings


def propose_funds(draft: Draft) -> Iterator[Transaction]:
    """Funding of every series."""
    markets = list(draft.world.series)
    draft.rng.shuffle(markets)
    yield from map(Fund, markets)


def repeat(*makes: Callable[[Draft], Transaction]) -> Callable[[Draft], Iterator[Transaction]]:
    """So many tries of what makes a transaction of a kind."""

    def propose(draft: Draft) -> Iterator[Transaction]:
        for _ in range(TRIES):
            yield draft.rng.choice(makes)(draft)

    return propose


PROPOSALS: dict[Kind, Callable[[Draft], Iterator[Transaction]]] = {
    Kind.FILL: repeat(make_fill, make_fill, make_resting_fill),
    Kind.TRANSFER: repeat(make_transfer),
    Kind.WITHDRAW: repeat(make_withdraw),
    Kind.SET_TRADING_KEY: repeat(make_set_trading_key),
    Kind.OBSERVE: repeat(make_observe),
    Kind.MARK: repeat(make_mark, lambda draft: Mark(draft.market(), 1)),
    Kind.SURFACE: repeat(derivatives.make_surface),
    Kind.LIST: propose_lists,
    Kind.FUND: propose_funds,
    Kind.SWEEP: lambda draft: map(Sweep, shuffled_accounts(draft)),
    Kind.DISTRESS: lambda draft: map(Distress, shuffled_accounts(draft)),
    Kind.LIQUIDATE: repeat(derivatives.make_liquidate),
    Kind.SOCIALISE: lambda draft: map(Socialise, shuffled_accounts(draft)),
    Kind.DATA_FEE: repeat(derivatives.make_data_fee),
}
KINDS = (*PROPOSALS, Kind.QUEUE)
RARE = (Kind.LIST, Kind.SWEEP, Kind.DISTRESS, Kind.LIQUIDATE, Kind.SOCIALISE)
"""Often not due, so proposed more often."""
WEIGHTS = tuple(3 if kind in RARE else 1 for kind in KINDS)


def pick_kind(rng: Random) -> Kind:
    """A kind, so that all of them are executed often."""
    return rng.choices(KINDS, WEIGHTS)[0]


def add_kind(draft: Draft, kind: Kind) -> bool:
    """Add a transaction of a kind that breaks no rule, if one is found."""
    if kind == Kind.QUEUE:
        message = draft.rng.choice(MESSAGES)(draft)
        submit(draft.state, message[0], message[1], message[2][:1024])
        return draft.add(Queue())
    return any(draft.add(transaction) for transaction in PROPOSALS[kind](draft))


def add_faulty(draft: Draft, kind: Kind) -> None:
    """End the chunk with a transaction of a kind, whatever comes of it."""
    if kind == Kind.QUEUE:
        add_kind(draft, kind)
        return
    transaction = next(PROPOSALS[kind](draft))
    if not draft.add(transaction):
        draft.transactions.append(transaction)


def generate_pairs(rng: Random) -> Case:
    """Return a chunk of a few transactions, each of any kind; sometimes the last one breaks a
    rule.
    """
    world = world_of(rng.randrange(WORLDS * len(BUILDERS)))
    state = world.state
    start = state.globals.queue_index
    clock = state.globals.clock + rng.choice((0, 1, 1, 5, 5, 20, 20, 30, 30, 7 * DAY))
    draft = Draft(rng, world, clock, 0.0)
    for _ in range(rng.choice((1, 2, 4, 6, 10, 16))):
        add_kind(draft, pick_kind(rng))
    if rng.random() < 0.3:
        add_faulty(draft, pick_kind(rng))
    consumed = state.globals.queue_index - start
    draft.finish()
    spare = rng.choice((0, 0, 1))
    for index in range(start + consumed, start + consumed + 8):
        state.messages[index] = Message(1, ZERO_ADDRESS, Timestamp(9), bytes(40))
    context = Context(
        DOMAIN,
        Timestamp(clock + rng.choice((0, 1, MAX_CLOCK_LAG))),
        start + consumed + spare,
        rng.choice((0, 7, 10**9)),
        rng.choice((0, 1, 10**9)),
        rng.random() < 0.5,
        spare == 0 and rng.random() < 0.5,
    )
    return Case(
        state,
        encode_chunk(Timestamp(clock), draft.transactions),
        context,
        max(1, len(draft.transactions)),
        keccak(start.to_bytes(8, "big")) if start else bytes(32),
    )
