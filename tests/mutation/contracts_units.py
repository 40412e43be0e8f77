"""The unit tests of the protocol, run on harness contracts that hold all mutants.

The tests do not know: what starts their EVMs is replaced, and so is the code that they deploy. Gas
and the size of code are not what they are without mutants, so a test that is about them fails from
the start and is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyrevm import EVM, CfgEnv, Env

from tests.mutation.schemata import COVER, MARK, Mutant
from tests.mutation.unit_tests import TESTS, Mark, fails, fingerprint
from tests.protocol import evm
from tests.protocol.evm import CALLER, GAS, artifacts
from tests.protocol.verifiers import verifiers

FILES = tuple(
    TESTS / f"test_{name}.py"
    for name in (
        *("black76_differential", "codec", "configure", "eip712", "expiry", "fill", "force_close"),
        *("forced", "overweight"),
        *("funding", "leaf", "liquidation", "listing", "margin", "money", "observe", "realise"),
        *("risk_differential", "signatures", "surface", "transition_forgeries", "tree"),
        *("vectors", "witness"),
    )
)
"""Tests that call contracts, without those of random chunks: such chunks are recorded."""
ENOUGH_GAS = 1 << 40
"""Traces cost gas."""


class PricedEvm:
    """An EVM that takes any code, and calls it at the price that its class holds."""

    price = 0
    started: list[PricedEvm] = []  # noqa: RUF012 - of all of them, in a process of their own

    def __init__(self) -> None:
        self._evm = EVM(env=Env(cfg=CfgEnv(limit_contract_code_size=1 << 24)))
        self._evm.set_balance(CALLER, 1 << 200)
        PricedEvm.started.append(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evm, name)

    def message_call(self, caller: str, to: str, *, calldata: bytes, gas: int) -> bytes:
        """Call a contract with a mutant on."""
        price = PricedEvm.price
        if price == COVER and gas == GAS:
            gas = ENOUGH_GAS
        output: bytes = self._evm.message_call(
            caller, to, calldata=calldata, gas=gas, gas_price=price
        )
        return output

    @classmethod
    def touched(cls) -> set[int]:
        """Return the mutants that were met since these EVMs were started."""
        addresses = (int(name, 16) for item in cls.started for name in item._evm.journal_state)
        return {address - MARK for address in addresses if MARK < address < MARK + (1 << 32)}


@contextmanager
def installed(codes: Mapping[str, bytes]) -> Iterator[None]:
    """Let the tests deploy these codes, into EVMs that can switch mutants on."""
    known = artifacts()
    originals = dict(known)
    known.update({name: replace(known[name], bytecode=code) for name, code in codes.items()})
    verifiers.cache_clear()
    evm.start = PricedEvm  # type: ignore[assignment]
    try:
        yield
    finally:
        evm.start = EVM
        verifiers.cache_clear()
        known.update(originals)


class ContractProbe:
    """The mutants that the calls of a test meet."""

    name = "solidity"

    def __init__(self, codes: Mapping[str, bytes]) -> None:
        self._codes = b"".join(codes[name] for name in sorted(codes))

    def files_of(self, mutant: Mutant) -> Iterable[Path]:
        """Return all files: what a test meets, it says."""
        own = f"test_{mutant.source.lower()}"
        return sorted(FILES, key=lambda path: not path.stem.startswith(own))

    def marks_of(self, mutant: Mutant) -> frozenset[Mark]:
        """Return the mutant itself."""
        return frozenset((("", mutant.number),))

    def trace(self, item: pytest.Item) -> frozenset[Mark]:
        """Return the mutants that a test meets; nothing when it fails without one."""
        if fails(item):
            return frozenset()
        # What has been deployed stays; tests draw the same examples again.
        PricedEvm.price = COVER
        fails(item)
        return frozenset(("", number) for number in PricedEvm.touched())

    def fingerprint(self, path: Path) -> str:
        """Return a hash of the compiled code and the tests."""
        support = sorted(set(TESTS.glob("*.py")) - set(TESTS.glob("test_*.py")))
        return fingerprint(self._codes, *support, path)

    def plant(self, mutant: Mutant) -> None:
        """Switch a mutant on."""
        PricedEvm.price = mutant.number
