"""The batcher: posts sealed chunks in order, exactly once.

Its view of what is posted is its own follower's, derived from L1, so a removal, a reorganisation or
a restart needs no special case: the next batch starts after the newest honest one. Every batch is
applied to that state before it is sent, signatures included: a batch that would cost the bond is
never posted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from ape.api import AccountAPI, ReceiptAPI

from deltaroll.l1.commitments import to_header_tuple
from deltaroll.l1.types import Header, PostedChunk
from deltaroll.node.follower import Follower
from deltaroll.node.store import SealedChunk, Store
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.hashing import ZERO_HASH, keccak
from deltaroll.protocol.signatures import compute_bad_signature
from deltaroll.protocol.state import compute_state_root
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import Context, Timestamp

log = structlog.get_logger(__name__)

MAX_BATCH_BYTES = 110_000
"""Calldata of one batch: L1 nodes refuse transactions over 131,072 bytes."""
MAX_CHUNKS = 256
CHUNK_OVERHEAD = 256
"""ABI words and padding around a chunk."""
CLOCK_BYTES = 5


class BatcherError(Exception):
    """The batcher cannot go on: what it would post is wrong, or what is posted is not its own."""


class StrandedError(BatcherError):
    """Chunks of this store cannot land as they are: others have posted, or they have waited for too
    long. What is in them can be sealed again on top of the head: `Sequencer.rebase`.
    """

    def __init__(self, message: str, first: int) -> None:
        super().__init__(message)
        self.first = first
        """The first chunk that cannot."""


@dataclass(frozen=True, slots=True)
class Posting:
    """A batch that was sent and mined."""

    receipt: ReceiptAPI
    header: Header
    chunks: tuple[SealedChunk, ...]


def select_chunks(store: Store, first: int) -> tuple[SealedChunk, ...]:
    """Return the chunks from `first` on that fit one batch."""
    chunks: list[SealedChunk] = []
    size = 0
    while len(chunks) < MAX_CHUNKS and (chunk := store.get_chunk(first + len(chunks))) is not None:
        size += len(chunk.data) + len(chunk.signatures) + CHUNK_OVERHEAD
        if chunks and size > MAX_BATCH_BYTES:
            break
        chunks.append(chunk)
    return tuple(chunks)


class Batcher:
    """Posts for one sequencer with one L1 account."""

    def __init__(self, store: Store, follower: Follower, account: AccountAPI) -> None:
        self.store = store
        self.follower = follower
        self.account = account

    def find_next_chunk(self) -> int:
        """Return the first chunk that is not part of an honest batch.

        A batch whose posting was never recorded, because the process ended before, is known by its
        chunks.

        Raises
        ------
        StrandedError
            When L1 has a batch that is not of this store.
        """
        chain = self.follower.chain
        known = len(chain) - 1
        number: int | None = None
        while known > 0:
            number = self.store.get_next_chunk(chain[known].submitted.header_hash)
            if number is not None:
                break
            known -= 1
        after = number or 0
        for derived in chain[known + 1 :]:
            index = derived.submitted.header.index
            first = after
            for posted in derived.chunks:
                held = self.store.get_chunk(after)
                if held is None or (held.data, held.signatures) != (posted.data, posted.signatures):
                    raise StrandedError(
                        f"batch {index} on L1 was not posted from this store", first
                    )
                after += 1
            self.store.record_batch(derived.submitted.header_hash, index, first, after)
        return after

    def compute_context(
        self, chunk: SealedChunk, index: int, chunks: Sequence[SealedChunk], head: Header
    ) -> Context:
        """Return what L1 will know about a chunk of a batch on top of `head`, its time apart."""
        return Context(
            domain=self.follower.gateway.domain,
            l1_time=Timestamp(int.from_bytes(chunk.data[:CLOCK_BYTES], "big")),
            queue_end=chunks[-1].queue_end,
            previous_base_fee=head.l1_base_fee,
            previous_blob_fee=head.l1_blob_fee,
            is_first=index == 0,
            is_last=index == len(chunks) - 1,
        )

    def compute_posted(self, chunks: Sequence[SealedChunk]) -> tuple[PostedChunk, ...]:
        """Return the chunks with their state roots, each checked as a verifier would check it.

        Raises
        ------
        BatcherError
            When a chunk breaks a rule: posting it would cost the bond. A StrandedError when the
            store has been through a change of head: what was sealed for one head may stand behind
            what was sealed for another.
        """
        state = self.follower.state
        head = self.follower.chain[-1].submitted.header
        posted: list[PostedChunk] = []
        state.begin()
        try:
            for index, chunk in enumerate(chunks):
                context = self.compute_context(chunk, index, chunks, head)
                bad = compute_bad_signature(state, chunk.data, chunk.signatures, context.domain)
                if bad is not None:
                    raise self._refuse(f"chunk {chunk.number}: {bad[0].name} at {bad[1]}", chunks)
                process_chunk(state, chunk.data, context)
                root = compute_state_root(state)
                posted.append(PostedChunk(chunk.data, chunk.signatures, root))
        except TransitionFault as problem:
            raise self._refuse(f"chunk {chunk.number}: {problem.fault.name}", chunks) from problem
        finally:
            state.rollback()
        return tuple(posted)

    def post(self) -> Posting | None:
        """Post one batch of what is sealed and not posted; None when there is nothing.

        The follower must have been polled and see no fraud.

        Raises
        ------
        BatcherError
            When the rollup is frozen, or the head is fraudulent: it must be removed first.
        StrandedError
            When a chunk is older than L1 takes it, or what `compute_posted` says.
        """
        if self.follower.closing is not None:
            block = self.follower.closing.block
            raise BatcherError(f"the rollup is frozen since block {block}: it takes no batch")
        if self.follower.fraud is not None:
            raise BatcherError("the head is fraudulent: it has to be removed first")
        first = self.find_next_chunk()
        chunks = select_chunks(self.store, first)
        if not chunks:
            return None
        self._validate_age(chunks[0])
        return self.submit(chunks, self.compute_posted(chunks))

    def _refuse(self, message: str, chunks: Sequence[SealedChunk]) -> BatcherError:
        if self.store.has_rejoined():
            return StrandedError(message, chunks[0].number)
        return BatcherError(message)

    def _validate_age(self, chunk: SealedChunk) -> None:
        clock = int.from_bytes(chunk.data[:CLOCK_BYTES], "big")
        head = self.follower.head
        if head is not None and head.time > clock + MAX_CLOCK_LAG:
            raise StrandedError(
                f"chunk {chunk.number}: its clock {clock} is too old for a batch at {head.time}",
                chunk.number,
            )

    def submit(self, chunks: Sequence[SealedChunk], posted: Sequence[PostedChunk]) -> Posting:
        """Send a batch on top of the newest honest one and record what it carries."""
        head = self.follower.chain[-1].submitted
        queue_end = chunks[-1].queue_end
        first_clock = int.from_bytes(chunks[0].data[:CLOCK_BYTES], "big")
        arguments = compute_submission(
            head.header, self.follower, queue_end, first_clock + MAX_CLOCK_LAG, posted
        )
        inbox = self.follower.gateway.contracts.inbox
        receipt = inbox.submitBatch(arguments, sender=self.account)
        after = chunks[-1].number + 1
        self.follower.poll()
        newest = self.follower.chain[-1].submitted
        if newest.transaction != receipt.txn_hash:
            raise BatcherError(f"batch in {receipt.txn_hash} did not become the head")
        self.store.record_batch(newest.header_hash, newest.header.index, chunks[0].number, after)
        log.info(
            "batch_posted",
            index=newest.header.index,
            chunks=len(chunks),
            gas=receipt.gas_used,
        )
        return Posting(receipt, newest.header, tuple(chunks))


def compute_submission(
    previous: Header,
    follower: Follower,
    queue_end: int,
    deadline: int,
    posted: Sequence[PostedChunk],
) -> tuple[object, ...]:
    """Return the argument of `submitBatch`."""
    messages = follower.state.messages
    queue_hash = ZERO_HASH if queue_end == 0 else follower.queue_hashes[queue_end - 1]
    waiting = messages.get(queue_end)
    if waiting is None:
        following: tuple[object, ...] = (0, "0x" + bytes(20).hex(), 0, ZERO_HASH)
    else:
        following = (
            waiting.kind,
            "0x" + waiting.sender.hex(),
            waiting.time,
            keccak(waiting.body),
        )
    return (
        to_header_tuple(previous),
        queue_end,
        queue_hash,
        deadline,
        following,
        [(chunk.data, chunk.signatures, chunk.post_root) for chunk in posted],
    )
