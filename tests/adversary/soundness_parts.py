"""Witnesses taken apart and put together again, as the format has it or against it."""

from __future__ import annotations

from dataclasses import dataclass, field

from deltaroll.protocol.leaf import (
    ACCOUNT_HEAD_BYTES,
    POSITION_BYTES,
    SLOT_BYTES,
    encode_globals,
)
from deltaroll.protocol.state import EMPTY_GLOBALS
from deltaroll.protocol.witness import EMPTY_ACCOUNT, encode_siblings

GLOBALS_SIZE = len(encode_globals(EMPTY_GLOBALS))


@dataclass(slots=True)
class SlotPart:
    """An opened order slot; `leaf` is empty when it does not exist."""

    id: int
    presence: int
    leaf: bytes


@dataclass(slots=True)
class AccountPart:
    """An opened account."""

    id: int
    positions: int
    leaf: bytes
    slots: list[SlotPart] = field(default_factory=list)
    siblings: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class MarketPart:
    """An opened market."""

    id: int
    leaf: bytes


@dataclass(slots=True)
class Parts:
    """A witness taken apart."""

    globals: bytes
    exits: int
    messages: list[bytes]
    accounts: list[AccountPart]
    account_siblings: list[bytes]
    markets: list[MarketPart]
    market_siblings: list[bytes]
    exit_siblings: list[bytes]


class _Reader:
    def __init__(self, witness: bytes) -> None:
        self.witness = witness
        self.at = 0

    def take(self, size: int) -> bytes:
        self.at += size
        return self.witness[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def siblings(self) -> list[bytes]:
        return [self.take(32) for _ in range(self.number(2))]


def parse(witness: bytes) -> Parts:
    """Take a well-formed witness apart."""
    reader = _Reader(witness)
    head = reader.take(GLOBALS_SIZE)
    exits = reader.number(1)
    messages = []
    for _ in range(reader.number(1)):
        start = reader.at
        reader.take(29)
        reader.take(reader.number(2))
        messages.append(witness[start : reader.at])
    accounts = [_parse_account(reader) for _ in range(reader.number(2))]
    account_siblings = reader.siblings() if accounts else []
    markets = []
    for _ in range(reader.number(2)):
        market, size = reader.number(2), reader.number(2)
        markets.append(MarketPart(market, reader.take(size)))
    market_siblings = reader.siblings() if markets else []
    exit_siblings = reader.siblings() if exits else []
    return Parts(
        head,
        exits,
        messages,
        accounts,
        account_siblings,
        markets,
        market_siblings,
        exit_siblings,
    )


def _parse_account(reader: _Reader) -> AccountPart:
    account, positions = reader.number(3), reader.number(1)
    exists = positions != EMPTY_ACCOUNT
    leaf = reader.take(ACCOUNT_HEAD_BYTES + positions * POSITION_BYTES) if exists else b""
    slots = []
    for _ in range(reader.number(1)):
        slot, presence = reader.number(2), reader.number(1)
        slots.append(SlotPart(slot, presence, reader.take(SLOT_BYTES) if presence else b""))
    return AccountPart(account, positions, leaf, slots, reader.siblings() if slots else [])


def join(parts: Parts) -> bytes:
    """Put a witness together, whether it makes sense or not."""
    pieces = [parts.globals, bytes((parts.exits & 0xFF, len(parts.messages) & 0xFF))]
    pieces += parts.messages
    pieces.append(len(parts.accounts).to_bytes(2, "big"))
    for account in parts.accounts:
        pieces.append(account.id.to_bytes(3, "big") + bytes((account.positions,)) + account.leaf)
        pieces.append(bytes((len(account.slots) & 0xFF,)))
        for slot in account.slots:
            pieces.append(slot.id.to_bytes(2, "big") + bytes((slot.presence,)) + slot.leaf)
        if account.slots:
            pieces.append(encode_siblings(account.siblings))
    if parts.accounts:
        pieces.append(encode_siblings(parts.account_siblings))
    pieces.append(len(parts.markets).to_bytes(2, "big"))
    for market in parts.markets:
        size = len(market.leaf).to_bytes(2, "big")
        pieces.append(market.id.to_bytes(2, "big") + size + market.leaf)
    if parts.markets:
        pieces.append(encode_siblings(parts.market_siblings))
    if parts.exits:
        pieces.append(encode_siblings(parts.exit_siblings))
    return b"".join(pieces)
