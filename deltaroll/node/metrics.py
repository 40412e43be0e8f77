"""What a node measures of itself, as Prometheus metrics.

Every process has one registry. Who does something tells the group of metrics that is about it;
nothing here asks L1 or the sequencer for anything. Labels take their values from enumerations of
the code: no account, market, address, batch or error text is one.

Money is in collateral units, L1 money in wei, time in seconds; floats, for people to look at only.
"""

from bisect import bisect_left
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from shutil import disk_usage
from stat import S_ISREG
from time import monotonic, time
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deltaroll.l1.types import Stage
from deltaroll.node.alarms import Alarm
from deltaroll.node.events import InsuranceChange, Liquidation, OrderState, OrderUpdate, Step, Trade
from deltaroll.node.survey import MarginHealth
from deltaroll.protocol.types import SeriesKind

if TYPE_CHECKING:
    # Clients import this module's neighbours; Ape, which these need, takes SIGINT for itself.
    from deltaroll.node.follower import Follower
    from deltaroll.node.readmodel.projector import Projector
    from deltaroll.node.sender import Mined, Sender

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of what a client waits for, seconds."""
SLOW = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Bounds of what waits for L1."""
L1_STAGES = (Stage.POSTED, Stage.SAFE, Stage.FINAL, Stage.SETTLED)


class Outcome(StrEnum):
    """How the API has answered."""

    OK = "ok"
    REFUSED = "refused"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    """The node's own fault; over HTTP a status of 500 and above."""


class Protocol(StrEnum):
    """How a client has asked."""

    REST = "rest"
    WEBSOCKET = "websocket"


def to_outcome(status: int) -> Outcome:
    """Return the outcome that an HTTP status stands for."""
    if status >= 500:
        return Outcome.UNAVAILABLE
    if status == 429:
        return Outcome.RATE_LIMITED
    return Outcome.REFUSED if status >= 400 else Outcome.OK


class RequestStage(StrEnum):
    """How far a request has got, from when it was received."""

    STARTED = "started"
    LOGGED = "logged"
    """Durable."""
    ACKNOWLEDGED = "acknowledged"


class ChallengerState(StrEnum):
    """What a challenger is doing."""

    STARTING = "starting"
    WATCHING = "watching"
    BEHIND = "behind"
    """It has no view of L1 to act upon."""
    WAITING = "waiting"
    """A fraud is found and not deep enough yet."""
    PROVING = "proving"
    FAILED = "failed"
    """L1 does not accept a proof of what was derived."""


def create_registry(process: str) -> CollectorRegistry:
    """Return a registry that has what every process of a node tells."""
    # When a counter began is no use to anybody here, and doubles the page.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    info = Info("deltaroll_node", "Which process of a node this is.", registry=registry)
    info.info({"process": process})
    return registry


