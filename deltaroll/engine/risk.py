"""Pre-trade checks. Every verdict is the protocol's own function over the live state.

Nothing here charges the open chunk: leaves are read as they are, and margin is computed on another
meter.
"""

from enum import Enum

from deltaroll.engine.orders import RestingOrder
from deltaroll.protocol.arithmetic import is_within_band
from deltaroll.protocol.codec import (
    EXPIRY_BITS,
    LOTS_BITS,
    NONCE_BITS,
    PRICE_BITS,
)
from deltaroll.protocol.constants import SLOT_DEPTH
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import (
    compute_account_after,
    compute_fee,
    compute_position_size,
    compute_slot,
    validate_order,
)
from deltaroll.protocol.margin import validate_fresh, validate_margin
from deltaroll.protocol.signatures import Role, validate_account_signer
from deltaroll.protocol.state import Meter, State, get_account
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    Fill,
    MarketId,
    Order,
    Series,
    SeriesStatus,
    SlotId,
    TimeInForce,
    Timestamp,
    Underlying,
)


class Culprit(Enum):
    """Whose fault it is that a fill does not settle."""

    MAKER = 0
    TAKER = 1
    """The taker's, the market's or nobody's: the taker cannot go on."""


def get_market(state: State, market: MarketId) -> tuple[Series, Underlying]:
    """Return a series and its underlying.

    Raises
    ------
    TransitionFault
        UNKNOWN_MARKET.
    """
    series = state.markets.get(market)
    if isinstance(series, Series):
        underlying = state.markets.get(series.underlying)
        if isinstance(underlying, Underlying):
            return series, underlying
    raise TransitionFault(Fault.UNKNOWN_MARKET)


def get_holder(state: State, account_id: AccountId) -> Account:
    """Return an account.

    Raises
    ------
    TransitionFault
        UNKNOWN_ACCOUNT.
    """
    account = state.accounts.get(account_id)
    if account is None:
        raise TransitionFault(Fault.UNKNOWN_ACCOUNT)
    return account


def compute_reducible(account: Account, market: MarketId, is_buy: bool) -> int:
    """Return how many lots a reduce-only order may trade before it would flip the position."""
    size = compute_position_size(account, market)
    return max(0, -size if is_buy else size)


def compute_fillable(state: State, resting: RestingOrder) -> int:
    """Return how many lots of an order may trade now."""
    order = resting.order
    if not order.reduce_only:
        return resting.remaining
    account = get_holder(state, resting.account)
    return min(resting.remaining, compute_reducible(account, order.market, order.is_buy))


def is_price_against(price: int, is_buy: bool, series: Series, underlying: Underlying) -> bool:
    """Return whether a price lies beyond the band around the mark on the side that hurts its own
    order: a bid above it, an ask below it."""
    if is_within_band(price, series.mark, underlying.params.fill_band):
        return False
    return price > series.mark if is_buy else price < series.mark


def validate_encodable(order: Order, slot_id: SlotId, clock: Timestamp) -> None:
    """Check that the codec has a form for every field. The epoch is the account's, which fits.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE.
    """
    if (
        slot_id >> SLOT_DEPTH
        or order.price >> PRICE_BITS
        or order.size >> LOTS_BITS
        or order.nonce >> NONCE_BITS
        or (order.expiry - clock) >> EXPIRY_BITS
    ):
        raise TransitionFault(Fault.OUT_OF_RANGE)


def validate_alive(account: Account, order: Order, signer: Address, clock: Timestamp) -> None:
    """Check that an order may still trade, whatever the book holds.

    Raises
    ------
    TransitionFault
        ORDER_EXPIRED, ORDER_EPOCH, BAD_SIGNATURE.
    """
    if clock > order.expiry:
        raise TransitionFault(Fault.ORDER_EXPIRED)
    if order.epoch != account.epoch:
        raise TransitionFault(Fault.ORDER_EPOCH)
    validate_account_signer(account, Role.TRADER, signer, clock)


def validate_slot_unmoved(state: State, resting: RestingOrder) -> None:
    """Check that no fill from outside the book, forced through L1, has touched an order's slot.

    Raises
    ------
    TransitionFault
        ORDER_NONCE, ORDER_OVERFILL.
    """
    order = resting.order
    slot = state.slots.get(resting.account, {}).get(resting.slot)
    if slot is None or slot.order.nonce < order.nonce:
        return
    if slot.order.nonce > order.nonce:
        raise TransitionFault(Fault.ORDER_NONCE)
    if slot.filled != order.size - resting.remaining:
        raise TransitionFault(Fault.ORDER_OVERFILL)


