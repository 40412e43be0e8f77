"""Metrics: what is told comes out, and only that."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from deltaroll.l1.gateway import L1Error
from deltaroll.node.alarms import Alarm, Alarms
from deltaroll.node.events import InsuranceChange, OrderState, OrderUpdate, Step, Trade
from deltaroll.node.metrics import (
    ApiMetrics,
    ChallengerMetrics,
    ChallengerState,
    DiskMetrics,
    HistoryMetrics,
    L1Metrics,
    Outcome,
    PostingMetrics,
    Protocol,
    SenderMetrics,
    VenueMetrics,
    create_registry,
    to_outcome,
)
from deltaroll.node.readmodel.projector import Projector
from deltaroll.node.sender import Mined
from deltaroll.node.survey import compute_health, iterate_health
from deltaroll.node.watched import Watched
from deltaroll.protocol.types import AccountId, MessageKind, SeriesKind
from tests.loading import load_script
from tests.node.distress import ADA, open_distressed
from tests.node.l1 import WINDOW, FakeGateway, FakeL1
from tests.node.support import CASH, OWNERS, PERP, Venue, encode_deposit, make_order
from tests.node.test_follower import deposit, make_follower, post

STAGES = ("posted", "safe", "final", "settled")


@pytest.fixture
def registry() -> CollectorRegistry:
    return create_registry("test")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_update(state: OrderState) -> OrderUpdate:
    return OrderUpdate(1, 0, 1, "", PERP, True, 10, 1, 1, state, "")


def make_trade(market: int, lots: int) -> Trade:
    return Trade(market, 10, lots, True, 1, 0, 1, "", 2, 0, 1, "")


def test_create_registry__process__is_named_and_has_no_times_of_creation(registry):
    assert registry.get_sample_value("deltaroll_node_info", {"process": "test"}) == 1
    VenueMetrics(registry)
    names = {sample.name for family in registry.collect() for sample in family.samples}
    assert not [name for name in names if name.endswith("_created")]


def test_take__steps__are_counted(registry):
    venue = VenueMetrics(registry)
    venue.kinds = {PERP: SeriesKind.PERPETUAL, 101: SeriesKind.CALL}
    first = (make_update(OrderState.RESTING), make_update(OrderState.RESTING))
    second = (make_trade(PERP, 3), make_trade(101, 2), make_trade(999, 1), InsuranceChange(77))
    venue.take([Step(4, 50, first), Step(5, 60, second)])
    venue.take([])
    get = registry.get_sample_value
    assert get("deltaroll_orders_total", {"state": "resting"}) == 2
    assert get("deltaroll_orders_total", {"state": "filled"}) == 0
    for kind in ("perpetual", "call", "unknown"):
        assert get("deltaroll_fills_total", {"kind": kind}) == 1
    assert get("deltaroll_fills_total", {"kind": "put"}) == 0
    assert get("deltaroll_lots_total") == 6
    assert get("deltaroll_insurance_units") == 77
    assert get("deltaroll_log_sequence") == 5
    assert get("deltaroll_clock_timestamp_seconds") == 60


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.OK),
        (400, Outcome.REFUSED),
        (404, Outcome.REFUSED),
        (429, Outcome.RATE_LIMITED),
        (500, Outcome.UNAVAILABLE),
        (503, Outcome.UNAVAILABLE),
    ],
)
def test_to_outcome__status__by_whose_fault_it_is(status, outcome):
    assert to_outcome(status) is outcome


def test_note_request__stages__each_has_its_seconds(registry):
    api = ApiMetrics(registry)
    api.note_request(0.001, 0.02, 0.3)
    api.note_commit(7, 0.004)
    api.count(Protocol.REST, Outcome.OK)
    get = registry.get_sample_value
    for stage, seconds in (("started", 0.001), ("logged", 0.02), ("acknowledged", 0.3)):
        assert get("deltaroll_request_seconds_sum", {"stage": stage}) == seconds
    assert get("deltaroll_commit_requests_sum") == 7
    asked = {"protocol": "rest", "outcome": "ok"}
    assert get("deltaroll_api_requests_total", asked) == 1


# L1


def read(registry: CollectorRegistry, name: str) -> list[float | None]:
    return [registry.get_sample_value(name, {"stage": stage}) for stage in STAGES]


def test_look__batches_of_all_ages__distance_to_each_stage(registry):
    l1 = FakeL1()
    for _ in range(2):
        deposit(l1)
        post(l1)
    l1.mine(WINDOW + 1)
    for _ in range(5):
        deposit(l1)
        post(l1)
    deposit(l1)
    follower, _ = make_follower(l1)
    metrics = L1Metrics(registry)
    follower.poll()
    metrics.look(follower)
    assert read(registry, "deltaroll_batch") == [7, 5, 3, 2]
    assert read(registry, "deltaroll_finality_distance_batches") == [0, 2, 4, 5]
    times = [follower.chain[place].submitted.header.l1_time for place in (7, 5, 3, 2)]
    assert follower.head is not None
    ages = [follower.head.time - time for time in times]
    assert read(registry, "deltaroll_finality_distance_seconds") == ages
    get = registry.get_sample_value
    assert get("deltaroll_queue_messages") == 1
    assert get("deltaroll_queue_age_seconds") == 0
    assert get("deltaroll_follower_lag_batches") == 0
    assert get("deltaroll_fraud") == 0
    assert get("deltaroll_l1_block") == follower.head.number
    l1.mine(500)
    follower.poll()
    metrics.look(follower)
    assert get("deltaroll_queue_age_seconds") == 500


def test_look__fraud__is_seen_and_the_follower_lags(registry):
    l1 = FakeL1()
    deposit(l1)
    post(l1, spoil=True)
    follower, _ = make_follower(l1)
    follower.poll()
    L1Metrics(registry).look(follower)
    assert registry.get_sample_value("deltaroll_fraud") == 1
    assert registry.get_sample_value("deltaroll_follower_lag_batches") == 1


def test_get_view_age__nobody_looks__grows(registry):
    clock = Clock()
    metrics = L1Metrics(registry, clock)
    assert registry.get_sample_value("deltaroll_view_age_seconds") == float("inf")
    follower, _ = make_follower(FakeL1())
    metrics.look(follower)
    assert registry.get_sample_value("deltaroll_view_age_seconds") == float("inf")
    follower.poll()
    metrics.look(follower)
    clock.now += 7
    assert registry.get_sample_value("deltaroll_view_age_seconds") == 7
    assert registry.get_sample_value("deltaroll_view_behind") == 0


def test_set_alarm__alarm__is_one_while_it_is_on(registry):
    metrics = L1Metrics(registry)
    alarms = Alarms(metrics.set_alarm)
    alarms.set(Alarm.FUNDS_LOW, True)
    name = {"alarm": "funds_low"}
    assert registry.get_sample_value("deltaroll_alarm", name) == 1
    alarms.set(Alarm.FUNDS_LOW, False)
    assert registry.get_sample_value("deltaroll_alarm", name) == 0
    assert registry.get_sample_value("deltaroll_alarm", {"alarm": "behind"}) == 0


# Posting


def test_note_chunks__posted_late__age_of_the_oldest(registry):
    clock = Clock()
    posting = PostingMetrics(registry, clock)

    def see(sealed: int, posted: int) -> tuple[float | None, float | None]:
        posting.note_chunks(sealed, posted)
        get = registry.get_sample_value
        return get("deltaroll_unposted_chunks"), get("deltaroll_unposted_age_seconds")

    assert see(0, 0) == (0, 0)
    assert see(2, 0) == (2, 0)
    clock.now += 5
    assert see(3, 0) == (3, 5)
    clock.now += 5
    assert see(3, 2) == (1, 5)
    assert see(3, 3) == (0, 0)
    # Sequenced again, in fewer chunks.
    assert see(6, 3) == (3, 0)
    clock.now += 4
    assert see(5, 3) == (2, 0)
    clock.now += 2
    assert see(5, 3) == (2, 2)
    assert see(5, 5) == (0, 0)


def test_note_batch__batch__costs_gas_and_wei(registry):
    posting = PostingMetrics(registry)
    posting.note_batch(Mined("0x1", 3, 50_000, True, gas_price=20), 3.0)
    posting.note_rebase(4)
    get = registry.get_sample_value
    assert get("deltaroll_batch_gas_total") == 50_000
    assert get("deltaroll_batch_wei_total") == 1_000_000
    assert get("deltaroll_post_seconds_sum") == 3
    assert get("deltaroll_entries_reverted_total") == 4


def make_sender(
    numbers: tuple[int, ...] = (), bumps: int = 0, balance: int | None = None, cost: int = 0
) -> SimpleNamespace:
    waiting = [SimpleNamespace(number=number) for number in numbers]
    return SimpleNamespace(open=waiting, bumps=bumps, balance=balance, cost=cost)


def test_look__sender__pending_bumps_and_money(registry):
    clock = Clock()
    metrics = SenderMetrics(registry, clock)

    def see(**fields: object) -> dict[str, float | None]:
        metrics.look(make_sender(**fields))  # type: ignore[arg-type]
        names = {
            "pending": "deltaroll_l1_transactions_pending",
            "age": "deltaroll_l1_pending_age_seconds",
            "bumps": "deltaroll_l1_transactions_replaced_total",
            "affordable": "deltaroll_l1_affordable_transactions",
        }
        return {key: registry.get_sample_value(name) for key, name in names.items()}

    assert see() == {"pending": 0, "age": 0, "bumps": 0, "affordable": float("inf")}
    assert see(numbers=(4,), bumps=2, balance=100, cost=10) == {
        "pending": 1,
        "age": 0,
        "bumps": 2,
        "affordable": 10,
    }
    clock.now += 9
    assert see(numbers=(4, 5), bumps=3, balance=100, cost=10)["age"] == 9
    assert see(numbers=(5,), bumps=3)["age"] == 0
    assert see(bumps=3) == {"pending": 0, "age": 0, "bumps": 3, "affordable": 10}


def test_disk__log__is_measured_with_what_lies_beside_it(registry, tmp_path):
    path = tmp_path / "log.sqlite"
    DiskMetrics(registry, path)
    assert registry.get_sample_value("deltaroll_log_bytes") == 0
    path.write_bytes(b"12345")
    (tmp_path / "log.sqlite-wal").write_bytes(b"123")
    (tmp_path / "other").write_bytes(b"1")
    assert registry.get_sample_value("deltaroll_log_bytes") == 8
    free = registry.get_sample_value("deltaroll_disk_free_bytes")
    assert free is not None
    assert free > 0


def test_disk__files_go_while_it_is_measured__the_page_is_told_all_the_same(registry, tmp_path):
    """SQLite's own log goes when the last process closes the file; a disk may be unmounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "log.sqlite-wal").symlink_to(folder / "gone")
    DiskMetrics(registry, folder / "log.sqlite")
    assert registry.get_sample_value("deltaroll_log_bytes") == 0
    (folder / "log.sqlite-wal").unlink()
    folder.rmdir()
    assert b"deltaroll_disk_free_bytes NaN" in generate_latest(registry)


