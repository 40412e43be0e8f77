"""The real vault, bridge and inbox in process, for what the node reads of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import rlp
from eth_abi import encode
from pyrevm import EVM

from deltaroll.l1.gateway import _decode_log
from deltaroll.l1.types import BatchSubmitted, L1Event
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.leaf import hash_globals
from deltaroll.protocol.state import EMPTY_GLOBALS
from tests.protocol.evm import artifacts

DEPLOYER = "0x" + "11" * 20
BOND = 10**18
HOUR = 3_600
GAS = 100_000_000
TRANSACTION = b"\x77" * 32


class RevertedError(Exception):
    """The contract did not take it."""


class Inbox:
    """A rollup on L1 with its genesis; the deployer is token holder, governor and sequencer."""

    def __init__(self) -> None:
        self.evm = EVM(gas_limit=GAS)
        self.evm.set_balance(DEPLOYER, 100 * BOND)
        self.token, self.vault, self.bridge, self.inbox = (self._predict(n) for n in range(4))
        self.events: list[L1Event] = []
        self._deploy("MockUSDC", self.token)
        self._deploy(
            "MarginVault",
            self.vault,
            ("address", self.token),
            ("address", self.bridge),
            ("address", DEPLOYER),
            ("(uint32,uint64,uint64)", (1_000_000, 24 * HOUR, 24 * HOUR)),
        )
        self._deploy(
            "Bridge",
            self.bridge,
            ("address", self.vault),
            ("address", self.inbox),
            ("address", DEPLOYER),
            ("(uint128,uint128,uint64,uint64)", (0, 0, 0, 0)),
        )
        self._deploy(
            "RollupInbox",
            self.inbox,
            (
                "(address,address,address,address,uint64,uint64,uint64,uint128,bytes32)",
                (
                    self.bridge,
                    DEPLOYER,
                    DEPLOYER,
                    DEPLOYER,
                    7 * 24 * HOUR,
                    12 * HOUR,
                    12 * HOUR,
                    BOND,
                    hash_globals(EMPTY_GLOBALS),
                ),
            ),
        )
        (genesis,) = self.events
        assert isinstance(genesis, BatchSubmitted)
        self.genesis = genesis
        self.send(self.inbox, "bond()", value=BOND)
        for target, amount in ((DEPLOYER, 10**12), (self.bridge, 10**12)):
            method = "mint(address,uint256)" if target == DEPLOYER else "approve(address,uint256)"
            self.send(self.token, method, ("address", target), ("uint256", amount))

    def send(
        self, target: str, signature: str, *arguments: tuple[str, object], value: int = 0
    ) -> list[L1Event]:
        """Call a function by its signature; return the rollup's events."""
        types, values = [kind for kind, _ in arguments], [one for _, one in arguments]
        calldata = keccak(signature.encode())[:4] + encode(types, values)
        return self.transact(target, calldata, value)

    def transact(self, target: str, calldata: bytes, value: int = 0) -> list[L1Event]:
        """Send calldata as it is.

        Raises
        ------
        RevertedError
            When the contract reverts.
        """
        try:
            self.evm.message_call(DEPLOYER, target, calldata=calldata, value=value, gas=GAS)
        except RuntimeError as problem:
            raise RevertedError(str(problem)) from None
        return self._read_events()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo what is done inside."""
        checkpoint = self.evm.snapshot()
        try:
            yield
        finally:
            self.evm.revert(checkpoint)

    def _predict(self, offset: int) -> str:
        nonce = self.evm.basic(DEPLOYER).nonce + offset
        return "0x" + keccak(rlp.encode([bytes.fromhex(DEPLOYER[2:]), nonce]))[12:].hex()

    def _deploy(self, name: str, expected: str, *arguments: tuple[str, object]) -> None:
        types, values = [kind for kind, _ in arguments], [one for _, one in arguments]
        code = artifacts()[name].bytecode + encode(types, values)
        assert self.evm.deploy(DEPLOYER, code, gas=GAS) == expected
        self.events += self._read_events()

    def _read_events(self) -> list[L1Event]:
        """The last transaction's logs as the gateway understands them."""
        result = self.evm.result
        assert result is not None
        found = []
        for log in result.logs:
            topics, data = log.data
            answer = {
                "address": log.address,
                "topics": ["0x" + topic.hex() for topic in topics],
                "data": "0x" + bytes(data).hex(),
                "blockNumber": "0x5",
                "transactionHash": "0x" + TRANSACTION.hex(),
            }
            event = _decode_log(answer, self.bridge, DEPLOYER)
            if event is not None:
                found.append(event)
        return found
