"""Every legal chunk can be proven: what the meter says is an upper bound of what a proof takes.

Each scenario repeats a transaction that is dear for its weight until the meter refuses the next.
The chunk that is just legal and the one that is just too heavy are both posted to the real
contracts and removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

import pytest

from deltaroll.presets import PMRM_2
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.configure import (
    encode_configure,
    encode_configure_expiry,
    encode_configure_underlying,
)
from deltaroll.protocol.constants import (
    ACCOUNT_DEPTH,
    MARKET_DEPTH,
    MAX_CHUNK_GAS,
    MAX_CHUNK_WITNESS,
    MAX_MESSAGE_GAS,
    MAX_MESSAGE_WITNESS,
    ONE,
    TWAP_DAYS,
    WEIGHT_BYTE_GAS,
    WEIGHT_CHUNK_BYTES,
    WEIGHT_CHUNK_GAS,
    WEIGHT_TRANSACTION_GAS,
)
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import COMMITTEE_TAG, GRID_TAG, encode_committee, encode_grid
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.signatures import compute_chunk_requests
from deltaroll.protocol.state import (
    State,
    compute_state_root,
    reset_meter,
    set_account,
    set_market,
)
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    Committee,
    Context,
    DataFee,
    Distress,
    Expiry,
    Fill,
    Fund,
    Liquidate,
    List,
    Mark,
    MarketId,
    Message,
    MessageKind,
    Observation,
    Observe,
    Order,
    Position,
    Queue,
    Series,
    SeriesKind,
    SeriesStatus,
    SetTradingKey,
    SlotId,
    Socialise,
    Surface,
    Sweep,
    TimeInForce,
    Timestamp,
    Transaction,
    Transfer,
    Underlying,
    UnderlyingParams,
    Withdraw,
)
from deltaroll.protocol.witness import encode_signature_witness
from tests.protocol.proving import DOMAIN, Proof, Rollup
from tests.protocol.strategies import (
    COMMITTEE,
    GRID,
    SIGNERS,
    START,
    UNDERLYINGS,
    Case,
    default_params,
    deposit_body,
    sign_all,
)
from tests.protocol.verifiers import hash_message, run_python, verifiers

MAX_PROOF_GAS = 10_000_000
MAX_PROOF_BYTES = 120_000
MAX_DATA = 16_384
"""Bytes of a chunk's data that the inbox takes."""
MAX_SIGNATURES = 32_768
"""Bytes of a chunk's signature section that the inbox takes."""
MOST = 900
"""Steps of a scenario: more than any legal chunk has."""
PRICE = 50_000_000
RNG = Random(7)
Step = Transaction | tuple[int, Address, bytes]
"""A transaction, or a message that a Queue transaction consumes."""


@dataclass(slots=True)
class Scene:
    """A state in the making and what a scenario does to it."""

    state: State
    series: list[MarketId]
    accounts: list[AccountId]
    owners: list[Address]


def spread(number: int, depth: int) -> int:
    """The n-th of ids that are as far apart as a tree allows: their branches share least."""
    return int(f"{number:0{depth}b}"[::-1], 2)


