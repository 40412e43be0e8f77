"""Witnesses: the leaves that a chunk touches, with the siblings that lead to the root before it."""

from deltaroll.protocol.constants import SLOT_DEPTH
from deltaroll.protocol.leaf import (
    encode_account,
    encode_globals,
    encode_market,
    encode_slot,
)
from deltaroll.protocol.signatures import Role, compute_chunk_requests
from deltaroll.protocol.state import (
    Meter,
    State,
    get_slot_root,
    reset_meter,
    touch_account,
    touch_market,
)
from deltaroll.protocol.tree import MerkleTree
from deltaroll.protocol.types import AccountId, Expiry, MarketId, Message, SlotId, Underlying

EMPTY_ACCOUNT = 0xFF
"""In place of the number of positions."""


def encode_siblings(siblings: list[bytes]) -> bytes:
    """Return a counted stream of sibling hashes."""
    return len(siblings).to_bytes(2, "big") + b"".join(siblings)


def encode_message(message: Message) -> bytes:
    """Return a queue message: kind, sender, time, length of the body, body."""
    return b"".join(
        (
            bytes((message.kind,)),
            message.sender,
            message.time.to_bytes(8, "big"),
            len(message.body).to_bytes(2, "big"),
            message.body,
        )
    )


def encode_account_entry(state: State, account_id: AccountId, slots: list[SlotId]) -> bytes:
    """Return one opened account with its opened order slots and their siblings."""
    account = state.accounts.get(account_id)
    parts = [account_id.to_bytes(3, "big")]
    if account is None:
        # A chunk may open the account and trade on it: its slots, all empty, are then opened too.
        parts.append(bytes((EMPTY_ACCOUNT,)))
    else:
        parts.append(bytes((len(account.positions),)))
        parts.append(encode_account(account, get_slot_root(state, account_id)))
    parts.append(bytes((len(slots),)))
    held = state.slots.get(account_id, {})
    for slot_id in slots:
        slot = held.get(slot_id)
        parts.append(slot_id.to_bytes(2, "big"))
        parts.append(b"\x00" if slot is None else b"\x01" + encode_slot(slot))
    if slots:
        tree = state._slot_trees.get(account_id, MerkleTree(SLOT_DEPTH))
        parts.append(encode_siblings(tree.get_multiproof(slots)))
    return b"".join(parts)


def encode_witness(state: State, meter: Meter) -> bytes:
    """Return the witness of a chunk.

    Parameters
    ----------
    state
        Before the chunk, with `compute_state_root` up to date.
    meter
        What applying the chunk touched, up to its fault if it has one.
    """
    first = state.globals.queue_index
    messages = [state.messages[index] for index in range(first, first + meter.messages)]
    parts = [
        encode_globals(state.globals),
        bytes((meter.exits, len(messages))),
        *(encode_message(message) for message in messages),
    ]
    accounts = sorted(meter.accounts)
    parts.append(len(accounts).to_bytes(2, "big"))
    slots: dict[AccountId, list[SlotId]] = {account_id: [] for account_id in accounts}
    for account_id, slot_id in sorted(meter.slots):
        slots[account_id].append(slot_id)
    parts.extend(encode_account_entry(state, key, slots[key]) for key in accounts)
    if accounts:
        parts.append(encode_siblings(state._account_tree.get_multiproof(accounts)))
    markets = sorted(meter.markets)
    parts.append(len(markets).to_bytes(2, "big"))
    for market_id in markets:
        leaf = state.markets.get(market_id)
        encoding = b"" if leaf is None else encode_market(leaf)
        parts.append(market_id.to_bytes(2, "big") + len(encoding).to_bytes(2, "big") + encoding)
    if markets:
        parts.append(encode_siblings(state._market_tree.get_multiproof(markets)))
    if meter.exits:
        first_exit = state.globals.exit_count
        exits = list(range(first_exit, first_exit + meter.exits))
        parts.append(encode_siblings(state._exit_tree.get_multiproof(exits)))
    return b"".join(parts)


def encode_signature_witness(state: State, data: bytes, position: int) -> bytes:
    """Return the witness of one signature of a chunk: the leaves that name the signer's key.

    `state` is the one before the chunk, with `compute_state_root` up to date. A position that the
    data does not require opens nothing.
    """
    reset_meter(state)
    _, requests = compute_chunk_requests(data)
    if position < len(requests):
        request = requests[position]
        if request.role in (Role.ORACLE, Role.SURFACE):
            subject = MarketId(request.subject)
            expiry = touch_market(state, subject) if request.role == Role.SURFACE else None
            if isinstance(expiry, Expiry):
                subject = expiry.underlying
            underlying = touch_market(state, subject)
            if isinstance(underlying, Underlying):
                touch_market(state, underlying.params.committee)
        else:
            touch_account(state, AccountId(request.subject))
    return encode_witness(state, state.meter)
