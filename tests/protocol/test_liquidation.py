"""Auctions and socialised losses: who pays what, to the unit, and what nobody can get."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.constants import (
    AUCTION_END,
    AUCTION_SECONDS,
    AUCTION_START,
    INSURANCE_SHARE,
    LIQUIDATION_BUFFER,
    MAX_POSITIONS,
    PPM,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.funding import compute_accrued, compute_carry
from deltaroll.protocol.liquidation import (
    compute_largest_share,
    compute_part,
    compute_payment,
    compute_rate,
)
from deltaroll.protocol.listing import create_series
from deltaroll.protocol.margin import Margin
from deltaroll.protocol.state import State, compute_state_root, reset_meter, set_account, set_market
from deltaroll.protocol.types import (
    AccountId,
    Distress,
    Liquidate,
    MarketId,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Socialise,
    Timestamp,
    Underlying,
)
from tests.protocol.money import (
    FUND,
    GRID,
    INDEXES,
    START,
    ForceClose,
    attempt,
    build_world,
    check_books,
    compute_total,
    make_account,
    make_underlying,
    margin_of,
    owner_of,
    run_both,
)
from tests.protocol.test_fill import CALL, build, leaves
from tests.protocol.test_fill import PERP as FILLED

seeds = st.integers(0, (1 << 40) - 1)
money = st.integers(0, 10**18)
shares = st.integers(1, PPM)
many = settings(max_examples=400, deadline=None, derandomize=True)


# What is pure


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_compute_rate__later__is_not_lower(first: int, second: int):
    assert compute_rate(min(first, second)) <= compute_rate(max(first, second))
    assert AUCTION_START <= compute_rate(first) <= AUCTION_END


def test_compute_rate__ends_of_the_auction__are_as_written():
    assert compute_rate(0) == AUCTION_START
    assert compute_rate(AUCTION_SECONDS - 1) < AUCTION_END
    assert compute_rate(AUCTION_SECONDS) == compute_rate(10**9) == AUCTION_END


@given(money, money, money, money)
def test_compute_largest_share__paid_and_moved__restores_the_buffer(
    equity: int, more: int, extra: int, reward: int
):
    """With lots as fine as money; the share before the largest does not."""
    maintenance = equity + 1 + more
    margin = Margin(equity, maintenance, maintenance + extra)
    reward = min(reward, maintenance)
    goal = margin.initial + -(-margin.initial * LIQUIDATION_BUFFER // PPM)
    largest = compute_largest_share(margin, reward)
    assert 0 < largest <= PPM
    cost = min(reward, equity)

    def restores(share: int) -> bool:
        return equity * PPM - cost * share >= goal * (PPM - share)

    assert restores(largest)
    assert largest == 1 or not restores(largest - 1)


@given(st.integers(-(10**18), 0), money)
def test_compute_largest_share__no_equity__is_all(equity: int, requirement: int):
    assert compute_largest_share(Margin(equity, requirement, requirement), requirement) == PPM


def test_compute_largest_share__above_the_goal__is_nothing():
    """No parameters that Configure lets pass put initial margin below maintenance."""
    assert compute_largest_share(Margin(100, 1_000, 10), 10) == 0


@given(st.integers(-(1 << 63), (1 << 63) - 1).filter(bool), shares)
def test_compute_part__any_share__is_rounded_up_and_not_above_all(size: int, share: int):
    part = compute_part(size, share)
    assert part * size > 0
    assert abs(part) <= abs(size)
    assert (abs(part) - 1) * PPM < abs(size) * share <= abs(part) * PPM
    assert compute_part(size, PPM) == size


@given(st.integers(-(10**18), 10**18), shares, money, money, st.booleans())
def test_compute_payment__anything__creates_no_money_and_leaves_the_fund_solvent(
    equity: int, share: int, reward: int, insurance: int, is_all: bool
):
    try:
        payment = compute_payment(equity, share, reward, insurance, is_all)
    except TransitionFault:
        assert -(equity if is_all else equity * share // PPM) > insurance
        return
    got = payment.paid - payment.share
    from_fund = payment.paid - payment.own - payment.share
    assert got == payment.own + from_fund
    assert 0 <= got <= payment.paid <= reward
    assert insurance - from_fund >= 0
    if equity >= 0:
        assert 0 <= payment.own <= equity
        assert payment.share == payment.own * INSURANCE_SHARE // PPM
    else:
        assert equity <= payment.own <= 0 == payment.share
    if share == PPM or is_all:
        assert equity >= 0 or payment.own == equity


@given(money, shares, money, money)
def test_compute_payment__equity_covers_the_reward__second_account_of_the_owner_loses(
    equity: int, share: int, reward: int, insurance: int
):
    """Taking over oneself costs a part of the reward as long as the account pays it itself."""
    whole = min(reward, equity)
    part = whole * share // PPM
    payment = compute_payment(equity, share, part, insurance, False)
    assert payment.paid - payment.share - payment.own == -(part * INSURANCE_SHARE // PPM)


# Worlds


def accrue_all(state: State) -> None:
    """Let funding accrue up to the clock: what it moves is no part of anything here."""
    for market, leaf in list(state.markets.items()):
        if isinstance(leaf, Series):
            underlying = state.markets[leaf.underlying]
            assert isinstance(underlying, Underlying)
            set_market(state, market, compute_accrued(leaf, underlying.params, state.globals.clock))


def iterate_bids(seed: int) -> Iterator[tuple[State, Liquidate]]:
    """A world and a bid that only the accounts' margins, or the fund, can be against."""
    rng = Random(seed)
    state = build_world(rng)
    accrue_all(state)
    for target in sorted(state.accounts):
        if target == FUND or not state.accounts[target].positions:
            continue
        margin = margin_of(state, target)
        if margin.equity >= margin.maintenance:
            continue
        begun = Timestamp(state.globals.clock - rng.randint(0, 5_000))
        set_account(state, target, replace(state.accounts[target], distressed_at=begun))
        bidder = AccountId(77)
        rich = make_account(owner_of(2) + b"", 10**30)
        set_account(state, bidder, replace(rich, owner=owner_of(50)[:19] + b"\x77"))
        yield state, Liquidate(bidder, target, rng.choice((1, PPM // 3, PPM, 1)), 0, 1)


@many
@given(seeds)
def test_process_liquidate__any_bid__each_side_comes_out_as_the_rule_says(seed: int):
    for state, bid in iterate_bids(seed):
        before, bidder = margin_of(state, bid.target), margin_of(state, bid.account)
        fund, total = state.globals.insurance, compute_total(state)
        reset_meter(state)
        fault = attempt(state, bid)
        if fault != Fault.NONE:
            continue
        after, richer = margin_of(state, bid.target), margin_of(state, bid.account)
        assert compute_total(state) == total
        got, lost = richer.equity - bidder.equity, before.equity - after.equity
        assert got + (state.globals.insurance - fund) == lost
        if state.accounts[bid.target].positions:
            assert after.initial <= after.equity or (
                after.initial - after.equity < before.initial - before.equity
            )
        assert got >= 0


@dataclass(frozen=True)
class Trouble:
    """An account long `size` lots at 1,000,000 a lot, margin about 13 % and 16 %."""

    equity: int
    """Parts per million of its maintenance margin."""
    elapsed: int = 0
    insurance: int = 10**15
    size: int = 10**7
    share: int = PPM
    reward: int = 0


PERP = MarketId(100)
OTHER = MarketId(101)
LONG, RICH, SHORT, BYSTANDER = AccountId(1), AccountId(2), AccountId(3), AccountId(4)
PRICE = 10**6
PENALTY = 10_000


def build_trouble(trouble: Trouble) -> State:
    """LONG is in trouble, SHORT holds the other side, RICH can take over, BYSTANDER holds
    nothing."""
    state = State()
    clock = Timestamp(START + 10)
    state.globals = replace(
        state.globals,
        clock=clock,
        account_count=4,
        insurance=trouble.insurance,
        insurance_peak=trouble.insurance,
    )
    grid = replace(PMRM_2, scenarios=PMRM_2.scenarios[:3], basis_up=0, basis_down=1)
    set_market(state, GRID, grid)
    params = replace(make_params(MarketId(1), GRID, 1), force_penalty=PENALTY)
    set_market(state, INDEXES[0], make_underlying(params, PRICE))
    for market in (PERP, OTHER):
        series = create_series(
            SeriesKind.PERPETUAL, SeriesStatus.ACTIVE, INDEXES[0], MarketId(0), 0
        )
        series = replace(
            series,
            mark=PRICE,
            mark_index=PRICE,
            marked_at=START,
            accrued_at=clock,
            open_interest=trouble.size if market == PERP else 0,
            risk=(-PRICE // 10, 0, PRICE // 10),
        )
        set_market(state, market, series)
    rich = 10**20
    set_account(state, LONG, make_account(owner_of(1), 0, Position(PERP, trouble.size, 0)))
    set_account(state, RICH, make_account(owner_of(2), rich))
    set_account(state, SHORT, make_account(owner_of(3), rich, Position(PERP, -trouble.size, 0)))
    set_account(state, BYSTANDER, make_account(owner_of(4), rich))
    margin = margin_of(state, LONG)
    cash = margin.maintenance * trouble.equity // PPM - margin.equity
    begun = Timestamp(clock - trouble.elapsed)
    set_account(state, LONG, replace(state.accounts[LONG], cash=cash, distressed_at=begun))
    compute_state_root(state)
    return state


def equity_of(state: State, account: AccountId) -> int:
    """An account's equity."""
    return margin_of(state, account).equity


def bid_for(trouble: Trouble, target: AccountId = LONG) -> Liquidate:
    """RICH's bid."""
    return Liquidate(RICH, target, trouble.share, trouble.reward, 1)


def largest_share(state: State, elapsed: int) -> int:
    """What RICH may take of LONG."""
    margin = margin_of(state, LONG)
    return compute_largest_share(margin, margin.maintenance * compute_rate(elapsed) // PPM)


MOVES = [
    # What it is, trouble, fault.
    ("above maintenance", Trouble(equity=PPM), Fault.SOLVENT),
    ("all of a solvent account", Trouble(equity=900_000), Fault.SHARE),
    ("nothing", Trouble(equity=900_000, share=0), Fault.SHARE),
    ("a part", Trouble(equity=900_000, share=100_000), Fault.NONE),
    ("more than the first reward", Trouble(equity=900_000, share=1, reward=20_001), Fault.REWARD),
    ("the first reward", Trouble(equity=900_000, share=1, reward=20_000), Fault.NONE),
    ("late", Trouble(equity=900_000, share=1, elapsed=1_800, reward=510_000), Fault.NONE),
    ("late, too much", Trouble(900_000, 1_800, share=1, reward=510_001), Fault.REWARD),
    ("no equity", Trouble(equity=0), Fault.NONE),
    ("a hole", Trouble(equity=-200_000), Fault.NONE),
    ("half of a hole", Trouble(equity=-200_000, share=500_000), Fault.NONE),
    ("a hole and no fund", Trouble(equity=-200_000, insurance=0), Fault.INSURANCE),
    ("no equity, no fund", Trouble(equity=0, insurance=0), Fault.NONE),
    ("no equity, no fund, a wish", Trouble(0, insurance=0, reward=1), Fault.REWARD),
]


@pytest.mark.parametrize(("name", "trouble", "fault"), MOVES, ids=[move[0] for move in MOVES])
def test_process_liquidate__table_of_moves__twins_agree(name: str, trouble: Trouble, fault: Fault):
    state = build_trouble(trouble)
    total = compute_total(state)
    assert run_both(state, bid_for(trouble))[0] == fault
    assert compute_total(state) == total
    check_books(state)


@pytest.mark.parametrize("equity", [1, 100_000, 500_000, 999_999])
@pytest.mark.parametrize("elapsed", [0, 600, 3_600])
def test_process_liquidate__largest_share__restores_initial_margin_and_buffer(
    equity: int, elapsed: int
):
    state = build_trouble(Trouble(equity, elapsed))
    share = largest_share(state, elapsed)
    assert attempt(state, Liquidate(RICH, LONG, share, 0, 1)) == Fault.NONE
    after = margin_of(state, LONG)
    # One lot more or less moves a requirement by less than this.
    slack = PRICE
    assert after.equity + slack >= after.initial * (PPM + LIQUIDATION_BUFFER) // PPM
    assert state.accounts[LONG].distressed_at == 0


@pytest.mark.parametrize("share", [1, 250_000, 700_000])
def test_process_liquidate__more_than_the_largest_share__share(share: int):
    state = build_trouble(Trouble(equity=800_000))
    largest = largest_share(state, 0)
    reset_meter(state)
    assert attempt(state, Liquidate(RICH, LONG, min(PPM, largest + share), 0, 1)) == Fault.SHARE


@pytest.mark.parametrize("elapsed", [0, 900, 3_600])
@pytest.mark.parametrize("equity", [-300_000, -1, 0])
def test_process_liquidate__insolvent__equity_is_zero_and_the_fund_paid_exactly(
    equity: int, elapsed: int
):
    state = build_trouble(Trouble(equity, elapsed))
    margin = margin_of(state, LONG)
    reward = margin.maintenance * compute_rate(elapsed) // PPM
    rich, fund = equity_of(state, RICH), state.globals.insurance
    assert attempt(state, bid_for(Trouble(equity))) == Fault.NONE
    assert equity_of(state, LONG) == 0
    assert state.accounts[LONG].positions == ()
    assert state.accounts[LONG].distressed_at == 0
    assert equity_of(state, RICH) - rich == reward
    assert fund - state.globals.insurance == reward - margin.equity


def test_process_liquidate__fund_has_less_than_the_reward__pays_what_it_has():
    state = build_trouble(Trouble(equity=-100_000))
    hole = -equity_of(state, LONG)
    state.globals = replace(state.globals, insurance=hole + 7, insurance_peak=hole + 7)
    rich = equity_of(state, RICH)
    assert run_both(state, bid_for(Trouble(0)))[0] == Fault.NONE
    assert state.globals.insurance == 0
    assert equity_of(state, RICH) == rich + 7


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_process_liquidate__in_small_steps__costs_the_account_no_more(steps: int):
    """The reward is for what is taken over, however often one asks."""
    whole, parts = build_trouble(Trouble(600_000)), build_trouble(Trouble(600_000))
    share = largest_share(whole, 0)
    assert attempt(whole, Liquidate(RICH, LONG, share, 0, 1)) == Fault.NONE
    for step in range(1, steps + 1):
        reset_meter(parts)
        attempt(parts, Liquidate(RICH, LONG, max(1, share // steps), 0, step))
    assert equity_of(parts, LONG) >= equity_of(whole, LONG)


def test_process_liquidate__position_of_one_lot_in_a_hole__no_hole_is_left_behind():
    """A part per million of one lot is that lot: the fund fills the whole hole then."""
    state = build_trouble(Trouble(equity=-500_000, size=1, share=1))
    assert run_both(state, bid_for(Trouble(0, share=1)))[0] == Fault.NONE
    assert state.accounts[LONG] == replace(
        state.accounts[LONG], cash=0, positions=(), distressed_at=0
    )


def test_process_liquidate__owner_takes_over_oneself__self_trade():
    state = build_trouble(Trouble(0))
    for bidder in (LONG, BYSTANDER):
        set_account(state, BYSTANDER, replace(state.accounts[BYSTANDER], owner=owner_of(1)))
        bid = Liquidate(bidder, LONG, PPM, 0, 1)
        assert run_both(state, bid)[0] == Fault.SELF_TRADE


def test_process_liquidate__bidder_without_margin__margin():
    state = build_trouble(Trouble(0))
    set_account(state, RICH, replace(state.accounts[RICH], cash=1_000))
    assert run_both(state, bid_for(Trouble(0)))[0] == Fault.MARGIN


def test_process_liquidate__bidder_at_the_position_limit__position_limit():
    state = build_trouble(Trouble(0))
    series = state.markets[OTHER]
    positions = tuple(Position(MarketId(200 + n), 1, 0) for n in range(MAX_POSITIONS))
    for position in positions:
        assert isinstance(series, Series)
        set_market(state, position.series, replace(series, open_interest=1))
    set_account(state, RICH, replace(state.accounts[RICH], positions=positions))
    assert run_both(state, bid_for(Trouble(0)))[0] == Fault.POSITION_LIMIT
    held = (Position(PERP, -5, 0), *positions[1:])
    set_account(state, RICH, replace(state.accounts[RICH], positions=held))
    assert run_both(state, bid_for(Trouble(0)))[0] == Fault.NONE


def test_process_liquidate__no_auction__solvent():
    state = build_trouble(Trouble(0))
    set_account(state, LONG, replace(state.accounts[LONG], distressed_at=Timestamp(0)))
    assert run_both(state, bid_for(Trouble(0)))[0] == Fault.SOLVENT


# Distress


@pytest.mark.parametrize(
    ("equity", "begun", "fault", "after"),
    [
        (999_999, 0, Fault.NONE, True),
        (PPM, 0, Fault.NOT_DUE, False),
        (999_999, 5, Fault.NOT_DUE, True),
        (PPM, 5, Fault.NONE, False),
        (-5, 0, Fault.NONE, True),
    ],
)
def test_process_distress__around_maintenance__starts_and_ends_the_auction(
    equity: int, begun: int, fault: Fault, after: bool
):
    state = build_trouble(Trouble(equity))
    set_account(state, LONG, replace(state.accounts[LONG], distressed_at=Timestamp(begun)))
    assert run_both(state, Distress(LONG))[0] == fault
    assert bool(state.accounts[LONG].distressed_at) == after


def test_process_distress__option_between_perpetuals__funding_of_both_has_accrued():
    """Prices and positions are those of the fills; each perpetual's clock says what it has paid."""
    state = build()
    series, _ = leaves(state, FILLED)
    behind = MarketId(CALL + 10)
    for market in (FILLED, behind):
        set_market(state, market, replace(series, accrued_at=START, open_interest=1))
    held = (Position(market, 1, 0) for market in (FILLED, CALL, behind))
    set_account(state, LONG, make_account(owner_of(LONG), -(10**9), *held))
    compute_state_root(state)
    assert run_both(state, Distress(LONG))[0] == Fault.NONE
    clock = state.globals.clock
    assert state.accounts[LONG].distressed_at == clock
    assert [leaves(state, market)[0].accrued_at for market in (FILLED, behind)] == [clock, clock]


def test_process_distress__recovered_and_down_again__auction_begins_anew():
    """A rate that has risen in an earlier auction is not kept for the next."""
    state = build_trouble(Trouble(equity=999_999, elapsed=3_600))
    poor = state.accounts[LONG]
    set_account(state, LONG, replace(poor, cash=poor.cash + 10**12))
    assert attempt(state, Distress(LONG)) == Fault.NONE
    set_account(state, LONG, replace(state.accounts[LONG], cash=poor.cash))
    reset_meter(state)
    assert attempt(state, Distress(LONG)) == Fault.NONE
    assert state.accounts[LONG].distressed_at == state.globals.clock
    bid = Liquidate(RICH, LONG, 1, AUCTION_START + 1, 1)
    assert attempt(state, bid) == Fault.REWARD


# Socialise


def carries(state: State) -> tuple[int, int]:
    """Both carry indexes of PERP."""
    series = state.markets[PERP]
    assert isinstance(series, Series)
    return series.carry_long, series.carry_short


@pytest.mark.parametrize("insurance", [0, 1, 10**9])
def test_process_socialise__hole_above_the_fund__the_other_side_pays_the_rest(insurance: int):
    state = build_trouble(Trouble(equity=-300_000, insurance=insurance))
    hole, total = -equity_of(state, LONG), compute_total(state)
    assert hole > insurance
    short, bystander = equity_of(state, SHORT), equity_of(state, BYSTANDER)
    assert run_both(state, Socialise(LONG))[0] == Fault.NONE
    assert equity_of(state, LONG) == 0
    charged = short - equity_of(state, SHORT)
    assert charged == -carries(state)[1] * 10**7
    assert 0 <= charged - (hole - insurance) < 10**7
    assert state.globals.insurance == charged - (hole - insurance)
    assert equity_of(state, BYSTANDER) == bystander
    assert carries(state)[0] == 0
    assert compute_total(state) == total


def test_process_socialise__bankrupt_short__longs_pay():
    state = build_trouble(Trouble(equity=900_000, insurance=0))
    long = equity_of(state, LONG)
    broken = replace(state.accounts[SHORT], cash=-(10**13) - 10**12)
    set_account(state, SHORT, broken)
    hole = -equity_of(state, SHORT)
    assert hole > 0
    assert run_both(state, Socialise(SHORT))[0] == Fault.NONE
    assert carries(state)[1] == 0
    assert long - equity_of(state, LONG) == carries(state)[0] * 10**7 >= hole
    assert equity_of(state, SHORT) == 0


@pytest.mark.parametrize(
    ("hole", "charged"),
    [
        (1, [1, 0, 0]),
        (3, [1, 1, 1]),
        # Two thirds more than one are two, and then nothing is left for the last.
        (4, [2, 2, 0]),
        (5, [2, 2, 1]),
    ],
)
def test_process_socialise__three_equal_series__each_part_is_rounded_up_and_the_last_pays_the_rest(
    hole: int, charged: list[int]
):
    state = build_trouble(Trouble(equity=900_000, insurance=0))
    markets = [PERP, OTHER, MarketId(102)]
    series = state.markets[PERP]
    assert isinstance(series, Series)
    for market in markets:
        set_market(state, market, replace(series, open_interest=1))
    for account, size in ((LONG, 1), (SHORT, -1)):
        held = (Position(market, size, 0) for market in markets)
        set_account(state, account, make_account(owner_of(account), 10**15, *held))
    cash = state.accounts[LONG].cash - equity_of(state, LONG) - hole
    set_account(state, LONG, replace(state.accounts[LONG], cash=cash))
    compute_state_root(state)
    total = compute_total(state)
    assert run_both(state, Socialise(LONG))[0] == Fault.NONE
    leaves = [state.markets[market] for market in markets]
    assert [-leaf.carry_short for leaf in leaves if isinstance(leaf, Series)] == charged
    assert equity_of(state, LONG) == 0
    assert compute_total(state) == total


@pytest.mark.parametrize("name", ["carry_long", "carry_short"])
def test_process_socialise__carry_at_its_bound__out_of_range(name: str):
    state = build_trouble(
        Trouble(equity=-300_000 if name == "carry_short" else 900_000, insurance=0)
    )
    target = LONG
    if name == "carry_long":
        target = SHORT
        broken = replace(state.accounts[SHORT], cash=-(10**13) - 10**12)
        set_account(state, SHORT, broken)
    series = state.markets[PERP]
    assert isinstance(series, Series)
    bound = (1 << 127) - 1 if name == "carry_long" else -(1 << 127)
    set_market(state, PERP, replace(series, **{name: bound}))
    assert run_both(state, Socialise(target))[0] == Fault.OUT_OF_RANGE


def test_process_socialise__fund_can_fill_the_hole__solvent():
    """Else an account could be filled up for ever, and keep what it wins."""
    state = build_trouble(Trouble(equity=-300_000))
    assert run_both(state, Socialise(LONG))[0] == Fault.SOLVENT


def test_process_socialise__equity_zero__solvent():
    state = build_trouble(Trouble(equity=0, insurance=0))
    assert run_both(state, Socialise(LONG))[0] == Fault.SOLVENT


def test_process_socialise__no_positions__fund_fills_what_it_can():
    state = build_trouble(Trouble(equity=0, insurance=30))
    set_account(state, LONG, make_account(owner_of(1), -100))
    assert run_both(state, Socialise(LONG))[0] == Fault.NONE
    assert (state.accounts[LONG].cash, state.globals.insurance) == (-70, 0)
    assert run_both(state, Socialise(LONG))[0] == Fault.INSURANCE
    state.globals = replace(state.globals, insurance=1_000, insurance_peak=1_000)
    assert run_both(state, Socialise(LONG))[0] == Fault.NONE
    assert (state.accounts[LONG].cash, state.globals.insurance) == (0, 930)


def test_process_socialise__twice__second_is_solvent():
    state = build_trouble(Trouble(equity=-300_000, insurance=0))
    assert attempt(state, Socialise(LONG)) == Fault.NONE
    reset_meter(state)
    assert attempt(state, Socialise(LONG)) == Fault.SOLVENT
    # What was rounded up is the fund's, and there is still something to take over.
    assert attempt(state, bid_for(Trouble(0))) == Fault.NONE


@many
@given(seeds)
def test_process_socialise__any_world__only_the_other_side_pays(seed: int):
    rng = Random(seed)
    state = build_world(rng)
    accrue_all(state)
    state.globals = replace(state.globals, insurance=rng.choice((0, 5)))
    total = compute_total(state)
    for account_id in sorted(state.accounts):
        broke = state.accounts[account_id]
        equities = {key: equity_of(state, key) for key in state.accounts}
        carried = {key: leaf for key, leaf in state.markets.items() if isinstance(leaf, Series)}
        fund = state.globals.insurance
        reset_meter(state)
        if attempt(state, Socialise(account_id)) != Fault.NONE:
            continue
        sides = {one.series: one.size for one in broke.positions}
        for key, account in state.accounts.items():
            if key in (account_id, FUND):
                continue
            accrued = sum(
                position.size
                * (
                    compute_carry(leaf, position.size)
                    - compute_carry(carried[position.series], position.size)
                )
                for position in account.positions
                if isinstance(leaf := state.markets[position.series], Series)
            )
            assert equity_of(state, key) == equities[key] - accrued
            opposite = any(sides.get(one.series, 0) * one.size < 0 for one in account.positions)
            if not account.positions:
                assert state.accounts[key].cash == account.cash
            assert accrued >= 0
            assert opposite or accrued == 0
        if account_id != FUND and any(
            isinstance(leaf := state.markets[one.series], Series) and leaf.open_interest
            for one in state.accounts[account_id].positions
        ):
            assert equity_of(state, account_id) == 0
            assert state.globals.insurance >= 0
        assert fund >= 0
        assert compute_total(state) == total
        check_books(state)


# The fund's own positions


def close_by_force(account: AccountId, lots: int = 0) -> ForceClose:
    """An account wants to be rid of PERP."""
    body = account.to_bytes(4, "big") + PERP.to_bytes(2, "big") + lots.to_bytes(8, "big")
    return ForceClose(owner_of(account), body)


@pytest.mark.parametrize("wait", [0, 60, 3_600, 10**5])
@pytest.mark.parametrize("account", [LONG, SHORT])
def test_process_liquidate__closed_by_force_and_taken_over_by_a_friend__never_pays(
    account: AccountId, wait: int
):
    """Nor does it pay to have left a lot with the fund long before."""
    state = build_trouble(Trouble(equity=5 * PPM, insurance=10**16, size=10**9))
    together, fund = equity_of(state, account) + equity_of(state, RICH), state.globals.insurance
    assert attempt(state, close_by_force(account, 1)) == Fault.NONE
    state.globals = replace(state.globals, clock=Timestamp(state.globals.clock + wait))
    underlying = state.markets[INDEXES[0]]
    series = state.markets[PERP]
    assert isinstance(series, Series)
    fresh = state.globals.clock
    set_market(state, INDEXES[0], replace(underlying, observed_at=fresh))
    set_market(state, PERP, replace(series, marked_at=fresh))
    reset_meter(state)
    assert attempt(state, close_by_force(account)) == Fault.NONE
    assert attempt(state, Liquidate(RICH, FUND, PPM, 0, 1)) == Fault.NONE
    assert equity_of(state, account) + equity_of(state, RICH) <= together
    assert equity_of(state, FUND) >= fund
    assert state.accounts[FUND].positions == ()
    assert state.accounts[FUND].distressed_at == 0


@pytest.mark.parametrize("sizes", [(3, 5), (-3, 5), (7, -2)])
def test_process_liquidate__fund_holds_two_series__pays_both_penalties_and_no_more(
    sizes: tuple[int, int],
):
    state = build_trouble(Trouble(equity=5 * PPM))
    positions = [
        Position(market, size, 0) for market, size in zip((PERP, OTHER), sizes, strict=True)
    ]
    begun = Timestamp(state.globals.clock - AUCTION_SECONDS)
    set_account(state, FUND, make_account(owner_of(0), 0, *positions, distressed_at=begun))
    compute_state_root(state)
    rich = equity_of(state, RICH)
    assert run_both(state, Liquidate(RICH, FUND, PPM, 0, 1))[0] == Fault.NONE
    penalties = sum(abs(size) * PRICE * PENALTY // PPM for size in sizes)
    assert equity_of(state, RICH) - rich == penalties
    assert state.accounts[FUND].positions == ()


def test_process_liquidate__fund_without_positions__solvent():
    state = build_trouble(Trouble(equity=5 * PPM))
    assert run_both(state, Liquidate(RICH, FUND, PPM, 0, 1))[0] == Fault.UNKNOWN_ACCOUNT
    set_account(state, FUND, make_account(owner_of(0), 0))
    assert run_both(state, Liquidate(RICH, FUND, PPM, 0, 1))[0] == Fault.SOLVENT


def test_process_socialise__hole_of_the_fund__is_spread_too():
    state = build_trouble(Trouble(equity=5 * PPM, insurance=10**15))
    assert attempt(state, close_by_force(SHORT)) == Fault.NONE
    assert state.globals.insurance > 10**13
    total = compute_total(state)
    lost = state.globals.insurance - 9 * 10**12
    state.globals = replace(state.globals, insurance=9 * 10**12)
    reset_meter(state)
    hole = -equity_of(state, FUND)
    assert hole > 0
    long = equity_of(state, LONG)
    assert run_both(state, Socialise(FUND))[0] == Fault.NONE
    assert long - equity_of(state, LONG) >= hole
    assert equity_of(state, FUND) >= 0
    assert compute_total(state) == total - lost
    assert run_both(state, Socialise(FUND))[0] == Fault.SOLVENT


@many
@given(seeds)
def test_process_liquidate__fund_as_target__is_paid_no_more_than_penalties(seed: int):
    rng = Random(seed)
    state = build_world(rng)
    accrue_all(state)
    assume(FUND in state.accounts and state.accounts[FUND].positions)
    bidder = AccountId(77)
    set_account(state, bidder, replace(make_account(owner_of(1), 10**30), nonce=0))
    before, rich = equity_of(state, FUND), equity_of(state, bidder)
    penalties = 0
    share = rng.choice((1, PPM // 2, PPM))
    for position in state.accounts[FUND].positions:
        series = state.markets[position.series]
        assert isinstance(series, Series)
        params = state.markets[series.underlying].params  # type: ignore[union-attr]
        lots = abs(compute_part(position.size, share))
        penalties += lots * series.mark_index * params.force_penalty // PPM
    reset_meter(state)
    if attempt(state, Liquidate(bidder, FUND, share, 0, 1)) == Fault.NONE:
        assert 0 <= equity_of(state, bidder) - rich <= penalties
        assert equity_of(state, FUND) + equity_of(state, bidder) - rich == before