class ApiMetrics:
    """Of the API: what clients ask for and how long they wait.

    What is told of every request is counted in plain numbers and put into Prometheus' words when
    somebody looks: a tenth of the cost. One thread counts.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = {(protocol, outcome): 0 for protocol in Protocol for outcome in Outcome}
        self.started, self.logged, self.acknowledged = (Distribution(FAST) for _ in RequestStage)
        registry.register(_ApiCollector(self))
        self.commit = Histogram(
            "deltaroll_commit_seconds",
            "Making one group of requests durable.",
            buckets=FAST,
            registry=registry,
        )
        self.group = Histogram(
            "deltaroll_commit_requests",
            "Requests of one commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.sessions = Gauge(
            "deltaroll_websocket_connections", "WebSocket clients connected.", registry=registry
        )
        self.subscriptions = Gauge(
            "deltaroll_websocket_subscriptions", "Subscriptions of all clients.", registry=registry
        )
        self.authenticated = Gauge(
            "deltaroll_websocket_sessions", "Account sessions open.", registry=registry
        )
        self.dropped = Counter(
            "deltaroll_slow_consumers_dropped",
            "Clients that did not keep up and were hung up on.",
            registry=registry,
        )

    def count(self, protocol: Protocol, outcome: Outcome) -> None:
        """Note an answer."""
        self.answers[protocol, outcome] += 1

    def note_commit(self, requests: int, seconds: float) -> None:
        """Note a commit."""
        self.commit.observe(seconds)
        self.group.observe(requests)

    def note_request(self, started: float, logged: float, acknowledged: float) -> None:
        """Note how long a request took to each stage."""
        self.started.observe(started)
        self.logged.observe(logged)
        self.acknowledged.observe(acknowledged)


class Distribution:
    """How often what was seen, by upper bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """The last one is of what is over all bounds."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Note a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def get_buckets(self) -> list[tuple[str, float]]:
        """Return how many values are up to each bound."""
        names = (*map(str, self.bounds), "+Inf")
        return list(zip(names, accumulate(self.counts), strict=True))


class _ApiCollector(Collector):
    def __init__(self, metrics: ApiMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield what has been counted."""
        metrics = self._metrics
        answers = CounterMetricFamily(
            "deltaroll_api_requests",
            "Requests answered, by protocol and outcome.",
            labels=("protocol", "outcome"),
        )
        for key, count in metrics.answers.items():
            answers.add_metric(key, count)
        yield answers
        latency = HistogramMetricFamily(
            "deltaroll_request_seconds",
            "From receiving a request that changes something to each stage of it.",
            labels=("stage",),
        )
        for stage, seen in zip(
            RequestStage, (metrics.started, metrics.logged, metrics.acknowledged), strict=True
        ):
            latency.add_metric((stage,), seen.get_buckets(), seen.total)
        yield latency


class VenueMetrics:
    """Of the exchange: what the event stream says. Give `take` to the sequencer or the API."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.orders = Counter(
            "deltaroll_orders", "States that orders have come to.", ("state",), registry=registry
        )
        self._orders = {state: self.orders.labels(state) for state in OrderState}
        self.kinds: dict[int, SeriesKind] = {}
        """By series; who knows the state keeps it up to date."""
        self.fills = Counter(
            "deltaroll_fills",
            "Fills, two orders that traded each, by kind of series.",
            ("kind",),
            registry=registry,
        )
        self._fills = {kind: self.fills.labels(kind.name.lower()) for kind in SeriesKind}
        self._other_fills = self.fills.labels("unknown")
        self.lots = Counter("deltaroll_lots", "Lots traded.", registry=registry)
        self.liquidations = Counter(
            "deltaroll_liquidations", "Shares of accounts taken over.", registry=registry
        )
        self.insurance = Gauge(
            "deltaroll_insurance_units",
            "Cash of the insurance fund, collateral units.",
            registry=registry,
        )
        self.sequence = Gauge(
            "deltaroll_log_sequence", "Sequence number of the last step.", registry=registry
        )
        self.clock = Gauge(
            "deltaroll_clock_timestamp_seconds", "L1 time by the log.", registry=registry
        )
        self.margin = MarginMetrics(registry)

    def take(self, steps: Sequence[Step]) -> None:
        """Count what the steps of one commit tell."""
        states: Tally[OrderState] = Tally()
        fills: Tally[SeriesKind | None] = Tally()
        lots = liquidations = 0
        for step in steps:
            for event in step.events:
                if isinstance(event, OrderUpdate):
                    states[event.state] += 1
                elif isinstance(event, Trade):
                    fills[self.kinds.get(event.market)] += 1
                    lots += event.lots
                elif isinstance(event, Liquidation):
                    liquidations += 1
                elif isinstance(event, InsuranceChange):
                    self.insurance.set(event.insurance)
        for state, count in states.items():
            self._orders[state].inc(count)
        for kind, count in fills.items():
            (self._other_fills if kind is None else self._fills[kind]).inc(count)
        self.lots.inc(lots)
        self.liquidations.inc(liquidations)
        if steps:
            self.sequence.set(steps[-1].sequence)
            self.clock.set(steps[-1].clock)


class MarginMetrics:
    """Of all accounts' margin, as of the last survey."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.accounts = Gauge(
            "deltaroll_accounts",
            "Accounts, by how they stand: those below maintenance are also below initial.",
            ("margin",),
            registry=registry,
        )
        self.worst = Gauge(
            "deltaroll_worst_margin_ratio",
            "Equity over maintenance margin of the account that stands worst; +Inf without one.",
            registry=registry,
        )
        self.at = Gauge(
            "deltaroll_margin_survey_timestamp_seconds",
            "When all accounts were last looked at.",
            registry=registry,
        )

    def set(self, health: MarginHealth) -> None:
        """Take a survey over."""
        self.accounts.labels("positions").set(health.holders)
        self.accounts.labels("below_initial").set(health.below_initial)
        self.accounts.labels("below_maintenance").set(health.below_maintenance)
        self.accounts.labels("in_auction").set(health.in_auction)
        self.accounts.labels("stale").set(health.stale)
        self.worst.set(float("inf") if health.worst_ratio is None else health.worst_ratio)
        self.at.set(time())


