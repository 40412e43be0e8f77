"""May an order rest? The protocol's margin check, and a bound that mostly makes it unnecessary.

Requirements are subadditive in perpetuals: they add to the scenarios' results one by one, so the
worst loss of a portfolio with a perpetual more is at most the sum of both worst losses, and
rounding up keeps that true. So an order in a perpetual that what an account has over its initial
margin could carry alone passes the full check too, whatever options it holds. That headroom is
computed once, and again when the account or something it depends on has changed. Where the bound
says no, and for options (whose discounts and skews do not add up), the protocol decides.
"""

from dataclasses import dataclass

from deltaroll.engine.orders import RestingOrder
from deltaroll.engine.risk import (
    Market,
    compute_fillable,
    compute_maker_fee,
    get_holder,
    get_market,
    validate_trade,
)
from deltaroll.protocol.books import Book
from deltaroll.protocol.constants import MAX_POSITIONS
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fresh import validate_fresh
from deltaroll.protocol.funding import compute_accrued, compute_carry
from deltaroll.protocol.margin import compute_margin, compute_requirement
from deltaroll.protocol.state import Meter, State
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Expiry,
    MarketId,
    MarketLeaf,
    Order,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
)

MAX_ACCOUNTS = 100_000
"""Accounts whose headroom is kept."""
SMALL_SIZE = 1 << 57
SMALL_CASH = 1 << 125
"""Below these no order can bring a leaf out of range, nor an account's lots altogether."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """Equity less initial margin of an account, and what that was computed from."""

    amount: int
    account: Account
    until: Timestamp
    """Last second in which all its marks are fresh."""
    series: tuple[tuple[MarketId, Series], ...]
    others: tuple[tuple[MarketId, MarketLeaf], ...]
    """Underlyings, their grids, and expiries."""


def compute_headroom(state: State, account: Account) -> Headroom:
    """Return an account's headroom, charged to the open meter.

    Raises
    ------
    TransitionFault
        What `compute_margin` raises.
    """
    clock = state.globals.clock
    margin = compute_margin(state, account, clock)
    until = Timestamp((1 << 63) - 1)
    held: list[tuple[MarketId, Series]] = []
    others: dict[MarketId, MarketLeaf] = {}
    for position in account.positions:
        series, underlying, expiry = get_market(state, position.series)
        held.append((position.series, series))
        params = underlying.params
        others[series.underlying] = underlying
        others[params.grid] = state.markets[params.grid]
        oldest = min(series.marked_at, underlying.observed_at)
        until = min(until, Timestamp(oldest + params.max_mark_age))
        if expiry is not None:
            others[series.expiry] = expiry
            if series.kind != SeriesKind.PERPETUAL:
                until = compute_last_second(until, expiry, params.max_surface_age)
    return Headroom(
        margin.equity - margin.initial, account, until, tuple(held), tuple(others.items())
    )


def compute_last_second(until: Timestamp, expiry: Expiry, max_age: int) -> Timestamp:
    """Return the last second, up to `until`, in which marks of an expiry's options count."""
    return min(until, Timestamp(expiry.time - 1), Timestamp(expiry.surfaced_at + max_age))


def is_current(headroom: Headroom, state: State, account: Account) -> bool:
    """Return whether a headroom still is what the state says."""
    if headroom.account is not account or state.globals.clock > headroom.until:
        return False
    markets = state.markets
    for market, other in headroom.others:
        if markets.get(market) is not other:
            return False
    for market, series in headroom.series:
        leaf = markets.get(market)
        # A fill replaces the leaf and changes nothing in it but open interest and accrued funding.
        if leaf is not series and not (
            isinstance(leaf, Series)
            and leaf.risk is series.risk
            and leaf.status == series.status
            and leaf.mark == series.mark
            and leaf.carry_long == series.carry_long
            and leaf.carry_short == series.carry_short
            and leaf.marked_at == series.marked_at
            and leaf.mark_index == series.mark_index
        ):
            return False
    return True


