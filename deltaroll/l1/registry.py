"""The registry file of a deployment: where everything is, for every other command to read."""

from pathlib import Path
from typing import Any

import msgspec

CONTRACTS = (
    "MarginVault",
    "Bridge",
    "RollupInbox",
    "FraudProver",
    "EscapeHatch",
    "OptionPricer",
    "MarketExecutor",
    "AccountExecutor",
    "TransitionExecutor",
    "TransitionVerifier",
    "SignatureVerifier",
)


class RegistryError(Exception):
    """A registry file is missing, malformed, or of another chain."""


class ContractEntry(msgspec.Struct, frozen=True):
    """One deployed contract."""

    address: str
    block: int
    arguments: dict[str, Any]
    """Constructor arguments by name, as JSON values."""


class Registry(msgspec.Struct, frozen=True):
    """A deployment on one chain."""

    chain_id: int
    network: str
    """Ape's network choice it was made with."""
    token: str
    block: int
    """The first block that any of it is in."""
    contracts: dict[str, ContractEntry]
    venue: str
    """Name that its addresses follow from, with the deployer's address and the factory's."""
    deployer: str
    factory: str

    def get_address(self, name: str) -> str:
        """Return a contract's address; RegistryError when the deployment has no such contract."""
        entry = self.contracts.get(name)
        if entry is None:
            raise RegistryError(f"registry: no contract {name}")
        return entry.address


def get_registry_path(folder: Path, chain_id: int) -> Path:
    """Return where the deployment on a chain is registered."""
    return folder / f"{chain_id}.json"


def write_registry(path: Path, registry: Registry) -> None:
    """Write a registry, sorted and readable; replaces the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(registry, order="sorted"), indent=2)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(text + b"\n")
    temporary.replace(path)


def decode_registry(path: Path) -> Registry:
    """Return what is written in a file, maybe of a deployment that is not complete.

    Raises
    ------
    RegistryError
        When it is malformed.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Registry)
    except msgspec.DecodeError as problem:
        raise RegistryError(f"registry: {path}: {problem}") from problem


def read_registry(path: Path, chain_id: int) -> Registry:
    """Return the registry in a file.

    Raises
    ------
    RegistryError
        When the file is missing, malformed, lacks a contract or names another chain.
    """
    if not path.is_file():
        raise RegistryError(f"registry: {path} does not exist: deploy first")
    registry = decode_registry(path)
    missing = [name for name in CONTRACTS if name not in registry.contracts]
    if missing:
        raise RegistryError(f"registry: {path}: contracts missing: {', '.join(missing)}")
    if registry.chain_id != chain_id:
        raise RegistryError(
            f"registry: {path} is of chain {registry.chain_id}, connected to {chain_id}"
        )
    return registry
