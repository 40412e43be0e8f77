"""Are money and lots conserved (G5)? Sums over a whole state."""

from deltaroll.protocol.books import compute_equity_of
from deltaroll.protocol.state import State
from deltaroll.protocol.types import Account, MarketId, Series, SeriesStatus


def compute_equity_at_marks(state: State, account: Account) -> int:
    """Return an account's equity at its series' marks, whatever their age."""
    total = account.cash
    for position in account.positions:
        series = state.markets[position.series]
        assert isinstance(series, Series)
        total += compute_equity_of(position.size, position.snapshot, series)
    return total


def compute_equity(state: State) -> int:
    """Return the equity of all accounts at their series' marks."""
    return sum(compute_equity_at_marks(state, account) for account in state.accounts.values())


def find_open_sizes(state: State) -> list[MarketId]:
    """Return the series that live whose sizes do not sum to zero, or whose longs are not their open
    interest; and those that have settled with other sizes than what is left of theirs.
    """
    net: dict[int, int] = {}
    long: dict[int, int] = {}
    gross: dict[int, int] = {}
    for account in state.accounts.values():
        for position in account.positions:
            net[position.series] = net.get(position.series, 0) + position.size
            long[position.series] = long.get(position.series, 0) + max(0, position.size)
            gross[position.series] = gross.get(position.series, 0) + abs(position.size)
    return [
        market
        for market, leaf in state.markets.items()
        if isinstance(leaf, Series)
        and (
            gross.get(market, 0) != leaf.open_interest
            if leaf.status == SeriesStatus.SETTLED
            else net.get(market, 0) != 0 or long.get(market, 0) != leaf.open_interest
        )
    ]


def count_open_sizes(state: State) -> int:
    """Return how many series `find_open_sizes` finds."""
    return len(find_open_sizes(state))
