"""Sets up a venue: contracts, listing, bonds, committee, funded traders."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ape.api import AccountAPI, ProviderAPI
from ape.managers.project import ProjectManager
from eth_utils.conversions import to_bytes

from deltaroll.demo.actors import Trader, make_key
from deltaroll.demo.prices import TICK
from deltaroll.l1.deployment import DeploymentParameters, deploy, load_gateway
from deltaroll.l1.gateway import Gateway
from deltaroll.l1.registry import Registry
from deltaroll.l1.wallets import sign_typed_data
from deltaroll.node.batcher import Batcher
from deltaroll.node.challenger import Challenger
from deltaroll.node.follower import Follower
from deltaroll.node.intake import take_in
from deltaroll.node.sender import Sender
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.configure import (
    encode_configure,
    encode_configure_params,
    encode_configure_series,
)
from deltaroll.protocol.leaf import (
    COMMITTEE_TAG,
    GRID_TAG,
    encode_committee,
    encode_grid,
    encode_params,
)
from deltaroll.protocol.types import (
    AccountId,
    Address,
    Committee,
    MarketId,
    SeriesKind,
    SeriesStatus,
    SetTradingKey,
    Timestamp,
)
from deltaroll.sdk.signing import Action, Signer, to_typed_data

COMMITTEE, GRID, INDEX, PERPETUAL = MarketId(1), MarketId(2), MarketId(3), MarketId(4)
MEMBERS = 5
THRESHOLD = 3
TRADERS = ("Ada", "Blaise", "Carl", "Daniel", "Emmy", "Felix", "Grace", "Henri")
MAKERS = 3
FUNDING = 250_000 * 10**6
"""Collateral units that each trader deposits."""
KEY_LIFE = 30 * 24 * 3600
PARAMS = make_params(COMMITTEE, GRID, TICK)


@dataclass(slots=True)
class Venue:
    """Everything that runs, in one process."""

    provider: ProviderAPI
    registry: Registry
    gateway: Gateway
    deployer: AccountAPI
    operator: AccountAPI
    """The sequencer's L1 account."""
    standby: AccountAPI
    """Proposes when the operator is out."""
    watcher: AccountAPI
    """Runs a challenger."""
    owners: list[AccountAPI]
    sequencer: Sequencer
    batcher: Batcher
    follower: Follower
    challenger: Challenger
    committee: list[Signer]
    traders: list[Trader] = field(default_factory=list)

    def advance(self, seconds: int) -> None:
        """Let L1 time pass and mine a block."""
        self.provider.make_request(
            "evm_setNextBlockTimestamp", [self.gateway.get_head().time + seconds]
        )
        self.provider.make_request("evm_mine", [])

    def sync(self) -> None:
        """Let the sequencer see L1."""
        take_in(self.sequencer, self.batcher.follower)

    def sign_action(self, owner: AccountAPI, action: Action) -> bytes:
        """Have an owner's wallet sign an action as EIP-712 typed data."""
        document = to_typed_data(
            self.gateway.provider.chain_id, self.gateway.contracts.inbox.address, action
        )
        return sign_typed_data(owner, document)


def create_venue(
    project: ProjectManager, provider: ProviderAPI, accounts: list[AccountAPI], store_path: str
) -> Venue:
    """Deploy, list one index perpetual and bond both proposers."""
    deployer, operator, standby, watcher, *owners = accounts
    token = deployer.deploy(project.MockUSDC)
    registry = deploy(
        project,
        provider,
        deployer,
        DeploymentParameters(
            token=token.address, sequencer=operator.address, governor=deployer.address
        ),
    )
    gateway = load_gateway(project, provider, registry)
    store = Store(store_path, gateway.domain)
    operator_follower = Follower(gateway)
    watching = Follower(gateway)
    venue = Venue(
        provider=provider,
        registry=registry,
        gateway=gateway,
        deployer=deployer,
        operator=operator,
        standby=standby,
        watcher=watcher,
        owners=owners[: len(TRADERS)],
        sequencer=Sequencer(store, gateway.domain),
        batcher=Batcher(store, operator_follower, Sender(gateway, operator)),
        follower=Follower(gateway),
        challenger=Challenger(watching, Sender(gateway, watcher)),
        committee=sorted(
            (make_key(f"oracle {member}") for member in range(MEMBERS)),
            key=lambda member: member.address,
        ),
    )
    list_markets(venue)
    bond = gateway.contracts.inbox.bondAmount()
    for proposer in (operator, standby):
        gateway.contracts.inbox.bond(sender=proposer, value=bond)
    return venue


def compute_listing(threshold: int, signers: Sequence[Address]) -> tuple[bytes, ...]:
    """Return the Configure bodies of committee, grid, index and its perpetual, in order."""
    return (
        encode_configure(
            COMMITTEE_TAG, COMMITTEE, encode_committee(Committee(threshold, tuple(signers)))[1:]
        ),
        encode_configure(GRID_TAG, GRID, encode_grid(PMRM_2)[1:]),
        encode_configure_params(INDEX, encode_params(PARAMS)),
        encode_configure_series(PERPETUAL, SeriesKind.PERPETUAL, SeriesStatus.ACTIVE, INDEX),
    )


def list_markets(venue: Venue) -> None:
    """Send the Configure messages of one underlying and its perpetual."""
    for body in compute_listing(THRESHOLD, [member.address for member in venue.committee]):
        venue.gateway.contracts.bridge.configure(body, sender=venue.deployer)


def fund_traders(venue: Venue) -> None:
    """Have every trader deposit on L1, and name a trading key on L2 with the owner's wallet."""
    contracts = venue.gateway.contracts
    for owner in venue.owners:
        contracts.token.mint(owner, FUNDING, sender=venue.deployer)
        contracts.token.approve(contracts.bridge, FUNDING, sender=owner)
        contracts.bridge.deposit(owner, 0, FUNDING, sender=owner)
    venue.sync()
    owned = {account.owner: key for key, account in venue.sequencer.state.accounts.items()}
    for name, owner in zip(TRADERS, venue.owners, strict=True):
        account: AccountId = owned[Address(to_bytes(hexstr=owner.address))]
        key = make_key(name)
        change = SetTradingKey(account, key.address, Timestamp(venue.sequencer.clock + KEY_LIFE), 1)
        venue.sequencer.submit_action(change, venue.sign_action(owner, change))
        venue.traders.append(Trader(name, account, key, venue.gateway.domain))
    venue.sequencer.flush()


def make_dice(seed: int) -> random.Random:
    """Return the one source of chance of a run."""
    return random.Random(seed)
