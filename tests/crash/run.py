"""Kills a sequencer at random, again and again, and looks whether it keeps its word.

`python -m tests.crash.run --kills N --seed S` prints what came of it. Each time traders send signed
orders through the WebSocket until the process is killed (SIGKILL), at any moment of its life: while
it opens its store, commits, or writes a snapshot. Then another process takes the store over, and

- what it finds has the root of a replay of the log without snapshots;
- every order that was acknowledged is in the log, once, under the number of its receipt, and came
  to what the receipt says; the receipt is signed;
- no order is in the log twice, also not one that was sent again because nobody answered it.
"""

import argparse
import logging
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import IO, Any

import msgspec

from deltaroll.node.entries import CancelEntry, HoldEntry, OrderEntry, decode_entry
from deltaroll.node.machine import Machine
from deltaroll.node.receipts import decode_receipt, recover_receipt_signer
from deltaroll.node.snapshots import Snapshots
from deltaroll.node.store import Store
from deltaroll.protocol.eip712 import hash_order
from deltaroll.protocol.state import State, compute_state_root
from deltaroll.sdk.receipts import verify_receipt
from tests.crash.load import Asked, Trader
from tests.crash.node import RECEIPT_KEY, Ready
from tests.node.desk_streams import compute_desk
from tests.node.support import ACCOUNTS, DOMAIN, restart

ROOT = Path(__file__).resolve().parents[2]
SHORTEST, LONGEST = 0.02, 0.5
"""Seconds of load before a kill."""
EARLY = 0.1
"""Of all starts, so many are killed before they are through."""
STARTING_SECONDS = 1.2
PATIENCE = 60.0
UNTIL_ACKNOWLEDGED = 10.0


@dataclass
class Tally:
    """What has happened."""

    kills: int = 0
    early: int = 0
    """Kills while a process was starting, beside the others."""
    acknowledged: int = 0
    cancelled: int = 0
    found: int = 0
    """Orders that had no answer and were in the log."""
    lost: int = 0
    """Orders that had no answer and were not: nobody was told that they were."""
    starts: list[float] = field(default_factory=list)
    """Seconds from the start of a process until it serves."""
    logged: Counter[str] = field(default_factory=Counter)


class Process:
    """One life of the sequencer."""

    def __init__(self, path: Path, errors: IO[bytes], file_bytes: int | None = None) -> None:
        """Start it; `file_bytes`: no file may grow beyond that."""

        def limit() -> None:
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.node", str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            preexec_fn=limit,
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def wait_ready(self) -> Ready:
        """Wait until it serves; AssertionError when it does not."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.endswith(b"\n"), f"the sequencer has not started: {self.process.wait()}"
        return msgspec.json.decode(line, type=Ready)

    def kill(self) -> None:
        """Kill it, as nothing can prepare for."""
        self.process.kill()
        self.wait()

    def stop(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.wait() == 0

    def wait(self) -> int:
        """Wait for its end."""
        code = self.process.wait(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        return code


class Replica:
    """Follows the log, entry by entry, and believes nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._machine = Machine(State(), DOMAIN, lambda chunk: None)
        self._chain: bytes | None = None
        self.next_sequence = 0
        self.places: dict[str, int] = {}
        """Sequence number of each client id."""
        self.outcomes: dict[int, tuple[int, int]] = {}
        """Outcome and lots of each order."""
        self.cancels: dict[int, tuple[int, int]] = {}
        """Account and slot of each cancellation."""

    def follow(self, until: int) -> bytes:
        """Apply the log up to an entry; return the root."""
        store = Store(self._path, DOMAIN)
        assert self._chain in (None, store.get_chain(self.next_sequence)), "the log has changed"
        assert until >= self.next_sequence, "the log is shorter"
        for sequence, encoding in store.iterate_entries(self.next_sequence):
            if sequence == until:
                break
            entry = decode_entry(encoding)
            receipt = self._machine.apply(sequence, entry)
            order = entry.order if isinstance(entry, HoldEntry) else entry
            if isinstance(order, OrderEntry):
                before = self.places.setdefault(order.client_id, sequence)
                assert before == sequence, f"{order.client_id}: entries {before} and {sequence}"
                filled = 0 if receipt.execution is None else receipt.execution.filled
                self.outcomes[sequence] = (int(receipt.outcome), filled)
            elif isinstance(entry, CancelEntry):
                self.cancels[sequence] = (entry.account, entry.slot)
        self.next_sequence = until
        self._chain = store.get_chain(until)
        store.close()
        return compute_state_root(self._machine.state)

    def check_order(self, trader: Trader, asked: Asked) -> None:
        """Check one acknowledged order against the log."""
        answer = asked.answer
        assert answer is not None
        sequence = answer["sequence"]
        assert self.places.get(asked.client_id) == sequence, f"{asked.client_id}: {answer}"
        receipt = answer["receipt"]
        subject = hash_order(trader.account, asked.slot, asked.order)
        signed = verify_receipt(DOMAIN, RECEIPT_KEY.address, subject, receipt)
        assert signed.sequence == sequence
        assert (signed.outcome, signed.filled) == self.outcomes[sequence], asked.client_id

    def check_cancel(self, trader: Trader, slot: int, answer: dict[str, Any]) -> None:
        """Check one acknowledged cancellation against the log."""
        assert self.cancels.get(answer["sequence"]) == (trader.account, slot), answer


