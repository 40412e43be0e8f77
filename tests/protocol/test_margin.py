"""What holds for every portfolio, and the bound that keeps every scenario sum inside its lane."""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.margin import (
    EXPIRIES,
    GRID,
    NOW,
    PERPETUAL,
    UNDERLYING,
    build_holder,
    build_markets,
    mark_all,
)
from deltaroll.presets import DERIBIT, PMRM_2, SPAN_16
from deltaroll.protocol.arithmetic import div_up
from deltaroll.protocol.books import compute_books, compute_naked
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.constants import ONE, PPM
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.lanes import compute_lanes
from deltaroll.protocol.margin import Margin, compute_margin, validate_margin
from deltaroll.protocol.scenarios import compute_loss
from deltaroll.protocol.state import (
    State,
    compute_state_root,
    reset_meter,
    set_account,
    set_market,
)
from deltaroll.protocol.types import (
    Account,
    Context,
    Expiry,
    MarketId,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Transfer,
    Underlying,
)
from tests.protocol.strategies import Case, build_normal_world
from tests.protocol.verifiers import Tally, case_rng, compare

LARGEST = (1 << 63) - 1


def crowded(first: int, second: int) -> tuple[State, Transfer]:
    """A state whose first account holds two sizes, and a transfer that asks for its margin."""
    world = build_normal_world(case_rng(1, 1))
    state = world.state
    sender, recipient = world.accounts[:2]
    for market in world.series[:2]:
        series = series_of(state, market)
        underlying = state.markets[series.underlying]
        assert isinstance(underlying, Underlying)
        observed = replace(underlying, observed_at=state.globals.clock, pending_index=0)
        set_market(state, series.underlying, observed)
        marked_at = state.globals.clock
        fresh = replace(series, marked_at=marked_at, mark_index=underlying.index)
        set_market(state, market, fresh)
    positions = tuple(
        Position(market, size, 0)
        for market, size in zip(world.series[:2], (first, second), strict=True)
    )
    holder = replace(state.accounts[sender], positions=positions)
    set_account(state, sender, holder)
    compute_state_root(state)
    return state, Transfer(sender, recipient, 1, holder.nonce + 1)


@pytest.mark.parametrize("second", [LARGEST, -LARGEST, -LARGEST - 1])
def test_compute_margin__lots_up_to_two_to_the_64__twins_agree(second: int):
    """Long and short count alike; only the last sum reaches 2^64 - 1, the largest that may be."""
    state, transfer = crowded(LARGEST, second)
    clock = state.globals.clock
    compute_margin(state, state.accounts[transfer.sender], clock)
    data = encode_chunk(clock, [transfer])
    context = Context(bytes(32), Timestamp(clock), state.globals.queue_index, 0, 0, False, False)
    assert compare(Case(state, data, context, 1, bytes(32)), Tally()).fault == Fault.MARGIN


def test_compute_margin__two_to_the_64_lots__are_out_of_range():
    state, transfer = crowded(-LARGEST - 1, -LARGEST - 1)
    clock = state.globals.clock
    with pytest.raises(TransitionFault) as problem:
        compute_margin(state, state.accounts[transfer.sender], clock)
    assert problem.value.fault == Fault.OUT_OF_RANGE
    data = encode_chunk(clock, [transfer])
    context = Context(bytes(32), Timestamp(clock), state.globals.queue_index, 0, 0, False, False)
    assert compare(Case(state, data, context, 1, bytes(32)), Tally()).fault == Fault.OUT_OF_RANGE


EMPTY = build_holder(State(), 0)
sizes = st.integers(-(10**9), 10**9).filter(bool)
portfolios = st.dictionaries(st.integers(0, 15), sizes, min_size=1, max_size=8)
PLAIN = replace(PMRM_2, scenarios=PMRM_2.scenarios[:-2])
"""PMRM_2 without its skews."""


@cache
def marked(grid_name: str) -> State:
    """Four expiries of two strikes and a perpetual, marked."""
    grids = {"PMRM_2": PMRM_2, "PLAIN": PLAIN, "DERIBIT": DERIBIT, "SPAN_16": SPAN_16}
    state = build_markets(grids[grid_name], 4, 2)
    mark_all(state)
    return state


def options_of(state: State) -> list[MarketId]:
    """Ids of all options."""
    return [
        market
        for market, leaf in sorted(state.markets.items())
        if isinstance(leaf, Series) and leaf.kind != SeriesKind.PERPETUAL
    ]


def hold(state: State, chosen: dict[int, int], perpetual: int = 0, cash: int = 0) -> Account:
    """An account with so many lots of the options at these places."""
    options = options_of(state)
    positions = [Position(options[place], size, 0) for place, size in sorted(chosen.items())]
    if perpetual:
        positions.insert(0, Position(PERPETUAL, perpetual, 0))
    return replace(EMPTY, cash=cash, positions=tuple(positions))


