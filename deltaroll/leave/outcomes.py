"""What became of messages of the L1 queue. No batch says so: the batches are applied again."""

from collections.abc import Collection
from dataclasses import dataclass

from deltaroll.engine.aside import set_aside
from deltaroll.node.follower import Follower, compute_context
from deltaroll.protocol.codec import decode_header, decode_transaction
from deltaroll.protocol.constants import WEIGHT_CHUNK_BYTES, WEIGHT_CHUNK_GAS
from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.messages import process_message
from deltaroll.protocol.state import State, charge, reset_meter
from deltaroll.protocol.transition import Progress, process_chunk_start, process_transaction
from deltaroll.protocol.types import Context, Message, Queue, Timestamp


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a served message came to."""

    fault: Fault
    """Why it was a no-op; NONE when it was honoured."""
    exit_index: int | None
    """The exit that it made."""


def compute_outcomes(follower: Follower, wanted: Collection[int]) -> dict[int, Outcome]:
    """Return the outcomes of those among the messages that the follower's batches have consumed."""
    found: dict[int, Outcome] = {}
    state = State()
    state.messages = follower.state.messages
    for previous, derived in zip(follower.chain, follower.chain[1:], strict=False):
        if all(index < state.globals.queue_index for index in wanted):
            break
        for place, chunk in enumerate(derived.chunks):
            context = compute_context(
                derived.submitted, previous.submitted, place, follower.gateway.domain
            )
            _apply_chunk(state, chunk.data, context, wanted, found)
    return found


def make_context(domain: bytes, now: Timestamp) -> Context:
    """Return what L1 would know about a chunk that is posted now and starts with a message."""
    return Context(
        domain=domain,
        l1_time=now,
        queue_end=0,
        previous_base_fee=0,
        previous_blob_fee=0,
        is_first=True,
        is_last=True,
    )


def find_refusal(state: State, message: Message, context: Context) -> Fault:
    """Return why a message would be passed over; NONE when it would be honoured."""
    with set_aside(state):
        try:
            process_message(state, message, context)
        except TransitionFault as problem:
            return problem.fault
    return Fault.NONE


def _apply_chunk(
    state: State,
    data: bytes,
    context: Context,
    wanted: Collection[int],
    found: dict[int, Outcome],
) -> None:
    reset_meter(state)
    charge(state, WEIGHT_CHUNK_GAS, WEIGHT_CHUNK_BYTES + len(data))
    decoder = decode_header(data)
    process_chunk_start(state, decoder.clock, context)
    progress = Progress()
    while (transaction := decode_transaction(decoder)) is not None:
        before = state.globals
        index = before.queue_index
        is_wanted = isinstance(transaction, Queue) and index in wanted
        refusal = find_refusal(state, state.messages[index], context) if is_wanted else Fault.NONE
        process_transaction(state, transaction, progress, context)
        if not is_wanted:
            continue
        if state.globals.skipped != before.skipped:
            # Alone it might have been honoured: then it was too heavy for any chunk.
            found[index] = Outcome(refusal or Fault.OVERWEIGHT, None)
            continue
        has_exit = state.globals.exit_count != before.exit_count
        found[index] = Outcome(Fault.NONE, before.exit_count if has_exit else None)
