"""Greeks in integers, from the leaves of the state and by the protocol's own formulas.

They are those of Black's formula at the volatility of the surface, which is held while the price
moves: the scenarios of margin hold it, too. Everything is linear in sizes, so the Greeks of an
account are the sum of its positions' to the unit, and those of a venue the sum of its accounts'.

Units, per lot of a series and in sums alike:

- delta: lots of the underlying, Q48; the change of value when the index moves by one unit.
- gamma: change of delta when the index moves by itself, 100 %; lots, Q48. A hundredth of it is the
  change for one percent.
- vega: collateral units for 1.00 of volatility a year; a hundredth of it is one point.
- theta: collateral units a year, from the time that passes alone; by 365 it is a day's. Forward and
  surface stay, so it has the decay of time value and the interest on what is left.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deltaroll.protocol.black76 import compute_delta, compute_gamma, compute_theta, compute_vega
from deltaroll.protocol.codec import decode_header, iterate_transactions
from deltaroll.protocol.constants import ONE
from deltaroll.protocol.expiry import compute_forward_parts
from deltaroll.protocol.fixed import compute_sqrt, multiply_down
from deltaroll.protocol.risk import (
    compute_board,
    compute_deviation,
    compute_log_moneyness,
    compute_pair_value,
    compute_years,
)
from deltaroll.protocol.state import State
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Expiry,
    Fill,
    Grid,
    MarketId,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying,
)


@dataclass(frozen=True, slots=True)
class Greeks:
    """Sensitivities of a lot, a position or a sum of them, in the module's units."""

    delta: int = 0
    gamma: int = 0
    vega: int = 0
    theta: int = 0

    def __add__(self, other: "Greeks") -> "Greeks":
        return Greeks(
            self.delta + other.delta,
            self.gamma + other.gamma,
            self.vega + other.vega,
            self.theta + other.theta,
        )

    def __mul__(self, size: int) -> "Greeks":
        return Greeks(self.delta * size, self.gamma * size, self.vega * size, self.theta * size)


ZERO = Greeks()
"""Of what no price moves."""


@dataclass(frozen=True, slots=True)
class Position:
    """A holding with its Greeks."""

    series: MarketId
    underlying: MarketId
    size: int
    greeks: Greeks


@dataclass(slots=True)
class DeltaFlow:
    """How much directional risk fills moved on one underlying. Lots of it, Q48."""

    fills: int = 0
    gross: int = 0
    """Sum over fills, each without its sign: all that was traded."""
    taken: int = 0
    """Sum over fills with the sign of the taker's side: positive when takers bought."""
    moved: int = 0
    """What is another account's afterwards: the gains of those that gained, each account's fills
    netted. As much was given up by the others."""


def compute_perpetual_greeks(expiry: Expiry | None) -> Greeks:
    """Return the Greeks of a perpetual's lot: nothing but delta, the ratio of its premium leaf."""
    return Greeks(delta=ONE if expiry is None else expiry.ratio)


