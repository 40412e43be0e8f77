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
from deltaroll.l1.commitments import HEADER_ABI, compute_chunk_tree
from deltaroll.l1.nodes import L1Error, Node, NodePool
from deltaroll.l1.types import (
    BatchRemoved,
    BatchSubmitted,
    BlockRef,
    Header,
    L1Event,
    MessageQueued,
    PostedChunk,
    Tally,
)
from deltaroll.protocol.eip712 import compute_domain_separator
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.types import Address, Message, Timestamp

BATCH_INPUT_ABI = (
    f"({HEADER_ABI},uint64,bytes32,uint64,(uint8,address,uint64,bytes32),(bytes,bytes,bytes32)[])"
)
SUBMIT_BATCH_SELECTOR = keccak(f"submitBatch({BATCH_INPUT_ABI})".encode())[:4]
MESSAGE_QUEUED_TOPIC = keccak(b"MessageQueued(uint64,uint8,address,uint64,bytes,bytes32)")
BATCH_SUBMITTED_TOPIC = keccak(f"BatchSubmitted(uint64,bytes32,{HEADER_ABI})".encode())
BATCH_REMOVED_TOPIC = keccak(b"BatchRemoved(uint64,bytes32,uint8,address)")
PROPOSER_FIELD = 12
LOG_RANGE = 5_000
"""Blocks asked for at once: many providers refuse more."""


TAGS = ("safe", "finalized")
NO_SUCH_BLOCK = ("not found", "unknown block", "not available", "not supported")
"""What nodes say that know no block by a tag."""
SELECTOR = re.compile("0x([0-9a-f]{8})")
HEAD_HASH_CALL = keccak(b"headHeaderHash()")[:4]
QUEUE_COUNT_CALL = keccak(b"queueCount()")[:4]
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

    @cached_property
    def challenge_window(self) -> int:
        """Seconds from a batch to its settlement."""
        return int(self.contracts.inbox.challengeWindow())

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

    def get_events(self, first: int, last: int) -> list[L1Event]:
        """Return the rollup's events in blocks first..last, in the order in which they happened."""
        events: list[L1Event] = []
        for start in range(first, last + 1, LOG_RANGE):
            stop = min(start + LOG_RANGE - 1, last)
            logs = self._request(
                "eth_getLogs",
                [
                    {
                        "address": [self._inbox, self._bridge],
                        "fromBlock": hex(start),
                        "toBlock": hex(stop),
                    }
                ],
            )
            with _reading("eth_getLogs"):
                events.extend(
                    event for log in logs if (event := _decode_log(log, self._bridge)) is not None
                )
        return events

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


def _to_int(value: Any) -> int:
    return value if isinstance(value, int) else int(value, 16)


def _to_bytes(value: Any) -> bytes:
    return to_bytes(hexstr=value) if isinstance(value, str) else bytes(value)


def _to_header(fields: Sequence[Any]) -> Header:
    values = list(fields)
    values[PROPOSER_FIELD] = Address(to_bytes(hexstr=values[PROPOSER_FIELD]))
    return Header(*values)


def _decode_log(log: Any, bridge: str) -> L1Event | None:
    topics = [_to_bytes(topic) for topic in log["topics"]]
    data = _to_bytes(log["data"])
    block = _to_int(log["blockNumber"])
    is_bridge = str(log["address"]).lower() == bridge
    if is_bridge and topics[0] == MESSAGE_QUEUED_TOPIC:
        time, body, queue_hash = decode(["uint64", "bytes", "bytes32"], data)
        message = Message(
            int.from_bytes(topics[2], "big"), Address(topics[3][12:]), Timestamp(time), body
        )
        return MessageQueued(block, int.from_bytes(topics[1], "big"), message, queue_hash)
    if not is_bridge and topics[0] == BATCH_SUBMITTED_TOPIC:
        (fields,) = decode([HEADER_ABI], data)
        transaction = "0x" + _to_bytes(log["transactionHash"]).hex()
        return BatchSubmitted(block, transaction, topics[2], _to_header(fields))
    if not is_bridge and topics[0] == BATCH_REMOVED_TOPIC:
        (fault,) = decode(["uint8"], data)
        challenger = Address(topics[3][12:])
        return BatchRemoved(block, int.from_bytes(topics[1], "big"), topics[2], fault, challenger)
    return None
