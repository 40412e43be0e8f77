"""Fill: two signed orders trade at the maker's price.

Purchases are paid in full: the buyer's cash falls by price * lots and the seller's rises by it,
whatever the series; leverage is the margin check's business. Open interest counts the long side.
What has settled turns into cash first, and funding accrues up to the clock.
"""

from dataclasses import replace

from deltaroll.protocol.arithmetic import div_down, div_up
from deltaroll.protocol.constants import (
    DATA_GAS,
    FILL_BYTES,
    MAX_POSITIONS,
    ORDER_BYTES,
    PPM,
    WEIGHT_FILL_GAS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fresh import get_expiry_of, validate_fresh
from deltaroll.protocol.funding import compute_accrued, compute_carry
from deltaroll.protocol.margin import validate_margin
from deltaroll.protocol.realise import process_realise
from deltaroll.protocol.state import (
    INT64_BOUND,
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
    Expiry,
    Fill,
    MarketId,
    Order,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Slot,
    SlotId,
    TimeInForce,
    Timestamp,
    Underlying,
    UnderlyingParams,
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


def compute_fee(series: Series, underlying: Underlying, price: int, lots: int, rate: int) -> int:
    """Return a fee at `rate` parts per million, rounded up: of a perpetual's notional, or of an
    option's notional at the index within a part of its premium. A negative rate gives a rebate,
    a negative fee.
    """
    premium = price * lots
    if series.kind == SeriesKind.PERPETUAL:
        return div_up(premium * rate, PPM)
    cap = div_down(premium * underlying.params.option_fee_cap, PPM)
    return max(-cap, min(div_up(underlying.index * lots * rate, PPM), cap))


def compute_fees(series: Series, underlying: Underlying, price: int, lots: int) -> tuple[int, int]:
    """Return the fees of maker and taker. A maker's rebate is at most what the taker pays."""
    params = underlying.params
    is_perpetual = series.kind == SeriesKind.PERPETUAL
    maker_rate = params.maker_fee if is_perpetual else params.option_maker_fee
    taker_rate = params.taker_fee if is_perpetual else params.option_taker_fee
    taker = compute_fee(series, underlying, price, lots, taker_rate)
    maker = compute_fee(series, underlying, price, lots, maker_rate)
    return max(maker, -taker), taker


def compute_data_fee(state: State, params: UnderlyingParams, size: int) -> int:
    """Return what `size` bytes on L1 cost, rounded up, at the index of the underlying that prices
    them.

    Raises
    ------
    TransitionFault
        OVERWEIGHT; UNKNOWN_MARKET when that underlying is gone.
    """
    if params.gas_market == 0 or params.gas_lot == 0:
        return 0
    priced = get_underlying(state, params.gas_market)
    wei = size * DATA_GAS * state.globals.data_fee
    return div_up(wei * priced.index, params.gas_lot)


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
    carry = compute_carry(series, before)
    realised = before * (carry - positions[at].snapshot) if held else 0
    size = before + change
    if reduce_only and (abs(size) >= abs(before) or size * before < 0):
        raise TransitionFault(Fault.REDUCE_ONLY)
    if not held and len(positions) == MAX_POSITIONS:
        raise TransitionFault(Fault.POSITION_LIMIT)
    tail = positions[at + 1 :] if held else positions[at:]
    middle = () if size == 0 else (Position(market, size, compute_carry(series, size)),)
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


def compute_open_interest(series: Series, change: int) -> int:
    """Return a series' open interest after a change of its long lots.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE; half of the leaf's range is kept, because settlement counts both sides.
    """
    open_interest = series.open_interest + change
    if not 0 <= open_interest < INT64_BOUND:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    return open_interest


def is_within_fill_band(price: int, series: Series, underlying: Underlying) -> bool:
    """Return whether a price is close enough to the mark: within a part of it for a perpetual, of
    the index for an option.
    """
    is_perpetual = series.kind == SeriesKind.PERPETUAL
    reference = series.mark if is_perpetual else underlying.index
    return abs(price - series.mark) * PPM <= underlying.params.fill_band * reference


def validate_lifetime(order: Order, series: Series, expiry: Expiry | None) -> None:
    """Check that an order dies before its option does: the id may get a new meaning then.

    Raises
    ------
    TransitionFault
        ORDER_EXPIRED.
    """
    if series.kind == SeriesKind.PERPETUAL or expiry is None:
        return
    if order.expiry >= expiry.time:
        raise TransitionFault(Fault.ORDER_EXPIRED)


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
    if not is_within_fill_band(price, series, underlying):
        raise TransitionFault(Fault.PRICE_BAND)


def is_trading(series: Series) -> bool:
    """Return whether fills in a series are possible at all: ACTIVE, or CLOSING."""
    return series.status in (SeriesStatus.ACTIVE, SeriesStatus.CLOSING)


def open_series(
    state: State, market: MarketId, clock: Timestamp
) -> tuple[Series, Underlying, Expiry | None]:
    """Return a series that trades now, its funding accrued and stored, with what its price depends
    on.

    Raises
    ------
    TransitionFault
        OVERWEIGHT; UNKNOWN_MARKET; INACTIVE, also for an option that has expired; HALTED,
        STALE_MARK; OUT_OF_RANGE.
    """
    series = get_series(state, market)
    if not is_trading(series):
        raise TransitionFault(Fault.INACTIVE)
    underlying = get_underlying(state, series.underlying)
    expiry = get_expiry_of(state, series)
    if series.kind != SeriesKind.PERPETUAL and expiry is not None and clock >= expiry.time:
        raise TransitionFault(Fault.INACTIVE)
    validate_fresh(series, underlying, expiry, clock)
    accrued = compute_accrued(series, underlying.params, clock)
    if accrued is not series:
        set_market(state, market, accrued)
    return accrued, underlying, expiry


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
    series, underlying, expiry = open_series(state, fill.market, clock)
    maker = get_account(state, fill.maker)
    taker = get_account(state, fill.taker)
    if maker.owner == taker.owner:
        raise TransitionFault(Fault.SELF_TRADE)
    tick = underlying.params.tick
    maker_is_buy = fill.maker_is_buy
    maker_slot = compute_slot(
        state, fill, fill.maker, maker, fill.maker_slot, fill.maker_order, maker_is_buy, tick
    )
    validate_lifetime(maker_slot.order, series, expiry)
    taker_slot = compute_slot(
        state, fill, fill.taker, taker, fill.taker_slot, fill.taker_order, not maker_is_buy, tick
    )
    validate_lifetime(taker_slot.order, series, expiry)
    continues = fill.taker_order is not None or sweep == (fill.taker, fill.taker_slot)
    validate_sides(maker_slot, taker_slot, underlying, series, continues)
    is_incomplete = (
        taker_slot.order.time_in_force == TimeInForce.FOK
        and taker_slot.filled < taker_slot.order.size
    )
    if is_incomplete and is_alone:
        raise TransitionFault(Fault.FILL_OR_KILL)

    maker = process_realise(state, fill.maker, maker)
    taker = process_realise(state, fill.taker, taker)
    price = maker_slot.order.price
    maker_fee, taker_fee = compute_fees(series, underlying, price, fill.lots)
    maker_bytes = 0 if fill.maker_order is None else ORDER_BYTES
    taker_bytes = FILL_BYTES if fill.taker_order is None else FILL_BYTES + ORDER_BYTES
    maker_fee += compute_data_fee(state, underlying.params, maker_bytes)
    taker_fee += compute_data_fee(state, underlying.params, taker_bytes)
    bought = fill.lots if maker_is_buy else -fill.lots
    paid = price * bought
    is_closing = series.status == SeriesStatus.CLOSING
    maker_reduces = maker_slot.order.reduce_only or is_closing
    taker_reduces = taker_slot.order.reduce_only or is_closing
    maker_after = compute_account_after(
        maker, fill.market, bought, -paid - maker_fee, series, maker_reduces
    )
    taker_after = compute_account_after(
        taker, fill.market, -bought, paid - taker_fee, series, taker_reduces
    )
    open_interest = compute_open_interest(
        series,
        compute_long_change(compute_position_size(maker, fill.market), bought)
        + compute_long_change(compute_position_size(taker, fill.market), -bought),
    )
    fee_pool = state.globals.fee_pool + maker_fee + taker_fee
    if fee_pool >= UINT128_BOUND:
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
