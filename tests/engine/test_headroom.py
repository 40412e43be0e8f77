"""The bound that spares a margin check must never say yes where the protocol says no."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.engine import headroom as module
from deltaroll.engine.headroom import RestingCheck
from deltaroll.engine.orders import RestingOrder
from deltaroll.engine.risk import get_market, validate_trade
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.state import Meter, State, set_account, set_market
from deltaroll.protocol.types import (
    Account,
    MarketId,
    Order,
    Position,
    Series,
    SlotId,
    TimeInForce,
    Timestamp,
    Underlying,
)
from tests.engine.support import (
    ALICE,
    BOB,
    BTC,
    ETH,
    FOREVER,
    GENESIS,
    MARKETS,
    OTHER_UNDERLYING,
    PARAMS,
    UNDERLYING,
    Venue,
    build_state,
)

RISKS = st.lists(st.integers(-300, 300), min_size=1, max_size=3).map(
    lambda entries: tuple(entries[scenario % len(entries)] for scenario in range(33))
)
SIZES = st.one_of(st.just(0), st.integers(-50, 50))


def make_resting(
    state: State, market: MarketId, is_buy: bool, price: int, lots: int
) -> RestingOrder:
    order = Order(market, is_buy, price, lots, 1, 0, FOREVER, TimeInForce.GTC, False, False)
    owner = state.accounts[ALICE].owner
    return RestingOrder(ALICE, SlotId(1), owner, owner, order, b"", lots, False, 1)


def get_series(state: State, market: MarketId) -> Series:
    return get_market(state, market)[0]


def protocol_says(state: State, resting: RestingOrder) -> Fault:
    series, underlying = get_market(state, resting.order.market)
    meter, state.meter = state.meter, Meter()
    try:
        validate_trade(
            state,
            state.accounts[ALICE],
            resting.order,
            resting.remaining,
            resting.order.price,
            series,
            underlying.params.maker_fee,
        )
    except TransitionFault as problem:
        return problem.fault
    finally:
        state.meter = meter
    return Fault.NONE


def check_says(check: RestingCheck, state: State, resting: RestingOrder) -> Fault:
    try:
        check.validate(state, resting)
    except TransitionFault as problem:
        return problem.fault
    return Fault.NONE


def change_series(state: State, market: MarketId, **changes: object) -> None:
    leaf = replace(get_series(state, market), **changes)  # type: ignore[arg-type]
    set_market(state, market, leaf)


def change_underlying(state: State, market: MarketId, **changes: object) -> None:
    leaf = state.markets[market]
    assert isinstance(leaf, Underlying)
    set_market(state, market, replace(leaf, **changes))  # type: ignore[arg-type]


@settings(max_examples=400, deadline=None)
@given(
    risks=st.tuples(RISKS, RISKS, RISKS),
    sizes=st.tuples(SIZES, SIZES, SIZES),
    carries=st.tuples(*[st.integers(-40, 40)] * 3),
    multiplier=st.integers(0, 3_000_000),
    market=st.sampled_from(MARKETS),
    is_buy=st.booleans(),
    price=st.integers(60, 140).map(lambda step: step * 10),
    lots=st.integers(1, 80),
    over=st.one_of(st.integers(-100, 30_000), st.integers(-100, 10)),
    needed=st.booleans(),
)
def test_validate__any_account__says_what_the_protocol_says(
    risks: tuple[tuple[int, ...], ...],
    sizes: tuple[int, ...],
    carries: tuple[int, ...],
    multiplier: int,
    market: MarketId,
    is_buy: bool,
    price: int,
    lots: int,
    over: int,
    needed: bool,
) -> None:
    state = build_state(params=replace(PARAMS, risk_multiplier=multiplier))
    for each, risk, carry in zip(MARKETS, risks, carries, strict=True):
        change_series(state, each, risk=risk, carry=carry)
    positions = tuple(
        Position(each, size, 0) for each, size in zip(MARKETS, sizes, strict=True) if size
    )
    account = replace(state.accounts[ALICE], cash=0, positions=positions)
    resting = make_resting(state, market, is_buy, price, lots)
    margin = compute_margin(state, account, GENESIS)
    cash = margin.initial - margin.equity + over
    if needed:
        # As much again as the order needs by itself: the edge of the bound.
        alone = replace(account, positions=(Position(market, lots if is_buy else -lots, 0),))
        of_order = compute_margin(state, alone, GENESIS)
        notional = price * lots if is_buy else -price * lots
        cash += of_order.initial - of_order.equity + notional
    set_account(state, ALICE, replace(account, cash=cash))
    check = RestingCheck()
    expected = protocol_says(state, resting)
    assert check_says(check, state, resting) == expected
    assert check_says(check, state, resting) == expected


CHANGES: list[Callable[[State], None]] = [
    lambda state: change_series(state, ETH, mark=900),
    lambda state: change_series(state, ETH, carry=100),
    lambda state: change_series(state, ETH, marked_at=Timestamp(0)),
    lambda state: change_series(state, ETH, mark_index=500),
    lambda state: change_series(state, ETH, risk=(-500,) * 33),
    lambda state: change_underlying(state, OTHER_UNDERLYING, pending_index=1),
    lambda state: change_underlying(
        state, OTHER_UNDERLYING, params=replace(PARAMS, perp_initial=900_000)
    ),
    lambda state: change_underlying(state, UNDERLYING, observed_at=Timestamp(0)),
    lambda state: set_account(state, ALICE, replace(state.accounts[ALICE], cash=-90_000)),
    lambda state: set_clock(state, GENESIS + PARAMS.max_mark_age + 1),
]


def set_clock(state: State, clock: int) -> None:
    state.globals = replace(state.globals, clock=Timestamp(clock))
    for market in (UNDERLYING, OTHER_UNDERLYING):
        change_underlying(state, market, observed_at=Timestamp(clock))
    change_series(state, BTC, marked_at=Timestamp(clock))


@pytest.mark.parametrize("change", CHANGES)
def test_validate__something_changed__headroom_computed_again(
    change: Callable[[State], None],
) -> None:
    state = build_state()
    held = Position(ETH, 100, 0)
    cash = 100 * 222 - 100_000 + 5_000
    set_account(state, ALICE, replace(state.accounts[ALICE], cash=cash, positions=(held,)))
    resting = make_resting(state, BTC, is_buy=False, price=1_010, lots=1)
    check = RestingCheck()
    assert check_says(check, state, resting) == protocol_says(state, resting)
    change(state)
    fault = protocol_says(state, resting)
    assert fault == Fault.NONE or fault in (Fault.MARGIN, Fault.HALTED, Fault.STALE_MARK)
    assert check_says(check, state, resting) == fault


def test_validate__clock_alone__headroom_computed_again() -> None:
    state = build_state()
    set_account(state, ALICE, replace(state.accounts[ALICE], positions=(Position(ETH, 1, 0),)))
    change_series(state, ETH, marked_at=Timestamp(GENESIS - PARAMS.max_mark_age))
    resting = make_resting(state, BTC, is_buy=True, price=1_000, lots=1)
    check = RestingCheck()
    assert check_says(check, state, resting) == Fault.NONE
    state.globals = replace(state.globals, clock=Timestamp(GENESIS + 1))
    assert check_says(check, state, resting) == Fault.STALE_MARK


def count_margins(monkeypatch: pytest.MonkeyPatch) -> list[Account]:
    seen: list[Account] = []

    def compute(state: State, account: Account, clock: Timestamp) -> object:
        seen.append(account)
        return compute_margin(state, account, clock)

    monkeypatch.setattr(module, "compute_margin", compute)
    return seen


def test_validate__quotes_of_an_unchanged_account__one_margin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = count_margins(monkeypatch)
    venue = Venue()
    venue.hold(ALICE, 5)
    for slot in range(10):
        venue.rest(ALICE, slot, True, 990, 1)
    assert len(seen) == 1


def test_validate__fill_of_others__headroom_still_current(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    venue = Venue()
    venue.hold(ALICE, 5)
    venue.rest(ALICE, 1, True, 990, 1)
    venue.rest(BOB, 1, True, 1_000, 1)
    venue.submit(3, 1, False, 1_000, 1)  # type: ignore[arg-type]
    seen = count_margins(monkeypatch)
    venue.rest(ALICE, 2, True, 990, 1)
    assert seen == []


def test_validate__many_checks__scratch_meter_never_full() -> None:
    state = build_state()
    set_account(state, ALICE, replace(state.accounts[ALICE], cash=-1))
    check = RestingCheck()
    for number in range(2_000):
        market = MarketId(1_000 + number)
        set_market(state, market, get_series(state, BTC))
        resting = make_resting(state, market, is_buy=True, price=1_000, lots=1)
        assert check_says(check, state, resting) == Fault.MARGIN


def test_validate__many_accounts__few_headrooms_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ACCOUNTS", 2)
    state = build_state()
    check = RestingCheck()
    resting = make_resting(state, BTC, is_buy=True, price=1_000, lots=1)
    for account in state.accounts:
        resting.account = account
        check.validate(state, resting)
        assert len(check._headrooms) <= 2


def test_validate__cash_near_the_end_of_its_range__out_of_range() -> None:
    state = build_state()
    cash = (1 << 127) - 1
    set_account(state, ALICE, replace(state.accounts[ALICE], cash=cash))
    resting = make_resting(state, BTC, is_buy=False, price=1_010, lots=1)
    assert check_says(RestingCheck(), state, resting) == Fault.OUT_OF_RANGE


def test_validate__size_near_the_end_of_its_range__out_of_range() -> None:
    state = build_state()
    size = (1 << 63) - 1
    cash = 1 << 125
    position = Position(BTC, size, 0)
    set_account(state, ALICE, replace(state.accounts[ALICE], cash=cash, positions=(position,)))
    resting = make_resting(state, BTC, is_buy=True, price=1_000, lots=1)
    assert check_says(RestingCheck(), state, resting) == Fault.OUT_OF_RANGE
