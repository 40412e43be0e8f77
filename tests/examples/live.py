"""A venue as an operator runs it: contracts on a real L1, sequencer, API, batches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from ape.api import AccountAPI, ProviderAPI
from ape.managers.project import ProjectManager

from deltaroll.cli import PASSING
from deltaroll.demo.venue import INDEX, compute_listing
from deltaroll.l1.deployment import DeploymentParameters, deploy, load_gateway
from deltaroll.l1.registry import write_registry
from deltaroll.l1.wallets import sign_typed_data
from deltaroll.node.api.context import Delegation
from deltaroll.node.api.proofs import FollowerView
from deltaroll.node.api.server import ApiServer
from deltaroll.node.batcher import Batcher
from deltaroll.node.follower import Follower
from deltaroll.node.operator import Operator
from deltaroll.node.sender import Sender
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.server import SequencerThread
from deltaroll.node.store import Store
from deltaroll.protocol.types import Observation
from deltaroll.sdk.receipts import to_receipt_key_document
from deltaroll.sdk.rollup import Rollup
from deltaroll.sdk.signing import Signer
from tests.api.support import RECEIPT_KEY
from tests.loading import load_file
from tests.node.support import make_signer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
FUNDS = 100_000 * 10**6
PRICE = 6_000 * 10**6
"""Of a lot, collateral units."""
MEMBERS = load_file(EXAMPLES / "oracle.py").make_members()
"""Of the committee, as `deployments/local.yaml` has it."""
KEYS = MAKER, TAKER = make_signer("maker"), make_signer("taker")
"""Of the accounts 2 and 3."""
LOOK = 0.02
"""Seconds between two looks at L1."""


class LiveVenue:
    """Deployed, listed, bonded, priced and open. Account 1 is that of Ape's test account 0."""

    def __init__(
        self,
        project: ProjectManager,
        provider: ProviderAPI,
        accounts: Sequence[AccountAPI],
        folder: Path,
    ) -> None:
        deployer, operator, *_ = accounts
        self.provider, self.folder, self.deployer = provider, folder, deployer
        self.token = deployer.deploy(project.MockUSDC)
        parameters = DeploymentParameters(
            token=self.token.address, sequencer=operator.address, governor=deployer.address
        )
        registry = deploy(project, provider, deployer, parameters)
        # Under the name that it has in the README, whatever number Ape gives its chain.
        self.registry = folder / "data" / "deployments" / "1337.json"
        write_registry(self.registry, registry)
        self.rollup = Rollup.read(self.registry)
        gateway = self.gateway = load_gateway(project, provider, registry)
        contracts = gateway.contracts
        for body in compute_listing(2, [member.address for member in MEMBERS]):
            contracts.bridge.configure(body, sender=deployer)
        contracts.inbox.bond(sender=operator, value=contracts.inbox.bondAmount())
        for owner in (str(deployer.address), *(to_hex(key.address) for key in KEYS)):
            self.deposit(owner)
        path = folder / "sequencer.sqlite"
        self.thread = SequencerThread(
            lambda: Sequencer(Store(path, gateway.domain), gateway.domain, receipt_key=RECEIPT_KEY)
        )

        def open_operator() -> Operator:
            posted = Store(path, gateway.domain)
            batcher = Batcher(posted, Follower(gateway), Sender(gateway, operator))
            return Operator(self.thread, batcher)

        # A store belongs to the thread that has opened it.
        self._office = ThreadPoolExecutor(1, "operator")
        self.operator = self._office.submit(open_operator).result()
        self.operator.take_in()
        self.view = FollowerView(self.operator.follower)
        document = to_receipt_key_document(
            registry.chain_id, str(contracts.inbox.address), RECEIPT_KEY.address
        )
        signature = "0x" + sign_typed_data(operator, document).hex()
        delegation = Delegation(str(operator.address), signature)
        self.api = ApiServer(self.thread, proofs=self.view, delegation=delegation)
        self.url = f"http://127.0.0.1:{self.api.port}"
        self.observe(PRICE)

    @property
    def l1(self) -> str:
        return str(self.provider.http_uri)

    def deposit(self, owner: str) -> None:
        """Pay in for somebody."""
        contracts = self.gateway.contracts
        self.token.mint(self.deployer, FUNDS, sender=self.deployer)
        self.token.approve(contracts.bridge, FUNDS, sender=self.deployer)
        contracts.bridge.deposit(owner, 0, FUNDS, sender=self.deployer)

    def endow(self, key: Signer) -> None:
        """Give somebody who has nothing ether and tokens on L1."""
        owner = to_hex(key.address)
        self.provider.make_request("anvil_setBalance", [owner, hex(10**19)])
        self.token.mint(owner, FUNDS, sender=self.deployer)

    def observe(self, price: int) -> None:
        """The committee sees a price now."""

        def run(sequencer: Sequencer) -> None:
            seen = [Observation(place, price, sequencer.clock) for place in (0, 1)]
            signatures = [
                MEMBERS[one.signer].sign_observation(self.gateway.domain, INDEX, one)
                for one in seen
            ]
            sequencer.observe(INDEX, tuple(seen), tuple(signatures))
            sequencer.flush()

        self.thread.call(run)

    def tick(self, price: int) -> None:
        """A second later it sees another one."""
        self.thread.call(lambda sequencer: sequencer.set_clock(sequencer.clock + 1))
        self.observe(price)

    @contextmanager
    def open_for_business(self) -> Iterator[None]:
        """Look at L1 and post, as `ape run sequence` does, as long as the block lasts."""
        stop = Event()

        def work() -> None:
            while not stop.wait(LOOK):
                with suppress(*PASSING):
                    self.look()

        working = self._office.submit(work)
        try:
            yield
        finally:
            stop.set()
            working.result()

    def look(self) -> None:
        with self.view.lock:
            self.operator.prepare()
        self.api.publish_batches(*self.view.get_batches())
        with self.view.lock:
            self.operator.batcher.post()

    def advance(self, seconds: int) -> None:
        self.provider.make_request("evm_increaseTime", [seconds])
        self.provider.make_request("evm_mine", [])

    def run(self, key: Signer, *command: object, **more: str) -> subprocess.Popen[str]:
        """Start a client as somebody would type it."""
        environment = os.environ | {
            "API": self.url,
            "L1": self.l1,
            "REGISTRY": str(self.registry),
            "KEY": "0x" + key._key.secret.hex(),
        }
        return subprocess.Popen(
            [str(Path(sys.executable).with_name(str(command[0]))), *map(str, command[1:])],
            cwd=self.folder,
            env=environment | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self.api.close()
        self.thread.close()
        self._office.submit(self.operator.batcher.store.close).result()
        self._office.shutdown()


def finish(process: subprocess.Popen[str], seconds: float = 25) -> str:
    """What a client has said, once it has ended well."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 0, (process.returncode, out, err)
    return out


def to_hex(value: bytes) -> str:
    return "0x" + value.hex()
