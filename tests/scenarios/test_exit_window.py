"""Governance on the real contracts: who dislikes a change is gone before it takes effect (G7)."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import pytest
from ape import networks, project
from eth_utils.conversions import to_bytes
from msgspec import structs

from deltaroll.demo.venue import (
    COMMITTEE,
    INDEX,
    PARAMS,
    PERPETUAL,
    THRESHOLD,
    compute_listing,
)
from deltaroll.l1.deployment import DeploymentParameters, deploy, load_gateway
from deltaroll.l1.gateway import Gateway
from deltaroll.l1.governance import Governance, GovernanceError, OperationState, Overdue, to_utc
from deltaroll.l1.proposals import ProposalError, encode_proposal
from deltaroll.l1.registry import ContractEntry, Registry, get_registry_path, write_registry
from deltaroll.node.batcher import Batcher
from deltaroll.node.exits import find_exit
from deltaroll.node.follower import Follower
from deltaroll.node.intake import take_in
from deltaroll.node.keeper import LOOK_SECONDS, open_keeper
from deltaroll.node.sender import Sender
from deltaroll.node.sequencer import Sequencer
from deltaroll.node.store import Store
from deltaroll.protocol.leaf import decode_params
from deltaroll.protocol.types import Address, Committee, Series, SeriesStatus, Underlying
from scripts.govern import cli
from tests.contracts.governance import LEAST, NET, Bounds
from tests.contracts.support import (
    SUCCESS,
    create_address,
    isolated,
    now,
    outcome,
    set_time,
)

DAY, HOUR = 86_400, 3_600
FORCED, PROPOSER, WINDOW = 12 * HOUR, 12 * HOUR, 7 * DAY
CASH = 1_000 * 10**6
EVERYTHING = 2**128 - 1
HONEST = [Address(bytes((place,)) * 20) for place in range(1, 6)]
BOUNDS = Bounds()


@dataclass(frozen=True)
class Cast:
    """A deployment under governance from its first block, with one user's deposit."""

    gateway: Gateway
    registry: Registry
    governance: Governance
    governor: Any
    guardian: Any
    operator: Any
    standby: Any
    alice: Any
    anyone: Any


class Stage:
    """The cast, and a sequencer that begins with the queue's first message."""

    def __init__(self, cast: Cast, path: Path) -> None:
        self.cast = cast
        self.gateway = cast.gateway
        self.governance = cast.governance
        self.store = Store(path, cast.gateway.domain)
        self.sequencer = Sequencer(self.store, cast.gateway.domain)

    def run(self, proposer: Any) -> Follower:
        """Take L1 in, post what is waiting, and follow L1 alone."""
        sender = Sender(self.gateway, proposer)
        batcher = Batcher(self.store, Follower(self.gateway), sender)
        take_in(self.sequencer, batcher.follower)
        self.sequencer.seal()
        self.sequencer.flush()
        assert batcher.post() is not None
        return self.follow()

    def follow(self) -> Follower:
        follower = Follower(self.gateway)
        follower.poll()
        return follower


@pytest.fixture(scope="session")
def cast(accounts: Sequence[Any]) -> Cast:
    deployer, operator, standby, governor, guardian, founder, alice, anyone = accounts[10:18]
    provider = networks.provider
    token = deployer.deploy(project.MockUSDC)
    gate_at = create_address(founder.address, founder.nonce + 1)
    parameters = DeploymentParameters(
        token=token.address, sequencer=operator.address, governor=gate_at
    )
    registry = deploy(project, provider, deployer, parameters)
    gateway = load_gateway(project, provider, registry)
    inbox, bridge = gateway.contracts.inbox, gateway.contracts.bridge
    timelock = founder.deploy(project.ExitWindowTimelock, inbox, LEAST, [governor])
    listing = compute_listing(THRESHOLD, HONEST)
    gate = founder.deploy(
        project.ConfigureGate, bridge, timelock, guardian, astuple(BOUNDS), listing
    )
    for name, contract in (("ExitWindowTimelock", timelock), ("ConfigureGate", gate)):
        registry.contracts[name] = ContractEntry(contract.address, registry.block, {})
    for proposer in (operator, standby):
        inbox.bond(sender=proposer, value=inbox.bondAmount())
    token.mint(alice, CASH, sender=deployer)
    token.approve(bridge, CASH, sender=alice)
    bridge.deposit(alice, 0, CASH, sender=alice)
    governance = Governance(project, gateway, registry)
    return Cast(gateway, registry, governance, governor, guardian, operator, standby, alice, anyone)


