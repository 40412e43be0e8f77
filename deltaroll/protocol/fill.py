"""Fill: two signed orders trade at the maker's price.

Purchases are paid in full: the buyer's cash falls by price * lots and the seller's rises by it,
whatever the series; leverage is the margin check's business. Open interest counts the long side.
"""

from dataclasses import replace

from deltaroll.protocol.arithmetic import div_up, is_within_band
from deltaroll.protocol.constants import MAX_POSITIONS, PPM, WEIGHT_FILL_GAS
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.margin import validate_fresh, validate_margin
from deltaroll.protocol.state import (
    UINT64_BOUND,
    UINT128_BOUND,
    State,
    charge,
    get_account,
    get_series,
    get_slot,
    get_underlying,
    set_account,
    set_market,
    set_slot,
    validate_account,
)
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Fill,
    MarketId,
    Order,
    Position,
    Series,
    SeriesStatus,
    Slot,
    SlotId,
    TimeInForce,
    Timestamp,
    Underlying,
)


def compute_position_size(account: Account, market: MarketId) -> int:
    """Return the signed lots that an account holds of a series."""
    for position in account.positions:
        if position.series == market:
            return position.size
    return 0


def validate_order(order: Order, slot: Slot | None, tick: int) -> None:
    """Check an order that is posted with its first fill.

    Raises
    ------
    TransitionFault
        ZERO_AMOUNT, TICK; ORDER_NONCE unless its nonce is above the slot's.
    """
    if order.price == 0 or order.size == 0:
        raise TransitionFault(Fault.ZERO_AMOUNT)
    if order.price % tick != 0:
        raise TransitionFault(Fault.TICK)
    if order.nonce <= (0 if slot is None else slot.order.nonce):
        raise TransitionFault(Fault.ORDER_NONCE)


def compute_slot(
    state: State,
    fill: Fill,
    account_id: AccountId,
    account: Account,
    slot_id: SlotId,
    order: Order | None,
    is_buy: bool,
    tick: int,
) -> Slot:
    """Return one side's slot after the fill: the posted order, or the one that rests there already.

    Raises
    ------
    TransitionFault
        What `validate_order` raises; ORDER_MISMATCH, ORDER_EXPIRED, ORDER_EPOCH, ORDER_OVERFILL.
    """
    slot = get_slot(state, account_id, slot_id)
    if order is not None:
        validate_order(order, slot, tick)
        slot = Slot(order, 0)
    elif slot is None or slot.order.market != fill.market or slot.order.is_buy != is_buy:
        raise TransitionFault(Fault.ORDER_MISMATCH)
    if state.globals.clock > slot.order.expiry:
        raise TransitionFault(Fault.ORDER_EXPIRED)
    if slot.order.epoch != account.epoch:
        raise TransitionFault(Fault.ORDER_EPOCH)
    filled = slot.filled + fill.lots
    if filled > slot.order.size:
        raise TransitionFault(Fault.ORDER_OVERFILL)
    return Slot(slot.order, filled)


def compute_fee(notional: int, rate: int) -> int:
    """Return a fee on notional at `rate` parts per million, rounded up."""
    return div_up(notional * rate, PPM)


def compute_account_after(
    account: Account, market: MarketId, change: int, cash: int, series: Series, reduce_only: bool
) -> Account:
    """Return an account after its position in `market` changed by `change` lots and its cash by
    `cash`.

    Carry that has accrued on the old position is paid first.

    Raises
    ------
    TransitionFault
        REDUCE_ONLY, POSITION_LIMIT, OUT_OF_RANGE.
    """
    positions = account.positions
    at = 0
    while at < len(positions) and positions[at].series < market:
        at += 1
    held = at < len(positions) and positions[at].series == market
    before = positions[at].size if held else 0
    realised = before * (series.carry - positions[at].snapshot) if held else 0
    size = before + change
    if reduce_only and (abs(size) >= abs(before) or size * before < 0):
        raise TransitionFault(Fault.REDUCE_ONLY)
    if not held and len(positions) == MAX_POSITIONS:
        raise TransitionFault(Fault.POSITION_LIMIT)
    tail = positions[at + 1 :] if held else positions[at:]
    middle = () if size == 0 else (Position(market, size, series.carry),)
    after = Account(
        account.owner,
        account.trading_key,
        account.key_expiry,
        account.nonce,
        account.cash + cash - realised,
        account.epoch,
        account.distressed_at,
        positions[:at] + middle + tail,
    )
    validate_account(after)
    return after


def compute_long_change(before: int, change: int) -> int:
    """Return how much of a position's change by `change` lots counts as open interest."""
    return max(0, before + change) - max(0, before)


