"""How all accounts stand, at one glance."""

from collections.abc import Generator
from dataclasses import dataclass

from deltaroll.node.upkeep import compute_margin_apart
from deltaroll.protocol.constants import INSURANCE_ACCOUNT
from deltaroll.protocol.state import State
from deltaroll.protocol.types import Account, Series, SeriesKind


@dataclass(slots=True)
class MarginHealth:
    """Accounts against their requirements. The insurance fund is none of them."""

    holders: int = 0
    """Accounts with positions."""
    below_initial: int = 0
    below_maintenance: int = 0
    in_auction: int = 0
    stale: int = 0
    """Whose margin cannot be computed now, because a mark is stale or halted."""
    worst_ratio: float | None = None
    """Lowest equity over maintenance margin; None when nobody needs any."""


def iterate_health(state: State) -> Generator[None, None, MarginHealth]:
    """Look at one account after the other; return how they stand. Accounts change meanwhile: each
    is counted as it was when its turn came.
    """
    health = MarginHealth()
    for account_id in sorted(state.accounts):
        account = state.accounts.get(account_id)
        if account is not None and account_id != INSURANCE_ACCOUNT:
            count_account(health, state, account)
        yield
    return health


def count_account(health: MarginHealth, state: State, account: Account) -> None:
    """Count one account."""
    health.in_auction += account.distressed_at != 0
    if not account.positions:
        # Nothing is required of it; who owes cash is below that.
        health.below_initial += account.cash < 0
        health.below_maintenance += account.cash < 0
        return
    health.holders += 1
    margin = compute_margin_apart(state, account)
    if margin is None:
        health.stale += 1
        return
    health.below_initial += margin.equity < margin.initial
    health.below_maintenance += margin.equity < margin.maintenance
    if margin.maintenance > 0:
        ratio = margin.equity / margin.maintenance
        worst = health.worst_ratio
        health.worst_ratio = ratio if worst is None else min(worst, ratio)


def collect_kinds(state: State) -> dict[int, SeriesKind]:
    """Return what kind of series each is."""
    return {
        int(market): SeriesKind(leaf.kind)
        for market, leaf in state.markets.items()
        if isinstance(leaf, Series)
    }


def compute_health(state: State) -> MarginHealth:
    """Return how all accounts stand, at once."""
    steps = iterate_health(state)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            health: MarginHealth = stop.value
            return health