def replace_contracts(registry: Registry, without: str) -> Registry:
    """The registry of a deployment that lacks a contract."""
    kept = {name: entry for name, entry in registry.contracts.items() if name != without}
    return structs.replace(registry, contracts=kept)


@pytest.fixture
def stage(cast: Cast, tmp_path: Path) -> Iterator[Stage]:
    with isolated():
        stage = Stage(cast, tmp_path / "sequencer.sqlite")
        stage.run(cast.operator)
        yield stage
        stage.store.close()


# The committee is to be replaced by the governor's friends, who could name any price.
#
# | time | move |
# |---|---|
# | 0 | the governor schedules it; the operator posts no batch any more |
# | 30 d | Alice makes up her mind and forces an exit |
# | + 24 h | forced delay and proposer delay are over: somebody else proposes, and serves it |
# | + 7 d | the batch has settled: she claims, the vault holds it back for a day; no change yet |
# | a moment later | it can, by anyone, and is on L2 with the next batch |
# | + a day | she is paid in full: what is claimed is out of the rollup |


def test_change__user_leaves_at_the_last_moment__is_gone_before_it_takes_effect(
    stage: Stage,
) -> None:
    governance, contracts = stage.governance, stage.gateway.contracts
    friends = ["0x" + (bytes((place,)) * 20).hex() for place in (0xF1, 0xF2)]
    changes = f"[{{type: committee, id: {COMMITTEE}, threshold: 2, members: {friends}}}]"
    bodies = encode_proposal(changes.encode(), governance.read_params)
    identity = governance.propose(bodies, stage.cast.governor)
    (operation,) = governance.list_operations()
    assert operation.id == identity
    scheduled = operation.ready_at - LEAST
    assert scheduled == now()

    set_time(scheduled + NET)
    contracts.bridge.forceExit(1, EVERYTHING, sender=stage.cast.alice)
    set_time(scheduled + NET + FORCED + PROPOSER - HOUR)
    follower = stage.run(stage.cast.standby)
    assert follower.state.accounts[1].cash == 0  # type: ignore[index]
    set_time(now() + WINDOW + 1)

    claim = find_exit(stage.follow(), Address(to_bytes(hexstr=stage.cast.alice.address)))
    branch = [sibling for sibling in claim.branch if any(sibling)]
    levels = sum(1 << level for level, sibling in enumerate(claim.branch) if any(sibling))
    leaf = (claim.index, 0, claim.recipient, claim.amount)
    contracts.bridge.claimExit(
        claim.header, claim.globals, leaf, levels, branch, sender=stage.cast.alice
    )
    # It is more than may leave the vault at once, so it waits there: the rollup has no say in it.
    assert contracts.vault.delayedOf(claim.index).amount == CASH

    (operation,) = governance.list_operations()
    assert operation.state == OperationState.WAITING
    assert now() < operation.ready_at
    with pytest.raises(GovernanceError, match="is waiting: ready from"):
        governance.execute(operation, stage.cast.anyone)
    committee = stage.follow().state.markets[COMMITTEE]
    assert committee == Committee(THRESHOLD, tuple(HONEST))

    set_time(operation.ready_at)
    (operation,) = governance.list_operations()
    governance.execute(operation, stage.cast.anyone)
    committee = stage.run(stage.cast.operator).state.markets[COMMITTEE]
    assert isinstance(committee, Committee)
    assert committee.threshold == 2
    (operation,) = governance.list_operations()
    assert operation.state == OperationState.DONE

    set_time(contracts.vault.delayedOf(claim.index).payableAt)
    contracts.vault.payDelayed(claim.index, sender=stage.cast.anyone)
    assert contracts.token.balanceOf(stage.cast.alice) == CASH


