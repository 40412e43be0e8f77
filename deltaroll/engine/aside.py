"""What would happen? Computed on the live state, which is as before afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from deltaroll.protocol.fault import Fault, TransitionFault
from deltaroll.protocol.messages import process_action
from deltaroll.protocol.state import State, reset_meter
from deltaroll.protocol.types import Transaction


@contextmanager
def set_aside(state: State) -> Iterator[None]:
    """Undo at the end whatever is done inside; the open chunk's weight stays as it is, too."""
    meter = state.meter
    reset_meter(state)
    state.begin()
    try:
        yield
    finally:
        state.rollback()
        state.meter = meter


def find_refusal(state: State, transaction: Transaction) -> Fault:
    """Return why the protocol would not do what is asked, alone in a chunk; NONE when it would."""
    with set_aside(state):
        try:
            process_action(state, transaction)
        except TransitionFault as problem:
            return problem.fault
    return Fault.NONE