def test_history__behind_or_failed__is_told(registry):
    history = SimpleNamespace(lag=0, problem="")
    HistoryMetrics(registry, cast(Projector, history))

    def see():
        names = ("deltaroll_history_lag", "deltaroll_history_failed")
        return [registry.get_sample_value(name) for name in names]

    assert see() == [0, 0]
    history.lag, history.problem = 7, "no database"
    assert see() == [7, 1]


def test_challenger__any_state__is_one_of_them(registry):
    metrics = ChallengerMetrics(registry)
    for state in ChallengerState:
        metrics.set(state)
        found = {
            one: registry.get_sample_value("deltaroll_challenger_state", {"state": one})
            for one in ChallengerState
        }
        assert found == {one: float(one is state) for one in ChallengerState}


# How accounts stand


def test_compute_health__venue_without_positions__nobody_needs_anything():
    health = compute_health(Venue().open().state)
    assert (health.holders, health.below_initial, health.worst_ratio) == (0, 0, None)


def test_compute_health__positions__worst_ratio_and_nothing_changed():
    venue = Venue().open()
    venue.submit(AccountId(1), 0, make_order(size=100))
    venue.submit(AccountId(2), 0, make_order(size=100, is_buy=False))
    before = venue.sequencer.state.globals, dict(venue.state.accounts)
    health = compute_health(venue.state)
    assert health.holders == 2
    assert health.below_maintenance == health.below_initial == health.stale == 0
    assert health.worst_ratio is not None
    assert 1 < health.worst_ratio < 100
    assert (venue.sequencer.state.globals, dict(venue.state.accounts)) == before