class L1Metrics:
    """Of the view of L1: how old it is, how final batches are, what waits in the queue."""

    def __init__(
        self, registry: CollectorRegistry, elapsed: Callable[[], float] = monotonic
    ) -> None:
        self._elapsed = elapsed
        self._looked_at: float | None = None
        self.head = Gauge("deltaroll_l1_block", "L1 block read up to.", registry=registry)
        self.head_time = Gauge(
            "deltaroll_l1_block_timestamp_seconds", "Time of that block.", registry=registry
        )
        view_age = Gauge(
            "deltaroll_view_age_seconds",
            "Since L1 was last read and added up; +Inf: never.",
            registry=registry,
        )
        view_age.set_function(self.get_view_age)
        self.is_behind = Gauge(
            "deltaroll_view_behind",
            "1 while the view of L1 is not one to act upon.",
            registry=registry,
        )
        self.looks = Counter(
            "deltaroll_l1_looks", "Looks at L1, by how they ended.", ("outcome",), registry=registry
        )
        for outcome in ("ok", "failed"):
            self.looks.labels(outcome)
        self.newest = Gauge(
            "deltaroll_batch",
            "Newest batch that has come to a stage of finality.",
            ("stage",),
            registry=registry,
        )
        self.batches_to = Gauge(
            "deltaroll_finality_distance_batches",
            "Batches on L1 that have not come to a stage yet.",
            ("stage",),
            registry=registry,
        )
        self.seconds_to = Gauge(
            "deltaroll_finality_distance_seconds",
            "L1 time since the newest batch that has come to a stage was posted.",
            ("stage",),
            registry=registry,
        )
        self.lag = Gauge(
            "deltaroll_follower_lag_batches",
            "Batches on L1 that the state does not include.",
            registry=registry,
        )
        self.queue = Gauge(
            "deltaroll_queue_messages",
            "Messages of the L1 queue that no batch has consumed.",
            registry=registry,
        )
        self.queue_age = Gauge(
            "deltaroll_queue_age_seconds",
            "L1 time since the oldest of them was sent; 0 without one.",
            registry=registry,
        )
        self.insurance = Gauge(
            "deltaroll_posted_insurance_units",
            "Cash of the insurance fund as of the newest batch.",
            registry=registry,
        )
        self.fraud = Gauge(
            "deltaroll_fraud", "1 while a batch on L1 breaks a rule.", registry=registry
        )
        self.frozen = Gauge(
            "deltaroll_frozen", "1 when the rollup takes no batch any more.", registry=registry
        )
        self.conserved = Gauge(
            "deltaroll_money_conserved",
            "1 when ledger and vault agree, 0 when not; NaN while nobody looks.",
            registry=registry,
        )
        self.conserved.set(float("nan"))
        alarms = Gauge("deltaroll_alarm", "1 while an alarm is on.", ("alarm",), registry=registry)
        self._alarms = {alarm: alarms.labels(alarm.value) for alarm in Alarm}

    def get_view_age(self) -> float:
        """Return the seconds since the last look that added up."""
        return float("inf") if self._looked_at is None else self._elapsed() - self._looked_at

    def set_alarm(self, alarm: Alarm, is_on: bool) -> None:
        """Note that an alarm has begun or ended: for `Alarms(on_change=...)`."""
        self._alarms[alarm].set(is_on)

    def note_failure(self) -> None:
        """Note a look that came to nothing."""
        self.looks.labels("failed").inc()

    def look(self, follower: "Follower") -> None:
        """Take over what a follower says that has just been polled.

        Raises
        ------
        L1Error
            When L1 does not say which blocks are safe and final.
        """
        head = follower.head
        self.is_behind.set(follower.behind is not None)
        if head is None or not follower.chain:
            return
        newest = follower.find_reached()
        self._looked_at = self._elapsed()
        self.looks.labels("ok").inc()
        self.head.set(head.number)
        self.head_time.set(head.time)
        last = len(follower.posted) - 1
        for stage in L1_STAGES:
            header = newest[stage].submitted.header
            self.newest.labels(stage.value).set(header.index)
            self.batches_to.labels(stage.value).set(last - header.index)
            self.seconds_to.labels(stage.value).set(max(0, head.time - header.l1_time))
        self.lag.set(len(follower.posted) - len(follower.chain))
        first = follower.state.globals.queue_index
        waiting = len(follower.queue) - first
        self.queue.set(max(0, waiting))
        oldest = follower.queue[first].message.time if waiting > 0 else head.time
        self.queue_age.set(max(0, head.time - oldest))
        self.insurance.set(follower.state.globals.insurance)
        self.fraud.set(follower.fraud is not None)
        self.frozen.set(follower.closing is not None)


