"""What a sequencer needs to go on from another state than the one it has built itself.

Others may propose while it is silent. Then the head of L1 is not the one that its sealed chunks
follow, and they can never land as they are: the same transactions are sealed anew on top of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from deltaroll.engine.matching import Executor, MatchingEngine
from deltaroll.engine.orders import RestingOrder
from deltaroll.protocol.codec import decode_header, iterate_transactions
from deltaroll.protocol.recovery import SIGNATURE_BYTES
from deltaroll.protocol.signatures import compute_requests
from deltaroll.protocol.state import State
from deltaroll.protocol.types import AccountId, SlotId, Transaction


def adopt_state(state: State, other: State) -> None:
    """Make a state another one, in place. No group of changes may be open."""
    for name in State.__slots__:
        setattr(state, name, getattr(other, name))


def split_chunk(data: bytes, signatures: bytes) -> Iterator[tuple[Transaction, tuple[bytes, ...]]]:
    """Yield the transactions of an own chunk, each with its signatures."""
    at = 0
    for transaction in iterate_transactions(decode_header(data)):
        end = at + SIGNATURE_BYTES * len(compute_requests(transaction))
        parts = range(at, end, SIGNATURE_BYTES)
        yield transaction, tuple(signatures[part : part + SIGNATURE_BYTES] for part in parts)
        at = end


def rebuild_engine(
    executor: Executor,
    orders: Sequence[RestingOrder],
    nonces: Mapping[tuple[AccountId, SlotId], int],
) -> MatchingEngine:
    """Return an engine with the same book on a new state: each order rests with what that state has
    not filled of it, and none that is dead there.
    """
    state = executor.state
    engine = MatchingEngine(executor)
    engine.nonces.update(nonces)
    for resting in orders:
        slot = state.slots.get(resting.account, {}).get(resting.slot)
        posted = slot is not None and slot.order == resting.order
        left = resting.order.size - (slot.filled if slot is not None and posted else 0)
        if left:
            engine.restore(replace(resting, remaining=left, posted=posted))
    engine.expire(state.globals.clock)
    for account in {resting.account for resting in orders}:
        engine.drop_stale(account)
    return engine
