"""Plans: addresses that follow from names alone, arguments that the ABI takes."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from eth_abi import decode, encode
from pyrevm import EVM, AccountInfo, BlockEnv

from deltaroll.l1.deployment.abi import Blueprint, order_arguments, read_blueprint
from deltaroll.l1.deployment.assembly import make_registry, validate_registry
from deltaroll.l1.deployment.contracts import GATE, TIMELOCK, list_parts
from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.l1.deployment.parameters import DeploymentParameters
from deltaroll.l1.deployment.plan import (
    BLOCK_OF_SELECTOR,
    FACTORY,
    PLACER,
    PLACER_RUNTIME,
    Addresses,
    Part,
    Plan,
    make_plan,
)
from deltaroll.l1.deployment.units import L1Address, Seconds
from deltaroll.l1.deployment.venue import Governance
from deltaroll.l1.registry import CONTRACTS, Registry
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from tests.l1.venues import make_address
from tests.protocol.evm import artifacts

DEPLOYER, RIVAL, TOKEN = (make_address(name) for name in ("deployer", "rival", "token"))
GAS = 12_000_000
BLOCK = 77
DAY = 86_400


def blueprints() -> dict[str, Blueprint]:
    return {
        name: read_blueprint(name, artifact.abi, artifact.bytecode)
        for name, artifact in artifacts().items()
    }


def plan(
    deployer: str = DEPLOYER, venue: str = "venue", bodies: tuple[bytes, ...] = (), **changes: Any
) -> Plan:
    """A venue with governance, its test token first."""
    known = blueprints()
    at = Addresses(known[FACTORY].code, deployer, venue)
    governance = Governance((L1Address(make_address("council")),), Seconds(40 * DAY))
    parameters = DeploymentParameters(
        at["MockUSDC"], RIVAL, governance=governance, initial=bodies, **changes
    )
    return make_plan(known, at, (Part("MockUSDC", {}), *list_parts(at, parameters)))


@pytest.fixture
def evm() -> EVM:
    """A chain with the deterministic deployment proxy on it."""
    evm = EVM(gas_limit=GAS)
    evm.set_block_env(BlockEnv(number=BLOCK, timestamp=1_900_000_000))
    evm.insert_account_info(PLACER, AccountInfo(code=PLACER_RUNTIME))
    return evm


def place_factory(evm: EVM) -> str:
    code = blueprints()[FACTORY].code
    evm.message_call(DEPLOYER, PLACER, calldata=ZERO_HASH + code, gas=GAS)
    return Addresses(code, DEPLOYER, "").factory


def test_make_plan__on_a_chain__every_contract_is_where_it_was_said_to_be(evm):
    made = plan()
    assert place_factory(evm) == made.factory
    for step in made.steps:
        assert not evm.get_code(step.address)
        evm.message_call(DEPLOYER, made.factory, calldata=step.calldata, gas=GAS)
        assert evm.get_code(step.address), step.name
        data = BLOCK_OF_SELECTOR + encode(["address"], [step.address])
        (block,) = decode(["uint256"], evm.message_call(DEPLOYER, made.factory, calldata=data))
        assert block == BLOCK
    assert set(made.addresses) == {"MockUSDC", *CONTRACTS, TIMELOCK, GATE}


def test_make_plan__other_parameters__same_addresses_other_code():
    first, second = plan(), plan(challenge_window=8 * DAY, bodies=(b"body",))
    assert first.addresses == second.addresses
    changed = [
        one.name
        for one, other in zip(first.steps, second.steps, strict=True)
        if one.code != other.code
    ]
    assert changed == ["RollupInbox", GATE]


@pytest.mark.parametrize("change", [{"venue": "other"}, {"deployer": RIVAL}])
def test_make_plan__other_name_or_deployer__no_address_in_common(change):
    assert not set(plan().addresses.values()) & set(plan(**change).addresses.values())


def test_make_plan__registry__has_arguments_by_name():
    steps = {step.name: step for step in plan(bodies=(b"\x01\x02",)).steps}
    inbox = steps["RollupInbox"].arguments["parameters"]
    assert inbox["bridge"] == steps["Bridge"].address
    assert inbox["genesisRoot"].startswith("0x")
    assert steps[GATE].arguments["initial"] == ["0x0102"]
    assert steps[GATE].arguments["bounds"]["maintenanceBound"] == 1_000_000
    assert steps["Bridge"].arguments["governor"] == steps[GATE].address


def test_deploy__salt_of_another__is_another_address(evm):
    made = plan()
    factory = place_factory(evm)
    step = made.steps[0]
    evm.message_call(RIVAL, factory, calldata=step.calldata, gas=GAS)
    assert not evm.get_code(step.address)
    evm.message_call(DEPLOYER, factory, calldata=step.calldata, gas=GAS)
    assert evm.get_code(step.address)


def test_deploy__same_salt_again__is_refused(evm):
    made = plan()
    factory = place_factory(evm)
    calldata = made.steps[0].calldata
    evm.message_call(DEPLOYER, factory, calldata=calldata, gas=GAS)
    selector = keccak(b"DeployFactory_Taken(address)")[:4].hex()
    with pytest.raises(RuntimeError, match=selector):
        evm.message_call(DEPLOYER, factory, calldata=calldata, gas=GAS)


def test_deploy__constructor_fails__the_salt_can_be_used_again(evm):
    made = plan()
    factory = place_factory(evm)
    steps = {step.name: step for step in made.steps}
    selector = keccak(b"DeploymentFailed()")[:4].hex()
    with pytest.raises(RuntimeError, match=selector):
        # Its token is not there yet.
        evm.message_call(DEPLOYER, factory, calldata=steps["MarginVault"].calldata, gas=GAS)
    for name in ("MockUSDC", "MarginVault"):
        evm.message_call(DEPLOYER, factory, calldata=steps[name].calldata, gas=GAS)
    assert evm.get_code(steps["MarginVault"].address)


INPUTS = (
    {"name": "token_", "type": "address"},
    {
        "name": "parameters",
        "type": "tuple",
        "components": [{"name": "delay", "type": "uint64"}, {"name": "root", "type": "bytes32"}],
    },
    {"name": "bodies", "type": "bytes[]"},
)
GOOD = {
    "token": TOKEN,
    "parameters": {"delay": 5, "root": bytes(32)},
    "bodies": (b"a", b"b"),
}


def test_order_arguments__by_name__come_in_the_order_of_the_abi():
    shuffled = dict(reversed(GOOD.items()))
    assert order_arguments("It", INPUTS, shuffled) == (TOKEN, (5, bytes(32)), (b"a", b"b"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"token": "0x12"}, "It: constructor argument token: '0x12' is no address"),
        ({"tokens": TOKEN}, "It: no constructor argument tokens"),
        ({"bodies": ("a",)}, r"It: constructor argument bodies: \('a',\) is no bytes\[\]"),
        (
            {"parameters": {"delay": 2**64, "root": bytes(32)}},
            r"It\.parameters: constructor argument delay: 18446744073709551616 is no uint64",
        ),
        (
            {"parameters": {"delay": 1, "root": bytes(33)}},
            r"It\.parameters: constructor argument root: .* is no bytes32",
        ),
        ({"parameters": {"delay": 1}}, r"It\.parameters: constructor argument root is missing"),
        ({"parameters": 5}, r"It: constructor argument parameters: 5 is no \(uint64,bytes32\)"),
    ],
)
def test_order_arguments__not_what_the_abi_says__is_named(change, complaint):
    with pytest.raises(DeploymentError, match=complaint):
        order_arguments("It", INPUTS, GOOD | change)


def test_order_arguments__missing__is_named():
    with pytest.raises(DeploymentError, match="It: constructor argument bodies is missing"):
        order_arguments("It", INPUTS, {key: GOOD[key] for key in ("token", "parameters")})


def test_make_plan__not_compiled__is_named():
    known = blueprints()
    at = Addresses(known[FACTORY].code, DEPLOYER, "venue")
    with pytest.raises(DeploymentError, match="Teleporter: not among the compiled contracts"):
        make_plan(known, at, (Part("Teleporter", {}),))


def test_validate_registry__same_plan_or_other_addresses__is_fine():
    made, other = plan(bodies=(b"one",)), plan(venue="other", bodies=(b"two",))
    validate_registry(made.steps, write_down(made))
    validate_registry(made.steps, write_down(other))


def test_validate_registry__what_code_does_not_show__is_named():
    before, after = plan(bodies=(b"one",)), plan(bodies=(b"two",))
    complaint = r"ConfigureGate: deployed with initial = \['0x6f6e65'\]; the file now says"
    with pytest.raises(DeploymentError, match=complaint):
        validate_registry(after.steps, write_down(before))


def write_down(made: Plan) -> Registry:
    """The registry of a plan, as it comes back from a file."""
    provider: Any = SimpleNamespace(chain_id=1, network_choice="ethereum:mainnet:node")
    blocks = dict.fromkeys(made.addresses, 5)
    registry = make_registry(provider, made, TOKEN, blocks)
    return msgspec.json.decode(msgspec.json.encode(registry), type=Registry)
