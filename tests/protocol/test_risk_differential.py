"""Marks and margin: both twins on random legal leaves, many of them at the edge of legality."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from random import Random

import pytest

pytest.importorskip("pyrevm")

from benchmarks.margin import (
    EXPIRIES,
    GRID,
    NOW,
    PERPETUAL,
    UNDERLYING,
    MarginMachine,
    build_holder,
    build_markets,
    mark_all,
    to_markets,
)
from deltaroll.presets import DERIBIT, PMRM_2, SPAN_16
from deltaroll.protocol.books import compute_books
from deltaroll.protocol.configure import validate_model, validate_scenario
from deltaroll.protocol.constants import (
    MAX_PRICE,
    MAX_SCENARIOS,
    ONE,
    PPM,
    SETTLEMENT_WINDOW,
    TWAP_DAYS,
)
from deltaroll.protocol.expiry import compute_boundary, compute_day
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.listing import create_expiry, create_series
from deltaroll.protocol.margin import compute_margin, validate_initial_margin, validate_margin
from deltaroll.protocol.mark import process_mark_range
from deltaroll.protocol.risk import (
    compute_board,
    compute_deviation,
    compute_discounts,
    compute_log_moneyness,
    compute_pair_risk,
)
from deltaroll.protocol.scenarios import compute_scenarios
from deltaroll.protocol.state import State, reset_meter, set_market
from deltaroll.protocol.surface import validate_surface
from deltaroll.protocol.types import (
    Account,
    Expiry,
    Grid,
    Mark,
    MarketId,
    Position,
    RiskModel,
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    Surface,
    Timestamp,
    Underlying,
)
from tests.protocol.evm import artifacts, make_evm

CASES = int(os.environ.get("RISK_CASES", "150"))
SEED = int(os.environ.get("RISK_SEED", "1"))
SECOND_UNDERLYING, PREMIUM = MarketId(4), MarketId(5)
INT64 = (1 << 63) - 1


@cache
def machine() -> MarginMachine:
    """The contracts of this process."""
    return MarginMachine(make_evm(), artifacts())


def pick_edge(rng: Random, low: int, high: int) -> int:
    """A number of a range: an end, next to it, any, or any length of bits."""
    match rng.randrange(5):
        case 0:
            return rng.choice((low, high))
        case 1:
            return max(low, min(high, rng.choice((low + 1, high - 1, 0, 1, -1))))
        case 2:
            bits = rng.randrange(max(1, (high - low).bit_length()))
            return min(high, low + rng.getrandbits(bits + 1))
        case _:
            return rng.randint(low, high)


def random_model(rng: Random) -> RiskModel:
    """A risk model that may be configured."""
    if rng.random() < 0.4:
        return rng.choice((PMRM_2, DERIBIT, SPAN_16)).model
    while True:
        wide = 64 * ONE if rng.random() < 0.5 else 2 * ONE
        numbers = [pick_edge(rng, -wide, wide) for _ in RiskModel.__slots__]
        model = RiskModel(*numbers)
        model = replace(
            model,
            vol_up=abs(model.vol_up),
            vol_down=abs(model.vol_down),
            short_power=abs(model.short_power) % (2 * ONE + 1),
            long_power=abs(model.long_power) % (2 * ONE + 1),
            day_floor=max(ONE // 24, abs(model.day_floor)),
            min_vol=abs(model.min_vol),
            min_width=max(1, abs(model.min_width)),
            long_base=abs(model.long_base),
            short_base=abs(model.short_base),
            basis_add=abs(model.basis_add),
            basis_scale=abs(model.basis_scale),
        )
        try:
            validate_model(model)
        except TransitionFault:
            continue
        return model


def random_scenario(rng: Random) -> Scenario:
    """A scenario that may be configured."""
    vol_shock = rng.randint(-1, 3)
    high = (1 << 31) - 1 if rng.random() < 0.05 else 6 * PPM
    spot_shock = 0 if vol_shock >= 2 else pick_edge(rng, -PPM, high)
    scenario = Scenario(spot_shock, vol_shock, rng.choice((ONE, 0, 1, pick_edge(rng, 0, ONE))))
    validate_scenario(scenario)
    return scenario


def random_grid(rng: Random) -> Grid:
    """A grid that may be configured."""
    model = random_model(rng)
    if rng.random() < 0.3:
        return replace(rng.choice((PMRM_2, DERIBIT, SPAN_16)), model=model)
    count = rng.choice((1, 2, 3, 16, 32, 33, rng.randint(1, MAX_SCENARIOS)))
    scenarios = tuple(random_scenario(rng) for _ in range(count))
    return Grid(scenarios, rng.randrange(count), rng.randrange(count), model)


def random_price(rng: Random) -> int:
    """A price per lot."""
    return max(
        1,
        rng.choice(
            (
                rng.randint(1, 100),
                rng.randint(10**6, 10**9),
                rng.randint(10**9, 10**14),
                1 << rng.randrange(63),
                pick_edge(rng, 1, MAX_PRICE),
            )
        ),
    )


def random_surface(rng: Random, expiry: Expiry) -> Expiry:
    """The expiry with a surface that may be signed."""
    for _ in range(200):
        bounds = rng.choice(((36 * ONE, 2 * ONE, 16 * ONE), (ONE, ONE // 2, ONE)))
        surface = Surface(
            MarketId(0),
            0,
            pick_edge(rng, ONE // 4, 4 * ONE),
            pick_edge(rng, -ONE, ONE),
            pick_edge(rng, -bounds[0], bounds[0]),
            pick_edge(rng, 0, bounds[1]),
            pick_edge(rng, -ONE + 1, ONE - 1),
            pick_edge(rng, -bounds[2], bounds[2]),
            pick_edge(rng, 1, bounds[0]),
            Timestamp(0),
        )
        try:
            validate_surface(expiry, surface)
        except TransitionFault:
            continue
        return replace(
            expiry,
            ratio=surface.ratio,
            rate=surface.rate,
            a=surface.a,
            b=surface.b,
            rho=surface.rho,
            m=surface.m,
            sigma=surface.sigma,
        )
    return expiry


def random_underlying(rng: Random, state: State, index: int) -> Underlying:
    """An underlying at work, its clock maybe inside a settlement window."""
    template = build_markets(PMRM_2, 0, 0).markets[UNDERLYING]
    assert isinstance(template, Underlying)
    clock = state.globals.clock
    observed_at = clock - rng.choice((0, 1, 10, 3_000))
    seconds = rng.choice((0, 1, SETTLEMENT_WINDOW // 2, SETTLEMENT_WINDOW - 1))
    return replace(
        template,
        params=replace(
            template.params,
            maintenance_factor=rng.choice((0, 800_000, 100 * PPM)),
            initial_factor=100 * PPM if rng.random() < 0.1 else 1_000_003,
            perp_maintenance=rng.choice((0, 30_000, 100 * PPM)),
            option_initial=rng.choice((0, 2_001, 100 * PPM)),
            move_band=rng.choice((0, 50_000, PPM)),
        ),
        index=index,
        observed_at=Timestamp(observed_at),
        pending_index=rng.choice((0,) * 20 + (5,)),
        multiplier=rng.choice((PPM, PPM // 2, 10 * PPM, rng.randint(PPM // 2, 10 * PPM))),
        day=compute_day(observed_at + 1),
        window_sum=seconds * random_price(rng) if rng.random() < 0.1 else seconds * index,
        window_seconds=seconds,
        twaps=tuple(rng.choice((0, index)) for _ in range(TWAP_DAYS)),
    )


def random_state(rng: Random) -> State:
    """Two underlyings, perpetuals with and without a premium, and options of up to four expiries;
    times around expiries and inside settlement windows.
    """
    state = State()
    boundary = compute_boundary(compute_day(NOW))
    clock = boundary - rng.choice((-100, -1, 0, 1, 60, 900, 1_800, 1_801, 50_000, 86_000))
    state.globals = replace(state.globals, clock=Timestamp(clock))
    set_market(state, GRID, random_grid(rng))
    index = random_price(rng)
    for market in (UNDERLYING, SECOND_UNDERLYING):
        set_market(state, market, random_underlying(rng, state, index))
    premium = random_surface(rng, create_expiry(UNDERLYING, Timestamp(0)))
    set_market(state, PREMIUM, replace(premium, rate=0, a=0, b=0, rho=0, m=0, sigma=0))
    for market, expiry in ((PERPETUAL, 0), (6, PREMIUM)):
        series = create_series(
            SeriesKind.PERPETUAL, SeriesStatus.ACTIVE, UNDERLYING, MarketId(expiry), 0
        )
        carry = rng.choice((0, -(1 << 127), (1 << 127) - 1, rng.randint(-(10**9), 10**9)))
        set_market(state, MarketId(market), replace(series, carry_long=carry, carry_short=7))
    for place in range(rng.randint(1, 4)):
        market = MarketId(EXPIRIES + 10 * place)
        underlying = rng.choice((UNDERLYING, UNDERLYING, SECOND_UNDERLYING))
        days = rng.choice((0, 0, 1, 7, 30, 31, 365, 5_856))
        leaf = random_surface(rng, create_expiry(underlying, Timestamp(boundary + 86_400 * days)))
        surfaced_at = min(leaf.time - 1, clock) - rng.choice((0, 0, 5, 600, 3_601))
        set_market(state, market, replace(leaf, surfaced_at=Timestamp(surfaced_at)))
        forward = max(1, min(MAX_PRICE, index * leaf.ratio >> 48))
        for number in range(rng.randint(1, 4)):
            strike = random_price(rng) if rng.random() < 0.3 else forward * (2 + number) // 4
            for kind in (SeriesKind.CALL, SeriesKind.PUT):
                status = rng.choice((SeriesStatus.ACTIVE, SeriesStatus.INACTIVE))
                series = create_series(kind, status, underlying, market, max(1, strike))
                interest = pick_edge(rng, 0, INT64)
                set_market(
                    state,
                    MarketId(market + 1 + 2 * number + (kind == SeriesKind.PUT)),
                    replace(series, open_interest=interest),
                )
    return state


def random_account(rng: Random, state: State) -> Account:
    """An account with any of a state's series."""
    any_mark = rng.random() < 0.1
    held = [
        market
        for market, leaf in sorted(state.markets.items())
        if isinstance(leaf, Series) and (leaf.marked_at or any_mark) and rng.random() < 0.7
    ]
    wide = rng.random() < 0.15
    positions = []
    for market in held:
        size = pick_edge(rng, -INT64 - 1, INT64) if wide else rng.randint(-(10**9), 10**9)
        if rng.random() < 0.3:
            size = rng.randint(-3, 3)
        positions.append(Position(market, size or 1, rng.randint(-(10**6), 10**6)))
    cash = rng.choice((0, 10**15, -(10**15), 1 << 126, rng.randint(-(10**20), 10**20)))
    return replace(
        build_holder(build_markets(PMRM_2, 0, 0), 0), cash=cash, positions=tuple(positions)
    )