def validate_market(state: State, market: MarketId) -> Underlying:
    """Check that a series trades now; return its underlying.

    Raises
    ------
    TransitionFault
        UNKNOWN_MARKET, INACTIVE, HALTED, STALE_MARK.
    """
    series, underlying = get_market(state, market)
    if series.status != SeriesStatus.ACTIVE:
        raise TransitionFault(Fault.INACTIVE)
    validate_fresh(series, underlying, state.globals.clock)
    return underlying


def validate_admission(
    state: State,
    account_id: AccountId,
    slot_id: SlotId,
    order: Order,
    signer: Address,
    last_nonce: int,
) -> Account:
    """Check a new order as the fill that posts it would; return its account.

    Raises
    ------
    TransitionFault
        In this order: UNKNOWN_MARKET, INACTIVE, HALTED, STALE_MARK, UNKNOWN_ACCOUNT, ORDER_EXPIRED,
        ORDER_EPOCH, BAD_SIGNATURE, OUT_OF_RANGE, ZERO_AMOUNT, TICK; ORDER_NONCE unless above the
        slot's and `last_nonce`; TIME_IN_FORCE when an immediate order is post-only; REDUCE_ONLY
        when there is nothing to reduce.
    """
    clock = state.globals.clock
    underlying = validate_market(state, order.market)
    account = get_holder(state, account_id)
    if signer == ZERO_ADDRESS:
        # An account without a trading key names zero, which nobody signs for.
        raise TransitionFault(Fault.BAD_SIGNATURE)
    validate_alive(account, order, signer, clock)
    validate_encodable(order, slot_id, clock)
    slots = state.slots.get(account_id)
    slot = None if slots is None else slots.get(slot_id)
    validate_order(order, slot, underlying.params.tick)
    if order.nonce <= last_nonce:
        raise TransitionFault(Fault.ORDER_NONCE)
    if order.post_only and order.time_in_force != TimeInForce.GTC:
        raise TransitionFault(Fault.TIME_IN_FORCE)
    if order.reduce_only and compute_reducible(account, order.market, order.is_buy) == 0:
        raise TransitionFault(Fault.REDUCE_ONLY)
    return account


def validate_trade(
    state: State,
    account: Account,
    order: Order,
    lots: int,
    price: int,
    series: Series,
    fee_rate: int,
) -> None:
    """Check one side of a trade: the account after it, and its margin.

    Raises
    ------
    TransitionFault
        REDUCE_ONLY, POSITION_LIMIT, OUT_OF_RANGE, MARGIN, OVERWEIGHT; UNKNOWN_MARKET, HALTED,
        STALE_MARK of any series held.
    """
    notional = price * lots
    cash = (-notional if order.is_buy else notional) - compute_fee(notional, fee_rate)
    after = compute_account_after(
        account, order.market, lots if order.is_buy else -lots, cash, series, order.reduce_only
    )
    validate_margin(state, account, after, state.globals.clock)


def validate_side(state: State, fill: Fill, resting: RestingOrder, price: int, rate: int) -> None:
    """Check one side of a fill by itself, on the open meter.

    Raises
    ------
    TransitionFault
        UNKNOWN_ACCOUNT; what `compute_slot` and `validate_trade` raise.
    """
    order = resting.order
    series, underlying = get_market(state, order.market)
    account = get_account(state, resting.account)
    compute_slot(
        state,
        fill,
        resting.account,
        account,
        resting.slot,
        None if resting.posted else order,
        order.is_buy,
        underlying.params.tick,
    )
    validate_trade(state, account, order, fill.lots, price, series, rate)


def find_culprit(
    state: State, fill: Fill, maker: RestingOrder, fault: Fault
) -> tuple[Culprit, Fault]:
    """Return who is to blame for the `fault` of a fill, and the fault of that side by itself.

    A market that does not trade is nobody's fault, and it comes first. So does everything that the
    maker would pass alone: then the taker cannot go on.
    """
    meter = state.meter
    state.meter = Meter()
    try:
        underlying = validate_market(state, fill.market)
    except TransitionFault as problem:
        return Culprit.TAKER, problem.fault
    else:
        try:
            validate_side(state, fill, maker, maker.order.price, underlying.params.maker_fee)
        except TransitionFault as problem:
            return Culprit.MAKER, problem.fault
        return Culprit.TAKER, fault
    finally:
        state.meter = meter
