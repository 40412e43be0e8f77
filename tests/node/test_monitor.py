"""Health and readiness: of a process without an API, over real sockets."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deltaroll.node.follower import ViewPolicy
from deltaroll.node.metrics import L1Metrics, create_registry
from deltaroll.node.monitor import MAX_CLIENTS, Monitor, MonitorServer, ViewCheck
from deltaroll.node.server import HOST
from tests.node.l1 import FakeL1
from tests.node.test_follower import make_follower


@pytest.fixture
def monitor() -> Monitor:
    registry = create_registry("follower")
    L1Metrics(registry)
    return Monitor("follower", registry)


@pytest.fixture
def server(monitor) -> Iterator[MonitorServer]:
    server = MonitorServer(monitor, 0, HOST)
    yield server
    server.close()


def fetch(server: MonitorServer, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def test_server__metrics__are_in_prometheus_format(server):
    status, body = fetch(server, "/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert families["deltaroll_l1_looks"].type == "counter"
    assert "process_resident_memory_bytes" in families


def test_server__ready__says_why_not(server, monitor):
    problems: list[str | None] = [None]
    monitor.checks["log"] = lambda: problems[0]
    monitor.facts["view"] = lambda: {"batch": 7}
    status, body = fetch(server, "/ready")
    assert (status, json.loads(body)["ready"], json.loads(body)["view"]) == (
        200,
        True,
        {"batch": 7},
    )
    problems[0] = "stopped"
    status, body = fetch(server, "/ready")
    assert status == 503
    assert json.loads(body)["reasons"] == {"log": "stopped"}
    status, body = fetch(server, "/health")
    assert (status, json.loads(body)) == (200, {"alive": True, "process": "follower"})


@pytest.mark.parametrize("path", ["/", "/metrics/", "/v1/status", "/../etc/passwd"])
def test_server__other_pages__are_not_there(server, path):
    assert fetch(server, path)[0] == 404


def test_server__idle_clients__others_are_served_up_to_a_bound(server):
    """Those beyond it are hung up on, and room is made when somebody leaves."""
    idle = [socket.create_connection((HOST, server.port), 5) for _ in range(MAX_CLIENTS - 1)]
    assert fetch(server, "/health")[0] == 200
    for one in idle:
        one.close()
    assert fetch(server, "/health")[0] == 200


def test_server__junk__hurts_nobody(server):
    with socket.create_connection((HOST, server.port), 5) as client:
        client.sendall(b"\x00\xff nonsense\r\n\r\n")
        client.recv(1_000)
    assert fetch(server, "/health")[0] == 200


def test_server__port_taken__is_an_error(server, monitor):
    with pytest.raises(OSError, match="in use"):
        MonitorServer(monitor, server.port, HOST)


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_view_check__age__too_old_is_not_ready():
    clock = Clock()
    check = ViewCheck(60.0, clock)
    assert check() == "L1 has not been read yet"
    follower, _ = make_follower(FakeL1())
    follower.poll()
    check.look(follower)
    assert check() is None
    clock.now += 60
    assert check() is None
    clock.now += 1
    assert check() == "L1 was last read 61 s ago"


def test_view_check__view_behind__is_not_ready():
    follower, _ = make_follower(FakeL1())
    follower.policy = ViewPolicy(max_age=1.0)
    follower.poll()
    check = ViewCheck(60.0)
    check.look(follower)
    reason = check()
    assert reason is not None
    assert " s old" in reason
