"""A machine at one moment: taken by copying, written as lines of JSON, and made a machine again.

All leaves and orders are values that are replaced, never changed, so that a copy of the maps that
hold them is enough. That takes milliseconds; writing it down can wait for another thread.
"""

import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from deltaroll.engine.matching import Execution, Layout, OrderStatus, Reason, RestingOrder
from deltaroll.node.builder import OpenChunk
from deltaroll.node.client_ids import Named
from deltaroll.node.entries import HoldEntry, decode_entry, encode_entry
from deltaroll.node.machine import Machine
from deltaroll.node.protection import Protection
from deltaroll.protocol.codec import decode_chunk, encode_chunk
from deltaroll.protocol.leaf import decode_market, encode_market
from deltaroll.protocol.state import Meter, State
from deltaroll.protocol.transition import Progress
from deltaroll.protocol.types import (
    Account,
    AccountId,
    Address,
    Exit,
    Globals,
    MarketId,
    MarketLeaf,
    Message,
    Order,
    Slot,
    SlotId,
    Timestamp,
)

LINE_ITEMS = 500
"""Of a list, in one line: whoever writes it holds up other threads no longer than that."""


class ChunkPart(msgspec.Struct, frozen=True):
    """The open chunk."""

    clock: Timestamp
    data: bytes
    """Its transactions as they would be posted; empty: none."""
    signatures: list[bytes]
    progress: Progress
    keys_changed: bool


class MeterPart(msgspec.Struct, frozen=True):
    """What the open chunk weighs so far."""

    gas: int
    witness: int
    transactions: int
    max_gas: int
    max_witness: int
    accounts: set[AccountId]
    markets: set[MarketId]
    slots: set[tuple[AccountId, SlotId]]
    slots_of: list[tuple[AccountId, int]]
    exits: int
    messages: int


class CorePart(msgspec.Struct, frozen=True):
    """What there is one of."""

    globals: Globals
    clock: Timestamp
    number: int
    chunk: ChunkPart | None
    meter: MeterPart


NamedPart = tuple[
    AccountId, str, bytes, int, Timestamp, int, int, tuple[OrderStatus, int, Reason | None] | None
]
OrderPart = tuple[AccountId, SlotId, Address, Address, Order, bytes, int, bool, int, str, bool]
ProtectionPart = tuple[AccountId, MarketId, int, int, int, bool, int, list[tuple[Timestamp, int]]]


@dataclass(frozen=True, slots=True)
class Capture:
    """A machine's contents, not to change any more."""

    globals: Globals
    accounts: dict[AccountId, Account]
    slots: dict[AccountId, dict[SlotId, Slot]]
    markets: dict[MarketId, MarketLeaf]
    exits: list[Exit]
    messages: dict[int, Message]
    meter: MeterPart
    clock: Timestamp
    number: int
    opened: OpenChunk | None
    sealed_in: list[int]
    layout: Layout
    orders: list[tuple[RestingOrder, int, bool]]
    """With their lots and whether they are posted, which change."""
    nonces: dict[tuple[AccountId, SlotId], int]
    names: list[tuple[AccountId, list[tuple[str, Named]]]]
    held: list[tuple[int, HoldEntry]]
    protections: list[ProtectionPart]
    dead_men: dict[AccountId, Timestamp]


