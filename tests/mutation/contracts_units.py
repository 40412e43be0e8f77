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
from typing import Any, ClassVar

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
        *("forced", "funding", "leaf", "liquidation", "listing", "margin", "mark", "messages"),
        *("money", "observe", "overweight", "realise", "risk_differential", "signatures"),
        *("surface", "transition", "transition_forgeries", "tree", "vectors", "witness"),
    )
)
"""Tests that call contracts, without those of random chunks: such chunks are recorded."""
ENOUGH_GAS = 1 << 40
"""Traces cost gas."""


class PricedEvm:
    """An EVM that takes any code, and calls it at the price that its class holds."""

    price = 0
    met: ClassVar[set[int]] = set()
    """Mutants that calls at the price of COVER have met, in any of these EVMs."""
    has_reverted = False
    """Whether one of those calls has reverted, which leaves no traces."""

    def __init__(self) -> None:
        self._evm = EVM(env=Env(cfg=CfgEnv(limit_contract_code_size=1 << 24)))
        self._evm.set_balance(CALLER, 1 << 200)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evm, name)

    def message_call(self, caller: str, to: str, *, calldata: bytes, gas: int) -> bytes:
        """Call a contract with a mutant on."""
        if PricedEvm.price == COVER:
            return self._cover(caller, to, calldata, ENOUGH_GAS if gas == GAS else gas)
        output: bytes = self._evm.message_call(
            caller, to, calldata=calldata, gas=gas, gas_price=PricedEvm.price
        )
        return output

    def _cover(self, caller: str, to: str, data: bytes, gas: int) -> bytes:
        try:
            output: bytes = self._evm.message_call(
                caller, to, calldata=data, gas=gas, gas_price=COVER
            )
        except RuntimeError:
            PricedEvm.has_reverted = True
            raise
        # The next call begins another journal.
        addresses = (int(name, 16) for name in self._evm.journal_state)
        PricedEvm.met |= {at - MARK for at in addresses if MARK < at < MARK + (1 << 32)}
        return output


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
        """Return the mutant itself, and what may hide it: a call of its own tests that reverts."""
        return frozenset((("", mutant.number), (mutant.source.lower(), 0)))

    def trace(self, item: pytest.Item) -> frozenset[Mark]:
        """Return the mutants that a test meets; nothing when it fails without one."""
        if fails(item):
            return frozenset()
        # What has been deployed stays; tests draw the same examples again.
        PricedEvm.price = COVER
        fails(item)
        marks = {("", number) for number in PricedEvm.met}
        if PricedEvm.has_reverted:
            module = item.path.stem.removeprefix("test_").removesuffix("_differential")
            marks.add((module, 0))
        return frozenset(marks)

    def fingerprint(self, path: Path) -> str:
        """Return a hash of the compiled code and the tests."""
        support = sorted(set(TESTS.glob("*.py")) - set(TESTS.glob("test_*.py")))
        return fingerprint(self._codes, *support, path)

    def plant(self, mutant: Mutant) -> None:
        """Switch a mutant on."""
        PricedEvm.price = mutant.number
