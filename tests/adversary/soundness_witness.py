"""Forged witnesses: of bytes, of the parsed structure, of the state behind it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import IntEnum
from random import Random
from typing import Any

from deltaroll.protocol.fault import TransitionFault
from deltaroll.protocol.leaf import (
    ACCOUNT_HEAD_BYTES,
    COMMITTEE_TAG,
    EXPIRY_TAG,
    GRID_TAG,
    POSITION_BYTES,
    SERIES_TAG,
    SLOT_BYTES,
    UNDERLYING_TAG,
    decode_account,
    decode_market,
    decode_slot,
    encode_account,
    encode_globals,
    encode_market,
    encode_slot,
)
from deltaroll.protocol.state import (
    Meter,
    State,
    compute_state_root,
    set_account,
    set_market,
    set_slot,
)
from deltaroll.protocol.tree import MerkleTree
from deltaroll.protocol.types import AccountId, MarketId, SlotId
from deltaroll.protocol.witness import (
    EMPTY_ACCOUNT,
    encode_message,
    encode_witness,
)
from tests.adversary.soundness_flow import Chunk, copy_state
from tests.adversary.soundness_parts import AccountPart, Parts, SlotPart, join, parse

TAGS = (COMMITTEE_TAG, EXPIRY_TAG, GRID_TAG, SERIES_TAG, UNDERLYING_TAG)
UNENCODABLE = (AttributeError, OverflowError, TransitionFault, ValueError, struct.error)
"""A forged value that no leaf can hold."""


@dataclass(frozen=True, slots=True)
class Target:
    """A witness to forge, and what lies around it."""

    witness: bytes
    state: State
    """Which the witness is of."""
    meter: Meter
    others: Sequence[Chunk]
    """All chunks of the story."""


# Bytes


def flip_bits(rng: Random, target: Target) -> bytes:
    """One to three bits."""
    forged = bytearray(target.witness)
    for _ in range(rng.choice((1, 1, 2, 3))):
        forged[rng.randrange(len(forged))] ^= 1 << rng.randrange(8)
    return bytes(forged)


def swap_bytes(rng: Random, target: Target) -> bytes:
    """Two bytes, two words, or two spans change places."""
    forged = bytearray(target.witness)
    size = rng.choice((1, 2, 32, 32, rng.randint(1, 200)))
    if len(forged) < 2 * size:
        return target.witness
    a = rng.randrange(len(forged) - 2 * size + 1)
    b = rng.choice((a + size, rng.randint(a + size, len(forged) - size)))
    forged[a : a + size], forged[b : b + size] = forged[b : b + size], forged[a : a + size]
    return bytes(forged)


def move_segment(rng: Random, target: Target) -> bytes:
    """A span is doubled, dropped, moved, or comes from another witness."""
    witness = target.witness
    size = rng.choice((1, 2, 32, 64, rng.randint(1, 300)))
    at = rng.randrange(len(witness))
    span = witness[at : at + size]
    match rng.randrange(5):
        case 0:
            return witness[:at] + span + witness[at:]
        case 1:
            return witness[:at] + witness[at + size :]
        case 2:
            rest = witness[:at] + witness[at + size :]
            to = rng.randrange(len(rest) + 1)
            return rest[:to] + span + rest[to:]
        case 3:
            other = rng.choice(target.others).witness
            return witness[:at] + other[at : at + size] + witness[at + size :]
        case _:
            return witness[:at] + bytes(len(span)) + witness[at + size :]


def change_length(rng: Random, target: Target) -> bytes:
    """Bytes are missing at either end, or too many."""
    witness = target.witness
    match rng.randrange(6):
        case 0:
            return witness[: -rng.randint(1, 64)]
        case 1:
            return witness[: rng.randrange(len(witness))]
        case 2:
            return witness[rng.randint(1, 64) :]
        case 3:
            return witness + bytes(rng.choice((1, 2, 31, 32, 64)))
        case 4:
            return witness + rng.randbytes(rng.randint(1, 64))
        case _:
            return witness + rng.choice(target.others).witness


def take_other(rng: Random, target: Target) -> bytes:
    """Another chunk's witness, or a part of it."""
    other = rng.choice(target.others)
    if rng.random() < 0.4:
        return other.witness
    mine, theirs = parse(target.witness), parse(other.witness)
    for name in rng.sample(PARTS, rng.randint(1, 3)):
        setattr(mine, name, getattr(theirs, name))
    return join(mine)


PARTS = tuple(field.name for field in fields(Parts))


# Structure


