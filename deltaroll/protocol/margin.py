"""Portfolio margin: equity against the worst scenario of each underlying's grid.

The formulas are those of PMRM_2; docs/margin.md has them as they are here. With risk vectors stored
in the series leaves a check is a dot product: positions add up to one vector per expiry, and the
few steps that are not linear come after.
"""

from dataclasses import dataclass, field

from deltaroll.protocol.arithmetic import div_up, is_within_band
from deltaroll.protocol.constants import (
    LANE_BITS,
    MAX_GROUPS,
    MAX_SCENARIOS,
    ONE,
    PPM,
    WEIGHT_MARGIN_EXPIRY_GAS,
    WEIGHT_MARGIN_GAS,
    WEIGHT_MARGIN_GROUP_GAS,
    WEIGHT_MARGIN_POSITION_GAS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
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
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    Timestamp,
    Underlying,
)

SKEW = 2
"""Vol shocks from here on are skews."""
LANE_SIGN = 1 << (LANE_BITS - 1)
LANE_MASK = (1 << LANE_BITS) - 1
LANE_BIAS = sum(LANE_SIGN << LANE_BITS * lane for lane in range(MAX_SCENARIOS + 1))
"""Added to a sum of signed lanes, it makes every lane non-negative: no borrow between
neighbours.
"""


@dataclass(frozen=True, slots=True)
class Margin:
    """An account against its requirements, collateral units."""

    equity: int
    maintenance: int
    initial: int


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


def compute_shortfall(margin: Margin) -> int:
    """Return how much equity is missing to initial margin, 0 when none is."""
    return max(0, margin.initial - margin.equity)


def validate_observed(underlying: Underlying, clock: Timestamp) -> None:
    """Check that an underlying has a price to mark from.

    Raises
    ------
    TransitionFault
        HALTED when the breaker has tripped or the last observation is too old (or there was none).
    """
    if (
        underlying.pending_index != 0
        or underlying.index == 0
        or clock > underlying.observed_at + underlying.params.max_mark_age
    ):
        raise TransitionFault(Fault.HALTED)


def validate_surfaced(expiry: Expiry, underlying: Underlying, clock: Timestamp) -> None:
    """Check that an expiry has a volatility surface to mark options from.

    Raises
    ------
    TransitionFault
        HALTED when it is too old or there was none.
    """
    if expiry.surfaced_at == 0 or clock > expiry.surfaced_at + underlying.params.max_surface_age:
        raise TransitionFault(Fault.HALTED)


def validate_fresh(
    series: Series, underlying: Underlying, expiry: Expiry | None, clock: Timestamp
) -> None:
    """Check that a mark may be relied upon; what has settled always may be.

    Raises
    ------
    TransitionFault
        HALTED when no mark could be fresh: the breaker has tripped, the observation or the surface
        is too old, or the option has expired and no observation is from after that; STALE_MARK when
        a Mark would help: the mark is too old, the index has moved past the band, or the option can
        settle.
    """
    if series.status == SeriesStatus.SETTLED:
        return
    validate_observed(underlying, clock)
    if expiry is not None and series.kind != SeriesKind.PERPETUAL:
        if clock >= expiry.time:
            passed = underlying.observed_at >= expiry.time
            raise TransitionFault(Fault.STALE_MARK if passed else Fault.HALTED)
        validate_surfaced(expiry, underlying, clock)
    if clock > series.marked_at + underlying.params.max_mark_age:
        raise TransitionFault(Fault.STALE_MARK)
    if not is_within_band(underlying.index, series.mark_index, underlying.params.move_band):
        raise TransitionFault(Fault.STALE_MARK)


def get_expiry_of(state: State, series: Series) -> Expiry | None:
    """Return the expiry of a series, None for a perpetual without a premium.

    Raises
    ------
    TransitionFault
        OVERWEIGHT, UNKNOWN_MARKET.
    """
    return None if series.expiry == 0 else get_expiry(state, series.expiry)


def compute_equity_of(size: int, snapshot: int, series: Series) -> int:
    """Return what a position adds to equity: size * (mark - carry since it was touched)."""
    return size * (series.mark - (compute_carry(series, size) - snapshot))


def compute_naked(call: int, put: int) -> int:
    """Return how many lots of a strike are short and not covered, given both signed sizes.

    A long call covers a short put and the other way round: one is worth something when the other
    costs.
    """
    return max(0, -(call + put))


def compute_lanes(lanes: int) -> list[int]:
    """Return the MAX_SCENARIOS entries of packed lanes."""
    biased = lanes + LANE_BIAS
    return [(biased >> LANE_BITS * i & LANE_MASK) - LANE_SIGN for i in range(MAX_SCENARIOS)]


def compute_worst(lanes: int) -> int:
    """Return the largest loss over the scenarios of packed lanes, as a non-negative number."""
    biased = lanes + LANE_BIAS
    worst = 0
    for _ in range(MAX_SCENARIOS):
        entry = (biased & LANE_MASK) - LANE_SIGN
        if entry < worst:
            worst = entry
        biased >>= LANE_BITS
    return -worst