# An emergency
#
# | time | move | on L2 |
# |---|---|---|
# | 0 | the guardian raises initial margin by half, and closes the perpetual | both |
# | 7 d | anyone ends both | the timelock's parameters, the perpetual trades |


def test_emergency__period_is_over__anyone_brings_back_what_was(stage: Stage) -> None:
    governance = stage.governance
    margins = governance.compute_margins(INDEX, 1_500_000)
    with pytest.raises(GovernanceError, match="is not the guardian"):
        governance.tighten(INDEX, margins, stage.cast.anyone)
    governance.tighten(INDEX, margins, stage.cast.guardian)
    governance.close(PERPETUAL, 3, stage.cast.guardian)
    assert governance.find_overdue(now()) == Overdue((), ())

    markets = stage.run(stage.cast.operator).state.markets
    underlying, series = markets[INDEX], markets[PERPETUAL]
    assert isinstance(underlying, Underlying)
    assert isinstance(series, Series)
    assert underlying.params == replace(PARAMS, **margins)
    assert underlying.params.initial_factor == 1_500_000
    assert underlying.params.maintenance_factor == 960_000
    assert series.status == SeriesStatus.CLOSING

    set_time(now() + BOUNDS.period)
    overdue = governance.find_overdue(now())
    assert (overdue.underlyings, overdue.series) == ((INDEX,), ((PERPETUAL, 3),))
    assert len(governance.restore(overdue, stage.cast.anyone)) == 2
    markets = stage.run(stage.cast.operator).state.markets
    underlying, series = markets[INDEX], markets[PERPETUAL]
    assert isinstance(underlying, Underlying)
    assert isinstance(series, Series)
    assert underlying.params == PARAMS
    assert series.status == SeriesStatus.ACTIVE
    assert governance.find_overdue(now()).underlyings == ()


def test_keeper__watching__ends_what_is_over_when_it_is(stage: Stage) -> None:
    cast, governance = stage.cast, stage.governance
    keeper = open_keeper(project, cast.gateway, cast.registry, cast.anyone)
    assert keeper is not None
    governance.close(PERPETUAL, 1, cast.guardian)
    ends_at = int(governance.gate.closingOf(PERPETUAL).endsAt)
    set_time(ends_at - 1)
    assert keeper.look() == []
    set_time(ends_at)
    # It has looked a moment ago.
    assert keeper.look() == []
    set_time(ends_at - 1 + LOOK_SECONDS)
    assert len(keeper.look()) == 1
    assert governance.find_overdue(now()) == Overdue((), ())
    series = stage.run(cast.operator).state.markets[PERPETUAL]
    assert isinstance(series, Series)
    assert series.status == SeriesStatus.ACTIVE


def test_keeper__deployment_without_a_gate__has_nothing_to_do(stage: Stage) -> None:
    cast = stage.cast
    plain = replace_contracts(cast.registry, without="ConfigureGate")
    assert open_keeper(project, cast.gateway, plain, cast.anyone) is None


def test_emergency__whatever_the_guardian_did__users_leave_as_ever(stage: Stage) -> None:
    """Deposits, forced exits and cancellations are queued and served."""
    bridge = stage.gateway.contracts.bridge
    stage.governance.tighten(
        INDEX, stage.governance.compute_margins(INDEX, 10**6), stage.cast.guardian
    )
    stage.governance.close(0, 64, stage.cast.guardian)
    assert outcome(bridge.forceExit, 1, 1, sender=stage.cast.alice) is SUCCESS
    bridge.cancelAll(1, sender=stage.cast.alice)
    bridge.forceExit(1, EVERYTHING, sender=stage.cast.alice)
    follower = stage.run(stage.cast.operator)
    assert follower.state.accounts[1].cash == 0  # type: ignore[index]
    assert follower.state.globals.skipped == 0


