"""What goes where: a pure function of deployer, venue name, code and arguments.

Every contract is created by `DeployFactory`, at an address that follows from the deployer's, the
venue's name and the contract's name. So all addresses are known before the first transaction,
contracts can name each other, and whoever runs the same plan again finds what is there already.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.conversions import to_bytes

from deltaroll.l1.deployment.abi import (
    Blueprint,
    Named,
    get_name,
    get_type,
    order_arguments,
)
from deltaroll.l1.deployment.errors import DeploymentError
from deltaroll.protocol.hashing import ZERO_HASH, keccak

PLACER = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
"""Deterministic deployment proxy, at the same address on nearly every chain: CREATE2 for anyone,
salt and creation code as calldata."""
PLACER_RUNTIME = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234"
    "f58015156039578182fd5b8082525050506014600cf3"
)
FACTORY = "DeployFactory"
MOCK_TOKEN = "MockUSDC"
"""Test token, where a venue asks for one."""
DEPLOY_SELECTOR = keccak(b"deploy(bytes32,bytes)")[:4]
BLOCK_OF_SELECTOR = keccak(b"blockOf(address)")[:4]
CREATE3_PROXY_HASH = keccak(bytes.fromhex("67363d3d37363d34f03d5260086018f3"))
"""Of the creation code of the contract that creates, as in Solady's CREATE3."""


@dataclass(frozen=True, slots=True)
class Step:
    """One contract."""

    blueprint: Blueprint
    address: str
    salt: bytes
    values: tuple[Any, ...]
    """Constructor arguments in the ABI's order."""

    @property
    def name(self) -> str:
        """The contract's."""
        return self.blueprint.name

    @property
    def code(self) -> bytes:
        """Creation code and arguments."""
        types = [get_type(entry) for entry in self.blueprint.inputs]
        return self.blueprint.code + encode(types, self.values)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments by name, as JSON values."""
        return {
            get_name(entry): to_json(entry, value)
            for entry, value in zip(self.blueprint.inputs, self.values, strict=True)
        }

    @property
    def calldata(self) -> bytes:
        """What to call the factory with."""
        return DEPLOY_SELECTOR + encode(["bytes32", "bytes"], [self.salt, self.code])


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole deployment."""

    venue: str
    deployer: str
    factory: str
    factory_code: bytes
    """Creation code."""
    steps: tuple[Step, ...]

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each contract by name."""
        return {step.name: step.address for step in self.steps}


@dataclass(frozen=True, slots=True)
class Part:
    """One contract of a deployment that has no addresses yet."""

    name: str
    arguments: Named


def compute_create2(creator: str, salt: bytes, code_hash: bytes) -> str:
    """Return where CREATE2 puts a contract."""
    digest = keccak(b"\xff" + to_bytes(hexstr=creator) + salt + code_hash)
    return to_checksum_address(digest[12:])


def compute_salt(venue: str, contract: str) -> bytes:
    """Return the salt that names a venue's contract."""
    return keccak(encode(["string", "string"], [venue, contract]))


def compute_address(factory: str, deployer: str, salt: bytes) -> str:
    """Return `DeployFactory.addressOf`."""
    bound = keccak(encode(["address", "bytes32"], [deployer, salt]))
    creator = to_bytes(hexstr=compute_create2(factory, bound, CREATE3_PROXY_HASH))
    return to_checksum_address(keccak(b"\xd6\x94" + creator + b"\x01")[12:])


class Addresses:
    """Where each contract of a venue will be."""

    def __init__(self, factory_code: bytes, deployer: str, venue: str) -> None:
        self.factory = compute_create2(PLACER, ZERO_HASH, keccak(factory_code))
        self.deployer = deployer
        self.venue = venue

    def __getitem__(self, contract: str) -> str:
        return compute_address(self.factory, self.deployer, compute_salt(self.venue, contract))


def make_plan(
    blueprints: Mapping[str, Blueprint], addresses: Addresses, parts: tuple[Part, ...]
) -> Plan:
    """Return a plan that creates the parts in their order.

    Raises
    ------
    DeploymentError
        When an argument is not what the contract's ABI asks for.
    """
    steps = []
    for part in parts:
        blueprint = get_blueprint(blueprints, part.name)
        steps.append(
            Step(
                blueprint=blueprint,
                address=addresses[part.name],
                salt=compute_salt(addresses.venue, part.name),
                values=order_arguments(part.name, blueprint.inputs, part.arguments),
            )
        )
    return Plan(
        venue=addresses.venue,
        deployer=addresses.deployer,
        factory=addresses.factory,
        factory_code=get_blueprint(blueprints, FACTORY).code,
        steps=tuple(steps),
    )


def get_blueprint(blueprints: Mapping[str, Blueprint], name: str) -> Blueprint:
    """Return a contract's blueprint; DeploymentError when it was not compiled."""
    if name not in blueprints:
        raise DeploymentError(f"{name}: not among the compiled contracts")
    return blueprints[name]


def to_json(entry: Mapping[str, Any], value: Any) -> Any:
    """Return an argument as the registry has it: structs by name, bytes as hex."""
    kind = str(entry["type"])
    if kind.endswith("]"):
        item = {**entry, "type": kind[: kind.rindex("[")]}
        return [to_json(item, each) for each in value]
    if kind == "tuple":
        return {
            get_name(part): to_json(part, each)
            for part, each in zip(entry["components"], value, strict=True)
        }
    if isinstance(value, bytes):
        return "0x" + value.hex()
    # Of a plain type: units of a file are subclasses, which encoders do not take.
    return int(value) if kind.startswith(("uint", "int")) else str(value)
