"""Transactions that are dear for what they weigh, one after the other without end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from deltaroll.presets import PMRM_2
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.configure import (
    MAX_CLOSING,
    encode_configure,
    encode_configure_closing,
    encode_configure_expiry,
    encode_configure_underlying,
)
from deltaroll.protocol.constants import (
    ONE,
)
from deltaroll.protocol.leaf import COMMITTEE_TAG, GRID_TAG, encode_committee, encode_grid
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Committee,
    DataFee,
    Distress,
    Fill,
    Fund,
    Liquidate,
    List,
    Mark,
    MarketId,
    MessageKind,
    Observation,
    Observe,
    SeriesStatus,
    SetTradingKey,
    SlotId,
    Socialise,
    Surface,
    Sweep,
    Timestamp,
    Transaction,
    Transfer,
    Underlying,
    Withdraw,
)
from tests.protocol.proving import DOMAIN
from tests.protocol.scenes import PRICE, RNG, Scene, Step, order, spread
from tests.protocol.strategies import (
    SIGNERS,
    START,
    UNDERLYINGS,
    deposit_body,
    sign_all,
)


def fill_new_pairs(scene: Scene) -> Iterator[Step]:
    """Accounts that trade once each."""
    pairs = zip(scene.accounts[::2], scene.accounts[1::2], strict=True)
    for number, (maker, taker) in enumerate(pairs):
        market = scene.series[number % len(scene.series)]
        yield Fill(
            market,
            maker,
            taker,
            SlotId(1),
            SlotId(4001),
            True,
            12_345,
            order(market, True, 99_999),
            order(market, False, 99_999),
        )


def fill_resting(scene: Scene) -> Iterator[Step]:
    """The same two orders again and again: the least witness for a fill."""
    market = scene.series[0]
    maker, taker = scene.accounts[:2]
    for number in range(10**6):
        new = number == 0
        yield Fill(
            market,
            maker,
            taker,
            SlotId(1),
            SlotId(2),
            True,
            1,
            order(market, True, 1) if new else None,
            order(market, False, 1) if new else None,
        )


def fill_new_slots(scene: Scene) -> Iterator[Step]:
    """Two accounts, new orders each time."""
    market = scene.series[0]
    maker, taker = scene.accounts[:2]
    for number in range(4096):
        slot = SlotId(spread(number, 12))
        yield Fill(
            market,
            maker,
            taker,
            slot,
            slot,
            True,
            1,
            order(market, True, 99_999),
            order(market, False, 99_999),
        )


def fill_new_series(scene: Scene) -> Iterator[Step]:
    """Two accounts open a position with every fill."""
    maker, taker = scene.accounts[:2]
    for number, market in enumerate(scene.series):
        yield Fill(
            market,
            maker,
            taker,
            SlotId(1),
            SlotId(2),
            True,
            1,
            order(market, True, 1 + number),
            order(market, False, 1 + number),
        )


def transfer(scene: Scene) -> Iterator[Step]:
    """Between two accounts."""
    for number in range(10**6):
        yield Transfer(scene.accounts[0], scene.accounts[1], 99_999_999_999, number + 2)


def transfer_pairs(scene: Scene) -> Iterator[Step]:
    """Between accounts that are named once each."""
    for sender, recipient in zip(scene.accounts[::2], scene.accounts[1::2], strict=True):
        yield Transfer(sender, recipient, 99_999_999_999, 99_999)


def transfer_then_fill(scene: Scene) -> Iterator[Step]:
    """Many bytes first, then much work: memory is dearest when both have used it up."""
    rest = replace(scene, accounts=scene.accounts[2:])
    yield from transfer_pairs(rest)
    yield from fill_resting(scene)


def withdraw(scene: Scene) -> Iterator[Step]:
    """From one account."""
    for number in range(10**6):
        yield Withdraw(scene.accounts[0], scene.owners[0], 99_999_999_999, number + 2)


def set_trading_key(scene: Scene) -> Iterator[Step]:
    """On one account."""
    for number in range(10**6):
        key = SIGNERS[3].address
        yield SetTradingKey(scene.accounts[0], key, Timestamp(START + 5), number + 2)


def observe(scene: Scene) -> Iterator[Step]:
    """Sixteen members each time, in the order that takes longest to sort."""
    for number in range(30_000):
        yield observe_at(START - 30_000 + number)


def observe_at(time: int) -> Observe:
    """Sixteen prices of one second."""
    return Observe(
        UNDERLYINGS[0],
        tuple(Observation(n, PRICE + 999 - n, Timestamp(time)) for n in range(16)),
    )


def mark(scene: Scene) -> Iterator[Step]:
    """One series after another."""
    for market in scene.series:
        yield Mark(market, 1)


def mark_again(scene: Scene) -> Iterator[Step]:
    """The same series."""
    while True:
        yield Mark(scene.series[0], 1)


def deposit(scene: Scene) -> Iterator[Step]:
    """To one account."""
    while True:
        body = deposit_body(scene.owners[0], scene.accounts[0], 10**20)
        yield (MessageKind.DEPOSIT, ZERO_ADDRESS, body)


def deposit_new(scene: Scene) -> Iterator[Step]:
    """To new accounts."""
    while True:
        body = deposit_body(SIGNERS[1].address, 0, 10**20)
        yield (MessageKind.DEPOSIT, ZERO_ADDRESS, body)


def force_exit(scene: Scene) -> Iterator[Step]:
    """A little at a time."""
    body = int(scene.accounts[0]).to_bytes(4, "big") + (99_999).to_bytes(16, "big")
    while True:
        yield (MessageKind.FORCE_EXIT, scene.owners[0], body)


def cancel_all(scene: Scene) -> Iterator[Step]:
    """Again and again."""
    body = int(scene.accounts[0]).to_bytes(4, "big")
    while True:
        yield (MessageKind.CANCEL_ALL, scene.owners[0], body)


def forced(scene: Scene, transaction: Transaction) -> Step:
    """A Forced message around a transaction."""
    data = encode_chunk(Timestamp(START), [transaction])
    signatures = b"".join(sign_all(scene.state, transaction, RNG, 0.0, DOMAIN))
    return (MessageKind.FORCED, ZERO_ADDRESS, len(data).to_bytes(2, "big") + data + signatures)


def forced_fill(scene: Scene) -> Iterator[Step]:
    """Two signatures and a fill."""
    for step in fill_new_slots(scene):
        assert isinstance(step, Fill)
        yield forced(scene, step)


def forced_observe(scene: Scene) -> Iterator[Step]:
    """As many signatures as a message holds."""
    for number in range(30_000):
        whole = observe_at(START - 30_000 + number)
        yield forced(scene, replace(whole, observations=whole.observations[:13]))


def forced_transfer(scene: Scene) -> Iterator[Step]:
    """One signature."""
    for step in transfer(scene):
        assert isinstance(step, Transfer)
        yield forced(scene, step)


def forced_tables(scene: Scene) -> Iterator[Step]:
    """Tables that name all they can in the fewest bits, for nothing."""
    # Clock; 255 accounts, each next to the one before; as many markets.
    bits = f"{START:040b}" + f"{8:04b}" + "1111111" + "0" * 5 * 255
    bits += f"{8:04b}" + "1111111" + "0" * 5 * 255 + "0" * 4
    bits += "0" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    while True:
        yield (MessageKind.FORCED, ZERO_ADDRESS, len(data).to_bytes(2, "big") + data)


def forced_twice(scene: Scene) -> Iterator[Step]:
    """Sixteen observations, and sixteen more that must not be there."""
    data = encode_chunk(Timestamp(START), [observe_at(START - 9), observe_at(START - 8)])
    while True:
        yield (MessageKind.FORCED, ZERO_ADDRESS, len(data).to_bytes(2, "big") + data)


def forced_failing_fill(scene: Scene) -> Iterator[Step]:
    """Everything is computed, margins of both sides before and after, and then refused."""
    maker, taker = scene.accounts[:2]
    market = scene.series[0]
    while True:
        fill = Fill(
            market,
            maker,
            taker,
            SlotId(1),
            SlotId(2),
            True,
            1,
            order(market, True, 99_999),
            order(market, False, 99_999),
        )
        yield forced(scene, fill)


def forced_marks(scene: Scene) -> Iterator[Step]:
    """As many new series as a Mark can name."""
    first = scene.series[0]
    for offset in range(0, len(scene.series), 32):
        yield forced(scene, Mark(MarketId(first + offset), 32))


def forced_heaviest_mark(scene: Scene) -> Iterator[Step]:
    """One message that comes close to what a chunk can do."""
    yield forced(scene, Mark(scene.series[0], 128))
    yield forced(scene, Mark(scene.series[0], 128))


def configure_committee(scene: Scene) -> Iterator[Step]:
    """Of sixteen, new each time."""
    committee = Committee(16, tuple(bytes((n + 1,)) * 20 for n in range(16)))  # type: ignore[misc]
    for number in range(1000):
        market = MarketId(spread(number + 1, 15) + (1 << 15) - 1)
        body = encode_configure(COMMITTEE_TAG, market, encode_committee(committee)[1:])
        yield (MessageKind.CONFIGURE, ZERO_ADDRESS, body)


def configure_grid(scene: Scene) -> Iterator[Step]:
    """Of 33 scenarios, new each time."""
    for number in range(1000):
        market = MarketId(spread(number + 1, 15) + (1 << 15) - 1)
        body = encode_configure(GRID_TAG, market, encode_grid(PMRM_2)[1:])
        yield (MessageKind.CONFIGURE, ZERO_ADDRESS, body)


def configure_closing(scene: Scene) -> Iterator[Step]:
    """As many series as one message holds, closed and opened in turn."""
    while True:
        for status in (SeriesStatus.CLOSING, SeriesStatus.ACTIVE):
            body = encode_configure_closing(scene.series[0], status, MAX_CLOSING)
            yield (MessageKind.CONFIGURE, ZERO_ADDRESS, body)


def fund_after_closings(scene: Scene) -> Iterator[Step]:
    """What closing leaves in memory is handed to every module after it."""
    body = encode_configure_closing(scene.series[0], SeriesStatus.CLOSING, MAX_CLOSING)
    yield (MessageKind.CONFIGURE, ZERO_ADDRESS, body)
    body = encode_configure_closing(scene.series[0], SeriesStatus.ACTIVE, MAX_CLOSING)
    yield (MessageKind.CONFIGURE, ZERO_ADDRESS, body)
    body = encode_configure_closing(scene.series[0], SeriesStatus.CLOSING, MAX_CLOSING)
    yield (MessageKind.CONFIGURE, ZERO_ADDRESS, body)
    while True:
        yield Fund(scene.series[0])


def configure_closing_everywhere(scene: Scene) -> Iterator[Step]:
    """Other series each time."""
    for place in range(0, len(scene.series), MAX_CLOSING):
        first = scene.series[place]
        body = encode_configure_closing(first, SeriesStatus.CLOSING, MAX_CLOSING)
        yield (MessageKind.CONFIGURE, ZERO_ADDRESS, body)


def configure_long(scene: Scene) -> Iterator[Step]:
    """A grid that is too long: decoded, then refused."""
    body = encode_configure(GRID_TAG, MarketId(9), bytes((113,)) + b"\x01" * 1_000)
    while True:
        yield (MessageKind.CONFIGURE, ZERO_ADDRESS, body)


def noise(scene: Scene) -> Iterator[Step]:
    """The longest message, of no kind."""
    while True:
        yield (9, ZERO_ADDRESS, b"\xff" * 1024)


def empty_messages(scene: Scene) -> Iterator[Step]:
    """The shortest message."""
    while True:
        yield (9, ZERO_ADDRESS, b"\xff")


def mark_pairs(scene: Scene) -> Iterator[Step]:
    """One strike after another."""
    for market in scene.series[::2]:
        yield Mark(market, 2)


def mark_pair_again(scene: Scene) -> Iterator[Step]:
    """The same strike."""
    while True:
        yield Mark(scene.series[0], 2)


def mark_run(scene: Scene) -> Iterator[Step]:
    """Many strikes in one."""
    for place in range(0, len(scene.series), 8):
        yield Mark(scene.series[place], 8)


def mark_pair_after_accounts(scene: Scene) -> Iterator[Step]:
    """The same strike, with much memory to be handed over each time."""
    yield from islice(transfer_pairs(replace(scene, accounts=scene.accounts[2:])), 12)
    yield from mark_pair_again(scene)


def fund(scene: Scene) -> Iterator[Step]:
    """One perpetual."""
    while True:
        yield Fund(scene.series[0])


def fund_after_accounts(scene: Scene) -> Iterator[Step]:
    """The least work for the most memory to be handed over."""
    yield from islice(transfer_pairs(scene), len(scene.accounts) // 2 - 1)
    yield from fund(scene)


def fund_after_deposits(scene: Scene) -> Iterator[Step]:
    """The most memory for its weight, and then as little work as can be for handing it over."""
    for account in scene.accounts:
        body = deposit_body(scene.owners[0], account, 10**20)
        yield (MessageKind.DEPOSIT, ZERO_ADDRESS, body)
    yield from fund(scene)


def distress_after_transfers(scene: Scene) -> Iterator[Step]:
    """Light transactions that leave much in memory, then what hands it over."""
    yield from islice(transfer(scene), 444)
    yield from (Distress(account) for account in scene.accounts[2:])


def fund_after_transfers(scene: Scene) -> Iterator[Step]:
    """The same, handed to the other module."""
    yield from islice(transfer(scene), 475)
    yield from fund(scene)


def fund_after_marks(scene: Scene) -> Iterator[Step]:
    """The same, after work on markets."""
    yield from islice(mark_again(scene), 200)
    yield from fund(scene)


def fund_all(scene: Scene) -> Iterator[Step]:
    """One perpetual after another."""
    for market in scene.series:
        yield Fund(market)


def make_surface(scene: Scene, number: int) -> Surface:
    """A surface of the scene's first expiry, newer than the one before."""
    return Surface(
        MarketId(25_000),
        0xFFFF,
        ONE + 12_345,
        -ONE // 29,
        -ONE // 999_983,
        ONE // 51,
        -ONE // 3,
        -ONE // 77,
        ONE // 5,
        Timestamp(START - 30_000 + number),
    )


