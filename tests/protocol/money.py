"""Worlds in which money moves, written leaf by leaf, and single transactions on both twins.

Nothing is priced here: marks and risk vectors are whatever a world says. Sizes of every series sum
to zero, so that conservation can be checked to the unit.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import astuple, dataclass, replace
from functools import cache
from random import Random
from typing import Any

from deltaroll.engine.ledger import compute_equity, count_open_sizes
from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.actions import process_transfer, process_withdraw
from deltaroll.protocol.constants import DAY, INSURANCE_ACCOUNT, ONE
from deltaroll.protocol.expiry import compute_boundary
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import process_fill
from deltaroll.protocol.funding import compute_carry
from deltaroll.protocol.liquidation import process_distress, process_liquidate, process_socialise
from deltaroll.protocol.listing import create_expiry, create_series
from deltaroll.protocol.margin import Margin, compute_margin
from deltaroll.protocol.messages import process_force_close, process_force_exit
from deltaroll.protocol.realise import process_sweep
from deltaroll.protocol.state import (
    Meter,
    State,
    compute_state_root,
    reset_meter,
    set_account,
    set_market,
)
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    Distress,
    Fill,
    Grid,
    Liquidate,
    MarketId,
    Order,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    SlotId,
    Socialise,
    Sweep,
    TimeInForce,
    Timestamp,
    Transfer,
    Underlying,
    UnderlyingParams,
    Withdraw,
)
from deltaroll.protocol.witness import encode_witness
from tests.protocol.evm import Contract

GRID = MarketId(2)
INDEXES = (MarketId(10), MarketId(11))
PREMIUMS = (MarketId(20), MarketId(21))
"""Perpetual expiries."""
EXPIRIES = (MarketId(30), MarketId(31))
FIRST_SERIES = 100
SERIES_EACH = 9
"""Of an underlying: three perpetuals, two strikes of calls and puts, two settled options."""
DAY_0 = 20_000
START = Timestamp(compute_boundary(DAY_0) + 5_000)
FUND = AccountId(INSURANCE_ACCOUNT)
COLLATERAL_OWNER = Address(b"\x99" * 20)

Process = Callable[[State, Any], object]


@dataclass(frozen=True, slots=True)
class ForceExit:
    """A message, in the place of a transaction."""

    sender: Address
    body: bytes


@dataclass(frozen=True, slots=True)
class ForceClose:
    """Likewise."""

    sender: Address
    body: bytes


RUNS: dict[type, tuple[str, str, Process]] = {
    Fill: ("MoneyHarness", "runFill", lambda state, one: process_fill(state, one, None, False)),
    Transfer: ("MoneyHarness", "runTransfer", process_transfer),
    Withdraw: ("MoneyHarness", "runWithdraw", process_withdraw),
    ForceExit: (
        "ForceHarness",
        "runForceExit",
        lambda state, one: process_force_exit(state, one.sender, one.body),
    ),
    ForceClose: (
        "ForceHarness",
        "runForceClose",
        lambda state, one: process_force_close(state, one.sender, one.body),
    ),
    Sweep: ("ForceHarness", "runSweep", process_sweep),
    Distress: ("TroubleHarness", "runDistress", process_distress),
    Liquidate: ("TroubleHarness", "runLiquidate", process_liquidate),
    Socialise: ("TroubleHarness", "runSocialise", process_socialise),
}


def owner_of(account: int) -> Address:
    """Accounts 1 and 5, 2 and 6, ... belong together."""
    return ZERO_ADDRESS if account == FUND else Address(bytes([account % 4 + 1]) * 20)


def make_account(owner: Address, cash: int, *positions: Position, **changes: Any) -> Account:
    """An account without a trading key."""
    known = Account(owner, ZERO_ADDRESS, Timestamp(0), 0, cash, 0, Timestamp(0), positions)
    return replace(known, **changes)


def make_underlying(params: UnderlyingParams, index: int) -> Underlying:
    """An underlying observed at START."""
    return Underlying(
        params=params,
        index=index,
        observed_at=START,
        pending_index=0,
        halted_until=Timestamp(0),
        variance=0,
        multiplier=1_000_000,
        window_sum=0,
        window_seconds=0,
        day=DAY_0 + 1,
        twaps=(0, 0, 0, 0),
    )


# Random worlds


def make_random_params(rng: Random) -> UnderlyingParams:
    """Parameters that a venue could choose."""
    taker, option_taker = rng.choice((0, 333, 9_999)), rng.choice((0, 300, 10_000))
    return replace(
        make_params(MarketId(1), GRID, 1),
        maker_fee=rng.choice((0, 50, -taker, -taker // 3)),
        taker_fee=taker,
        option_maker_fee=rng.choice((0, 100, -option_taker, -option_taker // 2)),
        option_taker_fee=option_taker,
        option_fee_cap=rng.choice((0, 125_000, 1_000_000)),
        fill_band=rng.choice((30_000, 500_000)),
        force_penalty=rng.choice((0, 10_000, 200_000)),
        gas_market=rng.choice((MarketId(0), *INDEXES)),
        gas_lot=rng.choice((1, 10**18)),
    )


def make_random_grid(rng: Random) -> Grid:
    """The whole of PMRM_2, or some of it: the fewer scenarios, the quicker."""
    if rng.random() < 0.2:
        return PMRM_2
    return replace(PMRM_2, scenarios=PMRM_2.scenarios[-4:], basis_up=0, basis_down=1)


def make_random_series(
    rng: Random, number: int, underlying: MarketId, place: int, index: int, lanes: int
) -> Series:
    """The series that has this place among those of an underlying."""
    is_perpetual = place < 3
    expiry = MarketId(0)
    if is_perpetual:
        kind = SeriesKind.PERPETUAL
        mark = index + rng.randint(-index // 50, index // 50)
        expiry = PREMIUMS[number] if place == 0 else expiry
    else:
        kind = SeriesKind.CALL if place % 2 else SeriesKind.PUT
        mark = rng.randint(0, index // 5)
        expiry = EXPIRIES[number]
    settled = place >= 7
    status = SeriesStatus.SETTLED if settled else SeriesStatus.ACTIVE
    if place == 2 and rng.random() < 0.3:
        status = SeriesStatus.INACTIVE
    strike = 0 if is_perpetual else max(1, index * (9 + (place - 3) // 2) // 10)
    swing = max(1, index // 5)
    series = create_series(kind, status, underlying, expiry, strike)
    return replace(
        series,
        mark=max(0, mark),
        mark_index=index,
        marked_at=START,
        carry_long=rng.randint(-1_000, 1_000),
        carry_short=rng.randint(-1_000, 1_000),
        accrued_at=Timestamp(rng.choice((0, START - 3_000, START)) if is_perpetual else 0),
        funding_remainder=rng.randint(0, 28_799) if is_perpetual else 0,
        risk=() if settled else tuple(rng.randint(-swing, swing) for _ in range(lanes)),
    )


def trade(
    rng: Random, state: State, sizes: dict[int, dict[int, int]], market: MarketId, lots: int
) -> None:
    """Let two accounts have traded."""
    series = state.markets[market]
    assert isinstance(series, Series)
    buyer, seller = rng.sample(sorted(sizes), 2)
    for account, change in ((buyer, lots), (seller, -lots)):
        held = sizes[account]
        held[market] = held.get(market, 0) + change


def build_world(rng: Random, accounts: int = 8, trades: int = 40) -> State:
    """Two underlyings, eighteen series, and accounts from rich to insolvent."""
    state = State()
    clock = Timestamp(START + rng.choice((0, 1, 60)))
    state.globals = replace(
        state.globals,
        clock=clock,
        account_count=accounts,
        data_fee=rng.choice((0, 10**9, 50 * 10**9)),
        fee_pool=rng.choice((0, 10**9)),
    )
    grid = make_random_grid(rng)
    set_market(state, GRID, grid)
    lanes = len(grid.scenarios)
    tradable: list[MarketId] = []
    for number, market in enumerate(INDEXES):
        index = rng.choice((100, 10_000, rng.randint(10**6, 10**8)))
        set_market(state, market, make_underlying(make_random_params(rng), index))
        premium = replace(create_expiry(market, Timestamp(0)), surfaced_at=START)
        set_market(state, PREMIUMS[number], premium)
        expiry = replace(
            create_expiry(market, Timestamp(compute_boundary(DAY_0 + 7))),
            surfaced_at=START,
            priced_at=START,
            long_discount=rng.randint(ONE * 9 // 10, ONE),
            short_discount=rng.randint(ONE, ONE * 11 // 10),
            basis_factor=rng.randint(0, ONE),
        )
        set_market(state, EXPIRIES[number], expiry)
        for place in range(SERIES_EACH):
            series_id = MarketId(FIRST_SERIES + number * SERIES_EACH + place)
            series = make_random_series(rng, number, market, place, index, lanes)
            set_market(state, series_id, series)
            tradable.append(series_id)
    sizes: dict[int, dict[int, int]] = {n: {} for n in range(1, accounts + 1)}
    if rng.random() < 0.6:
        sizes[FUND] = {}
    for _ in range(rng.randint(0, trades)):
        trade(rng, state, sizes, rng.choice(tradable), rng.choice((1, 3, rng.randint(1, 10**5))))
    store_accounts(rng, state, sizes)
    insurance = rng.choice((0, 10**3, rng.randint(0, 10**12), 10**15))
    peak = insurance + rng.choice((0, 10**6))
    state.globals = replace(state.globals, insurance=insurance, insurance_peak=peak)
    compute_state_root(state)
    return state


def store_accounts(rng: Random, state: State, sizes: dict[int, dict[int, int]]) -> None:
    """Give every account its positions, and cash from poor to rich against its requirements."""
    clock = state.globals.clock
    for account_id, held in sizes.items():
        positions = []
        for market in sorted(held):
            size = held[market]
            series = state.markets[MarketId(market)]
            assert isinstance(series, Series)
            counted = abs(size) if series.status == SeriesStatus.SETTLED else max(0, size)
            interest = series.open_interest + counted
            set_market(state, MarketId(market), replace(series, open_interest=interest))
            if size != 0:
                snapshot = compute_carry(series, size) + rng.randint(-100, 100)
                positions.append(Position(MarketId(market), size, snapshot))
        account = make_account(owner_of(account_id), 0, *positions)
        cash = 0
        if account_id != FUND:
            margin = compute_margin(state, account, clock)
            factor = rng.choice((-300, 0, 500, 900, 1_000, 1_300, 5_000, rng.randint(-500, 2_000)))
            cash = margin.maintenance * factor // 1_000 - margin.equity
            cash += rng.choice((0, 10**6, 10**10)) if factor >= 1_000 else 0
        begun = rng.choice((0, clock, clock - 600, clock - 1_800, clock - DAY))
        distressed = begun if positions and rng.random() < 0.7 else 0
        account = replace(account, cash=cash, distressed_at=Timestamp(distressed))
        if account_id == FUND and positions:
            account = replace(account, distressed_at=Timestamp(begun or clock))
        set_account(state, AccountId(account_id), account)


# Random transactions


def any_account(rng: Random) -> AccountId:
    """Mostly one that exists, sometimes the fund's."""
    return AccountId(rng.choice((*range(1, 9), *range(1, 9), FUND, 77)))


