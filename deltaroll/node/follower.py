"""Derives the rollup's state from L1 and nothing else.

What L1 says is folded into one list: the batches that count now. A new batch, a removal and an L1
reorganisation are the same thing then, a change of that list, and the state moves by undoing to the
common prefix and deriving from there.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic, time
from typing import overload

import structlog

from deltaroll.l1.commitments import compute_header_hash, compute_queue_hash
from deltaroll.l1.gateway import ContradictionError, Gateway, L1Error, MissingBlockError
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
    Stage,
    Tally,
)
from deltaroll.node.alarms import Alarm, Alarms
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.hashing import ZERO_HASH
from deltaroll.protocol.signatures import compute_bad_signature
from deltaroll.protocol.state import State, compute_state_root
from deltaroll.protocol.transition import compute_fault, process_chunk
from deltaroll.protocol.types import AccountId, Context, Globals, Timestamp
from deltaroll.protocol.witness import encode_signature_witness, encode_witness

log = structlog.get_logger(__name__)

MAX_SEEN = 256
"""Blocks that are kept to find where a reorganisation begins."""


BEHIND_SECONDS = 60.0
"""An alarm is raised when there has been no view to act upon for so long."""


class LaggingError(L1Error):
    """A node is behind what was seen before."""


@dataclass(frozen=True, slots=True)
class Derived:
    """A batch that the state includes."""

    submitted: BatchSubmitted
    chunks: Sequence[PostedChunk]
    globals: Globals
    """What its post root commits to."""


class ChunksOnL1(Sequence[PostedChunk]):
    """The chunks of an old batch, read from L1 again when somebody wants them: L1Error when it does
    not answer."""

    def __init__(self, gateway: Gateway, submitted: BatchSubmitted) -> None:
        self._gateway = gateway
        self._submitted = submitted

    def __len__(self) -> int:
        """Return how many there are."""
        return self._submitted.header.chunk_count

    @overload
    def __getitem__(self, place: int) -> PostedChunk: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[PostedChunk]: ...

    def __getitem__(self, place: int | slice) -> PostedChunk | Sequence[PostedChunk]:
        """Return some of them."""
        return self._gateway.get_chunks(self._submitted)[place]

    def __iter__(self) -> Iterator[PostedChunk]:
        """Yield all of them."""
        return iter(self._gateway.get_chunks(self._submitted))


@dataclass(frozen=True, slots=True)
class Fraud:
    """A batch that breaks a rule, with the witness that shows it."""

    submitted: BatchSubmitted
    previous: BatchSubmitted
    chunks: tuple[PostedChunk, ...]
    chunk: int
    fault: Fault
    position: int | None
    """The bad signature, for a signature proof; None for a transition proof."""
    witness: bytes


@dataclass(slots=True)
class Closing:
    """How far a frozen rollup has got."""

    block: int
    """Of L1, in which it was frozen."""
    opened: EscapeOpened | None = None
    """None until the final state is fixed."""
    escaped: dict[AccountId, AccountEscaped] = field(default_factory=dict)
    """Claims registered."""
    paid: dict[AccountId, EscapePaid] = field(default_factory=dict)
    refunded: dict[int, DepositRefunded] = field(default_factory=dict)
    """By place in the queue."""


def compute_closing(events: Sequence[L1Event]) -> Closing | None:
    """Return how far the closing has got after `events`; None while the rollup lives.

    Raises
    ------
    ContradictionError
        When something is said of a closing before it began.
    """
    closing: Closing | None = None
    for event in events:
        if isinstance(event, InboxFrozen):
            closing = Closing(event.block)
        elif isinstance(event, MessageQueued | BatchSubmitted | BatchRemoved):
            continue
        elif closing is None:
            raise ContradictionError(f"L1: {type(event).__name__} before the rollup was frozen")
        elif isinstance(event, EscapeOpened):
            closing.opened = event
        elif isinstance(event, AccountEscaped):
            closing.escaped[event.account] = event
        elif isinstance(event, EscapePaid):
            closing.paid[event.account] = event
        else:
            closing.refunded[event.index] = event
    return closing


def compute_chain(events: Sequence[L1Event]) -> list[BatchSubmitted]:
    """Return the batches that count after `events`, genesis first.

    Raises
    ------
    ContradictionError
        When the events contradict each other.
    """
    chain: list[BatchSubmitted] = []
    for event in events:
        match event:
            case BatchSubmitted():
                if event.header.index != len(chain):
                    raise ContradictionError(
                        f"L1: batch {event.header.index} after {len(chain)} batches"
                    )
                chain.append(event)
            case BatchRemoved():
                if (
                    not 0 < event.index < len(chain)
                    or chain[event.index].header_hash != event.header_hash
                ):
                    raise ContradictionError(f"L1: batch {event.index} removed of {len(chain)}")
                del chain[event.index :]
            case _:
                pass
    return chain


def compute_queue(events: Sequence[L1Event], known: Sequence[MessageQueued]) -> list[MessageQueued]:
    """Return the queue's messages, the first one first; those that `known` starts with have been
    checked before.

    Raises
    ------
    ContradictionError
        When the events contradict each other or the accumulator.
    """
    queue: list[MessageQueued] = []
    previous = ZERO_HASH
    is_known = True
    for event in events:
        if not isinstance(event, MessageQueued):
            continue
        place = len(queue)
        if event.index != place:
            raise ContradictionError(f"L1: message {event.index} after {place} messages")
        is_known = is_known and place < len(known) and known[place] == event
        if not is_known and compute_queue_hash(previous, event.message) != event.queue_hash:
            raise ContradictionError(f"L1: message {place} does not match the queue's hash")
        previous = event.queue_hash
        queue.append(event)
    return queue


def validate_tally(
    chain: Sequence[BatchSubmitted], queue: Sequence[MessageQueued], tally: Tally
) -> None:
    """Check that events add up to what the contracts hold.

    Raises
    ------
    ContradictionError
        When one is missing, or is of another branch.
    """
    if not chain or chain[-1].header_hash != tally.head_hash:
        raise ContradictionError("L1: the batches do not match the inbox")
    queue_hash = queue[-1].queue_hash if queue else ZERO_HASH
    if len(queue) != tally.queue_count or queue_hash != tally.queue_hash:
        raise ContradictionError(
            f"L1: the queue does not match the bridge: {len(queue)} messages of {tally.queue_count}"
        )


def compute_context(
    batch: BatchSubmitted, previous: BatchSubmitted, chunk: int, domain: bytes
) -> Context:
    """Return what L1 knows about one chunk of a posted batch."""
    return Context(
        domain=domain,
        l1_time=Timestamp(batch.header.l1_time),
        queue_end=batch.header.queue_end,
        previous_base_fee=previous.header.l1_base_fee,
        previous_blob_fee=previous.header.l1_blob_fee,
        is_first=chunk == 0,
        is_last=chunk == batch.header.chunk_count - 1,
    )


@dataclass(frozen=True, slots=True)
class ViewPolicy:
    """When a view of L1 is one to act upon. The defaults are for a chain of one's own."""

    max_age: float | None = None
    """Seconds that the head may be older than this machine's clock; None on a chain that mines only
    when there is something to mine."""
    max_lead: float | None = None
    """Seconds that the head may be ahead of this machine's clock."""
    lag_patience: float = 0.0
    """Seconds for which a chain that is shorter than what was seen, and contradicts none of it, is
    taken for a node that lags. After that it is a reorganisation."""
    witnesses: int = 1
    """Nodes that must have a head on their chain."""


