"""May an order rest? The protocol's margin check, and a bound that mostly makes it unnecessary.

Requirements are subadditive: the worst loss of two portfolios together is at most the sum of their
worst losses, and rounding up keeps that true. So an order that what an account has over its initial
margin could carry alone passes the full check too. That headroom is computed once, and again when
the account or something it depends on has changed. Where the bound says no, the protocol decides.
"""

from dataclasses import dataclass

from deltaroll.engine.orders import RestingOrder
from deltaroll.engine.risk import (
    compute_fillable,
    get_holder,
    get_market,
    validate_trade,
)
from deltaroll.protocol.constants import MAX_POSITIONS
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import compute_fee
from deltaroll.protocol.margin import compute_margin, compute_requirement, validate_fresh
from deltaroll.protocol.state import Meter, State
from deltaroll.protocol.types import (
    Account,
    AccountId,
    MarketId,
    Order,
    Series,
    Timestamp,
    Underlying,
)

MAX_ACCOUNTS = 100_000
"""Accounts whose headroom is kept."""
SMALL_SIZE = 1 << 62
SMALL_CASH = 1 << 126
"""Below these no order can bring a leaf out of range."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """Equity less initial margin of an account, and what that was computed from."""

    amount: int
    account: Account
    until: Timestamp
    """Last second in which all its marks are fresh."""
    series: tuple[tuple[MarketId, Series], ...]
    underlyings: tuple[tuple[MarketId, Underlying], ...]


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
    underlyings: dict[MarketId, Underlying] = {}
    for position in account.positions:
        series, underlying = get_market(state, position.series)
        held.append((position.series, series))
        underlyings[series.underlying] = underlying
        oldest = min(series.marked_at, underlying.observed_at)
        until = min(until, Timestamp(oldest + underlying.params.max_mark_age))
    return Headroom(
        margin.equity - margin.initial, account, until, tuple(held), tuple(underlyings.items())
    )


def is_current(headroom: Headroom, state: State, account: Account) -> bool:
    """Return whether a headroom still is what the state says."""
    if headroom.account is not account or state.globals.clock > headroom.until:
        return False
    markets = state.markets
    for market, underlying in headroom.underlyings:
        if markets.get(market) is not underlying:
            return False
    for market, series in headroom.series:
        leaf = markets.get(market)
        # A fill replaces the leaf and changes nothing in it but the open interest.
        if leaf is not series and not (
            isinstance(leaf, Series)
            and leaf.risk is series.risk
            and leaf.mark == series.mark
            and leaf.carry == series.carry
            and leaf.marked_at == series.marked_at
            and leaf.mark_index == series.mark_index
        ):
            return False
    return True


def is_carried(
    headroom: Headroom, order: Order, lots: int, series: Series, underlying: Underlying
) -> bool:
    """Return whether a headroom carries a full fill at the order's limit whatever is held."""
    account = headroom.account
    if len(account.positions) == MAX_POSITIONS or not -SMALL_CASH < account.cash < SMALL_CASH:
        return False
    notional = order.price * lots
    value = series.mark * lots
    if order.is_buy:
        gain, loss = value - notional, -min(series.risk, default=0)
    else:
        gain, loss = notional - value, max(series.risk, default=0)
    _, initial = compute_requirement(underlying, max(0, loss) * lots, value)
    fee = compute_fee(notional, underlying.params.maker_fee)
    return headroom.amount + gain - fee >= initial


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
        series, underlying = get_market(state, order.market)
        validate_fresh(series, underlying, state.globals.clock)
        headroom = self._find_headroom(state, resting.account, account)
        if headroom is not None and is_carried(headroom, order, lots, series, underlying):
            return
        validate_trade(
            state, account, order, lots, order.price, series, underlying.params.maker_fee
        )

    def _find_headroom(
        self, state: State, account_id: AccountId, account: Account
    ) -> Headroom | None:
        headroom = self._headrooms.get(account_id)
        if headroom is not None and is_current(headroom, state, account):
            return headroom
        if any(abs(position.size) >= SMALL_SIZE for position in account.positions):
            return None
        try:
            headroom = compute_headroom(state, account)
        except TransitionFault:
            return None
        if len(self._headrooms) >= MAX_ACCOUNTS:
            self._headrooms.clear()
        self._headrooms[account_id] = headroom
        return headroom
