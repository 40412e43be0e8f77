"""The log and the machine that follows it: opening, committing, publishing, going back.

Everything from outside becomes a log entry first; the live state, the book and the chunks are
functions of the log. Callers acknowledge nothing before `flush` has returned.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from deltaroll.node.admission import Receipt
from deltaroll.node.entries import (
    AdoptedChunk,
    Entry,
    FireEntry,
    HoldEntry,
    MessageEntry,
    OrderEntry,
    RebaseEntry,
    RevertEntry,
    SealEntry,
    encode_entry,
)
from deltaroll.node.events import Listener, combine
from deltaroll.node.log import Log, SealedChunk, StoreError
from deltaroll.node.machine import Machine, copy_state
from deltaroll.node.receipts import (
    ReceiptKey,
    SignedReceipt,
    decode_receipt,
    encode_receipt,
    make_receipt,
    sign_receipts,
)
from deltaroll.node.replay import (
    FOREVER,
    Applied,
    Origin,
    Replay,
    compute_parts,
    has_survived,
)
from deltaroll.node.snapshots import Snapshots
from deltaroll.node.telling import tell_steps, validate_heard
from deltaroll.protocol.eip712 import hash_order
from deltaroll.protocol.fault import Fault
from deltaroll.protocol.state import State
from deltaroll.protocol.types import Order, Timestamp

log = structlog.get_logger(__name__)

MAX_FIRED = 32
"""Held orders that are matched at a time: nobody waits for thousands of them."""


@dataclass(frozen=True, slots=True)
class Base:
    """What L1 holds, as a log that goes on from there has to know it."""

    chunk: int
    """Our chunks before this one are on L1, or can still come there."""
    levels: tuple[int, ...] = ()
    messages: tuple[MessageEntry, ...] = ()
    adopted: tuple[AdoptedChunk, ...] = ()
    """Chunks of others after those; with fee levels and messages as `RebaseEntry` has them."""


def _ignore(entry: FireEntry, receipt: Receipt) -> None:
    """Nobody wants to know of it."""


class Core:
    """One rollup's log and machine, single-threaded: the caller serialises."""

    def __init__(
        self,
        store: Log,
        domain: bytes,
        start: State | None = None,
        receipt_key: ReceiptKey | None = None,
        listener: Listener | None = None,
        snapshots: Snapshots | None = None,
        listen_from: int = 0,
    ) -> None:
        """Open on a store: check its log, load the newest good snapshot, replay the rest.

        Parameters
        ----------
        start
            To begin with in place of the genesis; it is copied. The log does not have it, so the
            store has to be new, and is good for nothing once the process has ended.
        receipt_key
            Signs receipts; None: there are none.
        listener
            Gets the steps of the log, each when it is durable.
        snapshots
            Of this log; None: the whole of it is replayed, and none are taken.
        listen_from
            The first entry that the listener has not heard of: it gets the steps from there on.
            The further back that is, the older the snapshot that is loaded; 0: it gets everything,
            and the whole log is replayed. See `tell_steps` for other listeners.

        Raises
        ------
        StoreError
            When the log is damaged, does not reproduce the chunks that were sealed from it, or ends
            before what the listener has heard of.
        """
        self.store = store
        self.domain = domain
        self.receipt_key = receipt_key
        self._snapshots = snapshots
        self._origin = Origin(
            store, domain, State() if start is None else copy_state(start), snapshots
        )
        self._listener = listener
        self._has_told = False
        """Whether the listener has got anything from here."""
        self._unsigned: list[SignedReceipt] = []
        self._signed: dict[int, SignedReceipt] = {}
        """Of the last commit, by sequence number."""
        self.on_fired: Callable[[FireEntry, Receipt], None] = _ignore
        """Told of held orders that are matched."""
        cut = store.repair()
        loaded = self._open(listen_from)
        if cut is not None:
            store.finish_cut(self.chunks_sealed)
        if self.chunks_sealed != store.count_chunks():
            raise StoreError("store: there are chunks that the log does not explain")
        if snapshots is not None:
            snapshots.go_on(loaded, store.next_sequence)
            snapshots.offer(self._machine, store, domain)

    def _open(self, listen_from: int) -> int:
        """Replay the log; from older snapshots where newer ones turn out not to fit. Return the
        place of the one that did, 0 for none."""
        parts = compute_parts(self.store)
        before = record_from = FOREVER
        if self._listener is not None:
            validate_heard(self.store, listen_from)
            if listen_from and not has_survived(parts, listen_from - 1):
                tell_steps(self.store, self.domain, self._listener, listen_from, self._snapshots)
                record_from = self.store.next_sequence
            else:
                before = record_from = listen_from
        while True:
            machine, first = self._origin.build(parts, before)
            self._take(machine)
            try:
                Replay(machine, self.store, parts, first, record_from).run(self._publish)
                return first
            except StoreError as problem:
                if first == 0 or self._has_told:
                    raise
                log.error("snapshot_does_not_fit", sequence=first, error=str(problem))
                before = first - 1

    def _take(self, machine: Machine) -> None:
        machine.on_seal = self._keep_chunk
        self._machine = machine
        self.state = machine.state
        self.engine = machine.engine
        self.desk = machine.desk
        self._builder = machine.builder

    def _keep_chunk(self, chunk: SealedChunk) -> None:
        self.store.seal(chunk)

    def listen(self, listener: Listener) -> None:
        """Hand over the steps from now on, to whoever listens already too; those before have to be
        replayed."""
        self.flush()
        self._listener = combine(self._listener, listener)
        if not self._machine.recorder.is_on:
            self._machine.recorder.take_state()
            self._machine.recorder.is_on = True

    @property
    def clock(self) -> Timestamp:
        """The clock of the next chunk: L1 time as last told."""
        return self._builder.clock

    @property
    def chunks_sealed(self) -> int:
        """Chunks sealed since the beginning."""
        return self._builder.number

    def find_receipt(self, sequence: int) -> SignedReceipt | None:
        """Return the signed receipt of a committed entry, None when it has none."""
        signed = self._signed.get(sequence)
        if signed is None:
            stored = self.store.get_receipt(sequence)
            return None if stored is None else decode_receipt(stored)
        return signed

    def seal(self) -> None:
        """Close the open chunk, so that everything acknowledged can be posted."""
        if not self._builder.is_empty:
            self._process(SealEntry())

    def rebase(self, base: Base) -> list[Applied]:
        """Undo the chunks that L1 will not hold and go on from what it does.

        Returns the entries that are undone with what came of them, in order: they have to be
        applied anew. Nothing of it is durable before `flush`, and then all of it.

        Raises
        ------
        StoreError
            When the log cannot be replayed. This sequencer is of no use then.
        """
        self.flush()
        sealed_in = self._machine.sealed_in
        at = sealed_in[base.chunk - 1] if base.chunk else -1
        undone: list[Applied] = []
        told, recorder = self.desk.get_orders(), self._machine.recorder
        parts = compute_parts(self.store)
        machine, first = self._origin.build(parts, max(0, at))
        Replay(machine, self.store, parts, first).run(lambda: None, undone.append)
        entry = RebaseEntry(
            base.chunk, at, list(base.levels), list(base.messages), list(base.adopted)
        )
        sequence = self.store.append(encode_entry(entry))
        self.store.rewind(sequence, base.chunk)
        self._take(self._origin.build_before(sequence, entry, is_checked=True))
        self._machine.recorder.is_on = self._listener is not None
        self._machine.recorder.take_over(recorder, told)
        self._machine.apply(sequence, entry)
        if self._snapshots is not None:
            self._snapshots.drop(lambda one: one > at)
        return [one for one in undone if one.sequence >= at]

    def note_reverted(self, undone: int, entry: Entry, reason: str) -> None:
        """Log that what was acknowledged with an entry is undone, with nothing in its place."""
        order = entry.order if isinstance(entry, HoldEntry) else entry
        self._process(RevertEntry(undone, order if isinstance(order, OrderEntry) else None, reason))

    def flush(self) -> None:
        """Make everything so far durable: only now may it be acknowledged. Then it is published."""
        self._signed.clear()
        if self._unsigned:
            self._sign_receipts()
        self.store.flush()
        self._publish()
        if self._snapshots is not None:
            self._snapshots.offer(self._machine, self.store, self.domain)

    def close(self) -> None:
        """Make everything durable, take a snapshot for the next start, close the store."""
        self.flush()
        if self._snapshots is not None:
            if self.store.next_sequence > self._snapshots.latest:
                self._snapshots.take(self._machine, self.store, self.domain)
            self._snapshots.close()
        self.store.close()

    def _publish(self) -> None:
        steps = self._machine.steps
        if steps:
            self._machine.steps = []
            if self._listener is not None:
                self._has_told = True
                self._listener(steps)

    @property
    def is_firing(self) -> bool:
        """Whether held orders may be due that have not been matched yet."""
        return bool(self.desk.triggers) and not self._machine.is_settled

    def fire_due(self) -> None:
        """Match held orders whose triggers are met, as `Triggers.find_due` orders them, and no more
        than a few at a time: the rest is due the next time. Each may move a mark."""
        for _ in range(MAX_FIRED):
            held = self.desk.triggers.find_due(self.state)
            if held is None:
                self._machine.is_settled = True
                return
            account, slot = held.key
            subject = hash_order(account, slot, held.entry.order.to_order())
            entry = FireEntry(account, slot)
            self.on_fired(entry, self._log(entry, subject, account))

    def _process(
        self, entry: Entry, subject: bytes = b"", account: int = 0, order: Order | None = None
    ) -> Receipt:
        receipt = self._log(entry, subject, account, order)
        if not self._machine.is_settled:
            self.fire_due()
        return receipt

    def _log(
        self, entry: Entry, subject: bytes, account: int, order: Order | None = None
    ) -> Receipt:
        sequence = self.store.append(encode_entry(entry))
        receipt = self._machine.apply(sequence, entry, order)
        if subject and self.receipt_key is not None and receipt.fault == Fault.NONE:
            self._unsigned.append(
                make_receipt(
                    subject, account, sequence, receipt.clock, receipt.outcome, receipt.execution
                )
            )
        return receipt

    def _sign_receipts(self) -> None:
        key = self.receipt_key
        unsigned, self._unsigned = self._unsigned, []
        if key is not None:
            for signed in sign_receipts(key, self.domain, unsigned):
                self.store.keep_receipt(signed.sequence, encode_receipt(signed))
                self._signed[signed.sequence] = signed
