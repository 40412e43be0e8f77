"""Whole fraud proofs in process: a batch is posted to the real inbox and removed by the real prover."""

from __future__ import annotations

from functools import cache
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth_abi import decode, encode
from eth_utils import function_abi_to_4byte_selector
from pyrevm import EVM, BlockEnv

from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.types import Address
from tests.protocol.evm import GAS, artifacts, type_of

DEPLOYER = "0x" + "aa" * 20
SEQUENCER = "0x" + "bb" * 20
CHALLENGER = "0x" + "cc" * 20
BOND = 10**19
CHAIN_ID = 1
"""Of the in-process EVM."""
BAD_ROOT = b"\xee" * 32
FLOOR_TOKEN = 10
"""Gas of a quarter of a byte under EIP-7623."""


def create_address(nonce: int) -> Address:
    """Where the deployer's next contracts go."""
    return Address(keccak(rlp.encode([bytes.fromhex(DEPLOYER[2:]), nonce]))[12:])


INBOX_AT = create_address(4)
PROVER_AT = create_address(5)
DOMAIN = compute_domain_separator(CHAIN_ID, INBOX_AT)
"""What users of these deployments sign for."""


@cache
def abi_of(contract: str, kind: str, name: str) -> dict[str, Any]:
    """Entry of a contract's ABI."""
    for entry in artifacts()[contract].abi:
        if entry["type"] == kind and entry.get("name", "") == name:
            return dict(entry)
    raise KeyError(name)


def encode_call(contract: str, function: str, *arguments: Any) -> bytes:
    """Calldata of a call."""
    entry = abi_of(contract, "function", function)
    types = [type_of(item) for item in entry["inputs"]]
    return bytes(function_abi_to_4byte_selector(entry)) + encode(types, arguments)


class Rollup:
    """A deployment whose genesis is any state; its queue is whatever it is told."""

    def __init__(self, genesis_root: bytes, l1_time: int, queue: dict[int, bytes]) -> None:
        self._evm = EVM()
        for account in (DEPLOYER, SEQUENCER, CHALLENGER):
            self._evm.set_balance(account, 10**24)
        self._evm.set_block_env(BlockEnv(number=1000, timestamp=l1_time))
        bridge = self._deploy("MockQueue")
        executor = self._deploy("TransitionExecutor")
        transition = self._deploy("TransitionVerifier", executor)
        signature = self._deploy("SignatureVerifier")
        self._call(DEPLOYER, bridge, "MockQueue", "setInbox", INBOX_AT)
        # That call used up a nonce of the deployer.
        parameters = (
            bridge,
            create_address(6),
            SEQUENCER,
            7 * 86_400,
            43_200,
            43_200,
            BOND,
            genesis_root,
        )
        self.inbox = self._deploy("RollupInbox", parameters)
        self.prover = self._deploy("FraudProver", self.inbox, transition, signature)
        for index, chain in queue.items():
            self._call(DEPLOYER, bridge, "MockQueue", "setHash", index, chain)
        self._call(SEQUENCER, self.inbox, "RollupInbox", "bond", value=BOND)
        self._queue = queue
        self._genesis = self._header(genesis_root, 0)

    def _deploy(self, contract: str, *arguments: Any) -> str:
        artifact = artifacts()[contract]
        types = [
            type_of(item)
            for entry in artifact.abi
            if entry["type"] == "constructor"
            for item in entry["inputs"]
        ]
        address: str = self._evm.deploy(DEPLOYER, artifact.bytecode + encode(types, arguments))
        return address

    def _call(
        self, sender: str, to: str, contract: str, function: str, *arguments: Any, value: int = 0
    ) -> bytes:
        calldata = encode_call(contract, function, *arguments)
        return bytes(self._evm.message_call(sender, to, calldata=calldata, value=value, gas=GAS))
