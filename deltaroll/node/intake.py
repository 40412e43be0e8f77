"""What a sequencer takes in from L1."""

from deltaroll.node.follower import Follower
from deltaroll.node.sequencer import Sequencer


def take_in(sequencer: Sequencer, follower: Follower) -> None:
    """Tell the sequencer what L1 says: its time, then each new message of the queue.

    A message is consumed as soon as it is on the L1 head. Should L1 reorganise it away, the batch
    that carries it cannot land: the inbox compares the queue's hash.
    """
    sequencer.set_clock(follower.poll().time)
    messages = follower.state.messages
    for index in range(sequencer.state.globals.queue_index, len(messages)):
        sequencer.consume_message(index, messages[index])
    sequencer.flush()