def any_signer(rng: Random) -> AccountId:
    """One that somebody can sign for: nobody can for the fund's."""
    return AccountId(rng.choice((*range(1, 9), *range(1, 9), 77)))


def any_nonce(rng: Random) -> int:
    """Mostly good."""
    return rng.choice((1, 1, 1, 5, 5, 0))


def make_order(market: MarketId, is_buy: bool, price: int, size: int, **changes: Any) -> Order:
    """An order that lives for a minute."""
    known = Order(
        market,
        is_buy,
        price,
        size,
        1,
        0,
        Timestamp(START + 120),
        TimeInForce.GTC,
        False,
        False,
    )
    return replace(known, **changes)


def make_fill(rng: Random, state: State) -> Fill:
    """Two orders that mostly match."""
    market = MarketId(FIRST_SERIES + rng.randrange(2 * SERIES_EACH))
    series = state.markets[market]
    assert isinstance(series, Series)
    maker, taker = any_signer(rng), any_signer(rng)
    maker_is_buy = rng.random() < 0.5
    price = max(1, series.mark + rng.randint(-3, 3) * max(1, series.mark_index // 100))
    lots = rng.choice((1, 2, rng.randint(1, 1_000)))
    changes: dict[str, Any] = {}
    if rng.random() < 0.1:
        changes = rng.choice(
            (
                {"reduce_only": True},
                {"expiry": Timestamp(compute_boundary(DAY_0 + 7) - rng.choice((0, 1)))},
                {"epoch": 1},
            )
        )
    maker_order = make_order(market, maker_is_buy, price, lots + rng.choice((0, 3)), **changes)
    taker_order = make_order(market, not maker_is_buy, price, lots, **changes)
    return Fill(
        market,
        maker,
        taker,
        SlotId(rng.choice((0, 9))),
        SlotId(rng.choice((0, 9))),
        maker_is_buy,
        lots,
        maker_order,
        taker_order,
    )


def make_transfer(rng: Random, state: State) -> Transfer:
    """Cash for another account, or for the fund."""
    recipient = rng.choice((any_account(rng), FUND))
    amount = rng.choice((1, 10**5, 10**9, (1 << 96) - 1))
    return Transfer(any_signer(rng), recipient, amount, any_nonce(rng))


def make_withdraw(rng: Random, state: State) -> Withdraw:
    """Cash for L1."""
    amount = rng.choice((1, 10**5, 10**9))
    return Withdraw(any_signer(rng), COLLATERAL_OWNER, amount, any_nonce(rng))


def make_force_exit(rng: Random, state: State) -> ForceExit:
    """Cash for L1 by a message."""
    account = any_account(rng)
    amount = rng.choice((1, 10**9, (1 << 128) - 1))
    body = account.to_bytes(4, "big") + amount.to_bytes(16, "big")
    return ForceExit(owner_of(rng.choice((account, account, 2))), body)


def make_force_close(rng: Random, state: State) -> ForceClose:
    """A position that its owner wants to be rid of."""
    account = any_account(rng)
    known = state.accounts.get(account)
    held = [position.series for position in known.positions] if known else []
    market = rng.choice(held) if held and rng.random() < 0.9 else rng.randint(99, 118)
    lots = rng.choice((0, 0, 1, 10, 10**4, (1 << 64) - 1))
    body = account.to_bytes(4, "big") + int(market).to_bytes(2, "big") + lots.to_bytes(8, "big")
    return ForceClose(owner_of(rng.choice((account, account, account, 2))), body)


def make_liquidate(rng: Random, state: State) -> Liquidate:
    """A bid for an account, mostly one that is in distress."""
    troubled = [key for key, leaf in state.accounts.items() if leaf.distressed_at]
    target = rng.choice(sorted(troubled)) if troubled else any_account(rng)
    share = rng.choice((1, 1_000, 100_000, 500_000, 10**6, rng.randint(1, 10**6), 0))
    reward = rng.choice((0, 0, 0, 20_000, rng.randint(0, 10**6), 10**6))
    return Liquidate(any_signer(rng), target, share, reward, any_nonce(rng))


MAKERS: tuple[Callable[[Random, State], Any], ...] = (
    make_fill,
    make_fill,
    make_transfer,
    make_withdraw,
    make_force_exit,
    make_force_close,
    make_liquidate,
    make_liquidate,
    make_liquidate,
    lambda rng, state: Sweep(any_account(rng)),
    lambda rng, state: Distress(any_account(rng)),
    lambda rng, state: Socialise(any_account(rng)),
)


# Runs


def attempt(state: State, transaction: Any) -> Fault:
    """Apply a transaction if it is valid."""
    state.begin()
    try:
        RUNS[type(transaction)][2](state, transaction)
    except TransitionFault as problem:
        state.rollback()
        return problem.fault
    state.commit()
    return Fault.NONE


def compute_total(state: State) -> int:
    """All money there is: equity, the fund, fees, and what has left."""
    known = state.globals
    return compute_equity(state) + known.insurance + known.fee_pool + known.withdrawn


def check_books(state: State) -> None:
    """What holds after anything, whatever came before."""
    assert state.globals.insurance >= 0
    assert state.globals.insurance_peak >= state.globals.insurance
    assert count_open_sizes(state) == 0
    fund = state.accounts.get(FUND)
    assert fund is None or fund.cash == 0


def margin_of(state: State, account_id: AccountId) -> Margin:
    """An account's margin now, on a meter of its own."""
    account = state.accounts[account_id]
    if account_id == FUND:
        account = replace(account, cash=state.globals.insurance)
    meter, state.meter = state.meter, Meter()
    try:
        return compute_margin(state, account, state.globals.clock)
    finally:
        state.meter = meter


@cache
def harness(name: str) -> Contract:
    """A contract that runs single transactions."""
    return Contract(name)


def to_abi(transaction: Any) -> tuple[Any, ...]:
    """A transaction as its run takes it."""
    if isinstance(transaction, ForceExit | ForceClose):
        return ("0x" + transaction.sender.hex(), transaction.body)
    values = astuple(transaction)
    if isinstance(transaction, Fill):
        orders = (transaction.maker_order, transaction.taker_order)
        filled = tuple(astuple(one or make_order(MarketId(0), False, 0, 0)) for one in orders)
        flags = tuple(one is not None for one in orders)
        return ((*values[:7], *flags, *filled),)
    if isinstance(transaction, Withdraw):
        recipient = "0x" + transaction.recipient.hex()
        return ((values[0], recipient, values[2], values[3]),)
    return (values,)


def run_both(state: State, transaction: Any) -> tuple[Fault, int]:
    """Apply a transaction in both languages, compare faults, roots and weights.

    Returns
    -------
    tuple[Fault, int]
        The fault, NONE when the state has changed, and Solidity's gas for the process alone.
    """
    root = compute_state_root(state)
    before = deepcopy(state)
    reset_meter(state)
    fault = attempt(state, transaction)
    meter = state.meter
    try:
        root_after = compute_state_root(state)
    except TransitionFault as problem:
        raise AssertionError(f"{transaction}: leaf does not encode") from problem
    contract, function, _ = RUNS[type(transaction)]
    witness = encode_witness(before, meter)
    found, found_root, found_meter, gas = harness(contract).call(
        function, witness, root, *to_abi(transaction)
    )
    assert Fault(found) == fault, (transaction, Fault(found), fault)
    assert found_root == root_after, transaction
    if fault != Fault.OVERWEIGHT:
        assert tuple(found_meter[:2]) == (meter.gas, meter.witness), transaction
    return fault, gas
