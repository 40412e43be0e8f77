"""The history is written beside the node: each step is in once, and trading goes on."""

import os
import signal
from contextlib import closing
from threading import Event
from time import monotonic

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text, update

from deltaroll.node.api.data import BatchData
from deltaroll.node.events import AccountChange, Rebased, Step
from deltaroll.node.readmodel import tables
from deltaroll.node.readmodel.database import HistoryError, open_history
from deltaroll.node.readmodel.historian import Historian
from deltaroll.node.readmodel.inbox import Inbox
from deltaroll.node.readmodel.projector import MAX_TOLD, Projector
from deltaroll.node.readmodel.rebuild import rebuild
from deltaroll.node.readmodel.remote import RemoteHistorian
from deltaroll.node.store import Store, StoreError
from deltaroll.node.wal import PAGE_BYTES
from tests.loading import load_script
from tests.node.support import DOMAIN
from tests.readmodel.support import open_historian, read, read_all
from tests.readmodel.test_streams import make_steps

SECONDS = 30.0
HUGE = 1 << 126


def make_step(sequence: int) -> Step:
    return Step(sequence, 1_000 + sequence, (AccountChange(1, HUGE + sequence, 0, 0, 0, ()),))


def read_cash(url: str) -> list[int]:
    return [row["cash"] - HUGE for row in read(open_historian(url).engine, tables.Balance)]


def test_listen__writer_killed__tables_are_those_of_one_go(
    new_path, new_sqlite, new_url, tmp_path, monkeypatch
):
    """kill -9, in the middle of whatever it does."""
    monkeypatch.setattr("deltaroll.node.readmodel.projector.STEPS_AT_ONCE", 5)
    monkeypatch.setattr("deltaroll.node.readmodel.projector.FIRST_PAUSE", 0.01)
    _, steps = make_steps(new_path(), "trading", 0, 120)
    url, last = new_url(), steps.all[-1].sequence
    remote = RemoteHistorian(url, DOMAIN)
    projector = Projector(lambda: remote, tmp_path / "spill", most=50)
    for step in steps.all:
        projector.listen([step])
        if step.sequence == last // 2:
            assert projector.wait(step.sequence - 20, SECONDS)
            killed = remote.pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
    assert projector.wait(last, SECONDS)
    assert remote.pid != killed
    projector.close()
    whole = open_historian(new_sqlite())
    whole.apply(steps.all)
    assert read_all(open_historian(url).engine) == read_all(whole.engine)


def test_remote__what_the_process_refuses__is_raised_here(new_sqlite, tmp_path):
    url = new_sqlite()
    remote = RemoteHistorian(url, DOMAIN)
    assert (remote.get_applied(), remote.apply([make_step(0), make_step(1)])) == (-1, 1)
    with pytest.raises(HistoryError, match="another rollup"):
        RemoteHistorian(url, b"\x01" * 32)
    with open_historian(url).engine.begin() as connection:
        connection.execute(update(tables.Progress).values(sequence=-1))
    with pytest.raises(HistoryError, match="somebody else"):
        remote.apply([make_step(0)])
    remote.close()
    assert remote.pid is None


def test_close__writer_hangs__is_killed_after_a_while(new_sqlite, tmp_path, monkeypatch):
    monkeypatch.setattr("deltaroll.node.readmodel.projector.CLOSE_SECONDS", 0.1)
    remote = RemoteHistorian(new_sqlite(), DOMAIN)
    projector = Projector(lambda: remote, tmp_path / "spill")
    assert remote.pid is not None
    os.kill(remote.pid, signal.SIGSTOP)
    projector.listen([make_step(0)])
    projector.close()
    assert projector.lag == 1


def test_listen__database_dies__nobody_waits_and_the_history_catches_up(cluster, tmp_path):
    url = cluster.create()
    projector = Projector(lambda: Historian(url, DOMAIN), tmp_path / "spill", most=5)
    try:
        projector.listen([make_step(0)])
        assert projector.wait(0, SECONDS)
        cluster.stop()
        try:
            started = monotonic()
            for sequence in range(1, 400):
                projector.listen([make_step(sequence)])
            assert monotonic() - started < 2
            assert projector.lag == 399
        finally:
            cluster.start()
        assert projector.wait(399, SECONDS)
        assert (projector.lag, projector.problem) == (0, "")
    finally:
        projector.close()
    assert read_cash(url) == list(range(400))
    assert not (tmp_path / "spill").exists()


def test_projector__database_not_there_at_the_start__begins_when_it_is(cluster, tmp_path):
    url = cluster.create()
    cluster.stop()
    try:
        projector = Projector(lambda: Historian(url, DOMAIN), tmp_path / "spill")
        assert projector.problem
        assert projector.find_first(77) == 77
        projector.listen([make_step(0)])
    finally:
        cluster.start()
    assert projector.wait(0, SECONDS)
    projector.close()
    assert read_cash(url) == [0]


