"""Two hours of real order flow, Bitstamp BTC/USD of 1 May 2015, when the file is there."""

import csv
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from deltaroll.engine.matching import MatchingEngine, OrderStatus
from deltaroll.protocol.types import AccountId, Order, SlotId, TimeInForce
from tests.engine.support import BTC, FOREVER, PARAMS, ChunkExecutor, build_state, sign

FLOW = Path(__file__).parents[3] / "shared" / "data" / "bitstamp" / "orders-first-2h.csv.xz"
ACCOUNTS = 50
SLOTS = 4096
CENTS = 23_650
"""The mark, US cents."""
UNITS_PER_LOT = 10**5
"""Volumes are in 1e-8 BTC, lots in 1e-3 BTC."""


@pytest.mark.skipif(not FLOW.exists(), reason=f"no order flow at {FLOW}")
def test_submit__real_order_flow__book_never_crossed_and_chunks_replay() -> None:
    params = replace(PARAMS, tick=1, fill_band=1_000_000)
    owners = {AccountId(number): number for number in range(1, ACCOUNTS + 1)}
    executor = ChunkExecutor(build_state(owners=owners, params=params, index=CENTS))
    engine = MatchingEngine(executor)
    with lzma.open(FLOW, "rt") as lines:
        rows = list(csv.DictReader(lines))
    places: dict[str, tuple[AccountId, SlotId]] = {}
    statuses: dict[OrderStatus, int] = {}
    traded = 0
    for number, row in enumerate(rows):
        if row["action"] == "created":
            lots = int(row["volume"]) // UNITS_PER_LOT
            if lots == 0:
                continue
            account, slot = AccountId(number % ACCOUNTS + 1), SlotId(number // ACCOUNTS % SLOTS)
            places[row["id"]] = account, slot
            price = round(float(row["price"]) * 100)
            order = Order(
                BTC,
                row["direction"] == "bid",
                price,
                lots,
                number + 1,
                0,
                FOREVER,
                TimeInForce.GTC,
                False,
                False,
            )
            owner = executor.state.accounts[account].owner
            execution = engine.submit(
                account, slot, order, sign(account, slot, order), owner, number
            )
            statuses[execution.status] = statuses.get(execution.status, 0) + 1
            traded += execution.filled
        elif row["action"] == "deleted" and row["id"] in places:
            engine.cancel(*places.pop(row["id"]))
        bid, ask = engine.best(BTC)
        assert bid is None or ask is None or bid < ask
    assert statuses[OrderStatus.RESTING] > 5_000
    assert statuses[OrderStatus.FILLED] > 100
    assert statuses[OrderStatus.PARTIALLY_FILLED] > 20
    assert sum(fill.lots for fill in executor.get_fills()) == traded
    executor.replay(build_state(owners=owners, params=params, index=CENTS))
