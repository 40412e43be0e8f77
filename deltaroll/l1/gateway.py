"""Reads of L1: blocks, events in order, calldata of batches, what the contracts hold at a block.

A block number or hash is passed in, never "latest" twice: two answers may come from two heads, or
from two nodes behind one address. What was read of one block is then held against what the
contracts say at that block's hash (`get_tally`), which only one answer fits.

Needed of a node: eth_getBlockByNumber, eth_getLogs,
eth_getTransactionByHash, eth_call at the hash of a recent block, eth_syncing. No archive.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ape.api import ProviderAPI
from ape.contracts import ContractInstance
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.conversions import to_bytes

from deltaroll.l1.calldata import decode_chunks
from deltaroll.l1.commitments import (
    BATCH_SUBMITTED_TOPIC,
    HEADER_ABI,
    compute_chunk_tree,
    to_header,
)
from deltaroll.l1.nodes import L1Error, Node, NodePool, request
from deltaroll.l1.types import (
    AccountEscaped,
    BatchRemoved,
    BatchSubmitted,
    BlockRef,
    DepositRefunded,
    EscapeOpened,
    EscapePaid,
    InboxFrozen,
    L1Event,
    MessageQueued,
    PostedChunk,
    Tally,
)
from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.types import AccountId, Address, Message, Timestamp

BATCH_INPUT_ABI = (
    f"({HEADER_ABI},uint64,bytes32,uint64,(uint8,address,uint64,bytes32),(bytes,bytes,bytes32)[])"
)
SUBMIT_BATCH_SELECTOR = keccak(f"submitBatch({BATCH_INPUT_ABI})".encode())[:4]
MESSAGE_QUEUED_TOPIC = keccak(b"MessageQueued(uint64,uint8,address,uint64,bytes,bytes32)")
BATCH_REMOVED_TOPIC = keccak(b"BatchRemoved(uint64,bytes32,uint8,address)")
INBOX_FROZEN_TOPIC = keccak(b"InboxFrozen()")
ESCAPE_OPENED_TOPIC = keccak(b"Opened(bytes32,uint64,uint128,uint256)")
ESCAPED_TOPIC = keccak(b"Escaped(uint32,address,uint96)")
ESCAPE_PAID_TOPIC = keccak(b"EscapePaid(uint32,address,uint256)")
DEPOSIT_REFUNDED_TOPIC = keccak(b"DepositRefunded(uint64,address,uint128)")
LOG_RANGE = 5_000
"""Blocks asked for at once: many providers refuse more."""


TAGS = ("safe", "finalized")
NO_SUCH_BLOCK = ("not found", "unknown block", "not available", "not supported")
"""What nodes say that know no block by a tag."""
SELECTOR = re.compile("0x([0-9a-f]{8})")
HEAD_HASH_CALL = keccak(b"headHeaderHash()")[:4]
QUEUE_COUNT_CALL = keccak(b"queueCount()")[:4]
IS_FROZEN_CALL = keccak(b"isFrozen()")[:4]
QUEUE_HASH_CALL = keccak(b"queueHash(uint64)")[:4]

__all__ = ["Contracts", "ContradictionError", "Gateway", "L1Error", "MissingBlockError"]


class MissingBlockError(L1Error):
    """L1 has no such block: not yet, or not any more."""


class ContradictionError(L1Error):
    """L1's answers contradict each other: they have to be asked for again."""


@dataclass(frozen=True, slots=True)
class Contracts:
    """A deployment's contracts, ready to call."""

    vault: ContractInstance
    bridge: ContractInstance
    inbox: ContractInstance
    prover: ContractInstance
    escape_hatch: ContractInstance
    token: ContractInstance


