"""The history over REST: what happened, to whoever may see it, in pages that hold still."""

import asyncio
import json
import urllib.request
from functools import partial
from urllib.error import HTTPError

import pytest
from sqlalchemy import text

from deltaroll.node.api.messages import SessionFields
from deltaroll.node.api.sessions import encode_token
from deltaroll.node.readmodel.reader import (
    MAX_OF_ONE,
    THREADS_OF_ONE,
    HistoryUnavailableError,
    Reader,
)
from deltaroll.protocol.types import TimeInForce, Transfer
from tests.api.support import ADA, BLAISE, SECONDS, Server, make_session, serve
from tests.node.support import CASH, GENESIS, PERP, PRICE, STRANGER, make_order
from tests.readmodel.conftest import cluster, new_sqlite, new_url

__all__ = ["cluster", "new_sqlite", "new_url"]
HISTORY = "/v1/history"
LOTS = (3, 1, 4, 1, 5)


@pytest.fixture
def server(tmp_path):
    with serve(folder=tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """A venue where nothing happens."""
    with serve(folder=tmp_path_factory.mktemp("venue")) as found:
        yield found


def fetch(server: Server, path: str, who=None, status: int = 200):
    """What comes back; `who`: the account whose session is shown."""
    request = urllib.request.Request(f"http://127.0.0.1:{server.api.port}{HISTORY}{path}")
    if who is not None:
        session = make_session(who) if isinstance(who, int) else who
        request.add_header("Authorization", encode_token(SessionFields(**session)))
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            found, body = answer.status, json.load(answer)
    except HTTPError as refusal:
        found, body = refusal.code, json.load(refusal)
    assert found == status, body
    return body


def catch_up(server: Server) -> None:
    last = server.thread.call(lambda sequencer: sequencer.store.next_sequence - 1)
    assert server.projector is not None
    assert server.projector.wait(last, SECONDS)


def trade(server: Server, *lots: int) -> None:
    """Ada bids, Blaise takes; a minute passes before each."""

    def run(venue, size):
        sequencer = venue.sequencer
        nonce = sequencer.engine.nonces.get((BLAISE, 0), 0) + 1
        sequencer.set_clock(sequencer.clock + 60)
        venue.observe(PRICE)
        venue.submit(ADA, 0, make_order(PRICE, size, nonce=nonce))
        taking = make_order(PRICE, size, is_buy=False, nonce=nonce, time_in_force=TimeInForce.IOC)
        venue.submit(BLAISE, 0, taking)

    for size in lots:
        server.call(partial(run, size=size))
    catch_up(server)


def read_pages(server: Server, path: str, who, limit: int):
    """All rows, page by page."""
    found, cursor = [], ""
    while True:
        page = fetch(server, f"{path}?limit={limit}{cursor}", who)
        assert 0 < len(page["rows"]) <= limit
        found += page["rows"]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def test_fills__both_sides__carry_what_moved_the_cash(server):
    trade(server, *LOTS)
    for account, is_buy in ((ADA, True), (BLAISE, False)):
        fills = fetch(server, f"/accounts/{account}/fills", account)["rows"]
        assert [fill["lots"] for fill in fills] == list(reversed(LOTS))
        assert all(fill["is_buy"] is is_buy for fill in fills)
        assert all(fill["is_maker"] is is_buy for fill in fills)
        paid = sum(fill["lots"] * fill["price"] for fill in fills) * (1 if is_buy else -1)
        fees = sum(int(fill["fee"]) for fill in fills)
        flows = fetch(server, f"/accounts/{account}/cash", account)["rows"]
        assert {flow["kind"] for flow in flows} >= {"deposit"}
        cash = sum(int(flow["amount"]) for flow in flows) - paid - fees
        newest = fetch(server, f"/accounts/{account}/balances?limit=1", account)["rows"][0]
        assert int(newest["cash"]) == cash
        assert newest["positions"] == [[PERP, sum(LOTS) if is_buy else -sum(LOTS)]]


def test_pages__rows_come_between__none_is_left_out_or_told_twice(server):
    trade(server, *LOTS)
    path = f"/accounts/{ADA}/fills"
    first = fetch(server, f"{path}?limit=2", ADA)
    trade(server, 9, 9)
    second = fetch(server, f"{path}?limit=3&cursor={first['next']}", ADA)
    assert [row["lots"] for row in first["rows"] + second["rows"]] == list(reversed(LOTS))
    assert second["next"] is None
    assert [row["lots"] for row in read_pages(server, path, ADA, 1)] == [9, 9, *reversed(LOTS)]


def test_pages__range_of_time__both_ends_are_included(server):
    trade(server, *LOTS)
    path = f"/markets/{PERP}/trades"
    clocks = [row["clock"] for row in fetch(server, path)["rows"]]
    assert clocks == sorted(clocks, reverse=True)
    newest, oldest = clocks[1], clocks[3]
    found = fetch(server, f"{path}?since={oldest}&until={newest}")["rows"]
    assert [row["clock"] for row in found] == clocks[1:4]
    assert fetch(server, f"{path}?since={clocks[0] + 1}")["rows"] == []
    assert fetch(server, f"{path}?until={clocks[-1] - 1}")["rows"] == []
    assert fetch(server, f"{path}?until={GENESIS - 1}")["rows"] == []


def test_candles__minutes_hours_and_days__add_up(server):
    trade(server, *LOTS)
    path = f"/markets/{PERP}/candles"
    minutes = read_pages(server, path, None, 2)
    assert [candle["lots"] for candle in minutes] == list(reversed(LOTS))
    assert all(candle["start"] % 60 == 0 for candle in minutes)
    (day,) = fetch(server, f"{path}?seconds=86400")["rows"]
    assert (day["open"], day["high"], day["low"], day["close"]) == (PRICE,) * 4
    assert (day["lots"], day["trades"]) == (sum(LOTS), len(LOTS))
    assert "none of 60, 3600" in fetch(server, f"{path}?seconds=61", None, 400)["error"]["rule"]


def test_orders__every_order__has_its_end_and_its_life(server):
    trade(server, 3)
    server.call(lambda venue: venue.submit(ADA, 1, make_order(PRICE - 500, 2)))
    server.call(lambda venue: venue.sequencer.cancel(ADA, 1))
    catch_up(server)
    orders = fetch(server, f"/accounts/{ADA}/orders", ADA)["rows"]
    told = [(row["slot"], row["state"], row["reason"], row["remaining"]) for row in orders]
    assert told == [(1, "cancelled", "requested", 2), (0, "filled", "", 0)]
    life = fetch(server, f"/accounts/{ADA}/orders/1/1", ADA)["rows"]
    assert [row["state"] for row in life] == ["cancelled", "resting"]
    assert fetch(server, f"/accounts/{ADA}/orders?market=12", ADA)["rows"] == []


def test_transfers_receipts_and_the_rest__are_served(server):
    def pay(venue):
        venue.act(Transfer(ADA, BLAISE, 7, venue.state.accounts[ADA].nonce + 1))

    server.call(pay)
    catch_up(server)
    moved = fetch(server, f"/accounts/{ADA}/transfers", ADA)["rows"]
    assert [(row["kind"], row["amount"], row["counterparty"]) for row in moved] == [
        ("transfer", "-7", BLAISE),
        ("deposit", str(CASH), 0),
    ]
    (receipt,) = fetch(server, f"/accounts/{ADA}/receipts", ADA)["rows"]
    assert receipt["sequence"] == moved[0]["sequence"]
    trade(server, 2)
    funding = fetch(server, f"/markets/{PERP}/funding")["rows"]
    assert funding[0]["mark"] == PRICE
    for path in ("liquidations", "auctions", "insurance", "batches", "rebases"):
        assert fetch(server, f"/{path}")["rows"] == []


@pytest.mark.parametrize(
    "what",
    ["orders", "orders/1/1", "fills", "cash", "funding", "transfers", "balances", "receipts"],
)
def test_private__no_session_or_another_ones__is_refused(quiet, what):
    path = f"/accounts/{ADA}/{what}"
    assert fetch(quiet, path, None, 401)["error"]["code"] == "unauthorised"
    fetch(quiet, path, BLAISE, 401)
    fetch(quiet, path, make_session(ADA, signer=STRANGER), 401)
    fetch(quiet, path, ADA)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "cursor=x", f"cursor={2**63}", "since=-1", "reverted=2", "other=1"],
)
def test_parameters__out_of_bounds__are_refused(quiet, query):
    fetch(quiet, f"/markets/{PERP}/trades?{query}", None, 400)


