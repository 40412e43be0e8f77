"""Whole fraud proofs in process: the real inbox takes a batch, the real prover removes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth_abi import decode, encode
from eth_utils import function_abi_to_4byte_selector
from pyrevm import EVM, BlockEnv

from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.fault import Fault
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
"""Gas of a token under EIP-7623: a zero byte is one, any other byte is four."""
HEADER_TYPE = (
    "(uint64,bytes32,bytes32,bytes32,uint32,uint64,uint64,bytes32,"
    "uint64,uint64,uint64,uint64,address,uint8,bytes32)"
)
SUBMITTED = keccak(f"BatchSubmitted(uint64,bytes32,{HEADER_TYPE})".encode())
PROVEN = keccak(b"FraudProven(bytes32,uint256,uint8,address)")


@dataclass(frozen=True, slots=True)
class Proof:
    """What a proof took."""

    fault: Fault
    gas: int
    """Of the transaction, by the rules of Prague: at least the calldata floor."""
    size: int
    """Bytes of calldata."""


def create_address(nonce: int) -> Address:
    """Where the deployer's next contracts go."""
    return Address(keccak(rlp.encode([bytes.fromhex(DEPLOYER[2:]), nonce]))[12:])


INBOX_AT = create_address(7)
PROVER_AT = create_address(8)
HATCH_AT = Address(b"\xec" * 20)
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
        pricer = self._deploy("OptionPricer")
        markets = self._deploy("MarketExecutor")
        accounts = self._deploy("AccountExecutor")
        executor = self._deploy("TransitionExecutor", markets, accounts, pricer)
        transition = self._deploy("TransitionVerifier", executor)
        signature = self._deploy("SignatureVerifier")
        self._call(DEPLOYER, bridge, "MockQueue", "setInbox", "0x" + INBOX_AT.hex())
        for index, chain in queue.items():
            self._call(DEPLOYER, bridge, "MockQueue", "setHash", index, chain)
        parameters = (
            bridge,
            "0x" + PROVER_AT.hex(),
            "0x" + HATCH_AT.hex(),
            SEQUENCER,
            7 * 86_400,
            43_200,
            43_200,
            BOND,
            genesis_root,
        )
        self._inbox = self._deploy("RollupInbox", parameters)
        self._genesis = self._last_header()
        self._prover = self._deploy("FraudProver", self._inbox, transition, signature)
        self._call(SEQUENCER, self._inbox, "RollupInbox", "bond", value=BOND)

    def prove(self, data: bytes, witness: bytes, queue_end: int, queue_hash: bytes) -> Proof:
        """Post a batch of one chunk with a wrong root and remove it."""
        chunk = (data, b"", BAD_ROOT)
        batch = (
            self._genesis,
            queue_end,
            queue_hash,
            (1 << 64) - 1,
            (0, "0x" + "00" * 20, 0, bytes(32)),
            [chunk],
        )
        self._call(SEQUENCER, self._inbox, "RollupInbox", "submitBatch", batch)
        header = self._last_header()
        branch = [bytes(32)] * 8
        proof = (
            header,
            self._genesis,
            0,
            keccak(b""),
            BAD_ROOT,
            branch,
            bytes(32),
            bytes(32),
            bytes(32),
            branch,
        )
        calldata = encode_call("FraudProver", "prove", proof, data, witness)
        self._evm.message_call(CHALLENGER, self._prover, calldata=calldata, gas=GAS)
        result = self._evm.result
        assert result is not None
        fault = Fault(int.from_bytes(self._last_event(PROVEN)[:32], "big"))
        zeros = calldata.count(0)
        floor = 21_000 + FLOOR_TOKEN * (4 * len(calldata) - 3 * zeros)
        return Proof(fault, max(result.gas_used + result.gas_refunded, floor), len(calldata))

    def _last_header(self) -> tuple[Any, ...]:
        (header,) = decode([HEADER_TYPE], self._last_event(SUBMITTED))
        return tuple(header)

    def _last_event(self, topic: bytes) -> bytes:
        result = self._evm.result
        assert result is not None
        # A log's data are its topics and its bytes.
        (data,) = [log.data[1] for log in result.logs if log.data[0][0] == topic]
        return bytes(data)

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
