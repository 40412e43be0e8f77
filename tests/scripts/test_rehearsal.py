"""Rehearsal of a testnet venue: a chain with Sepolia's id, reached as a remote node would be.

| who | does | seen |
|---|---|---|
| engineer | dry run of the file in the repository | what it costs, every address; nothing is sent |
| engineer | deploys; base fee swings | killed with a transaction in the pool |
| engineer | deploys again | goes on there; the self-check holds |
| trader | deposits | |
| engineer | another file under the same name | refused before anything is sent |
| venue | bonds and sequences | batch 1 |
| anybody | follows | posted, then safe and final, an epoch later each |
"""

import json
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from threading import Event, Thread

import pytest

from deltaroll.l1.registry import CONTRACTS, RegistryError, read_registry
from tests.l1.venues import DEPLOYMENTS, fill_in
from tests.scripts.shell import ALIAS, VENUE, Result, Shell, iter_until, open_chain, to_hex

CHAIN = 11_155_111
BLOCK_SECONDS = 12
EPOCH = 4
"""Blocks from the head to the safe one, and from there to the final one."""
GWEI = 10**9
ROUGH = (2.0, 3.0, 9.0, 27.0, 60.0, 45.0, 20.0, 7.0)
"""Base fees in gwei, one block after the other: worse than a chain's can be. What is too cheap for
the next block, anvil does not keep."""
SMOOTH = tuple(8 * 1.125 ** abs(block) for block in range(-8, 8))
"""As a chain's: an eighth up or down from block to block."""
IDLE = 25
"""Looks at an empty pool for each block."""
KILLED_AT = 6
"""Transactions of the deployer before the one that it is killed with."""
SPARE_BLOCKS = 3
"""After the last transaction: whoever waits for confirmations gets them."""
ADDRESS = to_hex(VENUE.address)
SETTINGS = {
    "required_confirmations": 2,
    "block_time": 1,
    "transaction_acceptance_timeout": 60,
    "base_fee_multiplier": 1.4,
}
"""Ape's own, but for the time of a block: that is how often it looks."""


class Miner(Thread):
    """Mines while something waits, blocks of 12 seconds each under a base fee that swings."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(daemon=True)
        self.shell = shell
        self.hold_at: int | None = None
        """Transactions of the deployer after which nothing is mined."""
        self.held = Event()
        self.idles = True
        """Mines now and then while nothing waits."""
        self.stop = Event()
        self.fees = cycle(ROUGH)

    def run(self) -> None:
        spare, looks = 0, 0
        while not self.stop.wait(0.02):
            looks += 1
            pool = self.shell.call("txpool_status")
            waits = int(pool["pending"], 16) + int(pool["queued"], 16) > 0
            if self.hold_at is not None and self.hold_at == self.get_nonce():
                if waits:
                    self.held.set()
                continue
            spare = SPARE_BLOCKS if waits else spare - 1
            if spare > 0 or (self.idles and looks % IDLE == 0):
                self.mine(1)

    def mine(self, blocks: int) -> None:
        for _ in range(blocks):
            self.shell.call("anvil_setNextBlockBaseFeePerGas", hex(int(next(self.fees) * GWEI)))
            self.shell.call("evm_setNextBlockTimestamp", self.shell.get_time() + BLOCK_SECONDS)
            self.shell.call("evm_mine")

    def get_nonce(self) -> int:
        return int(self.shell.call("eth_getTransactionCount", ADDRESS, "latest"), 16)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Commands that reach a chain like Sepolia through Ape's node provider."""
    folder = tmp_path_factory.mktemp("rehearsal")
    options = ("--chain-id", str(CHAIN), "--no-mining", "--slots-in-an-epoch", str(EPOCH))
    with open_chain(folder / "anvil.log", *options) as url:
        settings = {"APE_ETHEREUM_SEPOLIA": json.dumps(SETTINGS)}
        yield Shell(folder, url, CHAIN, "ethereum:sepolia", **settings)


@pytest.fixture
def miner(shell: Shell) -> Iterator[Miner]:
    miner = Miner(shell)
    miner.start()
    yield miner
    miner.stop.set()
    miner.join()


def write_venue(shell: Shell, **changes: str) -> Path:
    """The repository's testnet venue, its open places filled in."""
    text = fill_in((DEPLOYMENTS / "sepolia.yaml").read_text())
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = shell.folder / "sepolia.yaml"
    path.write_text(text)
    return path


def find_addresses(result: Result) -> dict[str, str]:
    """Contracts and addresses of a plan that was printed."""
    return dict(re.findall(r"^(\w+) +(0x[0-9a-fA-F]{40})", result.out, re.MULTILINE))


def test_rehearsal__testnet_venue__from_nothing_to_a_final_batch(shell: Shell, miner: Miner):
    account = ("--account", ALIAS)
    venue = (*account, "--venue", write_venue(shell), "--poll", "0.05")

    # Nothing is sent by a dry run.
    shown = shell.succeed("deploy", *venue, "--dry-run")
    assert "gas to be paid" in shown.out
    assert "ether at a base fee of" in shown.out
    planned = find_addresses(shown)
    assert set(CONTRACTS) < set(planned)
    assert miner.get_nonce() == 0
    assert not (shell.folder / "deployments").exists()

    # Killed with a transaction in the pool.
    miner.hold_at = KILLED_AT
    with shell.start("deploy", *venue) as process:
        assert miner.held.wait(60), process.communicate(timeout=1)
        process.send_signal(signal.SIGKILL)
    assert len(shell.registry["contracts"]) == KILLED_AT - 1
    with pytest.raises(RegistryError, match="contracts missing: "):
        read_registry(shell.folder / "deployments" / f"{CHAIN}.json", CHAIN)

    # Another run goes on where it was, at the same addresses, and checks all of it.
    miner.hold_at = None
    resumed = shell.succeed("deploy", *venue)
    assert re.search(r"check: all \d+ findings are as planned", resumed.out)
    assert resumed.out.count(" new ") <= len(planned) - KILLED_AT
    written = {name: entry["address"] for name, entry in shell.registry["contracts"].items()}
    assert written == {key: value for key, value in planned.items() if key != "DeployFactory"}

    # A trader pays in, and somebody follows. One name stands for one set of parameters.
    miner.fees = cycle(SMOOTH)
    other = write_venue(shell, **{"38 days": "39 days"})
    with ThreadPoolExecutor(2) as pool:
        refusing = pool.submit(shell.run, "deploy", *venue, "--venue", other)
        paying = pool.submit(shell.succeed, "deposit", *account, "--amount", "2500")
    assert "deposited 2,500.000000: message 4" in paying.result().out
    refused = refusing.result()
    assert refused.code == 1
    assert "ExitWindowTimelock: 0x" in refused.err
    assert "other code than this plan" in refused.err

    # The venue bonds and posts; the batch becomes safe and final as blocks come.
    miner.idles = False
    store = ("--store", shell.folder / "sequencer.sqlite")
    with shell.start("follow", "--interval", "0.1", "-v", "ERROR") as following:
        assert following.stdout is not None
        try:
            sequenced = shell.succeed("sequence", *account, *store, "--once", "--ignore-clock")
            assert "batch 1: " in sequenced.err
            for stage in ("posted", "safe", "final"):
                said = "".join(iter_until(following.stdout, f"{stage:11s} up to batch 1"))
                assert f"{stage:11s} up to batch 0" not in said.rsplit("L1 head", 1)[1]
                miner.mine(EPOCH)
            rest = "".join(iter_until(following.stdout, "conserved"))
        finally:
            following.terminate()
    assert rest.rstrip().endswith("yes")
