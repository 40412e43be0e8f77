"""ForceClose: out of a position by L1 alone, against the insurance fund."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deltaroll.protocol.constants import MAX_POSITIONS
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import State, set_account, set_market
from deltaroll.protocol.types import AccountId, MarketId, Position, Series, SeriesStatus
from tests.protocol.money import (
    FUND,
    ForceClose,
    check_books,
    compute_total,
    make_account,
    owner_of,
    run_both,
)
from tests.protocol.test_fill import CALL, INDEX, PERP, PREMIUM, SETTLED, build

HOLDER, OTHER = AccountId(1), AccountId(2)
CASH = 10**12
FUND_CASH = 10**9
PENALTY = INDEX // 100


def make_state(market: MarketId = PERP, size: int = 100, insurance: int = FUND_CASH) -> State:
    """HOLDER and OTHER on the two sides of a series."""
    state = build()
    series = state.markets[market]
    assert isinstance(series, Series)
    set_market(state, market, replace(series, open_interest=abs(size)))
    set_account(state, HOLDER, make_account(owner_of(1), CASH, Position(market, size, 0)))
    set_account(state, OTHER, make_account(owner_of(2), CASH, Position(market, -size, 0)))
    state.globals = replace(state.globals, insurance=insurance, insurance_peak=insurance)
    return state


def close(market: int = PERP, lots: int = 0, account: int = HOLDER, sender: int = 0) -> ForceClose:
    """A message by an account's owner, unless it says otherwise."""
    body = account.to_bytes(4, "big") + market.to_bytes(2, "big") + lots.to_bytes(8, "big")
    return ForceClose(owner_of(sender or account), body)


@pytest.mark.parametrize(
    ("size", "lots", "closed"), [(100, 0, 100), (-100, 0, 100), (-100, 30, 30)]
)
@pytest.mark.parametrize("market", [PERP, CALL])
def test_process_force_close__long_or_short__is_closed_at_the_mark_less_the_penalty(
    market: MarketId, size: int, lots: int, closed: int
):
    state = make_state(market, size)
    mark = INDEX if market == PERP else PREMIUM
    total = compute_total(state)
    assert run_both(state, close(market, lots))[0] == Fault.NONE
    sign = 1 if size > 0 else -1
    moved, left = sign * closed, size - sign * closed
    assert state.accounts[HOLDER].cash == CASH + moved * mark - closed * PENALTY
    fund = state.accounts[FUND]
    assert fund.positions == (Position(market, moved, 0),)
    assert (fund.cash, fund.distressed_at) == (0, state.globals.clock)
    assert sum(one.size for one in state.accounts[HOLDER].positions) == left
    known = state.globals
    assert known.insurance == FUND_CASH - moved * mark + closed * PENALTY
    assert known.insurance_peak >= known.insurance
    check_books(state)
    assert compute_total(state) == total


def test_process_force_close__short__does_not_make_the_fund_look_used_later():
    """Else a large short, closed by force and taken over, would raise everybody's margin."""
    state = make_state(size=-100)
    assert run_both(state, close())[0] == Fault.NONE
    known = state.globals
    assert known.insurance_peak == known.insurance == FUND_CASH + 100 * INDEX + 100 * PENALTY


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (close(account=77), Fault.UNKNOWN_ACCOUNT),
        (close(sender=OTHER), Fault.BAD_SIGNATURE),
        (close(market=9_999), Fault.UNKNOWN_MARKET),
        (close(market=CALL), Fault.ZERO_AMOUNT),
        (close(market=SETTLED), Fault.INACTIVE),
        (close(lots=(1 << 64) - 1), Fault.NONE),
        (ForceClose(owner_of(1), bytes(13)), Fault.NON_CANONICAL),
        (ForceClose(owner_of(1), bytes(15)), Fault.NON_CANONICAL),
    ],
)
def test_process_force_close__what_it_asks_for__is_judged(message: ForceClose, fault: Fault):
    state = make_state()
    before = compute_total(state)
    assert run_both(state, message)[0] == fault
    assert compute_total(state) == before


def test_process_force_close__account_of_the_fund__bad_signature():
    state = make_state()
    set_account(state, FUND, make_account(owner_of(0), 0, Position(PERP, 5, 0)))
    assert run_both(state, close(account=FUND))[0] == Fault.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("size", "insurance", "fault"),
    [
        (100, 99 * INDEX, Fault.NONE),
        (100, 98 * INDEX, Fault.INSURANCE),
        # With the mark and the penalty it has what it needs for about 16 %.
        (-100, 20 * INDEX, Fault.NONE),
        (-100, 5 * INDEX, Fault.MARGIN),
        (100, 10**12, Fault.NONE),
    ],
)
def test_process_force_close__poor_fund__takes_what_its_margin_allows(
    size: int, insurance: int, fault: Fault
):
    state = make_state(size=size, insurance=insurance)
    assert run_both(state, close())[0] == fault
    assert (FUND in state.accounts) == (fault == Fault.NONE)


def test_process_force_close__fund_at_the_position_limit__position_limit():
    state = make_state()
    series = state.markets[PERP]
    assert isinstance(series, Series)
    positions = tuple(Position(MarketId(200 + n), 1, 0) for n in range(MAX_POSITIONS))
    for position in positions:
        set_market(state, position.series, replace(series, open_interest=1))
    set_account(state, FUND, make_account(owner_of(0), 0, *positions))
    assert run_both(state, close())[0] == Fault.POSITION_LIMIT


def test_process_force_close__insolvent_account__cannot_pay_the_penalty():
    """What it cannot pay the fund would pay to itself, and hold the position besides."""
    state = make_state()
    set_account(state, HOLDER, replace(state.accounts[HOLDER], cash=-100 * INDEX - 1))
    assert run_both(state, close())[0] == Fault.MARGIN


def test_process_force_close__account_in_distress__may_be_rid_of_risk():
    state = make_state()
    set_account(state, HOLDER, replace(state.accounts[HOLDER], cash=-95 * INDEX))
    assert run_both(state, close(lots=50))[0] == Fault.NONE


def test_process_force_close__opposite_of_what_the_fund_holds__frees_the_fund():
    state = make_state()
    assert run_both(state, close())[0] == Fault.NONE
    assert state.accounts[FUND].distressed_at != 0
    assert run_both(state, close(account=OTHER))[0] == Fault.NONE
    assert state.accounts[FUND].positions == ()
    assert state.accounts[FUND].distressed_at == 0
    assert state.globals.insurance == FUND_CASH + 2 * 100 * PENALTY
    series = state.markets[PERP]
    assert isinstance(series, Series)
    assert series.open_interest == 0


def test_process_force_close__closing__the_fund_takes_over():
    """Leaving by force is never stopped: the insurance fund may open what users may not."""
    state = make_state()
    series = state.markets[PERP]
    assert isinstance(series, Series)
    set_market(state, PERP, replace(series, status=SeriesStatus.CLOSING))
    assert run_both(state, close())[0] == Fault.NONE
    assert state.accounts[FUND].positions != ()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"status": SeriesStatus.INACTIVE}, Fault.INACTIVE),
        ({"marked_at": 0}, Fault.STALE_MARK),
        ({"mark_index": 2 * INDEX}, Fault.STALE_MARK),
    ],
)
def test_process_force_close__no_price_to_rely_on__is_a_fault(
    changes: dict[str, int], fault: Fault
):
    state = make_state()
    series = state.markets[PERP]
    assert isinstance(series, Series)
    set_market(state, PERP, replace(series, **changes))  # type: ignore[arg-type]
    assert run_both(state, close())[0] == fault
