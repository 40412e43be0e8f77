"""Splits what a transaction did to accounts into what it was: fills with their fees, and flows of
cash with their causes. Nothing is computed twice: positions tell funding and settlement, the fill
tells what was paid, and what is left of an account's change in cash is the fee, deposit, payment or
whatever else the transaction is about. So an account's flows and fills always add up to its cash.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from deltaroll.node.events import CashFlow, FlowKind, Liquidation, Takeover
from deltaroll.protocol.constants import INSURANCE_ACCOUNT
from deltaroll.protocol.fill import compute_position_size
from deltaroll.protocol.funding import compute_carry
from deltaroll.protocol.messages import decode_forced
from deltaroll.protocol.state import State
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Fill,
    Liquidate,
    MarketId,
    MessageKind,
    Queue,
    Series,
    SeriesStatus,
    Socialise,
    Transaction,
    Transfer,
    Withdraw,
)

MESSAGE_FLOWS = {
    MessageKind.DEPOSIT: FlowKind.DEPOSIT,
    MessageKind.FORCE_EXIT: FlowKind.WITHDRAWAL,
    MessageKind.FORCE_CLOSE: FlowKind.FORCE_CLOSE,
}


class Filled(msgspec.Struct, frozen=True, gc=False):
    """A fill that was executed."""

    market: int
    price: int
    lots: int
    taker_is_buy: bool
    maker: int
    maker_slot: int
    maker_nonce: int
    maker_fee: int
    """What it has paid; a rebate is below 0. Includes the fee for data."""
    taker: int
    taker_slot: int
    taker_nonce: int
    taker_fee: int


@dataclass(slots=True)
class Ledger:
    """What the transactions of one step have done, in order."""

    fills: list[Filled] = field(default_factory=list)
    flows: list[CashFlow | Liquidation] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.fills or self.flows)

    def take_fills(self) -> list[Filled]:
        """Return the fills since the last time."""
        taken, self.fills = self.fills, []
        return taken

    def take_flows(self) -> list[CashFlow | Liquidation]:
        """Return the flows since the last time."""
        taken, self.flows = self.flows, []
        return taken

    def mark(self) -> tuple[int, int]:
        """Return how much there is, for `rewind`."""
        return len(self.fills), len(self.flows)

    def rewind(self, mark: tuple[int, int]) -> None:
        """Forget what came after a mark."""
        fills, flows = mark
        del self.fills[fills:], self.flows[flows:]

    def note(
        self,
        state: State,
        transaction: Transaction,
        before: Mapping[AccountId, Account | None],
    ) -> None:
        """Note a transaction that has just been applied.

        Parameters
        ----------
        before
            The accounts that it has written, as they were.
        """
        if not before:
            # Of a message that could not be honoured nothing need make sense.
            return
        kind, market = None, MarketId(0)
        inner: Transaction = transaction
        if isinstance(transaction, Queue):
            message = state.messages[state.globals.queue_index - 1]
            if message.kind == MessageKind.FORCED:
                _, inner, _ = decode_forced(message.body)
            else:
                kind = MESSAGE_FLOWS.get(MessageKind(message.kind))
            if kind == FlowKind.FORCE_CLOSE:
                market = MarketId(int.from_bytes(message.body[4:6], "big"))
        residuals: dict[AccountId, int] = {}
        for account_id in sorted(before):
            if account_id != INSURANCE_ACCOUNT:
                residuals[account_id] = self._note_positions(state, account_id, before[account_id])
        match inner:
            case Fill():
                self._note_fill(state, inner, residuals)
                return
            case Transfer():
                self._note_transfer(inner)
                return
            case Withdraw():
                kind = FlowKind.WITHDRAWAL
            case Liquidate():
                kind = FlowKind.LIQUIDATION
                self._note_takeover(state, inner, before)
            case Socialise():
                kind = FlowKind.SOCIALISED
            case _:
                pass
        for account_id, amount in residuals.items():
            if amount:
                lots = get_size(before[account_id], market) - get_size(
                    state.accounts[account_id], market
                )
                self.flows.append(
                    CashFlow(account_id, kind or FlowKind.OTHER, amount, market, lots)
                )

    def _note_positions(self, state: State, account_id: AccountId, before: Account | None) -> int:
        """Note what an account's positions have paid; return the rest of its change in cash."""
        after = state.accounts[account_id]
        if before is None:
            return after.cash
        rest = after.cash - before.cash
        if before.positions == after.positions:
            return rest
        held = {position.series: position for position in after.positions}
        for position in before.positions:
            now = held.get(position.series)
            if now == position:
                continue
            series = state.markets[position.series]
            assert isinstance(series, Series)
            carry = compute_carry(series, position.size)
            funding = -position.size * (carry - position.snapshot)
            if funding:
                rest -= funding
                self._flow(account_id, FlowKind.FUNDING, funding, position.series)
            if now is None and series.status == SeriesStatus.SETTLED:
                value = position.size * series.mark
                rest -= value
                self._flow(account_id, FlowKind.SETTLEMENT, value, position.series, position.size)
        return rest

    def _note_fill(self, state: State, fill: Fill, residuals: dict[AccountId, int]) -> None:
        maker_slot = state.slots[fill.maker][fill.maker_slot]
        taker_slot = state.slots[fill.taker][fill.taker_slot]
        price = maker_slot.order.price
        paid = price * fill.lots if fill.maker_is_buy else -price * fill.lots
        self.fills.append(
            Filled(
                fill.market,
                price,
                fill.lots,
                not fill.maker_is_buy,
                fill.maker,
                fill.maker_slot,
                maker_slot.order.nonce,
                -(residuals[fill.maker] + paid),
                fill.taker,
                fill.taker_slot,
                taker_slot.order.nonce,
                -(residuals[fill.taker] - paid),
            )
        )

    def _note_transfer(self, transfer: Transfer) -> None:
        sender, recipient, amount = transfer.sender, transfer.recipient, transfer.amount
        for account, other, change in ((sender, recipient, -amount), (recipient, sender, amount)):
            if account != INSURANCE_ACCOUNT:
                self.flows.append(CashFlow(account, FlowKind.TRANSFER, change, counterparty=other))

    def _note_takeover(
        self, state: State, bid: Liquidate, before: Mapping[AccountId, Account | None]
    ) -> None:
        target = before[bid.target]
        assert target is not None
        left = {held.series: held.size for held in state.accounts[bid.target].positions}
        moves = []
        for position in target.positions:
            lots = position.size - left.get(position.series, 0)
            series = state.markets[position.series]
            assert isinstance(series, Series)
            if lots and series.status != SeriesStatus.SETTLED:
                moves.append(Takeover(position.series, lots, series.mark))
        self.flows.append(Liquidation(bid.account, bid.target, bid.share, tuple(moves)))

    def _flow(
        self, account: AccountId, kind: FlowKind, amount: int, market: MarketId, lots: int = 0
    ) -> None:
        self.flows.append(CashFlow(account, kind, amount, market, lots))


def get_size(account: Account | None, market: MarketId) -> int:
    """Return the signed lots that an account holds of a series; 0 without either."""
    return 0 if account is None else compute_position_size(account, market)
