"""A whole operator against a real L1 node, with something bad in between.

The chain mines when it is told to, so that a test says what happens between two blocks.
"""

import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import Any

from ape.api import AccountAPI, ProviderAPI
from ape.managers.project import ProjectManager

from deltaroll.cli import PASSING
from deltaroll.l1.deployment import DeploymentParameters, deploy, load_gateway
from deltaroll.l1.gateway import Contracts, Gateway
from deltaroll.l1.nodes import HttpNode
from deltaroll.l1.types import PostedChunk
from deltaroll.node.batcher import Batcher, compute_submission, select_chunks
from deltaroll.node.challenger import Challenger
from deltaroll.node.follower import Follower, ViewPolicy
from deltaroll.node.operator import Operator
from deltaroll.node.recovery import Report
from deltaroll.node.sender import Sender, SendPolicy
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from deltaroll.protocol.types import AccountId, SlotId, Transfer
from tests.faults.proxy import Proxy, Upstream
from tests.node.support import (
    OWNERS,
    PRICE,
    Venue,
    compute_listing,
    make_order,
    strip_fee_levels,
)

ADA, BLAISE = AccountId(1), AccountId(2)
BLOCK_SECONDS = 12
HOUR = 3_600
WINDOW = 7 * 24 * HOUR
PROPOSER_DELAY = 12 * HOUR
CASH = 10_000 * 10**6
ETHER = 10**18
ANVIL = Path(sys.executable).parent / "anvil"


