"""Builds chunks: applies transactions to the live state and collects what will be posted."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from deltaroll.node.ledger import Ledger
from deltaroll.node.log import SealedChunk
from deltaroll.protocol.codec import decode_header, decode_transaction, encode_chunk
from deltaroll.protocol.constants import WEIGHT_CHUNK_BYTES, WEIGHT_CHUNK_GAS
from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.state import State, charge, reset_meter
from deltaroll.protocol.transition import (
    Progress,
    process_chunk_end,
    process_chunk_start,
    process_transaction,
)
from deltaroll.protocol.types import (
    AccountId,
    Context,
    DataFee,
    Distress,
    Fill,
    Fund,
    Liquidate,
    List,
    Mark,
    MarketId,
    Observe,
    Queue,
    SetTradingKey,
    Socialise,
    Surface,
    Sweep,
    Timestamp,
    Transaction,
    Transfer,
    Withdraw,
)

MAX_SIGNATURES = 256
"""A chunk with more is cut before the next order. The inbox takes 512: what is left is for the one
sweep that is under way, which the chunk's weight bounds to fewer fills than that."""
ENCODED_BOUND = {
    Queue: 1,
    Fill: 80,
    Transfer: 40,
    Withdraw: 64,
    SetTradingKey: 64,
    Observe: 224,
    Mark: 8,
    Surface: 80,
    List: 8,
    Fund: 8,
    Sweep: 8,
    Distress: 8,
    Liquidate: 40,
    Socialise: 8,
    DataFee: 10,
}
"""Bytes that a transaction may add to a chunk's data at most, its table entries included."""


@dataclass(slots=True)
class OpenChunk:
    """What has been applied since the last cut."""

    clock: Timestamp
    transactions: list[Transaction] = field(default_factory=list)
    signatures: list[bytes] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    keys_changed: bool = False
    """A transaction may have changed who signs for whom: the next signed one needs a new chunk."""


