"""What a sequencer takes in from L1."""

from deltaroll.node.follower import Follower
from deltaroll.node.sequencer import Sequencer
from deltaroll.protocol.state import State
from deltaroll.protocol.types import Underlying

CALM = 8
"""What fills pay for data follows L1 when it is off by more than one part in this many. Every batch
moves the level that it follows, by an eighth of what is missing: a fee that followed every step
would fill a batch of its own, which is the next step."""


def take_in(sequencer: Sequencer, follower: Follower) -> None:
    """Look at L1, then tell the sequencer what it says."""
    follower.poll()
    tell(sequencer, follower)


def tell(sequencer: Sequencer, follower: Follower) -> None:
    """Tell the sequencer what L1 said when the follower last looked: its time, what it asks for
    data, then each new message of the queue.

    A message is consumed as soon as it is on the L1 head. Should L1 reorganise it away, the batch
    that carries it cannot land: the inbox compares the queue's hash.
    """
    if follower.head is not None:
        sequencer.set_clock(follower.head.time)
    level = follower.state.globals.base_fee_level
    if is_fee_due(sequencer.state, level):
        sequencer.set_data_fee(level)
    messages = follower.state.messages
    for index in range(sequencer.state.globals.queue_index, len(messages)):
        sequencer.consume_message(index, messages[index])
    sequencer.flush()


def is_fee_due(state: State, level: int) -> bool:
    """Return whether fills pay for data, and too much or too little of what L1 asks."""
    fee = state.globals.data_fee
    return abs(level - fee) * CALM > fee and any(
        isinstance(leaf, Underlying) and leaf.params.gas_market != 0
        for leaf in state.markets.values()
    )
