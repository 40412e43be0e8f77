"""The bound that spares a margin check must never say yes where a fill would say no."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.engine import headroom as module
from deltaroll.engine.headroom import RestingCheck
from deltaroll.engine.orders import RestingOrder
from deltaroll.engine.risk import get_market
from deltaroll.protocol.constants import PPM
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import compute_account_after, process_fill
from deltaroll.protocol.funding import compute_accrued, process_fund
from deltaroll.protocol.margin import compute_margin
from deltaroll.protocol.state import Meter, State, set_account, set_market
from deltaroll.protocol.types import (
    Account,
    Expiry,
    Fill,
    Fund,
    MarketId,
    MarketLeaf,
    Order,
    Position,
    Series,
    SeriesStatus,
    SlotId,
    TimeInForce,
    Timestamp,
    Underlying,
)
from tests.engine.support import (
    ALICE,
    BOB,
    BTC,
    CALL,
    CAROL,
    ETH,
    EXPIRY,
    GENESIS,
    MARKETS,
    OPTIONS,
    OTHER_UNDERLYING,
    PARAMS,
    PREMIUM_PERP,
    PUT,
    UNDERLYING,
    Venue,
    build_state,
    list_options,
)

WIDE = replace(PARAMS, fill_band=PPM)
SOON = Timestamp(GENESIS + 90_000)
"""All orders end before any option does."""
PERPETUALS = (*MARKETS, PREMIUM_PERP)
RISKS = st.lists(st.integers(-300, 300), min_size=1, max_size=3).map(
    lambda entries: tuple(entries[scenario % len(entries)] for scenario in range(33))
)
SIZES = st.one_of(st.just(0), st.integers(-50, 50))


@cache
def get_markets() -> dict[MarketId, MarketLeaf]:
    state = build_state(params=WIDE)
    list_options(state)
    return state.markets


def build_option_state() -> State:
    """What `list_options` lists, without pricing it again."""
    state = build_state(params=WIDE)
    for market, leaf in get_markets().items():
        set_market(state, market, leaf)
    return state


def make_resting(
    state: State, market: MarketId, is_buy: bool, price: int, lots: int
) -> RestingOrder:
    order = Order(market, is_buy, price, lots, 1, 0, SOON, TimeInForce.GTC, False, False)
    owner = state.accounts[ALICE].owner
    return RestingOrder(ALICE, SlotId(1), owner, owner, order, b"", lots, False, 1)


def get_series(state: State, market: MarketId) -> Series:
    return get_market(state, market).series


def protocol_says(state: State, resting: RestingOrder) -> Fault:
    """What comes of a fill by somebody who can pay for anything."""
    order = resting.order
    taker = replace(order, is_buy=not order.is_buy)
    fill = Fill(
        order.market,
        ALICE,
        CAROL,
        resting.slot,
        SlotId(1),
        order.is_buy,
        resting.remaining,
        order,
        taker,
    )
    meter, state.meter = state.meter, Meter()
    state.begin()
    try:
        process_fill(state, fill, None, True)
    except TransitionFault as problem:
        return problem.fault
    finally:
        state.rollback()
        state.meter = meter
    return Fault.NONE


def check_says(check: RestingCheck, state: State, resting: RestingOrder) -> Fault:
    before = dict(state.markets), dict(state.accounts), state.globals
    try:
        check.validate(state, resting)
    except TransitionFault as problem:
        return problem.fault
    finally:
        assert (state.markets, state.accounts, state.globals) == before
    return Fault.NONE


def change_series(state: State, market: MarketId, **changes: object) -> None:
    leaf = replace(get_series(state, market), **changes)  # type: ignore[arg-type]
    set_market(state, market, leaf)


def change_underlying(state: State, market: MarketId, **changes: object) -> None:
    leaf = state.markets[market]
    assert isinstance(leaf, Underlying)
    set_market(state, market, replace(leaf, **changes))  # type: ignore[arg-type]


def change_expiry(state: State, market: MarketId, **changes: object) -> None:
    leaf = state.markets[market]
    assert isinstance(leaf, Expiry)
    set_market(state, market, replace(leaf, **changes))  # type: ignore[arg-type]


def compute_after(state: State, account: Account, resting: RestingOrder) -> int:
    """Equity less initial margin after a full fill, its fee apart."""
    order = resting.order
    stored, underlying, _ = get_market(state, order.market)
    series = compute_accrued(stored, underlying.params, state.globals.clock)
    lots = order.size if order.is_buy else -order.size
    after = compute_account_after(account, order.market, lots, -lots * order.price, series, False)
    state.begin()
    set_market(state, order.market, series)
    margin = compute_margin(state, after, state.globals.clock)
    state.rollback()
    return margin.equity - margin.initial


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_validate__any_account__says_what_a_fill_says(data: st.DataObject) -> None:
    """Perpetuals and options held, funding that has not been accrued, any order, at the edges."""
    draw = data.draw
    state = build_option_state()
    clock = Timestamp(GENESIS + draw(st.sampled_from((0, 1, 3_000, 40_000))))
    state.globals = replace(state.globals, clock=clock)
    for underlying in (UNDERLYING, OTHER_UNDERLYING):
        change_underlying(state, underlying, multiplier=draw(st.integers(0, 3_000_000)))
    for each in PERPETUALS:
        carry = draw(st.integers(-40, 40))
        change_series(
            state,
            each,
            risk=draw(RISKS),
            mark=draw(st.integers(960, 1_040)),
            carry_long=carry,
            carry_short=carry + draw(st.integers(-9, 9)),
            funding_remainder=draw(st.integers(0, 28_799)),
        )
    held = draw(st.lists(st.sampled_from(OPTIONS), max_size=4, unique=True))
    sizes = {each: draw(SIZES) for each in (*PERPETUALS, *held)}
    positions = tuple(Position(each, size, 0) for each, size in sorted(sizes.items()) if size)
    account = replace(state.accounts[ALICE], cash=0, positions=positions)
    market = draw(st.sampled_from((*PERPETUALS, *PERPETUALS, CALL, PUT)))
    near = get_series(state, market).mark // 10
    price = max(1, near + draw(st.integers(-4, 4))) * 10
    resting = make_resting(state, market, draw(st.booleans()), price, draw(st.integers(1, 80)))
    margin = compute_margin(state, account, clock)
    over = draw(st.one_of(st.integers(-100, 30_000), st.integers(-100, 10)))
    match draw(st.sampled_from(("before", "bound", "after"))):
        case "before":
            cash = margin.initial - margin.equity + over
        case "bound":
            # As much again as the order needs by itself.
            alone = compute_after(state, replace(account, positions=()), resting)
            cash = margin.initial - margin.equity - alone + over
        case _:
            cash = over - compute_after(state, account, resting)
    set_account(state, ALICE, replace(account, cash=cash))
    check = RestingCheck()
    expected = protocol_says(state, resting)
    assert expected in (Fault.NONE, Fault.MARGIN)
    assert check_says(check, state, resting) == expected
    assert check_says(check, state, resting) == expected


@pytest.mark.parametrize("size", [-30, 30])
@pytest.mark.parametrize("side", ["carry_long", "carry_short"])
def test_validate__funding_not_accrued_yet__counts_on_the_side_that_is_held(
    size: int, side: str
) -> None:
    """To the unit, with whatever the account holds: what a fill would accrue is missing already."""
    state = build_option_state()
    state.globals = replace(state.globals, clock=Timestamp(GENESIS + 28_800))
    change_series(state, BTC, mark=1_007, **{side: 1_000})
    held = tuple(Position(each, size, 3) for each in (BTC, ETH, CALL))
    resting = make_resting(state, BTC, size > 0, 1_000, 7)
    account = replace(state.accounts[ALICE], cash=0, positions=held)
    cash = -compute_after(state, account, resting) + 1
    for over, fault in ((-1, Fault.MARGIN), (0, Fault.NONE)):
        set_account(state, ALICE, replace(account, cash=cash + over))
        # One unit is the fee of 7,000: 100 parts per million.
        assert protocol_says(state, resting) == fault
        assert check_says(RestingCheck(), state, resting) == fault


def test_validate__perpetual_order_next_to_options__no_margin_beyond_the_headroom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = build_option_state()
    held = (Position(BTC, 5, 0), *(Position(option, -2, 0) for option in OPTIONS))
    set_account(state, ALICE, replace(state.accounts[ALICE], positions=held))
    check = RestingCheck()
    assert check_says(check, state, make_resting(state, ETH, True, 1_000, 3)) == Fault.NONE
    monkeypatch.setattr(module, "compute_margin", None)
    monkeypatch.setattr(module, "validate_trade", None)
    for market in PERPETUALS:
        for is_buy in (True, False):
            resting = make_resting(state, market, is_buy, 1_000, 3)
            assert check_says(check, state, resting) == Fault.NONE


def test_validate__order_on_an_option__is_the_protocols_to_decide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = build_option_state()
    asked: list[RestingOrder] = []
    monkeypatch.setattr(module, "validate_trade", lambda _, resting, *__: asked.append(resting))
    resting = make_resting(state, CALL, True, 10, 1)
    RestingCheck().validate(state, resting)
    assert asked == [resting]


CHANGES: list[Callable[[State], None]] = [
    lambda state: change_series(state, ETH, mark=900),
    lambda state: change_series(state, ETH, carry_long=100),
    lambda state: change_series(state, ETH, carry_short=100),
    lambda state: change_series(state, ETH, marked_at=Timestamp(0)),
    lambda state: change_series(state, ETH, mark_index=500),
    lambda state: change_series(state, ETH, risk=(-500,) * 33),
    lambda state: change_series(state, CALL, mark=9),
    lambda state: change_series(state, CALL, risk=(-5_000,) * 33),
    lambda state: change_series(state, CALL, marked_at=Timestamp(0)),
    lambda state: change_series(state, CALL, status=SeriesStatus.SETTLED, risk=(), mark=1),
    lambda state: change_underlying(state, OTHER_UNDERLYING, pending_index=1),
    lambda state: change_underlying(
        state, OTHER_UNDERLYING, params=replace(WIDE, perp_initial=900_000)
    ),
    lambda state: change_underlying(
        state, UNDERLYING, params=replace(WIDE, option_initial=9_000_000)
    ),
    lambda state: change_underlying(state, UNDERLYING, multiplier=9_000_000),
    lambda state: change_underlying(state, UNDERLYING, observed_at=Timestamp(0)),
    lambda state: change_expiry(state, EXPIRY, long_discount=0),
    lambda state: change_expiry(state, EXPIRY, basis_factor=1 << 63),
    lambda state: change_expiry(state, EXPIRY, surfaced_at=Timestamp(0)),
    lambda state: change_expiry(state, EXPIRY, time=GENESIS),
    lambda state: set_account(state, ALICE, replace(state.accounts[ALICE], cash=-90_000)),
    lambda state: set_clock(state, GENESIS + PARAMS.max_mark_age + 1),
    lambda state: set_premium(state, ETH),
]


def set_clock(state: State, clock: int) -> None:
    state.globals = replace(state.globals, clock=Timestamp(clock))
    for market in (UNDERLYING, OTHER_UNDERLYING):
        change_underlying(state, market, observed_at=Timestamp(clock))
    change_series(state, BTC, marked_at=Timestamp(clock))


def set_premium(state: State, market: MarketId) -> None:
    """Longs pay for a day; somebody has asked for it."""
    change_series(state, market, mark=1_010)
    state.globals = replace(state.globals, clock=Timestamp(GENESIS + 86_400))
    meter, state.meter = state.meter, Meter()
    process_fund(state, Fund(market))
    state.meter = meter


@pytest.mark.parametrize("change", CHANGES)
def test_validate__something_changed__headroom_computed_again(
    change: Callable[[State], None],
) -> None:
    state = build_option_state()
    held = (Position(ETH, 100, 0), Position(CALL, -100, 0))
    account = replace(state.accounts[ALICE], cash=0, positions=held)
    margin = compute_margin(state, account, GENESIS)
    cash = margin.initial - margin.equity + 5_000
    set_account(state, ALICE, replace(account, cash=cash))
    resting = make_resting(state, BTC, is_buy=False, price=1_010, lots=1)
    resting.order = replace(resting.order, expiry=Timestamp(GENESIS + 10**6))
    check = RestingCheck()
    assert check_says(check, state, resting) == protocol_says(state, resting) == Fault.NONE
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


@pytest.mark.parametrize(
    ("change", "last"),
    [
        ({}, GENESIS + PARAMS.max_surface_age),
        ({"surfaced_at": GENESIS - 50_000}, GENESIS - 50_000 + PARAMS.max_surface_age),
        ({"time": GENESIS + 30_000}, GENESIS + 29_999),
    ],
)
def test_validate__option_held__clock_alone_ends_the_headroom(
    change: dict[str, object], last: int
) -> None:
    """When its surface is too old, and when it has expired."""
    state = build_option_state()
    held = (Position(PUT, -1, 0),)
    set_account(state, ALICE, replace(state.accounts[ALICE], positions=held))
    change_expiry(state, EXPIRY, **change)
    resting = make_resting(state, BTC, is_buy=True, price=1_000, lots=1)
    resting.order = replace(resting.order, expiry=Timestamp(GENESIS + 10**6))
    check = RestingCheck()
    for clock, is_over in ((GENESIS, False), (last, False), (Timestamp(last + 1), True)):
        set_clock(state, clock)
        change_series(state, PUT, marked_at=clock)
        fault = protocol_says(state, resting)
        assert (fault in (Fault.HALTED, Fault.STALE_MARK)) == is_over
        assert check_says(check, state, resting) == fault


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
