"""The processes of a soak: a chain, a sequencer with its API, a challenger, two followers."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ape import networks

from deltaroll.cli import load_deployment
from deltaroll.node.follower import Follower
from deltaroll.node.sender import wait_for
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from deltaroll.status import fetch, parse_metrics
from tests.node.support import compute_listing, compute_option_listing, strip_fee_levels
from tests.scripts.shell import ALIAS, CHAIN, VENUE, Shell, open_chain, to_hex
from tests.scripts.test_scripts import write_venue
from tests.soak.load import ACCOUNTS, CASH, LEAVER, PAYER, SIGNERS
from tests.soak.verdict import Sample

BLOCK_SECONDS = 1
START_SECONDS = 120.0
STOP_SECONDS = 60.0
DRAIN_SECONDS = 90.0
CONFIG = """
[l1]
interval = 2
keep_batches = 32
[sequencer]
api = 0
[metrics]
port = 0
[limits]
address_rate = 20000
address_burst = 20000
"""
FOLLOWERS = ("follower_1", "follower_2")


@dataclass
class Process:
    """A process of ours, with what it says in a file."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    metrics: int = 0
    """Port."""

    def find(self, mark: str) -> str | None:
        """Return the rest of the first line that has a mark."""
        for line in self.log.read_text().splitlines():
            if mark in line:
                return line.split(mark, 1)[1]
        if self.popen.poll() is not None:
            raise RuntimeError(f"{self.name} has ended: {self.log.read_text()[-2_000:]}")
        return None

    def wait_for_port(self, mark: str) -> int:
        """Return the port that the process says it listens on."""
        rest = wait_for(mark, lambda: self.find(mark), START_SECONDS)
        return int(rest.split("/")[0])

    def measure(self) -> float:
        """Return the resident memory, MiB."""
        return measure_memory(self.popen.pid)

    def fetch(self, path: str) -> bytes:
        """Return a page of the monitor."""
        return fetch(f"http://127.0.0.1:{self.metrics}{path}")[1]

    def read_metrics(self) -> dict[str, float]:
        """Return what the process measures; labels stand in the name."""
        return parse_metrics(self.fetch("/metrics"))

    def stop(self) -> int:
        """End the process as an operator does; return its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()


def measure_memory(pid: int) -> float:
    """Return a process's resident memory, MiB."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        (line,) = [one for one in status.read_text().splitlines() if one.startswith("VmRSS:")]
        return int(line.split()[1]) / 1_024
    shown = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return int(shown.stdout) / 1_024


def measure_children(pid: int) -> float:
    """Return the resident memory of a process's children, MiB: the sequencer has its history
    written by one."""
    shown = subprocess.run(["ps", "-A", "-o", "ppid=,rss="], capture_output=True, check=True)
    rows = (map(int, line.split()) for line in shown.stdout.decode().splitlines())
    return sum(size for parent, size in rows if parent == pid) / 1_024


