"""For every rule about references, amounts, actions, margin, fills and positions, transactions that
break just that one.
"""

from __future__ import annotations

from dataclasses import replace

from deltaroll.protocol.constants import MAX_POSITIONS
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import INT64_BOUND, set_market
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    AccountId,
    DataFee,
    Fund,
    Mark,
    MarketId,
    Position,
    SeriesKind,
    SeriesStatus,
    Socialise,
    TimeInForce,
    Timestamp,
)
from tests.adversary.completeness_arena import SPARE, SURFACED, Arena
from tests.adversary.completeness_lies import (
    LOTS,
    NONCE,
    RUIN,
    TAKER_SLOT,
    Lie,
    breaks,
    change_account,
    change_series,
    change_underlying,
    list_new,
    list_spare,
    make_fill,
    make_liquidate,
    make_transfer,
    make_withdraw,
    plain,
    rest_order,
    set_equity,
)
from tests.protocol.scenes import PRICE, order
from tests.protocol.strategies import START

# References


def find_free_account(arena: Arena) -> AccountId:
    """An account that does not exist."""
    account_id = 7_777_777
    while AccountId(account_id) in arena.state.accounts:
        account_id += 1
    return AccountId(account_id)


@breaks(Fault.UNKNOWN_ACCOUNT)
def transfers_to_nobody(arena: Arena) -> Lie:
    return plain(make_transfer(arena, recipient=find_free_account(arena)))


@breaks(Fault.UNKNOWN_ACCOUNT)
def socialises_nobody(arena: Arena) -> Lie:
    return plain(Socialise(find_free_account(arena)))


@breaks(Fault.UNKNOWN_MARKET)
def funds_nothing(arena: Arena) -> Lie:
    return plain(Fund(SPARE))


@breaks(Fault.UNKNOWN_MARKET)
def marks_past_the_last(arena: Arena) -> Lie:
    """All of a range is there but its last."""
    count = len(list_new(arena, 100 if arena.is_large else 1))
    return plain(Mark(SPARE, count + 1))


# Ranges and amounts


@breaks(Fault.OUT_OF_RANGE)
def data_fee_above_its_bound(arena: Arena) -> Lie:
    return plain(DataFee(1))


@breaks(Fault.OUT_OF_RANGE)
def too_many_lots_in_a_series(arena: Arena) -> Lie:
    """Found when both accounts after the fill are known."""
    change_series(arena, open_interest=INT64_BOUND - LOTS)
    maker = arena.account(arena.maker)
    last = replace(maker.positions[-1], size=1)
    change_account(arena.state, arena.maker, positions=(*maker.positions[:-1], last))
    return plain(make_fill(arena))


@breaks(Fault.OUT_OF_RANGE, is_for_large=True)
def too_many_lots_in_an_account(arena: Arena) -> Lie:
    """Found when all its series are there."""
    first, *others, last = arena.account(arena.maker).positions
    positions = (replace(first, size=-INT64_BOUND), *others, replace(last, size=-INT64_BOUND))
    change_account(arena.state, arena.maker, positions=positions)
    return plain(make_withdraw(arena))


@breaks(Fault.ZERO_AMOUNT)
def transfers_nothing(arena: Arena) -> Lie:
    return plain(make_transfer(arena, amount=0))


@breaks(Fault.ZERO_AMOUNT)
def takes_with_an_order_of_nothing(arena: Arena) -> Lie:
    return plain(make_fill(arena, of_taker={"size": 0}))


# Actions


@breaks(Fault.ACTION_NONCE)
def transfers_again(arena: Arena) -> Lie:
    return plain(make_transfer(arena, nonce=arena.account(arena.maker).nonce))


@breaks(Fault.ACTION_NONCE)
def bids_again(arena: Arena) -> Lie:
    return plain(make_liquidate(arena, nonce=arena.account(arena.maker).nonce))


@breaks(Fault.SELF_TRANSFER)
def transfers_to_oneself(arena: Arena) -> Lie:
    return plain(make_transfer(arena, recipient=arena.maker))


