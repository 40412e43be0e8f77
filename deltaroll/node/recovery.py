"""What a sequencer does when L1 will never hold what it has sequenced.

That happens in three ways, none of them its own doing: L1 reorganises a message away that a chunk
consumes; chunks wait longer than L1 takes them (an outage, a fraudulent head); somebody else has
posted batches meanwhile, as anybody may when the operator is silent. Then the log goes on from what
L1 holds: the chunks that cannot stand are undone, and what was acknowledged in them is sequenced
again, in its order, at its own time as far as L1 still takes that. What then comes out otherwise is
reported with the reason, one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import structlog

from deltaroll.engine.matching import Execution, RestingOrder, SelfTradePolicy
from deltaroll.l1.commitments import compute_queue_hash
from deltaroll.node.admission import Receipt, RejectedError, Terms, Trigger
from deltaroll.node.batcher import is_stale
from deltaroll.node.core import Base
from deltaroll.node.entries import (
    AdoptedChunk,
    CancelAllEntry,
    CancelEntry,
    ClockEntry,
    DataFeeEntry,
    DeadManEntry,
    Entry,
    FireEntry,
    HoldEntry,
    KeyEntry,
    LiquidateEntry,
    MessageEntry,
    ObserveEntry,
    OrderEntry,
    PokeEntry,
    ProtectEntry,
    RebaseEntry,
    ResumeEntry,
    RevertEntry,
    SealEntry,
    SurfaceEntry,
    TransferEntry,
    WithdrawEntry,
    to_action,
    to_observations,
    to_order_entry,
)
from deltaroll.node.follower import Derived, Follower, compute_context
from deltaroll.node.log import Log
from deltaroll.node.replay import Applied
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.constants import MAX_CLOCK_LAG
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.hashing import ZERO_HASH
from deltaroll.protocol.transition import compute_fee_level
from deltaroll.protocol.types import AccountId, Kind, MarketId, Message, SlotId

log = structlog.get_logger(__name__)

CLOCK_RESERVE = 1_800
"""Seconds that chunks made of old entries have left to land."""


class Obstacle(Enum):
    """Why what is sequenced cannot come to L1."""

    FOREIGN_BATCH = "foreign batch"
    """Somebody else has posted."""
    LOST_MESSAGE = "lost message"
    """L1's queue is not what was consumed."""
    STALE_CHUNK = "stale chunk"
    """The next chunk is too old."""


@dataclass(frozen=True, slots=True)
class Reverted:
    """Something that was acknowledged and does not stand."""

    sequence: int
    """Of the entry that was acknowledged."""
    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a recovery has done."""

    obstacle: Obstacle
    chunk: int
    """Chunks from here on are new."""
    entries: int
    """Entries that were sequenced again."""
    reverted: tuple[Reverted, ...]


class Recovery:
    """Watches whether what a sequencer makes can land, and rebases it when it cannot."""

    def __init__(self, follower: Follower, patience: int = 2) -> None:
        """`patience`: blocks for which L1 has to say the same before anything is undone, so that
        a branch that is gone in a moment costs nothing."""
        self.follower = follower
        self.patience = patience
        self.obstacle: Obstacle | None = None
        """What stands in the way as of the last check: until it is gone nothing may be posted."""
        self._since = 0
        self._hashes: list[bytes] = []
        """The queue's accumulator after each message, as the sequencer has consumed them."""

    def check(self, sequencer: Sequencer) -> Report | None:
        """Rebase the sequencer if it has to be; durable when this returns.

        The follower must have been polled. Nothing is done on a view that is not to be trusted, nor
        on a fraudulent head: it goes first.
        """
        head = self.follower.head
        if head is None or self.follower.behind is not None or self.follower.fraud is not None:
            return None
        agreed = self.count_agreed(sequencer)
        obstacle = find_obstacle(sequencer, self.follower, agreed)
        if obstacle != self.obstacle:
            self._since = head.number
        self.obstacle = obstacle
        if obstacle is None:
            return None
        if obstacle != Obstacle.STALE_CHUNK and head.number < self._since + self.patience:
            return None
        report = rebase(sequencer, self.follower, obstacle, agreed)
        self.obstacle = None
        self._hashes.clear()
        return report

    def count_agreed(self, sequencer: Sequencer) -> int:
        """Return how many messages were consumed as L1's queue has them now."""
        hashes = self._hashes
        for index in range(len(hashes), sequencer.state.globals.queue_index):
            previous = hashes[-1] if hashes else ZERO_HASH
            hashes.append(compute_queue_hash(previous, sequencer.state.messages[index]))
        known = self.follower.queue_hashes
        if not hashes or known.get(len(hashes) - 1) == hashes[-1]:
            return len(hashes)
        return next(index for index, value in enumerate(hashes) if known.get(index) != value)