@dataclass
class Rig:
    """All of them."""

    folder: Path
    shell: Shell
    processes: dict[str, Process] = field(default_factory=dict)
    api: int = 0
    """Port."""

    @property
    def sequencer(self) -> Process:
        """The sequencer."""
        return self.processes["sequencer"]

    def start(self, name: str, script: str, *arguments: object) -> Process:
        """Start a process."""
        log = self.folder / f"{name}.log"
        command = self.shell.compute_command(
            script, "--config", self.folder / "deltaroll.toml", *arguments
        )
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command,
                cwd=Path(__file__).resolve().parents[2],
                env=self.shell.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        process = self.processes[name] = Process(name, popen, log)
        return process

    def sample(self, at: float) -> Sample:
        """Look at everybody."""
        metrics = self.sequencer.read_metrics()
        newest = metrics.get("deltaroll_batch{stage=posted}", 0.0)
        lags = [
            newest - self.processes[name].read_metrics().get("deltaroll_batch{stage=posted}", 0.0)
            for name in FOLLOWERS
        ]
        memory = {name: process.measure() for name, process in self.processes.items()}
        memory["history"] = measure_children(self.sequencer.popen.pid)
        return Sample(
            at=at,
            memory=memory,
            unposted_age=metrics["deltaroll_unposted_age_seconds"],
            unposted_chunks=metrics["deltaroll_unposted_chunks"],
            follower_lag=max(lags),
        )

    def read_view(self, name: str) -> dict[str, Any]:
        """Return a process's view of L1."""
        told = json.loads(self.processes[name].fetch("/ready"))
        view: dict[str, Any] = told["view"]
        return view

    def drain(self) -> None:
        """Wait until everything that was traded is on L1 and everybody has it."""

        def is_done() -> bool | None:
            metrics = self.sequencer.read_metrics()
            if metrics["deltaroll_unposted_chunks"] or metrics["deltaroll_queue_messages"]:
                return None
            newest = metrics["deltaroll_batch{stage=posted}"]
            views = [self.read_view(name)["batch"] for name in (*FOLLOWERS, "challenger")]
            return True if all(view == newest for view in views) else None

        wait_for("everything", is_done, DRAIN_SECONDS)

    def collect_roots(self) -> dict[str, str]:
        """Return the state root by who derived it from L1."""
        return {name: self.read_view(name)["state_root"] for name in self.processes}

    def stop(self) -> dict[str, int]:
        """End all processes; return how they ended."""
        return {name: process.stop() for name, process in self.processes.items()}

    def post_rest(self) -> None:
        """Start the sequencer once more: what came in after everything was posted is posted."""
        store = ("--store", self.folder / "sequencer.sqlite")
        self.shell.succeed("sequence", "--account", ALIAS, *store, "--once")

    def replay(self) -> tuple[str, str]:
        """Return the state root of the sequencer's log, replayed, and of L1, derived by us: without
        the fee levels, that only batches know, and as of the same second."""
        with networks.parse_network_choice(self.shell.network) as provider:
            _, gateway = load_deployment(provider, self.folder / "deployments")
            follower = Follower(gateway)
            follower.poll()
            store = Store(self.folder / "sequencer.sqlite", gateway.domain)
            try:
                state = Sequencer(store, gateway.domain).state
                clock = follower.state.globals.clock
                state.globals = replace(state.globals, clock=clock)
                return strip_fee_levels(state).hex(), strip_fee_levels(follower.state).hex()
            finally:
                store.close()


@contextmanager
def open_rig(folder: Path) -> Iterator[Rig]:
    """Deploy, list, fund and start everything; end it all afterwards."""
    options = ("--chain-id", str(CHAIN), "--accounts", "20", "--prune-history", "256")
    with open_chain(folder / "anvil.log", *options) as url:
        shell = Shell(folder, url, CHAIN, "ethereum:local")
        rig = Rig(folder, shell)
        (folder / "deltaroll.toml").write_text(CONFIG)
        prepare(shell)
        shell.call("evm_setIntervalMining", BLOCK_SECONDS)
        try:
            start_all(rig)
            yield rig
        finally:
            for process in rig.processes.values():
                if process.popen.poll() is None:
                    process.popen.kill()
                process.popen.wait()


def prepare(shell: Shell) -> None:
    """Deploy, list markets and pay in for everybody."""
    venue = ("--venue", write_venue(shell), "--poll", "0.05")
    shell.succeed("deploy", "--account", ALIAS, *venue)
    bridge, token = shell.get_address("Bridge"), shell.registry["token"]
    for body in (*compute_listing(), *compute_option_listing()):
        shell.send(bridge, "configure(bytes)", body)
    shell.send(token, "mint(address,uint256)", PAYER, 10**18)
    shell.send_as(PAYER, token, "approve(address,uint256)", bridge, 10**18)
    for account in ACCOUNTS:
        owner = to_hex(SIGNERS[account].address)
        shell.send_as(PAYER, bridge, "deposit(address,uint32,uint256)", owner, 0, CASH)
    leaver = to_hex(SIGNERS[ACCOUNTS[LEAVER - 1]].address)
    shell.call("anvil_setBalance", leaver, hex(10**20))
    shell.call("anvil_impersonateAccount", leaver)
    shell.call("anvil_setBalance", to_hex(VENUE.address), hex(10**24))


def start_all(rig: Rig) -> None:
    """Start the processes and learn their ports."""
    folder = rig.folder
    rig.start(
        "sequencer",
        "sequence",
        *("--account", ALIAS, "--store", folder / "sequencer.sqlite"),
        *("--receipt-key", folder / "receipt.key"),
    )
    rig.start("challenger", "challenge", "--account", "TEST::2")
    for name in FOLLOWERS:
        rig.start(name, "follow")
    for process in rig.processes.values():
        process.metrics = process.wait_for_port("metrics on http://127.0.0.1:")
    rig.api = rig.sequencer.wait_for_port("api on http://127.0.0.1:")
