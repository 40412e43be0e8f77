"""What an account holds: positions add up to one risk vector for each underlying and expiry."""

from dataclasses import dataclass, field

from deltaroll.protocol.constants import (
    MAX_GROUPS,
    WEIGHT_MARGIN_EXPIRY_GAS,
    WEIGHT_MARGIN_GAS,
    WEIGHT_MARGIN_GROUP_GAS,
    WEIGHT_MARGIN_POSITION_GAS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fresh import (
    validate_fresh,
    validate_observed,
)
from deltaroll.protocol.funding import compute_carry
from deltaroll.protocol.state import (
    UINT64_BOUND,
    State,
    charge,
    get_expiry,
    get_grid,
    get_lanes,
    get_series,
    get_underlying,
)
from deltaroll.protocol.types import (
    Account,
    Expiry,
    Grid,
    MarketId,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
)


@dataclass(slots=True)
class Chain:
    """The options that an account holds of one expiry."""

    key: MarketId
    expiry: Expiry
    value: int = 0
    """At the marks."""
    lanes: int = 0
    """Sum of size times risk vector, packed."""


@dataclass(slots=True)
class Book:
    """What an account holds on one underlying."""

    key: MarketId
    underlying: Underlying
    grid: Grid | None = None
    """None as long as it holds no options."""
    perpetual_lots: int = 0
    """Long and short added up."""
    naked_lots: int = 0
    """Of options, short and not covered at the same strike."""
    lanes: int = 0
    """Sum of size times risk vector over perpetuals, packed and weighted."""
    chains: list[Chain] = field(default_factory=list)


def compute_equity_of(size: int, snapshot: int, series: Series) -> int:
    """Return what a position adds to equity: size * (mark - carry since it was touched)."""
    return size * (series.mark - (compute_carry(series, size) - snapshot))


def compute_naked(call: int, put: int) -> int:
    """Return how many lots of a strike are short and not covered, given both signed sizes.

    A long call covers a short put and the other way round: one is worth something when the other
    costs.
    """
    return max(0, -(call + put))


def validate_groups(groups: int) -> None:
    """Check that an account's positions may be spread over one more underlying or expiry.

    Raises
    ------
    TransitionFault
        POSITION_LIMIT.
    """
    if groups >= MAX_GROUPS:
        raise TransitionFault(Fault.POSITION_LIMIT)


def compute_books(state: State, account: Account, clock: Timestamp) -> tuple[int, list[Book]]:
    """Return an account's equity and what it holds, per underlying in the order of its positions.

    Raises
    ------
    TransitionFault
        What `compute_margin` raises.
    """
    positions = account.positions
    charge(state, WEIGHT_MARGIN_GAS + len(positions) * WEIGHT_MARGIN_POSITION_GAS, 0)
    equity = account.cash
    gross = 0
    held: list[tuple[Position, Series]] = []
    for position in positions:
        series = get_series(state, position.series)
        equity += compute_equity_of(position.size, position.snapshot, series)
        gross += abs(position.size)
        if series.status != SeriesStatus.SETTLED:
            held.append((position, series))
    # Entries are int64: with this bound no sum of size * entry leaves its lane.
    if gross >= UINT64_BOUND:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    books: dict[MarketId, Book] = {}
    chains: dict[MarketId, Chain] = {}
    # The call whose put may be the next position.
    call: Series | None = None
    call_size = 0
    for position, series in held:
        size = position.size
        book = books.get(series.underlying)
        if book is None:
            charge(state, WEIGHT_MARGIN_GROUP_GAS, 0)
            validate_groups(len(books) + len(chains))
            book = Book(series.underlying, get_underlying(state, series.underlying))
            validate_observed(book.underlying, clock)
            books[series.underlying] = book
        if series.kind == SeriesKind.PERPETUAL:
            validate_fresh(series, book.underlying, None, clock)
            book.lanes += size * get_lanes(state, position.series, series)
            book.perpetual_lots += abs(size)
            continue
        chain = chains.get(series.expiry)
        if chain is None:
            charge(state, WEIGHT_MARGIN_EXPIRY_GAS, 0)
            validate_groups(len(books) + len(chains))
            if book.grid is None:
                book.grid = get_grid(state, book.underlying.params.grid)
            chain = Chain(series.expiry, get_expiry(state, series.expiry))
            chains[series.expiry] = chain
            book.chains.append(chain)
        validate_fresh(series, book.underlying, chain.expiry, clock)
        chain.lanes += size * get_lanes(state, position.series, series)
        chain.value += size * series.mark
        if (
            call is not None
            and series.kind == SeriesKind.PUT
            and series.expiry == call.expiry
            and series.strike == call.strike
        ):
            book.naked_lots += compute_naked(call_size, size) - compute_naked(call_size, 0)
            call = None
        else:
            book.naked_lots += compute_naked(size, 0)
            call = series if series.kind == SeriesKind.CALL else None
            call_size = size
    return equity, list(books.values())
