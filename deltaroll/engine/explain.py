"""Why does an account need this much margin? The protocol's own figures, taken apart.

Nothing is computed a second way: every number comes from the functions that `compute_margin` is
made of, and the parts add up to its result exactly.
"""

from dataclasses import dataclass

from deltaroll.engine.aside import set_aside
from deltaroll.engine.risk import get_holder
from deltaroll.protocol.books import Book, compute_books
from deltaroll.protocol.lanes import compute_lanes
from deltaroll.protocol.margin import compute_requirement
from deltaroll.protocol.scenarios import (
    compute_basis,
    compute_loss,
    compute_scenarios,
    compute_terms,
)
from deltaroll.protocol.state import State, get_grid
from deltaroll.protocol.types import AccountId, MarketId, Scenario, Timestamp


@dataclass(frozen=True, slots=True)
class Part:
    """A part of both requirements, collateral units."""

    maintenance: int
    initial: int


@dataclass(frozen=True, slots=True)
class ExpiryPart:
    """What the options of one expiry add to a book."""

    expiry: MarketId
    time: Timestamp
    value: int
    """At the marks."""
    terms: tuple[int, ...]
    """Profit and loss under each scenario of the grid."""
    basis: int
    """Basis contingency, not above 0."""


@dataclass(frozen=True, slots=True)
class BookPart:
    """What an account holds on one underlying, and what that requires."""

    underlying: MarketId
    scenarios: tuple[Scenario, ...]
    """Of the grid."""
    totals: tuple[int, ...]
    """Profit and loss under each of them: that of perpetuals and the terms of all expiries."""
    perpetuals: tuple[int, ...]
    expiries: tuple[ExpiryPart, ...]
    basis: int
    """Basis contingency, summed over expiries."""
    loss: int
    """The worst of all these, as a non-negative number."""
    binding: int | None
    """Index of the scenario that is worst; None when the basis contingency is, or nothing loses."""
    multiplier: int
    """On the loss, parts per million."""
    scenario_margin: Part
    perpetual_margin: Part
    """Contingency on perpetuals."""
    option_margin: Part
    """Contingency on naked short options."""
    perpetual_lots: int
    naked_lots: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """An account's margin and where it comes from, collateral units."""

    equity: int
    maintenance: int
    initial: int
    books: tuple[BookPart, ...]


def explain_book(state: State, book: Book) -> BookPart:
    """Return a book's parts."""
    params = book.underlying.params
    scenarios = get_grid(state, params.grid).scenarios
    count = len(scenarios)
    totals, basis = compute_scenarios(book)
    loss = compute_loss(book)
    worst = min(totals[:count])
    # Without one kind of position the requirement is what the others need.
    naked = compute_requirement(_restrict(book, 0, book.naked_lots), 0)
    perpetual = compute_requirement(_restrict(book, book.perpetual_lots, 0), 0)
    scenario = compute_requirement(_restrict(book, 0, 0), loss)
    return BookPart(
        underlying=book.key,
        scenarios=scenarios,
        totals=tuple(totals[:count]),
        perpetuals=tuple(compute_lanes(book.lanes)[:count]),
        expiries=tuple(
            ExpiryPart(
                expiry=chain.key,
                time=chain.expiry.time,
                value=chain.value,
                terms=tuple(compute_terms(chain, scenarios)),
                basis=0 if book.grid is None else compute_basis(chain, book.grid),
            )
            for chain in book.chains
        ),
        basis=basis,
        loss=loss,
        binding=totals.index(worst) if loss > 0 and worst == -loss else None,
        multiplier=book.underlying.multiplier,
        scenario_margin=Part(*scenario),
        perpetual_margin=Part(*perpetual),
        option_margin=Part(*naked),
        perpetual_lots=book.perpetual_lots,
        naked_lots=book.naked_lots,
    )


def explain_margin(state: State, account_id: AccountId, clock: Timestamp) -> Explanation:
    """Return an account's margin and all its parts.

    Raises
    ------
    TransitionFault
        UNKNOWN_ACCOUNT, and what `compute_margin` raises: without fresh marks there is no margin to
        explain.
    """
    with set_aside(state):
        equity, books = compute_books(state, get_holder(state, account_id), clock)
        parts = tuple(explain_book(state, book) for book in books)
    sums = [
        sum(getattr(part, name) for book in parts for part in _get_margins(book))
        for name in ("maintenance", "initial")
    ]
    return Explanation(equity, sums[0], sums[1], parts)


def _get_margins(book: BookPart) -> tuple[Part, Part, Part]:
    return book.scenario_margin, book.perpetual_margin, book.option_margin


def _restrict(book: Book, perpetual_lots: int, naked_lots: int) -> Book:
    return Book(book.key, book.underlying, book.grid, perpetual_lots, naked_lots)
