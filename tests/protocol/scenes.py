"""States with accounts and markets as large as they get, and proofs of chunks on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

from deltaroll.presets import PMRM_2
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import (
    ACCOUNT_DEPTH,
    MARKET_DEPTH,
    ONE,
    TWAP_DAYS,
)
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.state import (
    State,
    compute_state_root,
    reset_meter,
    set_account,
    set_market,
)
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Address,
    Committee,
    Context,
    Expiry,
    MarketId,
    Message,
    Order,
    Position,
    Queue,
    Series,
    SeriesKind,
    SeriesStatus,
    TimeInForce,
    Timestamp,
    Transaction,
    Underlying,
    UnderlyingParams,
)
from tests.protocol.proving import DOMAIN, Proof, Rollup
from tests.protocol.strategies import (
    COMMITTEE,
    GRID,
    SIGNERS,
    START,
    Case,
    default_params,
)
from tests.protocol.verifiers import hash_message, run_python

MAX_DATA = 16_384
"""Bytes of a chunk's data that the inbox takes."""
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


def ruin(scene: Scene) -> Scene:
    """Leave accounts without money."""
    for account_id in scene.accounts:
        account = replace(scene.state.accounts[account_id], cash=-(1 << 120))
        set_account(scene.state, account_id, account)
    compute_state_root(scene.state)
    return scene


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
