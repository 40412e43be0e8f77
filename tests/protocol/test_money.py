"""Money is conserved by every process, to the unit, and both twins do the same with it."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from deltaroll.protocol.fault import Fault
from deltaroll.protocol.fill import compute_account_after
from deltaroll.protocol.liquidation import Move, compute_account_merged
from deltaroll.protocol.state import State, reset_meter, set_account, set_market
from deltaroll.protocol.types import (
    Fill,
    Liquidate,
    MarketId,
    Position,
    Series,
    Socialise,
    Transfer,
    Withdraw,
)
from tests.protocol.money import (
    MAKERS,
    ForceClose,
    ForceExit,
    attempt,
    build_world,
    check_books,
    compute_total,
    make_account,
    make_random_series,
    owner_of,
    run_both,
)

STEPS = 6
seeds = st.integers(0, (1 << 40) - 1)
many = settings(max_examples=300, deadline=None, derandomize=True)


def actors_of(transaction: object) -> set[int]:
    """Accounts whose owners want this."""
    match transaction:
        case Fill():
            return {transaction.maker, transaction.taker}
        case Transfer():
            return {transaction.sender}
        case Withdraw() | Liquidate():
            return {transaction.account}
        case ForceClose() | ForceExit():
            return {int.from_bytes(transaction.body[:4], "big")}
    return set()


@many
@given(seeds)
def test_processes__any_transaction__not_a_unit_appears_or_is_lost(seed: int):
    rng = Random(seed)
    state = build_world(rng)
    check_books(state)
    for _ in range(STEPS):
        transaction = rng.choice(MAKERS)(rng, state)
        before = compute_total(state)
        reset_meter(state)
        attempt(state, transaction)
        assert compute_total(state) == before, transaction
        check_books(state)


@many
@given(seeds)
def test_processes__accounts_without_positions__never_pay_for_others(seed: int):
    """G6."""
    rng = Random(seed)
    state = build_world(rng, trades=8)
    for _ in range(STEPS):
        transaction = rng.choice(MAKERS)(rng, state)
        safe = {
            key: account.cash
            for key, account in state.accounts.items()
            if not account.positions and key not in actors_of(transaction)
        }
        reset_meter(state)
        attempt(state, transaction)
        for key, cash in safe.items():
            assert state.accounts[key].cash >= cash, transaction


@many
@given(seeds)
def test_processes__any_transaction__twins_agree(seed: int):
    rng = Random(seed)
    state = build_world(rng)
    for _ in range(3):
        run_both(state, rng.choice(MAKERS)(rng, state))


@many
@given(seeds)
def test_processes__values_at_the_ends_of_their_ranges__twins_agree(seed: int):
    """No world like this one can come about; both say the same of it all the same."""
    rng = Random(seed)
    state = build_world(rng, trades=12)
    strain(rng, state)
    for _ in range(3):
        run_both(state, rng.choice(MAKERS)(rng, state))


def strain(rng: Random, state: State) -> None:
    """Push leaves to the ends of their ranges."""
    bound = 1 << 127
    for market, leaf in list(state.markets.items()):
        if isinstance(leaf, Series) and rng.random() < 0.3:
            changes: dict[str, Any] = rng.choice(
                (
                    {"carry_long": bound - rng.randint(1, 9)},
                    {"carry_short": -bound + rng.randint(0, 9)},
                    {"open_interest": rng.choice((0, (1 << 63) - 1, (1 << 64) - 1))},
                    {"mark_index": 0},
                )
            )
            set_market(state, market, replace(leaf, **changes))
    for key, account in list(state.accounts.items()):
        if rng.random() < 0.3:
            cash = rng.choice((bound - 1, -bound, rng.randint(-bound, bound - 1)))
            if key != 0:
                set_account(state, key, replace(account, cash=cash))
        if account.positions and rng.random() < 0.2:
            size = rng.choice(((1 << 63) - 1, -(1 << 63), 1 << 62))
            first = replace(account.positions[0], size=size, snapshot=rng.choice((0, 1 << 100)))
            positions = (first, *account.positions[1:])
            set_account(state, key, replace(state.accounts[key], positions=positions))
    insurance = rng.choice((0, 1, bound, 2 * bound - 1))
    state.globals = replace(
        state.globals,
        insurance=insurance,
        insurance_peak=max(insurance, state.globals.insurance_peak),
        fee_pool=rng.choice((0, 2 * bound - 1)),
        data_fee=(1 << 63) - 1,
    )


@given(seeds)
def test_compute_account_merged__any_moves__like_one_fill_after_the_other(seed: int):
    """The same as `compute_account_after` for each move, in one pass."""
    rng = Random(seed)
    series = {
        MarketId(100 + n): make_random_series(rng, 0, MarketId(10), n % 9, 10**6, 3)
        for n in range(9)
    }
    held = [
        Position(market, rng.choice((-5, -1, 1, 7)), rng.randint(-99, 99))
        for market in series
        if rng.random() < 0.5
    ]
    account = make_account(owner_of(1), rng.randint(-(10**9), 10**9), *held)
    moves = tuple(
        Move(market, leaf, rng.choice((-7, -1, 1, 5)))
        for market, leaf in series.items()
        if rng.random() < 0.5
    )
    sign, cash = rng.choice((1, -1)), rng.randint(-(10**9), 10**9)
    merged, longs = compute_account_merged(account, moves, sign, cash)
    expected = compute_account_after(account, MarketId(1), 0, cash, series[MarketId(100)], False)
    for move, change in zip(moves, longs, strict=True):
        before = sum(max(0, one.size) for one in expected.positions)
        expected = compute_account_after(
            expected, move.market, sign * move.lots, 0, move.series, False
        )
        assert change == sum(max(0, one.size) for one in expected.positions) - before
    assert merged == expected


def test_attempt__world_of_seed_zero__is_not_trivial():
    """Most kinds of transactions succeed in these worlds now and then."""
    succeeded: set[type] = set()
    for seed in range(60):
        rng = Random(seed)
        state = build_world(rng)
        for make in MAKERS:
            transaction = make(rng, state)
            reset_meter(state)
            if attempt(state, transaction) == Fault.NONE:
                succeeded.add(type(transaction))
    assert len(succeeded) >= 8
    assert {Liquidate, Socialise, ForceClose, Fill} <= succeeded