def surface(scene: Scene) -> Iterator[Step]:
    """By sixteen members each time."""
    for number in range(30_000):
        yield make_surface(scene, number)


def forced_surface(scene: Scene) -> Iterator[Step]:
    """As many signatures as a message holds."""
    for number in range(30_000):
        yield forced(scene, replace(make_surface(scene, number), signers=0x0FFF))


def list_all(scene: Scene) -> Iterator[Step]:
    """Sixteen strikes each time."""
    for offset in range(16):
        for market in UNDERLYINGS:
            if market in scene.state.markets:
                yield List(market, offset)


def sweep(scene: Scene) -> Iterator[Step]:
    """One account after another."""
    for account in scene.accounts:
        yield Sweep(account)


def distress(scene: Scene) -> Iterator[Step]:
    """One account after another; their auctions end."""
    for account in scene.accounts:
        yield Distress(account)


def liquidate(scene: Scene) -> Iterator[Step]:
    """The first account takes over a little of every other, of one more than once."""
    for number, target in enumerate(scene.accounts[1:] * 40):
        yield Liquidate(scene.accounts[0], target, 1, 0, number + 99_999_999)


def forced_liquidate(scene: Scene) -> Iterator[Step]:
    """The same through L1, as far as it is honoured."""
    for step in liquidate(scene):
        assert isinstance(step, Liquidate)
        yield forced(scene, step)


