"""Metrics, health and readiness of a node with an API."""

import asyncio
import json
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from deltaroll.node.api.app import create_app
from deltaroll.node.api.limits import Buckets, Limits, Rate
from deltaroll.node.api.operations import is_local
from deltaroll.node.metrics import ApiMetrics, create_registry
from deltaroll.node.monitor import Monitor
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.types import TimeInForce
from deltaroll.status import NodeView, iterate_node, read_node
from tests.api.support import ADA, BLAISE, Server, serve
from tests.node.support import PRICE, make_order


def fetch(server: Server, path: str) -> tuple[int, bytes]:
    url = f"http://127.0.0.1:{server.api.port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def read(server: Server) -> NodeView:
    return read_node(f"http://127.0.0.1:{server.api.port}")


def test_metrics__orders_and_questions__are_counted(server):
    with server.connect() as client:
        client.login(ADA)
        client.subscribe("book.10")
        client.place(ADA, 0, make_order(PRICE, 5))
        client.place(BLAISE, 0, make_order(PRICE, 5, is_buy=False, time_in_force=TimeInForce.IOC))
        client.refused("cancel", account=BLAISE, slot=3)
        fetch(server, "/v1/status")
        fetch(server, "/v1/markets/9999")
        node = read(server)
    assert node.get("deltaroll_orders_total{state=resting}") == 1
    assert node.get("deltaroll_orders_total{state=filled}") == 2
    assert node.get("deltaroll_fills_total{kind=perpetual}") == 1
    assert node.get("deltaroll_lots_total") == 5
    of_api = "deltaroll_api_requests_total{outcome=%s,protocol=%s}"
    # A session, a subscription and two orders; then a cancellation without a session.
    assert node.get(of_api % ("ok", "websocket")) == 4
    assert node.get(of_api % ("refused", "websocket")) == 1
    assert node.get(of_api % ("ok", "rest")) == 1
    assert node.get(of_api % ("refused", "rest")) == 1
    assert node.get(of_api % ("unavailable", "rest")) == 0
    # The cancellation has waited for a commit, too.
    assert node.get("deltaroll_request_seconds_count{stage=acknowledged}") == 3
    commits = node.get("deltaroll_commit_seconds_count")
    assert commits is not None
    assert 1 <= commits <= 3


def test_metrics__clients_and_margins__are_looked_at_by_the_clock(server):
    with server.connect() as client:
        client.login(ADA)
        client.subscribe("book.10")
        client.place(ADA, 0, make_order(PRICE, 5))
        client.place(BLAISE, 0, make_order(PRICE, 5, is_buy=False))

        def is_seen() -> bool:
            node = read(server)
            return (
                node.get("deltaroll_websocket_connections") == 1
                and node.get("deltaroll_websocket_sessions") == 1
                and node.get("deltaroll_websocket_subscriptions") == 1
                and node.get("deltaroll_accounts{margin=positions}") is not None
            )

        # Every answer takes a round of the loop on which the clock runs.
        assert any(is_seen() for _ in range(2_000))


def test_ready__sequencer_stopped__says_so_and_stays_alive(server):
    assert json.loads(fetch(server, "/ready")[1])["ready"] is True

    def fail(sequencer: Sequencer) -> None:
        raise ZeroDivisionError("whatever it is")

    with pytest.raises(Exception, match="stopped"):
        server.thread.call(fail)
    status, body = fetch(server, "/ready")
    assert status == 503
    told = json.loads(body)
    assert told["reasons"] == {"log": "the sequencer has stopped: ZeroDivisionError"}
    assert "whatever" not in body.decode()
    assert fetch(server, "/health")[0] == 200
    assert fetch(server, "/v1/status")[0] == 503
    assert read(server).get("deltaroll_api_requests_total{outcome=unavailable,protocol=rest}") == 1
    rows = {row.label: row for row in iterate_node(read(server))}
    assert rows["ready"].is_bad


def test_metrics__slow_consumer__is_counted():
    with serve(limits=Limits(queue_messages=3)) as server, server.connect() as client:
        with suppress(ConnectionClosed):
            for _ in range(2_000):
                client.send("ping")
        while read(server).get("deltaroll_slow_consumers_dropped_total") != 1:
            with suppress(ConnectionClosed):
                client.send("ping")


@pytest.mark.parametrize(
    ("address", "is_near"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("local", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::ffff:10.0.0.1", False),
        ("testclient", False),
        ("", False),
    ],
)
def test_is_local__address__only_this_machine_is(address, is_near):
    assert is_local(address) is is_near


class Far:
    """A client of the pages on another machine, with what they need of a context."""

    def __init__(self, rate: Rate) -> None:
        registry = create_registry("sequencer")
        self.metrics = ApiMetrics(registry)
        self.addresses = Buckets(rate)
        self._app = create_app(self, None, Monitor("sequencer", registry))  # type: ignore[arg-type]

    def ask(self, path: str, method: str = "GET") -> int:
        """The status of the answer."""
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        scope |= {"query_string": b"", "client": ("10.0.0.1", 4_000), "root_path": ""}
        told: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: dict[str, Any]) -> None:
            told.append(message)

        asyncio.run(self._app(scope, receive, send))  # type: ignore[arg-type]
        status = told[0]["status"]
        assert isinstance(status, int)
        return status


def test_metrics__from_elsewhere__are_not_told():
    far = Far(Rate(100, 1))
    assert far.ask("/metrics") == 403
    assert far.ask("/ready") == 200
    assert far.ask("/health") == 200
    assert far.ask("/health", "POST") == 405


def test_ready__asked_too_often_from_elsewhere__is_limited():
    far = Far(Rate(2, 0.001))
    assert [far.ask("/ready") for _ in range(3)] == [200, 200, 429]
