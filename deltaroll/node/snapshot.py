"""A whole state as bytes, in the encodings of its leaves."""

from typing import Any

import msgspec

from deltaroll.protocol.leaf import (
    decode_account,
    decode_market,
    decode_slot,
    encode_account,
    encode_exit,
    encode_globals,
    encode_market,
    encode_slot,
)
from deltaroll.protocol.state import EMPTY_GLOBALS, State, compute_state_root, get_slot_root
from deltaroll.protocol.types import (
    AccountId,
    Address,
    Exit,
    Globals,
    MarketId,
    SlotId,
)

GLOBALS_HEAD = 2
HASHES = 3
HASH_BYTES = 32
WIDTHS = (4, 4, 5, 8, 16, 16, 16, 16, 16, 8, 8, 8, 8)
"""Of the globals' numbers, in the order of their leaf and of `Globals`."""


class SnapshotError(Exception):
    """Bytes that are no snapshot, or not of the state that they are said to be of."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """Leaves by id."""

    globals: bytes
    accounts: dict[int, bytes]
    slots: dict[int, dict[int, bytes]]
    markets: dict[int, bytes]
    exits: list[bytes]


def encode_snapshot(state: State) -> bytes:
    """Return a state as bytes; messages of the queue are no part of it."""
    compute_state_root(state)
    return msgspec.msgpack.encode(
        Snapshot(
            encode_globals(state.globals),
            {
                key: encode_account(account, get_slot_root(state, key))
                for key, account in state.accounts.items()
            },
            {
                key: {slot_id: encode_slot(slot) for slot_id, slot in slots.items()}
                for key, slots in state.slots.items()
            },
            {key: encode_market(leaf) for key, leaf in state.markets.items()},
            [encode_exit(leaf) for leaf in state.exits],
        )
    )


def decode_snapshot(encoding: bytes) -> State:
    """Return the state of a snapshot, its root checked.

    Raises
    ------
    SnapshotError
        When the bytes are no snapshot.
    """
    try:
        snapshot = msgspec.msgpack.decode(encoding, type=Snapshot)
    except msgspec.DecodeError as problem:
        raise SnapshotError(f"snapshot: {problem}") from problem
    state = State()
    state.globals = decode_globals(snapshot.globals)
    for key, account in snapshot.accounts.items():
        state.accounts[AccountId(key)] = decode_account(account)[0]
    for key, slots in snapshot.slots.items():
        state.slots[AccountId(key)] = {
            SlotId(slot_id): decode_slot(slot) for slot_id, slot in slots.items()
        }
    for key, leaf in snapshot.markets.items():
        state.markets[MarketId(key)] = decode_market(leaf)
    state.exits = [decode_exit(leaf) for leaf in snapshot.exits]
    root = state.globals
    # A copy hashes all of its leaves the first time it is asked for its root.
    state = state.copy_before(0)
    compute_state_root(state)
    if state.globals != root:
        raise SnapshotError("snapshot: the leaves do not lead to the roots in its globals")
    return state


def decode_globals(encoding: bytes) -> Globals:
    """Return the globals of their leaf.

    Raises
    ------
    SnapshotError
        When it is none.
    """
    at = GLOBALS_HEAD + HASHES * HASH_BYTES
    if len(encoding) != at + sum(WIDTHS) or encoding[:GLOBALS_HEAD] != _HEAD:
        raise SnapshotError(f"snapshot: {len(encoding)} bytes are no globals")
    values: list[Any] = [
        encoding[start : start + HASH_BYTES] for start in range(GLOBALS_HEAD, at, HASH_BYTES)
    ]
    for width in WIDTHS:
        values.append(int.from_bytes(encoding[at : at + width], "big"))
        at += width
    return Globals(*values)


def decode_exit(encoding: bytes) -> Exit:
    """Return the exit of its leaf."""
    return Exit(
        int.from_bytes(encoding[1:3], "big"),
        Address(encoding[3:23]),
        int.from_bytes(encoding[23:39], "big"),
    )


_HEAD = encode_globals(EMPTY_GLOBALS)[:GLOBALS_HEAD]
