"""Compiled contracts in process: encode, call, decode. No chain, no Ape."""

from collections.abc import Callable
from functools import cache
from typing import Any

from eth_abi import decode, encode
from eth_utils import function_abi_to_4byte_selector, keccak
from pyrevm import EVM

from tools.compile import Artifact, compile_contracts

CALLER = "0x" + "11" * 20
GAS = 1 << 30


class RevertError(Exception):
    """A call reverted; `data` is what it said, empty when it ran out of gas."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(name or data.hex())
        self.data = data
        self.name = name


@cache
def artifacts() -> dict[str, Artifact]:
    """Every contract of the project."""
    return compile_contracts()


def type_of(parameter: dict[str, Any]) -> str:
    """ABI type of a parameter, tuples spelt out."""
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(map(type_of, parameter["components"])) + ")" + kind[len("tuple") :]


start: Callable[[], EVM] = EVM
"""What starts an EVM; `tests/mutation` puts one here that runs every call with a mutant on."""


def make_evm() -> EVM:
    """An EVM with nothing in it."""
    return start()


class Contract:
    """A contract at work."""

    def __init__(self, name: str) -> None:
        artifact = artifacts()[name]
        self._evm = make_evm()
        self.gas_used = 0
        """Gas of the last call, calldata included."""
        self._address = self._evm.deploy(CALLER, artifact.bytecode)
        entries = [entry for entry in artifact.abi if entry["type"] in ("function", "error")]
        self._functions = {entry["name"]: entry for entry in entries if entry["type"] == "function"}
        self._errors = {
            _selector(entry): entry["name"] for entry in entries if entry["type"] == "error"
        }

    def call(self, function: str, *arguments: Any) -> Any:
        """Return what a function returns: a value, or a tuple of several.

        Raises
        ------
        RevertError
            When it does.
        """
        entry = self._functions[function]
        data = _selector(entry) + encode([type_of(item) for item in entry["inputs"]], arguments)
        try:
            output = self._evm.message_call(CALLER, self._address, calldata=data, gas=GAS)
        except RuntimeError as error:
            revert = _revert_data(str(error))
            raise RevertError(revert, self._errors.get(revert[:4], "")) from error
        result = self._evm.result
        self.gas_used = 0 if result is None else result.gas_used
        values = decode([type_of(item) for item in entry["outputs"]], output)
        return values[0] if len(values) == 1 else values


def _selector(entry: dict[str, Any]) -> bytes:
    if entry["type"] == "function":
        return bytes(function_abi_to_4byte_selector(entry))
    signature = f"{entry['name']}({','.join(map(type_of, entry['inputs']))})"
    return keccak(text=signature)[:4]


def _revert_data(message: str) -> bytes:
    # "Revert { gas_used: 123, output: 0x... }", or "Halt { reason: ... }".
    _, found, output = message.partition("output: 0x")
    return bytes.fromhex(output.partition(" ")[0]) if found else b""