class ChunkBuilder:
    """The executor of a sequencer: every change of its live state goes through here."""

    def __init__(self, state: State, domain: bytes, on_seal: Callable[[SealedChunk], None]) -> None:
        self.state = state
        self.clock = Timestamp(0)
        """Clock of chunks started from now on; see `move_clock`."""
        self.number = 0
        """Chunks sealed so far."""
        self.accounts: set[AccountId] = set()
        """Leaves that have been written since somebody cleared this; likewise the one below."""
        self.markets: set[MarketId] = set()
        self.ledger = Ledger()
        """What transactions have done since somebody took it; while it is kept."""
        self.keeps_ledger = False
        self._domain = domain
        self._on_seal = on_seal
        self._open: OpenChunk | None = None
        self._groups: list[tuple[int, int, Progress, bool, tuple[int, int]]] = []

    @property
    def is_empty(self) -> bool:
        """Whether a cut would do nothing."""
        return self._open is None or not self._open.transactions

    @property
    def open_chunk(self) -> OpenChunk | None:
        """What has been applied since the last cut; None when no chunk is open."""
        return self._open

    def restore(self, clock: Timestamp, number: int, chunk: OpenChunk | None) -> None:
        """Go on from a snapshot of the state."""
        self.clock = clock
        self.number = number
        self._open = chunk

    def execute(self, transaction: Transaction, signatures: tuple[bytes, ...]) -> None:
        """Apply a transaction and put it into the open chunk.

        Raises
        ------
        TransitionFault
            The transaction's fault; the state and the chunk are then as before.
        """
        chunk = self._open
        goes_on = isinstance(transaction, Fill) and transaction.taker_order is None
        if chunk is not None and len(chunk.signatures) > MAX_SIGNATURES and not goes_on:
            self._cut_unless_grouped()
        chunk = self._start(bool(signatures))
        if not chunk.transactions:
            # What failed before has left its weight: a first message is measured from nothing.
            self._weigh_nothing()
        progress = replace(chunk.progress)
        self.state.begin()
        try:
            charge(self.state, 0, ENCODED_BOUND[type(transaction)])
            process_transaction(self.state, transaction, progress, self._context())
        except TransitionFault:
            self.state.rollback()
            raise
        self._note(transaction)
        self.state.commit()
        chunk.progress = progress
        chunk.transactions.append(transaction)
        chunk.signatures.extend(signatures)
        if isinstance(transaction, Queue | SetTradingKey | List):
            chunk.keys_changed = True

    def begin(self) -> None:
        """Start a group of transactions that stays in one chunk and can be undone."""
        chunk = self._start(True)
        self._groups.append(
            (
                len(chunk.transactions),
                len(chunk.signatures),
                replace(chunk.progress),
                chunk.keys_changed,
                self.ledger.mark(),
            )
        )
        self.state.begin()

    def commit(self) -> None:
        """Keep the group."""
        self.state.commit()
        self._groups.pop()

    def rollback(self) -> None:
        """Undo the group."""
        self.state.rollback()
        transactions, signatures, progress, keys_changed, mark = self._groups.pop()
        self.ledger.rewind(mark)
        chunk = self._open
        assert chunk is not None
        del chunk.transactions[transactions:]
        del chunk.signatures[signatures:]
        chunk.progress = progress
        chunk.keys_changed = keys_changed

    def cut(self) -> None:
        """Seal the open chunk; the next transaction starts a new one."""
        chunk = self._open
        if chunk is not None and chunk.transactions:
            sealed = SealedChunk(
                self.number,
                encode_chunk(chunk.clock, chunk.transactions),
                b"".join(chunk.signatures),
                self.state.globals.queue_index,
                len(chunk.transactions),
            )
            self.number += 1
            self._on_seal(sealed)
        self._open = None

    def discard(self) -> None:
        """Forget the open chunk: the state is as the last one that was sealed has left it."""
        self._open = None
        self._groups.clear()

    def adopt(self, data: bytes, signatures: bytes, context: Context) -> None:
        """Apply a chunk that somebody else has posted, and count it as the next of ours.

        Raises
        ------
        TransitionFault
            When it breaks a rule.
        """
        self.state.begin()
        mark = self.ledger.mark()
        try:
            transactions = self._process_chunk(data, context)
        except TransitionFault:
            self.state.rollback()
            self.ledger.rewind(mark)
            raise
        self.state.commit()
        self.clock = max(self.clock, self.state.globals.clock)
        queue_end = self.state.globals.queue_index
        sealed = SealedChunk(self.number, data, signatures, queue_end, transactions)
        self.number += 1
        self._on_seal(sealed)

    def move_clock(self, clock: Timestamp) -> None:
        """Let time pass: what comes now belongs to a later chunk.

        The state's clock moves at once, so that what is checked before a chunk is open is checked
        at the clock of that chunk.
        """
        self.cut()
        self.clock = clock
        self.state.globals = replace(self.state.globals, clock=clock)

    def _process_chunk(self, data: bytes, context: Context) -> int:
        """Apply a chunk as `process_chunk` does, noting each transaction; return how many."""
        reset_meter(self.state)
        charge(self.state, WEIGHT_CHUNK_GAS, WEIGHT_CHUNK_BYTES + len(data))
        decoder = decode_header(data)
        process_chunk_start(self.state, decoder.clock, context)
        progress = Progress()
        while (transaction := decode_transaction(decoder)) is not None:
            self.state.begin()
            process_transaction(self.state, transaction, progress, context)
            self._note(transaction)
            self.state.commit()
        process_chunk_end(self.state, progress, context)
        return progress.count

    def _note(self, transaction: Transaction) -> None:
        """Note what the transaction since the last `State.begin` has written."""
        self.state.note_changes(self.accounts, self.markets)
        if self.keeps_ledger:
            self.ledger.note(self.state, transaction, self.state.get_accounts_before())

    def _cut_unless_grouped(self) -> None:
        # A group stays in one chunk: it began with a cut of its own where one was needed.
        if not self._groups:
            self.cut()

    def _weigh_nothing(self) -> None:
        reset_meter(self.state)
        charge(self.state, WEIGHT_CHUNK_GAS, WEIGHT_CHUNK_BYTES)

    def _context(self) -> Context:
        # What only the posted batch will say is left open: the batcher checks it again.
        return Context(
            domain=self._domain,
            l1_time=self.clock,
            queue_end=len(self.state.messages),
            previous_base_fee=0,
            previous_blob_fee=0,
            is_first=False,
            is_last=False,
        )

    def _start(self, is_signed: bool) -> OpenChunk:
        if self._open is not None and self._open.keys_changed and is_signed:
            self._cut_unless_grouped()
        if self._open is None:
            process_chunk_start(self.state, self.clock, self._context())
            self._weigh_nothing()
            self._open = OpenChunk(self.clock)
        return self._open