class Gateway:
    """One rollup's contracts on one chain."""

    def __init__(
        self,
        provider: ProviderAPI,
        contracts: Contracts,
        first_block: int,
        nodes: Sequence[Node] = (),
    ) -> None:
        """`nodes` are read from; without any it is the provider."""
        self.provider = provider
        self.nodes = NodePool(nodes or (provider,))
        self.contracts = contracts
        self.first_block = first_block
        self.domain = compute_domain_separator(
            provider.chain_id, Address(to_bytes(hexstr=contracts.inbox.address))
        )
        self._inbox = contracts.inbox.address.lower()
        self._bridge = contracts.bridge.address.lower()
        self._escape_hatch = contracts.escape_hatch.address.lower()

    @cached_property
    def challenge_window(self) -> int:
        """Seconds from a batch to its settlement."""
        return int(self.contracts.inbox.challengeWindow())

    @cached_property
    def proposer_delay(self) -> int:
        """Seconds without a batch after which anyone with a bond may propose."""
        return int(self.contracts.inbox.proposerDelay())

    @cached_property
    def freeze_delay(self) -> int:
        """Seconds without a batch, with a message waiting, after which anyone may freeze."""
        return int(self.contracts.escape_hatch.freezeDelay())

    @cached_property
    def oracle_delay(self) -> int:
        """Seconds without a price after which anyone may freeze."""
        return int(self.contracts.escape_hatch.oracleDelay())

    def get_block(self, block: int | str) -> BlockRef:
        """Return a block by number or tag.

        Raises
        ------
        MissingBlockError
            When the node does not have it.
        L1Error
            When it does not answer. So do the others.
        """
        argument = hex(block) if isinstance(block, int) else block
        try:
            answer = self._request("eth_getBlockByNumber", [argument, False])
        except L1Error as problem:
            if block in TAGS and any(text in str(problem).lower() for text in NO_SUCH_BLOCK):
                raise MissingBlockError(f"L1: no {block} block") from problem
            raise
        if answer is None:
            raise MissingBlockError(f"L1: no block {block}")
        with _reading("eth_getBlockByNumber"):
            return BlockRef(
                _to_int(answer["number"]), _to_bytes(answer["hash"]), _to_int(answer["timestamp"])
            )

    def get_head(self) -> BlockRef:
        """Return the newest block."""
        return self.get_block("latest")

    def is_syncing(self) -> bool:
        """Return whether the node says of itself that it is behind; one that does not know the
        question is not."""
        with suppress(L1Error):
            return bool(self._request("eth_syncing", []))
        return False

    def call_at(self, block: BlockRef, target: str, data: bytes) -> bytes:
        """Return the answer of a contract in the state after one block, known by its hash.

        Raises
        ------
        L1Error
            When no node has that block, or it is not on its chain.
        """
        where = {"blockHash": "0x" + block.hash.hex(), "requireCanonical": True}
        call = {"to": target, "data": "0x" + data.hex()}
        answer = self._request("eth_call", [call, where])
        with _reading("eth_call"):
            return _to_bytes(answer)

    def get_tally(self, block: BlockRef) -> Tally:
        """Return what the contracts hold after a block: what its events must add up to."""
        count = int.from_bytes(self.call_at(block, self._bridge, QUEUE_COUNT_CALL), "big")
        last = QUEUE_HASH_CALL + (count - 1).to_bytes(32, "big") if count else b""
        return Tally(
            self.call_at(block, self._inbox, HEAD_HASH_CALL),
            count,
            self.call_at(block, self._bridge, last) if count else ZERO_HASH,
            any(self.call_at(block, self._inbox, IS_FROZEN_CALL)),
        )

    def explain(self, text: str) -> str:
        """Return the name of the contracts' error whose selector stands in what a node says, or
        what it says.
        """
        found = (self._errors.get(selector) for selector in SELECTOR.findall(text))
        return next((name for name in found if name is not None), text)

    @cached_property
    def _errors(self) -> dict[str, str]:
        """Names of custom errors by selector."""
        contracts = self.contracts
        return {
            keccak(error.selector.encode())[:4].hex(): error.name
            for contract in (contracts.bridge, contracts.inbox, contracts.prover)
            for error in contract.contract_type.errors
        }

    def count_witnesses(self, block: BlockRef) -> int:
        """Return how many nodes have a block on their chain, by number and hash."""
        answers = self.nodes.request_each("eth_getBlockByNumber", [hex(block.number), False])
        return sum(
            isinstance(answer, dict) and _to_bytes(answer.get("hash", "0x")) == block.hash
            for answer in answers
        )

    def get_base_fee(self) -> int:
        """Return the base fee of the newest block, wei per gas."""
        answer = self._request("eth_getBlockByNumber", ["latest", False])
        with _reading("eth_getBlockByNumber"):
            return _to_int(answer["baseFeePerGas"])

    def get_events(self, first: int, last: int) -> list[L1Event]:
        """Return the rollup's events in blocks first..last, in the order in which they happened."""
        return get_events(self.nodes, self._inbox, self._bridge, self._escape_hatch, first, last)

    def get_chunks(self, submitted: BatchSubmitted) -> tuple[PostedChunk, ...]:
        """Return a batch's chunks from the calldata of the transaction that posted it; a node that
        has pruned it is passed over.

        Raises
        ------
        ContradictionError
            When no node has the transaction, or its calldata is not what the header commits to.
        """
        problem = ContradictionError(f"L1: no transaction {submitted.transaction}")
        for _ in self.nodes.nodes:
            try:
                return self._read_chunks(submitted)
            except ContradictionError as refusal:
                problem = refusal
                self.nodes.turn()
        raise problem

    def _read_chunks(self, submitted: BatchSubmitted) -> tuple[PostedChunk, ...]:
        answer = self._request("eth_getTransactionByHash", [submitted.transaction])
        if answer is None:
            raise ContradictionError(f"L1: no transaction {submitted.transaction}")
        calldata = _to_bytes(answer["input"])
        if calldata[:4] != SUBMIT_BATCH_SELECTOR:
            raise ContradictionError(f"L1: transaction {submitted.transaction} posts no batch")
        chunks = decode_chunks(calldata, submitted.header.chunk_count)
        if compute_chunk_tree(chunks).root != submitted.header.chunks_root:
            raise ContradictionError(
                f"L1: calldata of batch {submitted.header.index} does not match its header"
            )
        return chunks

    def _request(self, method: str, parameters: list[Any]) -> Any:
        return self.nodes.request(method, parameters)


