"""Constructor arguments by name, held against the contract's own ABI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import is_encodable

from deltaroll.l1.deployment.errors import DeploymentError

Named = Mapping[str, Any]
"""Arguments by the names in the ABI, without a trailing underscore; a struct is a mapping too."""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A compiled contract."""

    name: str
    inputs: tuple[Mapping[str, Any], ...]
    """Of its constructor, as the ABI has them."""
    getters: tuple[Mapping[str, Any], ...]
    """View functions without arguments."""
    code: bytes
    """Creation code without arguments."""


def read_blueprint(name: str, abi: Sequence[Mapping[str, Any]], code: bytes) -> Blueprint:
    """Return a blueprint from a compiler's ABI and creation code."""
    constructors = [entry for entry in abi if entry["type"] == "constructor"]
    getters = (
        entry
        for entry in abi
        if entry["type"] == "function"
        and not entry["inputs"]
        and entry["stateMutability"] in ("view", "pure")
    )
    inputs = constructors[0]["inputs"] if constructors else ()
    return Blueprint(name, tuple(inputs), tuple(getters), code)


def get_type(entry: Mapping[str, Any]) -> str:
    """Return the canonical type of an ABI entry, structs written out."""
    kind = str(entry["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(get_type, entry['components']))}){kind.removeprefix('tuple')}"


def get_name(entry: Mapping[str, Any]) -> str:
    """Return an argument's name as one writes it."""
    return str(entry["name"]).rstrip("_")


def order_arguments(
    contract: str, inputs: Sequence[Mapping[str, Any]], named: Named
) -> tuple[Any, ...]:
    """Return arguments in the ABI's order.

    Raises
    ------
    DeploymentError
        When one is missing, unknown, or no value of its type.
    """
    names = [get_name(entry) for entry in inputs]
    for name in named:
        if name not in names:
            raise DeploymentError(f"{contract}: no constructor argument {name}")
    values = []
    for name, entry in zip(names, inputs, strict=True):
        if name not in named:
            raise DeploymentError(f"{contract}: constructor argument {name} is missing")
        value = named[name]
        if isinstance(value, Mapping):
            value = order_arguments(f"{contract}.{name}", entry.get("components", ()), value)
        elif not is_encodable(get_type(entry), value):
            raise DeploymentError(
                f"{contract}: constructor argument {name}: {value!r} is no {get_type(entry)}"
            )
        values.append(value)
    return tuple(values)
