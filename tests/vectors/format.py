"""Vectors on disk: one directory is one chunk on one state, and what must come of it.

`pre.json`
    The leaves that the chunk touches, in their canonical encoding: globals, accounts, order slots
    by account, markets, exits. They are the whole state before the chunk; the roots in the globals
    are theirs.
`chunk.hex`
    The posted data.
`context.json`
    What L1 says: the header's fields, the root that was posted, the queue's hash before the first
    message, the messages that the chunk may consume.
`post.hex`
    The state root after the chunk. Absent: the chunk must be rejected.
`fault.txt`
    By which fault; absent when there is a `post.hex`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deltaroll.protocol.fault import Fault, TransitionFault
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
from deltaroll.protocol.state import (
    Meter,
    State,
    compute_state_root,
    get_slot_root,
    set_account,
    set_market,
    set_slot,
)
from deltaroll.protocol.transition import process_chunk
from deltaroll.protocol.types import (
    AccountId,
    Address,
    Context,
    Exit,
    Globals,
    MarketId,
    Message,
    SlotId,
    Timestamp,
)
from tests.protocol.strategies import Case

OTHER_ROOT = b"\xee" * 32
"""Posted where the fault comes before any root."""


@dataclass(frozen=True, slots=True)
class Vector:
    """A chunk with its verdict."""

    case: Case
    posted_root: bytes
    post: bytes | None
    """None: the chunk must be rejected."""
    fault: Fault


def write_vector(case: Case, folder: Path, posted_root: bytes | None = None) -> Vector:
    """Write a case with what Python makes of it, as the directory `folder`.

    Parameters
    ----------
    posted_root
        What the proposer claims; the true root, or any where there is none, if left out.

    Returns
    -------
    Vector
        What `read_vector` reads. Where Python ends in something else than a fault, the fault is
        left out, and the vector cannot be read before that is mended.
    """
    small = reduce_case(case)
    pre = _encode_state(small.state)
    try:
        post, fault, _ = judge_case(small)
        known = True
    except Exception:  # noqa: BLE001 (the vector is of that very failure)
        small.state.rollback()
        post, fault, known = None, Fault.NONE, False
    posted = posted_root or post or OTHER_ROOT
    if post is not None and posted != post:
        post, fault = None, Fault.WRONG_POST_ROOT
    folder.mkdir(parents=True, exist_ok=True)
    for stale in ("post.hex", "fault.txt"):
        (folder / stale).unlink(missing_ok=True)
    _write_json(folder / "pre.json", pre)
    _write_json(folder / "context.json", _encode_context(small, posted))
    (folder / "chunk.hex").write_text(small.data.hex() + "\n", encoding="ascii")
    if post is not None:
        (folder / "post.hex").write_text(post.hex() + "\n", encoding="ascii")
    elif known:
        (folder / "fault.txt").write_text(fault.name + "\n", encoding="ascii")
    return Vector(small, posted, post, fault)


def read_vector(folder: Path) -> Vector:
    """Read a directory; ValueError when its leaves are not below the roots that it names."""
    pre = _read_json(folder / "pre.json")
    context = _read_json(folder / "context.json")
    state = _decode_state(pre)
    for number, message in enumerate(context["messages"]):
        state.messages[state.globals.queue_index + number] = Message(
            message["kind"],
            Address(bytes.fromhex(message["sender"])),
            Timestamp(message["time"]),
            bytes.fromhex(message["body"]),
        )
    case = Case(
        state,
        bytes.fromhex((folder / "chunk.hex").read_text(encoding="ascii")),
        Context(
            bytes.fromhex(context["domain"]),
            Timestamp(context["l1_time"]),
            context["queue_end"],
            context["previous_base_fee"],
            context["previous_blob_fee"],
            context["is_first"],
            context["is_last"],
        ),
        1,
        bytes.fromhex(context["queue_before"]),
    )
    post_file = folder / "post.hex"
    post, fault = None, Fault.NONE
    if post_file.exists():
        post = bytes.fromhex(post_file.read_text(encoding="ascii"))
    else:
        fault = Fault[(folder / "fault.txt").read_text(encoding="ascii").strip()]
    return Vector(case, bytes.fromhex(context["posted_root"]), post, fault)


def judge_case(case: Case) -> tuple[bytes | None, Fault, Meter]:
    """Apply a case, take it back; return its root or fault, and what it touches."""
    state = case.state
    root, fault = None, Fault.NONE
    state.begin()
    try:
        process_chunk(state, case.data, case.context)
        root = compute_state_root(state)
    except TransitionFault as problem:
        fault = problem.fault
    meter = state.meter
    state.rollback()
    compute_state_root(state)
    return root, fault, meter


def reduce_case(case: Case) -> Case:
    """Return the same chunk on a state that holds only what the chunk touches.

    The roots are others then, and nothing else: a transition sees no further than its witness.
    """
    before = case.state
    before.begin()
    # How it ends is not what is asked here.
    with suppress(Exception):
        process_chunk(before, case.data, case.context)
    meter = before.meter
    before.rollback()
    compute_state_root(before)
    state = State()
    for account_id in sorted(meter.accounts & before.accounts.keys()):
        set_account(state, account_id, before.accounts[account_id])
    for account_id, slot_id in sorted(meter.slots):
        slot = before.slots.get(account_id, {}).get(slot_id)
        if slot is not None:
            set_slot(state, account_id, slot_id, slot)
    for market_id in sorted(meter.markets & before.markets.keys()):
        set_market(state, market_id, before.markets[market_id])
    first = before.globals.queue_index
    for index in range(first, first + meter.messages):
        state.messages[index] = before.messages[index]
    _set_exits(state, before.exits)
    state.globals = before.globals
    compute_state_root(state)
    return replace(case, state=state)


def _set_exits(state: State, exits: list[Exit]) -> None:
    state.exits.extend(exits)
    state._dirty_exits.update(range(len(exits)))


def _encode_state(state: State) -> dict[str, Any]:
    return {
        "globals": encode_globals(state.globals).hex(),
        "accounts": {
            str(key): encode_account(account, get_slot_root(state, key)).hex()
            for key, account in state.accounts.items()
        },
        "slots": {
            str(key): {str(place): encode_slot(slot).hex() for place, slot in slots.items()}
            for key, slots in state.slots.items()
        },
        "markets": {str(key): encode_market(leaf).hex() for key, leaf in state.markets.items()},
        "exits": [encode_exit(leaf).hex() for leaf in state.exits],
    }


def _decode_state(pre: dict[str, Any]) -> State:
    state = State()
    slot_roots = {}
    for key, encoding in pre["accounts"].items():
        account, slot_roots[AccountId(int(key))] = decode_account(bytes.fromhex(encoding))
        set_account(state, AccountId(int(key)), account)
    for key, slots in pre["slots"].items():
        for place, encoding in slots.items():
            slot = decode_slot(bytes.fromhex(encoding))
            set_slot(state, AccountId(int(key)), SlotId(int(place)), slot)
    for key, encoding in pre["markets"].items():
        set_market(state, MarketId(int(key)), decode_market(bytes.fromhex(encoding)))
    _set_exits(state, [_decode_exit(bytes.fromhex(encoding)) for encoding in pre["exits"]])
    state.globals = decode_globals(bytes.fromhex(pre["globals"]))
    compute_state_root(state)
    if _encode_state(state) != pre:
        raise ValueError("a vector's leaves are not those of its roots")
    return state


def decode_globals(encoding: bytes) -> Globals:
    """Return the globals; the mirror of `encode_globals`."""
    widths = (4, 4, 5, 8, 16, 16, 16, 16, 16, 8, 8, 8, 8)
    values = []
    at = 98
    for width in widths:
        values.append(int.from_bytes(encoding[at : at + width], "big"))
        at += width
    account_count, exit_count, clock, *rest = values
    roots = (encoding[2:34], encoding[34:66], encoding[66:98])
    return Globals(*roots, account_count, exit_count, Timestamp(clock), *rest)


def _decode_exit(encoding: bytes) -> Exit:
    return Exit(
        int.from_bytes(encoding[1:3], "big"),
        Address(encoding[3:23]),
        int.from_bytes(encoding[23:39], "big"),
    )


def _encode_context(case: Case, posted_root: bytes) -> dict[str, Any]:
    context = case.context
    return {
        "domain": context.domain.hex(),
        "l1_time": context.l1_time,
        "queue_end": context.queue_end,
        "previous_base_fee": context.previous_base_fee,
        "previous_blob_fee": context.previous_blob_fee,
        "is_first": context.is_first,
        "is_last": context.is_last,
        "posted_root": posted_root.hex(),
        "queue_before": case.queue_before.hex(),
        "messages": [
            {
                "kind": message.kind,
                "sender": message.sender.hex(),
                "time": message.time,
                "body": message.body.hex(),
            }
            for _, message in sorted(case.state.messages.items())
        ],
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="ascii")


def _read_json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    return value