def create_scene(
    accounts: int = 0,
    positions: int = 0,
    series: int = 0,
    *,
    underlyings: int = 1,
    disjoint: bool = False,
    marked: bool = True,
    owners: int = 24,
    adjacent: bool = False,
    expiries: int = 0,
    settled: bool = False,
    cash: int = 1 << 120,
) -> Scene:
    """Accounts that hold positions in series, with full trees around them.

    With expiries the series are options, call and put in turns, spread over so many; settled ones
    when asked for.
    """
    state = State()
    clock = START
    state.globals = replace(
        state.globals, clock=clock, queue_index=1, account_count=1 << 23, fee_pool=10**30
    )
    committee = Committee(1, tuple(sorted(signer.address for signer in SIGNERS[:16])))
    set_market(state, COMMITTEE, committee)
    set_market(state, GRID, PMRM_2)
    names = [MarketId(10 + number) for number in range(underlyings)]
    for market in names:
        params = replace(default_params(RNG, COMMITTEE, GRID), max_mark_age=600_000, tick=1)
        params = replace(params, max_observation_age=600_000, perp_initial=15_000)
        params = replace(
            params,
            max_surface_age=600_000,
            funding_cap=1_000_000,
            force_penalty=10_000,
            multiplier_max=3_000_000,
            strike_step=1_000_000,
            list_base=MarketId(30_000 + 600 * (market % 50)),
            list_strikes=16,
            list_expiries=16,
            list_period=1,
        )
        set_market(state, market, make_underlying(params, Timestamp(clock - 40_000)))
    risk = tuple(-(1 << 40) - n for n in range(33)) if marked else ()
    boards = [MarketId(25_000 + 7 * number) for number in range(expiries)]
    for number, market in enumerate(boards):
        set_market(state, market, make_expiry(names[number % underlyings], number, settled))
    listed = []
    number = 0
    while len(listed) < series:
        number += 1
        market = MarketId(40_000 + number if adjacent else spread(number, MARKET_DEPTH))
        if market in state.markets:
            continue
        place = len(listed)
        board = boards[place // 2 % expiries] if expiries else MarketId(0)
        leaf = Series(
            kind=SeriesKind(1 + place % 2 if expiries else 0),
            status=SeriesStatus.SETTLED if settled else SeriesStatus.ACTIVE,
            underlying=names[
                place // 2 % expiries % underlyings if expiries else place % underlyings
            ],
            expiry=board,
            strike=PRICE + 100_003 * (place // 2) if expiries else 0,
            mark=PRICE if marked else 0,
            mark_index=PRICE if marked else 0,
            marked_at=Timestamp(clock - 40_000 if marked else 0),
            carry_long=(1 << 50) + 7,
            carry_short=-(1 << 50) - 9,
            accrued_at=Timestamp(clock - 40_000),
            funding_remainder=77,
            open_interest=1 << 60,
            risk=() if settled else risk,
        )
        set_market(state, market, leaf)
        listed.append(market)
    opened = []
    owner_of = []
    for number in range(accounts):
        account_id = AccountId(spread(number + 1, ACCOUNT_DEPTH))
        first = number * positions if disjoint else 0
        held = sorted(listed[first : first + positions])
        owner = SIGNERS[number % owners].address
        account = Account(
            owner,
            SIGNERS[(number + 1) % owners].address,
            Timestamp(clock + 10**6),
            1,
            cash,
            1,
            Timestamp(clock),
            tuple(Position(market, -(1 << 30) - 3, -(1 << 50)) for market in held),
        )
        set_account(state, account_id, account)
        opened.append(account_id)
        owner_of.append(owner)
    # Neighbours of everything, so that no sibling is zero.
    for account_id in opened:
        for height in range(ACCOUNT_DEPTH):
            other = AccountId((account_id ^ 1 << height) & ~((1 << height) - 1) | 1)
            if other not in state.accounts:
                set_account(state, other, replace(account, positions=()))
    scene = Scene(state, listed, opened, owner_of)
    compute_state_root(state)
    reset_meter(state)
    return scene


def make_underlying(params: UnderlyingParams, observed_at: Timestamp) -> Underlying:
    """An underlying in the middle of its life, its fields as long as they get."""
    return Underlying(
        params=params,
        index=PRICE,
        observed_at=observed_at,
        pending_index=0,
        halted_until=Timestamp(0),
        variance=(1 << 47) + 12_345,
        multiplier=1_234_567,
        window_sum=PRICE * 1_234,
        window_seconds=1_234,
        day=compute_day(observed_at + 1),
        twaps=(PRICE,) * TWAP_DAYS,
    )


def make_expiry(underlying: MarketId, number: int, settled: bool) -> Expiry:
    """An expiry some weeks ahead, with a surface that has a smile."""
    return Expiry(
        underlying=underlying,
        time=compute_boundary(compute_day(START) + 20 + number),
        ratio=ONE + ONE // 101,
        rate=ONE // 23,
        a=ONE // 40,
        b=ONE // 51,
        rho=-ONE // 3,
        m=ONE // 77,
        sigma=ONE // 5,
        surfaced_at=Timestamp(START - 40_000),
        settlement=PRICE if settled else 0,
        long_discount=ONE * 94 // 100,
        short_discount=ONE * 104 // 100,
        basis_factor=ONE * 6 // 10,
        priced_at=Timestamp(START - 40_001),
    )


def order(market: MarketId, is_buy: bool, nonce: int, size: int = (1 << 31) - 1) -> Order:
    """An order with a long encoding."""
    return Order(
        market,
        is_buy,
        PRICE,
        size,
        nonce,
        1,
        Timestamp(START + 77_777),
        TimeInForce.GTC,
        False,
        False,
    )


# Scenarios


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


def ruin(scene: Scene) -> Scene:
    """Leave accounts without money."""
    for account_id in scene.accounts:
        account = replace(scene.state.accounts[account_id], cash=-(1 << 120))
        set_account(scene.state, account_id, account)
    compute_state_root(scene.state)
    return scene


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


# What is new with options


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


def near_ruin(scene: Scene, equity: int = 1) -> Scene:
    """Leave accounts, but for the first, in auctions and with next to no equity."""
    state = scene.state
    for account_id in scene.accounts[1:]:
        account = replace(state.accounts[account_id], cash=0)
        margin = compute_margin(state, account, state.globals.clock)
        account = replace(
            account, cash=equity - margin.equity, distressed_at=Timestamp(START - 40_000)
        )
        set_account(state, account_id, account)
    state.globals = replace(state.globals, insurance=1 << 120, insurance_peak=1 << 120)
    compute_state_root(state)
    reset_meter(state)
    return scene


def without_fund(scene: Scene) -> Scene:
    """Empty the insurance fund."""
    scene.state.globals = replace(scene.state.globals, insurance=0)
    compute_state_root(scene.state)
    return scene


SCENARIOS: dict[str, tuple[Callable[[Scene], Iterator[Step]], Callable[[], Scene]]] = {
    "fill, 1 position": (fill_new_pairs, lambda: create_scene(254, 1, 8)),
    "fill, 4 positions": (fill_new_pairs, lambda: create_scene(128, 4, 32, underlyings=3)),
    "fill, 64 positions": (fill_new_pairs, lambda: create_scene(20, 64, 64)),
    "fill, 64 disjoint positions": (
        fill_new_pairs,
        lambda: create_scene(4, 63, 252, underlyings=3, disjoint=True),
    ),
    "fill, resting": (fill_resting, lambda: create_scene(2, 0, 1)),
    "fill, resting, 48 underlyings": (
        fill_resting,
        lambda: create_scene(2, 64, 64, underlyings=48),
    ),
    "fill, resting, 16 underlyings": (
        fill_resting,
        lambda: create_scene(2, 16, 16, underlyings=16),
    ),
    "fill, resting, 64 positions": (fill_resting, lambda: create_scene(2, 64, 64)),
    "fill, new slots": (fill_new_slots, lambda: create_scene(2, 0, 1)),
    "fill, new series": (fill_new_series, lambda: create_scene(2, 0, 64, underlyings=3)),
    "transfer": (transfer, lambda: create_scene(2)),
    "transfer, 64 positions": (transfer, lambda: create_scene(2, 64, 64, underlyings=3)),
    "transfer, new pairs": (transfer_pairs, lambda: create_scene(254)),
    "transfer, new pairs, 64 positions": (transfer_pairs, lambda: create_scene(60, 64, 64)),
    "transfer, then fill": (transfer_then_fill, lambda: create_scene(120, 0, 1)),
    "transfer, 64 positions, then fill": (
        transfer_then_fill,
        lambda: create_scene(14, 64, 64),
    ),
    "withdraw": (withdraw, lambda: create_scene(1)),
    "set trading key": (set_trading_key, lambda: create_scene(1, 64, 64)),
    "observe": (observe, lambda: create_scene()),
    "mark": (mark, lambda: create_scene(0, 0, 250, marked=False)),
    "mark, one series": (mark_again, lambda: create_scene(0, 0, 1)),
    "deposit": (deposit, lambda: create_scene(1, 64, 64)),
    "deposit, new account": (deposit_new, lambda: create_scene(1)),
    "force exit": (force_exit, lambda: create_scene(1)),
    "force exit, 64 positions": (force_exit, lambda: create_scene(1, 64, 64, underlyings=3)),
    "cancel all": (cancel_all, lambda: create_scene(1, 64, 64)),
    "forced fill": (forced_fill, lambda: create_scene(2, 0, 1)),
    "forced transfer": (forced_transfer, lambda: create_scene(2)),
    "forced observe": (forced_observe, lambda: create_scene()),
    "forced tables": (forced_tables, lambda: create_scene()),
    "forced, two transactions": (forced_twice, lambda: create_scene()),
    "forced mark": (
        forced_marks,
        lambda: create_scene(0, 0, 160, marked=False, adjacent=True),
    ),
    "forced mark, heaviest": (
        forced_heaviest_mark,
        lambda: create_scene(0, 0, 128, underlyings=30, marked=False, adjacent=True),
    ),
    "forced fill, refused": (forced_failing_fill, lambda: ruin(create_scene(2, 4, 8))),
    "forced fill, refused, 64 positions": (
        forced_failing_fill,
        lambda: ruin(create_scene(2, 64, 64, underlyings=3)),
    ),
    "configure committee": (configure_committee, lambda: create_scene()),
    "configure grid": (configure_grid, lambda: create_scene()),
    "configure, too long": (configure_long, lambda: create_scene()),
    "noise": (noise, lambda: create_scene()),
    "mark options": (
        mark_pairs,
        lambda: create_scene(0, 0, 200, marked=False, adjacent=True, expiries=1),
    ),
    "mark options, 30 expiries": (
        mark_pairs,
        lambda: create_scene(0, 0, 120, marked=False, adjacent=True, expiries=30, underlyings=10),
    ),
    "mark options, runs": (
        mark_run,
        lambda: create_scene(0, 0, 200, marked=False, adjacent=True, expiries=1),
    ),
    "mark options, one strike": (
        mark_pair_again,
        lambda: create_scene(0, 0, 2, adjacent=True, expiries=1),
    ),
    "mark options, one strike, after accounts": (
        mark_pair_after_accounts,
        lambda: create_scene(26, 63, 64, adjacent=True, expiries=4),
    ),
    "fill, 64 options": (
        fill_new_pairs,
        lambda: create_scene(20, 64, 64, adjacent=True, expiries=4),
    ),
    "fill, resting, 63 options, 4 expiries": (
        fill_resting,
        lambda: create_scene(2, 63, 64, adjacent=True, expiries=4),
    ),
    "fill, resting, 64 options, 32 expiries": (
        fill_resting,
        lambda: create_scene(2, 64, 64, adjacent=True, expiries=32, underlyings=16),
    ),
    "fund": (fund, lambda: create_scene(0, 0, 1)),
    "fund, all": (fund_all, lambda: create_scene(0, 0, 60)),
    "fund, after 250 accounts": (fund_after_accounts, lambda: create_scene(250, 0, 1)),
    "fund, after accounts": (fund_after_accounts, lambda: create_scene(40, 64, 64)),
    "fund, after deposits": (fund_after_deposits, lambda: create_scene(36, 64, 64)),
    "fund, after fewer deposits": (fund_after_deposits, lambda: create_scene(26, 64, 64)),
    "fund, after some deposits": (fund_after_deposits, lambda: create_scene(16, 64, 64)),
    "surface": (surface, lambda: create_scene(expiries=1)),
    "forced surface": (forced_surface, lambda: create_scene(expiries=1)),
    "list": (list_all, lambda: create_scene(underlyings=3)),
    "sweep": (
        sweep,
        lambda: create_scene(20, 64, 64, adjacent=True, expiries=4, settled=True),
    ),
    "sweep, disjoint": (
        sweep,
        lambda: create_scene(3, 64, 192, adjacent=True, expiries=4, settled=True, disjoint=True),
    ),
    "distress": (
        distress,
        lambda: create_scene(20, 64, 64, adjacent=True, expiries=4),
    ),
    "liquidate, 64 options": (
        liquidate,
        lambda: near_ruin(create_scene(6, 64, 64, adjacent=True, expiries=4)),
    ),
    "liquidate, 64 options, 32 expiries": (
        liquidate,
        lambda: near_ruin(create_scene(4, 64, 64, adjacent=True, expiries=32, underlyings=16)),
    ),
    "liquidate, 64 positions, 48 underlyings": (
        liquidate,
        lambda: near_ruin(create_scene(2, 64, 64, underlyings=48)),
    ),
    "liquidate, 64 options, 47 groups": (
        liquidate,
        lambda: near_ruin(create_scene(2, 64, 64, expiries=31, underlyings=16)),
    ),
    "liquidate, 64 perpetuals": (liquidate, lambda: near_ruin(create_scene(4, 64, 64))),
    "liquidate, 1 position": (liquidate, lambda: near_ruin(create_scene(20, 1, 2))),
    "forced liquidate": (
        forced_liquidate,
        lambda: near_ruin(create_scene(4, 16, 16, adjacent=True, expiries=2)),
    ),
    "socialise": (
        socialise,
        lambda: without_fund(
            near_ruin(create_scene(6, 64, 64, adjacent=True, expiries=4), -(10**24))
        ),
    ),
    "force close": (force_close, lambda: create_scene(1, 64, 64, adjacent=True, expiries=4)),
    "configure underlying": (configure_params, lambda: create_scene()),
    "configure expiry": (configure_expiry, lambda: create_scene()),
    "data fee": (data_fee, lambda: create_scene()),
    "empty messages": (empty_messages, lambda: create_scene()),
}


def context_of(state: State, queue_end: int) -> Context:
    """The place that `Rollup.prove` gives a chunk."""
    return Context(DOMAIN, state.globals.clock, queue_end, 0, 0, True, True)


def materialise(scene: Scene, steps: Iterator[Step]) -> list[Transaction]:
    """The first steps as transactions, their messages put into the queue."""
    transactions: list[Transaction] = []
    index = scene.state.globals.queue_index
    for step in islice(steps, MOST):
        if isinstance(step, tuple):
            kind, sender, body = step
            scene.state.messages[index] = Message(kind, sender, Timestamp(START), body)
            index += 1
            transactions.append(Queue())
        else:
            transactions.append(step)
    return transactions


def fits_inbox(transactions: list[Transaction]) -> bool:
    """Whether the codec and the inbox have room for a chunk."""
    try:
        return len(encode_chunk(Timestamp(START), transactions)) <= MAX_DATA
    except ValueError:
        return False


def is_legal(scene: Scene, transactions: list[Transaction]) -> bool:
    """Whether a chunk can be posted and is not too heavy; it breaks no other rule."""
    state = scene.state
    if not fits_inbox(transactions):
        return False
    consumed = sum(isinstance(item, Queue) for item in transactions)
    context = context_of(state, state.globals.queue_index + consumed)
    state.begin()
    try:
        process_chunk(state, encode_chunk(Timestamp(START), transactions), context)
    except TransitionFault as problem:
        if problem.fault != Fault.OVERWEIGHT:
            raise
        return False
    finally:
        state.rollback()
    return True


def count_legal(scene: Scene, transactions: list[Transaction]) -> int:
    """How many transactions, from the first on, make the longest legal chunk."""
    low, high = 0, len(transactions) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if is_legal(scene, transactions[:middle]):
            low = middle
        else:
            high = middle
    return low


def measure(scene: Scene, transactions: list[Transaction]) -> tuple[Proof, int, int]:
    """Post and remove a chunk; return the proof, and the meter's gas and bytes."""
    state = scene.state
    first = state.globals.queue_index
    consumed = sum(isinstance(item, Queue) for item in transactions)
    data = encode_chunk(Timestamp(START), transactions)
    before = keccak(b"queue")
    context = context_of(state, first + consumed)
    outcome = run_python(Case(state, data, context, len(transactions), before))
    chain = before
    queue = {first - 1: chain}
    for index in range(first, first + consumed):
        chain = keccak(chain + hash_message(state.messages[index]))
        queue[index] = chain
    rollup = Rollup(outcome.pre_root, state.globals.clock, queue)
    proof = rollup.prove(data, outcome.witness, first + consumed, chain)
    expected = Fault.WRONG_POST_ROOT if outcome.fault == Fault.NONE else outcome.fault
    assert proof.fault == expected
    return proof, outcome.gas, outcome.size


@pytest.mark.parametrize("name", SCENARIOS)
def test_charge__heaviest_chunk_of_a_kind__bounds_its_proof(name: str) -> None:
    steps, create = SCENARIOS[name]
    scene = create()
    transactions = materialise(scene, steps(scene))
    count = count_legal(scene, transactions)
    assert count
    legal = transactions[:count]
    # A witness counts messages and exits in one byte.
    assert sum(isinstance(item, Queue | Withdraw) for item in legal) < 256
    proof, gas, size = measure(scene, legal)
    print(f"{name}: {count} transactions, {proof.gas:,} of {gas:,} gas, {proof.size:,} bytes")
    assert gas <= MAX_CHUNK_GAS
    assert size <= MAX_CHUNK_WITNESS
    assert proof.gas <= gas
    assert proof.size <= size
    refused = transactions[: count + 1]
    if len(refused) > count and fits_inbox(refused):
        # The chunk that is too heavy can be proven as well, else nobody could say so.
        proof, gas, size = measure(scene, refused)
        assert proof.fault == Fault.OVERWEIGHT
        assert proof.gas <= MAX_PROOF_GAS
        assert proof.size <= MAX_PROOF_BYTES


@pytest.mark.parametrize("name", SCENARIOS)
def test_charge__heaviest_chunk_of_a_kind__its_signatures_can_be_judged(name: str) -> None:
    """All of a chunk is decoded to find one signature, or to count them."""
    steps, create = SCENARIOS[name]
    scene = create()
    transactions = materialise(scene, steps(scene))
    legal = transactions[: count_legal(scene, transactions)]
    data = encode_chunk(Timestamp(START), legal)
    count = len(compute_chunk_requests(data)[1])
    section = b"\xff" * min(MAX_SIGNATURES, 64 * max(1, count))
    position = max(0, count - 1)
    fault = verifiers().verify_signature(
        context_of(scene.state, 0),
        compute_state_root(scene.state),
        data,
        section,
        position,
        encode_signature_witness(scene.state, data, position),
    )
    is_long = len(section) == 64 * count
    assert fault == (Fault.BAD_SIGNATURE if is_long else Fault.SIGNATURE_COUNT)
    print(f"{name}: {count} signatures, {verifiers().gas_used:,} gas")
    assert verifiers().gas_used + WEIGHT_CHUNK_GAS <= MAX_PROOF_GAS


def test_charge__empty_chunk__bounds_its_proof() -> None:
    proof, gas, size = measure(create_scene(), [])
    print(f"empty: {proof.gas:,} of {gas:,} gas, {proof.size:,} of {size:,} bytes")
    assert proof.gas <= gas
    assert proof.size <= size


def test_constants__heaviest_message__fits_alone_and_only_alone() -> None:
    """Else it would be up to the proposer whether a heavy message is honoured."""
    # The shortest chunk with a Queue transaction; what it weighs before the message does.
    data = len(encode_chunk(Timestamp(START), [Queue()]))
    size = WEIGHT_CHUNK_BYTES + data
    gas = WEIGHT_CHUNK_GAS + size * WEIGHT_BYTE_GAS + WEIGHT_TRANSACTION_GAS
    assert gas + MAX_MESSAGE_GAS <= MAX_CHUNK_GAS
    assert size + MAX_MESSAGE_WITNESS <= MAX_CHUNK_WITNESS
    assert gas + MAX_MESSAGE_GAS + WEIGHT_TRANSACTION_GAS > MAX_CHUNK_GAS