def validate_sides(
    maker: Slot, taker: Slot, underlying: Underlying, series: Series, continues: bool
) -> None:
    """Check the two orders against each other, and the price against the band around the mark.

    Raises
    ------
    TransitionFault
        TIME_IN_FORCE, POST_ONLY, PRICE_LIMIT, PRICE_BAND.
    """
    if maker.order.time_in_force != TimeInForce.GTC:
        raise TransitionFault(Fault.TIME_IN_FORCE)
    if taker.order.time_in_force != TimeInForce.GTC and not continues:
        raise TransitionFault(Fault.TIME_IN_FORCE)
    if taker.order.post_only:
        raise TransitionFault(Fault.POST_ONLY)
    price = maker.order.price
    if price > taker.order.price if taker.order.is_buy else price < taker.order.price:
        raise TransitionFault(Fault.PRICE_LIMIT)
    if not is_within_band(price, series.mark, underlying.params.fill_band):
        raise TransitionFault(Fault.PRICE_BAND)


def process_fill(
    state: State, fill: Fill, sweep: tuple[AccountId, SlotId] | None, is_alone: bool
) -> bool:
    """Trade.

    Parameters
    ----------
    sweep
        The taker and slot of the transaction before this one, when that was a fill: an immediate
        order goes on only directly after its own last fill.
    is_alone
        Nothing can follow: a fill-or-kill order must be complete with this fill.

    Returns
    -------
    bool
        Whether the taker's order is fill-or-kill and not complete: the next transaction must go on.

    Raises
    ------
    TransitionFault
        In this order: OVERWEIGHT wherever a leaf is touched; ZERO_AMOUNT, UNKNOWN_MARKET, INACTIVE,
        HALTED, STALE_MARK, UNKNOWN_ACCOUNT, SELF_TRADE; the maker's, then the taker's order;
        the sides; FILL_OR_KILL; the accounts after; MARGIN of maker, then of taker.
    """
    charge(state, WEIGHT_FILL_GAS, 0)
    if fill.lots == 0:
        raise TransitionFault(Fault.ZERO_AMOUNT)
    clock: Timestamp = state.globals.clock
    series = get_series(state, fill.market)
    if series.status != SeriesStatus.ACTIVE:
        raise TransitionFault(Fault.INACTIVE)
    underlying = get_underlying(state, series.underlying)
    validate_fresh(series, underlying, clock)
    maker = get_account(state, fill.maker)
    taker = get_account(state, fill.taker)
    if maker.owner == taker.owner:
        raise TransitionFault(Fault.SELF_TRADE)
    tick = underlying.params.tick
    maker_is_buy = fill.maker_is_buy
    maker_slot = compute_slot(
        state, fill, fill.maker, maker, fill.maker_slot, fill.maker_order, maker_is_buy, tick
    )
    taker_slot = compute_slot(
        state, fill, fill.taker, taker, fill.taker_slot, fill.taker_order, not maker_is_buy, tick
    )
    continues = fill.taker_order is not None or sweep == (fill.taker, fill.taker_slot)
    validate_sides(maker_slot, taker_slot, underlying, series, continues)
    is_incomplete = (
        taker_slot.order.time_in_force == TimeInForce.FOK
        and taker_slot.filled < taker_slot.order.size
    )
    if is_incomplete and is_alone:
        raise TransitionFault(Fault.FILL_OR_KILL)

    notional = maker_slot.order.price * fill.lots
    maker_fee = compute_fee(notional, underlying.params.maker_fee)
    taker_fee = compute_fee(notional, underlying.params.taker_fee)
    bought = fill.lots if maker_is_buy else -fill.lots
    paid = notional if maker_is_buy else -notional
    maker_after = compute_account_after(
        maker, fill.market, bought, -paid - maker_fee, series, maker_slot.order.reduce_only
    )
    taker_after = compute_account_after(
        taker, fill.market, -bought, paid - taker_fee, series, taker_slot.order.reduce_only
    )
    open_interest = (
        series.open_interest
        + compute_long_change(compute_position_size(maker, fill.market), bought)
        + compute_long_change(compute_position_size(taker, fill.market), -bought)
    )
    fee_pool = state.globals.fee_pool + maker_fee + taker_fee
    if open_interest >= UINT64_BOUND or fee_pool >= UINT128_BOUND:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    validate_margin(state, maker, maker_after, clock)
    validate_margin(state, taker, taker_after, clock)

    set_account(state, fill.maker, maker_after)
    set_account(state, fill.taker, taker_after)
    set_slot(state, fill.maker, fill.maker_slot, maker_slot)
    set_slot(state, fill.taker, fill.taker_slot, taker_slot)
    set_market(state, fill.market, replace(series, open_interest=open_interest))
    state.globals = replace(state.globals, fee_pool=fee_pool)
    return is_incomplete
