"""One page about a venue: what L1 says and, where it is asked too, what the node says of itself."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deltaroll.amounts import to_money
from deltaroll.config import hide
from deltaroll.l1.registry import Registry
from deltaroll.l1.types import Stage
from deltaroll.node.follower import Follower
from deltaroll.node.survey import MarginHealth, compute_health

WEI = 10**18
LAST_BATCHES = 8
SIDES = (("venue", "finality", "last batches"), ("node", "accounts", "ether"))
"""Sections of a terminal's page, left and right."""
ANSWER_SECONDS = 5.0
MAX_PAGE = 4_000_000
"""Bytes of a page of the node's."""
LABEL = 20
FILLS = "deltaroll_fills_total"
STAGES = (Stage.POSTED, Stage.SAFE, Stage.FINAL, Stage.SETTLED)


class NodeError(Exception):
    """The node does not say how it is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to be told."""

    label: str
    value: str
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Some of them."""

    title: str
    rows: tuple[Row, ...]


@dataclass(slots=True)
class NodeView:
    """What a node says of itself."""

    metrics: Mapping[str, float]
    ready: Mapping[str, Any]
    at: float
    """When, by `monotonic`."""
    before: "NodeView | None" = None

    def get(self, name: str) -> float | None:
        """Return a figure, or the sum of those that end with other labels than none; None when the
        node does not tell it."""
        if name in self.metrics:
            return self.metrics[name]
        parts = [value for key, value in self.metrics.items() if key.startswith(name + "{")]
        return sum(parts) if parts else None

    def compute_rate(self, name: str) -> float | None:
        """Return by how much a counter has grown a second since the look before."""
        if self.before is None or self.at <= self.before.at:
            return None
        now, then = self.get(name), self.before.get(name)
        if now is None or then is None or now < then:
            return None
        return (now - then) / (self.at - self.before.at)


def fetch(url: str) -> tuple[int, bytes]:
    """Return status and body of a page.

    Raises
    ------
    NodeError
        When nobody answers.
    """
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            return answer.status, answer.read(MAX_PAGE)
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read(MAX_PAGE)
    except (OSError, ValueError) as problem:
        raise NodeError(f"{url}: {problem}") from None


def read_node(url: str, before: NodeView | None = None) -> NodeView:
    """Return what the node at a URL says of itself; without metrics where it keeps them to its own
    machine.

    Raises
    ------
    NodeError
    """
    base = url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise NodeError(f"{url}: not an http or https address")
    status, text = fetch(base + "/metrics")
    metrics = parse_metrics(text) if status == 200 else {}
    _, body = fetch(base + "/ready")
    try:
        ready = json.loads(body)
    except ValueError:
        raise NodeError(f"{base}/ready: no JSON") from None
    if not isinstance(ready, dict):
        raise NodeError(f"{base}/ready: no JSON object")
    if before is not None:
        before.before = None
    return NodeView(metrics, ready, monotonic(), before)


def parse_metrics(text: bytes) -> dict[str, float]:
    """Return figures by name, labels behind it in braces.

    Raises
    ------
    NodeError
    """
    found: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    except ValueError:
        raise NodeError("metrics: not in Prometheus' format") from None
    return found


@dataclass(slots=True)
class Page:
    """Collects what is to be shown; keeps what takes long to find out."""

    registry: Registry
    follower: Follower
    addresses: Sequence[str] = ()
    """Accounts whose ether is shown, beside the sequencer's."""
    _health: tuple[bytes, MarginHealth] | None = field(default=None, init=False)

    def collect(self, node: NodeView | None = None, problem: str | None = None) -> list[Section]:
        """Return all there is, after a poll of the follower.

        Raises
        ------
        L1Error
        """
        sections = [
            Section("contracts", tuple(self._iterate_contracts())),
            Section("venue", tuple(self._iterate_venue())),
            Section("finality", tuple(self._iterate_finality())),
            Section("last batches", tuple(self._iterate_batches())),
            Section("accounts", tuple(self._iterate_accounts(node))),
            Section("ether", tuple(self._iterate_ether())),
        ]
        if node is not None:
            sections.append(Section("node", tuple(iterate_node(node))))
        alarms = tuple(self._iterate_alarms(node, problem))
        sections.append(Section("alarms", alarms or (Row("alarm", "none"),)))
        return sections

    def _iterate_contracts(self) -> Iterable[Row]:
        found = self.registry
        network = hide(found.network)
        yield Row("chain", f"{found.chain_id} ({network}), deployed in {found.block}")
        for name, entry in found.contracts.items():
            yield Row(name, entry.address)

    def _iterate_venue(self) -> Iterable[Row]:
        follower = self.follower
        contracts = follower.gateway.contracts
        head = follower.head
        assert head is not None
        yield Row("L1 head", f"{head.number} 0x{head.hash.hex()}")
        yield Row("challenge window", f"{follower.gateway.challenge_window} s")
        yield Row("vault", to_money(contracts.token.balanceOf(contracts.vault)))
        yield Row("queue", f"{len(follower.queue)} messages")
        waiting = len(follower.queue) - follower.state.globals.queue_index
        yield Row("waiting messages", str(waiting))
        if waiting > 0:
            oldest = follower.queue[follower.state.globals.queue_index].message
            age = max(0, head.time - oldest.time)
            is_late = age > int(contracts.inbox.forcedDelay())
            yield Row("oldest message", f"{age} s", is_late)

    def _iterate_finality(self) -> Iterable[Row]:
        follower = self.follower
        head = follower.head
        assert head is not None
        last = len(follower.posted) - 1
        yield Row("batches", str(last))
        newest = follower.find_reached()
        for stage in STAGES:
            header = newest[stage].submitted.header
            age = max(0, head.time - header.l1_time)
            text = f"up to batch {header.index}, {last - header.index} behind, {age} s ago"
            yield Row(stage.value, text)

    def _iterate_batches(self) -> Iterable[Row]:
        follower = self.follower
        chain = follower.chain[-LAST_BATCHES:]
        for batch, stage in zip(chain, follower.compute_stages(chain), strict=True):
            header = batch.submitted.header
            text = f"{stage.value}, {header.chunk_count} chunks, L1 block {batch.submitted.block}"
            yield Row(f"batch {header.index}", text)

    def _iterate_accounts(self, node: NodeView | None) -> Iterable[Row]:
        state = self.follower.state
        yield Row("insurance fund", to_money(state.globals.insurance))
        yield Row("accounts", str(len(state.accounts)))
        health = self._compute_health()
        holders, below, worst = health.holders, health.below_initial, health.worst_ratio
        in_danger, of_node = health.below_maintenance, "deltaroll_accounts{margin=%s}"
        where = "as of the newest batch"
        if node is not None and (told := node.get(of_node % "positions")) is not None:
            holders, where = int(told), "as of now"
            below = int(node.get(of_node % "below_initial") or 0)
            in_danger = int(node.get(of_node % "below_maintenance") or 0)
            worst = node.get("deltaroll_worst_margin_ratio")
        yield Row("with positions", f"{holders}, {where}")
        yield Row("below initial", str(below))
        yield Row("below maintenance", str(in_danger), in_danger > 0)
        if worst is not None:
            yield Row("worst margin", f"{worst:.2f} of maintenance", worst < 1)

    def _compute_health(self) -> MarginHealth:
        newest = self.follower.chain[-1].submitted.header_hash
        if self._health is None or self._health[0] != newest:
            self._health = newest, compute_health(self.follower.state)
        return self._health[1]

    def _iterate_ether(self) -> Iterable[Row]:
        gateway = self.follower.gateway
        sequencer = str(gateway.contracts.inbox.sequencer())
        yield Row("sequencer", sequencer)
        bond = gateway.contracts.inbox.bondOf(sequencer).amount
        yield Row("bond", f"{bond / WEI:g} ether", bond == 0)
        for address in (sequencer, *self.addresses):
            answer = gateway.nodes.request("eth_getBalance", [address, "latest"])
            yield Row(address[:LABEL], f"{int(answer, 16) / WEI:.4f} ether")

    def _iterate_alarms(self, node: NodeView | None, problem: str | None) -> Iterable[Row]:
        follower = self.follower
        if follower.behind is not None:
            yield Row("alarm", follower.behind, True)
        if follower.fraud is not None:
            fraud = follower.fraud
            text = f"batch {fraud.submitted.header.index} is fraudulent: {fraud.fault.name}"
            yield Row("alarm", text, True)
        if follower.closing is not None:
            yield Row("alarm", f"frozen in L1 block {follower.closing.block}", True)
        if problem is not None:
            yield Row("alarm", f"node: {problem}", True)
        if node is not None:
            for name, reason in dict(node.ready.get("reasons") or {}).items():
                yield Row("alarm", f"node not ready: {name}: {reason}", True)
            for name in node.ready.get("alarms") or ():
                yield Row("alarm", f"node: {name}", True)