def test_listen__more_than_memory_may_hold__nothing_is_lost_or_out_of_order(new_url, tmp_path):
    url = new_url()
    for most in (3, 50):
        projector = Projector(lambda: Historian(url, DOMAIN), tmp_path / "spill", most=most)
        last = projector.applied
        for sequence in range(last + 1, last + 501):
            projector.listen([make_step(sequence)])
        projector.close()
        assert projector.applied == last + 500
    assert read_cash(url) == list(range(1_000))


def test_listen__told_again_after_a_restart__is_in_once(new_sqlite, tmp_path):
    url = new_sqlite()
    for length in (10, 25):
        projector = Projector(lambda: Historian(url, DOMAIN), tmp_path / "spill")
        for sequence in range(length):
            projector.listen([make_step(sequence)])
        projector.close()
    assert read_cash(url) == list(range(25))


def test_listen__no_room_for_what_waits__it_is_taken_from_the_log(
    new_path, new_sqlite, tmp_path, monkeypatch
):
    """The disk takes no file: steps are left out, and nobody who trades has noticed."""
    path, url = new_path(), new_sqlite()
    _, steps = make_steps(path, "trading", 0, 120)
    whole = open_historian(new_sqlite())
    whole.apply(steps.all)
    inbox = Inbox(tmp_path / "nowhere" / "spill", most=1)
    for step in steps.all[:3]:
        inbox.put([step])
    inbox.close()
    assert (inbox.take(10), inbox.take(10)) == (steps.all[:1], None)
    small = Inbox(tmp_path / "spill", most=1, max_spill=300)
    for sequence in range(9):
        small.put([make_step(sequence)])
    assert (tmp_path / "spill").stat().st_size <= 300
    kept = small.take(10)
    assert kept == [make_step(sequence) for sequence in range(len(kept))]
    assert 1 < len(kept) < 9
    small.put([make_step(9)])
    assert small.take(10) == [make_step(9)]
    gate = Event()
    historian = Historian(url, DOMAIN, path)
    apply = historian.apply
    monkeypatch.setattr(historian, "apply", lambda steps: gate.wait(SECONDS) and apply(steps))
    projector = Projector(lambda: historian, tmp_path / "nowhere" / "spill", most=5)
    for step in steps.all[:-1]:
        projector.listen([step])
    gate.set()
    assert projector.wait(3, SECONDS)
    projector.listen(steps.all[-1:])
    assert projector.wait(steps.all[-1].sequence, SECONDS)
    projector.close()
    told = open_historian(url).engine
    for table in (*tables.NOTED, tables.Order, tables.Candle):
        assert read(told, table) == read(whole.engine, table)


def test_projector__rows_of_somebody_else__stops_and_trading_goes_on(new_sqlite, tmp_path):
    url = new_sqlite()
    other = open_historian(url)
    other.apply([make_step(0)])
    with other.engine.begin() as connection:
        connection.execute(update(tables.Progress).values(sequence=-1))
    projector = Projector(lambda: Historian(url, DOMAIN), tmp_path / "spill")
    projector.listen([make_step(0)])
    projector._thread.join(SECONDS)
    assert projector.problem.startswith("stopped: ")
    projector.listen([make_step(1)])
    projector.close()


def test_open_history__another_rollups__is_refused(new_url):
    url = new_url()
    open_history(url, DOMAIN).dispose()
    with pytest.raises(HistoryError, match="another rollup"):
        open_history(url, b"\x01" * 32)


def test_open_history__another_schema__is_refused_until_built_again(new_url):
    url = new_url()
    engine = open_history(url, DOMAIN)
    with engine.begin() as connection:
        connection.execute(update(tables.Progress).values(schema_version=99))
    engine.dispose()
    with pytest.raises(HistoryError, match=r"schema 99.*--rebuild"):
        open_history(url, DOMAIN)
    open_history(url, DOMAIN, is_new=True).dispose()
    open_history(url, DOMAIN).dispose()


def test_open_history__crashed_while_tables_were_made__goes_on(new_url):
    url = new_url()
    engine = open_history(url, DOMAIN)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM progress"))
        connection.execute(text("DROP TABLE fills"))
    engine.dispose()
    assert open_historian(url).apply([make_step(0)]) == 0


def test_open_history__database_with_tables_of_its_own__is_left_alone(new_url):
    url = new_url()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER)"))
    with pytest.raises(HistoryError, match="'orders' of its own"):
        open_history(url, DOMAIN)
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "not a URL"),
        ("mysql://root@localhost/history", "neither sqlite nor postgresql"),
        ("sqlite://", "needs a file"),
    ],
)
def test_open_history__no_usable_url__is_refused(url, problem):
    with pytest.raises(HistoryError, match=problem):
        open_history(url, DOMAIN)


def test_find_first__history_knows_more_than_the_log__is_refused(new_sqlite, tmp_path):
    url = new_sqlite()
    open_historian(url).apply([make_step(sequence) for sequence in range(8)])
    projector = Projector(lambda: Historian(url, DOMAIN), tmp_path / "spill")
    assert (projector.find_first(8), projector.find_first(20)) == (8, 8)
    assert projector.find_first(9 + MAX_TOLD) == 9 + MAX_TOLD
    with pytest.raises(HistoryError, match="knows step 7, the log ends with 6"):
        projector.find_first(7)
    projector.close()


