"""What L1 undoes is undone in snapshots too, and for listeners that were away meanwhile."""

import random
from collections.abc import Iterator

import pytest

from deltaroll.node.events import Step
from deltaroll.node.log import StoreError
from deltaroll.node.replay import compute_parts, has_survived, is_start
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.snapshots import Snapshots
from deltaroll.node.store import Store
from deltaroll.node.telling import tell_steps
from tests.node.desk_streams import compute_desk, play
from tests.node.l1 import FakeL1
from tests.node.support import CASH, DOMAIN, OTHER_INDEX, PRICE
from tests.node.test_batcher import Desk
from tests.node.test_rebased_desk import Tail, lose, trade_at_random
from tests.node.test_recovery import CARL, deposit, open_desk, recover


def live(desk: Desk, seed: int) -> Iterator[None]:
    """A life with two reorganisations and an outage; yields after each, when all is durable."""
    dice = random.Random(seed)
    desk.venue.observe(PRICE, index=OTHER_INDEX)
    deposit(desk, CARL, CASH)
    desk.sync()
    for turn in range(3):
        trade_at_random(desk, dice)
        lose(desk, is_reorganised=turn != 1)
        desk.sequencer.flush()
        yield


@pytest.mark.parametrize("seed", range(4))
def test_rebase__with_snapshots__nothing_is_different(new_path, seed):
    path = new_path()
    folder = path.with_suffix(".snapshots")
    snapshots = Snapshots(folder, every=9, cost_share=0)
    desk = Desk(path, FakeL1(), snapshots).open()
    desk.list_markets()
    desk.post_all()
    plain = open_desk(new_path())
    loaded = 0
    for _ in zip(live(desk, seed), live(plain, seed), strict=True):
        snapshots.wait()
        assert compute_desk(desk.sequencer) == compute_desk(plain.sequencer)
        parts = compute_parts(desk.store)
        assert all(is_start(parts, sequence) for sequence in snapshots.get_sequences())
        desk.sequencer.flush()
        again = Snapshots(folder, every=10**9)
        loaded += bool(again.get_sequences())
        quick = Sequencer(Store(path, DOMAIN), DOMAIN, snapshots=again)
        whole = Sequencer(Store(path, DOMAIN), DOMAIN)
        assert compute_desk(quick) == compute_desk(whole) == compute_desk(desk.sequencer)
    assert loaded
    assert desk.store.rebases == 3


def test_find__snapshot_of_what_is_undone_is_still_there__is_not_loaded(new_path):
    """A process that was killed before it could delete it."""
    path = new_path()
    folder = path.with_suffix(".snapshots")
    snapshots = Snapshots(folder, every=5, cost_share=0)
    desk = Desk(path, FakeL1(), snapshots).open()
    desk.list_markets()
    desk.post_all()
    kept: dict[str, bytes] = {}
    for _ in live(desk, 1):
        snapshots.wait()
    for seed in range(2):
        for _ in range(30):
            play(desk.venue, random.Random(seed))
            desk.sequencer.flush()
            snapshots.wait()
            kept |= {one.name: one.read_bytes() for one in folder.iterdir()}
        desk.seal()
        deposit(desk, CARL, 1)
        desk.sync()
        desk.seal()
        desk.l1.reorganise(1)
        assert recover(desk) is not None
        desk.sequencer.flush()
        snapshots.wait()
        for name, data in kept.items():
            (folder / name).write_bytes(data)
        parts = compute_parts(desk.store)
        quick = Sequencer(Store(path, DOMAIN), DOMAIN, snapshots=Snapshots(folder, 10**9))
        assert compute_desk(quick) == compute_desk(desk.sequencer)
        assert any(not is_start(parts, one) for one in Snapshots(folder).get_sequences())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("has_snapshots", [False, True])
def test_tell_steps__away_while_l1_undid_things__goes_on_as_if_it_had_been_there(
    new_path, seed, has_snapshots
):
    path = new_path()
    folder = path.with_suffix(".snapshots")
    snapshots = Snapshots(folder, every=9, cost_share=0) if has_snapshots else None
    desk = Desk(path, FakeL1(), snapshots).open()
    desk.list_markets()
    desk.post_all()
    steps: list[Step] = []
    tell_steps(desk.store, DOMAIN, steps.extend)
    desk.sequencer.listen(steps.extend)
    for _ in live(desk, seed):
        desk.sequencer.flush()
    parts = compute_parts(desk.store)
    end = desk.store.next_sequence
    assert [step.sequence for step in steps] == list(range(end))
    undone = [one for one in range(end) if not has_survived(parts, one)]
    assert undone
    dice = random.Random(seed)
    for first in {0, end, *dice.sample(range(end), 5), *dice.sample(undone, 3)}:
        tail = Tail()
        tail(steps[:first])
        heard: list[Step] = []
        tell_steps(desk.store, DOMAIN, heard.extend, first, snapshots)
        tail(heard)
        tail.check(desk.sequencer)
        if first - 1 in undone:
            assert heard == steps[first:]
            late: list[Step] = []
            Sequencer(Store(path, DOMAIN), DOMAIN, None, None, late.extend, snapshots, first)
            assert late == heard


def test_tell_steps__damaged_log__says_where(new_path):
    desk = open_desk(new_path())
    desk.store._connection.execute("UPDATE log SET entry = x'00' WHERE sequence = 7")
    with pytest.raises(StoreError, match="log entry 7 is missing or damaged"):
        tell_steps(desk.store, DOMAIN, lambda steps: None)