class Follower:
    """The state as of the newest honest batch, and the first fraud after it if there is one.

    A view is taken over only when it adds up: the events up to a block give the very hashes that
    the contracts hold after that block, asked for by its hash. An answer of another node, of
    another branch or of one that lags fails that and is asked for again.
    """

    def __init__(
        self,
        gateway: Gateway,
        policy: ViewPolicy | None = None,
        now: Callable[[], float] = time,
        elapsed: Callable[[], float] = monotonic,
        alarms: Alarms | None = None,
        keep: int | None = None,
    ) -> None:
        """`keep`: batches, the newest, whose chunks stay in memory and that can be undone one by
        one; when L1 takes back more, the state is derived from the beginning. None: all."""
        self.gateway = gateway
        self._keep = keep
        self._fixed = 0
        """Batches up to this one cannot be undone one by one."""
        self.alarms = alarms or Alarms()
        self.policy = policy or ViewPolicy()
        self.state = State()
        self.chain: list[Derived] = []
        """Genesis first; each has one open group of changes in `state`, the genesis and what is too
        old apart."""
        self.fraud: Fraud | None = None
        self.posted: list[BatchSubmitted] = []
        """All batches that count on L1, also a fraud and what was built on it."""
        self.last_removal: BatchRemoved | None = None
        self.closing: Closing | None = None
        """None while the rollup lives."""
        self.head: BlockRef | None = None
        """The L1 block up to which events have been read."""
        self.behind: str | None = "L1 has not been looked at"
        """Why the view is not one to act upon; None when it is."""
        self.queue: list[MessageQueued] = []
        self.queue_hashes: dict[int, bytes] = {}
        """The queue's accumulator after each message."""
        self._now = now
        self._elapsed = elapsed
        self._events: list[L1Event] = []
        self._seen: list[BlockRef] = []
        self._lagging_since: float | None = None
        self._behind_since: float | None = None
        self._contradictions = 0

    @property
    def state_root(self) -> bytes:
        """State root of the newest honest batch."""
        return compute_state_root(self.state)

    def poll(self) -> BlockRef:
        """Read L1 up to its head and derive what is new; returns that head.

        Raises
        ------
        L1Error
            When L1 cannot be read, lags or contradicts itself. Nothing is lost: poll again.
        """
        try:
            head = self._poll()
        except L1Error as problem:
            self._note(str(problem))
            # One that lags or contradicts itself may be one of several.
            self.gateway.nodes.turn()
            raise
        self._note(self._find_doubt(head))
        return head

    def _note(self, behind: str | None) -> None:
        """Take down whether the view is one to act upon; for long it must not be none."""
        self.behind = behind
        now = self._elapsed()
        if behind is None or self._behind_since is None:
            self._behind_since = None if behind is None else now
        since = self._behind_since
        is_long = since is not None and now - since >= BEHIND_SECONDS
        self.alarms.set(Alarm.BEHIND, is_long, reason=behind)

    def _poll(self) -> BlockRef:
        head = self.gateway.get_head()
        self._validate_progress(head)
        self._forget_reorganised(head)
        if self.head != head or self._seen[-1:] != [head]:
            self._read(head)
        target = compute_chain(self._events)
        try:
            self._follow(target)
        except ContradictionError:
            self._distrust(self.chain[-1].submitted.block if self.chain else -1)
            raise
        closing = compute_closing(self._events)
        if closing is not None and self.closing is None:
            log.warning("rollup_frozen", block=closing.block)
        self.posted = target
        removals = (event for event in reversed(self._events) if isinstance(event, BatchRemoved))
        self.last_removal = next(removals, None)
        self.closing = closing
        self.head = head
        return head

    def _read(self, head: BlockRef) -> None:
        """Take over the events up to `head`, if they add up."""
        first = self._seen[-1].number + 1 if self._seen else self.gateway.first_block
        events = self._events + self.gateway.get_events(first, head.number)
        try:
            chain = compute_chain(events)
            queue = compute_queue(events, self.queue)
            tally = self.gateway.get_tally(head)
            validate_tally(chain, queue, tally)
            if tally.is_frozen != (compute_closing(events) is not None):
                raise ContradictionError("L1: the events do not say whether the inbox is frozen")
        except ContradictionError:
            # What was seen before has added up; twice in a row, and that is in doubt too.
            self._contradictions += 1
            if self._contradictions % 2 == 0:
                self._distrust(-1)
            raise
        self._contradictions = 0
        self._events = events
        self.queue = queue
        self.state.messages = {event.index: event.message for event in queue}
        self.queue_hashes = {event.index: event.queue_hash for event in queue}
        if self._seen[-1:] != [head]:
            self._seen.append(head)
        if len(self._seen) > MAX_SEEN:
            # The further back, the sparser: all that it costs is reading more once more.
            del self._seen[: MAX_SEEN // 2 : 2]

    def _find_doubt(self, head: BlockRef) -> str | None:
        """Return why a view that adds up is still not one to act upon."""
        policy = self.policy
        age = self._now() - head.time
        if policy.max_age is not None and age > policy.max_age:
            return f"L1: block {head.number} is {age:.0f} s old"
        if policy.max_lead is not None and -age > policy.max_lead:
            return f"L1: block {head.number} is {-age:.0f} s ahead of this machine's clock"
        if self.gateway.is_syncing():
            return "L1: the node is syncing"
        if policy.witnesses > 1:
            witnesses = self.gateway.count_witnesses(head)
            if witnesses < policy.witnesses:
                return f"L1: {witnesses} of {policy.witnesses} nodes have block {head.number}"
        return None

    def _validate_progress(self, head: BlockRef) -> None:
        """Check that a shorter chain is a reorganisation and not a node that lags.

        Raises
        ------
        LaggingError
        """
        if not self._seen or head.number >= self._seen[-1].number:
            self._lagging_since = None
            return
        now = self._elapsed()
        since = self._lagging_since
        if since is None:
            since = self._lagging_since = now
        known = [block for block in self._seen if block.number <= head.number]
        if now - since >= self.policy.lag_patience or (known and not self._is_canonical(known[-1])):
            return
        raise LaggingError(f"L1: at block {head.number} after {self._seen[-1].number}: it lags")

    def _is_canonical(self, block: BlockRef) -> bool:
        try:
            return self.gateway.get_block(block.number).hash == block.hash
        except MissingBlockError:
            return False

    def _forget_reorganised(self, head: BlockRef) -> None:
        if not self._seen or self._seen[-1] == head or self._is_canonical(self._seen[-1]):
            return
        # A block that stays keeps all before it: halve, so that a deep one costs no walk back.
        low, high = 0, len(self._seen) - 1
        while low < high:
            middle = (low + high) // 2
            if self._is_canonical(self._seen[middle]):
                low = middle + 1
            else:
                high = middle
        block = self._seen[low].number
        back_to = self._seen[low - 1].number if low else self.gateway.first_block - 1
        log.warning("l1_reorganised", block=block, back_to=back_to)
        self._distrust(block - 1)

    def _distrust(self, block: int) -> None:
        """Ask again for everything after a block; -1 for all that there is."""
        while self._seen and self._seen[-1].number > block:
            self._seen.pop()
        kept = self._seen[-1].number if self._seen else self.gateway.first_block - 1
        self._events = [event for event in self._events if event.block <= kept]

    def _follow(self, target: list[BatchSubmitted]) -> None:
        shared = 0
        while (
            shared < len(target)
            and shared < len(self.chain)
            and target[shared] == self.chain[shared].submitted
        ):
            shared += 1
        if shared <= self._fixed < len(self.chain):
            log.warning("derived_anew", shared=shared, undoable=len(self.chain) - 1 - self._fixed)
            self._start_anew()
            shared = 0
        while len(self.chain) > shared:
            undone = self.chain.pop()
            if undone.submitted.header.index > 0:
                self.state.rollback()
            log.info("batch_undone", index=undone.submitted.header.index)
        if self.fraud is not None and self.fraud.submitted not in target:
            self.fraud = None
        for submitted in target[shared:]:
            if self.fraud is not None:
                return
            self._derive(submitted)
            self._forget_old()

    def _start_anew(self) -> None:
        messages = self.state.messages
        self.state = State()
        self.state.messages = messages
        self.chain.clear()
        self._fixed = 0

    def _forget_old(self) -> None:
        """Let go of what would undo old batches."""
        if self._keep is None:
            return
        old = len(self.chain) - 1 - self._keep - self._fixed
        if old <= 0:
            return
        self.state.forget(old)
        for place in range(self._fixed + 1, self._fixed + old + 1):
            one = self.chain[place]
            self.chain[place] = replace(one, chunks=ChunksOnL1(self.gateway, one.submitted))
        self._fixed += old

    def _derive(self, submitted: BatchSubmitted) -> None:
        header = submitted.header
        if compute_header_hash(header) != submitted.header_hash:
            raise ContradictionError(f"L1: header of batch {header.index} does not match its hash")
        if header.index == 0:
            if compute_state_root(self.state) != header.post_root:
                raise L1Error("L1: the deployment does not start from the empty state")
            self.chain.append(Derived(submitted, (), self.state.globals))
            return
        queue_hash = self.queue_hashes.get(header.queue_end - 1, ZERO_HASH)
        if header.queue_end > len(self.queue) or queue_hash != header.queue_hash:
            raise ContradictionError(
                f"L1: the queue does not match the header of batch {header.index}"
            )
        chunks = self.gateway.get_chunks(submitted)
        self.state.begin()
        for index, chunk in enumerate(chunks):
            fraud = self._check_chunk(submitted, chunks, index, chunk)
            if fraud is not None:
                self.state.rollback()
                self.fraud = fraud
                log.warning("fraud_found", batch=header.index, chunk=index, fault=fraud.fault.name)
                return
        self.chain.append(Derived(submitted, chunks, self.state.globals))
        log.debug("batch_derived", index=header.index, chunks=len(chunks))

    def _check_chunk(
        self,
        submitted: BatchSubmitted,
        chunks: tuple[PostedChunk, ...],
        index: int,
        chunk: PostedChunk,
    ) -> Fraud | None:
        previous = self.chain[-1].submitted
        domain = self.gateway.domain
        bad = compute_bad_signature(self.state, chunk.data, chunk.signatures, domain)
        if bad is not None:
            compute_state_root(self.state)
            witness = encode_signature_witness(self.state, chunk.data, bad[1])
            return Fraud(submitted, previous, chunks, index, bad[0], bad[1], witness)
        context = compute_context(submitted, previous, index, domain)
        fault = compute_fault(self.state, chunk.data, context, chunk.post_root)
        if fault == Fault.NONE:
            return None
        witness = compute_transition_witness(self.state, chunk.data, context)
        return Fraud(submitted, previous, chunks, index, fault, None, witness)

    def compute_stage(self, batch: Derived) -> Stage:
        """Return how final a derived batch is, as of the last poll."""
        return self.compute_stages([batch])[0]

    def find_newest(self) -> dict[Stage, Derived]:
        """Return the newest batch in each stage, as of the last poll."""
        return dict(zip(self.compute_stages(self.chain), self.chain, strict=True))

    def find_reached(self) -> dict[Stage, Derived]:
        """Return the newest batch that has come to each stage or beyond it, as of the last poll."""
        settled, final, safe = self._find_limits()
        chain = self.chain
        count_settled = bisect_left(chain, settled, 1, key=lambda one: one.submitted.header.l1_time)

        def find(block: int) -> Derived:
            place = bisect_right(chain, block, count_settled, key=lambda one: one.submitted.block)
            return chain[place - 1]

        return {
            Stage.POSTED: chain[-1],
            Stage.SAFE: find(safe),
            Stage.FINAL: find(final),
            Stage.SETTLED: chain[count_settled - 1],
        }

    def compute_stages(self, batches: Sequence[Derived]) -> list[Stage]:
        """Return how final derived batches are, as of the last poll."""
        settled, final, safe = self._find_limits()
        stages = []
        for batch in batches:
            if batch.submitted.header.index == 0 or batch.submitted.header.l1_time < settled:
                stages.append(Stage.SETTLED)
            elif batch.submitted.block <= final:
                stages.append(Stage.FINAL)
            elif batch.submitted.block <= safe:
                stages.append(Stage.SAFE)
            else:
                stages.append(Stage.POSTED)
        return stages

    def _find_limits(self) -> tuple[int, int, int]:
        """Return the L1 time before which batches have settled, the final and the safe block."""
        if self.head is None:
            raise L1Error("L1: not polled yet")
        settled = self.head.time - self.gateway.challenge_window
        return settled, self._get_number("finalized"), self._get_number("safe")

    def _get_number(self, tag: str) -> int:
        try:
            return self.gateway.get_block(tag).number
        except MissingBlockError:
            # A young chain has no finalised block yet.
            return -1


def compute_transition_witness(state: State, data: bytes, context: Context) -> bytes:
    """Return the witness of a chunk on `state`, which is left as it was."""
    state.begin()
    # The chunk may well be the fraud: its witness ends where its fault is.
    with suppress(TransitionFault):
        process_chunk(state, data, context)
    meter = state.meter
    state.rollback()
    compute_state_root(state)
    return encode_witness(state, meter)