def compute_terms(chain: Chain, scenarios: tuple[Scenario, ...]) -> list[int]:
    """Return what the options of an expiry add to the profit and loss of every scenario, rounded
    down: their value after it, statically discounted, less their value at the marks, weighted. A
    skew counts as a loss either way.
    """
    value = chain.value
    long_discount = chain.expiry.long_discount
    short_discount = chain.expiry.short_discount
    terms = []
    for entry, scenario in zip(compute_lanes(chain.lanes), scenarios, strict=False):
        worth = entry + value
        discount = long_discount if worth >= 0 else short_discount
        term = (worth * discount - value * ONE) * scenario.weight >> 96
        terms.append(-abs(term) if scenario.vol_shock >= SKEW else term)
    return terms


def compute_basis(chain: Chain, grid: Grid) -> int:
    """Return what a higher or a lower forward of one expiry alone takes, rounded down and not above
    0: the loss in the worse of the two basis scenarios, neither weighted nor discounted, times the
    expiry's basis factor.
    """
    entries = compute_lanes(chain.lanes)
    worst = min(entries[grid.basis_up], entries[grid.basis_down], 0)
    return worst * chain.expiry.basis_factor >> 48


def compute_scenarios(book: Book) -> tuple[list[int], int]:
    """Return the profit and loss of a book under every scenario, all MAX_SCENARIOS of them, and the
    basis contingency, as a number not above 0.
    """
    totals = compute_lanes(book.lanes)
    basis = 0
    if book.grid is not None:
        for chain in book.chains:
            for place, term in enumerate(compute_terms(chain, book.grid.scenarios)):
                totals[place] += term
            basis += compute_basis(chain, book.grid)
    return totals, basis


def compute_loss(book: Book) -> int:
    """Return the worst of a book's scenarios and its basis contingency, as a non-negative
    number.
    """
    if book.grid is None:
        return compute_worst(book.lanes)
    totals, basis = compute_scenarios(book)
    return -min(basis, *totals)


def compute_requirement(book: Book, loss: int) -> tuple[int, int]:
    """Return maintenance and initial margin of a book whose worst loss is given, each part rounded
    up: factor times multiplier times loss, and the contingencies on perpetuals and naked options.
    """
    params = book.underlying.params
    scaled = loss * book.underlying.multiplier
    perpetuals = book.perpetual_lots * book.underlying.index
    naked = book.naked_lots * book.underlying.index
    maintenance = (
        div_up(scaled * params.maintenance_factor, PPM * PPM)
        + div_up(perpetuals * params.perp_maintenance, PPM)
        + div_up(naked * params.option_maintenance, PPM)
    )
    initial = (
        div_up(scaled * params.initial_factor, PPM * PPM)
        + div_up(perpetuals * (params.perp_maintenance + params.perp_initial), PPM)
        + div_up(naked * (params.option_maintenance + params.option_initial), PPM)
    )
    return maintenance, initial


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
    books: dict[MarketId, Book] = {}
    chains: dict[MarketId, Chain] = {}
    # The call whose put may be the next position.
    call: Series | None = None
    call_size = 0
    for position in positions:
        size = position.size
        lots = abs(size)
        # Entries are int64: with this bound no sum of size * entry leaves its lane.
        gross += lots
        if gross >= UINT64_BOUND:
            raise TransitionFault(Fault.OUT_OF_RANGE)
        series = get_series(state, position.series)
        equity += compute_equity_of(size, position.snapshot, series)
        if series.status == SeriesStatus.SETTLED:
            continue
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
            book.perpetual_lots += lots
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


def compute_margin(state: State, account: Account, clock: Timestamp) -> Margin:
    """Return an account's equity and requirements at current marks.

    Raises
    ------
    TransitionFault
        OVERWEIGHT; HALTED, STALE_MARK when a mark it depends on cannot be relied upon;
        UNKNOWN_MARKET when a series held is gone; OUT_OF_RANGE for 2^64 lots or more, long and
        short added up; POSITION_LIMIT when they are spread over more than MAX_GROUPS underlyings
        and expiries.
    """
    equity, books = compute_books(state, account, clock)
    maintenance = 0
    initial = 0
    for book in books:
        of_maintenance, of_initial = compute_requirement(book, compute_loss(book))
        maintenance += of_maintenance
        initial += of_initial
    return Margin(equity, maintenance, initial)


def validate_initial_margin(state: State, after: Account, clock: Timestamp) -> None:
    """Check that money that leaves an account leaves initial margin met.

    Raises
    ------
    TransitionFault
        MARGIN, and what `compute_margin` raises.
    """
    if compute_shortfall(compute_margin(state, after, clock)) != 0:
        raise TransitionFault(Fault.MARGIN)


def validate_margin(state: State, before: Account, after: Account, clock: Timestamp) -> None:
    """Check that a change leaves initial margin met, or a strictly smaller shortfall than before
    and no equity below 0 that has fallen: nobody loses what others would have to pay.

    Raises
    ------
    TransitionFault
        MARGIN, and what `compute_margin` raises.
    """
    margin = compute_margin(state, after, clock)
    shortfall = compute_shortfall(margin)
    if shortfall == 0:
        return
    former = compute_margin(state, before, clock)
    if shortfall >= compute_shortfall(former) or margin.equity < min(0, former.equity):
        raise TransitionFault(Fault.MARGIN)
