"""Margin in bulk is the protocol's margin, to the unit."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from benchmarks.books import (
    GENESIS,
    GRIDS,
    INDEX,
    add_account,
    build_board,
    find_series,
    make_sizes,
    mark,
)
from deltaroll.engine import revaluation
from deltaroll.engine.revaluation import (
    Product,
    Valuation,
    compute_valuation,
    create_sheet,
    divide_up,
    multiply_exactly,
    shift_48,
)
from deltaroll.protocol.constants import ONE
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.margin import Margin, compute_margin
from deltaroll.protocol.mark import compute_settled
from deltaroll.protocol.state import Meter, State, set_account, set_market
from deltaroll.protocol.types import (
    Expiry,
    MarketId,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
)

LOTS = (1, 3, 50, 10_000, 1 << 20, 1 << 23)


def check(state: State, valuation: Valuation) -> int:
    """Compare every row with the protocol; return how many were calculated in bulk."""
    for row, account in enumerate(valuation.accounts):
        state.meter = Meter()
        try:
            expected: Margin | Fault = compute_margin(
                state, state.accounts[account], state.globals.clock
            )
        except TransitionFault as problem:
            expected = problem.fault
        got = valuation.faults.get(row, valuation.get_margin(row))
        assert got == expected, (row, state.accounts[account])
    return len(valuation.accounts) - len(valuation.margins) - len(valuation.faults)


def fill_accounts(state: State, rng: Random, count: int, most: tuple[int, ...] = LOTS) -> None:
    """Add random accounts."""
    markets = find_series(state)
    for number in range(1, count + 1):
        lots = rng.choice(most)
        cash = rng.randint(-lots * 10**8, lots * 10**9)
        add_account(state, number, cash, make_sizes(rng, markets, lots))


@pytest.mark.parametrize("seed", range(6))
def test_compute_valuation__random_accounts__is_the_protocols(seed: int):
    rng = Random(seed)
    state = build_board(underlyings=3, expiries=4, strikes=4, perpetuals=2, grids=GRIDS)
    fill_accounts(state, rng, 400)
    assert check(state, compute_valuation(state, create_sheet(state))) == 400


@pytest.mark.parametrize("seed", range(20))
def test_compute_valuation__random_leaves__is_the_protocols(seed: int):
    """Marks, risk vectors, discounts, carries and parameters that no formula would give."""
    rng = Random(100 + seed)
    state = build_board(underlyings=2, expiries=3, strikes=3, perpetuals=2)
    scale = rng.choice((10, 10**4, 10**8, 1 << 34))
    for market in find_series(state):
        series = state.markets[market]
        assert isinstance(series, Series)
        risk = tuple(rng.randint(-scale, scale) for _ in series.risk)
        carries = [rng.choice((0, rng.randint(-scale, scale))) for _ in range(2)]
        set_market(
            state,
            market,
            replace(
                series,
                mark=rng.randint(0, scale),
                risk=risk,
                carry_long=carries[0],
                carry_short=carries[1],
            ),
        )
    for market, leaf in list(state.markets.items()):
        if isinstance(leaf, Expiry):
            drawn = [rng.choice((0, ONE, rng.randrange(4 * ONE))) for _ in range(3)]
            leaf = replace(
                leaf, long_discount=drawn[0], short_discount=drawn[1], basis_factor=drawn[2]
            )
            set_market(state, market, leaf)
        elif isinstance(leaf, Underlying):
            params = replace(
                leaf.params,
                maintenance_factor=rng.randrange(4_000_000),
                initial_factor=rng.randrange(4_000_000),
                perp_maintenance=rng.randrange(10**6),
                option_initial=rng.randrange(10**6),
            )
            multiplier = rng.randint(500_000, 5_000_000)
            set_market(state, market, replace(leaf, params=params, multiplier=multiplier))
    fill_accounts(state, rng, 60, (1, 7, 10**3, 10**6))
    for account_id, account in list(state.accounts.items()):
        positions = tuple(
            replace(position, snapshot=rng.randint(-scale, scale)) for position in account.positions
        )
        set_account(state, account_id, replace(account, positions=positions))
    valuation = compute_valuation(state, create_sheet(state))
    assert check(state, valuation) > 0


def test_compute_valuation__sizes_beyond_words__are_the_protocols():
    """From one lot to 2^63: in bulk as long as it fits, by the protocol from there on."""
    rng = Random(7)
    state = build_board(expiries=2, strikes=3)
    markets = find_series(state)
    for number in range(1, 300):
        most = 1 << rng.randrange(63)
        cash = rng.choice((0, -1, 1 << 127, rng.randrange(1 << rng.randrange(1, 127))))
        add_account(state, number, cash - (cash >> 127), make_sizes(rng, markets, most))
    valuation = compute_valuation(state, create_sheet(state))
    assert 0 < check(state, valuation) < 299
    assert Fault.OUT_OF_RANGE in valuation.faults.values()


def test_compute_valuation__stale_and_settled_series__faults_are_the_protocols():
    rng = Random(8)
    state = build_board(underlyings=2, expiries=3, strikes=3, perpetuals=2)
    markets = find_series(state)
    for market in markets:
        series = state.markets[market]
        assert isinstance(series, Series)
        underlying = state.markets[series.underlying]
        assert isinstance(underlying, Underlying)
        if rng.random() < 0.1:
            old = Timestamp(GENESIS - 4_000)
            set_market(state, market, replace(series, marked_at=old))
        elif series.kind != SeriesKind.PERPETUAL and rng.random() < 0.3:
            settled = compute_settled(series, underlying, underlying.index)
            set_market(state, market, settled)
    fill_accounts(state, rng, 400)
    valuation = compute_valuation(state, create_sheet(state))
    assert check(state, valuation) > 20
    assert set(valuation.faults.values()) == {Fault.STALE_MARK}


def test_compute_valuation__one_underlying_halted__only_its_holders_have_no_margin():
    state = build_board(underlyings=2, expiries=1, strikes=2)
    halted = state.markets[MarketId(1_000)]
    assert isinstance(halted, Underlying)
    set_market(state, MarketId(1_000), replace(halted, pending_index=1))
    fill_accounts(state, Random(9), 100)
    valuation = compute_valuation(state, create_sheet(state))
    assert 0 < check(state, valuation) < 100
    assert set(valuation.faults.values()) == {Fault.HALTED}


def test_compute_valuation__strikes_listed_oddly__naked_lots_are_the_protocols():
    """A put before its call, a call without a put, and a strike that is there twice."""
    state = build_board(expiries=1, strikes=2)
    expiry = MarketId(1_100)
    call = state.markets[MarketId(1_101)]
    put = state.markets[MarketId(1_102)]
    assert isinstance(call, Series)
    assert isinstance(put, Series)
    active = SeriesStatus.ACTIVE
    odd = [
        replace(put, strike=38_000_000),
        replace(call, strike=38_000_000),
        replace(call, strike=37_000_000),
        call,
        put,
    ]
    assert all(series.status == active and series.expiry == expiry for series in odd)
    for place, series in enumerate(odd):
        mark(state, MarketId(1_200 + place), [series])
    fill_accounts(state, Random(10), 400)
    valuation = compute_valuation(state, create_sheet(state))
    assert 0 < check(state, valuation) < 400


def test_compute_valuation__settled_since_the_sheet_was_made__is_the_protocols():
    state = build_board(expiries=2, strikes=2)
    fill_accounts(state, Random(15), 100)
    sheet = create_sheet(state)
    underlying = state.markets[MarketId(1_000)]
    assert isinstance(underlying, Underlying)
    for market in (MarketId(1_101), MarketId(1_102)):
        series = state.markets[market]
        assert isinstance(series, Series)
        set_market(state, market, compute_settled(series, underlying, underlying.index))
    assert 0 < check(state, compute_valuation(state, sheet)) < 100
    assert check(state, compute_valuation(state, create_sheet(state))) == 100


def test_set_account__after_a_trade__row_is_as_new():
    state = build_board(expiries=2, strikes=2)
    fill_accounts(state, Random(11), 20)
    sheet = create_sheet(state)
    account = state.accounts[sheet.accounts[3]]
    markets = find_series(state)
    changed = replace(
        account, cash=5, positions=(Position(markets[0], -9, 3), Position(markets[2], 1 << 62, 0))
    )
    for now in (changed, replace(changed, positions=changed.positions[:1])):
        set_account(state, sheet.accounts[3], now)
        sheet.set_account(sheet.accounts[3], now)
        fresh = create_sheet(state)
        assert (sheet.sizes == fresh.sizes).all()
        assert (sheet.base == fresh.base).all()
        assert sheet.wide == fresh.wide
        assert all((sheet.gross[key] == fresh.gross[key]).all() for key in fresh.gross)
        check(state, compute_valuation(state, sheet))


def test_find_below_maintenance__by_either_path__is_found():
    state = build_board(expiries=1, strikes=2)
    perpetual = find_series(state)[0]
    add_account(state, 1, 10**6 - 100 * INDEX, {perpetual: 100})
    add_account(state, 2, 10**12, {perpetual: 100})
    add_account(state, 3, 10**6, {perpetual: 1 << 62})
    add_account(state, 4, -5, {})
    valuation = compute_valuation(state, create_sheet(state))
    assert valuation.margins.keys() == {2}
    assert valuation.find_below_maintenance() == [1, 4]
    add_account(state, 3, 0, {perpetual: -(1 << 62)})
    valuation = compute_valuation(state, create_sheet(state))
    assert valuation.find_below_maintenance() == [1, 3, 4]


def test_product__limbs__are_exact():
    rng = Random(12)
    for bits in range(14, 57):
        gross_bits = 57 - bits
        entries = np.array(
            [[rng.randint(-(1 << bits), 1 << bits) for _ in range(3)] for _ in range(4)]
        )
        entries[0, 0] = -(1 << bits)
        entries[1, 1] = 1 << bits
        rows = [
            [rng.randint(-(1 << gross_bits) // 4, (1 << gross_bits) // 4) for _ in range(4)]
            for _ in range(5)
        ]
        sizes = np.array(rows, np.float64)
        expected = [
            [sum(row[i] * int(entries[i, j]) for i in range(4)) for j in range(3)] for row in rows
        ]
        assert multiply_exactly(sizes, entries).T.tolist() == expected
        assert bits + gross_bits < 53 or Product(entries, 1 << gross_bits).is_word


def test_shift_48__edges__are_floors():
    rng = Random(13)
    for _ in range(20_000):
        right = rng.choice((0, 1, ONE - 1, ONE, rng.randrange(4 * ONE)))
        left = rng.choice((-1, 1)) * rng.randrange(1 << rng.randrange(1, 59))
        extra = rng.randrange(-ONE, ONE)
        got = shift_48(np.array([left]), np.array([right]), np.array([extra]))
        assert int(got[0]) == (left * right + extra) >> 48


def test_divide_up__edges__are_ceilings():
    rng = Random(14)
    for _ in range(20_000):
        divisor = rng.choice((10**6, 10**12))
        value = rng.randrange(1 << rng.randrange(1, 58))
        factor = rng.randrange(1, 4 * divisor)
        got = divide_up(np.array([value]), factor, divisor)
        assert int(got[0]) == -(-value * factor // divisor)


def test_revaluation__constants__leave_room():
    """What the module's docstring counts on."""
    assert revaluation.RANGE * revaluation.MAX_FACTOR // ONE <= 1 << 60
    assert revaluation.MAX_GROSS.bit_length() < 53