def test_restart__same_files__history_goes_on(tmp_path):
    with serve(folder=tmp_path) as server:
        trade(server, 3, 4)
        before = fetch(server, f"/accounts/{ADA}/fills", ADA)
    with serve(lambda venue: venue, folder=tmp_path) as server:
        assert fetch(server, f"/accounts/{ADA}/fills", ADA) == before
        trade(server, 5)
        lots = [row["lots"] for row in fetch(server, f"/accounts/{ADA}/fills", ADA)["rows"]]
        assert lots == [5, 4, 3]


def test_history__node_that_keeps_none__says_so():
    with serve() as server:
        assert fetch(server, "/liquidations", None, 404)["error"]["code"] == "unknown"


def make_slow(reader: Reader):
    """A question that takes for ever."""
    if reader._is_sqlite:
        endless = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        )
    else:
        endless = "SELECT pg_sleep(60)"
    return lambda connection: connection.execute(text(endless)).all()


def test_reader__endless_questions__are_given_up_and_keep_nobody_waiting(new_url):
    """
    | who | asks | outcome |
    |---|---|---|
    | one | as much as it may, without end | given up, one after the other; one more is refused |
    | another | something, meanwhile | is answered at once; the loop has never stood still |
    """
    reader = Reader(new_url(), seconds=0.2)

    async def run() -> None:
        slow = [
            asyncio.create_task(reader.ask(make_slow(reader), "one"))
            for _ in range(2 * THREADS_OF_ONE)
        ]
        tasks = [
            asyncio.create_task(reader.ask(lambda _: 1, "one"))
            for _ in range(MAX_OF_ONE - len(slow))
        ]
        assert await reader.ask(lambda connection: connection.scalar(text("SELECT 7"))) == 7
        assert not any(task.done() for task in slow)
        with pytest.raises(HistoryUnavailableError, match="too many"):
            await reader.ask(lambda _: 1, "one")
        for task in slow:
            with pytest.raises(HistoryUnavailableError, match="in time"):
                await task
        assert await asyncio.gather(*tasks) == [1] * len(tasks)
        assert await reader.ask(lambda connection: connection.scalar(text("SELECT 7")), "one") == 7

    asyncio.run(run())
    assert not reader._queues
    reader.close()
