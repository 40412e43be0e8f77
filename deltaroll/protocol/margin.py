"""Portfolio margin: equity against the worst scenario of each underlying's grid.

The formulas are those of PMRM_2; docs/margin.md has them as they are here. With risk vectors stored
in the series leaves a check is a dot product: positions add up to one vector per expiry, and the
few steps that are not linear come after.
"""

from dataclasses import dataclass

from deltaroll.protocol.arithmetic import div_up
from deltaroll.protocol.books import Book, compute_books
from deltaroll.protocol.constants import (
    PPM,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.scenarios import compute_loss
from deltaroll.protocol.state import (
    State,
)
from deltaroll.protocol.types import (
    Account,
    Timestamp,
)


@dataclass(frozen=True, slots=True)
class Margin:
    """An account against its requirements, collateral units."""

    equity: int
    maintenance: int
    initial: int


def compute_shortfall(margin: Margin) -> int:
    """Return how much equity is missing to initial margin, 0 when none is."""
    return max(0, margin.initial - margin.equity)


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
