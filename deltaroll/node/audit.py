"""Conservation of money (G5), checked against the vault."""

from dataclasses import dataclass

from deltaroll.engine.ledger import compute_equity, count_open_sizes
from deltaroll.l1.types import Stage
from deltaroll.node.follower import Follower
from deltaroll.protocol.types import MessageKind


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
    """Deposits in the queue that have not gone back."""
    paid: int
    """To accounts of a frozen rollup: out of equity, insurance fund and fee pool."""
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
        held = self.equity + self.insurance + self.fee_pool
        return held - self.paid + self.exits + self.unprocessed

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


def compute_audit(follower: Follower) -> Audit:
    """Return the ledger of a follower's state against the vault on L1."""
    state = follower.state
    contracts = follower.gateway.contracts
    closing = follower.closing
    refunded = {} if closing is None else closing.refunded
    payments = () if closing is None else closing.paid.values()
    # Nothing else can have been claimed, and each costs a question.
    settled = follower.find_reached()[Stage.SETTLED].globals.exit_count
    claimed = sum(
        leaf.amount
        for index, leaf in enumerate(state.exits[:settled])
        if contracts.bridge.isClaimed(index)
    )
    unprocessed = sum(
        int.from_bytes(message.body[24:40], "big")
        for index, message in state.messages.items()
        if index >= state.globals.queue_index
        and message.kind == MessageKind.DEPOSIT
        and index not in refunded
    )
    return Audit(
        equity=compute_equity(state),
        insurance=state.globals.insurance,
        fee_pool=state.globals.fee_pool,
        exits=state.globals.withdrawn - claimed,
        unprocessed=unprocessed,
        paid=sum(event.amount for event in payments),
        vault=contracts.token.balanceOf(contracts.vault),
        deposited=state.globals.deposited,
        withdrawn=state.globals.withdrawn,
        open_sizes=count_open_sizes(state),
    )
