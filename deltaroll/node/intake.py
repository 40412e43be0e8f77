"""What a sequencer takes in from L1."""

from deltaroll.node.follower import Follower
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.state import State
from deltaroll.protocol.types import Underlying

CALM = 8
"""What fills pay for data follows L1 when it is off by more than one part in this many. Every batch
moves the level that it follows, by an eighth of what is missing: a fee that followed every step
would fill a batch of its own, which is the next step."""
MAX_BACKLOG = 8
"""Chunks not posted yet with which a fee is still told. Each may be a batch that lowers L1's level
by an eighth before the fee is posted, and a fee stays legal for ten of them (`MAX_DATA_FEE`); one
that is not legal any more could never be posted, nor anything after it."""


def take_in(sequencer: Sequencer, follower: Follower) -> None:
    """Look at L1, then tell the sequencer what it says."""
    follower.poll()
    tell(sequencer, follower)


def tell(sequencer: Sequencer, follower: Follower, depth: int = 0) -> None:
    """Tell the sequencer what L1 said when the follower last looked: its time, what it asks for
    data, then each new message of the queue.

    A message is consumed as soon as it is `depth` blocks below the L1 head. Should L1 reorganise it
    away all the same, the batch that carries it cannot land: see `recovery.py`. On a view that is
    not to be trusted nothing is taken in.
    """
    if follower.behind is not None or follower.head is None:
        return
    sequencer.set_clock(follower.head.time)
    level = follower.state.globals.base_fee_level
    if is_fee_due(sequencer.state, level) and has_small_backlog(sequencer, follower):
        sequencer.set_data_fee(level)
    for event in follower.queue[sequencer.state.globals.queue_index :]:
        if event.block + depth > follower.head.number:
            break
        sequencer.consume_message(event.index, event.message)
    sequencer.flush()


def has_small_backlog(sequencer: Sequencer, follower: Follower) -> bool:
    """Return whether next to nothing waits to be posted. While the head is not known to the store,
    that is not known either.
    """
    if not follower.chain:
        return False
    head = follower.chain[-1].submitted
    is_genesis = head.header.index == 0
    posted = 0 if is_genesis else sequencer.store.get_next_chunk(head.header_hash)
    return posted is not None and sequencer.chunks_sealed - posted < MAX_BACKLOG


def is_fee_due(state: State, level: int) -> bool:
    """Return whether fills pay for data, and too much or too little of what L1 asks."""
    fee = state.globals.data_fee
    return abs(level - fee) * CALM > fee and any(
        isinstance(leaf, Underlying) and leaf.params.gas_market != 0
        for leaf in state.markets.values()
    )