class Campaign:
    """All lives of one store."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.path = folder / "store.sqlite"
        self._errors = folder / "errors.log"
        self._dice = random.Random(seed)
        self.traders = [Trader(account, random.Random(f"{seed} {account}")) for account in ACCOUNTS]
        self.replica = Replica(self.path)
        self.tally = Tally()
        self._checked: dict[int, set[str]] = {trader.account: set() for trader in self.traders}
        self._checked_cancels = {trader.account: 0 for trader in self.traders}

    def run(self, kills: int) -> Tally:
        """Kill so many times under load, then look at everything again."""
        with self._errors.open("wb") as errors:
            for _ in range(kills):
                while self._dice.random() < EARLY:
                    with Process(self.path, errors) as process:
                        self._kill_early(process)
                with Process(self.path, errors) as process:
                    self._kill_under_load(process)
            with Process(self.path, errors) as last:
                self._take_over(last)
                last.stop()
        self._check_at_last()
        self._count_logged()
        return self.tally

    def fill_disk(self, file_bytes: int) -> Tally:
        """Let files grow so far and no further, until the sequencer stops; then go on."""
        with self._errors.open("wb") as errors:
            with Process(self.path, errors, file_bytes) as process:
                ready = self._take_over(process)
                threads = [trader.start(ready.port) for trader in self.traders]
                deadline = time.monotonic() + PATIENCE
                while not all(trader.refused for trader in self.traders):
                    self._raise_problems()
                    assert time.monotonic() < deadline, "the disk is never full"
                    self._wait(0.01)
                process.kill()
            for thread in threads:
                thread.join()
            with Process(self.path, errors) as again:
                self._take_over(again)
                again.stop()
        self._check_at_last()
        self._count_logged()
        return self.tally

    def _count_logged(self) -> None:
        for line in self._errors.read_bytes().splitlines():
            self.tally.logged[msgspec.json.decode(line)["event"]] += 1

    def _wait(self, seconds: float) -> None:
        Event().wait(seconds)

    def _kill_early(self, process: Process) -> None:
        self._wait(self._dice.uniform(0.0, STARTING_SECONDS))
        process.kill()
        self.tally.early += 1

    def _take_over(self, process: Process) -> Ready:
        """See a process find what was promised."""
        ready = process.wait_ready()
        self.tally.starts.append(time.monotonic() - process.started)
        assert self.replica.follow(ready.next_sequence) == ready.root, "another root"
        self._check_promises()
        return ready

    def _check_promises(self) -> None:
        for trader in self.traders:
            done = self._checked[trader.account]
            for asked in trader.asked.values():
                if asked.answer is not None and asked.client_id not in done:
                    self.replica.check_order(trader, asked)
                    done.add(asked.client_id)
                    self.tally.acknowledged += 1
                assert asked.refusal is None or asked.client_id not in self.replica.places, asked
            cancels = trader.cancels[self._checked_cancels[trader.account] :]
            for slot, answer in cancels:
                self.replica.check_cancel(trader, slot, answer)
            self._checked_cancels[trader.account] += len(cancels)
            self.tally.cancelled += len(cancels)

    def _kill_under_load(self, process: Process) -> None:
        ready = self._take_over(process)
        for trader in self.traders:
            for asked in trader.asked.values():
                if asked.is_open:
                    is_there = asked.client_id in self.replica.places
                    self.tally.found += is_there
                    self.tally.lost += not is_there
        before = self._count_answers()
        threads = [trader.start(ready.port) for trader in self.traders]
        deadline = time.monotonic() + UNTIL_ACKNOWLEDGED
        while self._count_answers() == before:
            self._raise_problems()
            assert time.monotonic() < deadline, "nothing is acknowledged"
            self._wait(0.002)
        self._wait(self._dice.uniform(SHORTEST, LONGEST))
        process.kill()
        for thread in threads:
            thread.join()
        self._raise_problems()
        self.tally.kills += 1

    def _raise_problems(self) -> None:
        for trader in self.traders:
            if trader.problem is not None:
                raise trader.problem

    def _count_answers(self) -> int:
        return sum(trader.answers for trader in self.traders)

    def _check_at_last(self) -> None:
        """The whole log once more, from nothing, against a restart from the last snapshot."""
        whole = restart(self.path)
        end = whole.store.next_sequence
        root = self.replica.follow(end)
        assert compute_state_root(whole.state) == root
        for trader in self.traders:
            for asked in trader.asked.values():
                if asked.answer is not None:
                    stored = whole.store.get_receipt(asked.answer["sequence"])
                    assert stored is not None
                    signed = decode_receipt(stored)
                    assert recover_receipt_signer(DOMAIN, signed) == RECEIPT_KEY.address
        quick = restart(self.path, snapshots=Snapshots(self.path.with_suffix(".snapshots")))
        assert compute_desk(quick.sequencer) == compute_desk(whole.sequencer)
        for venue in (whole, quick):
            venue.store._connection.close()


def describe(tally: Tally, entries: int, seconds: float) -> str:
    """Return what is to be said about a campaign."""
    starts = sorted(tally.starts)
    return (
        f"{tally.kills} kills under load and {tally.early} more during starts in {seconds:.0f} s: "
        f"{tally.acknowledged:,} orders and {tally.cancelled:,} cancellations acknowledged, none "
        f"lost, none doubled, every root identical; log of {entries:,} entries; "
        f"of orders without an answer {tally.found:,} were in the log and {tally.lost:,} were not, "
        f"and each was taken once when it was sent again; {tally.logged['snapshot_loaded']} starts "
        f"from a snapshot, {tally.logged['snapshot_written']} written; starts took "
        f"{starts[len(starts) // 2]:.2f} s, at most {starts[-1]:.2f} s"
    )


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    # A frame that is torn by a kill is no news.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    started = time.monotonic()
    with TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), arguments.seed)
        tally = campaign.run(arguments.kills)
        entries = campaign.replica.next_sequence
    print(describe(tally, entries, time.monotonic() - started))


if __name__ == "__main__":
    main()
