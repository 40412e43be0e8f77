"""A rollup in process with several honest batches, and ways to call it that no honest user has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from typing import Any

from eth_abi import encode
from eth_utils import function_abi_to_4byte_selector
from pyrevm import AccountInfo, BlockEnv

from deltaroll.protocol.constants import CHUNK_DEPTH
from deltaroll.protocol.hashing import keccak
from deltaroll.protocol.tree import MerkleTree
from tests.adversary.soundness_flow import Batch, Chunk, Story
from tests.protocol.evm import artifacts, type_of
from tests.protocol.proving import (
    BAD_ROOT,
    BOND,
    CHALLENGER,
    DEPLOYER,
    FLOOR_TOKEN,
    HEADER_TYPE,
    INBOX_AT,
    PROVEN,
    PROVER_AT,
    SEQUENCER,
    Rollup,
    abi_of,
    create_address,
)

CAP = 1 << 24
"""Most gas that a transaction may have (EIP-7825)."""
BRIDGE, *MODULES, TRANSITION, SIGNATURE = ("0x" + create_address(n).hex() for n in range(7))
INBOX = "0x" + INBOX_AT.hex()
PROVER = "0x" + PROVER_AT.hex()
RIVAL = "0x" + "dd" * 20
"""Proposes when the sequencer has been silent for long."""
SILENCE = 43_201
WINDOW = 7 * 86_400
HEADER_FIELDS = (
    *("index", "previous", "postRoot", "chunksRoot", "chunkCount", "queueStart", "queueEnd"),
    *("queueHash", "l1Block", "l1Time", "l1BaseFee", "l1BlobFee", "proposer", "dataMode"),
    "parameterHash",
)
HEADER_WORDS = len(HEADER_FIELDS)
FIELDS = (
    *(f"{header}.{name}" for header in ("header", "previous") for name in HEADER_FIELDS),
    *("index", "signatureHash", "postRoot"),
    *(f"branch[{level}]" for level in range(CHUNK_DEPTH)),
    *("priorDataHash", "priorSignatureHash", "priorPostRoot"),
    *(f"priorBranch[{level}]" for level in range(CHUNK_DEPTH)),
)
"""Words of a `ChunkProof`."""
INDEX, SIGNATURE_HASH, POST_ROOT, BRANCH = (30, 31, 32, 33)
JUDGES = (
    *("FraudProver", "RollupInbox", "TransitionVerifier", "SignatureVerifier", "OptionPricer"),
    *("TransitionExecutor", "MarketExecutor", "AccountExecutor"),
)
CHUNK_DOMAIN = keccak(b"deltaroll.chunk.v1")
GAS_USED = re.compile(r"gas_used: (\d+)")
HALT_REASON = re.compile(r"reason: (\w+)")
Words = list[bytes]


@cache
def selector_of(function: str) -> bytes:
    """Selector of a function of the prover."""
    return bytes(function_abi_to_4byte_selector(abi_of("FraudProver", "function", function)))


@cache
def errors_by_selector() -> dict[bytes, str]:
    """Names of refusals."""
    errors = {}
    for contract in JUDGES:
        for entry in artifacts()[contract].abi:
            if entry["type"] == "error":
                signature = f"{entry['name']}({','.join(map(type_of, entry['inputs']))})"
                errors[keccak(signature.encode())[:4]] = str(entry["name"])
    return errors


def word(value: int) -> bytes:
    """Return a number as a word."""
    return value.to_bytes(32, "big")


def encode_bytes(value: bytes) -> bytes:
    """Return a byte string as the ABI lays it out: length, bytes, padding."""
    return word(len(value)) + value + bytes(-len(value) % 32)


def encode_prove(words: Words, data: bytes, witness: bytes) -> bytes:
    """Calldata of `prove`, whatever the words are."""
    head = 32 * (len(words) + 2)
    first = encode_bytes(data)
    offsets = word(head) + word(head + len(first))
    return b"".join((selector_of("prove"), *words, offsets, first, encode_bytes(witness)))


def encode_prove_signature(
    words: Words, data: bytes, signatures: bytes, position: int, witness: bytes
) -> bytes:
    """Calldata of `proveSignature`."""
    head = 32 * (len(words) + 4)
    first, second = encode_bytes(data), encode_bytes(signatures)
    offsets = (
        word(head),
        word(head + len(first)),
        word(position),
        word(head + len(first) + len(second)),
    )
    parts = (selector_of("proveSignature"), *words, *offsets, first, second, encode_bytes(witness))
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a transaction."""

    succeeded: bool
    output: bytes
    refusal: str
    """Name of the error, or why the machine stopped."""
    gas: int
    faults: tuple[int, ...] = ()
    """With which removals were made."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A batch on L1."""

    header: tuple[Any, ...]
    words: Words
    """Of the header."""
    chunks: tuple[Chunk, ...]
    tree: MerkleTree