class Chain:
    """An anvil of our own."""

    def __init__(self, chain_id: int) -> None:
        arguments = ["--port", "0", "--chain-id", str(chain_id), "--no-mining", "--accounts", "20"]
        # The base may have a long history, of whatever else was tested.
        arguments.append("--no-request-size-limit")
        self._process = subprocess.Popen(
            [str(ANVIL), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        found = (re.search(r"Listening on (\S+)", line) for line in self._process.stdout)
        port = next(match for match in found if match)[1].rsplit(":", 1)[1]
        # Nobody reads on: a full pipe would stop the node.
        Thread(target=lambda: deque(self._process.stdout, 0), daemon=True).start()
        self.url = f"http://127.0.0.1:{port}"
        self.ask = Upstream(self.url).ask

    def __call__(self, method: str, *parameters: Any) -> Any:
        return self.ask(method, parameters)

    @property
    def head(self) -> dict[str, Any]:
        block: dict[str, Any] = self("eth_getBlockByNumber", "latest", False)
        return block

    @property
    def time(self) -> int:
        return int(self.head["timestamp"], 16)

    def mine(self, blocks: int = 1, seconds: int = BLOCK_SECONDS) -> None:
        for _ in range(blocks):
            self("evm_setNextBlockTimestamp", self.time + seconds)
            self("evm_mine")

    def send(self, sender: AccountAPI, target: Any, data: bytes, value: int = 0) -> dict[str, Any]:
        """Have an account of the node's own send something, and mine it."""
        call = {
            "from": str(sender.address),
            "to": str(target.address),
            "data": "0x" + data.hex(),
            "value": hex(value),
            "gas": hex(6_000_000),
            "maxFeePerGas": hex(5 * 10**14),
            "maxPriorityFeePerGas": hex(10**9),
        }
        sent = self("eth_sendTransaction", call)
        self.mine()
        receipt: dict[str, Any] = self("eth_getTransactionReceipt", sent)
        assert int(receipt["status"], 16) == 1, receipt
        return receipt

    @contextmanager
    def branch(self) -> Iterator[None]:
        """What is mined in the block of code is reorganised away at its end, and as many other
        blocks and one more take its place; the pool is lost with it."""
        snapshot = self("evm_snapshot")
        start = int(self.head["number"], 16)
        yield
        lost = int(self.head["number"], 16) - start
        time = self.time
        assert self("evm_revert", snapshot)
        self("anvil_dropAllTransactions")
        each = max(1, (time - self.time) // (lost + 1))
        self.mine(lost + 1, each)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Base:
    """A deployment on Ape's chain, to be loaded into ours."""

    provider: ProviderAPI
    contracts: Contracts
    first_block: int
    state: str
    operator: AccountAPI
    standby: AccountAPI
    watcher: AccountAPI
    governor: AccountAPI


def create_base(
    project: ProjectManager, provider: ProviderAPI, accounts: Sequence[AccountAPI]
) -> Base:
    """Deploy, bond both proposers, list the markets, deposit for everybody."""
    governor, operator, standby, watcher, *_ = accounts
    token = governor.deploy(project.MockUSDC)
    registry = deploy(
        project,
        provider,
        governor,
        DeploymentParameters(
            token=token.address,
            sequencer=operator.address,
            governor=governor.address,
            challenge_window=WINDOW,
            proposer_delay=PROPOSER_DELAY,
        ),
    )
    contracts = load_gateway(project, provider, registry).contracts

    def send(method: Any, *arguments: Any, sender: AccountAPI = governor, value: int = 0) -> None:
        call = {
            "from": str(sender.address),
            "to": str(method.contract.address),
            "data": "0x" + bytes(method.encode_input(*arguments)).hex(),
            "value": hex(value),
        }
        receipt = provider.make_request("eth_sendTransactionSync", [call])
        assert int(receipt["status"], 16) == 1

    bond = contracts.inbox.bondAmount()
    for proposer in (operator, standby):
        send(contracts.inbox.bond, sender=proposer, value=bond)
    for body in compute_listing():
        send(contracts.bridge.configure, body)
    send(token.mint, governor.address, 100 * CASH)
    send(token.approve, contracts.bridge.address, 100 * CASH)
    for owner in OWNERS.values():
        send(contracts.bridge.deposit, "0x" + owner.address.hex(), 0, CASH)
    state = provider.make_request("anvil_dumpState", [])
    return Base(provider, contracts, registry.block, state, operator, standby, watcher, governor)


class Inline:
    """A sequencer on the caller's thread."""

    def __init__(self, sequencer: Sequencer) -> None:
        self.sequencer = sequencer

    def call(self, function: Callable[[Sequencer], Any]) -> Any:
        return function(self.sequencer)


class Machine:
    """One operator's node, as it is after a start."""

    def __init__(self, rig: "Rig", folder: Path, account: AccountAPI, urls: Sequence[str]) -> None:
        self.gateway = rig.open_gateway(urls)
        self.store = Store(folder / "store.sqlite", self.gateway.domain)
        self.venue = Venue(self.store, self.gateway.domain)
        self.sender = Sender(self.gateway, account, folder / "journal.sqlite", rig.send_policy)
        follower = Follower(
            self.gateway, rig.view_policy, elapsed=rig.get_elapsed, alarms=self.sender.alarms
        )
        self.batcher = Batcher(self.store, follower, self.sender)
        self.operator = Operator(Inline(self.venue.sequencer), self.batcher, rig.depth)
        self.reports: list[Report] = []
        self.problems: list[Exception] = []

    @property
    def follower(self) -> Follower:
        return self.batcher.follower

    def look(self) -> None:
        """One look at L1, as the command does it: what may be better next time is no end."""
        try:
            report = self.operator.prepare()
            if report is not None:
                self.reports.append(report)
            if self.follower.fraud is None:
                self.batcher.step()
        except PASSING as problem:
            self.problems.append(problem)

    def pay(self, amount: int = 5) -> None:
        account = self.venue.state.accounts[ADA]
        self.venue.act(Transfer(ADA, BLAISE, amount, account.nonce + 1))
        self.venue.sequencer.flush()

    def trade(self, lots: int = 1) -> None:
        self.venue.observe(PRICE)
        for account, is_buy in ((ADA, True), (BLAISE, False)):
            nonce = self.venue.sequencer.engine.nonces.get((account, SlotId(0)), 0) + 1
            expiry = self.venue.sequencer.clock + 10**5
            order = make_order(PRICE, lots, is_buy=is_buy, nonce=nonce, expiry=expiry)
            execution = self.venue.submit(account, 0, order)
        assert execution.filled == lots
        self.venue.sequencer.flush()

    def kill(self) -> None:
        """End without a word: nothing that is not on disk survives."""
        self.store._connection.close()
        self.sender.close()


@dataclass
class Rig:
    """A chain with a deployment, a proxy in front of it, and an operator behind that."""

    base: Base
    chain: Chain
    proxy: Proxy
    folder: Path
    view_policy: ViewPolicy = field(default_factory=ViewPolicy)
    send_policy: SendPolicy = field(default_factory=SendPolicy)
    depth: int = 0
    elapsed: float = 0.0

    def __post_init__(self) -> None:
        self.start_block = int(self.chain.head["number"], 16)
        self.node = self.start()

    def get_elapsed(self) -> float:
        return self.elapsed

    def open_gateway(self, urls: Sequence[str] = ()) -> Gateway:
        nodes = [HttpNode(url, timeout=5) for url in urls or (self.proxy.url,)]
        return Gateway(self.base.provider, self.base.contracts, self.base.first_block, nodes)

    def start(
        self,
        folder: Path | None = None,
        account: AccountAPI | None = None,
        urls: Sequence[str] = (),
    ) -> Machine:
        folder = folder or self.folder / "operator"
        folder.mkdir(exist_ok=True)
        return Machine(self, folder, account or self.base.operator, urls)

    def restart(self) -> None:
        self.node.kill()
        self.node = self.start()

    def open_challenger(
        self, confirmations: int = 0, account: AccountAPI | None = None
    ) -> Challenger:
        gateway = self.open_gateway()
        follower = Follower(gateway, self.view_policy, elapsed=self.get_elapsed)
        return Challenger(follower, Sender(gateway, account or self.base.watcher), confirmations)

    def turn(self, times: int = 1, seconds: int = BLOCK_SECONDS) -> None:
        """The operator looks, then L1 mines a block."""
        for _ in range(times):
            self.node.look()
            self.chain.mine(1, seconds)
            self.elapsed += seconds

    def read(self) -> Follower:
        """What somebody derives who asks the chain itself."""
        follower = Follower(self.open_gateway([self.chain.url]))
        follower.poll()
        return follower

    def count_batches(self) -> int:
        inbox = self.base.contracts.inbox
        data = "0x" + bytes(inbox.batchCount.encode_input()).hex()
        call = {"to": str(inbox.address), "data": data}
        return int(self.chain("eth_call", call, "latest"), 16) - 1

    def count_sent(self, account: AccountAPI | None = None) -> int:
        """Transactions of an account that L1 has counted."""
        address = str((account or self.base.operator).address)
        return int(self.chain("eth_getTransactionCount", address, "latest"), 16)

    def count_reverted(self, account: AccountAPI | None = None) -> int:
        """Those of them that were paid for in vain."""
        address = str((account or self.base.operator).address).lower()
        reverted = 0
        for number in range(self.start_block, int(self.chain.head["number"], 16) + 1):
            for sent in self.chain("eth_getBlockByNumber", hex(number), True)["transactions"]:
                receipt = self.chain("eth_getTransactionReceipt", sent["hash"])
                reverted += sent["from"] == address and int(receipt["status"], 16) == 0
        return reverted

    def check(self, max_turns: int = 8) -> None:
        """Within some blocks, and without a hand, L1 holds everything once and in order, and
        nothing was paid in vain."""
        for _ in range(max_turns):
            self.turn()
            if self.is_done():
                break
        fresh = self.read()
        assert fresh.fraud is None
        posted = [(one.data, one.signatures) for batch in fresh.chain for one in batch.chunks]
        store = self.node.store
        chunks = [store.get_chunk(number) for number in range(store.count_chunks())]
        assert posted == [(one.data, one.signatures) for one in chunks if one is not None]
        state = self.node.venue.state
        state.globals = replace(state.globals, clock=fresh.state.globals.clock)
        assert strip_fee_levels(fresh.state) == strip_fee_levels(state)
        assert self.count_reverted() == 0

    def is_done(self) -> bool:
        """Whether the operator thinks so."""
        posted = sum(len(batch.chunks) for batch in self.node.follower.chain)
        return not self.node.sender.open and posted == self.node.store.count_chunks()

    def post_lie(self) -> None:
        """Have the operator's key post what is waiting with a false root."""
        batcher = self.node.batcher
        batcher.follower.poll()
        chunks = select_chunks(self.node.store, batcher.find_next_chunk())
        honest = batcher.compute_posted(chunks)
        last = honest[-1]
        posted = (*honest[:-1], PostedChunk(last.data, last.signatures, b"\x07" * 32))
        head = batcher.follower.chain[-1].submitted.header
        arguments = compute_submission(head, batcher.follower, chunks[-1].queue_end, 2**63, posted)
        inbox = self.base.contracts.inbox
        data = bytes(inbox.submitBatch.encode_input(arguments))
        self.chain.send(self.base.operator, inbox, data)

    def close(self) -> None:
        self.node.kill()