@contextmanager
def pause_collection() -> Iterator[None]:
    """Keep the garbage collector from looking at everything while much is made that stays."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@pause_collection()
def capture(machine: Machine) -> Capture:
    """Copy what a machine holds; between two entries."""
    state, desk, chunk = machine.state, machine.desk, machine.builder.open_chunk
    meter = state.meter
    return Capture(
        globals=state.globals,
        accounts=dict(state.accounts),
        slots={account: dict(slots) for account, slots in state.slots.items()},
        markets=dict(state.markets),
        exits=list(state.exits),
        messages=dict(state.messages),
        meter=MeterPart(
            meter.gas,
            meter.witness,
            meter.transactions,
            meter.max_gas,
            meter.max_witness,
            set(meter.accounts),
            set(meter.markets),
            set(meter.slots),
            list(meter.slots_of.items()),
            meter.exits,
            meter.messages,
        ),
        clock=machine.builder.clock,
        number=machine.builder.number,
        opened=None
        if chunk is None
        else OpenChunk(
            chunk.clock,
            list(chunk.transactions),
            list(chunk.signatures),
            chunk.progress,
            chunk.keys_changed,
        ),
        sealed_in=list(machine.sealed_in),
        layout=machine.engine.get_layout(),
        orders=[(one, one.remaining, one.posted) for one in machine.engine.get_orders()],
        nonces=dict(machine.engine.nonces),
        names=[(account, list(names.items())) for account, names in desk.ids.get_all().items()],
        held=[(one.sequence, one.entry) for one in desk.triggers.get_all()],
        protections=[
            (
                account,
                underlying,
                one.seconds,
                one.lots,
                one.fills,
                one.is_frozen,
                one.traded,
                list(one.window),
            )
            for (account, underlying), one in desk.protections.get_all().items()
        ],
        dead_men=desk.dead_men.get_all(),
    )


def encode_capture(captured: Capture) -> Iterator[bytes]:
    """Yield the lines of a capture: each the name of a section, a space and JSON."""
    core = CorePart(
        captured.globals,
        captured.clock,
        captured.number,
        None if captured.opened is None else encode_open(captured.opened),
        captured.meter,
    )
    yield b"core " + msgspec.json.encode(core)
    for name, items in iterate_sections(captured):
        while part := list(islice(items, LINE_ITEMS)):
            yield name.encode() + b" " + msgspec.json.encode(part)


def iterate_sections(captured: Capture) -> Iterator[tuple[str, Iterator[Any]]]:
    """Yield the lists of a capture."""
    yield "accounts", iter(captured.accounts.items())
    yield "slots", ((account, list(slots.items())) for account, slots in captured.slots.items())
    yield "markets", ((market, encode_market(leaf)) for market, leaf in captured.markets.items())
    yield "exits", iter(captured.exits)
    yield "messages", iter(captured.messages.items())
    yield "sealed_in", iter(captured.sealed_in)
    yield "books", iter(captured.layout.markets)
    yield "holders", iter(captured.layout.accounts)
    yield "expiries", iter(captured.layout.expiries)
    yield "orders", (encode_order(*one) for one in captured.orders)
    yield "nonces", ((account, slot, used) for (account, slot), used in captured.nonces.items())
    yield (
        "names",
        (
            encode_named(account, name, named)
            for account, names in captured.names
            for name, named in names
        ),
    )
    yield "held", ((sequence, encode_entry(entry)) for sequence, entry in captured.held)
    yield "protections", iter(captured.protections)
    yield "dead_men", iter(captured.dead_men.items())


def encode_open(chunk: OpenChunk) -> ChunkPart:
    """Return an open chunk as it is written down."""
    return ChunkPart(
        chunk.clock,
        encode_chunk(chunk.clock, chunk.transactions) if chunk.transactions else b"",
        chunk.signatures,
        chunk.progress,
        chunk.keys_changed,
    )


def decode_open(part: ChunkPart) -> OpenChunk:
    """Return an open chunk again."""
    return OpenChunk(
        part.clock,
        list(decode_chunk(part.data)[1]) if part.data else [],
        part.signatures,
        part.progress,
        part.keys_changed,
    )


def encode_order(resting: RestingOrder, remaining: int, posted: bool) -> OrderPart:
    """Return an order as it was when it was captured."""
    return (
        resting.account,
        resting.slot,
        resting.owner,
        resting.signer,
        resting.order,
        resting.signature,
        remaining,
        posted,
        resting.sequence,
        resting.client_id,
        resting.is_quote,
    )


def encode_named(account: AccountId, client_id: str, named: Named) -> NamedPart:
    """Return a name and what became of its order."""
    execution = named.execution
    return (
        account,
        client_id,
        named.content,
        named.sequence,
        named.clock,
        named.slot,
        named.nonce,
        None if execution is None else (execution.status, execution.filled, execution.reason),
    )


SECTIONS: dict[str, Any] = {
    "accounts": list[tuple[AccountId, Account]],
    "slots": list[tuple[AccountId, list[tuple[SlotId, Slot]]]],
    "markets": list[tuple[MarketId, bytes]],
    "exits": list[Exit],
    "messages": list[tuple[int, Message]],
    "sealed_in": list[int],
    "books": list[MarketId],
    "holders": list[AccountId],
    "expiries": list[tuple[Timestamp, AccountId, SlotId]],
    "orders": list[OrderPart],
    "nonces": list[tuple[AccountId, SlotId, int]],
    "names": list[NamedPart],
    "held": list[tuple[int, bytes]],
    "protections": list[ProtectionPart],
    "dead_men": list[tuple[AccountId, Timestamp]],
}
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(shape) for name, shape in SECTIONS.items()
}
_decode_core = msgspec.json.Decoder(CorePart)


@dataclass(frozen=True, slots=True)
class Contents:
    """A snapshot that has been read."""

    core: CorePart
    sections: dict[str, list[Any]]


@pause_collection()
def decode_capture(lines: Iterator[bytes]) -> Contents:
    """Return what lines of `encode_capture` hold.

    Raises
    ------
    ValueError
        When they are none.
    """
    core: CorePart | None = None
    sections: dict[str, list[Any]] = {name: [] for name in SECTIONS}
    for line in lines:
        name, _, body = line.partition(b" ")
        if name == b"core":
            core = _decode_core.decode(body)
        elif (decoder := _decoders.get(name.decode())) is not None:
            sections[name.decode()] += decoder.decode(body)
        else:
            raise ValueError(f"{name!r} is no section")
    if core is None:
        raise ValueError("there is no core")
    return Contents(core, sections)


@pause_collection()
def restore(contents: Contents, make: Callable[[State], Machine]) -> Machine:
    """Return a machine as it was.

    Parameters
    ----------
    make
        Returns a machine that has applied nothing on a state.
    """
    core, sections = contents.core, contents.sections
    machine = make(restore_state(core, sections))
    machine.sealed_in = sections["sealed_in"]
    opened = None if core.chunk is None else decode_open(core.chunk)
    machine.builder.restore(core.clock, core.number, opened)
    engine, desk = machine.engine, machine.desk
    layout = Layout(
        tuple(sections["books"]), tuple(sections["holders"]), tuple(sections["expiries"])
    )
    engine.lay_out(layout)
    for order in sections["orders"]:
        engine.restore(RestingOrder(*order))
    engine.settle(layout)
    engine.nonces = {(account, slot): nonce for account, slot, nonce in sections["nonces"]}
    for account, client_id, content, sequence, clock, slot, nonce, outcome in sections["names"]:
        execution = outcome and Execution(outcome[0], outcome[1], (), outcome[2], ())
        named = Named(content, sequence, clock, slot, nonce, execution)
        desk.ids.restore(account, client_id, named)
    for sequence, encoding in sections["held"]:
        entry = decode_entry(encoding)
        if not isinstance(entry, HoldEntry):
            raise ValueError(f"entry {sequence} is not held")
        desk.triggers.add(sequence, entry)
    for account, underlying, seconds, lots, fills, is_frozen, traded, window in sections[
        "protections"
    ]:
        protection = Protection(seconds, lots, fills, is_frozen, traded, deque(window))
        desk.protections.restore((account, underlying), protection)
    for account, deadline in sections["dead_men"]:
        desk.dead_men.set(account, deadline)
    machine.recorder.take_state()
    return machine


def restore_state(core: CorePart, sections: dict[str, list[Any]]) -> State:
    """Return the state of a snapshot."""
    bare = State()
    bare.globals = core.globals
    bare.accounts = dict(sections["accounts"])
    bare.slots = {account: dict(slots) for account, slots in sections["slots"]}
    bare.markets = {market: decode_market(leaf) for market, leaf in sections["markets"]}
    bare.exits = sections["exits"]
    bare.messages = dict(sections["messages"])
    # A copy knows that everything has to be hashed.
    state = bare.copy_before(0)
    part, meter = core.meter, Meter()
    meter.gas, meter.witness, meter.transactions = part.gas, part.witness, part.transactions
    meter.max_gas, meter.max_witness = part.max_gas, part.max_witness
    meter.accounts, meter.markets, meter.slots = part.accounts, part.markets, part.slots
    meter.slots_of = dict(part.slots_of)
    meter.exits, meter.messages = part.exits, part.messages
    state.meter = meter
    return state