@dataclass(frozen=True, slots=True)
class Place:
    """A chunk of a story."""

    batch: int
    """From 0; in the inbox the genesis comes first."""
    chunk: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What an attack must not change."""

    batches: int
    sequencer_bond: int


class Chain(Rollup):
    """A rollup on which a story is played."""

    def __init__(self, story: Story, batches: int | None = None) -> None:
        super().__init__(story.genesis_root, story.genesis_time, story.genesis_queue)
        assert (self._inbox.lower(), self._prover.lower()) == (INBOX, PROVER)
        self.story = story
        self.posted = [self._note((), self._genesis)]
        self._scripts = count(1)
        self._block = 1_001
        self._queued = 0
        self.time = story.genesis_time
        for batch in story.batches[:batches]:
            self.post(batch)
        if batches is None:
            self.announce(story.later)
        self.save()

    def post(self, batch: Batch, proposer: str = SEQUENCER, l1_time: int | None = None) -> None:
        """Post a batch, at the time that it was made for if no other is named."""
        self.announce(batch.hashes)
        self.wait_until(batch.l1_time if l1_time is None else l1_time, batch.excess)
        submission = (
            self.head,
            batch.queue_end,
            batch.queue_hash,
            (1 << 64) - 1,
            self._next_message(batch.queue_end),
            [(chunk.data, chunk.signatures, chunk.post_root) for chunk in batch.chunks],
        )
        self._call(proposer, self._inbox, "RollupInbox", "submitBatch", submission)
        self.posted.append(self._note(batch.chunks, self._last_header()))

    def announce(self, hashes: Mapping[int, bytes]) -> None:
        """Let the queue grow."""
        for index, chain in hashes.items():
            self._queued = max(self._queued, index + 1)
            self._call(DEPLOYER, BRIDGE, "MockQueue", "setHash", index, chain)

    def wait_until(self, time: int, excess: int = 0) -> None:
        """Open a block."""
        self._block += 1
        self.time = time
        block = BlockEnv(number=self._block, timestamp=time, excess_blob_gas=excess)
        self._evm.set_block_env(block)

    def bond(self, proposer: str) -> None:
        """Put up somebody's bond."""
        self._evm.set_balance(proposer, 10**24)
        self._call(proposer, self._inbox, "RollupInbox", "bond", value=BOND)

    @property
    def head(self) -> tuple[Any, ...]:
        """Header of the last batch that was posted."""
        return self.posted[-1].header

    def forget(self, batches: int) -> None:
        """Take note of a removal: so many batches are left, the genesis counted."""
        del self.posted[batches:]

    def prove_words(self, place: Place) -> Words:
        """Return the words of a chunk's `ChunkProof`."""
        posted, previous = self.posted[place.batch + 1], self.posted[place.batch]
        chunk = posted.chunks[place.chunk]
        words = [*posted.words, *previous.words, word(place.chunk)]
        words += [keccak(chunk.signatures), chunk.post_root, *posted.tree.get_branch(place.chunk)]
        if place.chunk == 0:
            return [*words, *([bytes(32)] * (3 + CHUNK_DEPTH))]
        prior = posted.chunks[place.chunk - 1]
        words += [keccak(prior.data), keccak(prior.signatures), prior.post_root]
        return [*words, *posted.tree.get_branch(place.chunk - 1)]

    def prove_calldata(self, place: Place) -> bytes:
        """Calldata of an honest call of `prove`."""
        chunk = self.posted[place.batch + 1].chunks[place.chunk]
        return encode_prove(self.prove_words(place), chunk.data, chunk.witness)

    def send(
        self,
        calldata: bytes,
        to: str = PROVER,
        sender: str = CHALLENGER,
        gas: int = CAP,
        value: int = 0,
    ) -> Attempt:
        """Send a transaction; nothing is undone."""
        zeros = calldata.count(0)
        floor = 21_000 + FLOOR_TOKEN * (4 * len(calldata) - 3 * zeros)
        try:
            output = self._evm.message_call(sender, to, calldata=calldata, value=value, gas=gas)
        except RuntimeError as error:
            message = str(error)
            used = GAS_USED.search(message)
            return Attempt(
                False, b"", _name_refusal(message), max(floor, int(used[1])) if used else 0
            )
        result = self._evm.result
        assert result is not None
        faults = [log.data[1][:32] for log in result.logs if log.data[0][0] == PROVEN]
        return Attempt(
            True,
            bytes(output),
            "",
            max(floor, result.gas_used + result.gas_refunded),
            tuple(int.from_bytes(fault, "big") for fault in faults),
        )

    def view(self, function: str, *arguments: Any) -> int:
        """Return the first word that the inbox answers."""
        answer = self._call(CHALLENGER, self._inbox, "RollupInbox", function, *arguments)
        return int.from_bytes(answer[:32], "big")

    def standing(self) -> Standing:
        """What counts now."""
        return Standing(self.view("batchCount"), self.view("bondOf", SEQUENCER))

    def save(self) -> None:
        """Let `restore` come back here."""
        self._checkpoint = self._evm.snapshot()
        self.saved = self.standing()

    def restore(self) -> None:
        """Undo what was sent since `save`; blocks stay open."""
        self._evm.revert(self._checkpoint)
        self._checkpoint = self._evm.snapshot()

    def deploy(self, code: bytes) -> str:
        """Deploy a contract as an attacker; empty when its constructor refuses."""
        try:
            address: str = self._evm.deploy(CHALLENGER, code)
        except RuntimeError:
            return ""
        return address

    def install(self, code: bytes) -> str:
        """Put an attacker's contract somewhere."""
        address = "0x" + keccak(b"script" + word(next(self._scripts)))[12:].hex()
        self._evm.insert_account_info(address, AccountInfo(code=code))
        return address

    def _next_message(self, index: int) -> tuple[int, str, int, bytes]:
        if index >= self._queued:
            return 0, "0x" + "00" * 20, 0, bytes(32)
        message = self.story.messages[index]
        sender = "0x" + message.sender.hex()
        return message.kind, sender, message.time, keccak(message.body)

    def _note(self, chunks: tuple[Chunk, ...], header: tuple[Any, ...]) -> Posted:
        tree = MerkleTree(CHUNK_DEPTH)
        tree.update(
            {
                index: keccak(
                    CHUNK_DOMAIN + keccak(item.data) + keccak(item.signatures) + item.post_root
                )
                for index, item in enumerate(chunks)
            }
        )
        encoding = encode([HEADER_TYPE], [header])
        words = [encoding[at : at + 32] for at in range(0, len(encoding), 32)]
        assert len(words) == HEADER_WORDS
        if chunks:
            assert words[3] == tree.root
        return Posted(header, words, chunks, tree)


