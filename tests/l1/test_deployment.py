"""Deployment on a chain: all is judged first, and the check finds what is not as planned."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ape import networks, project
from ape.api import AccountAPI, ProviderAPI
from eth_abi import encode

from deltaroll.l1.deployment import DeploymentError, DeploymentParameters, deploy, load_gateway
from deltaroll.l1.deployment.abi import Blueprint, read_blueprint
from deltaroll.l1.deployment.assembly import Prepared, prepare
from deltaroll.l1.deployment.check import Finding, check
from deltaroll.l1.deployment.contracts import TIMELOCK
from deltaroll.l1.deployment.execution import execute, mint_test_tokens
from deltaroll.l1.deployment.plan import PLACER, Plan
from deltaroll.l1.deployment.preflight import describe_bond, describe_token, try_transfer
from deltaroll.l1.deployment.simulation import find_first_block, forecast, validate_funds
from deltaroll.l1.deployment.units import L1Address
from deltaroll.l1.deployment.venue import VenueFile, read_venue
from deltaroll.l1.sending import Sender
from deltaroll.protocol.hashing import keccak
from tests.contracts.support import isolated
from tests.l1.venues import DEPLOYMENTS, make_address
from tests.protocol.evm import artifacts

DAY = 86_400
RICH = 10**15


@pytest.fixture(scope="session")
def blueprints() -> dict[str, Blueprint]:
    return {
        name: read_blueprint(name, artifact.abi, artifact.bytecode)
        for name, artifact in artifacts().items()
    }


@pytest.fixture(scope="session")
def provider(accounts) -> ProviderAPI:
    return networks.provider


@pytest.fixture(scope="session")
def deployer(accounts) -> AccountAPI:
    return accounts[10]


@pytest.fixture(scope="session")
def venue(provider) -> VenueFile:
    return replace_file(read_venue(DEPLOYMENTS / "local.yaml"), chain_id=provider.chain_id)


def replace_file(venue: VenueFile, **changes: Any) -> VenueFile:
    fields = {name: getattr(venue, name) for name in VenueFile.__struct_fields__}
    return VenueFile(**fields | changes)


@pytest.fixture
def prepared(provider, venue, blueprints, deployer) -> Iterator[Prepared]:
    """A venue that is deployed, and gone again after the test."""
    with isolated():
        prepared = prepare(provider, venue, blueprints, str(deployer.address))
        run(provider, prepared.plan, deployer)
        yield prepared


def run(provider: ProviderAPI, plan: Plan, deployer: AccountAPI) -> dict[str, int]:
    """Deploy what is missing; blocks by name."""
    blocks: dict[str, int] = {}
    sender = Sender(provider, deployer, poll=0.01)
    execute(sender, forecast(provider, plan), lambda step, block: blocks.update({step.name: block}))
    return blocks


def get_height(provider: ProviderAPI) -> int:
    return int(provider.make_request("eth_blockNumber", []), 16)


def find_wrong(provider: ProviderAPI, prepared: Prepared) -> dict[str, Finding]:
    first = find_first_block(provider, prepared.plan)
    findings = check(provider, prepared.plan, prepared.parameters, first)
    return {finding.what: finding for finding in findings if not finding.is_good}


# Before the first transaction


def test_deploy__development_chain__contracts_name_each_other(provider, accounts):
    with isolated():
        token = accounts[0].deploy(project.MockUSDC)
        parameters = DeploymentParameters(token.address, accounts[1].address, accounts[2].address)
        first = deploy(project, provider, accounts[0], parameters)
        second = deploy(project, provider, accounts[0], parameters)
        assert not set(map(str, first.contracts.values())) & set(
            map(str, second.contracts.values())
        )
        contracts = load_gateway(project, provider, second).contracts
        assert contracts.bridge.governor() == accounts[2].address
        assert contracts.inbox.bridge() == contracts.bridge.address
        assert contracts.vault.token() == token.address


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"token": make_address("nobody")}, "token: 0x.* has no code on this chain"),
        ({"token": "0x12"}, "token: 0x12 is not an address"),
        ({"token": ""}, "token:  is not an address"),
        ({"token": "0x" + bytes(20).hex()}, "token: the zero address"),
        ({"sequencer": "me"}, "sequencer: me is not an address"),
        ({"governor": ""}, "governor:  is not an address"),
        ({"governor": "22" * 20}, "governor: 2222.* is not an address"),
        ({"challenge_window": 0}, "challenge_window: 0 is not positive"),
        ({"forced_delay": -1}, "forced_delay: -1 is not positive"),
        ({"proposer_delay": 2**64}, "proposer_delay: 18446744073709551616 does not fit 64 bits"),
        ({"freeze_delay": 43_200}, "freeze_delay: 43200 s is not longer than proposer_delay"),
        ({"bond": 0}, "bond: 0 is not positive"),
        ({"bond": 2**128}, "bond: .* does not fit 64 bits"),
        ({"initial": (b"body",)}, "markets: only with governance"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_deploy__wrong_parameter__names_it_and_sends_nothing(provider, deployer, change, complaint):
    good = DeploymentParameters(PLACER, make_address("a"), make_address("b"))
    nonce = deployer.nonce
    with pytest.raises(DeploymentError, match=complaint):
        deploy(project, provider, deployer, replace(good, **change))
    assert deployer.nonce == nonce


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"chain_id": 1337}, "chain_id: the file says 1337, connected to 31337"),
        ({"sequencer": PLACER}, "sequencer: .* has code; only an account without can propose"),
        ({"token": PLACER}, "token: .* has no decimals()"),
        ({"token": make_address("nobody")}, "token: .* has no code on this chain"),
    ],
)
def test_prepare__not_for_this_chain__names_it(
    provider, venue, blueprints, deployer, change, complaint
):
    with pytest.raises(DeploymentError, match=complaint):
        prepare(provider, replace_file(venue, **change), blueprints, str(deployer.address))


@pytest.mark.parametrize(
    ("gwei", "verdict"), [(1, "half of it, 0.500000 ether, pays for"), (90, "DOES NOT PAY for")]
)
def test_describe_bond__at_a_base_fee__says_whether_it_pays(gwei, verdict):
    head = {"baseFeePerGas": hex(gwei * 10**9)}
    node: Any = SimpleNamespace(make_request=lambda method, parameters: head)
    assert verdict in describe_bond(node, 10**18)


def test_prepare__test_token_on_mainnet__is_refused(provider, venue, blueprints, deployer):
    with pytest.raises(DeploymentError, match="token: a test token on chain 1"):
        prepare(provider, replace_file(venue, chain_id=1), blueprints, str(deployer.address))


def test_describe_token__other_decimals__are_refused(provider, accounts):
    with isolated():
        token = accounts[0].deploy(project.FeeToken)
        with pytest.raises(DeploymentError, match="has 18 decimals; 6 are needed"):
            describe_token(provider, token.address)


def test_try_transfer__plain_token__moves_all_and_leaves_it_where_it_is(
    provider, accounts, blueprints
):
    holder = accounts[3]
    probe = artifacts()["TokenProbe"].deployed_bytecode
    with isolated():
        token = accounts[0].deploy(project.MockUSDC)
        assert not try_transfer(provider, token.address, holder.address, probe)
        token.mint(holder, 5, sender=holder)
        assert try_transfer(provider, token.address, holder.address, probe)
        assert token.balanceOf(holder) == 5


def test_try_transfer__fee_on_transfer__is_refused(provider, accounts):
    holder = accounts[3]
    probe = artifacts()["TokenProbe"].deployed_bytecode
    with isolated():
        token = accounts[0].deploy(project.FeeToken)
        token.mint(holder, 1_000, sender=holder)
        with pytest.raises(DeploymentError, match="what takes a fee or rebases"):
            try_transfer(provider, token.address, holder.address, probe)


def test_prepare__token_with_a_holder__is_tried_out(provider, venue, blueprints, accounts):
    with isolated():
        token = accounts[0].deploy(project.MockUSDC)
        token.mint(accounts[3], 5, sender=accounts[3])
        deployer = str(accounts[10].address)
        given = replace_file(venue, token=token.address)
        untried = prepare(provider, given, blueprints, deployer)
        assert "transfers were not tried" in untried.notes[1]
        holder = L1Address(accounts[3].address)
        tried = prepare(provider, replace_file(given, token_holder=holder), blueprints, deployer)
        assert tried.notes[1] == "token: USDC, moves exactly what is sent"
        assert "MockUSDC" not in tried.plan.addresses


def test_forecast__nothing_there__runs_every_constructor_and_sends_nothing(
    provider, venue, blueprints, deployer
):
    nonce = deployer.nonce
    plan = prepare(provider, venue, blueprints, str(deployer.address)).plan
    outlook = forecast(provider, plan)
    assert deployer.nonce == nonce
    assert all(expected.runtime and expected.gas for expected in outlook.forecasts)
    with isolated():
        before = get_height(provider)
        run(provider, plan, deployer)
        blocks = range(before + 1, get_height(provider) + 1)
        spent = sum(provider.get_block(number).gas_used for number in blocks)
    # Within a twentieth of what it takes, and never less.
    assert spent <= outlook.gas <= spent * 21 // 20


def test_forecast__constructor_that_would_fail__is_said_before_anything_is_sent(
    provider, venue, blueprints, deployer
):
    prepared = prepare(provider, venue, blueprints, str(deployer.address))
    steps = [
        replace(step, values=(*step.values[:1], DAY, *step.values[2:]))
        if step.name == TIMELOCK
        else step
        for step in prepared.plan.steps
    ]
    with pytest.raises(DeploymentError, match=f"{TIMELOCK}: its constructor would fail"):
        forecast(provider, replace(prepared.plan, steps=tuple(steps)))


def test_forecast__no_deployment_proxy__says_what_to_do(provider, venue, blueprints, deployer):
    prepared = prepare(provider, venue, blueprints, str(deployer.address))
    with isolated():
        provider.make_request("anvil_setCode", [PLACER, "0x"])
        with pytest.raises(DeploymentError, match="deterministic deployment proxy is not at"):
            forecast(provider, prepared.plan)


def test_validate_funds__too_little__says_how_much(provider, venue, blueprints, deployer):
    prepared = prepare(provider, venue, blueprints, str(deployer.address))
    outlook = forecast(provider, prepared.plan)
    validate_funds(provider, outlook, None)
    with isolated():
        provider.make_request("anvil_setBalance", [str(deployer.address), hex(10**15)])
        with pytest.raises(DeploymentError, match=r"has 0\.001000 ether; up to 0\.\d+ are needed"):
            validate_funds(provider, outlook, None)


# Going on, and checking


def test_execute__again__sends_nothing(provider, prepared, deployer):
    nonce = deployer.nonce
    outlook = forecast(provider, prepared.plan)
    assert outlook.is_complete
    assert outlook.gas == 0
    assert run(provider, prepared.plan, deployer) == {
        expected.step.name: expected.block for expected in outlook.forecasts
    }
    assert deployer.nonce == nonce


@pytest.mark.parametrize("done", [1, 5, 13])
def test_execute__stopped_in_the_middle__goes_on(provider, venue, blueprints, deployer, done):
    prepared = prepare(provider, venue, blueprints, str(deployer.address))
    with isolated():
        sender = Sender(provider, deployer, poll=0.01)
        count = 0

        def stop(step: Any, block: int) -> None:
            nonlocal count
            count += 1
            if count == done:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            execute(sender, forecast(provider, prepared.plan), stop)
        outlook = forecast(provider, prepared.plan)
        assert sum(expected.block > 0 for expected in outlook.forecasts) == done
        run(provider, prepared.plan, deployer)
        assert find_wrong(provider, prepared) == {}


def test_check__as_planned__finds_nothing_wrong(provider, prepared):
    first = find_first_block(provider, prepared.plan)
    findings = check(provider, prepared.plan, prepared.parameters, first)
    assert all(finding.is_good for finding in findings)
    looked_at = {finding.what for finding in findings}
    assert {
        "MarginVault.token",
        "Bridge.governor",
        "RollupInbox.parameterHash",
        "RollupInbox.challengeWindow",
        "FraudProver.domainSeparator",
        "ConfigureGate.maintenanceBound",
        "ExitWindowTimelock.minimumDelay",
        "genesis state root",
        "genesis header",
        "initial message 3",
        "timelock admin",
        "timelock delay",
    } <= looked_at


def test_check__nothing_there__says_so(provider, venue, blueprints, deployer):
    prepared = prepare(provider, venue, blueprints, str(deployer.address))
    with pytest.raises(DeploymentError, match="nothing of local as deployed by"):
        find_first_block(provider, prepared.plan)


def test_check__code_changed__is_found(provider, prepared):
    """As by a chain, or a node, that is not what it seems."""
    address = prepared.plan.addresses["RollupInbox"]
    code = bytearray(bytes(provider.get_code(address)))
    code[-60] ^= 1
    provider.make_request("anvil_setCode", [address, "0x" + bytes(code).hex()])
    assert set(find_wrong(provider, prepared)) == {"RollupInbox code"}
    with pytest.raises(DeploymentError, match=r"RollupInbox: 0x.* has other code than this plan"):
        forecast(provider, prepared.plan)


def test_check__role_given_away__is_found(provider, prepared, deployer):
    timelock = project.ExitWindowTimelock.at(prepared.plan.addresses[TIMELOCK])
    friend = make_address("friend")
    with provider.account_manager.use_sender(timelock.address) as sender:
        provider.make_request("anvil_setBalance", [timelock.address, hex(10**20)])
        timelock.grantRole(keccak(b"PROPOSER_ROLE"), friend, sender=sender)
    (finding,) = find_wrong(provider, prepared).values()
    assert finding.what == "timelock proposer"
    assert friend.lower() in finding.actual


def test_check__other_markets_than_planned__are_found(provider, prepared):
    changed = replace(prepared, parameters=replace(prepared.parameters, initial=(b"one", b"two")))
    assert set(find_wrong(provider, changed)) == {"initial message 0", "initial message 1"}


def test_check__state_behind_the_getters_changed__is_found(provider, prepared):
    """The genesis header, as the inbox keeps it."""
    address = prepared.plan.addresses["RollupInbox"]
    for slot in range(8):
        place = keccak(encode(["uint256", "uint256"], [0, slot])).hex()
        provider.make_request("anvil_setStorageAt", [address, "0x" + place, "0x" + "11" * 32])
    assert set(find_wrong(provider, prepared)) == {"genesis header"}


def test_mint_test_tokens__twice__mints_once(provider, prepared, deployer):
    token = project.MockUSDC.at(prepared.plan.addresses["MockUSDC"])
    sender = Sender(provider, deployer, poll=0.01)
    mint_test_tokens(sender, prepared.plan)
    mint_test_tokens(sender, prepared.plan)
    assert token.balanceOf(deployer) == RICH
