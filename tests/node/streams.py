"""Hypothesis strategies: streams of valid, marginal and adversarial operations."""

import random

from hypothesis import strategies as st

from deltaroll.protocol.types import Kind, MessageKind, TimeInForce
from tests.node.support import (
    ACCOUNTS,
    INDEX,
    OPTIONS,
    OTHER,
    OTHER_INDEX,
    PERP,
    PERPS,
    PLACES,
    PREMIUM,
    PREMIUM_PERP,
    TWIN,
    Ask,
    Bid,
    Cancel,
    ChangeKey,
    Charge,
    FromL1,
    Operation,
    Pay,
    Seal,
    See,
    SeeSurface,
    Submit,
    Tick,
)

accounts = st.sampled_from(ACCOUNTS)
slots = st.integers(0, 2)
quiet = st.builds(
    Submit,
    accounts,
    slots,
    st.booleans(),
    st.sampled_from((PERP, PERP, PERP, TWIN, OTHER)),
    st.integers(-4, 4),
    st.integers(1, 20),
    time_in_force=st.sampled_from((*[TimeInForce.GTC] * 3, TimeInForce.IOC, TimeInForce.FOK)),
)
edges = st.builds(
    Submit,
    accounts,
    slots,
    st.booleans(),
    ticks=st.sampled_from((-100, -4, 0, 4, 100)),
    size=st.integers(-2, 1),
    is_edge=st.just(True),
    signer=st.sampled_from(("owner", "key")),
)
odd = st.builds(
    Submit,
    accounts,
    slots,
    st.booleans(),
    ticks=st.sampled_from((-200, -150, -10, 10, 150, 200)),
    size=st.sampled_from((0, 1, 7, 1_000, 10**6, 2**31 - 1)),
    time_in_force=st.sampled_from(TimeInForce),
    post_only=st.booleans(),
    reduce_only=st.booleans(),
    signer=st.sampled_from(("owner", "key", "stranger")),
    life=st.sampled_from((0, 1, 30, 3_600)),
    nonce=st.integers(0, 2),
)
by_key = st.builds(
    Submit,
    accounts,
    slots,
    st.booleans(),
    ticks=st.integers(-4, 4),
    size=st.integers(1, 20),
    signer=st.just("key"),
)
payments = st.builds(
    Pay,
    accounts,
    accounts,
    st.integers(0, 2) | st.sampled_from((1_000, 10**7, 2**96 - 1)),
    st.booleans(),
    st.booleans(),
)
keys = st.builds(ChangeKey, accounts, st.booleans(), st.sampled_from((0, 1, 20, 10**5)))
sights = st.builds(
    See,
    st.sampled_from((INDEX, INDEX, OTHER_INDEX)),
    st.sampled_from((0, 900, -900, 20_000, -45_000, 60_000, -60_000, 150_000, 250_000, -300_000)),
    st.sampled_from((0, 0, 1, 5, 700)),
    st.sampled_from(((0, 1, 2), (0, 3), (1, 2, 3), (2,))),
)
ticks = st.builds(Tick, st.sampled_from((1, 12, 31, 700, 3_700)))
messages = st.builds(
    FromL1,
    st.sampled_from(MessageKind),
    accounts,
    st.sampled_from((0, 1, 50, 1_001, 10**6, 10**7)),
)
operations: st.SearchStrategy[Operation] = st.one_of(
    quiet,
    quiet,
    quiet,
    edges,
    odd,
    by_key,
    payments,
    keys,
    sights,
    sights,
    ticks,
    ticks,
    messages,
    st.builds(Cancel, accounts, slots | st.none()),
    st.builds(Seal),
)