def compute_pair_greeks(
    underlying: Underlying, expiry: Expiry, strike: int, grid: Grid
) -> tuple[Greeks, Greeks]:
    """Return the Greeks of a lot of a strike's call and of its put, at the last observation.

    The deltas of the two differ by the discounted slope of the forward exactly; gamma and vega are
    the same. Zero where there is nothing to price: no surface, no index, or expired.
    """
    remaining = expiry.time - underlying.observed_at
    if expiry.surfaced_at == 0 or underlying.index == 0 or remaining <= 0:
        return ZERO, ZERO
    fixed, variable = compute_forward_parts(underlying, expiry)
    board = compute_board(fixed, variable, remaining, expiry.rate, grid.model)
    forward = board.fixed + board.variable
    deviation = compute_deviation(expiry, remaining, compute_log_moneyness(board, strike))
    years = compute_years(remaining)
    # What a unit of index adds to the forward: the ratio, and less and less of it in the window.
    slope = multiply_down(board.discount, board.variable * ONE // underlying.index)
    delta = multiply_down(slope, compute_delta(forward, strike, deviation))
    # gamma of the forward times the forward, times the forward's own move with the index.
    bend = compute_gamma(forward, strike, deviation) * board.variable // forward
    gamma = multiply_down(slope, bend)
    root = compute_sqrt(years << 48)
    vega = multiply_down(board.discount, compute_vega(forward, strike, deviation, root))
    decay = multiply_down(board.discount, compute_theta(forward, strike, deviation, years))
    call_value, put_value = compute_pair_value(board, 0, strike, deviation)
    rate = max(0, expiry.rate)
    call = Greeks(delta, gamma, vega, decay + multiply_down(rate, call_value))
    put = Greeks(delta - slope, gamma, vega, decay + multiply_down(rate, put_value))
    return call, put


def compute_series_greeks(state: State, series: Series) -> Greeks:
    """Return the Greeks of a lot of a series; KeyError when a leaf that it names is missing."""
    underlying = state.markets[series.underlying]
    expiry = state.markets[series.expiry] if series.expiry else None
    if (
        series.status == SeriesStatus.SETTLED
        or not isinstance(underlying, Underlying)
        or not isinstance(expiry, Expiry | None)
    ):
        return ZERO
    if series.kind == SeriesKind.PERPETUAL:
        return compute_perpetual_greeks(expiry)
    grid = state.markets[underlying.params.grid]
    if expiry is None or not isinstance(grid, Grid):
        return ZERO
    call, put = compute_pair_greeks(underlying, expiry, series.strike, grid)
    return call if series.kind == SeriesKind.CALL else put


class Sensitivities:
    """The Greeks of all series of a state as it is now, each strike priced once.

    Make a new one when an underlying or a surface has changed.
    """

    __slots__ = ("_per_lot", "_state")

    def __init__(self, state: State) -> None:
        self._state = state
        self._per_lot: dict[MarketId, Greeks] = {}

    def get(self, market: MarketId) -> Greeks:
        """Return the Greeks of a lot of a series; ZERO for what is no series."""
        greeks = self._per_lot.get(market)
        if greeks is None:
            series = self._state.markets.get(market)
            greeks = (
                compute_series_greeks(self._state, series) if isinstance(series, Series) else ZERO
            )
            self._per_lot[market] = greeks
        return greeks

    def get_underlying(self, market: MarketId) -> MarketId:
        """Return the underlying of a series; KeyError when there is no such series."""
        series = self._state.markets[market]
        if not isinstance(series, Series):
            raise KeyError(market)
        return series.underlying


def compute_positions(sensitivities: Sensitivities, account: Account) -> list[Position]:
    """Return an account's positions with their Greeks."""
    return [
        Position(
            position.series,
            sensitivities.get_underlying(position.series),
            position.size,
            sensitivities.get(position.series) * position.size,
        )
        for position in account.positions
    ]


def compute_account_greeks(
    sensitivities: Sensitivities, account: Account
) -> dict[MarketId, Greeks]:
    """Return an account's Greeks per underlying."""
    return sum_greeks(compute_positions(sensitivities, account))


def sum_greeks(positions: Iterable[Position]) -> dict[MarketId, Greeks]:
    """Return the sum of positions' Greeks per underlying."""
    totals: dict[MarketId, Greeks] = {}
    for position in positions:
        totals[position.underlying] = totals.get(position.underlying, ZERO) + position.greeks
    return totals


def compute_venue_greeks(state: State, sensitivities: Sensitivities) -> dict[MarketId, Greeks]:
    """Return per underlying what all longs of the venue hold together.

    All shorts together hold the same with the other sign: over all accounts the sum is zero.
    """
    totals: dict[MarketId, Greeks] = {}
    for market, series in state.markets.items():
        if isinstance(series, Series) and series.open_interest != 0:
            greeks = sensitivities.get(market) * series.open_interest
            totals[series.underlying] = totals.get(series.underlying, ZERO) + greeks
    return totals


def compute_delta_flow(
    sensitivities: Sensitivities, fills: Iterable[Fill]
) -> dict[MarketId, DeltaFlow]:
    """Return how much directional risk fills moved, per underlying, at the deltas of the state."""
    flows: dict[MarketId, DeltaFlow] = {}
    changes: dict[MarketId, dict[AccountId, int]] = {}
    for fill in fills:
        key = sensitivities.get_underlying(fill.market)
        flow = flows.setdefault(key, DeltaFlow())
        change = changes.setdefault(key, {})
        delta = sensitivities.get(fill.market).delta * fill.lots
        taken = -delta if fill.maker_is_buy else delta
        flow.fills += 1
        flow.gross += abs(delta)
        flow.taken += taken
        change[fill.taker] = change.get(fill.taker, 0) + taken
        change[fill.maker] = change.get(fill.maker, 0) - taken
    for key, change in changes.items():
        flows[key].moved = sum(max(0, amount) for amount in change.values())
    return flows


def read_fills(chunks: Iterable[bytes]) -> Iterable[Fill]:
    """Yield the fills of chunk data. Fills forced through L1 stand in the queue, not here."""
    for data in chunks:
        for transaction in iterate_transactions(decode_header(data)):
            if isinstance(transaction, Fill):
                yield transaction


def compute_batch_report(state: State, chunks: Iterable[bytes]) -> Mapping[MarketId, DeltaFlow]:
    """Return the net delta settlement report of a batch: how much directional risk its chunks
    moved, per underlying, at the deltas of `state`, which is that after the batch.
    """
    return compute_delta_flow(Sensitivities(state), read_fills(chunks))
