"""The status page: from L1 alone, with a node, with one that does not answer."""

import pytest
from rich.console import Console

from deltaroll.l1.gateway import L1Error
from deltaroll.node.metrics import VenueMetrics, create_registry
from deltaroll.node.monitor import Monitor, MonitorServer
from deltaroll.node.server import HOST
from deltaroll.status import (
    NodeError,
    NodeView,
    Row,
    Section,
    iterate_node,
    parse_metrics,
    read_node,
    render,
    render_lines,
)
from tests.loading import load_script

SECTIONS = [
    Section("venue", (Row("queue", "3 messages"), Row("oldest message", "9 s", True))),
    Section("alarms", (Row("alarm", "[red]none"),)),
]


def make_view(at: float, fills: float, before: NodeView | None = None) -> NodeView:
    metrics = {
        "deltaroll_fills_total{kind=call}": fills,
        "deltaroll_fills_total{kind=put}": 1.0,
        "deltaroll_batch_gas_total": 5_000.0,
        "deltaroll_batch_wei_total": 90_000.0,
        "deltaroll_unposted_chunks": 2.0,
    }
    return NodeView(metrics, {"ready": True, "reasons": {}}, at, before)


def test_render_lines__sections__label_and_value():
    assert list(render_lines(SECTIONS)) == [
        "queue                3 messages",
        "oldest message       9 s",
        "alarm                [red]none",
    ]


def test_render__sections__nothing_is_taken_for_markup():
    console = Console(width=60, record=True, file=None, force_terminal=False, quiet=False)
    with console.capture() as shown:
        console.print(render(SECTIONS))
    text = shown.get()
    assert "venue" in text
    assert "[red]none" in text


def test_compute_rate__two_looks__what_has_come_in_between():
    first = make_view(10.0, 5.0)
    assert first.compute_rate("deltaroll_fills_total") is None
    second = make_view(14.0, 25.0, first)
    assert second.compute_rate("deltaroll_fills_total") == 5
    assert second.compute_rate("deltaroll_lots_total") is None
    # It has been restarted.
    assert make_view(15.0, 0.0, second).compute_rate("deltaroll_fills_total") is None


def test_iterate_node__figures__are_told():
    rows = {
        row.label: row.value for row in iterate_node(make_view(11.0, 9.0, make_view(10.0, 4.0)))
    }
    assert rows == {
        "ready": "yes",
        "fills": "5.0 a second",
        "unposted": "2 chunks",
        "L1 cost of a fill": "500 gas, 9,000 wei",
    }


def test_parse_metrics__labels__stand_in_the_name():
    text = b'# TYPE a counter\na_total{y="2",x="1"} 3\nb 4\n'
    assert parse_metrics(text) == {"a_total{x=1,y=2}": 3, "b": 4}
    with pytest.raises(NodeError, match="not in Prometheus"):
        parse_metrics(b"a{ 3\n")


def test_read_node__monitor__figures_and_reasons():
    registry = create_registry("sequencer")
    VenueMetrics(registry).lots.inc(5)
    monitor = Monitor("sequencer", registry)
    monitor.checks["log"] = lambda: "stopped"
    server = MonitorServer(monitor, 0, HOST)
    try:
        node = read_node(f"http://{HOST}:{server.port}/")
    finally:
        server.close()
    assert node.get("deltaroll_lots_total") == 5
    assert node.ready["reasons"] == {"log": "stopped"}


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://x", "nonsense", "file:///etc/passwd"])
def test_read_node__nobody_there__is_an_error(url):
    with pytest.raises(NodeError):
        read_node(url)


class Silent:
    """A page whose follower does not reach L1."""

    class follower:  # noqa: N801 (stands for an attribute)
        @staticmethod
        def poll() -> None:
            raise L1Error("L1: ConnectionError: https://me:hunter2@rpc.example refused")


def test_looker__l1_is_silent__the_page_stays_and_says_why():
    script = load_script("status")
    looker = script.Looker(Silent, None)
    looker._last = SECTIONS
    with pytest.raises(L1Error) as caught:
        looker.look()
    venue, alarms = looker.explain(caught.value)
    assert venue == SECTIONS[0]
    (row,) = alarms.rows
    assert row.is_bad
    assert "rpc.example" in row.value
    assert "hunter2" not in row.value


def test_looker__node_is_silent__is_an_alarm_and_no_more():
    looker = load_script("status").Looker(Silent, "http://127.0.0.1:1")
    problem = looker.ask_node()
    assert problem is not None
    assert "127.0.0.1:1" in problem