markets = st.sampled_from((PERP, PREMIUM_PERP, *OPTIONS))
option_orders = st.builds(
    Submit,
    accounts,
    slots,
    st.booleans(),
    markets,
    st.integers(-4, 4),
    st.integers(1, 20),
    time_in_force=st.sampled_from((*[TimeInForce.GTC] * 3, TimeInForce.IOC, TimeInForce.FOK)),
    life=st.sampled_from((60, 3_600, 10**5)),
)
option_edges = st.builds(
    Submit,
    accounts,
    slots,
    st.booleans(),
    markets,
    ticks=st.sampled_from((-100, -4, 0, 4, 100)),
    size=st.integers(-2, 1),
    is_edge=st.just(True),
)
surfaces = st.builds(
    SeeSurface,
    st.sampled_from((PREMIUM, *PLACES)),
    st.integers(-40, 60),
    st.sampled_from((0, 0, 0, 1, 700)),
    st.sampled_from((0b11, 0b1101, 0b100, 0b110000)),
)
bids = st.builds(
    Bid,
    accounts,
    st.integers(0, 6),
    st.sampled_from((0, 1, 50_000, 400_000, 1_000_000)),
    st.sampled_from((0, 0, 20_000, 500_000)),
)
asks = st.builds(
    Ask,
    st.sampled_from((Kind.MARK, Kind.FUND, Kind.SWEEP, Kind.DISTRESS, Kind.SOCIALISE, Kind.LIST)),
    st.integers(0, 6) | st.sampled_from((PERP, PREMIUM_PERP, *PLACES, *OPTIONS)),
    st.sampled_from((0, 1, 2, 6, 127)),
)
charges = st.builds(Charge, st.sampled_from((0, 299, 300, 10**6, 10**8)))
option_operations: st.SearchStrategy[Operation] = st.one_of(
    operations,
    option_orders,
    option_orders,
    option_edges,
    surfaces,
    bids,
    asks,
    charges,
    st.builds(Tick, st.sampled_from((700, 35_000, 86_400))),
)


def make_option_stream(dice: random.Random, length: int) -> list[Operation]:
    """A long stream where options live and die: hours pass, indices fall, accounts are taken
    over."""
    stream: list[Operation] = []
    while len(stream) < length:
        account, slot, is_buy = dice.choice(ACCOUNTS), dice.randrange(4), dice.random() < 0.5
        market = dice.choice((PERP, PREMIUM_PERP, *OPTIONS[2:4], *OPTIONS[8:10]))
        match dice.choices(range(8), (80, 8, 8, 1, 2, 2, 3, 3))[0]:
            case 0:
                kind = dice.choice((*[TimeInForce.GTC] * 4, TimeInForce.IOC, TimeInForce.FOK))
                operation: Operation = Submit(
                    account,
                    slot,
                    is_buy,
                    market,
                    dice.randint(-3, 3),
                    dice.randint(1, 30),
                    time_in_force=kind,
                    reduce_only=dice.random() < 0.1,
                    life=dice.choice((60, 3_600, 9_000)),
                )
            case 1:
                size = dice.randint(-2, 1)
                ticks = dice.choice((-20, -2, 2, 20))
                operation = Submit(
                    account, slot, is_buy, market, ticks=ticks, size=size, is_edge=True
                )
            case 2:
                stream.append(Tick(dice.choice((1, 60, 900, 3_000, 9_000))))
                stream.append(See(OTHER_INDEX, dice.choice((0, 300, -3_000)), 0, (1, 3)))
                move = dice.choice((0, 1_000, -1_000, 30_000, -30_000))
                operation = See(INDEX, move, 0, (0, 1, 2))
                if dice.random() < 0.8:
                    stream += [SeeSurface(one, dice.randint(-9, 9)) for one in (PREMIUM, *PLACES)]
            case 3:
                stream.append(See(INDEX, dice.choice((-150_000, 180_000)), 0, (0, 1, 2)))
                stream.append(Bid(account, dice.choice(ACCOUNTS), 10**6))
                operation = Bid(account, dice.choice(ACCOUNTS), dice.randint(1, 10**6))
            case 4:
                operation = SeeSurface(dice.choice((PREMIUM, *PLACES)), dice.randint(-30, 40))
            case 5:
                operation = FromL1(
                    dice.choice((MessageKind.FORCE_CLOSE, MessageKind.FORCE_EXIT)),
                    account,
                    dice.choice((0, 1, 10**5)),
                )
            case 6:
                kind_of = dice.choice((Kind.FUND, Kind.SWEEP, Kind.DISTRESS, Kind.SOCIALISE))
                operation = Ask(kind_of, PERP if kind_of == Kind.FUND else account)
            case _:
                operation = dice.choice(
                    (Pay(account, dice.choice(ACCOUNTS), 1, True), Charge(dice.choice((0, 10**6))))
                )
        stream.append(operation)
    return stream


