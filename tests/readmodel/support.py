"""What a history says, to be compared with a state and with another history."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, select

from deltaroll.node.events import OrderState, Step
from deltaroll.node.readmodel import tables
from deltaroll.node.readmodel.candles import WIDTHS
from deltaroll.node.readmodel.historian import Historian
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.constants import INSURANCE_ACCOUNT
from tests.node.support import DOMAIN

OPEN = {OrderState.RESTING, OrderState.PARTIALLY_FILLED, OrderState.HELD}
UNSTEADY = {"id", "updated_id", "clock", "updated_at", "reverted_by", "sequence"}
"""Columns that say when something was told."""


def open_historian(url: str) -> Historian:
    return Historian(url, DOMAIN)


class Steps:
    """A listener that keeps everything."""

    def __init__(self) -> None:
        self.all: list[Step] = []

    def __call__(self, steps: Sequence[Step]) -> None:
        self.all += steps


def read(engine: Engine, table: Any) -> list[dict[str, Any]]:
    """All rows of a table, by their keys."""
    with engine.connect() as connection:
        keys = list(table.__table__.primary_key)
        return [
            dict(row._mapping)
            for row in connection.execute(select(table.__table__).order_by(*keys))
        ]


def read_standing(engine: Engine, table: Any) -> list[dict[str, Any]]:
    return [row for row in read(engine, table) if row["reverted_by"] is None]


def read_all(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Everything that follows from the log."""
    return {
        mapper.class_.__tablename__: read(engine, mapper.class_)
        for mapper in tables.Table.registry.mappers
        if mapper.class_ not in (tables.Batch, tables.BatchStage)
    }


def check_against_state(engine: Engine, sequencer: Sequencer) -> None:
    """Fills and flows add up to the cash and the positions that the state has; orders, balances,
    candles and the insurance fund say the same."""
    state = sequencer.state
    fills = read_standing(engine, tables.Fill)
    flows = read_standing(engine, tables.Flow)
    cash: dict[int, int] = {}
    sizes: dict[tuple[int, int], int] = {}
    for fill in fills:
        account, market = fill["account"], fill["market"]
        bought = fill["lots"] if fill["is_buy"] else -fill["lots"]
        cash[account] = cash.get(account, 0) - bought * fill["price"] - fill["fee"]
        sizes[account, market] = sizes.get((account, market), 0) + bought
    for flow in flows:
        account = flow["account"]
        cash[account] = cash.get(account, 0) + flow["amount"]
        sizes[account, flow["market"]] = sizes.get((account, flow["market"]), 0) - flow["lots"]
    for one in read_standing(engine, tables.Liquidation):
        for market, lots, _ in one["moves"]:
            for account, change in ((one["account"], -lots), (one["liquidator"], lots)):
                sizes[account, market] = sizes.get((account, market), 0) + change
    there = {
        int(account): leaf.cash
        for account, leaf in state.accounts.items()
        if account != INSURANCE_ACCOUNT
    }
    assert {account: cash.get(account, 0) for account in there} == there
    balances = {row["account"]: row for row in read_standing(engine, tables.Balance)}
    assert {account: balances[account]["cash"] for account in there} == there
    for account, leaf in state.accounts.items():
        assert balances[account]["positions"] == [
            [held.series, held.size] for held in leaf.positions
        ]
    held = {
        (int(account), int(position.series)): position.size
        for account, leaf in state.accounts.items()
        if account != INSURANCE_ACCOUNT
        for position in leaf.positions
    }
    assert {key: size for key, size in sizes.items() if size and key[0]} == held
    check_slots(fills, sequencer)
    check_orders(engine, sequencer)
    check_candles(engine, fills)
    insurance = read_standing(engine, tables.Insurance)
    assert (insurance[-1]["amount"] if insurance else 0) == state.globals.insurance


def check_slots(fills: list[dict[str, Any]], sequencer: Sequencer) -> None:
    """What a slot's order has filled is what its fills say."""
    filled: dict[tuple[int, int, int], int] = {}
    for fill in fills:
        key = fill["account"], fill["slot"], fill["nonce"]
        filled[key] = filled.get(key, 0) + fill["lots"]
    for account, slots in sequencer.state.slots.items():
        for slot_id, slot in slots.items():
            assert filled.get((account, slot_id, slot.order.nonce), 0) == slot.filled


def check_orders(engine: Engine, sequencer: Sequencer) -> None:
    alive = {
        (int(one.account), int(one.slot), one.order.nonce): one.remaining
        for one in sequencer.engine.get_orders()
    }
    for one in sequencer.desk.triggers.get_all():
        order = one.entry.order
        alive[order.account, order.slot, order.nonce] = order.size
    told = {
        (row["account"], row["slot"], row["nonce"]): row["remaining"]
        for row in read(engine, tables.Order)
        if row["state"] in OPEN
    }
    assert told == alive


def check_candles(engine: Engine, fills: list[dict[str, Any]]) -> None:
    expected: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for fill in fills:
        if not fill["is_maker"]:
            for width in WIDTHS:
                key = fill["market"], width, fill["clock"] // width * width
                expected.setdefault(key, []).append((fill["price"], fill["lots"]))
    told = {(row["market"], row["width"], row["start"]): row for row in read(engine, tables.Candle)}
    assert told.keys() == expected.keys()
    for key, trades in expected.items():
        prices = [price for price, _ in trades]
        candle = told[key]
        assert (candle["open"], candle["high"], candle["low"], candle["close"]) == (
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
        )
        assert (candle["lots"], candle["trades"]) == (sum(lots for _, lots in trades), len(trades))