class SenderMetrics:
    """Of the account that sends to L1."""

    def __init__(
        self, registry: CollectorRegistry, elapsed: Callable[[], float] = monotonic
    ) -> None:
        self._elapsed = elapsed
        self._oldest: tuple[int, float] | None = None
        """Number of the intent that waits longest, and since when."""
        age = Gauge(
            "deltaroll_l1_pending_age_seconds",
            "For how long the oldest of them has been on its way; 0 without one.",
            registry=registry,
        )
        age.set_function(self.get_age)
        self.pending = Gauge(
            "deltaroll_l1_transactions_pending",
            "Transactions that L1 has not counted.",
            registry=registry,
        )
        self.bumps = Counter(
            "deltaroll_l1_transactions_replaced",
            "Transactions sent again with a higher fee.",
            registry=registry,
        )
        self.balance = Gauge(
            "deltaroll_l1_balance_wei", "Of the account that sends.", registry=registry
        )
        self.affordable = Gauge(
            "deltaroll_l1_affordable_transactions",
            "How often the balance pays for the last thing sent; +Inf: nothing was sent.",
            registry=registry,
        )
        self.affordable.set(float("inf"))
        self._bumps = 0

    def get_age(self) -> float:
        """Return for how long the oldest transaction has been on its way."""
        return 0.0 if self._oldest is None else self._elapsed() - self._oldest[1]

    def look(self, sender: "Sender") -> None:
        """Take over what a sender knows after a tick."""
        waiting = sender.open
        self.pending.set(len(waiting))
        if not waiting:
            self._oldest = None
        elif self._oldest is None or self._oldest[0] != waiting[0].number:
            self._oldest = waiting[0].number, self._elapsed()
        self.bumps.inc(sender.bumps - self._bumps)
        self._bumps = sender.bumps
        if sender.balance is not None:
            self.balance.set(sender.balance)
            if sender.cost:
                self.affordable.set(sender.balance / sender.cost)


