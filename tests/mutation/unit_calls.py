"""What unit tests ask of single Solidity functions, written down while they run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.calls import Call, Outcome
from tests.mutation.processes import be_quiet, in_child
from tests.mutation.sampling import sample
from tests.mutation.schemata_build import HARNESSES
from tests.protocol.evm import Contract

TESTS = Path(__file__).resolve().parents[1] / "protocol"
FILES = (
    "black76_differential",
    "configure",
    "expiry",
    "funding",
    "liquidation",
    "listing",
    "money",
    "observe",
    "surface",
)
"""Whose tests are about the harnesses."""
KEPT = 150
"""Calls of one function that are replayed."""
SECONDS = 1200


class ListeningEvm:
    """An EVM that writes down what a harness is asked, and what it answers."""

    def __init__(self, evm: Any, contract: str, found: dict[tuple[str, bytes], Outcome]) -> None:
        self._evm = evm
        self._contract = contract
        self._found = found

    @property
    def result(self) -> Any:
        """The last call's."""
        return self._evm.result

    def message_call(self, *arguments: Any, calldata: bytes, **how: Any) -> Any:
        """Call, and write it down; `calldata` names the function."""
        key = self._contract, calldata
        try:
            output = self._evm.message_call(*arguments, calldata=calldata, **how)
        except RuntimeError as error:
            _, has_output, rest = str(error).partition("output: 0x")
            self._found[key] = (
                "revert",
                bytes.fromhex(rest.partition(" ")[0][:8]) if has_output else b"!",
            )
            raise
        self._found[key] = output
        return output


class Listener:
    """A pytest plugin that listens to every harness."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, bytes], Outcome] = {}

    def pytest_sessionstart(self) -> None:
        """Begin to listen."""
        start = Contract.__init__
        found = self.found

        def start_listening(contract: Contract, name: str) -> None:
            start(contract, name)
            if name in HARNESSES:
                contract._evm = ListeningEvm(contract._evm, name, found)  # type: ignore[assignment]

        Contract.__init__ = start_listening  # type: ignore[method-assign]


def record_unit_calls(folder: Path, seed: int) -> list[Call]:
    """Return calls of every function of the harnesses."""
    path = folder / f"calls-{os.getpid()}.pickle"

    def task() -> int:
        be_quiet()
        listener = Listener()
        arguments = [str(TESTS / f"test_{name}.py") for name in FILES]
        options = ["-p", "no:cacheprovider", "-p", "no:ape_test", f"--hypothesis-seed={seed}"]
        code = pytest.main([*options, *arguments], plugins=[listener])
        path.write_bytes(pickle.dumps(listener.found))
        return int(code)

    _, status = os.waitpid(in_child(task, SECONDS), 0)
    assert status == 0, "unit tests fail without a mutant"
    found: dict[tuple[str, bytes], Outcome] = pickle.loads(path.read_bytes())
    path.unlink()
    by_function: dict[tuple[str, bytes], list[Call]] = {}
    for (contract, data), outcome in found.items():
        kept = by_function.setdefault((contract, data[:4]), [])
        kept.append(Call(contract, data, (), outcome))
    return [call for calls in by_function.values() for call in sample(calls, KEPT, seed)]