def restore_leaf(rng: Random, target: Target) -> bytes:
    """Leaves as they were, or will be, at another chunk; with their siblings of then or of now."""
    parts = parse(target.witness)
    other = rng.choice(target.others).state
    if rng.random() < 0.2:
        # The other state's witness of the same leaves, which is well made.
        return encode_known(other, target.meter)
    fresh = parse(encode_known(other, target.meter))
    where = rng.choice(("accounts", "markets", "globals", "slots", "branch"))
    if where == "slots":
        for mine, then in zip(parts.accounts, fresh.accounts, strict=True):
            mine.slots = then.slots
            if rng.random() < 0.5:
                mine.siblings = then.siblings
    elif where == "branch":
        parts.account_siblings = fresh.account_siblings
        parts.market_siblings = fresh.market_siblings
    else:
        setattr(parts, where, getattr(fresh, where))
        if rng.random() < 0.5 and where != "globals":
            name = where[:-1] + "_siblings"
            setattr(parts, name, getattr(fresh, name))
    return join(parts)


def plant_node(rng: Random, target: Target) -> bytes:
    """The children of an inner node, or the node, as an encoding of a leaf, without the siblings
    below it."""
    parts, state = parse(target.witness), target.state
    trees: list[tuple[MerkleTree, list[Any], list[bytes]]] = [
        (state._account_tree, parts.accounts, parts.account_siblings),
        (state._market_tree, parts.markets, parts.market_siblings),
    ]
    trees = [entry for entry in trees if entry[1]]
    if not trees:
        return target.witness
    tree, entries, siblings = rng.choice(trees)
    height = rng.randint(1, 3)
    entry = rng.choice(entries)
    index = entry.id >> height
    left, right = (tree._levels[height - 1].get(2 * index + side, bytes(32)) for side in (0, 1))
    leaf = rng.choice((left + right, tree._levels[height].get(index, bytes(32)), left, right))
    if isinstance(entry, AccountPart):
        # As long as the format wants it, or as it is.
        entry.positions = 0
        entry.leaf = rng.choice((leaf, leaf.ljust(ACCOUNT_HEAD_BYTES, b"\0")[:ACCOUNT_HEAD_BYTES]))
    else:
        # With a tag, and without entries that would be counted, it is taken for a leaf.
        tagged = bytes((rng.choice(TAGS), *([0] * 8))) + leaf[9:]
        entry.leaf = rng.choice((leaf, tagged, tagged, tagged.ljust(len(entry.leaf), b"\0")))
    if rng.random() < 0.3:
        entry.id = index
    for _ in range(rng.choice((0, height, height))):
        if siblings:
            siblings.pop(0)
    return join(parts)


def permute_siblings(rng: Random, target: Target) -> bytes:
    """Siblings in another order, place or number."""
    parts = parse(target.witness)
    streams = [parts.account_siblings, parts.market_siblings, parts.exit_siblings]
    streams += [account.siblings for account in parts.accounts]
    streams = [stream for stream in streams if stream]
    if not streams:
        return target.witness
    stream = rng.choice(streams)
    at = rng.randrange(len(stream))
    match rng.randrange(8):
        case 0 | 1:
            other = rng.randrange(len(stream))
            stream[at], stream[other] = stream[other], stream[at]
        case 2:
            stream.reverse()
        case 3:
            del stream[at]
        case 4:
            stream.insert(at, rng.choice(stream))
        case 5:
            stream[at] = rng.choice((bytes(32), rng.randbytes(32), rng.choice(rng.choice(streams))))
        case 6:
            stream.insert(rng.choice((0, at, len(stream))), bytes(32))
        case _:
            rng.choice(streams).append(stream.pop())
    return join(parts)


def open_twice(rng: Random, target: Target) -> bytes:
    """Two leaves for one index, the same or one of them changed; or entries out of order."""
    parts = parse(target.witness)
    lists: list[list[Any]] = [parts.accounts, parts.markets]
    lists += [account.slots for account in parts.accounts]
    lists = [entries for entries in lists if entries]
    if not lists:
        return target.witness
    entries = rng.choice(lists)
    at = rng.randrange(len(entries))
    twin = deepcopy(entries[at])
    if rng.random() < 0.7:
        with_leaf = rng.choice(entries).leaf
        twin.leaf = rng.choice((with_leaf, forge_leaf(rng, twin), b""))
    match rng.randrange(4):
        case 0:
            entries.insert(at, twin)
        case 1:
            entries.insert(at + 1, twin)
        case 2:
            entries.append(twin)
        case _:
            # Under another index, which may be another's or go down.
            twin.id = rng.choice((max(0, twin.id - 1), rng.choice(entries).id))
            entries.insert(at, twin)
    return join(parts)