def count_shared(store: Log, chain: Sequence[Derived], agreed: int) -> tuple[int, int, int]:
    """Return how many of a store's chunks L1 holds, and the place of the first chunk that is not
    one of them: of its batch, and in it. The place is the chain's end when there is none.

    A chunk is the same when its bytes are and it consumes the same messages, of which `agreed` are.
    """
    known = len(chain) - 1
    number: int | None = None
    while known > 0:
        number = store.get_next_chunk(chain[known].submitted.header_hash)
        if number is not None and chain[known].submitted.header.queue_end <= agreed:
            break
        number = None
        known -= 1
    count = number or 0
    for place in range(known + 1, len(chain)):
        for offset, posted in enumerate(chain[place].chunks):
            held = store.get_chunk(count)
            if (
                held is None
                or (held.data, held.signatures) != (posted.data, posted.signatures)
                or held.queue_end > agreed
            ):
                return count, place, offset
            count += 1
    return count, len(chain), 0


def find_obstacle(sequencer: Sequencer, follower: Follower, agreed: int) -> Obstacle | None:
    """Return why what is sequenced cannot come to L1, None when it can."""
    assert follower.head is not None
    count, place, _ = count_shared(sequencer.store, follower.chain, agreed)
    if place < len(follower.chain):
        return Obstacle.FOREIGN_BATCH
    if agreed < sequencer.state.globals.queue_index:
        return Obstacle.LOST_MESSAGE
    chunk = sequencer.store.get_chunk(count)
    if chunk is not None and is_stale(chunk, follower.head.time):
        return Obstacle.STALE_CHUNK
    return None


def rebase(sequencer: Sequencer, follower: Follower, obstacle: Obstacle, agreed: int) -> Report:
    """Take a sequencer to what L1 holds and sequence again what followed."""
    assert follower.head is not None
    base = compute_base(sequencer.store, follower, agreed)
    orders = sequencer.desk.get_orders().resting
    undone = sequencer.rebase(base)
    floor = follower.head.time - MAX_CLOCK_LAG + CLOCK_RESERVE
    again = Again(sequencer, floor, follower.state.messages, orders)
    again.apply(undone)
    reverted = again.reverted
    sequencer.flush()
    log.error(
        "rebased",
        obstacle=obstacle.value,
        chunk=base.chunk,
        adopted=len(base.adopted),
        entries=len(undone),
        reverted=len(reverted),
    )
    return Report(obstacle, base.chunk, len(undone), tuple(reverted))


def compute_base(store: Log, follower: Follower, agreed: int) -> Base:
    """Return what L1 holds: chunks of a store, then those of others."""
    chain = follower.chain
    count, first, start = count_shared(store, chain, agreed)
    if first == len(chain):
        return Base(count)
    before, header = chain[first - 1].globals, chain[first - 1].submitted.header
    levels = (before.base_fee_level, before.blob_fee_level)
    if start > 0:
        # The batch has begun with chunks of ours.
        fees = (header.l1_base_fee, header.l1_blob_fee)
        levels = (compute_fee_level(levels[0], fees[0]), compute_fee_level(levels[1], fees[1]))
    adopted = []
    for place in range(first, len(chain)):
        batch, previous = chain[place].submitted, chain[place - 1].submitted
        for offset in range(start if place == first else 0, len(chain[place].chunks)):
            chunk = chain[place].chunks[offset]
            context = compute_context(batch, previous, offset, follower.gateway.domain)
            adopted.append(
                AdoptedChunk(
                    chunk.data,
                    chunk.signatures,
                    context.l1_time,
                    context.queue_end,
                    context.previous_base_fee,
                    context.previous_blob_fee,
                    context.is_first,
                    context.is_last,
                )
            )
    last = store.get_chunk(count - 1) if count else None
    consumed = range(last.queue_end if last else 0, chain[-1].submitted.header.queue_end)
    messages = (to_message_entry(index, follower.state.messages[index]) for index in consumed)
    return Base(count, levels, tuple(messages), tuple(adopted))


def to_message_entry(index: int, message: Message) -> MessageEntry:
    """Return the entry of a queue message."""
    return MessageEntry(index, message.kind, message.sender, message.time, message.body)