class BridgedChain(Chain):
    """A rollup whose bridge makes any call that it is asked to."""

    def _deploy(self, contract: str, *arguments: Any) -> str:
        if contract != "MockQueue":
            return super()._deploy(contract, *arguments)
        queue = self.deploy(artifacts()["MockQueue"].bytecode)
        # delegatecall(queue), unless the selector is FORWARD: then call(word(4) >> 96).
        head = b"\x5f\x35\x60\xe0\x1c\x63" + FORWARD + b"\x14\x60\x3b\x57"
        delegate = bytes.fromhex(f"365f5f375f5f365f73{queue[2:]}5af43d5f5f3e6037573d5ffd5b3d5ff3")
        forward = bytes.fromhex("5b601836038060185f375f5f825f5f60043560601c5af15f5260205ff3")
        code = head + delegate + forward
        address: str = self._evm.deploy(DEPLOYER, wrap_code(code))
        return address

    @staticmethod
    def encode_forward(to: str, payload: bytes) -> bytes:
        """Calldata that makes the bridge call."""
        return FORWARD + bytes.fromhex(to[2:]) + payload


def wrap_code(code: bytes) -> bytes:
    """Return code that deploys `code`."""
    return _push(2, len(code)) + bytes.fromhex("80600a5f395ff3") + code