def deny_leaf(rng: Random, target: Target) -> bytes:
    """What exists does not, or what does not exist does; siblings stay."""
    parts = parse(target.witness)
    lists: list[list[Any]] = [parts.accounts, parts.markets]
    lists += [account.slots for account in parts.accounts]
    lists = [entries for entries in lists if entries]
    if not lists:
        return target.witness
    entry = rng.choice(rng.choice(lists))
    exists = bool(entry.leaf)
    if isinstance(entry, AccountPart):
        sample = next((part for part in parts.accounts if part.leaf), None)
        entry.positions = EMPTY_ACCOUNT if exists or sample is None else sample.positions
        entry.leaf = b"" if exists or sample is None else sample.leaf
    elif isinstance(entry, SlotPart):
        entry.presence = rng.choice((0, 2, 255)) if exists else 1
        entry.leaf = b"" if exists else rng.choice((bytes(SLOT_BYTES), rng.randbytes(SLOT_BYTES)))
    else:
        entry.leaf = b"" if exists else rng.choice(parts.markets).leaf
    return join(parts)


def forge_value(rng: Random, value: Any) -> Any:
    """Return another value of the same type."""
    if is_dataclass(value) and not isinstance(value, type):
        name = rng.choice(fields(value)).name
        return replace(value, **{name: forge_value(rng, getattr(value, name))})
    match value:
        case bool():
            return not value
        case IntEnum():
            return rng.choice(list(type(value)))
        case bytes():
            return bytes((*value[:-1], value[-1] ^ 1)) if value else b"\x01"
        case tuple():
            if not value:
                return value
            at = rng.randrange(len(value))
            changed = (*value[:at], forge_value(rng, value[at]), *value[at + 1 :])
            dropped = (*value[:at], *value[at + 1 :])
            return rng.choice((changed, changed, dropped, (*value, value[at])))
        case _:
            return rng.choice((value + 1, value - 1, 0, -value, value * 2, (1 << 63) - 1, 1))


def forge_leaf(rng: Random, part: Any) -> bytes:
    """Return the encoding of a leaf with a field changed; as it was when that cannot be."""
    leaf: bytes = part.leaf
    if not leaf:
        return leaf
    try:
        if isinstance(part, AccountPart):
            account, slot_root = decode_account(leaf)
            return encode_account(forge_value(rng, account), slot_root)
        if isinstance(part, SlotPart):
            return encode_slot(forge_value(rng, decode_slot(leaf)))
        return encode_market(forge_value(rng, decode_market(leaf)))
    except UNENCODABLE:
        return leaf


def forge_field(rng: Random, target: Target) -> bytes:
    """A field of a leaf or of the globals is another; siblings stay."""
    parts = parse(target.witness)
    entries: list[Any] = [*parts.accounts, *parts.markets]
    entries += [slot for account in parts.accounts for slot in account.slots]
    if not entries or rng.random() < 0.2:
        try:
            parts.globals = encode_globals(forge_value(rng, target.state.globals))
        except UNENCODABLE:
            return target.witness
        return join(parts)
    entry = rng.choice(entries)
    entry.leaf = forge_leaf(rng, entry)
    if isinstance(entry, AccountPart) and entry.leaf:
        entry.positions = (len(entry.leaf) - ACCOUNT_HEAD_BYTES) // POSITION_BYTES
    return join(parts)


def forge_messages(rng: Random, target: Target) -> bytes:
    """Messages in another order or number, or with another content."""
    parts, state = parse(target.witness), target.state
    messages = parts.messages
    first = state.globals.queue_index
    following = state.messages.get(first + len(messages))
    match rng.randrange(6):
        case 0 if messages:
            del messages[rng.randrange(len(messages))]
        case 1 if following is not None:
            messages.append(encode_message(following))
        case 2 if messages:
            messages.insert(rng.randrange(len(messages)), rng.choice(messages))
        case 3 if messages:
            at = rng.randrange(len(messages))
            try:
                messages[at] = encode_message(forge_value(rng, state.messages[first + at]))
            except UNENCODABLE:
                return target.witness
        case 4 if len(messages) > 1:
            rng.shuffle(messages)
        case _:
            known = state.messages.get(rng.randrange(first + 3))
            if known is None:
                return target.witness
            messages.insert(rng.randrange(len(messages) + 1), encode_message(known))
    return join(parts)