class PostingMetrics:
    """Of the way from the log to L1."""

    def __init__(
        self, registry: CollectorRegistry, elapsed: Callable[[], float] = monotonic
    ) -> None:
        self._elapsed = elapsed
        self._unposted: deque[tuple[int, float]] = deque()
        """Chunks sealed up to a number, and when that was first seen."""
        self.chunks = Gauge(
            "deltaroll_unposted_chunks", "Sealed chunks that no batch has.", registry=registry
        )
        age = Gauge(
            "deltaroll_unposted_age_seconds",
            "Since the oldest of them was sealed; 0 without one.",
            registry=registry,
        )
        age.set_function(self.get_age)
        self.seal = Histogram(
            "deltaroll_seal_seconds",
            "A look at L1, and sealing what is to be posted.",
            buckets=SLOW,
            registry=registry,
        )
        self.post = Histogram(
            "deltaroll_post_seconds",
            "From sealed chunks to a batch that is mined.",
            buckets=SLOW,
            registry=registry,
        )
        self.batches = Counter("deltaroll_batches_posted", "Batches posted.", registry=registry)
        self.gas = Counter("deltaroll_batch_gas", "Gas that batches took.", registry=registry)
        self.wei = Counter("deltaroll_batch_wei", "Wei that batches cost.", registry=registry)
        self.rebases = Counter(
            "deltaroll_rebases", "Times that chunks were sequenced again.", registry=registry
        )
        self.reverted = Counter(
            "deltaroll_entries_reverted",
            "Entries of the log that came out otherwise then.",
            registry=registry,
        )

    def get_age(self) -> float:
        """Return for how long the oldest unposted chunk has waited."""
        return self._elapsed() - self._unposted[0][1] if self._unposted else 0.0

    def note_chunks(self, sealed: int, posted: int) -> None:
        """Take down how many chunks there are and how many of them L1 has."""
        waiting = self._unposted
        while waiting and waiting[0][0] <= posted:
            waiting.popleft()
        while waiting and waiting[-1][0] > sealed:
            # Sequenced again, in fewer chunks.
            waiting.pop()
        if sealed > posted and (not waiting or waiting[-1][0] < sealed):
            waiting.append((sealed, self._elapsed()))
        self.chunks.set(max(0, sealed - posted))

    def note_batch(self, mined: "Mined", seconds: float) -> None:
        """Note a batch."""
        self.post.observe(seconds)
        self.batches.inc()
        self.gas.inc(mined.gas_used)
        self.wei.inc(mined.gas_used * mined.gas_price)

    def note_rebase(self, reverted: int) -> None:
        """Note that chunks were sequenced again."""
        self.rebases.inc()
        self.reverted.inc(reverted)


class DiskMetrics:
    """Of where the log is."""

    def __init__(self, registry: CollectorRegistry, path: Path) -> None:
        free = Gauge("deltaroll_disk_free_bytes", "Free where the log is.", registry=registry)
        free.set_function(lambda: measure_free(path.parent))
        size = Gauge("deltaroll_log_bytes", "Of the log with its journal.", registry=registry)
        size.set_function(lambda: float(measure_files(path)))


class HistoryMetrics:
    """Of the history in SQL."""

    def __init__(self, registry: CollectorRegistry, history: "Projector") -> None:
        lag = Gauge("deltaroll_history_lag", "Log entries it is behind.", registry=registry)
        lag.set_function(lambda: float(history.lag))
        failed = Gauge("deltaroll_history_failed", "1 while nothing is written.", registry=registry)
        failed.set_function(lambda: float(bool(history.problem)))


def measure_files(path: Path) -> int:
    """Return the bytes of a database and of what lies beside it."""
    beside: Iterable[Path] = path.parent.glob(path.name + "*")
    return sum(measure_file(one) for one in beside)


def measure_file(path: Path) -> int:
    """Return the bytes of a file; 0 when it is gone or none."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return found.st_size if S_ISREG(found.st_mode) else 0


def measure_free(folder: Path) -> float:
    """Return the free bytes of a folder's disk; NaN when it does not say: the rest of the page is
    worth the more then."""
    try:
        return float(disk_usage(folder).free)
    except OSError:
        return float("nan")


class ChallengerMetrics:
    """Of a challenger."""

    def __init__(self, registry: CollectorRegistry) -> None:
        state = Gauge(
            "deltaroll_challenger_state",
            "1 for what the challenger is doing.",
            ("state",),
            registry=registry,
        )
        self._states = {one: state.labels(one) for one in ChallengerState}
        self.removed = Counter(
            "deltaroll_frauds_removed", "Batches removed by our proofs.", registry=registry
        )
        self.set(ChallengerState.STARTING)

    def set(self, state: ChallengerState) -> None:
        """Say what the challenger is doing."""
        for one, gauge in self._states.items():
            gauge.set(one is state)