def find_position(account: Account, market: MarketId) -> Position | None:
    """Return what an account holds of a series."""
    for position in account.positions:
        if position.series == market:
            return position
    return None


def is_plain(state: State, account: Account) -> bool:
    """Return whether nothing that an account holds is so large or so far that the bound would not
    see all that a fill checks: sizes near the end of their range, and what has settled."""
    for position in account.positions:
        series = state.markets.get(position.series)
        if (
            abs(position.size) >= SMALL_SIZE
            or not isinstance(series, Series)
            or series.status == SeriesStatus.SETTLED
        ):
            return False
    return True


def is_carried(
    headroom: Headroom, order: Order, lots: int, fee: int, market: Market, clock: Timestamp
) -> bool:
    """Return whether a headroom carries a full fill at the order's limit whatever is held.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE when the funding of the series leaves its range.
    """
    stored, underlying, _ = market
    account = headroom.account
    if stored.kind != SeriesKind.PERPETUAL:
        return False
    if len(account.positions) == MAX_POSITIONS or not -SMALL_CASH < account.cash < SMALL_CASH:
        return False
    series = compute_accrued(stored, underlying.params, clock)
    accrual = 0
    if (held := find_position(account, order.market)) is not None:
        carry = compute_carry(series, held.size)
        if not -SMALL_CASH < held.size * (carry - held.snapshot) < SMALL_CASH:
            return False
        accrual = -held.size * (carry - compute_carry(stored, held.size))
    notional = order.price * lots
    value = series.mark * lots
    if order.is_buy:
        gain, loss = value - notional, -min(series.risk, default=0)
    else:
        gain, loss = notional - value, max(series.risk, default=0)
    book = Book(stored.underlying, underlying, perpetual_lots=lots)
    _, initial = compute_requirement(book, max(0, loss) * lots)
    return headroom.amount + accrual + gain - fee >= initial


class RestingCheck:
    """The check of orders that are to rest, with the headrooms that it remembers."""

    __slots__ = ("_headrooms", "_scratch")

    def __init__(self) -> None:
        self._headrooms: dict[AccountId, Headroom] = {}
        # One meter for all checks: a leaf that it has met before costs no time again.
        self._scratch = Meter()

    def validate(self, state: State, resting: RestingOrder) -> None:
        """Check that a full fill at the limit would settle for the order's account.

        Raises
        ------
        TransitionFault
            What `validate_trade` raises; REDUCE_ONLY when nothing is left to reduce.
        """
        meter = state.meter
        self._scratch.gas = 0
        self._scratch.witness = 0
        state.meter = self._scratch
        try:
            self._validate(state, resting)
        finally:
            state.meter = meter

    def _validate(self, state: State, resting: RestingOrder) -> None:
        order = resting.order
        lots = compute_fillable(state, resting)
        if lots == 0:
            raise TransitionFault(Fault.REDUCE_ONLY)
        account = get_holder(state, resting.account)
        market = get_market(state, order.market)
        clock = state.globals.clock
        validate_fresh(market.series, market.underlying, market.expiry, clock)
        fee = compute_maker_fee(state, resting, lots, order.price)
        headroom = self._find_headroom(state, resting.account, account)
        if headroom is not None and is_carried(headroom, order, lots, fee, market, clock):
            return
        validate_trade(state, resting, lots, order.price, fee)

    def _find_headroom(
        self, state: State, account_id: AccountId, account: Account
    ) -> Headroom | None:
        headroom = self._headrooms.get(account_id)
        if headroom is not None and is_current(headroom, state, account):
            return headroom
        if not is_plain(state, account):
            return None
        try:
            headroom = compute_headroom(state, account)
        except TransitionFault:
            return None
        if len(self._headrooms) >= MAX_ACCOUNTS:
            self._headrooms.clear()
        self._headrooms[account_id] = headroom
        return headroom
