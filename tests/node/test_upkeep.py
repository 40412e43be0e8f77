"""What a sequencer does of its own accord: as much as is needed, and nothing twice."""

from dataclasses import replace

import pytest

from deltaroll.node.upkeep import (
    EARLY,
    MAX_RUN,
    collect_marks,
    compute_pair_mark,
    get_expiry_leaf,
    is_mark_due,
    is_markable,
    iterate_distress,
    iterate_listings,
    iterate_marks,
    iterate_stale,
    iterate_surfaced,
    iterate_sweeps,
)
from deltaroll.protocol.constants import INSURANCE_ACCOUNT, MAX_SIGNERS
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.fresh import validate_fresh
from deltaroll.protocol.listing import create_series
from deltaroll.protocol.state import set_account, set_market
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Distress,
    Expiry,
    List,
    Mark,
    MarketId,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Sweep,
    Timestamp,
    Underlying,
)
from tests.node.support import (
    EXPIRIES,
    GENESIS,
    INDEX,
    OPTION_PARAMS,
    OPTIONS,
    OTHER,
    OTHER_INDEX,
    PERP,
    PLACES,
    PREMIUM_PERP,
    PRICE,
    STRIKES,
    TWIN,
    Venue,
    make_surface,
)

ADA, BLAISE, CARL = AccountId(1), AccountId(2), AccountId(3)
NOW = GENESIS + 1
CALL, PUT = OPTIONS[:2]
ALL = 2 * STRIKES
"""Series of one expiry."""
AGE, BAND = OPTION_PARAMS.max_mark_age, OPTION_PARAMS.move_band


@pytest.fixture
def venue():
    return Venue().open_options()


@pytest.fixture
def state(venue):
    return venue.state


def change(state, market, **changes):
    set_market(state, market, replace(state.markets[market], **changes))


def pass_time(state, seconds, index=PRICE, is_observed=True):
    """Time passes; the oracle may have looked, and nobody has marked."""
    clock = Timestamp(state.globals.clock + seconds)
    state.globals = replace(state.globals, clock=clock)
    if is_observed:
        change(state, INDEX, index=index, observed_at=clock)


def hold(state, account, market, size):
    """A position out of nowhere."""
    before = state.accounts[account]
    kept = [one for one in before.positions if one.series != market]
    positions = sorted([*kept, Position(market, size, 0)], key=lambda one: one.series)
    set_account(state, account, replace(before, positions=tuple(positions)))
    series = state.markets[market]
    change(state, market, open_interest=series.open_interest + max(0, size))


def mark_first(state, count=ALL):
    """As if the first expiry had been marked now, and somebody held its first options."""
    for market in OPTIONS[:count]:
        change(
            state,
            market,
            marked_at=state.globals.clock,
            mark_index=PRICE,
            mark=1_000,
            risk=(0,) * 33,
            open_interest=5,
        )


# Marks


def test_iterate_marks__right_after_an_observation__nothing_left(state):
    assert list(iterate_marks(state, INDEX)) == []


def test_iterate_marks__observed_again__every_perpetual_that_trades_and_no_option(state):
    pass_time(state, 1)
    assert list(iterate_marks(state, INDEX)) == [Mark(PERP, 2), Mark(PREMIUM_PERP, 1)]
    assert list(iterate_marks(state, OTHER_INDEX)) == []


@pytest.mark.parametrize(
    ("open_interest", "expected"), [(0, [Mark(PERP, 1)]), (1, [Mark(PERP, 2)])]
)
def test_iterate_marks__perpetual_trades_no_more__as_long_as_it_is_held(
    state, open_interest, expected
):
    change(state, TWIN, status=SeriesStatus.INACTIVE, open_interest=open_interest)
    pass_time(state, 1)
    assert list(iterate_marks(state, INDEX))[:1] == expected


