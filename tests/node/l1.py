"""An L1 in memory: blocks that can be replaced, and a gateway that reads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from deltaroll.l1.commitments import (
    compute_chunk_tree,
    compute_header_hash,
    compute_message_hash,
    compute_queue_hash,
    to_header_tuple,
)
from deltaroll.l1.gateway import ContradictionError, L1Error, MissingBlockError
from deltaroll.l1.sending import Fees
from deltaroll.l1.types import (
    BatchRemoved,
    BatchSubmitted,
    BlockRef,
    Header,
    InboxFrozen,
    L1Event,
    MessageQueued,
    PostedChunk,
    Tally,
)
from deltaroll.node.alarms import Alarms
from deltaroll.node.follower import Follower, compute_chain, compute_context
from deltaroll.node.journal import Attempt, Call, Intent
from deltaroll.node.sender import Mined, RefusedError
from deltaroll.protocol.codec import encode_chunk
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.leaf import hash_globals
from deltaroll.protocol.state import EMPTY_GLOBALS, compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import Address, Message, Timestamp, Transaction
from tests.node.support import DOMAIN, GENESIS

SLOT = 12
WINDOW = 3_600
PROPOSER_DELAY, FREEZE_DELAY, ORACLE_DELAY = 1_800, 7_200, 20_000
PROPOSER = Address(b"\x99" * 20)


@dataclass
class Block:
    ref: BlockRef
    events: list[L1Event] = field(default_factory=list)
    calldata: dict[str, tuple[PostedChunk, ...]] = field(default_factory=dict)


class FakeL1:
    """Blocks with the rollup's events; the inbox's rules where a node depends on them."""

    def __init__(self) -> None:
        self.base_fee = 10**9
        self.blocks: list[Block] = []
        self.forks = 0
        self.transactions = 0
        self.claimed: set[int] = set()
        self.vault = 0
        self.calls: list[Any] = []
        self.mine()
        genesis = self._make_header(hash_globals(EMPTY_GLOBALS), (), 0, self.blocks[-1].ref)
        self.blocks[-1].events.append(
            BatchSubmitted(0, "0xgenesis", compute_header_hash(genesis), genesis)
        )

    @property
    def head(self) -> BlockRef:
        return self.blocks[-1].ref

    @property
    def events(self) -> list[L1Event]:
        return [event for block in self.blocks for event in block.events]

    @property
    def batches(self) -> list[BatchSubmitted]:
        return compute_chain(self.events)

    @property
    def queue(self) -> list[MessageQueued]:
        return [event for event in self.events if isinstance(event, MessageQueued)]

    def mine(self, seconds: int = SLOT) -> Block:
        number = len(self.blocks)
        time = self.head.time + seconds if self.blocks else GENESIS
        parent = self.head.hash if self.blocks else b""
        identity = keccak(b"%d %d %d" % (number, time, self.forks) + parent)
        self.blocks.append(Block(BlockRef(number, identity, time)))
        return self.blocks[-1]

    def reorganise(self, depth: int, keeps_queue: bool = False) -> None:
        """Replace the last blocks, never the genesis, by as many empty ones.

        `keeps_queue`: the messages are mined again, in blocks of the same number and time.
        """
        depth = min(depth, len(self.blocks) - 1)
        lost = self.blocks[len(self.blocks) - depth :]
        self.forget(depth)
        for old in lost:
            block = self.mine(old.ref.time - self.head.time)
            if keeps_queue:
                block.events += [one for one in old.events if isinstance(one, MessageQueued)]

    def forget(self, depth: int) -> None:
        """Lose the last blocks: the other branch is shorter so far."""
        self.forks += 1
        del self.blocks[max(1, len(self.blocks) - depth) :]

    def enqueue(self, kind: int, sender: Address, body: bytes) -> None:
        queue = self.queue
        block = self.mine()
        message = Message(kind, sender, Timestamp(block.ref.time), body)
        previous = queue[-1].queue_hash if queue else ZERO_HASH
        accumulator = compute_queue_hash(previous, message)
        block.events.append(MessageQueued(block.ref.number, len(queue), message, accumulator))

    def submit(self, chunks: Sequence[PostedChunk], queue_end: int) -> BatchSubmitted:
        """What the inbox does with a batch that it takes."""
        header = self._make_header(chunks[-1].post_root, chunks, queue_end, None)
        block = self.mine()
        header = self._make_header(chunks[-1].post_root, chunks, queue_end, block.ref)
        self.transactions += 1
        transaction = f"0x{self.transactions}"
        submitted = BatchSubmitted(
            block.ref.number, transaction, compute_header_hash(header), header
        )
        block.events.append(submitted)
        block.calldata[transaction] = tuple(chunks)
        return submitted

    def remove(self, index: int) -> None:
        removed = self.batches[index]
        block = self.mine()
        block.events.append(BatchRemoved(block.ref.number, index, removed.header_hash, 6, PROPOSER))

    def close(self, *events: Callable[[int], L1Event]) -> None:
        """Let the escape hatch and the inbox say something of the closing, in one block."""
        block = self.mine()
        block.events += [event(block.ref.number) for event in events]

    def _make_header(
        self,
        post_root: bytes,
        chunks: Sequence[PostedChunk],
        queue_end: int,
        block: BlockRef | None,
    ) -> Header:
        batches = self.batches
        return Header(
            index=len(batches),
            previous=batches[-1].header_hash if batches else ZERO_HASH,
            post_root=post_root,
            chunks_root=compute_chunk_tree(chunks).root if chunks else ZERO_HASH,
            chunk_count=len(chunks),
            queue_start=batches[-1].header.queue_end if batches else 0,
            queue_end=queue_end,
            queue_hash=self.queue[queue_end - 1].queue_hash if queue_end else ZERO_HASH,
            l1_block=0 if block is None else block.number,
            l1_time=0 if block is None else block.time,
            l1_base_fee=0 if block is None else self.base_fee + block.number,
            l1_blob_fee=1,
            proposer=PROPOSER,
            data_mode=0,
            parameter_hash=keccak(b"parameters"),
        )


class FakeMethod:
    """A method whose calls are known by made-up calldata."""

    def __init__(self, l1: "FakeL1") -> None:
        self.l1 = l1

    def encode_input(self, arguments: Any) -> bytes:
        self.l1.calls.append(arguments)
        return len(self.l1.calls).to_bytes(4, "big")


class FakeInbox:
    """What a batcher needs of the inbox."""

    address = "inbox"

    def __init__(self, l1: FakeL1) -> None:
        self.submitBatch = FakeMethod(l1)

    def challengeWindow(self) -> int:  # noqa: N802 (the contract's name)
        return WINDOW


class FakeSender:
    """`submitBatch` with the checks that a batcher lives by; what is sent is mined at once."""

    def __init__(self, l1: FakeL1) -> None:
        self.l1 = l1
        self.alarms = Alarms()
        self.open: list[Intent] = []
        self.balance, self.cost, self.bumps = 10**18, 10**15, 0
        self.before_return: Callable[[], None] = lambda: None

    def tick(self, head: BlockRef) -> None:
        pass

    def close(self) -> None:
        pass

    def estimate(self, target: str, data: bytes) -> int:
        previous, queue_end, queue_hash, deadline, following, _ = self._get_arguments(data)
        head = self.l1.batches[-1].header
        queue = self.l1.queue
        if previous != to_header_tuple(head):
            raise refuse("StaleHead")
        if self.l1.head.time + SLOT > deadline:
            raise refuse("DeadlinePassed")
        if queue_end < head.queue_end or queue_end > len(queue):
            raise refuse("QueueRange")
        if queue_hash != (queue[queue_end - 1].queue_hash if queue_end else ZERO_HASH):
            raise refuse("QueueMismatch")
        if queue_end < len(queue):
            kind, address, time, body_hash = following
            message = queue[queue_end].message
            shown = (kind, bytes.fromhex(address[2:]), time, body_hash)
            if shown != (message.kind, message.sender, message.time, keccak(message.body)):
                raise refuse("WrongMessage")
            assert len(compute_message_hash(message)) == 32
        return 1

    def submit(self, kind: str, key: bytes, call: Call) -> Intent:
        _, queue_end, _, _, _, chunks = self._get_arguments(call.data)
        submitted = self.l1.submit([PostedChunk(*chunk) for chunk in chunks], queue_end)
        self.before_return()
        attempt = Attempt(submitted.transaction, b"", call.content, Fees(1, 1))
        return Intent(0, 0, kind, key, call, [attempt], submitted.block)

    def find_mined(self, intent: Intent) -> Mined:
        assert intent.mined_in is not None
        return Mined(intent.attempts[0].hash, intent.mined_in, 1, True, intent.call.content)

    def _get_arguments(self, data: bytes) -> Any:
        return self.l1.calls[int.from_bytes(data, "big") - 1]


def refuse(reason: str) -> RefusedError:
    return RefusedError(f"L1 would refuse it: {reason}", reason)


class FakeGateway:
    """Reads a FakeL1 as `Gateway` reads a node; `interfere` runs before each answer."""

    def __init__(self, l1: FakeL1) -> None:
        self.l1 = l1
        self.domain = DOMAIN
        self.first_block = 0
        self.challenge_window = WINDOW
        self.proposer_delay = PROPOSER_DELAY
        self.freeze_delay = FREEZE_DELAY
        self.oracle_delay = ORACLE_DELAY
        self.interfere: Callable[[str], None] = lambda _: None
        self.nodes = SimpleNamespace(turn=lambda: None)
        self.contracts = SimpleNamespace(
            inbox=FakeInbox(l1),
            bridge=SimpleNamespace(isClaimed=lambda index: index in l1.claimed),
            token=SimpleNamespace(balanceOf=lambda _: l1.vault),
            vault="vault",
        )

    def get_head(self) -> BlockRef:
        self.interfere("head")
        return self.l1.head

    def get_block(self, block: int | str) -> BlockRef:
        self.interfere("block")
        lags = {"latest": 0, "safe": 4, "finalized": 8}
        number = len(self.l1.blocks) - 1 - lags[block] if isinstance(block, str) else block
        if not 0 <= number < len(self.l1.blocks):
            raise MissingBlockError(f"L1: no block {block}")
        return self.l1.blocks[number].ref

    def get_events(self, first: int, last: int) -> list[L1Event]:
        self.interfere("events")
        return [event for event in self.l1.events if first <= event.block <= last]

    def get_tally(self, block: BlockRef) -> Tally:
        self.interfere("tally")
        if block not in [known.ref for known in self.l1.blocks]:
            raise L1Error(f"L1: block {block.number} was replaced while it was read")
        events = [event for event in self.l1.events if event.block <= block.number]
        queue = [event for event in events if isinstance(event, MessageQueued)]
        head = compute_chain(events)[-1]
        accumulator = queue[-1].queue_hash if queue else ZERO_HASH
        is_frozen = any(isinstance(event, InboxFrozen) for event in events)
        return Tally(head.header_hash, len(queue), accumulator, is_frozen)

    def is_syncing(self) -> bool:
        return False

    def get_chunks(self, submitted: BatchSubmitted) -> tuple[PostedChunk, ...]:
        self.interfere("chunks")
        for block in self.l1.blocks:
            if submitted.transaction in block.calldata:
                return block.calldata[submitted.transaction]
        raise ContradictionError(f"L1: no transaction {submitted.transaction}")


def follow(l1: FakeL1) -> Follower:
    """What somebody derives who starts now."""
    follower = Follower(FakeGateway(l1))  # type: ignore[arg-type]
    follower.poll()
    return follower


def make_chunk(
    l1: FakeL1,
    transactions: Sequence[Transaction],
    signatures: bytes = b"",
    spoil: bool = False,
) -> PostedChunk:
    """The next batch's only chunk with its true state root, or with another."""
    follower = follow(l1)
    state = follower.state
    clock = Timestamp(l1.head.time)
    data = encode_chunk(clock, transactions)
    head = follower.chain[-1].submitted
    submitted = BatchSubmitted(
        0, "", b"", l1._make_header(ZERO_HASH, (), len(l1.queue), BlockRef(0, b"", clock))
    )
    state.begin()
    try:
        process_chunk(state, data, compute_context(submitted, head, 0, DOMAIN))
        root = compute_state_root(state)
    except TransitionFault:
        root = keccak(b"none")
    state.rollback()
    return PostedChunk(data, signatures, keccak(root) if spoil else root)


UNREACHABLE = L1Error("L1: nobody answers")