def loss_of(state: State, account: Account) -> int:
    """The worst loss on the only underlying."""
    reset_meter(state)
    _, books = compute_books(state, account, state.globals.clock)
    return compute_loss(books[0])


def margin_of(state: State, account: Account) -> Margin:
    """An account's margin."""
    reset_meter(state)
    return compute_margin(state, account, state.globals.clock)


def fault_of(state: State, account: Account) -> Fault:
    """What a margin check faults with."""
    try:
        margin_of(state, account)
    except TransitionFault as problem:
        return problem.fault
    return Fault.NONE


def series_of(state: State, market: MarketId) -> Series:
    """A series that is there."""
    leaf = state.markets[market]
    assert isinstance(leaf, Series)
    return leaf


@settings(max_examples=60)
@given(portfolios, portfolios)
def test_compute_loss__two_portfolios_in_one__loses_no_more_than_both(first, second):
    """Of everything but skews, whose absolute value a discounted gain may raise."""
    for name in ("PLAIN", "DERIBIT", "SPAN_16"):
        state = marked(name)
        both = {key: first.get(key, 0) + second.get(key, 0) for key in {*first, *second}}
        both = {key: size for key, size in both.items() if size}
        alone = loss_of(state, hold(state, first)) + loss_of(state, hold(state, second))
        assert not both or loss_of(state, hold(state, both)) <= alone


@settings(max_examples=40)
@given(portfolios, st.integers(2, 1000))
def test_compute_loss__more_of_the_same__scales_but_for_rounding(chosen, factor):
    state = marked("PMRM_2")
    once = loss_of(state, hold(state, chosen))
    often = loss_of(state, hold(state, {key: size * factor for key, size in chosen.items()}))
    # What floors take, one for each expiry, is taken once instead of `factor` times.
    assert factor * (once - 5) <= often <= factor * once + 5


@settings(max_examples=40)
@given(portfolios, st.integers(-(10**9), 10**9))
def test_compute_books__sums__are_exact(chosen, perpetual):
    state = marked("PMRM_2")
    account = hold(state, chosen, perpetual, cash=5)
    reset_meter(state)
    equity, books = compute_books(state, account, state.globals.clock)
    held = [(position.size, series_of(state, position.series)) for position in account.positions]
    assert equity == 5 + sum(size * series.mark for size, series in held)
    for chain in books[0].chains:
        own = [(size, series) for size, series in held if series.expiry == chain.key]
        assert chain.value == sum(size * series.mark for size, series in own)
        assert compute_lanes(chain.lanes) == [
            sum(size * series.risk[place] for size, series in own) for place in range(33)
        ]


@settings(max_examples=40)
@given(portfolios, st.integers(-(10**9), 10**9))
def test_compute_margin__exact_arithmetic__never_requires_more(chosen, perpetual):
    """Rounding is never for the account: losses are rounded up, and so is each contingency."""
    state = marked("PMRM_2")
    account = hold(state, chosen, perpetual)
    margin = margin_of(state, account)
    reset_meter(state)
    _, (book,) = compute_books(state, account, state.globals.clock)
    assert book.grid is not None
    scenarios = book.grid.scenarios
    totals = [Fraction(entry) for entry in compute_lanes(book.lanes)[: len(scenarios)]]
    basis = Fraction(0)
    for chain in book.chains:
        entries = compute_lanes(chain.lanes)
        for place, scenario in enumerate(scenarios):
            worth = entries[place] + chain.value
            discount = chain.expiry.long_discount if worth >= 0 else chain.expiry.short_discount
            change = (Fraction(worth * discount, ONE) - chain.value) * Fraction(
                scenario.weight, ONE
            )
            totals[place] += -abs(change) if scenario.vol_shock >= 2 else change
        up, down = entries[book.grid.basis_up], entries[book.grid.basis_down]
        basis += Fraction(min(up, down, 0) * chain.expiry.basis_factor, ONE)
    loss = -min(basis, *totals)
    params = book.underlying.params
    notional = abs(perpetual) * book.underlying.index
    naked = book.naked_lots * book.underlying.index
    maintenance = (
        loss * params.maintenance_factor
        + notional * params.perp_maintenance
        + naked * params.option_maintenance
    ) / PPM
    assert 0 <= margin.maintenance - maintenance < 8
    initial = (
        loss * params.initial_factor
        + notional * (params.perp_maintenance + params.perp_initial)
        + naked * (params.option_maintenance + params.option_initial)
    ) / PPM
    assert 0 <= margin.initial - initial < 8


@settings(max_examples=40)
@given(portfolios)
def test_compute_loss__a_scenario_more__never_loses_less(chosen):
    assert loss_of(marked("PLAIN"), hold(marked("PLAIN"), chosen)) <= loss_of(
        marked("PMRM_2"), hold(marked("PMRM_2"), chosen)
    )


