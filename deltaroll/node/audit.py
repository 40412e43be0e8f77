"""Conservation of money (G5), checked against the vault."""

from dataclasses import dataclass

from deltaroll.node.follower import Follower
from deltaroll.protocol.margin import compute_equity_of
from deltaroll.protocol.state import State
from deltaroll.protocol.types import MessageKind, Series, SeriesStatus


@dataclass(frozen=True, slots=True)
class Audit:
    """Both sides of the ledger, collateral units."""

    equity: int
    """All accounts: cash, accrued carry, positions at mark."""
    insurance: int
    fee_pool: int
    exits: int
    """Created and not claimed."""
    unprocessed: int
    """Deposits in the queue."""
    vault: int
    deposited: int
    """Ever consumed by the rollup."""
    withdrawn: int
    """Ever turned into exits."""
    open_sizes: int
    """Series whose sizes do not sum to zero or not to their open interest: must be 0."""

    @property
    def liabilities(self) -> int:
        """What the vault must be able to pay."""
        return self.equity + self.insurance + self.fee_pool + self.exits + self.unprocessed

    @property
    def is_conserved(self) -> bool:
        """Whether not a unit was created or lost.

        The ledger is exact. The vault may hold more: whoever sends it tokens without a deposit
        has given them away.
        """
        held = self.equity + self.insurance + self.fee_pool
        return (
            held == self.deposited - self.withdrawn
            and self.vault >= self.liabilities
            and self.open_sizes == 0
        )


def compute_equity(state: State) -> int:
    """Return the equity of all accounts at their series' marks."""
    total = 0
    for account in state.accounts.values():
        total += account.cash
        for position in account.positions:
            series = state.markets[position.series]
            assert isinstance(series, Series)
            total += compute_equity_of(position.size, position.snapshot, series)
    return total


def count_open_sizes(state: State) -> int:
    """Return how many series that live have sizes that do not sum to zero, or longs other than
    their open interest; of settled ones, sizes other than what is left of theirs.
    """
    net: dict[int, int] = {}
    long: dict[int, int] = {}
    gross: dict[int, int] = {}
    for account in state.accounts.values():
        for position in account.positions:
            net[position.series] = net.get(position.series, 0) + position.size
            long[position.series] = long.get(position.series, 0) + max(0, position.size)
            gross[position.series] = gross.get(position.series, 0) + abs(position.size)
    return sum(
        gross.get(market, 0) != leaf.open_interest
        if leaf.status == SeriesStatus.SETTLED
        else net.get(market, 0) != 0 or long.get(market, 0) != leaf.open_interest
        for market, leaf in state.markets.items()
        if isinstance(leaf, Series)
    )


def compute_audit(follower: Follower) -> Audit:
    """Return the ledger of a follower's state against the vault on L1."""
    state = follower.state
    contracts = follower.gateway.contracts
    claimed = sum(
        leaf.amount for index, leaf in enumerate(state.exits) if contracts.bridge.isClaimed(index)
    )
    unprocessed = sum(
        int.from_bytes(message.body[24:40], "big")
        for index, message in state.messages.items()
        if index >= state.globals.queue_index and message.kind == MessageKind.DEPOSIT
    )
    return Audit(
        equity=compute_equity(state),
        insurance=state.globals.insurance,
        fee_pool=state.globals.fee_pool,
        exits=state.globals.withdrawn - claimed,
        unprocessed=unprocessed,
        vault=contracts.token.balanceOf(contracts.vault),
        deposited=state.globals.deposited,
        withdrawn=state.globals.withdrawn,
        open_sizes=count_open_sizes(state),
    )