@breaks(Fault.BAD_RECIPIENT)
def withdraws_to_nobody(arena: Arena) -> Lie:
    return plain(make_withdraw(arena, recipient=ZERO_ADDRESS))


# Margin and prices


@breaks(Fault.STALE_MARK)
def withdraws_on_an_old_mark(arena: Arena) -> Lie:
    """The mark of the last series is from another index."""
    change_series(arena, mark_index=2 * PRICE)
    return plain(make_withdraw(arena))


@breaks(Fault.STALE_MARK)
def trades_on_an_old_mark(arena: Arena) -> Lie:
    change_series(arena, marked_at=Timestamp(START - 700_000))
    return plain(make_fill(arena))


@breaks(Fault.HALTED)
def withdraws_during_a_halt(arena: Arena) -> Lie:
    """The breaker of the last group has tripped."""
    change_underlying(arena, pending_index=2 * PRICE)
    return plain(make_withdraw(arena))


@breaks(Fault.HALTED)
def trades_during_a_halt(arena: Arena) -> Lie:
    change_underlying(arena, pending_index=2 * PRICE)
    return plain(make_fill(arena))


@breaks(Fault.MARGIN)
def sells_without_money(arena: Arena) -> Lie:
    """Margin of the maker, then of the taker, after and before."""
    change_account(arena.state, arena.taker, cash=RUIN)
    return plain(make_fill(arena))


@breaks(Fault.MARGIN)
def withdraws_all(arena: Arena) -> Lie:
    change_account(arena.state, arena.maker, cash=0)
    return plain(make_withdraw(arena))


@breaks(Fault.MARGIN)
def takes_over_without_money(arena: Arena) -> Lie:
    """The margins of both accounts, before and after."""
    set_equity(arena, lambda margin: 1, 40_000, 1 << 120)
    change_account(arena.state, arena.maker, cash=RUIN)
    return plain(make_liquidate(arena))


# Fills


@breaks(Fault.SELF_TRADE)
def trades_with_oneself(arena: Arena) -> Lie:
    change_account(arena.state, arena.taker, owner=arena.account(arena.maker).owner)
    return plain(make_fill(arena))


@breaks(Fault.SELF_TRADE)
def takes_over_oneself(arena: Arena) -> Lie:
    change_account(arena.state, arena.taker, owner=arena.account(arena.maker).owner)
    return plain(make_liquidate(arena))


@breaks(Fault.ORDER_NONCE)
def takes_with_a_used_nonce(arena: Arena) -> Lie:
    rest_order(arena, arena.taker, TAKER_SLOT, order(arena.held, False, NONCE))
    return plain(make_fill(arena))


@breaks(Fault.ORDER_EXPIRED)
def takes_with_a_dead_order(arena: Arena) -> Lie:
    left = replace(order(arena.held, False, NONCE), expiry=Timestamp(START - 1))
    rest_order(arena, arena.taker, TAKER_SLOT, left)
    return plain(make_fill(arena, taker_order=None))


@breaks(Fault.ORDER_EPOCH)
def takes_with_a_cancelled_order(arena: Arena) -> Lie:
    return plain(make_fill(arena, of_taker={"epoch": 0}))


@breaks(Fault.ORDER_OVERFILL)
def takes_more_than_ordered(arena: Arena) -> Lie:
    return plain(make_fill(arena, of_taker={"size": LOTS - 1}))


@breaks(Fault.ORDER_MISMATCH)
def takes_without_an_order(arena: Arena) -> Lie:
    return plain(make_fill(arena, taker_order=None))


@breaks(Fault.ORDER_MISMATCH)
def takes_with_an_order_to_buy(arena: Arena) -> Lie:
    rest_order(arena, arena.taker, TAKER_SLOT, order(arena.held, True, NONCE))
    return plain(make_fill(arena, taker_order=None))


@breaks(Fault.PRICE_LIMIT)
def sells_below_the_limit(arena: Arena) -> Lie:
    return plain(make_fill(arena, of_taker={"price": PRICE + 1}))


