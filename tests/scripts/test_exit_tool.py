"""`ape run exit` as a user runs it who has a key, an L1 RPC and the address of the bridge.

No registry, no running node, nothing in memory between two runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest
from ape import accounts, networks, project

from tests.scenarios.support import ERIN, RICH, WINDOW, Lab, Venue, create_venue
from tests.scenarios.test_ways_out import Operator
from tests.scripts.shell import Shell

KEY = ("--account", "TEST::8")
"""Erin's."""
STRANGER = ("--account", "TEST::15")
FREEZE, CLAIMS = 7 * 24 * 3_600, 30 * 24 * 3_600


@dataclass(frozen=True)
class Stage:
    """A venue on the chain that the commands connect to."""

    shell: Shell
    venue: Venue
    folder: Path

    @contextmanager
    def play(self) -> Iterator[Lab]:
        """Be the others, in this process."""
        with networks.parse_network_choice(f"ethereum:local:{self.shell.url}"):
            yield Lab(self.venue, self.folder)

    def exit(self, *arguments: object) -> str:
        """Run the tool as Erin; nothing but key, RPC and one address."""
        return self.shell.succeed("exit", *KEY, *self.where, "--yes", *arguments).out

    @property
    def where(self) -> tuple[str, ...]:
        return ("--bridge", str(self.venue.contracts.bridge.address))

    def get_balance(self) -> int:
        token = str(self.venue.contracts.token.address)
        owner = self.venue.owners[ERIN].address
        data = "0x70a08231" + owner[2:].lower().rjust(64, "0")
        return int(self.shell.call("eth_call", {"to": token, "data": data}, "latest"), 16)

    def advance(self, seconds: int) -> None:
        self.shell.call("evm_increaseTime", seconds)
        self.shell.call("evm_mine")


@pytest.fixture(scope="module")
def base(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Venue:
    store = tmp_path_factory.mktemp("base") / "sequencer.sqlite"
    with networks.parse_network_choice(f"ethereum:local:{shell.url}") as provider:
        return create_venue(project, provider, accounts.test_accounts, store)


@pytest.fixture
def stage(shell: Shell, base: Venue, tmp_path: Path) -> Iterator[Stage]:
    snapshot = shell.call("evm_snapshot")
    yield Stage(shell, base, tmp_path)
    shell.call("evm_revert", snapshot)
    (shell.folder / "exit.json").unlink(missing_ok=True)


def test_exit__forced__killed_while_it_sends__asked_once_and_paid(stage: Stage):
    """kill -9 as soon as L1 has the request: the next run finds it there."""
    before = stage.get_balance()
    process = stage.shell.start("exit", *KEY, *stage.where, "--yes", "--wait", "--interval", "1")
    try:
        with stage.play() as lab:
            bridge = lab.contracts.bridge
            queued = bridge.queueCount()
            deadline = monotonic() + 120
            while bridge.queueCount() == queued:
                assert process.poll() is None, process.communicate()
                assert monotonic() < deadline
    finally:
        process.kill()
        process.communicate()
    said = stage.exit()
    assert "going on with: everything free from account 5" in said
    assert "Run this again after" in said
    with stage.play() as lab:
        assert lab.contracts.bridge.queueCount() == queued + 1
        Operator(lab).work()
    stage.advance(WINDOW + 1)
    said = stage.exit()
    assert "Everything that was asked for is paid." in said
    assert stage.get_balance() - before == RICH


def test_exit__normal__proof_exported_checked_without_network_sent_by_a_stranger(stage: Stage):
    before = stage.get_balance()
    with stage.play() as lab:
        operator = Operator(lab)
        operator.work()
        signed = lab.withdraw(7 * 10**6)
        operator.sequencer.submit_action(signed.transaction, signed.signatures[0])
        operator.work()
    stage.advance(WINDOW + 1)
    proof = stage.folder / "proof.json"
    said = stage.exit("--export", proof)
    assert "pays 7.000000" in said
    offline = stage.shell.run("exit", "--check", proof, network="ethereum:local:http://127.0.0.1:1")
    assert offline.code == 0, offline
    assert "L1 must have it as batch" in offline.out
    sent = stage.shell.succeed("exit", *STRANGER, *stage.where, "--submit", proof)
    assert "sent, transaction" in sent.out
    assert stage.get_balance() - before == 7 * 10**6


def test_exit__escape__frozen_proven_paid(stage: Stage):
    before = stage.get_balance()
    with stage.play() as lab:
        owner = lab.venue.owners[ERIN]
        lab.venue.send(lab.contracts.bridge.forceExit, ERIN, 10**6, sender=owner)
    stage.advance(FREEZE + 60)
    said = stage.exit()
    for words in (
        "escape: the rollup ends",
        "freeze the rollup",
        "fix the final state ...",
        "prove account 5 to the escape hatch ...",
        "Run this again after",
    ):
        assert words in said
    stage.advance(CLAIMS + 60)
    assert "Everything that was asked for is paid." in stage.exit()
    assert stage.get_balance() - before == RICH