def fault_of(check: object, *arguments: object) -> Fault:
    """What a check faults with."""
    try:
        check(*arguments)  # type: ignore[operator]
    except TransitionFault as problem:
        return problem.fault
    return Fault.NONE


def compare_marks(rng: Random, state: State) -> None:
    """Mark ranges, some of them in the middle of a strike, on both twins."""
    markets = sorted(market for market, leaf in state.markets.items() if isinstance(leaf, Series))
    while markets:
        first = markets[0]
        count = rng.choice((1, 2, 2, 3, 8))
        mark = Mark(first, count)
        fault, leaves, _, weight = machine().mark(state, mark)
        reset_meter(state)
        state.begin()
        expected = Fault.NONE
        try:
            process_mark_range(state, mark)
        except TransitionFault as problem:
            expected = problem.fault
        assert (fault, mark) == (expected, mark)
        if expected == Fault.NONE:
            assert leaves == to_markets(state)[1]
            assert state.meter.gas == weight
            state.commit()
        else:
            state.rollback()
        markets = [market for market in markets if market >= first + count]


def compare_margins(state: State, account: Account) -> Fault:
    """Compute a margin on both twins."""
    clock = state.globals.clock
    reset_meter(state)
    fault, margin, _, weight = machine().margin(state, account)
    expected = fault_of(compute_margin, state, account, clock)
    assert fault == expected
    if fault != Fault.NONE:
        return fault
    reset_meter(state)
    assert margin == compute_margin(state, account, clock)
    assert weight == state.meter.gas
    reset_meter(state)
    _, books = compute_books(state, account, clock)
    assert machine().scenarios(state, account) == [compute_scenarios(book) for book in books]
    return fault