@pytest.mark.parametrize(
    ("seconds", "index", "is_due"),
    [
        (1, PRICE, False),
        (AGE // EARLY, PRICE, False),
        (AGE // EARLY + 1, PRICE, True),
        (1, PRICE + PRICE * BAND // EARLY // 10**6, False),
        (1, PRICE + PRICE * BAND // EARLY // 10**6 + 1, True),
        (1, PRICE - PRICE * BAND // EARLY // 10**6 - 1, True),
    ],
)
def test_iterate_marks__options_held__renewed_at_a_quarter_of_age_and_band(
    state, seconds, index, is_due
):
    mark_first(state)
    pass_time(state, seconds, index)
    marks = [one for one in iterate_marks(state, INDEX) if one.market in OPTIONS]
    assert marks == ([Mark(CALL, ALL)] if is_due else [])


@pytest.mark.parametrize("seconds", [1, AGE // EARLY + 1, AGE])
def test_iterate_marks__not_observed_since__a_mark_would_change_nothing(state, seconds):
    mark_first(state)
    pass_time(state, seconds, is_observed=False)
    assert list(iterate_marks(state, INDEX)) == []


def test_iterate_marks__surface_since__once_observed(state):
    mark_first(state)
    change(state, PLACES[0], surfaced_at=Timestamp(NOW + 1))
    pass_time(state, 1, is_observed=False)
    assert list(iterate_marks(state, INDEX)) == []
    pass_time(state, 1)
    assert Mark(CALL, ALL) in list(iterate_marks(state, INDEX))


def test_iterate_marks__only_the_put_is_held__its_call_is_left_alone(state):
    mark_first(state)
    for market in OPTIONS[:ALL]:
        change(state, market, open_interest=int(market == PUT))
    pass_time(state, AGE // 2)
    assert [one for one in iterate_marks(state, INDEX) if one.market in OPTIONS] == [Mark(PUT, 1)]


def test_iterate_marks__one_surface_is_missing__the_others_are_marked(state):
    mark_first(state)
    change(state, OPTIONS[-2], marked_at=Timestamp(NOW), open_interest=5)
    change(state, PLACES[1], surfaced_at=Timestamp(0))
    pass_time(state, AGE // 2)
    marks = list(iterate_marks(state, INDEX))
    assert marks == [Mark(PERP, 2), Mark(PREMIUM_PERP, 1), Mark(CALL, ALL)]


@pytest.mark.parametrize(
    "halt", [{"pending_index": 1}, {"observed_at": Timestamp(1)}, {"index": 0}]
)
def test_iterate_marks__no_price_to_mark_from__none(state, halt):
    mark_first(state)
    pass_time(state, AGE)
    change(state, INDEX, **halt)
    assert list(iterate_marks(state, INDEX)) == []
    assert list(iterate_surfaced(state, PLACES[0])) == []


@pytest.mark.parametrize("surfaced_at", [NOW, 0])
def test_iterate_marks__expiry_has_passed__all_its_series_settle_held_or_not(state, surfaced_at):
    """They need no surface for that."""
    change(state, PLACES[0], surfaced_at=Timestamp(surfaced_at))
    expiry = state.markets[PLACES[0]]
    pass_time(state, expiry.time - NOW - 1)
    assert Mark(CALL, ALL) not in list(iterate_marks(state, INDEX))
    pass_time(state, 1)
    assert Mark(CALL, ALL) in list(iterate_marks(state, INDEX))
    for market in OPTIONS[:ALL]:
        change(state, market, status=SeriesStatus.SETTLED)
    assert Mark(CALL, ALL) not in list(iterate_marks(state, INDEX))


@pytest.mark.parametrize("kind", [SeriesKind.PERPETUAL, SeriesKind.CALL])
def test_is_mark_due__whatever_is_stale_and_can_be_marked__is_due(state, kind):
    """So nothing goes stale that an observation could have renewed."""
    market = CALL if kind == SeriesKind.CALL else PERP
    mark_first(state)
    seen = set()
    for age in (0, 1, AGE // 2, AGE, AGE + 1):
        for observed in (0, 1, AGE // 2, AGE, AGE + 1):
            for index in (PRICE, PRICE * 102 // 100, PRICE * 110 // 100):
                for surfaced in (0, NOW, NOW + AGE):
                    change(state, INDEX, observed_at=Timestamp(NOW + observed), index=index)
                    change(state, PLACES[0], surfaced_at=Timestamp(surfaced))
                    if index != PRICE and observed == 0:
                        continue
                    series = state.markets[market]
                    underlying = state.markets[INDEX]
                    expiry = get_expiry_leaf(state, series)
                    clock = Timestamp(NOW + max(age, observed))
                    of = (series, underlying, expiry, clock)
                    try:
                        validate_fresh(*of)
                    except TransitionFault as problem:
                        is_stale = problem.fault.name == "STALE_MARK"
                        if is_stale:
                            assert is_markable(*of)
                            assert is_mark_due(*of)
                        seen.add(problem.fault.name)
    assert seen == {"STALE_MARK", "HALTED"}


def test_iterate_surfaced__surface_of_an_expiry__what_is_held_of_it(state):
    assert list(iterate_surfaced(state, PLACES[0])) == []
    mark_first(state, 2)
    assert list(iterate_surfaced(state, PLACES[0])) == [Mark(CALL, 2)]
    assert list(iterate_surfaced(state, PLACES[1])) == []


def test_iterate_stale__of_some_leaves__only_those_that_a_mark_helps(state):
    """Held or not."""
    mark_first(state, 2)
    assert list(iterate_stale(state, OPTIONS)) == [
        Mark(OPTIONS[2], ALL - 2),
        Mark(OPTIONS[ALL], ALL),
    ]
    assert list(iterate_stale(state, OPTIONS[1:3])) == [Mark(OPTIONS[2], 1)]
    assert list(iterate_stale(state, (PERP, INDEX, PLACES[0], MarketId(999)))) == []
    change(state, PLACES[0], surfaced_at=Timestamp(0))
    assert list(iterate_stale(state, OPTIONS)) == [Mark(OPTIONS[ALL], ALL)]


def list_series(state, first, kinds, expiry=PLACES[0]):
    markets = []
    for offset, kind in enumerate(kinds):
        market = MarketId(first + offset)
        set_market(state, market, create_series(kind, SeriesStatus.ACTIVE, INDEX, expiry, 7))
        markets.append(market)
    return markets


def test_collect_marks__long_row__no_run_is_too_long_nor_ends_between_call_and_put(state):
    pair = (SeriesKind.CALL, SeriesKind.PUT)
    markets = list_series(state, 500, (SeriesKind.PUT, *pair * 20))
    marks = list(collect_marks(state, markets))
    assert [mark.count for mark in marks] == [MAX_RUN - 1, MAX_RUN, 10]
    assert [mark.market for mark in marks] == [500, 515, 531]
    assert all(
        state.markets[MarketId(mark.market + mark.count - 1)].kind == SeriesKind.PUT
        for mark in marks
    )


def test_collect_marks__neighbours_of_different_expiries__do_not_share_a_run(state):
    markets = list_series(state, 500, (SeriesKind.CALL, SeriesKind.PUT))
    markets += list_series(state, 502, (SeriesKind.PERPETUAL,), MarketId(0))
    markets += list_series(state, 503, (SeriesKind.CALL,), PLACES[1])
    assert list(collect_marks(state, markets)) == [Mark(500, 2), Mark(502, 1), Mark(503, 1)]


@pytest.mark.parametrize(
    ("market", "expected"),
    [
        (CALL, Mark(CALL, 2)),
        (PUT, Mark(CALL, 2)),
        (OPTIONS[-1], Mark(OPTIONS[-2], 2)),
        (PERP, Mark(PERP, 1)),
        (INDEX, Mark(INDEX, 1)),
        (MarketId(999), Mark(MarketId(999), 1)),
    ],
)
def test_compute_pair_mark__any_series__with_the_other_of_its_strike(state, market, expected):
    assert compute_pair_mark(state, market) == expected


def test_compute_pair_mark__call_without_a_put__alone(state):
    change(state, PUT, strike=7)
    assert compute_pair_mark(state, CALL) == Mark(CALL, 1)
    assert compute_pair_mark(state, PUT) == Mark(PUT, 1)


# Sweeps


def test_iterate_sweeps__nothing_settled__none(state):
    hold(state, ADA, CALL, 3)
    assert list(iterate_sweeps(state)) == []


def test_iterate_sweeps__settled__whoever_holds_of_it(state):
    hold(state, ADA, CALL, 3)
    hold(state, BLAISE, PUT, 3)
    hold(state, CARL, CALL, -3)
    change(state, CALL, status=SeriesStatus.SETTLED, open_interest=6, risk=())
    assert list(iterate_sweeps(state)) == [Sweep(ADA), Sweep(CARL)]


@pytest.mark.parametrize(("insurance", "expected"), [(29, []), (30, [Sweep(AccountId(0))])])
def test_iterate_sweeps__insurance_fund_cannot_pay_its_loss__left_alone(state, insurance, expected):
    """The protocol would refuse it, at every observation anew."""
    fund = Account(ZERO_ADDRESS, ZERO_ADDRESS, Timestamp(0), 0, 0, 0, Timestamp(0), ())
    set_account(state, AccountId(INSURANCE_ACCOUNT), fund)
    hold(state, AccountId(INSURANCE_ACCOUNT), CALL, -3)
    change(state, CALL, status=SeriesStatus.SETTLED, mark=10, open_interest=3, risk=())
    state.globals = replace(state.globals, insurance=insurance, insurance_peak=insurance)
    assert list(iterate_sweeps(state)) == expected


# Auctions


def set_margin(state, account, over):
    """Cash such that the equity of 100 lots of PERP is `over` above maintenance margin."""
    hold(state, account, PERP, 100)
    needed = 100 * PRICE * 30_000 // 10**6 + 100 * (PRICE * 18 // 100) * 8 // 10
    before = state.accounts[account]
    set_account(state, account, replace(before, cash=needed + over - 100 * PRICE))


@pytest.mark.parametrize(("over", "expected"), [(0, []), (-1, [Distress(ADA)])])
def test_iterate_distress__maintenance_margin__starts_below_it(state, over, expected):
    set_margin(state, ADA, over)
    assert list(iterate_distress(state)) == expected


@pytest.mark.parametrize(("over", "expected"), [(0, [Distress(ADA)]), (-1, [])])
def test_iterate_distress__auction_runs__ends_at_maintenance_margin(state, over, expected):
    set_margin(state, ADA, over)
    set_account(state, ADA, replace(state.accounts[ADA], distressed_at=Timestamp(NOW)))
    assert list(iterate_distress(state)) == expected


def test_iterate_distress__all_is_sold__auction_ends(state):
    set_account(state, ADA, replace(state.accounts[ADA], distressed_at=Timestamp(NOW)))
    assert list(iterate_distress(state)) == [Distress(ADA)]


def test_iterate_distress__funding_not_accrued__counts(venue, state):
    set_margin(state, ADA, 0)
    series = state.markets[PERP]
    change(state, PERP, mark=series.mark + 8)
    before = state.accounts[ADA]
    set_account(state, ADA, replace(before, cash=before.cash - 800))
    assert list(iterate_distress(state)) == []
    state.globals = replace(state.globals, clock=Timestamp(NOW + 3_600))
    markets, accounts = dict(state.markets), dict(state.accounts)
    assert list(iterate_distress(state)) == [Distress(ADA)]
    assert (state.markets, state.accounts) == (markets, accounts)


def test_iterate_distress__marks_are_stale__nobody_knows(state):
    set_margin(state, ADA, -1)
    change(state, INDEX, pending_index=1)
    assert list(iterate_distress(state)) == []


def test_iterate_distress__insurance_fund__has_its_own_ways(state):
    fund = Account(ZERO_ADDRESS, ZERO_ADDRESS, Timestamp(0), 0, 0, 0, Timestamp(0), ())
    set_account(state, AccountId(INSURANCE_ACCOUNT), fund)
    set_margin(state, AccountId(INSURANCE_ACCOUNT), -1)
    assert list(iterate_distress(state)) == []


def test_iterate_distress__asked__open_chunk_weighs_no_more(state):
    set_margin(state, ADA, -1)
    meter = state.meter
    weight = meter.gas, meter.witness, len(meter.markets)
    list(iterate_distress(state))
    assert state.meter is meter
    assert (meter.gas, meter.witness, len(meter.markets)) == weight


# Listings


def test_iterate_listings__all_are_there__none(state):
    assert list(iterate_listings(state)) == []


def test_iterate_listings__rule_is_new__all_of_it(state):
    for market in (*PLACES, *OPTIONS):
        del state.markets[market]
    assert list(iterate_listings(state)) == [List(INDEX, offset) for offset in range(EXPIRIES)]


@pytest.mark.parametrize(
    "halt", [{"index": 0}, {"pending_index": 1}, {"observed_at": Timestamp(0)}]
)
def test_iterate_listings__no_price__none_until_there_is_one(state, halt):
    for market in (*PLACES, *OPTIONS):
        del state.markets[market]
    change(state, INDEX, **halt)
    assert list(iterate_listings(state)) == []


@pytest.mark.parametrize("left", [0, 3])
def test_iterate_listings__expiry_has_passed__its_place_when_nobody_is_left_in_it(state, left):
    expiry = state.markets[PLACES[0]]
    pass_time(state, expiry.time - NOW)
    assert list(iterate_listings(state)) == []
    change(state, PLACES[0], settlement=PRICE)
    for market in OPTIONS[:ALL]:
        change(state, market, status=SeriesStatus.SETTLED)
    change(state, PUT, open_interest=left)
    # One day further, in the place of the one that has passed.
    expected = [] if left else [List(INDEX, EXPIRIES - 1)]
    assert list(iterate_listings(state)) == expected


def test_iterate_listings__asked__state_is_as_it_was(state):
    for market in (*PLACES, *OPTIONS):
        del state.markets[market]
    markets, meter = dict(state.markets), state.meter
    weight = meter.gas, meter.witness
    list(iterate_listings(state))
    assert state.markets == markets
    assert (state.meter, meter.gas, meter.witness) == (meter, *weight)


def test_open_options__leaves__are_what_these_tests_take_them_for(state):
    assert isinstance(state.markets[INDEX], Underlying)
    assert isinstance(state.markets[OTHER], Series)
    for place in PLACES:
        assert isinstance(state.markets[place], Expiry)
        assert state.markets[place].surfaced_at == NOW
    for market in OPTIONS:
        assert isinstance(state.markets[market], Series)
    surface = make_surface(state, PLACES[0], NOW)
    assert surface.signers < 1 << MAX_SIGNERS