def _name_refusal(message: str) -> str:
    _, found, output = message.partition("output: 0x")
    if not found:
        reason = HALT_REASON.search(message)
        return reason[1] if reason else message[:60]
    selector = bytes.fromhex(output[:8]) if len(output) > 8 else b""
    return errors_by_selector().get(selector, selector.hex() or "nothing")


def spoil(story: Story, place: Place, lie: Callable[[Chunk], Chunk]) -> Batch:
    """Return the batch of a place with a lie in one chunk."""
    batch = story.batches[place.batch]
    chunks = list(batch.chunks)
    chunks[place.chunk] = lie(chunks[place.chunk])
    return replace(batch, chunks=tuple(chunks))


def lie_about_root(chunk: Chunk) -> Chunk:
    """A root that does not follow."""
    return replace(chunk, post_root=BAD_ROOT)


# Contracts of the attacker

FORWARD = b"\xf0\x0d\xf0\x0d"

CALL, CALLCODE, DELEGATECALL, STATICCALL = 0xF1, 0xF2, 0xF4, 0xFA


@dataclass(frozen=True, slots=True)
class Step:
    """One call that a script makes."""

    payload: bytes
    to: str = PROVER
    gas: int | None = None
    """None: all that there is but for a 64th."""
    kind: int = CALL


def assemble(steps: Sequence[Step]) -> bytes:
    """Return code that makes calls one after the other, and returns a word of success for each.

    A call that fails does not stop the others.
    """
    pieces = [_assemble_call(step, 0) for step in steps]
    tail = b"".join(_push(4, 32 * place) + b"\x52" for place in range(len(steps) - 1, -1, -1)) + (
        _push(4, 32 * len(steps)) + b"\x5f\xf3"
    )
    start = sum(map(len, pieces)) + len(tail)
    body = b""
    offset = start
    for step in steps:
        body += _assemble_call(step, offset)
        offset += len(step.payload)
    return body + tail + b"".join(step.payload for step in steps)


def assemble_dive(target: str) -> bytes:
    """Return code that calls itself as often as its first word says, then what `target` does."""
    self_call = b"\x5f\x5f\x60\x20\x5f\x5f\x30\x5a\xf1"
    # n := calldata[0]; if n == 0 jump; mstore(0, n - 1); call self; return its success.
    finish = b"\x5f\x52\x60\x20\x5f\xf3"
    dive = b"\x60\x01\x90\x03\x5f\x52" + self_call + finish
    head = b"\x5f\x35\x80\x15\x60"
    at = len(head) + 2 + len(dive)
    last = b"\x5f\x5f\x5f\x5f\x5f" + b"\x73" + bytes.fromhex(target[2:]) + b"\x5a\xf1"
    return head + bytes((at, 0x57)) + dive + b"\x5b" + last + finish


def _assemble_call(step: Step, offset: int) -> bytes:
    size = _push(4, len(step.payload))
    parts = [size, _push(4, offset), b"\x5f\x39", b"\x5f\x5f", size, b"\x5f"]
    if step.kind in (CALL, CALLCODE):
        parts.append(b"\x5f")
    parts.append(b"\x73" + bytes.fromhex(step.to[2:]))
    parts.append(b"\x5a" if step.gas is None else _push(8, step.gas))
    parts.append(bytes((step.kind,)))
    return b"".join(parts)


def _push(width: int, value: int) -> bytes:
    return bytes((0x5F + width,)) + value.to_bytes(width, "big")