def test_compute_health__account_in_distress__is_counted():
    venue = open_distressed()
    health = compute_health(venue.state)
    assert health.below_maintenance >= 1
    assert health.below_initial >= health.below_maintenance
    assert health.worst_ratio is not None
    assert health.worst_ratio < 1
    assert health.in_auction == bool(venue.state.accounts[ADA].distressed_at)


def test_compute_health__marks_are_stale__margin_is_unknown():
    venue = Venue().open()
    venue.submit(AccountId(1), 0, make_order(size=1))
    venue.submit(AccountId(2), 0, make_order(size=1, is_buy=False))
    venue.sequencer.set_clock(venue.sequencer.clock + 10**5)
    health = compute_health(venue.state)
    assert (health.holders, health.stale, health.below_initial) == (2, 2, 0)


def test_iterate_health__account_goes_meanwhile__the_others_are_counted():
    venue = Venue().open()
    steps: Iterator[None] = iterate_health(venue.state)
    next(steps)
    del venue.state.accounts[AccountId(5)]
    assert len(list(steps)) == len(OWNERS) - 1


# A process


def test_watched__look__page_says_what_is_wrong():
    l1 = FakeL1()
    l1.enqueue(
        MessageKind.DEPOSIT,
        OWNERS[AccountId(1)].address,
        encode_deposit(OWNERS[AccountId(1)].address, 0, CASH),
    )
    post(l1)
    follower, _ = make_follower(l1)
    watched = Watched("follower", 60.0)
    assert watched.monitor.find_reasons() == {"l1": "L1 has not been read yet"}
    follower.poll()
    watched.look(follower)
    assert watched.monitor.find_reasons() == {}
    view = watched.monitor.facts["view"]()
    assert view["batch"] == 1
    assert view["state_root"] == "0x" + follower.state_root.hex()
    post(l1, spoil=True)
    follower.poll()
    watched.look(follower)
    assert watched.monitor.find_reasons()["l1"].startswith("batch 2 is fraudulent: ")
    watched.alarms.set(Alarm.BEHIND, True)
    assert watched.monitor.facts["alarms"]() == ["behind"]


def test_watched__l1_does_not_say_what_is_final__the_look_fails():
    gateway = FakeGateway(FakeL1())
    follower, _ = make_follower(gateway.l1)
    with pytest.raises(L1Error, match="not polled yet"):
        follower.find_reached()


@pytest.mark.parametrize(
    ("behind", "fraud_in", "state"),
    [
        ("L1: silent", None, ChallengerState.BEHIND),
        ("L1: silent", 90, ChallengerState.BEHIND),
        (None, None, ChallengerState.WATCHING),
        (None, 99, ChallengerState.WAITING),
        (None, 98, ChallengerState.PROVING),
    ],
)
def test_find_state__view_and_fraud__say_what_comes_next(behind, fraud_in, state):
    """With two confirmations, at block 100."""
    submitted = SimpleNamespace(block=fraud_in)
    fraud = None if fraud_in is None else SimpleNamespace(submitted=submitted)
    head = SimpleNamespace(number=100)
    follower = SimpleNamespace(behind=behind, head=head, fraud=fraud)
    challenger = SimpleNamespace(follower=follower, confirmations=2)
    assert load_script("challenge").find_state(challenger) is state