def test_propose__by_anyone_else__is_refused(stage: Stage) -> None:
    with pytest.raises(GovernanceError, match="may not propose"):
        stage.governance.propose([b"\x55"], stage.cast.anyone)


def test_encode_proposal__out_of_bounds__names_the_underlying(stage: Stage) -> None:
    changes = f"[{{type: underlying, id: {INDEX}, params: {{taker_fee: 10001}}}}]"
    with pytest.raises(ProposalError, match=f"underlying {INDEX}: .* out of the bounds"):
        encode_proposal(changes.encode(), stage.governance.read_params)


# The commands


class Terminal:
    """What `ape run govern` does once Ape has connected and found the account."""

    def __init__(self, cast: Cast, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.provider = cast.gateway.provider
        self.folder = folder
        self.capsys = capsys
        write_registry(get_registry_path(folder, cast.registry.chain_id), cast.registry)

    def run(self, name: str, account: Any = None, **options: Any) -> str:
        command = cli.commands[name]
        given = {parameter.name: parameter.default for parameter in command.params}
        given = {key: None if callable(value) else value for key, value in given.items()}
        known = ("provider", "registry", "account", "yes")
        values = (self.provider, self.folder, account, True)
        given |= {key: value for key, value in zip(known, values, strict=True) if key in given}
        given |= {"provider": self.provider, **options}
        given.pop("network", None)
        self.capsys.readouterr()
        assert command.callback is not None
        command.callback(**given)
        return self.capsys.readouterr().out


def test_commands__change_from_file_to_rollup__say_what_and_when(
    cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(cast, tmp_path, capsys)
    text = f"- {{type: underlying, id: {INDEX}, params: {{maker_fee: 60, taker_fee: 250}}}}"
    said = terminal.run("propose", cast.governor, changes=BytesIO(text.encode()))
    change = f"underlying {INDEX}: maker_fee 50 -> 60, taker_fee 300 -> 250"
    assert change in said
    assert "can be executed 38 d from now" in said
    (operation,) = cast.governance.list_operations()
    identity = "0x" + operation.id.hex()
    listed = terminal.run("list")
    assert f"{identity}  can be executed from {to_utc(operation.ready_at)}" in listed
    assert change in listed
    with pytest.raises(click.ClickException, match="is waiting: ready from"):
        terminal.run("execute", cast.anyone, operation=identity[:10])
    set_time(operation.ready_at)
    assert "executed: 0x" in terminal.run("execute", cast.anyone, operation=identity[:10])
    assert "0 operations" in terminal.run("list")
    assert "executed" in terminal.run("list", everything=True)
    params = decode_params(cast.governance.read_params(INDEX))
    assert params == replace(PARAMS, maker_fee=60, taker_fee=250)


def test_commands__cancel__it_is_gone(
    cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(cast, tmp_path, capsys)
    text = (
        f"- {{type: series, id: {PERPETUAL}, kind: perpetual, status: closing, "
        f"underlying: {INDEX}}}"
    )
    said = terminal.run("propose", cast.governor, changes=BytesIO(text.encode()))
    assert "positions can only be reduced" in said
    (operation,) = cast.governance.list_operations()
    assert "cancelled: 0x" in terminal.run("cancel", cast.governor, operation=operation.id.hex())
    (operation,) = cast.governance.list_operations()
    assert operation.state == OperationState.UNKNOWN


def test_commands__emergency__begins_and_ends(
    cast: Cast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(cast, tmp_path, capsys)
    said = terminal.run("tighten", cast.guardian, underlying=INDEX, factor=1_500_000)
    assert "initial_factor 1500000" in said
    assert "anyone may end it after 7 d; then nothing of the kind for 14 d" in said
    terminal.run("close", cast.guardian, series=PERPETUAL, count=2)
    assert terminal.run("restore", cast.anyone) == "0 transactions\n"
    set_time(now() + BOUNDS.period)
    said = terminal.run("restore", cast.anyone)
    assert f"underlying {INDEX}: the timelocked parameters are in force again" in said
    assert f"series {PERPETUAL} to {PERPETUAL + 1}: open again" in said