@pytest.mark.parametrize("number", range(CASES))
def test_process_mark_and_compute_margin__random_legal_leaves__twins_agree(number):
    rng = Random((SEED << 64) | number)
    state = random_state(rng)
    compare_marks(rng, state)
    before = random_account(rng, state)
    compare_margins(state, before)
    # Older marks on a moved index.
    underlying = state.markets[UNDERLYING]
    assert isinstance(underlying, Underlying)
    moved = underlying.index + rng.choice((0, 1, underlying.index // 20))
    set_market(state, UNDERLYING, replace(underlying, index=min(moved, MAX_PRICE)))
    fault = compare_margins(state, before)
    after = replace(
        before,
        cash=before.cash + rng.choice((-(10**9), 0, 10**9)),
        positions=before.positions[: rng.randint(0, len(before.positions))],
    )
    found = machine().validate(state, before, after)
    clock = state.globals.clock
    reset_meter(state)
    expected = fault_of(validate_margin, state, before, after, clock)
    assert found == (expected, fault_of(validate_initial_margin, state, after, clock))
    assert fault in Fault


def test_process_mark_and_compute_margin__most_random_cases__are_not_faults():
    """The generator must not hide behind faults."""
    done = {Fault.NONE: 0}
    for number in range(40):
        rng = Random(number)
        state = random_state(rng)
        compare_marks(rng, state)
        fault = compare_margins(state, random_account(rng, state))
        done[fault] = done.get(fault, 0) + 1
    assert done[Fault.NONE] >= 10
    assert len(done) >= 3


@pytest.mark.parametrize("grid", [PMRM_2, DERIBIT, SPAN_16], ids=["PMRM_2", "DERIBIT", "SPAN_16"])
@pytest.mark.parametrize("per_expiry", [1, 2, 5, 16])
def test_compute_margin__presets__twins_agree(grid, per_expiry):
    state = build_markets(grid, 4, 8)
    mark_all(state)
    account = build_holder(state, per_expiry)
    assert compare_margins(state, account) == Fault.NONE
    for lots in (-7, 1):
        positions = (Position(PERPETUAL, lots, 3), *account.positions)
        assert compare_margins(state, replace(account, positions=positions)) == Fault.NONE


@pytest.mark.parametrize("per_expiry", [3, 4, 8])
def test_compute_margin__options_of_expiries_in_turns__twins_agree(per_expiry):
    state = build_markets(PMRM_2, 3, 4)
    first, *_, last = (market for market, leaf in state.markets.items() if isinstance(leaf, Expiry))
    for market, leaf in list(state.markets.items()):
        # Governance may list an expiry's options behind those of another.
        if isinstance(leaf, Series) and leaf.expiry == last and market % 4 < 2:
            set_market(state, market, replace(leaf, expiry=first))
    mark_all(state)
    account = build_holder(state, per_expiry)
    assert compare_margins(state, account) == Fault.NONE


@pytest.mark.parametrize("kinds", [(a, b) for a in SeriesKind for b in SeriesKind])
def test_process_mark__neighbours_of_one_strike__only_call_and_put_are_a_pair(kinds):
    state = build_markets(PMRM_2, 1, 1)
    for market, kind in enumerate(kinds, EXPIRIES + 1):
        leaf = state.markets[MarketId(market)]
        assert isinstance(leaf, Series)
        set_market(state, MarketId(market), replace(leaf, kind=kind))
    for number in range(4):
        compare_marks(Random(number), state)


@pytest.mark.parametrize("clock", [-1, 0, 1])
@pytest.mark.parametrize("observed", [-1, 0, 1])
@pytest.mark.parametrize("surfaced", [-2, -1])
def test_compute_margin__around_an_expiry__twins_agree(clock, observed, surfaced):
    state = build_markets(PMRM_2, 1, 1)
    mark_all(state)
    underlying, expiry = state.markets[UNDERLYING], state.markets[MarketId(EXPIRIES)]
    assert isinstance(underlying, Underlying)
    assert isinstance(expiry, Expiry)
    state.globals = replace(state.globals, clock=Timestamp(expiry.time + clock))
    observed_at, surfaced_at = (Timestamp(expiry.time + after) for after in (observed, surfaced))
    set_market(state, UNDERLYING, replace(underlying, observed_at=observed_at))
    set_market(state, MarketId(EXPIRIES), replace(expiry, surfaced_at=surfaced_at))
    compare_margins(state, build_holder(state, 2))


def request_of(fixed: int, variable: int, remaining: int, strike: int, expiry: Expiry, grid: Grid):
    """The words of a request to the option pricer."""
    words = [fixed, variable, remaining, strike]
    words += [getattr(expiry, name) for name in Expiry.__slots__]
    words += [getattr(grid.model, name) for name in RiskModel.__slots__]
    for scenario in grid.scenarios:
        words += [scenario.spot_shock, scenario.vol_shock, scenario.weight]
    return words


def answer_of(
    fixed: int, variable: int, remaining: int, strike: int, expiry: Expiry, grid: Grid
) -> list[int]:
    """The words that the option pricer should answer with."""
    try:
        board = compute_board(fixed, variable, remaining, expiry.rate, grid.model)
        moneyness = compute_log_moneyness(board, strike)
        deviation = compute_deviation(expiry, remaining, moneyness)
        quotes = compute_pair_risk(board, grid.scenarios, strike, moneyness, deviation)
    except TransitionFault as problem:
        return [problem.fault]
    words = [Fault.NONE, *compute_discounts(remaining, expiry.rate, grid.model)]
    for quote in quotes:
        padded = [*quote.risk, 0]
        lanes = [
            (padded[at] + (padded[at + 1] << 128)) % (1 << 256)
            for at in range(0, len(quote.risk), 2)
        ]
        words += [quote.mark, len(lanes), *lanes]
    return words


@pytest.mark.parametrize("number", range(CASES // 3))
def test_option_pricer__random_requests__answers_as_python(number):
    rng = Random((SEED << 65) | number)
    grid = random_grid(rng)
    remaining = rng.choice((1, 60, 1_800, 86_400, 30 * 86_400, rng.randint(1, 10**9)))
    leaf = random_surface(rng, create_expiry(UNDERLYING, Timestamp(10**9 + remaining)))
    expiry = replace(leaf, surfaced_at=Timestamp(10**9 - rng.choice((0, 1, 3_600))))
    fixed, variable, strike = (
        rng.choice((0, random_price(rng))),
        random_price(rng),
        random_price(rng),
    )
    answer = machine().price(request_of(fixed, variable, remaining, strike, expiry, grid))
    assert answer == answer_of(fixed, variable, remaining, strike, expiry, grid)