def iterate_node(node: NodeView) -> Iterable[Row]:
    """Yield what a node says of itself."""
    is_ready = bool(node.ready.get("ready"))
    yield Row("ready", "yes" if is_ready else "NO", not is_ready)
    for label, name, form in (
        ("fills", FILLS, "{:.1f} a second"),
        ("commits", "deltaroll_commit_seconds_count", "{:.1f} a second"),
    ):
        rate = node.compute_rate(name)
        if rate is not None:
            yield Row(label, form.format(rate))
    for label, name, form in (
        ("unposted", "deltaroll_unposted_chunks", "{:.0f} chunks"),
        ("unposted for", "deltaroll_unposted_age_seconds", "{:.0f} s"),
        ("L1 view", "deltaroll_view_age_seconds", "{:.1f} s old"),
        ("clients", "deltaroll_websocket_connections", "{:.0f}"),
        ("on its way to L1", "deltaroll_l1_transactions_pending", "{:.0f} transactions"),
        ("paid for", "deltaroll_l1_affordable_transactions", "{:.0f} more transactions"),
    ):
        value = node.get(name)
        if value is not None:
            yield Row(label, form.format(value))
    gas, wei = node.get("deltaroll_batch_gas_total"), node.get("deltaroll_batch_wei_total")
    fills = node.get(FILLS)
    if gas and wei is not None and fills:
        yield Row("L1 cost of a fill", f"{gas / fills:,.0f} gas, {wei / fills:,.0f} wei")


def render_lines(sections: Sequence[Section]) -> Iterable[str]:
    """Yield a page as lines for programs: label, value."""
    for section in sections:
        for row in section.rows:
            yield f"{row.label:{LABEL}s} {row.value}"


def render(sections: Sequence[Section]) -> Group:
    """Return a page for a terminal: alarms first, contracts last, the rest side by side."""
    panels = {section.title: make_panel(section) for section in sections}
    sides = Table.grid(expand=True)
    sides.add_column(ratio=1)
    sides.add_column(ratio=1)
    sides.add_row(*(Group(*(panels[one] for one in side if one in panels)) for side in SIDES))
    ends = [panels[one] for one in ("alarms", "contracts") if one in panels]
    return Group(*ends[:1], sides, *ends[1:])


def make_panel(section: Section) -> Panel:
    """Return a section in a frame, red when something in it is wrong."""
    table = Table.grid(padding=(0, 2))
    for row in section.rows:
        table.add_row(Text(row.label), Text(row.value, "bold red" if row.is_bad else ""))
    is_bad = any(row.is_bad for row in section.rows)
    style = "red" if is_bad else "none"
    return Panel(table, title=section.title, title_align="left", border_style=style)