@pytest.mark.parametrize("size", [1, -1, 7, -7, 10**9, -(10**9), LARGEST // 2])
def test_compute_margin__perpetuals_only__is_what_it_was_before_options(size):
    """Worst weighted entry times the factors, and the contingency on notional."""
    state = marked("PMRM_2")
    series = series_of(state, PERPETUAL)
    underlying = state.markets[UNDERLYING]
    assert isinstance(underlying, Underlying)
    params = underlying.params
    account = hold(state, {}, size, cash=11)
    margin = margin_of(state, account)
    worst = -min(0, *(size * entry for entry in series.risk)) * underlying.multiplier
    notional = abs(size) * series.mark
    assert margin == Margin(
        11 + size * series.mark,
        div_up(worst * params.maintenance_factor, PPM * PPM)
        + div_up(notional * params.perp_maintenance, PPM),
        div_up(worst * params.initial_factor, PPM * PPM)
        + div_up(notional * (params.perp_maintenance + params.perp_initial), PPM),
    )
    assert GRID not in state.meter.markets


@pytest.mark.parametrize(
    ("call", "put", "naked"),
    [
        (1, 1, 0),
        (-1, -2, 3),
        (-1, 0, 1),
        (0, -1, 1),
        (3, -2, 0),
        (2, -3, 1),
        (-3, 2, 1),
        (-2, 3, 0),
        (2, 0, 0),
    ],
)
def test_compute_naked__a_strike__is_what_one_does_not_cover_of_the_other(call, put, naked):
    assert compute_naked(call, put) == naked
    state = marked("PMRM_2")
    chosen = {place: size for place, size in ((0, call), (1, put)) if size}
    account = hold(state, chosen, perpetual=1)
    reset_meter(state)
    assert compute_books(state, account, state.globals.clock)[1][0].naked_lots == naked
    # The next strike's put covers nothing.
    apart = {place: size for place, size in ((0, call), (3, put)) if size}
    reset_meter(state)
    _, (book,) = compute_books(state, hold(state, apart), state.globals.clock)
    assert book.naked_lots == max(0, -call) + max(0, -put)


def test_compute_margin__settled_series__count_their_equity_only():
    state = build_markets(PMRM_2, 1, 1)
    options = options_of(state)
    for market in options:
        settled = replace(series_of(state, market), status=SeriesStatus.SETTLED, mark=500)
        set_market(state, market, settled)
    # Whatever has become of the underlying.
    underlying = state.markets[UNDERLYING]
    assert isinstance(underlying, Underlying)
    set_market(state, UNDERLYING, replace(underlying, pending_index=5))
    assert margin_of(state, hold(state, {0: 3, 1: -1})) == Margin(1000, 0, 0)
    assert UNDERLYING not in state.meter.markets


@pytest.mark.parametrize(
    ("clock", "observed_at", "surfaced_at", "expected"),
    [
        (0, 0, 0, Fault.NONE),
        (3_700, 0, 3_700, Fault.HALTED),
        (3_700, 3_700, 0, Fault.HALTED),
        (3_700, 3_700, 3_700, Fault.STALE_MARK),
        ("expiry", "before", "before", Fault.HALTED),
        ("expiry", "expiry", "before", Fault.STALE_MARK),
    ],
)
def test_compute_margin__marks__must_be_fresh(clock, observed_at, surfaced_at, expected):
    state = build_markets(PMRM_2, 1, 1)
    mark_all(state)
    expiry, underlying = state.markets[MarketId(EXPIRIES)], state.markets[UNDERLYING]
    assert isinstance(expiry, Expiry)
    assert isinstance(underlying, Underlying)

    def at(time: int | str) -> Timestamp:
        names = {"expiry": expiry.time, "before": expiry.time - 1}
        return Timestamp(names[time] if isinstance(time, str) else NOW + time)

    state.globals = replace(state.globals, clock=at(clock))
    set_market(state, UNDERLYING, replace(underlying, observed_at=at(observed_at)))
    set_market(state, MarketId(EXPIRIES), replace(expiry, surfaced_at=at(surfaced_at)))
    assert fault_of(state, hold(state, {0: 1})) == expected


def test_validate_margin__equity_below_zero_that_falls__is_a_fault():
    """Else a friend could take what others would have to pay, by trades at the edge of the band."""
    state = marked("PMRM_2")
    clock = state.globals.clock
    mark = series_of(state, PERPETUAL).mark
    before = hold(state, {}, 100, cash=-100 * mark - 10)
    smaller = hold(state, {}, 10, cash=-10 * mark - 11)
    same = hold(state, {}, 10, cash=-10 * mark - 10)
    for after, expected in ((smaller, Fault.MARGIN), (same, Fault.NONE)):
        reset_meter(state)
        try:
            validate_margin(state, before, after, clock)
            found = Fault.NONE
        except TransitionFault as problem:
            found = problem.fault
        assert found == expected