@breaks(Fault.PRICE_BAND)
def trades_far_from_the_mark(arena: Arena) -> Lie:
    far = {"price": 2 * PRICE}
    return plain(make_fill(arena, of_maker=far, of_taker=far))


@breaks(Fault.TICK)
def sells_between_ticks(arena: Arena) -> Lie:
    change_underlying(arena, tick=7)
    price = PRICE // 7 * 7
    assert price != PRICE
    return plain(make_fill(arena, of_maker={"price": price}, of_taker={"price": PRICE - 2}))


@breaks(Fault.POST_ONLY)
def takes_with_a_post_only_order(arena: Arena) -> Lie:
    return plain(make_fill(arena, of_taker={"post_only": True}))


@breaks(Fault.REDUCE_ONLY)
def grows_with_a_reduce_only_order(arena: Arena) -> Lie:
    return plain(make_fill(arena, of_taker={"reduce_only": True}))


@breaks(Fault.TIME_IN_FORCE)
def rests_an_immediate_order(arena: Arena) -> Lie:
    return plain(make_fill(arena, of_maker={"time_in_force": TimeInForce.IOC}))


@breaks(Fault.TIME_IN_FORCE)
def takes_up_an_immediate_order(arena: Arena) -> Lie:
    left = replace(order(arena.held, False, NONCE), time_in_force=TimeInForce.IOC)
    rest_order(arena, arena.taker, TAKER_SLOT, left)
    return plain(make_fill(arena, taker_order=None))


@breaks(Fault.FILL_OR_KILL)
def leaves_an_order_partly_filled(arena: Arena) -> Lie:
    """All of the fill is done, and nothing follows."""
    return plain(make_fill(arena, of_taker={"time_in_force": TimeInForce.FOK}))


@breaks(Fault.FILL_OR_KILL)
def goes_on_with_something_else(arena: Arena) -> Lie:
    fill = make_fill(arena, of_taker={"time_in_force": TimeInForce.FOK})
    return plain(fill, make_withdraw(arena))


# Positions


@breaks(Fault.POSITION_LIMIT, is_for_large=True)
def opens_one_more_position(arena: Arena) -> Lie:
    return plain(make_fill(arena, market=list_spare(arena)))


@breaks(Fault.POSITION_LIMIT, is_for_large=True)
def opens_one_more_group(arena: Arena) -> Lie:
    """The maker holds something else of the new group instead; the taker's margin comes to one
    group too many with its last position.
    """
    name = MarketId(SPARE + 1)
    set_market(arena.state, name, arena.underlying(arena.held))
    spare = list_spare(
        arena, kind=SeriesKind.PERPETUAL, underlying=name, expiry=MarketId(0), strike=0
    )
    positions = arena.account(arena.taker).positions[1:]
    change_account(arena.state, arena.taker, positions=positions)
    opened = (*positions[:-1], Position(spare, -(1 << 30), 0))
    change_account(arena.state, arena.maker, positions=opened)
    return plain(make_fill(arena, market=spare))


@breaks(Fault.POSITION_LIMIT)
def opens_the_65th_position(arena: Arena) -> Lie:
    """All in one group: the least that can break this rule."""
    state = arena.state
    markets = [MarketId(SPARE + n) for n in range(MAX_POSITIONS + 1)]
    for market in markets:
        set_market(state, market, arena.series(arena.held))
    held = tuple(Position(market, -7, 0) for market in markets[:-1])
    change_account(state, arena.maker, positions=held)
    return plain(make_fill(arena, market=markets[-1]))


@breaks(Fault.INACTIVE)
def trades_what_does_not_trade(arena: Arena) -> Lie:
    change_series(arena, status=SeriesStatus.INACTIVE)
    return plain(make_fill(arena))


@breaks(Fault.INACTIVE)
def funds_an_option(arena: Arena) -> Lie:
    market = list_spare(arena, kind=SeriesKind.CALL, strike=PRICE, expiry=SURFACED)
    return plain(Fund(market))