def socialise(scene: Scene) -> Iterator[Step]:
    """One account after another."""
    for account in scene.accounts[1:]:
        yield Socialise(account)


def force_close(scene: Scene) -> Iterator[Step]:
    """A lot at a time."""
    body = int(scene.accounts[0]).to_bytes(4, "big") + int(scene.series[0]).to_bytes(2, "big")
    while True:
        yield (MessageKind.FORCE_CLOSE, scene.owners[0], body + (1).to_bytes(8, "big"))


def configure_params(scene: Scene) -> Iterator[Step]:
    """The same underlying."""
    leaf = scene.state.markets[UNDERLYINGS[0]]
    assert isinstance(leaf, Underlying)
    body = encode_configure_underlying(UNDERLYINGS[0], leaf.params)
    while True:
        yield (MessageKind.CONFIGURE, ZERO_ADDRESS, body)


def configure_expiry(scene: Scene) -> Iterator[Step]:
    """New each time."""
    for number in range(1000):
        market = MarketId(spread(number + 1, 15) + (1 << 15) - 1)
        body = encode_configure_expiry(market, UNDERLYINGS[0], Timestamp(0))
        yield (MessageKind.CONFIGURE, ZERO_ADDRESS, body)


def data_fee(scene: Scene) -> Iterator[Step]:
    """Nothing, again and again."""
    while True:
        yield DataFee(0)
