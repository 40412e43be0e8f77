"""The batcher: posts sealed chunks in order, exactly once.

Its view of what is posted is its own follower's, derived from L1, so a removal, a reorganisation or
a restart needs no special case: the next batch starts after the newest honest one. Every batch is
applied to that state before it is sent, signatures included: a batch that would cost the bond is
never posted.

A batch names the header that it goes on top of, and the inbox takes it on top of no other. So two
postings of a batch can never both count, whoever sends them and however often. That header says in
which L1 block its batch was mined, and the next batch cannot be made before that is known: one
batch at a time is on its way, as large as L1 takes. Everything else that the account sends is on
its way beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from deltaroll.l1.commitments import to_header_tuple
from deltaroll.l1.gateway import L1Error
from deltaroll.l1.types import Header, PostedChunk
from deltaroll.node.alarms import Alarm
from deltaroll.node.follower import Follower
from deltaroll.node.journal import Call, Intent
from deltaroll.node.sender import Mined, Sender, is_as_written, wait_for
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
LANDING_SECONDS = 600
"""A batch is not sent any more when L1 would refuse it this soon."""
BATCH = "batch"


class BatcherError(Exception):
    """The batcher cannot go on: what it would post is wrong."""


class StaleChunksError(BatcherError):
    """The next chunk is too old for L1. It has to be sequenced again (`recovery.py`)."""


class ForeignBatchError(BatcherError):
    """L1 has a batch that is not of this store. The log has to go on from it (`recovery.py`)."""


@dataclass(frozen=True, slots=True)
class Posting:
    """A batch that was sent and mined."""

    receipt: Mined
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


def get_chunks(store: Store, first: int, count: int) -> tuple[SealedChunk, ...]:
    """Return chunks by number, those that there are."""
    found = (store.get_chunk(number) for number in range(first, first + count))
    return tuple(chunk for chunk in found if chunk is not None)


class Batcher:
    """Posts for one sequencer with one L1 account."""

    def __init__(self, store: Store, follower: Follower, sender: Sender) -> None:
        self.store = store
        self.follower = follower
        self.sender = sender
        self.posted: int | None = None
        """Chunks that L1 has, as of the last look; those after them wait."""
        self.blocked: str | None = None
        """Why nothing may be posted at the moment although L1 would take it."""

    def find_next_chunk(self) -> int:
        """Return the first chunk that is not part of an honest batch.

        A batch whose posting was never recorded, because the process ended before, is known by its
        chunks.

        Raises
        ------
        ForeignBatchError
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
                    raise ForeignBatchError(f"batch {index} on L1 was not posted from this store")
                after += 1
            self.store.record_batch(derived.submitted.header_hash, index, first, after)
        return after

    def compute_context(
        self, chunk: SealedChunk, index: int, chunks: Sequence[SealedChunk], head: Header
    ) -> Context:
        """Return what L1 will know about a chunk of a batch on top of `head`, its time apart."""
        return Context(
            domain=self.follower.gateway.domain,
            l1_time=Timestamp(get_clock(chunk)),
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
            When a chunk breaks a rule: posting it would cost the bond.
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
                    raise BatcherError(f"chunk {chunk.number}: {bad[0].name} at {bad[1]}")
                process_chunk(state, chunk.data, context)
                root = compute_state_root(state)
                posted.append(PostedChunk(chunk.data, chunk.signatures, root))
        except TransitionFault as problem:
            raise BatcherError(f"chunk {chunk.number}: {problem.fault.name}") from problem
        finally:
            state.rollback()
        return tuple(posted)

    def step(self) -> Intent | None:
        """Do what is due after a look at L1: see to what is on its way, or send the next batch.

        Returns what is on its way then. The follower must just have been polled.

        Raises
        ------
        BatcherError
            When the rollup is frozen, the head is fraudulent (it must be removed first), or a chunk
            is wrong.
        L1Error
            When the view is not one to act upon, or L1 would refuse the batch as of now.
        """
        head = self.follower.head
        if head is None or self.follower.behind is not None:
            raise L1Error(self.follower.behind or "L1: not polled yet")
        self.sender.tick(head)
        if self.blocked is not None:
            raise L1Error(f"nothing is posted: {self.blocked}")
        if self.follower.closing is not None:
            block = self.follower.closing.block
            raise BatcherError(f"the rollup is frozen since block {block}: it takes no batch")
        if self.follower.fraud is not None:
            raise BatcherError("the head is fraudulent: it has to be removed first")
        first = self.posted = self.find_next_chunk()
        chunks = select_chunks(self.store, first)
        if chunks and chunks[-1].queue_end > len(self.follower.queue):
            raise L1Error(f"L1: no message {chunks[-1].queue_end - 1}: it was there before")
        is_late = bool(chunks) and is_stale(chunks[0], head.time)
        self.sender.alarms.set(Alarm.STALE_CHUNKS, is_late, chunk=first)
        waiting = [intent for intent in self.sender.open if intent.kind == BATCH]
        key = self._compute_key()
        current = next((intent for intent in waiting if intent.key == key), None)
        if current is None and chunks and not is_late:
            current = self.submit(chunks, self.compute_posted(chunks))
        for intent in waiting:
            # Under a head that is gone, of chunks that are: it would be paid for in vain.
            if intent is not current or not chunks or is_late:
                self.sender.cancel(intent)
        if is_late:
            raise StaleChunksError(
                f"chunk {first}: its clock {get_clock(chunks[0])} is too old for L1 at {head.time}"
            )
        return current if chunks else None

    def post(self, patience: float = 120.0) -> Posting | None:
        """Post one batch of what is sealed and not posted, and wait until it is mined; None when
        there is nothing, or nothing to pay it with.

        The follower must have been polled and see no fraud.

        Raises
        ------
        BatcherError
        L1Error
            As `step` does.
        PendingError
            When the batch is not mined within `patience` seconds. It stays on its way.
        """
        intent = self.step()
        if intent is None:
            return None

        def look() -> Posting | None:
            nonlocal intent
            self.sender.tick(self.follower.poll())
            if intent is None:
                intent = self.step()
            if intent is None:
                return None
            mined = self.sender.find_mined(intent) if intent.mined_in is not None else None
            if mined is None:
                return None
            place = self._find_batch(intent)
            if place is None and not is_as_written(intent, mined):
                # A cancellation was faster than the batch that replaced it.
                intent = None
                return None
            if place is None:
                head = self.follower.head
                if head is None or head.number < mined.block:
                    # Whoever answered has a later block than the one that was looked at.
                    return None
                raise L1Error(f"L1: batch in {mined.hash} did not become the head")
            return self._describe(place, mined)

        return wait_for("a batch", look, patience)

    def submit(self, chunks: Sequence[SealedChunk], posted: Sequence[PostedChunk]) -> Intent | None:
        """Send a batch on top of the newest honest one; None when nothing pays for it.

        Raises
        ------
        L1Error
            When L1 would refuse it as of now: nothing is sent.
        """
        head = self.follower.chain[-1].submitted
        queue_end = chunks[-1].queue_end
        deadline = get_clock(chunks[0]) + MAX_CLOCK_LAG
        arguments = compute_submission(head.header, self.follower, queue_end, deadline, posted)
        inbox = self.follower.gateway.contracts.inbox
        data = bytes(inbox.submitBatch.encode_input(arguments))
        gas = self.sender.estimate(str(inbox.address), data)
        intent = self.sender.submit(BATCH, self._compute_key(), Call(str(inbox.address), data, gas))
        if intent is not None:
            log.info("batch_sent", index=head.header.index + 1, chunks=len(chunks), gas=gas)
        return intent

    def _find_batch(self, intent: Intent) -> int | None:
        """Return the place of an intent's batch in the chain, None when it is not there."""
        hashes = {attempt.hash for attempt in intent.attempts}
        places = (
            place
            for place in range(len(self.follower.chain) - 1, 0, -1)
            if self.follower.chain[place].submitted.transaction in hashes
        )
        return next(places, None)

    def _describe(self, place: int, mined: Mined) -> Posting:
        self.posted = self.find_next_chunk()
        submitted = self.follower.chain[place].submitted
        after = self.store.get_next_chunk(submitted.header_hash)
        count = submitted.header.chunk_count
        chunks = () if after is None else get_chunks(self.store, after - count, count)
        log.info("batch_posted", index=place, chunks=count, gas=mined.gas_used)
        return Posting(mined, submitted.header, chunks)

    def _compute_key(self) -> bytes:
        """Return what a batch is known by: the header that it goes on top of, and how often what
        follows has been sequenced anew."""
        head = self.follower.chain[-1].submitted
        return head.header_hash + self.store.rebases.to_bytes(4, "big")


def is_stale(chunk: SealedChunk, time: int) -> bool:
    """Return whether a chunk can no longer be counted on to land at an L1 time, or soon after."""
    return get_clock(chunk) + MAX_CLOCK_LAG < time + LANDING_SECONDS


def get_clock(chunk: SealedChunk) -> int:
    """Return the time of a chunk."""
    return int.from_bytes(chunk.data[:CLOCK_BYTES], "big")


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