def forge_exits(rng: Random, target: Target) -> bytes:
    """Other places for exits, or none."""
    parts, meter = parse(target.witness), copy_meter(target.meter)
    if rng.random() < 0.5:
        meter.exits = rng.choice((0, meter.exits + 1, meter.exits + 3, max(0, meter.exits - 1)))
        return encode_witness(target.state, meter)
    parts.exits = rng.choice((0, parts.exits + 1, 255, 128, max(0, parts.exits - 1)))
    if rng.random() < 0.3:
        parts.exit_siblings = [bytes(32)] * rng.choice((1, 31, 32, 33))
    return join(parts)


# State


def copy_meter(meter: Meter) -> Meter:
    """Return a copy whose sets are its own."""
    twin = copy(meter)
    twin.accounts, twin.markets = set(meter.accounts), set(meter.markets)
    twin.slots = set(meter.slots)
    return twin


def encode_known(state: State, meter: Meter) -> bytes:
    """Return a witness with as many of the messages as there are."""
    meter = copy_meter(meter)
    first = state.globals.queue_index
    while meter.messages and first + meter.messages - 1 not in state.messages:
        meter.messages -= 1
    return encode_witness(state, meter)


def leave_out(rng: Random, target: Target) -> bytes:
    """A witness of the true state that does not open all that the chunk touches."""
    meter = copy_meter(target.meter)
    for _ in range(rng.choice((1, 1, 2))):
        match rng.randrange(4):
            case 0 if meter.accounts:
                gone = rng.choice(sorted(meter.accounts))
                meter.accounts.discard(gone)
                meter.slots = {key for key in meter.slots if key[0] != gone}
            case 1 if meter.slots:
                meter.slots.discard(rng.choice(sorted(meter.slots)))
            case 2 if meter.messages:
                meter.messages -= 1
            case _ if meter.markets:
                meter.markets.discard(rng.choice(sorted(meter.markets)))
            case _:
                pass
    return encode_witness(target.state, meter)


def open_more(rng: Random, target: Target) -> bytes:
    """A witness of the true state that opens what the chunk does not touch as well."""
    meter = copy_meter(target.meter)
    known = sorted(target.state.accounts)
    meter.accounts.add(AccountId(rng.choice((0, 1, 77, (1 << 24) - 1, *known))))
    meter.markets.add(MarketId(rng.choice((0, 9_999, 65_535, *sorted(target.state.markets)))))
    if rng.random() < 0.5:
        meter.slots.add((rng.choice(sorted(meter.accounts)), SlotId(rng.randrange(4096))))
    return encode_witness(target.state, meter)


def forge_state(rng: Random, target: Target) -> bytes:
    """A sound witness of a state that differs in one leaf; or its leaves under the true globals."""
    state, meter = copy_state(target.state), target.meter
    accounts = sorted(meter.accounts & state.accounts.keys())
    markets = sorted(meter.markets & state.markets.keys())
    slots = [key for key in sorted(meter.slots) if key[1] in state.slots.get(key[0], {})]
    try:
        match rng.randrange(4):
            case 0 if accounts:
                account = rng.choice(accounts)
                set_account(state, account, forge_value(rng, state.accounts[account]))
            case 1 if slots:
                account, slot = rng.choice(slots)
                set_slot(state, account, slot, forge_value(rng, state.slots[account][slot]))
            case 2:
                state.globals = forge_value(rng, state.globals)
            case _ if markets:
                market = rng.choice(markets)
                set_market(state, market, forge_value(rng, state.markets[market]))
            case _:
                pass
        compute_state_root(state)
        if rng.random() < 0.5:
            state.globals = target.state.globals
        return encode_known(state, meter)
    except UNENCODABLE:
        return target.witness


FORGERS: dict[str, Callable[[Random, Target], bytes]] = {
    "bits flipped": flip_bits,
    "bytes swapped": swap_bytes,
    "segment doubled or dropped": move_segment,
    "cut or extended": change_length,
    "of another chunk": take_other,
    "stale leaf": restore_leaf,
    "inner node as leaf": plant_node,
    "permuted siblings": permute_siblings,
    "two leaves for one index": open_twice,
    "leaf denied": deny_leaf,
    "leaf missing": leave_out,
    "leaf not needed": open_more,
    "forged field": forge_field,
    "forged state": forge_state,
    "forged messages": forge_messages,
    "forged exits": forge_exits,
}
"""By what they do to a witness. One that has nothing to forge returns the witness as it is."""
