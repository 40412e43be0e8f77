"""Random chunks over realistic states: valid flow, rules broken one at a time, and noise.

`generate_case` needs nothing but a `random.Random`: Hypothesis, the differential tests and
`python -m tests.fuzz` all draw from it, and the same generator state always yields the same case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

from hypothesis import strategies as st

from deltaroll.presets import PMRM_2, SPAN_16
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.configure import (
    encode_configure,
    encode_configure_closing,
    encode_configure_params,
    encode_configure_series,
)
from deltaroll.protocol.constants import DAY, EXPIRY_TIME, MAX_AMOUNT, ONE
from deltaroll.protocol.eip712 import compute_digest, compute_domain_separator
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import compute_position_size
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import (
    COMMITTEE_TAG,
    GRID_TAG,
    encode_committee,
    encode_grid,
    encode_params,
)
from deltaroll.protocol.signatures import Role, compute_requests
from deltaroll.protocol.state import (
    State,
    compute_state_root,
    reset_meter,
    set_account,
    set_market,
)
from deltaroll.protocol.transition import Progress, process_transaction
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    Address,
    Committee,
    Context,
    Expiry,
    Fill,
    Grid,
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
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    SetTradingKey,
    SlotId,
    TimeInForce,
    Timestamp,
    Transaction,
    Transfer,
    Underlying,
    UnderlyingParams,
    Withdraw,
)
from deltaroll.sdk.signing import Signer
from tests.protocol import derivatives

DOMAIN = compute_domain_separator(31337, Address(b"\x11" * 20))
START = Timestamp(1_800_000_000)
COMMITTEE = MarketId(1)
GRID = MarketId(2)
UNDERLYINGS = (MarketId(10), MarketId(11), MarketId(12))
FIRST_SERIES = MarketId(100)
IDLE_SERIES = MarketId(300)
"""Listed, but does not trade."""
SIGNERS = [Signer((1000 + n).to_bytes(32, "big")) for n in range(24)]
OWNERS, TRADERS = SIGNERS[:6], SIGNERS[6:12]
ORACLES = sorted(SIGNERS[12:19], key=lambda signer: signer.address)
BY_ADDRESS = {signer.address: signer for signer in SIGNERS}
UNKNOWN_ACCOUNTS = (0, 77, 9_999, (1 << 24) - 1)
UNKNOWN_MARKETS = (0, 1, 2, 10, 55, 300, 9_999, 65_535)
WORLDS = 12
"""Worlds of each kind that the cases share."""


def mutate_choice(rng: Random, *values: Any) -> Any:
    """One of some values that are likely to break a rule."""
    return rng.choice(values)


# Worlds


@dataclass(slots=True)
class World:
    """A state, and what the test knows besides."""

    state: State
    series: list[MarketId]
    owners: int = 6
    """How many owners share the accounts."""
    accounts: list[AccountId] = field(default_factory=list)


def context_at(state: State, clock: int, queue_end: int | None = None) -> Context:
    """A context in which a chunk at `clock` is honest."""
    end = state.globals.queue_index if queue_end is None else queue_end
    return Context(DOMAIN, Timestamp(clock), end, 0, 0, False, False)


def submit(state: State, kind: int, sender: Address, body: bytes) -> None:
    """Put a message at the head of the queue."""
    state.messages[state.globals.queue_index] = Message(kind, sender, Timestamp(7), body)


def apply(state: State, transaction: Transaction) -> None:
    """Apply a transaction that must be valid."""
    reset_meter(state)
    context = context_at(state, state.globals.clock, state.globals.queue_index + 1)
    process_transaction(state, transaction, Progress(), context)


def enqueue(state: State, kind: int, sender: Address, body: bytes) -> None:
    """Consume a message that must be honoured."""
    skipped = state.globals.skipped
    submit(state, kind, sender, body)
    apply(state, Queue())
    assert state.globals.skipped == skipped, (kind, body.hex())


def deposit_body(owner: Address, account: int, amount: int) -> bytes:
    """Body of a Deposit."""
    return owner + account.to_bytes(4, "big") + amount.to_bytes(16, "big")


def default_params(rng: Random, committee: int, grid: int) -> UnderlyingParams:
    """Parameters that a venue would choose, give or take."""
    return UnderlyingParams(
        committee=MarketId(committee),
        grid=MarketId(grid),
        tick=rng.choice((1, 10, 100)),
        jump_band=100_000,
        move_band=rng.choice((5_000, 20_000)),
        fill_band=50_000,
        outlier_band=30_000,
        maintenance_factor=1_000_000,
        initial_factor=1_250_000,
        perp_maintenance=20_000,
        perp_initial=rng.choice((0, 15_000)),
        option_maintenance=3_000,
        option_initial=rng.choice((0, 2_000)),
        maker_fee=rng.choice((0, 150, -150)),
        taker_fee=rng.choice((333, 10_000)),
        option_maker_fee=rng.choice((0, 300, -200)),
        option_taker_fee=rng.choice((300, 10_000)),
        option_fee_cap=rng.choice((0, 125_000, 1_000_000)),
        funding_cap=rng.choice((0, 5_000, 50_000)),
        multiplier_min=1_000_000,
        multiplier_max=rng.choice((1_000_000, 1_700_001, 3_000_000)),
        multiplier_step=rng.choice((0, 50_000, 10_000_000)),
        vol_reference=rng.choice((0, 500_000)),
        vol_slope=rng.choice((0, 500_000)),
        insurance_slope=rng.choice((0, 1_000_000)),
        force_penalty=rng.choice((0, 10_000)),
        max_observation_age=60,
        max_mark_age=300,
        max_surface_age=rng.choice((600, 604_800)),
        halt_seconds=600,
        gas_market=MarketId(0),
        gas_lot=0,
        strike_step=rng.choice((1_000_000, 7)),
        list_base=MarketId(0),
        list_strikes=0,
        list_expiries=0,
        list_period=0,
    )


def random_grid(rng: Random) -> Grid:
    """A grid of any allowed size."""
    if rng.random() < 0.6:
        return rng.choice((PMRM_2, PMRM_2, SPAN_16))
    count = rng.randint(1, 33)
    scenarios = []
    for _ in range(count):
        vol_shock = rng.randint(-1, 3)
        shock = rng.choice((0, -1_000_000, rng.randint(-999_999, 4_000_000)))
        weight = rng.choice((0, ONE, rng.randint(0, ONE)))
        scenarios.append(Scenario(0 if vol_shock > 1 else shock, vol_shock, weight))
    return Grid(
        tuple(scenarios),
        rng.randrange(count),
        rng.randrange(count),
        rng.choice((PMRM_2.model, SPAN_16.model)),
    )


def list_markets(rng: Random, state: State, series_count: int, underlyings: int = 3) -> World:
    """A state with committee, grid, underlyings and series, all through the queue."""
    committee = Committee(rng.randint(1, 4), tuple(oracle.address for oracle in ORACLES[:5]))
    enqueue(
        state,
        MessageKind.CONFIGURE,
        ZERO_ADDRESS,
        encode_configure(COMMITTEE_TAG, COMMITTEE, encode_committee(committee)[1:]),
    )
    grid = random_grid(rng)
    enqueue(
        state,
        MessageKind.CONFIGURE,
        ZERO_ADDRESS,
        encode_configure(GRID_TAG, GRID, encode_grid(grid)[1:]),
    )
    for market in UNDERLYINGS[:underlyings]:
        params = replace(
            default_params(rng, COMMITTEE, GRID),
            list_base=MarketId(derivatives.LIST_BASES[market]),
            list_strikes=derivatives.STRIKES,
            list_expiries=derivatives.EXPIRIES,
            list_period=derivatives.PERIOD,
        )
        body = encode_configure_params(market, encode_params(params))
        enqueue(state, MessageKind.CONFIGURE, ZERO_ADDRESS, body)
    series = [MarketId(FIRST_SERIES + n) for n in range(series_count)]
    for number, market in enumerate([*series, IDLE_SERIES]):
        status = SeriesStatus.INACTIVE if market == IDLE_SERIES else SeriesStatus.ACTIVE
        body = encode_configure_series(
            market, SeriesKind.PERPETUAL, status, UNDERLYINGS[number % underlyings]
        )
        enqueue(state, MessageKind.CONFIGURE, ZERO_ADDRESS, body)
    return World(state, series)


def observation(rng: Random, state: State, market: MarketId, price: int) -> Observe:
    """What the committee would sign now, near `price`."""
    clock = state.globals.clock
    spread = price // 10_000
    observations = tuple(
        Observation(n, price - rng.randint(0, spread), Timestamp(clock - rng.randint(0, 4)))
        for n in range(5)
    )
    return Observe(market, observations)


def refresh(rng: Random, world: World, prices: Sequence[int]) -> None:
    """Observe and mark everything."""
    for market, price in zip(UNDERLYINGS, prices, strict=False):
        if market in world.state.markets:
            apply(world.state, observation(rng, world.state, market, price))
    for market in world.series:
        apply(world.state, Mark(market, 1))


def list_options(rng: Random, world: World) -> None:
    """List the expiries of every underlying's rule, give them surfaces, mark them."""
    state = world.state
    for market in UNDERLYINGS:
        if market in state.markets:
            for offset in range(derivatives.EXPIRIES):
                apply(state, List(market, offset))
    for market in derivatives.find_expiries(state):
        leaf = state.markets[market]
        assert isinstance(leaf, Expiry)
        surface = derivatives.make_plausible_surface(rng, market, leaf, state.globals.clock)
        try_apply(state, replace(surface, time=state.globals.clock, a=ONE // 400))
        for series in derivatives.find_series(state, market):
            world.series.append(series)
            try_apply(state, Mark(series, 1))


def open_accounts(rng: Random, world: World, count: int, amount: Callable[[], int]) -> None:
    """Open accounts by deposits; some owners get several, some get a trading key."""
    state = world.state
    for number in range(count):
        owner = OWNERS[number % world.owners]
        body = deposit_body(owner.address, 0, amount())
        enqueue(state, MessageKind.DEPOSIT, owner.address, body)
        account = AccountId(state.globals.account_count)
        world.accounts.append(account)
        if rng.random() < 0.5:
            expiry = Timestamp(state.globals.clock + rng.choice((-1, 50, 100_000)))
            key = TRADERS[number % len(TRADERS)].address
            apply(state, SetTradingKey(account, key, expiry, 1))


def evolve(rng: Random, world: World, steps: int) -> None:
    """Let the world live for a while: valid flow only."""
    for _ in range(steps):
        draft = Draft(rng, world, world.state.globals.clock + rng.choice((0, 0, 1, 3)), 0.0)
        draft.grow()
        draft.finish(keep=True)


def build_normal_world(rng: Random) -> World:
    """Eight to ten accounts trade eight series of three underlyings."""
    world = list_markets(rng, new_state(), 8)
    prices = [rng.randint(1_000, 90_000) * 1_000 for _ in UNDERLYINGS]
    rich = max(prices) * 3_000
    open_accounts(rng, world, rng.randint(8, 10), lambda: rng.choice((rich, rich, rich // 500)))
    refresh(rng, world, prices)
    evolve(rng, world, 150)
    return world


def build_options_world(rng: Random) -> World:
    """Options and perpetuals, often close to an expiry, with funded insurance or without."""
    state = new_state()
    week = (START // DAY // 7) * 7 * DAY + DAY + EXPIRY_TIME + 7 * DAY
    until = rng.choice((100, 1_000, 2_500, 30_000, 300_000))
    state.globals = replace(state.globals, clock=Timestamp(week - until))
    world = list_markets(rng, state, 4)
    prices = [rng.randint(2_000, 90_000) * 1_000 for _ in UNDERLYINGS]
    rich = max(prices) * 2_000
    open_accounts(
        rng, world, rng.randint(8, 10), lambda: rng.choice((rich, rich // 40, rich // 400))
    )
    refresh(rng, world, prices)
    list_options(rng, world)
    if rng.random() < 0.6:
        fund = rng.choice((10**4, 10**8, rich))
        state.globals = replace(
            state.globals,
            insurance=fund,
            insurance_peak=fund * rng.choice((1, 2)),
            deposited=state.globals.deposited + fund,
        )
    evolve(rng, world, 120)
    draft = Draft(rng, world, state.globals.clock + 2, 0.0)
    step_refresh(draft)
    draft.finish(keep=True)
    return world


def build_trouble_world(rng: Random) -> World:
    """An options world after a crash, before anybody has been helped."""
    world = build_options_world(rng)
    for percent in (rng.choice((60, 75, 130, 170)), rng.choice((80, 100, 120))):
        draft = Draft(rng, world, world.state.globals.clock + 2, 0.0)
        for market in UNDERLYINGS:
            derivatives.crash(draft, market, percent)
        derivatives.call_distress(draft)
        draft.finish(keep=True)
    return world


def build_big_world(rng: Random) -> World:
    """Accounts with up to 64 positions in 130 series."""
    world = list_markets(rng, new_state(), 130)
    prices = [rng.randint(1_000, 90_000) * 1_000 for _ in UNDERLYINGS]
    open_accounts(rng, world, 8, lambda: prices[0] * 100_000)
    refresh(rng, world, prices)
    state = world.state
    for number, account_id in enumerate(world.accounts[:4]):
        held = sorted(rng.sample(world.series, (64, 64, 63, 16)[number]))
        positions = tuple(
            Position(market, rng.choice((-1, 1)) * rng.randint(1, 9), 0) for market in held
        )
        set_account(state, account_id, replace(state.accounts[account_id], positions=positions))
        for position in positions:
            series = state.markets[position.series]
            assert isinstance(series, Series)
            interest = series.open_interest + max(0, position.size) + 9
            set_market(state, position.series, replace(series, open_interest=interest))
    evolve(rng, world, 4)
    return world


def build_extreme_world(rng: Random) -> World:
    """Values at the ends of their ranges."""
    state = new_state()
    world = list_markets(rng, state, 6)
    far = 1 << 62
    prices = [rng.choice((1, 7, far, 2 * far - 1)), rng.randint(1, 2 * far - 1), 1_000_000]
    world.owners = rng.choice((2, 6))
    amount = (1 << 95) - 1
    open_accounts(rng, world, 8, lambda: rng.choice((amount, 1)))
    for market, price in zip(UNDERLYINGS, prices, strict=True):
        apply(state, observation(rng, state, market, price))
    for market in world.series:
        # A shock of several hundred percent leaves int64.
        try_apply(state, Mark(market, 1))
    bound = 1 << 127
    size = (1 << 63) - 1
    for account_id in world.accounts:
        account = state.accounts[account_id]
        held = sorted(rng.sample(world.series, rng.randint(0, 4)))
        positions = tuple(
            Position(
                market,
                rng.choice((1, -1, rng.randint(1, 1 << 30), size - rng.randint(0, 5), -size - 1)),
                rng.choice((0, 5, -9, 1 << 100)),
            )
            for market in held
        )
        cash = rng.choice((account.cash, 0, bound - rng.randint(1, 1000), -bound))
        set_account(
            state,
            account_id,
            replace(
                account,
                cash=cash,
                positions=positions,
                epoch=rng.choice((0, (1 << 31) - 2)),
                nonce=rng.choice((0, 3, (1 << 63) - 2)),
            ),
        )
    for market in world.series:
        series = state.markets[market]
        assert isinstance(series, Series)
        set_market(
            state,
            market,
            replace(
                series,
                open_interest=rng.choice((1 << 40, (1 << 64) - rng.randint(1, 9))),
                carry_long=rng.choice((0, 3, -(1 << 90), (1 << 127) - 1)),
                carry_short=rng.choice((0, 3, -(1 << 90), (1 << 127) - 1)),
            ),
        )
    state.globals = replace(
        state.globals,
        fee_pool=rng.choice((0, (1 << 128) - rng.randint(1, 10**6))),
        deposited=rng.choice((state.globals.deposited, (1 << 128) - rng.randint(1, 1 << 96))),
    )
    if rng.random() < 0.3:
        # Exits are listed from 0 on, so an exit tree that is nearly full cannot be had here.
        state.globals = replace(state.globals, exit_count=(1 << 32) - 1)
    if rng.random() < 0.3:
        state.globals = replace(state.globals, account_count=(1 << 24) - 1)
    return world


def build_empty_world(rng: Random) -> World:
    """Genesis, or little more."""
    state = new_state()
    world = World(state, [FIRST_SERIES])
    if rng.random() < 0.5:
        world = list_markets(rng, state, 2)
    open_accounts(rng, world, rng.randint(0, 2), lambda: 1_000_000)
    return world


def new_state() -> State:
    """An empty state whose clock has started."""
    state = State()
    state.globals = replace(state.globals, clock=START)
    return state


def try_apply(state: State, transaction: Transaction) -> Fault:
    """Apply a transaction if it is valid."""
    state.begin()
    try:
        apply(state, transaction)
    except TransitionFault as problem:
        state.rollback()
        return problem.fault
    state.commit()
    return Fault.NONE


BUILDERS = {
    "normal": build_normal_world,
    "big": build_big_world,
    "options": build_options_world,
    "trouble": build_trouble_world,
    "extreme": build_extreme_world,
    "empty": build_empty_world,
}


@cache
def world_of(kind: str, number: int) -> World:
    """A world that cases share: they leave it as they find it."""
    world = BUILDERS[kind](Random(f"{kind} {number}"))
    compute_state_root(world.state)
    reset_meter(world.state)
    return world


# Transactions


class Draft:
    """A chunk in the making: transactions are tried on the state and kept if they suit."""

    def __init__(self, rng: Random, world: World, clock: int, malice: float) -> None:
        self.rng = rng
        self.world = world
        self.state = world.state
        self.malice = malice
        self.transactions: list[Transaction] = []
        self.progress = Progress()
        self.closed = False
        self.state.begin()
        reset_meter(self.state)
        self.state.globals = replace(self.state.globals, clock=Timestamp(clock))
        self.clock = clock

    def finish(self, keep: bool = False) -> None:
        """Undo, or keep, what the transactions have done."""
        if keep:
            self.state.commit()
        else:
            self.state.rollback()

    def add(self, transaction: Transaction) -> bool:
        """Try a transaction; an invalid one ends the chunk or is dropped."""
        if self.closed:
            return False
        state, rng = self.state, self.rng
        context = context_at(state, self.clock, state.globals.queue_index + 1)
        before = replace(self.progress)
        state.begin()
        try:
            process_transaction(state, transaction, self.progress, context)
        except TransitionFault:
            state.rollback()
            self.progress = before
            if self.malice and rng.random() < 0.7:
                self.transactions.append(transaction)
                self.closed = True
            return False
        state.commit()
        self.transactions.append(transaction)
        return True

    def grow(self) -> None:
        """Add one step of flow."""
        step = self.rng.choices(STEPS, STEP_WEIGHTS)[0]
        step(self)

    def is_bad(self) -> bool:
        """Whether to break a rule here."""
        return self.rng.random() < self.malice

    # What steps choose from.

    def account(self) -> AccountId:
        """An account, mostly one that exists."""
        if not self.world.accounts or self.rng.random() < self.malice * 0.1:
            return AccountId(self.rng.choice(UNKNOWN_ACCOUNTS))
        count = self.state.globals.account_count
        known = [*self.world.accounts, AccountId(max(1, min(count, 60)))]
        return self.rng.choice(known)

    def market(self) -> MarketId:
        """A series, mostly one that trades."""
        if self.rng.random() < self.malice * 0.1:
            return MarketId(self.rng.choice(UNKNOWN_MARKETS))
        return self.rng.choice(self.world.series)

    def underlying(self) -> MarketId:
        """An underlying, mostly."""
        if self.rng.random() < self.malice * 0.1:
            return MarketId(self.rng.choice(UNKNOWN_MARKETS))
        return self.rng.choice(UNDERLYINGS)

    def leaf(self, market: MarketId) -> tuple[Series | None, Underlying | None]:
        """A series and its underlying, as far as they exist."""
        series = self.state.markets.get(market)
        if not isinstance(series, Series):
            return None, None
        underlying = self.state.markets.get(series.underlying)
        return series, underlying if isinstance(underlying, Underlying) else None

    def price(self, market: MarketId) -> int:
        """A price near the mark, on a tick."""
        series, underlying = self.leaf(market)
        if series is None or underlying is None or series.mark == 0:
            return self.rng.randint(1, 1_000)
        tick = underlying.params.tick
        spread = max(1, series.mark // 100)
        price = (series.mark + self.rng.randint(-spread, spread)) // tick * tick
        return min(max(tick, price), (1 << 63) // tick * tick - tick)

    def next_nonce(self, account: AccountId) -> int:
        """The nonce of an account's next action."""
        known = self.state.accounts.get(account)
        return (0 if known is None else known.nonce) + self.rng.choice((1, 1, 1, 5))

    def order(self, account: AccountId, slot: int, fill_market: MarketId, is_buy: bool) -> Order:
        """An order that can be filled now."""
        rng = self.rng
        held = self.state.slots.get(account, {}).get(SlotId(slot))
        known = self.state.accounts.get(account)
        order = Order(
            fill_market,
            is_buy,
            self.price(fill_market),
            rng.choice((1, 2, 5, 10, 40, rng.randint(1, 300))),
            (0 if held is None else held.order.nonce) + rng.choice((1, 1, 2, 9)),
            0 if known is None else known.epoch,
            Timestamp(self.clock + rng.choice((0, 3, 60, 100_000))),
            TimeInForce.GTC,
            rng.random() < 0.1,
            rng.random() < 0.1,
        )
        if self.is_bad():
            order = self.spoil_order(order)
        return order

    def spoil_order(self, order: Order) -> Order:
        """Break one rule of an order."""
        rng = self.rng
        match rng.randrange(8):
            case 0:
                price = rng.choice((0, 1, order.price + 1, order.price * 2, (1 << 63) - 1))
                return replace(order, price=min(price, (1 << 63) - 1))
            case 1:
                return replace(order, size=rng.choice((0, 1, (1 << 31) - 1)))
            case 2:
                return replace(order, nonce=rng.choice((0, max(0, order.nonce - 9), 1 << 30)))
            case 3:
                return replace(order, epoch=rng.choice((0, order.epoch + 1)) & 0x7FFFFFFF)
            case 4:
                return replace(order, expiry=Timestamp(self.clock))
            case 5:
                return replace(order, time_in_force=rng.choice(list(TimeInForce)))
            case 6:
                return replace(order, post_only=not order.post_only)
            case _:
                return replace(order, reduce_only=not order.reduce_only)


def pick_slot(draft: Draft) -> SlotId:
    """An order slot: few are used, so that they are used again."""
    return SlotId(draft.rng.choice((0, 1, 2, 3, 4, 5, 900, 4095)))


def make_fill(draft: Draft) -> Fill:
    """Two new orders that match."""
    rng = draft.rng
    market = draft.market()
    maker, taker = draft.account(), draft.account()
    maker_slot, taker_slot = pick_slot(draft), pick_slot(draft)
    maker_is_buy = rng.random() < 0.5
    maker_order = draft.order(maker, maker_slot, market, maker_is_buy)
    taker_order = draft.order(taker, taker_slot, market, not maker_is_buy)
    if not draft.is_bad():
        maker_order = replace(maker_order, time_in_force=TimeInForce.GTC)
        taker_order = replace(taker_order, price=maker_order.price, post_only=False)
        if rng.random() < 0.3:
            taker_order = replace(taker_order, time_in_force=rng.choice(list(TimeInForce)))
    top = min(maker_order.size, taker_order.size)
    if taker_order.time_in_force == TimeInForce.FOK and not draft.is_bad():
        taker_order = replace(taker_order, size=top)
    lots = rng.choice((top, top, max(1, top // 2), 1))
    fill = Fill(
        market,
        maker,
        taker,
        maker_slot,
        taker_slot,
        maker_is_buy,
        lots,
        maker_order,
        taker_order,
    )
    return spoil_fill(draft, fill) if draft.is_bad() else fill


def resting_orders(draft: Draft) -> list[tuple[AccountId, SlotId]]:
    """Slots that hold an order which is not filled yet."""
    return [
        (account, slot_id)
        for account, slots in sorted(draft.state.slots.items())
        for slot_id, slot in sorted(slots.items())
        if slot.filled < slot.order.size
    ]


def make_resting_fill(draft: Draft) -> Fill:
    """A new order against one that rests, or two that rest."""
    rng = draft.rng
    resting = resting_orders(draft)
    if not resting:
        return make_fill(draft)
    maker, maker_slot = rng.choice(resting)
    slot = draft.state.slots[maker][maker_slot]
    market = slot.order.market
    left = slot.order.size - slot.filled
    taker, taker_slot = draft.account(), pick_slot(draft)
    taker_order: Order | None = draft.order(taker, taker_slot, market, not slot.order.is_buy)
    assert taker_order is not None
    if rng.random() < 0.9:
        taker_order = replace(taker_order, price=slot.order.price, post_only=False)
    others = [
        key
        for key in resting
        if draft.state.slots[key[0]][key[1]].order.market == market
        and draft.state.slots[key[0]][key[1]].order.is_buy != slot.order.is_buy
        and key[0] != maker
    ]
    if others and rng.random() < 0.4:
        taker, taker_slot = rng.choice(others)
        taker_order = None
    lots = rng.choice((left, 1, left + 1 if draft.is_bad() else left))
    if taker_order is not None and not draft.is_bad():
        lots = min(lots, taker_order.size) or 1
    fill = Fill(
        market,
        maker,
        taker,
        maker_slot,
        taker_slot,
        slot.order.is_buy,
        min(lots, (1 << 31) - 1),
        None,
        taker_order,
    )
    return spoil_fill(draft, fill) if draft.is_bad() else fill


def spoil_fill(draft: Draft, fill: Fill) -> Fill:
    """Break one rule of a fill; what an order shares with its fill follows."""
    rng = draft.rng
    match rng.randrange(9):
        case 0:
            fill = replace(fill, lots=rng.choice((0, 1, fill.lots * 2 + 1, (1 << 31) - 1)))
            fill = replace(fill, lots=min(fill.lots, (1 << 31) - 1))
        case 1:
            fill = replace(fill, maker=AccountId(rng.choice((*UNKNOWN_ACCOUNTS, fill.taker))))
        case 2:
            fill = replace(fill, taker=AccountId(rng.choice((*UNKNOWN_ACCOUNTS, fill.maker))))
        case 3:
            other = rng.choice((*UNKNOWN_MARKETS, *draft.world.series))
            fill = replace(fill, market=MarketId(other))
        case 4:
            fill = replace(fill, maker_is_buy=not fill.maker_is_buy)
        case 5:
            fill = replace(fill, maker_order=None)
        case 6:
            fill = replace(fill, taker_order=None)
        case 7:
            fill = replace(fill, maker_slot=pick_slot(draft), taker_slot=pick_slot(draft))
        case _:
            if fill.maker_order is not None:
                fill = replace(fill, maker_order=draft.spoil_order(fill.maker_order))
            elif fill.taker_order is not None:
                fill = replace(fill, taker_order=draft.spoil_order(fill.taker_order))
    return align(fill)


def align(fill: Fill) -> Fill:
    """Give the orders the market and side that the codec reads from the fill."""
    if fill.maker_order is not None:
        order = replace(fill.maker_order, market=fill.market, is_buy=fill.maker_is_buy)
        fill = replace(fill, maker_order=order)
    if fill.taker_order is not None:
        order = replace(fill.taker_order, market=fill.market, is_buy=not fill.maker_is_buy)
        fill = replace(fill, taker_order=order)
    return fill


def make_transfer(draft: Draft) -> Transfer:
    """Cash from one account to another."""
    rng = draft.rng
    sender, recipient = draft.account(), draft.account()
    if not draft.is_bad():
        while recipient == sender and len(draft.world.accounts) > 1:
            recipient = rng.choice(draft.world.accounts)
    nonce = draft.next_nonce(sender)
    amount = rng.choice((1, 10**6, rng.randint(1, 10**9)))
    if draft.is_bad():
        amount = rng.choice((0, MAX_AMOUNT, amount * 10**6))
        nonce = rng.choice((nonce, 0, max(0, nonce - 5)))
    return Transfer(sender, recipient, amount, min(nonce, (1 << 63) - 1))


def make_withdraw(draft: Draft) -> Withdraw:
    """Cash to L1."""
    rng = draft.rng
    account = draft.account()
    nonce = draft.next_nonce(account)
    amount = rng.choice((1, 10**6, rng.randint(1, 10**9)))
    recipient = rng.choice(OWNERS).address
    if draft.is_bad():
        amount = rng.choice((0, MAX_AMOUNT, amount))
        recipient = rng.choice((recipient, ZERO_ADDRESS))
        nonce = rng.choice((nonce, 0, max(0, nonce - 5)))
    return Withdraw(account, recipient, amount, min(nonce, (1 << 63) - 1))


def make_set_trading_key(draft: Draft) -> SetTradingKey:
    """Another trading key, or none."""
    rng = draft.rng
    account = draft.account()
    key = rng.choice((rng.choice(TRADERS).address, ZERO_ADDRESS))
    expiry = Timestamp(draft.clock + rng.choice((-5, 0, 100, 10**6)))
    nonce = draft.next_nonce(account)
    if draft.is_bad():
        nonce = rng.choice((0, max(0, nonce - 5)))
    return SetTradingKey(account, key, expiry, min(nonce, (1 << 63) - 1))


def make_observe(draft: Draft) -> Observe:
    """Prices by the committee: a small move, mostly."""
    rng = draft.rng
    market = draft.underlying()
    leaf = draft.state.markets.get(market)
    price = leaf.index if isinstance(leaf, Underlying) and leaf.index else 1_000_000
    move = rng.choice((0, price // 1000, price // 80, price // 5 if rng.random() < 0.3 else 0))
    price = max(1, min(price + rng.choice((-1, 1)) * move, (1 << 63) - 10))
    count = 5
    entries = []
    for signer in range(count):
        value = max(1, price + rng.randint(-2, 2))
        age = rng.choice((0, 0, 1, 2, 59))
        if draft.is_bad():
            match rng.randrange(4):
                case 0:
                    value = 0
                case 1:
                    value = min(value * 2, (1 << 63) - 1)
                case 2:
                    age = rng.choice((60, 61, 5_000, 32_767))
                case _:
                    continue
        entries.append(Observation(signer, value, Timestamp(max(0, draft.clock - age))))
    if draft.is_bad() and rng.random() < 0.2:
        signer = rng.randint(5, 15)
        entries.append(Observation(signer, price, Timestamp(draft.clock)))
    return Observe(market, tuple(entries))


def make_mark(draft: Draft) -> Mark:
    """One series, or several."""
    rng = draft.rng
    market = draft.market()
    count = rng.choice((1, 1, 2, 4))
    if draft.malice and len(draft.world.series) > 100 and rng.random() < 0.3:
        # Too heavy.
        return Mark(draft.world.series[0], 128)
    if draft.is_bad():
        count = rng.choice((1, 30, 128))
    elif market in draft.world.series:
        count = min(count, draft.world.series[-1] - market + 1)
    return Mark(market, count)


# Messages


def make_deposit(draft: Draft) -> tuple[int, Address, bytes]:
    """To an account that exists, or to a new one."""
    rng = draft.rng
    owner = rng.choice(OWNERS).address
    account = rng.choice((0, draft.account(), draft.account(), 500, (1 << 32) - 1))
    amount = rng.choice((1, 10**6, 10**9, 10**15))
    if draft.is_bad():
        amount = rng.choice((0, MAX_AMOUNT, MAX_AMOUNT + 1, (1 << 128) - 1))
    body = deposit_body(owner, account, amount)
    return MessageKind.DEPOSIT, owner, spoil_body(draft, body)


def owner_of(draft: Draft, account: AccountId) -> Address:
    """The owner of an account, mostly."""
    known = draft.state.accounts.get(account)
    if known is None or draft.is_bad():
        return draft.rng.choice(OWNERS).address
    return known.owner


def make_force_exit(draft: Draft) -> tuple[int, Address, bytes]:
    """Everything, or a part."""
    rng = draft.rng
    account = draft.account()
    amount = rng.choice((1, 10**6, 10**12, (1 << 128) - 1))
    if draft.is_bad():
        amount = 0
    number = rng.choice((account, account, account, (1 << 24) + account))
    body = number.to_bytes(4, "big") + amount.to_bytes(16, "big")
    return MessageKind.FORCE_EXIT, owner_of(draft, account), spoil_body(draft, body)


def make_cancel_all(draft: Draft) -> tuple[int, Address, bytes]:
    """Another epoch."""
    account = draft.account()
    body = int(account).to_bytes(4, "big")
    return MessageKind.CANCEL_ALL, owner_of(draft, account), spoil_body(draft, body)


def make_configure(draft: Draft) -> tuple[int, Address, bytes]:
    """List something, or change it."""
    rng = draft.rng
    free = MarketId(rng.choice((400, 401, 402)))
    match rng.randrange(6):
        case 0:
            market = rng.choice((COMMITTEE, free, MarketId(rng.choice(UNKNOWN_MARKETS))))
            signers = sorted(rng.sample([oracle.address for oracle in ORACLES], rng.randint(1, 7)))
            threshold = rng.randint(1, len(signers))
            if draft.is_bad():
                threshold = rng.choice((0, 17, threshold))
                signers = rng.sample(signers, len(signers)) * rng.choice((1, 3))
            committee = Committee(threshold, tuple(signers))
            body = encode_configure(COMMITTEE_TAG, market, encode_committee(committee)[1:])
        case 1:
            market = rng.choice((GRID, free, free))
            grid = random_grid(rng)
            if draft.is_bad():
                scenario = rng.choice(
                    (
                        Scenario(-1_000_001, 0, 0),
                        Scenario(0, 0, ONE + 1),
                        Scenario(0, -128, 0),
                        Scenario(2**31 - 1, 127, ONE),
                        Scenario(1, 2, ONE),
                    )
                )
                model = PMRM_2.model
                name = rng.choice(type(model).__slots__)  # type: ignore[attr-defined]
                value = rng.choice((-(1 << 63), -1, 0, 65 * ONE, (1 << 63) - 1))
                grid = rng.choice(
                    (
                        Grid((), 0, 0, model),
                        Grid((scenario,), 0, 0, model),
                        Grid((scenario,) * 34, 0, 0, model),
                        replace(PMRM_2, model=replace(model, **{name: value})),
                        replace(PMRM_2, basis_up=rng.choice((33, 255))),
                    )
                )
            body = encode_configure(GRID_TAG, market, encode_grid(grid)[1:])
        case 2 | 3:
            market = rng.choice((draft.underlying(), draft.underlying(), free))
            leaf = draft.state.markets.get(market)
            known = isinstance(leaf, Underlying)
            params = leaf.params if known else default_params(rng, COMMITTEE, GRID)
            # mypy cannot see that `known` narrows `leaf`.
            params = replace(params, max_mark_age=rng.choice((60, 300, 604_800)))
            if draft.is_bad():
                params = spoil_params(rng, params)
            body = encode_configure_params(market, encode_params(params))
        case 4:
            market = rng.choice((draft.market(), MarketId(max(0, draft.market() - 1))))
            statuses = (SeriesStatus.CLOSING, SeriesStatus.ACTIVE)
            status = rng.choice(list(SeriesStatus) if draft.is_bad() else statuses)
            count = rng.choice((0, 1, 64, 65, 255)) if draft.is_bad() else rng.randint(1, 4)
            body = encode_configure_closing(market, status, count)
        case _:
            market = rng.choice((draft.market(), IDLE_SERIES, free))
            series, _ = draft.leaf(market)
            underlying = rng.choice(UNDERLYINGS) if series is None else series.underlying
            status = rng.choice(list(SeriesStatus))
            if draft.is_bad():
                underlying = MarketId(rng.choice((*UNKNOWN_MARKETS, *UNDERLYINGS)))
            body = encode_configure_series(market, SeriesKind.PERPETUAL, status, underlying)
            if draft.is_bad():
                body = body[:3] + bytes((rng.choice((0, 1)), rng.choice((0, 1, 2, 3)))) + body[5:]
    return MessageKind.CONFIGURE, ZERO_ADDRESS, spoil_body(draft, body)


def spoil_params(rng: Random, params: UnderlyingParams) -> UnderlyingParams:
    """One parameter out of bounds, or on the other side of one."""
    name = rng.choice(UnderlyingParams.__slots__)  # type: ignore[attr-defined]
    widths = {"committee": 16, "grid": 16, "tick": 64, "gas_market": 16, "list_base": 16}
    width = widths.get(name, 8 if name in ("list_strikes", "list_expiries") else 31)
    value = rng.choice((0, 1, 2, 10_001, 604_801, 1_000_001, 100_000_001, (1 << width) - 1))
    return replace(params, **{name: value & ((1 << width) - 1)})


def make_forced(draft: Draft) -> tuple[int, Address, bytes]:
    """Any transaction, with its signatures."""
    rng = draft.rng
    make = rng.choice(FORCEABLE)
    transaction = make(draft)
    clock = Timestamp(draft.clock)
    if rng.random() < 0.2:
        clock = Timestamp(max(0, draft.clock - rng.choice((1, 10_000))))
    try:
        data = encode_chunk(clock, [transaction])
    except ValueError:
        data = encode_chunk(clock, [make_transfer(draft)])
    signatures = b"".join(sign_all(draft.state, transaction, rng, draft.malice))
    if draft.is_bad():
        match rng.randrange(5):
            case 0:
                data = flip_bits(rng, data)
            case 1:
                signatures = signatures[: rng.randrange(len(signatures) + 1)]
            case 2:
                signatures = flip_bits(rng, signatures) if signatures else b"\x01"
            case 3:
                extra = rng.choice((Queue(), make_transfer(draft), make_mark(draft)))
                data = encode_chunk(Timestamp(draft.clock), [extra, make_mark(draft)])
            case _:
                data = encode_chunk(clock, rng.choice(([], [Queue()])))
    body = len(data).to_bytes(2, "big") + data + signatures
    return MessageKind.FORCED, rng.choice(OWNERS).address, spoil_body(draft, body)


def make_noise(draft: Draft) -> tuple[int, Address, bytes]:
    """A kind and a body that mean nothing."""
    rng = draft.rng
    kind = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 255))
    return kind, rng.choice(OWNERS).address, rng.randbytes(rng.choice((1, 3, 4, 20, 40, 300)))


def spoil_body(draft: Draft, body: bytes) -> bytes:
    """Break a body now and then."""
    rng = draft.rng
    if not draft.is_bad() or rng.random() < 0.6:
        return body
    match rng.randrange(3):
        case 0:
            return body[: rng.randrange(len(body) + 1)]
        case 1:
            return body + rng.randbytes(rng.randint(1, 40))
        case _:
            return flip_bits(rng, body)


def flip_bits(rng: Random, data: bytes) -> bytes:
    """Flip one to three bits."""
    flipped = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def sign_all(
    state: State, transaction: Transaction, rng: Random, malice: float, domain: bytes = DOMAIN
) -> list[bytes]:
    """Sign what a transaction requires, with the keys that the state names."""
    signatures = []
    for request in compute_requests(transaction):
        signer = rng.choice(SIGNERS)
        if request.role in (Role.ORACLE, Role.SURFACE):
            leaf = state.markets.get(MarketId(request.subject))
            if request.role == Role.SURFACE and isinstance(leaf, Expiry):
                leaf = state.markets.get(leaf.underlying)
            if isinstance(leaf, Underlying):
                committee = state.markets.get(leaf.params.committee)
                assert isinstance(committee, Committee)
                if request.signer < len(committee.signers):
                    signer = BY_ADDRESS.get(committee.signers[request.signer], signer)
        else:
            account = state.accounts.get(AccountId(request.subject))
            if account is not None:
                # Nobody has the key of an owner whose address was tampered with.
                signer = BY_ADDRESS.get(account.owner, signer)
                usable = account.trading_key in BY_ADDRESS and request.role == Role.TRADER
                if usable and rng.random() < 0.5:
                    signer = BY_ADDRESS[account.trading_key]
        if rng.random() < malice * 0.2:
            signer = rng.choice(SIGNERS)
        signatures.append(signer.sign(compute_digest(domain, request.struct_hash)))
    return signatures


FORCEABLE: tuple[Callable[[Draft], Transaction], ...] = (
    make_fill,
    make_fill,
    make_resting_fill,
    make_transfer,
    make_withdraw,
    make_set_trading_key,
    make_observe,
    make_mark,
    *derivatives.FORCEABLE,
)
MESSAGES: tuple[Callable[[Draft], tuple[int, Address, bytes]], ...] = (
    make_deposit,
    make_force_exit,
    make_cancel_all,
    make_configure,
    make_forced,
    make_forced,
    make_forced,
    make_noise,
    *derivatives.MESSAGES,
)


# Steps of a draft


def step_fill(draft: Draft) -> None:
    """Two new orders trade."""
    draft.add(make_fill(draft))


def step_resting(draft: Draft) -> None:
    """A resting order trades."""
    draft.add(make_resting_fill(draft))


def step_sweep(draft: Draft) -> None:
    """An immediate order takes from several makers."""
    rng = draft.rng
    market = draft.market()
    taker, taker_slot = draft.account(), pick_slot(draft)
    is_buy = rng.random() < 0.5
    price = draft.price(market)
    parts = [rng.randint(1, 9) for _ in range(rng.randint(1, 4))]
    order = replace(
        draft.order(taker, taker_slot, market, is_buy),
        price=price,
        size=sum(parts) + (rng.choice((0, 0, 1)) if draft.malice else 0),
        time_in_force=rng.choice((TimeInForce.IOC, TimeInForce.FOK)),
        post_only=False,
        reduce_only=False,
    )
    fills = []
    for number, lots in enumerate(parts):
        maker, maker_slot = draft.account(), pick_slot(draft)
        maker_order = replace(
            draft.order(maker, maker_slot, market, not is_buy), price=price, size=lots
        )
        fills.append(
            Fill(
                market,
                maker,
                taker,
                maker_slot,
                taker_slot,
                not is_buy,
                lots,
                maker_order,
                order if number == 0 else None,
            )
        )
    if draft.is_bad() and rng.random() < 0.5:
        fills.insert(rng.randrange(len(fills) + 1), make_fill(draft))
    is_open = False
    for fill in fills:
        if draft.is_bad() and rng.random() < 0.3:
            draft.grow()
        if not draft.add(fill) and not draft.malice:
            break
        is_open = True
    if is_open and draft.progress.must_go_on and not draft.malice:
        close_sweep(draft, fills[-1])


def close_sweep(draft: Draft, last: Fill) -> None:
    """Complete a fill-or-kill order that is open, or take back its fills."""
    taker = draft.state.slots[last.taker][last.taker_slot]
    left = taker.order.size - taker.filled
    others = [account for account in draft.world.accounts if account != last.taker]
    draft.rng.shuffle(others)
    for maker in others:
        for slot in (SlotId(40), SlotId(41)):
            is_buy = not taker.order.is_buy
            order = draft.order(maker, slot, taker.order.market, is_buy)
            order = replace(
                order,
                price=taker.order.price,
                size=left,
                reduce_only=False,
                post_only=False,
            )
            fill = Fill(
                taker.order.market,
                maker,
                last.taker,
                slot,
                last.taker_slot,
                is_buy,
                left,
                order,
                None,
            )
            if draft.add(fill):
                return


def step_action(draft: Draft) -> None:
    """An owner's action."""
    make = draft.rng.choice((make_transfer, make_withdraw, make_set_trading_key))
    draft.add(make(draft))


def step_observe(draft: Draft) -> None:
    """Prices, and mostly the marks that follow from them."""
    observe = make_observe(draft)
    if draft.add(observe) and draft.rng.random() < 0.7:
        for market in draft.world.series[:12]:
            series, _ = draft.leaf(market)
            if series is not None and series.underlying == observe.market:
                draft.add(Mark(market, 1))


def step_mark(draft: Draft) -> None:
    """A mark."""
    draft.add(make_mark(draft))


def step_refresh(draft: Draft) -> None:
    """Bring everything up to date."""
    for market in UNDERLYINGS:
        leaf = draft.state.markets.get(market)
        if isinstance(leaf, Underlying) and leaf.index:
            price = leaf.pending_index or leaf.index
            draft.add(observation(draft.rng, draft.state, market, price))
    first = draft.rng.choice((0, 0, max(0, len(draft.world.series) - 16)))
    for market in draft.world.series[first : first + 16]:
        draft.add(Mark(market, 1))


def step_queue(draft: Draft) -> None:
    """A message."""
    kind, sender, body = draft.rng.choice(MESSAGES)(draft)
    submit(draft.state, kind, sender, body[:1024])
    draft.add(Queue())


def step_closing(draft: Draft) -> None:
    """A series closes; then two who hold opposite positions trade at the edge of what is left."""
    rng = draft.rng
    market = draft.market()
    body = encode_configure_closing(market, SeriesStatus.CLOSING, 1)
    submit(draft.state, MessageKind.CONFIGURE, ZERO_ADDRESS, body)
    draft.add(Queue())
    held = {
        account: size
        for account in draft.world.accounts
        if (size := compute_position_size(draft.state.accounts[account], market))
    }
    longs = [account for account, size in held.items() if size > 0]
    shorts = [account for account, size in held.items() if size < 0]
    if not longs or not shorts:
        return
    seller, buyer = rng.choice(longs), rng.choice(shorts)
    least = min(held[seller], -held[buyer])
    lots = max(1, min(least + rng.choice((-1, 0, 0, 1)), (1 << 31) - 1))
    pair = [(seller, False), (buyer, True)]
    rng.shuffle(pair)
    (maker, maker_is_buy), (taker, _) = pair
    maker_slot, taker_slot = pick_slot(draft), pick_slot(draft)
    price = draft.price(market)
    changes = {"price": price, "size": lots, "time_in_force": TimeInForce.GTC, "post_only": False}
    orders = [
        replace(draft.order(account, slot, market, is_buy), **changes)  # type: ignore[arg-type]
        for account, slot, is_buy in (
            (maker, maker_slot, maker_is_buy),
            (taker, taker_slot, not maker_is_buy),
        )
    ]
    slots = (maker_slot, taker_slot)
    draft.add(Fill(market, maker, taker, *slots, maker_is_buy, lots, *orders))
    if rng.random() < 0.8:
        body = encode_configure_closing(market, SeriesStatus.ACTIVE, 1)
        submit(draft.state, MessageKind.CONFIGURE, ZERO_ADDRESS, body)
        draft.add(Queue())


STEPS = (
    step_closing,
    step_fill,
    step_resting,
    step_sweep,
    step_action,
    step_observe,
    step_mark,
    step_refresh,
    step_queue,
    *(step for step, _ in derivatives.STEPS),
)
STEP_WEIGHTS = (4, 20, 18, 8, 12, 8, 6, 4, 24, *(weight for _, weight in derivatives.STEPS))


# Cases


@dataclass(frozen=True, slots=True)
class Case:
    """A chunk on a state. Run it between `state.begin()` and `state.rollback()`."""

    state: State
    data: bytes
    context: Context
    transactions: int
    """How many the chunk had before its bytes were tampered with, at least 1."""
    queue_before: bytes
    """Hash of the queue before the first message that the chunk may consume."""


def generate_case(rng: Random) -> Case:
    """Return a chunk, valid or not, on one of the worlds."""
    kind = rng.choices(tuple(BUILDERS), (25, 6, 25, 20, 18, 6))[0]
    world = world_of(kind, rng.randrange(WORLDS if kind != "big" else 3))
    state = world.state
    start = state.globals.queue_index
    clock = state.globals.clock + rng.choice((0, 0, 0, 1, 5, 30, 90, 301, 5_000))
    draft = Draft(rng, world, clock, rng.choice((0.0, 0.03, 0.15, 0.4)))
    if clock > state.globals.clock + 60 and rng.random() < 0.6:
        step_refresh(draft)
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
        draft.grow()
    consumed = state.globals.queue_index - start
    if draft.transactions and isinstance(draft.transactions[-1], Queue) and draft.closed:
        consumed += 1
    draft.finish()
    data = encode_chunk(Timestamp(clock), draft.transactions)
    if rng.random() < 0.15:
        data = spoil_data(rng, data)
    spare = rng.choice((0, 0, 0, 1, 2))
    for index in range(start + consumed, start + consumed + spare + 300):
        state.messages[index] = Message(1, ZERO_ADDRESS, Timestamp(9), b"\x00" * 40)
    context = spoil_context(
        rng,
        Context(
            DOMAIN,
            Timestamp(clock + rng.choice((0, 1, 14_400))),
            start + consumed + spare,
            rng.choice((0, 7, 10**9, (1 << 64) - 1)),
            rng.choice((0, 1, 10**9)),
            rng.random() < 0.5,
            spare == 0 and rng.random() < 0.5,
        ),
    )
    queue_before = keccak(start.to_bytes(8, "big")) if start else bytes(32)
    return Case(state, data, context, max(1, len(draft.transactions)), queue_before)


def spoil_data(rng: Random, data: bytes) -> bytes:
    """Tamper with a chunk's bytes."""
    match rng.randrange(6):
        case 0 | 1:
            return flip_bits(rng, data)
        case 2:
            return data[: rng.randrange(len(data) + 1)]
        case 3:
            return data + rng.randbytes(rng.randint(1, 3))
        case 4:
            place = rng.randrange(len(data))
            return data[:place] + rng.randbytes(rng.randint(1, 8)) + data[place:]
        case _:
            return data[: rng.choice((0, 5))] + rng.randbytes(rng.randint(0, 80))


def spoil_context(rng: Random, context: Context) -> Context:
    """Let L1 disagree, now and then."""
    if rng.random() < 0.93:
        return context
    match rng.randrange(4):
        case 0:
            late = Timestamp(context.l1_time + rng.choice((14_401, 10**6)))
            return replace(context, l1_time=late)
        case 1:
            early = Timestamp(context.l1_time - rng.choice((14_402, 10**6)))
            return replace(context, l1_time=early)
        case 2:
            return replace(context, queue_end=max(0, context.queue_end - 1))
        case _:
            return replace(context, is_last=not context.is_last)


cases = st.integers(0, (1 << 64) - 1).map(lambda seed: generate_case(Random(seed)))
"""Hypothesis strategy of cases; one example must be done with before the next is drawn."""
