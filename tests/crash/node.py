"""A sequencer with its API, a snapshot every few entries, and an oracle, until it is killed.

`python -m tests.crash.node STORE` says on standard output where it serves and what it has found in
the store, and serves until its standard input ends. L1 and the oracle are a thread of its own.
"""

import random
import sys
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread

import msgspec
import structlog

from deltaroll.node.api.limits import Limits, Rate
from deltaroll.node.api.server import ApiServer
from deltaroll.node.receipts import make_receipt_key
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.server import SequencerThread
from deltaroll.node.snapshots import Snapshots
from deltaroll.node.store import Store, StoreError
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.state import compute_state_root
from tests.node.support import ACCOUNTS, DOMAIN, OWNERS, PRICE, Venue

RECEIPT_KEY = make_receipt_key(keccak(b"deltaroll crash test receipt key"))
SNAPSHOT_EVERY = 150
"""Entries: so that many a kill comes while one is written."""
UNLIMITED = Limits(account=Rate(1e9, 1e9), address=Rate(1e9, 1e9))
TICK_SECONDS = 0.03


class Ready(msgspec.Struct):
    """What a process has found."""

    port: int
    next_sequence: int
    root: bytes
    chunks: int


def tick(venue: Venue, dice: random.Random) -> None:
    """A second of L1: a price, at times a deposit or a chunk's end."""
    sequencer = venue.sequencer
    sequencer.set_clock(sequencer.clock + 1)
    venue.observe(PRICE + dice.randint(-3, 3) * 10)
    if dice.random() < 0.1:
        account = dice.choice(ACCOUNTS)
        venue.deposit(OWNERS[account].address, account, 1 + dice.randrange(1_000))
    if dice.random() < 0.2:
        sequencer.seal()
    sequencer.flush()


def main() -> None:
    """Serve the store named on the command line."""
    renderer = structlog.processors.JSONRenderer()
    structlog.configure([renderer], logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    path = Path(sys.argv[1])
    venues: list[Venue] = []
    found: list[tuple[int, bytes, int]] = []

    def open_sequencer() -> Sequencer:
        snapshots = Snapshots(path.with_suffix(".snapshots"), SNAPSHOT_EVERY, cost_share=0)
        venue = Venue(Store(path, DOMAIN), snapshots=snapshots)
        sequencer = venue.sequencer
        sequencer.receipt_key = RECEIPT_KEY
        root = compute_state_root(sequencer.state)
        found.append((venue.store.next_sequence, root, sequencer.chunks_sealed))
        if venue.store.next_sequence == 0:
            venue.open()
        venues.append(venue)
        return sequencer

    thread = SequencerThread(open_sequencer)
    stopped = Event()

    def live() -> None:
        dice = random.Random()
        # Once the sequencer has failed there is nothing more to tell it.
        with suppress(StoreError):
            while not stopped.wait(TICK_SECONDS):
                thread.call(lambda _: tick(venues[0], dice))

    # Whoever has started this may be gone before it is told anything.
    with closing(thread), closing(ApiServer(thread, limits=UNLIMITED)) as api:
        living = Thread(target=live)
        living.start()
        try:
            print(msgspec.json.encode(Ready(api.port, *found[0])).decode(), flush=True)
            sys.stdin.read()
        finally:
            stopped.set()
            living.join()


if __name__ == "__main__":
    main()
