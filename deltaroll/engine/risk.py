"""Pre-trade checks. Every verdict is the protocol's own function over the live state.

Nothing here charges the open chunk: leaves are read as they are, and margin is computed on another
meter.
"""

from enum import Enum
from typing import NamedTuple

from deltaroll.engine.aside import set_aside
from deltaroll.engine.orders import RestingOrder
from deltaroll.protocol.codec import (
    EXPIRY_BITS,
    LOTS_BITS,
    NONCE_BITS,
    PRICE_BITS,
)
from deltaroll.protocol.constants import ORDER_BYTES, SLOT_DEPTH
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import (
    compute_account_after,
    compute_data_fee,
    compute_fees,
    compute_position_size,
    compute_slot,
    is_trading,
    is_within_fill_band,
    validate_lifetime,
    validate_order,
)
from deltaroll.protocol.fresh import validate_fresh
from deltaroll.protocol.funding import compute_accrued
from deltaroll.protocol.margin import validate_margin
from deltaroll.protocol.realise import process_realise
from deltaroll.protocol.signatures import Role, validate_account_signer
from deltaroll.protocol.state import State, get_account, set_market
from deltaroll.protocol.types import (
    ZERO_ADDRESS,
    Account,
    AccountId,
    Address,
    Expiry,
    Fill,
    MarketId,
    Order,
    Series,
    SeriesKind,
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


class Market(NamedTuple):
    """A series and what its price depends on."""

    series: Series
    underlying: Underlying
    expiry: Expiry | None
    """None for a perpetual without a premium."""


def get_market(state: State, market: MarketId) -> Market:
    """Return a series, as it is stored, with its underlying and expiry.

    Raises
    ------
    TransitionFault
        UNKNOWN_MARKET.
    """
    series = state.markets.get(market)
    if isinstance(series, Series):
        underlying = state.markets.get(series.underlying)
        expiry = state.markets.get(series.expiry) if series.expiry else None
        if isinstance(underlying, Underlying) and (
            series.expiry == 0 or isinstance(expiry, Expiry)
        ):
            return Market(series, underlying, expiry if isinstance(expiry, Expiry) else None)
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


def must_reduce(state: State, order: Order) -> bool:
    """Return whether an order may only reduce a position: it says so, or its series is closing."""
    if order.reduce_only:
        return True
    series = state.markets.get(order.market)
    return isinstance(series, Series) and series.status == SeriesStatus.CLOSING


def compute_fillable(state: State, resting: RestingOrder) -> int:
    """Return how many lots of an order may trade now."""
    order = resting.order
    if not must_reduce(state, order):
        return resting.remaining
    account = get_holder(state, resting.account)
    return min(resting.remaining, compute_reducible(account, order.market, order.is_buy))


def is_price_against(price: int, is_buy: bool, series: Series, underlying: Underlying) -> bool:
    """Return whether a price lies beyond the band around the mark on the side that hurts its own
    order: a bid above it, an ask below it."""
    if is_within_fill_band(price, series, underlying):
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


def validate_market(state: State, market: MarketId) -> Market:
    """Check that a series trades now; return it.

    Raises
    ------
    TransitionFault
        UNKNOWN_MARKET, INACTIVE, HALTED, STALE_MARK.
    """
    found = get_market(state, market)
    series, underlying, expiry = found
    clock = state.globals.clock
    if not is_trading(series):
        raise TransitionFault(Fault.INACTIVE)
    if series.kind != SeriesKind.PERPETUAL and expiry is not None and clock >= expiry.time:
        raise TransitionFault(Fault.INACTIVE)
    validate_fresh(series, underlying, expiry, clock)
    return found


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
        ORDER_EPOCH, BAD_SIGNATURE, OUT_OF_RANGE, ZERO_AMOUNT, TICK; ORDER_EXPIRED when it would
        outlive its option; ORDER_NONCE unless above the slot's and `last_nonce`; TIME_IN_FORCE
        when an immediate order is post-only; REDUCE_ONLY when there is nothing to reduce.
    """
    clock = state.globals.clock
    series, underlying, expiry = validate_market(state, order.market)
    account = get_holder(state, account_id)
    if signer == ZERO_ADDRESS:
        # An account without a trading key names zero, which nobody signs for.
        raise TransitionFault(Fault.BAD_SIGNATURE)
    validate_alive(account, order, signer, clock)
    validate_encodable(order, slot_id, clock)
    slots = state.slots.get(account_id)
    slot = None if slots is None else slots.get(slot_id)
    validate_order(order, slot, underlying.params.tick)
    validate_lifetime(order, series, expiry)
    if order.nonce <= last_nonce:
        raise TransitionFault(Fault.ORDER_NONCE)
    if order.post_only and order.time_in_force != TimeInForce.GTC:
        raise TransitionFault(Fault.TIME_IN_FORCE)
    if must_reduce(state, order) and compute_reducible(account, order.market, order.is_buy) == 0:
        raise TransitionFault(Fault.REDUCE_ONLY)
    return account


def compute_maker_fee(state: State, resting: RestingOrder, lots: int, price: int) -> int:
    """Return what an order pays when it is filled as a maker: fee or rebate, and its bytes on L1
    with its first fill.

    Raises
    ------
    TransitionFault
        UNKNOWN_MARKET.
    """
    series, underlying, _ = get_market(state, resting.order.market)
    fee, _ = compute_fees(series, underlying, price, lots)
    if resting.posted:
        return fee
    return fee + compute_data_fee(state, underlying.params, ORDER_BYTES)


def validate_trade(state: State, resting: RestingOrder, lots: int, price: int, fee: int) -> None:
    """Check one side of a trade: the account after it, and its margin.

    The state is as a fill would have made it by then, what has settled is cash and funding is
    accrued, and afterwards as it was.

    Raises
    ------
    TransitionFault
        UNKNOWN_ACCOUNT, REDUCE_ONLY, POSITION_LIMIT, OUT_OF_RANGE, MARGIN, OVERWEIGHT;
        UNKNOWN_MARKET, HALTED, STALE_MARK of any series held.
    """
    order = resting.order
    clock = state.globals.clock
    state.begin()
    try:
        stored, underlying, _ = get_market(state, order.market)
        series = compute_accrued(stored, underlying.params, clock)
        if series is not stored:
            set_market(state, order.market, series)
        account = process_realise(state, resting.account, get_holder(state, resting.account))
        notional = price * lots
        cash = (-notional if order.is_buy else notional) - fee
        change = lots if order.is_buy else -lots
        reduces = must_reduce(state, order)
        after = compute_account_after(account, order.market, change, cash, series, reduces)
        validate_margin(state, account, after, clock)
    finally:
        state.rollback()


def validate_maker(state: State, fill: Fill, resting: RestingOrder) -> None:
    """Check the maker's side of a fill by itself, on the open meter.

    Raises
    ------
    TransitionFault
        UNKNOWN_ACCOUNT; what `compute_slot` and `validate_trade` raise.
    """
    order = resting.order
    series, underlying, expiry = get_market(state, order.market)
    account = get_account(state, resting.account)
    slot = compute_slot(
        state,
        fill,
        resting.account,
        account,
        resting.slot,
        None if resting.posted else order,
        order.is_buy,
        underlying.params.tick,
    )
    validate_lifetime(slot.order, series, expiry)
    fee = compute_maker_fee(state, resting, fill.lots, order.price)
    validate_trade(state, resting, fill.lots, order.price, fee)


def find_culprit(
    state: State, fill: Fill, maker: RestingOrder, fault: Fault
) -> tuple[Culprit, Fault]:
    """Return who is to blame for the `fault` of a fill, and the fault of that side by itself.

    A market that does not trade is nobody's fault, and it comes first. So does everything that the
    maker would pass alone: then the taker cannot go on.
    """
    with set_aside(state):
        try:
            validate_market(state, fill.market)
        except TransitionFault as problem:
            return Culprit.TAKER, problem.fault
        try:
            validate_maker(state, fill, maker)
        except TransitionFault as problem:
            return Culprit.MAKER, problem.fault
    return Culprit.TAKER, fault