@contextmanager
def _reading(method: str) -> Iterator[None]:
    """Turn an answer that does not have the form of one into an L1Error."""
    try:
        yield
    except (AttributeError, DecodingError, IndexError, KeyError, TypeError, ValueError) as problem:
        raise L1Error(f"L1: {method}: an answer of another form: {problem!r}") from problem


def get_logs(
    node: Node, addresses: Sequence[str], first: int, last: int
) -> Iterator[dict[str, Any]]:
    """Yield the raw logs of some contracts in blocks first..last, in order.

    Raises
    ------
    L1Error
        When the node does not answer.
    """
    for start in range(first, last + 1, LOG_RANGE):
        stop = min(start + LOG_RANGE - 1, last)
        bounds = {"fromBlock": hex(start), "toBlock": hex(stop)}
        yield from request(node, "eth_getLogs", [{"address": list(addresses), **bounds}])


def get_events(
    node: Node, inbox: str, bridge: str, escape_hatch: str, first: int, last: int
) -> list[L1Event]:
    """Return a rollup's events in blocks first..last, in the order in which they happened; raises
    like `get_logs`.
    """
    with _reading("eth_getLogs"):
        logs = get_logs(node, (inbox, bridge, escape_hatch), first, last)
        events = (_decode_log(log, bridge.lower(), escape_hatch.lower()) for log in logs)
        return [event for event in events if event is not None]


def _to_int(value: Any) -> int:
    return value if isinstance(value, int) else int(value, 16)


def _to_bytes(value: Any) -> bytes:
    return to_bytes(hexstr=value) if isinstance(value, str) else bytes(value)


def _decode_log(log: Any, bridge: str, escape_hatch: str) -> L1Event | None:
    block = _to_int(log["blockNumber"])
    topics = [_to_bytes(topic) for topic in log["topics"]]
    data = _to_bytes(log["data"])
    source = str(log["address"]).lower()
    if source == bridge:
        return _decode_bridge_log(block, topics, data)
    if source == escape_hatch:
        return _decode_escape_log(block, topics, data)
    transaction = "0x" + _to_bytes(log["transactionHash"]).hex()
    return _decode_inbox_log(block, topics, data, transaction)


def _decode_bridge_log(block: int, topics: Sequence[bytes], data: bytes) -> L1Event | None:
    if topics[0] != MESSAGE_QUEUED_TOPIC:
        return None
    time, body, queue_hash = decode(["uint64", "bytes", "bytes32"], data)
    message = Message(_from_topic(topics[2]), Address(topics[3][12:]), Timestamp(time), body)
    return MessageQueued(block, _from_topic(topics[1]), message, queue_hash)


def _decode_inbox_log(
    block: int, topics: Sequence[bytes], data: bytes, transaction: str
) -> L1Event | None:
    if topics[0] == BATCH_SUBMITTED_TOPIC:
        (fields,) = decode([HEADER_ABI], data)
        return BatchSubmitted(block, transaction, topics[2], to_header(fields))
    if topics[0] == BATCH_REMOVED_TOPIC:
        (fault,) = decode(["uint8"], data)
        challenger = Address(topics[3][12:])
        return BatchRemoved(block, _from_topic(topics[1]), topics[2], fault, challenger)
    return InboxFrozen(block) if topics[0] == INBOX_FROZEN_TOPIC else None


def _decode_escape_log(block: int, topics: Sequence[bytes], data: bytes) -> L1Event | None:
    if topics[0] == ESCAPE_OPENED_TOPIC:
        batch, available, closes_at = decode(["uint64", "uint128", "uint256"], data)
        return EscapeOpened(block, topics[1], batch, available, closes_at)
    if topics[0] not in (ESCAPED_TOPIC, ESCAPE_PAID_TOPIC, DEPOSIT_REFUNDED_TOPIC):
        return None
    (amount,) = decode(["uint256"], data)
    subject, whom = _from_topic(topics[1]), Address(topics[2][12:])
    if topics[0] == ESCAPED_TOPIC:
        return AccountEscaped(block, AccountId(subject), whom, amount)
    if topics[0] == ESCAPE_PAID_TOPIC:
        return EscapePaid(block, AccountId(subject), whom, amount)
    return DepositRefunded(block, subject, whom, amount)


def _from_topic(topic: bytes) -> int:
    return int.from_bytes(topic, "big")