def make_stream(dice: random.Random, length: int) -> list[Operation]:
    """A long stream without Hypothesis: mostly trading, now and then everything else."""
    stream: list[Operation] = []
    while len(stream) < length:
        account, slot, is_buy = dice.choice(ACCOUNTS), dice.randrange(4), dice.random() < 0.5
        match dice.choices(range(9), (70, 5, 1, 4, 2, 1, 6, 3, 2))[0]:
            case 0:
                kind = dice.choice((*[TimeInForce.GTC] * 4, TimeInForce.IOC, TimeInForce.FOK))
                operation: Operation = Submit(
                    account,
                    slot,
                    is_buy,
                    dice.choice((PERP, PERP, TWIN, OTHER)),
                    dice.randint(-5, 5),
                    dice.randint(1, 30),
                    time_in_force=kind,
                    post_only=dice.random() < 0.05,
                    reduce_only=dice.random() < 0.1,
                    signer=dice.choice(("owner", "owner", "owner", "key")),
                    life=dice.choice((1, 60, 3_600)),
                )
            case 1:
                ticks = dice.choice((-140, -3, 3, 140))
                size = dice.randint(-2, 1)
                operation = Submit(account, slot, is_buy, ticks=ticks, size=size, is_edge=True)
            case 2:
                to = dice.choice(ACCOUNTS)
                operation = Pay(account, to, dice.randint(-1, 1), True, dice.random() < 0.2)
            case 3:
                operation = ChangeKey(account, dice.random() < 0.8, dice.choice((10, 100, 10**5)))
            case 4:
                operation = Cancel(account, dice.choice((slot, slot, None)))
            case 5:
                move = dice.choice((55_000, -55_000, 250_000))
                operation = See(dice.choice((INDEX, OTHER_INDEX)), move, 0, (0, 1, 3))
            case 6:
                stream.append(Tick(dice.choice((1, 5, 12, 60, 600))))
                stream.append(See(INDEX, dice.choice((0, 100, -100, 2_000)), 0, (0, 1, 2)))
                operation = See(OTHER_INDEX, dice.choice((0, 300, -3_000)), 0, (1, 3))
            case 7:
                kind_of = dice.choice((*MessageKind, *[MessageKind.DEPOSIT] * 3))
                operation = FromL1(kind_of, account, dice.choice((0, 1, 10**6)))
            case _:
                operation = Seal()
        stream.append(operation)
    return stream


def make_rush(dice: random.Random, length: int) -> list[Operation]:
    """Orders and payments within one second, enough to fill several chunks to the brim."""
    return [
        Pay(dice.choice(ACCOUNTS), dice.choice(ACCOUNTS), 1)
        if dice.random() < 0.1
        else Submit(
            dice.choice(ACCOUNTS),
            dice.randrange(8),
            dice.random() < 0.5,
            dice.choice(tuple(PERPS)),
            dice.randint(-3, 3),
            dice.choice((1, 2, 5, 40)),
            time_in_force=dice.choice((*[TimeInForce.GTC] * 3, TimeInForce.IOC, TimeInForce.FOK)),
        )
        for _ in range(length)
    ]
