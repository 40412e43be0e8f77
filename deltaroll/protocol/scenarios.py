"""What a book loses in each scenario of its grid."""

from deltaroll.protocol.books import Book, Chain
from deltaroll.protocol.constants import (
    ONE,
)
from deltaroll.protocol.lanes import compute_lanes, compute_worst
from deltaroll.protocol.types import (
    Grid,
    Scenario,
)

SKEW = 2
"""Vol shocks from here on are skews."""


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
