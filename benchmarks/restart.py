"""A restart after 100,000 orders: from a snapshot as old as they get, and by the whole log."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.flow import DOMAIN, START, create_flow
from deltaroll.demo.actors import SignedOrder, make_orders, observe
from deltaroll.demo.venue import INDEX, MAKERS, PERPETUAL, make_dice
from deltaroll.logs import configure_logs
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.snapshots import EVERY, Snapshots
from deltaroll.node.store import Store
from deltaroll.protocol.state import compute_state_root
from deltaroll.protocol.types import Timestamp

ORDERS = 100_000
PRICE = 60_000 * 10**2
GROUP = 64
"""Orders to a commit."""
ROUNDS = 3
CHUNK_SECONDS = 12


class Restart(NamedTuple):
    """Seconds until a sequencer is ready to serve."""

    orders: int
    snapshot: float
    whole: float
    capture: float
    """That its thread spends on taking a snapshot; another one writes it."""


def write_log(folder: Path, orders: int) -> tuple[int, float]:
    """Run so many orders through a sequencer that is killed in the end, most of a snapshot's
    interval after the last one; return their number and the seconds that capturing took."""
    flow = create_flow(folder / "bench.sqlite")
    sequencer = flow.sequencer
    snapshots = Snapshots(folder / "bench.snapshots", every=10**9)
    dice = make_dice(7)
    done, clock, captured = 0, START, 0.0
    while done < orders:
        clock += CHUNK_SECONDS
        sequencer.set_clock(clock)
        prices = observe(flow.committee, DOMAIN, INDEX, PRICE, Timestamp(clock), dice)
        sequencer.observe(INDEX, *prices)
        for _ in range(16):
            drift = 1 if dice.random() < 0.5 else -1
            signed = make_orders(
                flow.traders, MAKERS, PERPETUAL, PRICE, drift, sequencer.clock, dice
            )
            for group in iterate_groups(signed):
                for one in group:
                    sequencer.submit_order(one.account, one.slot, one.order, one.signature)
                sequencer.flush()
                done += len(group)
                if not captured and done >= orders - EVERY:
                    started = time.perf_counter()
                    snapshots.start(sequencer._machine, sequencer.store, DOMAIN)
                    captured = time.perf_counter() - started
                    snapshots.wait()
                if done >= orders:
                    break
            if done >= orders:
                break
    snapshots.close()
    sequencer.store.close()
    return done, captured


def iterate_groups(signed: list[SignedOrder]) -> Iterator[list[SignedOrder]]:
    """Yield what is committed together."""
    for place in range(0, len(signed), GROUP):
        yield signed[place : place + GROUP]


def time_start(folder: Path, has_snapshots: bool) -> tuple[float, bytes]:
    """Return the seconds that a sequencer takes to open, and its state root."""
    started = time.perf_counter()
    snapshots = Snapshots(folder / "bench.snapshots") if has_snapshots else None
    store = Store(folder / "bench.sqlite", DOMAIN)
    sequencer = Sequencer(store, DOMAIN, snapshots=snapshots)
    seconds = time.perf_counter() - started
    root = compute_state_root(sequencer.state)
    store.close()
    if snapshots is not None:
        snapshots.close()
    return seconds, root


def measure_restart(orders: int = ORDERS) -> Restart:
    """Return what a restart takes; AssertionError when both ways do not end in the same root."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        done, captured = write_log(folder, orders)
        quick, root = min(time_start(folder, True) for _ in range(ROUNDS))
        whole, expected = time_start(folder, False)
    if root != expected:
        raise AssertionError("a restart from a snapshot has another root")
    return Restart(done, quick, whole, captured)


def main() -> None:
    """Measure and print."""
    configure_logs("error")
    result = measure_restart()
    print(
        f"{result.orders:,} orders: {result.snapshot:.2f} s from a snapshot, {result.whole:.2f} s "
        f"by the whole log; {result.capture * 1e3:.1f} ms to take a snapshot"
    )


if __name__ == "__main__":
    main()
