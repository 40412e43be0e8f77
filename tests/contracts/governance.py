"""A rollup whose governor is a gate behind a timelock."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from ape import chain, project
from ape.api import AccountAPI
from ape.contracts import ContractInstance
from eth_abi import decode
from eth_utils import keccak

from deltaroll.presets import PMRM_2, make_params
from deltaroll.protocol.configure import (
    encode_configure_committee,
    encode_configure_grid,
    encode_configure_series,
    encode_configure_underlying,
)
from deltaroll.protocol.leaf import encode_params
from deltaroll.protocol.types import Address, Committee, MarketId, SeriesKind, SeriesStatus
from tests.contracts.support import (
    CHALLENGE_WINDOW,
    FORCED_DELAY,
    PROPOSER_DELAY,
    ZERO_ADDRESS,
    Rollup,
    create_address,
    deploy_rollup,
)

DAY = 86_400
NET = 30 * DAY
LEAST = NET + FORCED_DELAY + PROPOSER_DELAY + CHALLENGE_WINDOW
GRACE = 14 * DAY
PERIOD, COOLDOWN = 7 * DAY, 14 * DAY
NO_PREDECESSOR, SALT = bytes(32), bytes(32)
COMMITTEE, GRID, INDEX, PERP = MarketId(1), MarketId(2), MarketId(3), MarketId(4)
PARAMS = make_params(COMMITTEE, GRID, 1)
BASE = encode_params(PARAMS)
MESSAGE_QUEUED = keccak(text="MessageQueued(uint64,uint8,address,uint64,bytes,bytes32)")
MARGINS = (
    "maintenance_factor",
    "initial_factor",
    "perp_maintenance",
    "perp_initial",
    "option_maintenance",
    "option_initial",
)


@dataclass(frozen=True)
class Bounds:
    """The guardian's, in the contract's order."""

    maintenance: int = 1_200_000
    initial: int = 1_500_000
    period: int = PERIOD
    cooldown: int = COOLDOWN


@dataclass(frozen=True)
class Governed:
    rollup: Rollup
    timelock: ContractInstance
    gate: ContractInstance

    @property
    def bridge(self) -> ContractInstance:
        return self.rollup.bridge


def list_start() -> list[bytes]:
    """Bodies of an index and its perpetual."""
    committee = Committee(1, (Address(b"\x01" * 20),))
    return [
        encode_configure_committee(COMMITTEE, committee),
        encode_configure_grid(GRID, PMRM_2),
        encode_configure_underlying(INDEX, PARAMS),
        encode_status(SeriesStatus.ACTIVE),
    ]


def encode_status(status: SeriesStatus, market: MarketId = PERP) -> bytes:
    return encode_configure_series(market, SeriesKind.PERPETUAL, status, INDEX)


def deploy_governed(
    deployer: AccountAPI,
    founder: AccountAPI,
    token: ContractInstance,
    sequencer: AccountAPI,
    governor: AccountAPI,
    guardian: Any = ZERO_ADDRESS,
    bounds: Bounds = Bounds(),
    initial: Sequence[bytes] | None = None,
) -> Governed:
    """Deploy a rollup, then as `founder` its timelock and gate."""
    gate_at = create_address(founder.address, founder.nonce + 1)
    rollup = deploy_rollup(deployer, token, sequencer, gate_at)  # type: ignore[arg-type]
    timelock = founder.deploy(project.ExitWindowTimelock, rollup.inbox, LEAST, [governor])
    bodies = list_start() if initial is None else list(initial)
    gate = founder.deploy(
        project.ConfigureGate, rollup.bridge, timelock, guardian, astuple(bounds), bodies
    )
    assert gate.address == gate_at
    return Governed(rollup, timelock, gate)


def schedule(governed: Governed, governor: AccountAPI, body: bytes) -> tuple[Any, ...]:
    """Schedule a body with the least delay; return what `execute` takes."""
    data = governed.gate.configure.encode_input(body)
    call = (governed.gate.address, 0, data, NO_PREDECESSOR, SALT)
    governed.timelock.schedule(*call, LEAST, sender=governor)
    return call


def read_messages(bridge: ContractInstance) -> list[bytes]:
    """Bodies of all Configure messages, oldest first."""
    logs = chain.provider.web3.eth.get_logs(
        {"address": bridge.address, "topics": [MESSAGE_QUEUED], "fromBlock": 0}
    )
    types = ["uint64", "uint8", "address", "uint64", "bytes", "bytes32"]
    indexed = len(logs[0]["topics"]) - 1 if logs else 0
    return [decode(types[indexed:], bytes(log["data"]))[-2] for log in logs]


def raise_margins(**changes: int) -> tuple[int, ...]:
    """Argument of `tighten`: the timelocked margins but for some."""
    params = replace(PARAMS, **changes)  # type: ignore[arg-type]
    return tuple(getattr(params, name) for name in MARGINS)


def encode_tightened(**changes: int) -> bytes:
    """The message that should come of it."""
    return encode_configure_underlying(INDEX, replace(PARAMS, **changes))  # type: ignore[arg-type]
