"""The state transition of one chunk: the call tree is the protocol."""

from dataclasses import dataclass, replace

from deltaroll.protocol.arithmetic import div_down
from deltaroll.protocol.codec import decode_header, decode_transaction
from deltaroll.protocol.constants import (
    FEE_LEVEL_SMOOTHING,
    MAX_CLOCK_LAG,
    MAX_DATA_FEE,
    WEIGHT_CHUNK_BYTES,
    WEIGHT_CHUNK_GAS,
    WEIGHT_TRANSACTION_GAS,
)
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.fill import process_fill
from deltaroll.protocol.messages import process_action, process_queue
from deltaroll.protocol.state import State, charge, compute_state_root, reset_meter
from deltaroll.protocol.types import (
    AccountId,
    Context,
    DataFee,
    Fill,
    Queue,
    SlotId,
    Timestamp,
    Transaction,
)


@dataclass(slots=True)
class Progress:
    """What one transaction of a chunk leaves to the next."""

    sweep: tuple[AccountId, SlotId] | None = None
    """Taker and slot of the last transaction, when that was a fill."""
    must_go_on: bool = False
    """The last fill left a fill-or-kill order incomplete."""
    count: int = 0
    """Transactions before."""


def compute_fee_level(level: int, fee: int) -> int:
    """Return the smoothed L1 fee after a batch that paid `fee`, rounded down."""
    return level + div_down(fee - level, FEE_LEVEL_SMOOTHING)


def process_batch_start(state: State, context: Context) -> None:
    """Fold the previous batch's L1 fees into the fee levels."""
    state.globals = replace(
        state.globals,
        base_fee_level=compute_fee_level(state.globals.base_fee_level, context.previous_base_fee),
        blob_fee_level=compute_fee_level(state.globals.blob_fee_level, context.previous_blob_fee),
    )


def validate_clock(state: State, clock: Timestamp, context: Context) -> None:
    """Check a chunk's clock against the state's and against L1.

    Raises
    ------
    TransitionFault
        CLOCK_BACKWARD, CLOCK_AHEAD, CLOCK_STALE.
    """
    if clock < state.globals.clock:
        raise TransitionFault(Fault.CLOCK_BACKWARD)
    if clock > context.l1_time:
        raise TransitionFault(Fault.CLOCK_AHEAD)
    if clock + MAX_CLOCK_LAG < context.l1_time:
        raise TransitionFault(Fault.CLOCK_STALE)


def process_data_fee(state: State, change: DataFee) -> None:
    """Set what fills pay for their bytes on L1.

    Raises
    ------
    TransitionFault
        OUT_OF_RANGE above the bound that follows L1's base fee.
    """
    if change.fee > MAX_DATA_FEE * state.globals.base_fee_level:
        raise TransitionFault(Fault.OUT_OF_RANGE)
    state.globals = replace(state.globals, data_fee=change.fee)


def process_transaction(
    state: State, transaction: Transaction, progress: Progress, context: Context
) -> None:
    """Apply one transaction.

    Raises
    ------
    TransitionFault
        FILL_OR_KILL when an incomplete order is not gone on with; what the kind's process raises.
    """
    charge(state, WEIGHT_TRANSACTION_GAS, 0)
    sweep = progress.sweep
    if progress.must_go_on and not (
        isinstance(transaction, Fill)
        and transaction.taker_order is None
        and (transaction.taker, transaction.taker_slot) == sweep
    ):
        raise TransitionFault(Fault.FILL_OR_KILL)
    is_first = progress.count == 0
    progress.sweep = None
    progress.must_go_on = False
    state.meter.transactions = progress.count
    progress.count += 1
    match transaction:
        case Queue():
            process_queue(state, context, is_first)
        case Fill():
            progress.must_go_on = process_fill(state, transaction, sweep, False)
            progress.sweep = (transaction.taker, transaction.taker_slot)
        case DataFee():
            process_data_fee(state, transaction)
        case _:
            process_action(state, transaction)


def process_chunk_start(state: State, clock: Timestamp, context: Context) -> None:
    """Move the clock; the first chunk of a batch also folds in the L1 fees.

    Raises
    ------
    TransitionFault
        CLOCK_BACKWARD, CLOCK_AHEAD, CLOCK_STALE.
    """
    validate_clock(state, clock, context)
    state.globals = replace(state.globals, clock=clock)
    if context.is_first:
        process_batch_start(state, context)


def process_chunk_end(state: State, progress: Progress, context: Context) -> None:
    """Check that nothing is left open.

    Raises
    ------
    TransitionFault
        FILL_OR_KILL; QUEUE_UNDERRUN when the batch's last chunk leaves messages of its range.
    """
    if progress.must_go_on:
        raise TransitionFault(Fault.FILL_OR_KILL)
    if context.is_last and state.globals.queue_index != context.queue_end:
        raise TransitionFault(Fault.QUEUE_UNDERRUN)


def process_chunk(state: State, data: bytes, context: Context) -> None:
    """Apply a chunk, decoding as it goes; the first broken rule is the fault.

    Raises
    ------
    TransitionFault
        Any. The state is then as the transactions before the fault left it: `State.begin` first.
    """
    reset_meter(state)
    charge(state, WEIGHT_CHUNK_GAS, WEIGHT_CHUNK_BYTES + len(data))
    decoder = decode_header(data)
    process_chunk_start(state, decoder.clock, context)
    progress = Progress()
    while (transaction := decode_transaction(decoder)) is not None:
        process_transaction(state, transaction, progress, context)
    process_chunk_end(state, progress, context)


def compute_fault(state: State, data: bytes, context: Context, post_root: bytes) -> Fault:
    """Return the fault of a posted chunk, NONE when it is honest; `state` moves on when it is.

    Signatures are not looked at: see `validate_signatures`.
    """
    state.begin()
    try:
        process_chunk(state, data, context)
        root = compute_state_root(state)
    except TransitionFault as problem:
        state.rollback()
        return problem.fault
    if root != post_root:
        state.rollback()
        return Fault.WRONG_POST_ROOT
    state.commit()
    return Fault.NONE
