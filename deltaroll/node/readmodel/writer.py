"""Turns steps into rows. The caller holds the transaction: it is all in, or nothing is."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, tuple_, update
from sqlalchemy import delete as sql_delete

from deltaroll.node.events import (
    AccountChange,
    CashFlow,
    Distressed,
    InsuranceChange,
    Liquidation,
    MarkChange,
    OrderState,
    OrderUpdate,
    Rebased,
    Step,
    Trade,
)
from deltaroll.node.readmodel import tables
from deltaroll.node.readmodel.candles import Candles
from deltaroll.node.readmodel.database import upsert
from deltaroll.node.readmodel.tables import PLACE_BITS, Noted, Progress
from deltaroll.node.receipts import SignedReceipt

OrderKey = tuple[int, int, int]
Row = dict[str, Any]
ORDERS_AT_ONCE = 1_000
OPEN = (OrderState.TRIGGERED, OrderState.REJECTED)
"""States in which an order may still be rejected; in any other the rejected one is another order,
with a nonce that is used."""


class Writer:
    """Writes steps in order into one history."""

    def __init__(self) -> None:
        self._candles = Candles()
        self._rows: dict[type[Noted], list[Row]] = {}
        self._orders: dict[OrderKey, Row] = {}
        """Orders that this transaction looks at."""
        self._changed: set[OrderKey] = set()
        self._funding: dict[int, tuple[int, int, int]] = {}
        """Of each market the last row: premium and both carries."""
        self._is_funding_known = False

    def forget(self) -> None:
        """Forget everything that is not in the database: a transaction has failed."""
        self._candles.forget()
        self._rows.clear()
        self._orders.clear()
        self._changed.clear()
        self._funding.clear()
        self._is_funding_known = False

    def write(self, connection: Connection, steps: Sequence[Step]) -> None:
        """Write steps that follow the last ones, and that they are in."""
        if not steps:
            return
        self._load_orders(connection, steps)
        for step in steps:
            for place, event in enumerate(step.events):
                self._note(connection, step, place, event)
        self._flush(connection)
        self._orders.clear()
        write_clocks(connection, steps)
        connection.execute(
            update(Progress).values(sequence=steps[-1].sequence, clock=steps[-1].clock)
        )

    def _note(self, connection: Connection, step: Step, place: int, event: Any) -> None:
        head = make_head(step, place)
        match event:
            case OrderUpdate():
                self._note_order(head, event)
            case Trade():
                self._note_trade(head, event)
                self._candles.add(connection, event, step.clock)
            case CashFlow():
                self._add(
                    tables.Flow,
                    head,
                    account=event.account,
                    kind=event.kind.value,
                    amount=event.amount,
                    market=event.market,
                    lots=event.lots,
                    counterparty=event.counterparty,
                )
            case AccountChange():
                self._add(
                    tables.Balance,
                    head,
                    account=event.account,
                    cash=event.cash,
                    positions=event.positions,
                )
            case MarkChange():
                self._note_funding(connection, head, event)
            case Liquidation():
                moves = [(move.market, move.lots, move.mark) for move in event.moves]
                self._add(
                    tables.Liquidation,
                    head,
                    account=event.account,
                    liquidator=event.liquidator,
                    share=event.share,
                    moves=moves,
                )
            case Distressed():
                self._add(
                    tables.Auction, head, account=event.account, distressed_at=event.distressed_at
                )
            case InsuranceChange():
                self._add(tables.Insurance, head, amount=event.insurance)
            case Rebased():
                self._revert(connection, step, head["id"], event.first)
            case _:
                pass

    def _add(self, table: type[Noted], head: Row, **columns: Any) -> None:
        self._rows.setdefault(table, []).append(head | columns)

    def _note_trade(self, head: Row, trade: Trade) -> None:
        both = {"market": trade.market, "price": trade.price, "lots": trade.lots}
        self._add(
            tables.Fill,
            head | both,
            account=trade.maker,
            slot=trade.maker_slot,
            nonce=trade.maker_nonce,
            client_id=trade.maker_client_id,
            is_buy=not trade.taker_is_buy,
            is_maker=True,
            fee=trade.maker_fee,
        )
        self._add(
            tables.Fill,
            head | both | {"id": head["id"] + 1},
            account=trade.taker,
            slot=trade.taker_slot,
            nonce=trade.taker_nonce,
            client_id=trade.taker_client_id,
            is_buy=trade.taker_is_buy,
            is_maker=False,
            fee=trade.taker_fee,
        )

    def _note_funding(self, connection: Connection, head: Row, event: MarkChange) -> None:
        if event.accrued_at == 0:
            return
        if not self._is_funding_known:
            self._load_funding(connection)
        now = event.premium, event.carry_long, event.carry_short
        if self._funding.get(event.market) != now:
            self._funding[event.market] = now
            self._add(
                tables.Funding,
                head,
                market=event.market,
                mark=event.mark,
                index=event.index,
                premium=event.premium,
                carry_long=event.carry_long,
                carry_short=event.carry_short,
            )

    def _note_order(self, head: Row, event: OrderUpdate) -> None:
        columns: Row = {
            "account": event.account,
            "slot": event.slot,
            "nonce": event.nonce,
            "client_id": event.client_id,
            "market": event.market,
            "is_buy": event.is_buy,
            "price": event.price,
            "size": event.size,
            "remaining": event.remaining,
            "state": event.state.value,
            "reason": event.reason,
        }
        self._add(tables.OrderEvent, head, **columns)
        self._follow(head | columns)

    def _follow(self, event: Row) -> None:
        """Bring an order to where an event says it is."""
        key = event["account"], event["slot"], event["nonce"]
        known = self._orders.get(key)
        if (
            event["state"] == OrderState.REJECTED
            and known is not None
            and known["state"] not in OPEN
        ):
            return
        order = {name: value for name, value in event.items() if name != "reverted_by"}
        order |= {"updated_id": event["id"], "updated_at": event["clock"]}
        if known is not None:
            order |= {"id": known["id"], "clock": known["clock"]}
        self._orders[key] = order
        self._changed.add(key)

    def _flush(self, connection: Connection) -> None:
        for table, rows in self._rows.items():
            connection.execute(insert(table), rows)
        self._rows.clear()
        upsert(connection, tables.Order, [self._orders[key] for key in self._changed])
        self._changed.clear()
        self._candles.write(connection)

    def _load_orders(self, connection: Connection, steps: Sequence[Step]) -> None:
        keys = {
            (event.account, event.slot, event.nonce)
            for step in steps
            for event in step.events
            if isinstance(event, OrderUpdate)
        }
        order = tables.Order
        for some in split(sorted(keys)):
            for row in connection.execute(
                select(order.__table__).where(
                    tuple_(order.account, order.slot, order.nonce).in_(some)
                )
            ):
                known = dict(row._mapping)
                self._orders[known["account"], known["slot"], known["nonce"]] = known

    def _load_funding(self, connection: Connection) -> None:
        funding = tables.Funding
        latest = (
            select(func.max(funding.id))
            .where(funding.reverted_by.is_(None))
            .group_by(funding.market)
        )
        for row in connection.execute(
            select(funding.market, funding.premium, funding.carry_long, funding.carry_short).where(
                funding.id.in_(latest)
            )
        ):
            self._funding[row.market] = row.premium, row.carry_long, row.carry_short
        self._is_funding_known = True

    def _revert(self, connection: Connection, step: Step, place: int, first: int) -> None:
        """Mark what the steps from `first` on have told."""
        self._flush(connection)
        since = first << PLACE_BITS
        event, fill = tables.OrderEvent, tables.Fill
        keys = connection.execute(
            select(event.account, event.slot, event.nonce)
            .where(event.id >= since, event.reverted_by.is_(None))
            .distinct()
        ).all()
        trades = connection.execute(
            select(fill.market, fill.clock)
            .where(fill.id >= since, fill.reverted_by.is_(None), fill.is_maker.is_(True))
            .distinct()
        ).all()
        for table in tables.NOTED:
            connection.execute(
                update(table)
                .where(table.id >= since, table.reverted_by.is_(None))
                .values(reverted_by=step.sequence)
            )
        row = {"id": place, "clock": step.clock, "first": first}
        connection.execute(insert(tables.Rebase), [row])
        self._candles.build_again(connection, [(row.market, row.clock) for row in trades])
        self._funding.clear()
        self._is_funding_known = False
        self._restore_orders(connection, [(row[0], row[1], row[2]) for row in keys])

    def _restore_orders(self, connection: Connection, keys: list[OrderKey]) -> None:
        """Bring orders to where the events that hold say they are."""
        event, order = tables.OrderEvent, tables.Order
        for some in split(sorted(keys)):
            connection.execute(
                sql_delete(order).where(tuple_(order.account, order.slot, order.nonce).in_(some))
            )
            for key in some:
                self._orders.pop(key, None)
            for row in connection.execute(
                select(event.__table__)
                .where(
                    tuple_(event.account, event.slot, event.nonce).in_(some),
                    event.reverted_by.is_(None),
                )
                .order_by(event.id)
            ):
                self._follow(dict(row._mapping))


def write_clocks(connection: Connection, steps: Sequence[Step]) -> None:
    """Write which steps were taken when."""
    told: dict[int, list[int]] = {}
    for step in steps:
        told.setdefault(step.clock, []).append(step.sequence)
    clock = tables.Clock
    for row in connection.execute(
        select(clock.clock, clock.first, clock.last).where(clock.clock.in_(told))
    ):
        told[row.clock] += (row.first, row.last)
    upsert(
        connection,
        clock,
        [
            {"clock": time, "first": min(sequences), "last": max(sequences)}
            for time, sequences in told.items()
        ],
    )


def write_receipts(connection: Connection, receipts: Sequence[SignedReceipt]) -> None:
    """Write where receipts stand."""
    upsert(
        connection,
        tables.Receipt,
        [
            {
                "sequence": one.sequence,
                "clock": one.clock,
                "account": one.account,
                "subject": "0x" + one.subject.hex(),
                "outcome": int(one.outcome),
                "filled": one.filled,
                "reason": one.reason,
            }
            for one in receipts
        ],
    )


def make_head(step: Step, place: int) -> Row:
    """Return what all rows of an event have in common.

    Raises
    ------
    OverflowError
        When a step has more events than an id can tell apart.
    """
    # Twice: a trade has two rows.
    place *= 2
    if place >= 1 << PLACE_BITS:
        raise OverflowError(f"history: step {step.sequence} has too many events")
    return {
        "id": step.sequence << PLACE_BITS | place,
        "clock": step.clock,
        "reverted_by": None,
    }


def split(keys: list[OrderKey]) -> list[list[OrderKey]]:
    """Return keys in parts that fit a statement."""
    return [keys[start : start + ORDERS_AT_ONCE] for start in range(0, len(keys), ORDERS_AT_ONCE)]