class Again:
    """Sequences entries again that were undone."""

    def __init__(
        self,
        sequencer: Sequencer,
        floor: int,
        messages: dict[int, Message],
        orders: Sequence[RestingOrder],
    ) -> None:
        """`floor`: the earliest time; `messages`: the queue as L1 has it now; `orders`: what was in
        the book."""
        self.reverted: list[Reverted] = []
        self._sequencer = sequencer
        self._floor = floor
        self._messages = messages
        self._orders = {(resting.account, resting.slot): resting for resting in orders}
        self._fired: dict[tuple[int, int], list[Execution]] = {}
        """Held orders that were matched again, by account and slot."""

    def apply(self, undone: Sequence[Applied]) -> None:
        """Sequence entries again, in order, and log which do not come out as they did."""
        quiet, self._sequencer.on_fired = self._sequencer.on_fired, self._note_fired
        try:
            self._sequencer.set_clock(self._floor)
            for one in undone:
                self._apply(one)
        finally:
            self._sequencer.on_fired = quiet

    def _note_fired(self, entry: FireEntry, receipt: Receipt) -> None:
        if receipt.execution is not None:
            key = entry.account, entry.slot
            self._fired.setdefault(key, []).append(receipt.execution)

    def _apply(self, one: Applied) -> None:
        before = one.receipt
        stood = before.fault == Fault.NONE
        try:
            after = self._submit(one.entry)
        except RejectedError as problem:
            if stood and _is_acknowledged(one):
                self._revert(one, str(problem))
                self._sequencer.note_reverted(one.sequence, one.entry, str(problem))
            return
        if stood:
            reason = compare(before.execution, after)
            if reason is not None:
                self._revert(one, reason)
            if after is None and isinstance(one.entry, FireEntry):
                self._revert_fired(one.sequence, one.entry)

    def _revert_fired(self, sequence: int, entry: FireEntry) -> None:
        """Say what has become of a held order that a chunk of L1's ended within: its rest is
        gone."""
        account, slot = AccountId(entry.account), SlotId(entry.slot)
        known = self._orders.get((account, slot))
        if known is not None and not self._sequencer.desk.has_order(account, slot):
            order = to_order_entry(
                account, slot, known.order, known.signature, known.signer, known.client_id
            )
            self._sequencer.note_reverted(sequence, order, "not matched again")

    def _revert(self, one: Applied, reason: str) -> None:
        self.reverted.append(Reverted(one.sequence, one.entry, reason))
        log.error("reverted", sequence=one.sequence, kind=_get_name(one.entry), reason=reason)

    def _submit(self, entry: Entry) -> Execution | None:
        """Ask for an entry again; return what became of its order.

        Raises
        ------
        RejectedError
        """
        sequencer = self._sequencer
        match entry:
            case OrderEntry():
                return self._submit_order(entry)
            case HoldEntry():
                trigger = Trigger(entry.is_index, entry.is_above, entry.level)
                return self._submit_order(entry.order, trigger)
            case FireEntry():
                sequencer.fire_due()
                fired = self._fired.get((entry.account, entry.slot))
                return fired.pop(0) if fired else None
            case CancelEntry():
                sequencer.cancel(AccountId(entry.account), SlotId(entry.slot))
            case CancelAllEntry():
                market = MarketId(entry.market) if entry.market else None
                sequencer.cancel_all(AccountId(entry.account), market)
            case DeadManEntry():
                sequencer.set_dead_man(AccountId(entry.account), entry.seconds)
            case ProtectEntry():
                account, underlying = AccountId(entry.account), MarketId(entry.underlying)
                sequencer.protect(account, underlying, entry.seconds, entry.lots, entry.fills)
            case ResumeEntry():
                sequencer.resume(AccountId(entry.account), MarketId(entry.underlying))
            case TransferEntry() | WithdrawEntry() | KeyEntry():
                sequencer.submit_action(to_action(entry), entry.signature)
            case ObserveEntry():
                market = MarketId(entry.market)
                sequencer.observe(market, to_observations(entry), tuple(entry.signatures))
            case SurfaceEntry():
                sequencer.surface(entry.to_surface(), tuple(entry.signatures))
            case LiquidateEntry():
                sequencer.liquidate(entry.to_liquidate(), entry.signature)
            case PokeEntry():
                sequencer.poke(Kind(entry.kind), entry.subject, entry.detail)
            case ClockEntry():
                sequencer.set_clock(max(entry.time, self._floor))
            case MessageEntry():
                # Of this place in the queue, whatever stands there now.
                index = sequencer.state.globals.queue_index
                if entry.index == index and index in self._messages:
                    sequencer.consume_message(index, self._messages[index])
            case DataFeeEntry() | SealEntry() | RebaseEntry() | RevertEntry():
                # Told anew; cut anew; undone, or else it would not be met here; known already.
                pass
        return None

    def _submit_order(self, entry: OrderEntry, trigger: Trigger | None = None) -> Execution | None:
        policy = SelfTradePolicy(entry.self_trade) if entry.self_trade else None
        terms = Terms(entry.client_id, policy, entry.is_quote, trigger=trigger)
        account, slot = AccountId(entry.account), SlotId(entry.slot)
        receipt = self._sequencer.submit_order(
            account, slot, entry.to_order(), entry.signature, terms
        )
        return receipt.execution


def compare(before: Execution | None, after: Execution | None) -> str | None:
    """Return in what an order has come out otherwise; None when it has not. One without an
    execution is held."""
    if before is None:
        return None if after is None else f"{after.status.name} instead of HELD"
    if after is None:
        return "not matched again"
    if before.fills != after.fills:
        return "other fills" if after.reason is None else f"other fills: {after.reason.name}"
    if before.status != after.status:
        return f"{after.status.name} instead of {before.status.name}"
    return None


def _is_acknowledged(undone: Applied) -> bool:
    """Return whether somebody was told that a request of theirs had been carried out."""
    if undone.receipt.execution is not None:
        return undone.receipt.execution.filled > 0 or undone.receipt.execution.reason is None
    return isinstance(
        undone.entry,
        HoldEntry
        | DeadManEntry
        | ProtectEntry
        | ResumeEntry
        | TransferEntry
        | WithdrawEntry
        | KeyEntry
        | LiquidateEntry,
    )


def _get_name(entry: Entry) -> str:
    return type(entry).__name__.removesuffix("Entry").lower()