def test_open_log__end_is_unreadable__the_history_is_asked_about_what_is_left(
    new_path, new_sqlite, tmp_path
):
    """A page of zeros, wherever the log still opens: it must not look like an empty one."""
    path, open_log = new_path(), load_script("sequence").open_log
    store = Store(path, DOMAIN)
    for number in range(400):
        store.append(b"entry %d" % number + bytes(90))
    store.close()
    whole, url = path.read_bytes(), new_sqlite()
    open_historian(url).apply([make_step(sequence) for sequence in range(3)])
    lengths = set()
    with closing(Projector(lambda: Historian(url, DOMAIN), tmp_path / "spill")) as projector:
        for start in range(0, len(whole), PAGE_BYTES):
            damaged = new_path()
            damaged.write_bytes(whole[:start] + bytes(PAGE_BYTES) + whole[start + PAGE_BYTES :])
            try:
                log, first = open_log(damaged, DOMAIN, projector)
            except StoreError:
                continue
            assert first == 3
            lengths.add(log.next_sequence)
            log.close()
    assert len(lengths) > 1
    assert 0 < min(lengths) < 400


def make_batch(index: int, stage: str, branch: str = "a") -> BatchData:
    return BatchData(index, f"0x{branch}{index}", stage, 1, 100 + index, 1_000 + index)


def test_note_batches__reorganised__stages_are_kept_and_what_is_gone_is_removed(new_url, tmp_path):
    url = new_url()
    projector = Projector(lambda: Historian(url, DOMAIN), tmp_path / "spill")
    projector.note_batches([make_batch(0, "safe"), make_batch(1, "posted")], 0)
    projector.close()
    historian = open_historian(url)
    historian.note_batches([make_batch(0, "final"), make_batch(1, "posted", "b")], 0)
    historian.note_batches([make_batch(1, "safe", "b")], 1)
    found = {row["header_hash"]: row["stage"] for row in read(historian.engine, tables.Batch)}
    assert found == {"0xa0": "final", "0xa1": "removed", "0xb1": "safe"}
    stages = {
        (row["header_hash"], row["stage"]) for row in read(historian.engine, tables.BatchStage)
    }
    assert stages == {
        ("0xa0", "safe"),
        ("0xa0", "final"),
        ("0xa1", "posted"),
        ("0xa1", "removed"),
        ("0xb1", "posted"),
        ("0xb1", "safe"),
    }


def test_history_script__rebuild_and_catch_up__end_with_what_the_log_says(new_path, new_url):
    path, url = new_path(), new_url()
    _, steps = make_steps(path, "trading", 1)
    script = load_script("history")
    historian = open_historian(url)
    historian.apply([make_step(0), *steps.all[1:40]])
    spoiled = read_all(historian.engine)
    last = steps.all[-1].sequence
    for option in ("--rebuild", "--catch-up"):
        result = CliRunner().invoke(script.cli, ["--store", str(path), "--url", url, option])
        assert result.exit_code == 0, result.output
        assert f"step {last} of {last} is written" in result.output
        whole = open_historian(url)
        assert read_all(whole.engine) != spoiled
    whole.apply(steps.all)
    fresh = read_all(whole.engine)
    rebuild(path, url)
    assert read_all(whole.engine) == fresh


@pytest.mark.parametrize("arguments", [["--url", "mysql://here"], ["--store", "/nowhere/log"]])
def test_history_script__nothing_to_look_at__is_one_line(arguments):
    result = CliRunner().invoke(load_script("history").cli, arguments)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1


def test_apply__steps_are_missing__nothing_is_written(new_sqlite):
    historian = open_historian(new_sqlite())
    historian.apply([make_step(0)])
    with pytest.raises(HistoryError, match=r"steps 1 to 4 are missing.*--catch-up"):
        historian.apply([make_step(5)])
    historian.apply([Step(5, 2_000, (Rebased(1),))])
    with pytest.raises(HistoryError, match="steps 6 to 8 are missing"):
        historian.apply([Step(9, 2_000, (Rebased(8),))])
    assert historian.get_applied() == 5


def test_apply__steps_missing_of_a_log_that_has_grown__are_taken_from_it(new_path, new_sqlite):
    """A node that has run for a while: its history has the log open since its first receipts."""
    path, url = new_path(), new_sqlite()
    sequencer, steps = make_steps(path, "trading", 0, 40)
    historian = Historian(url, DOMAIN, path)
    historian.apply(steps.all)
    for _ in range(6):
        sequencer.set_clock(sequencer.clock + 1)
    sequencer.flush()
    historian.apply(steps.all[:-3])
    assert historian.apply(steps.all[-1:]) == steps.all[-1].sequence
    historian.close()
    whole = open_historian(new_sqlite())
    whole.apply(steps.all)
    assert read(open_historian(url).engine, tables.Clock) == read(whole.engine, tables.Clock)
