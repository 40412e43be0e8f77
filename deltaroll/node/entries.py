"""Entries of the durable log: everything from outside that a sequencer acts upon, in order."""

import msgspec

from deltaroll.protocol.types import (
    AccountId,
    Address,
    Liquidate,
    MarketId,
    Message,
    Observation,
    Order,
    SetTradingKey,
    SlotId,
    Surface,
    TimeInForce,
    Timestamp,
    Transfer,
    Withdraw,
)


class OrderEntry(msgspec.Struct, frozen=True, tag="order", array_like=True):
    """A signed order whose signature was good."""

    account: int
    slot: int
    market: int
    is_buy: bool
    price: int
    size: int
    nonce: int
    epoch: int
    expiry: int
    time_in_force: int
    post_only: bool
    reduce_only: bool
    signature: bytes
    signer: bytes
    client_id: str = ""
    """What the account calls it; empty: nothing."""
    self_trade: str = ""
    """What happens when it meets an order of its owner; empty: what the venue does."""
    is_quote: bool = False
    """It is under the account's market-maker protection."""

    def to_order(self) -> Order:
        """Return the order."""
        return Order(
            MarketId(self.market),
            self.is_buy,
            self.price,
            self.size,
            self.nonce,
            self.epoch,
            Timestamp(self.expiry),
            TimeInForce(self.time_in_force),
            self.post_only,
            self.reduce_only,
        )


class HoldEntry(msgspec.Struct, frozen=True, tag="hold", array_like=True):
    """A signed order that waits until a price has crossed a level."""

    order: OrderEntry
    is_index: bool
    """The index of its underlying triggers it, else the mark of its series."""
    is_above: bool
    """It is triggered at the level or above, else at the level or below."""
    level: int


class FireEntry(msgspec.Struct, frozen=True, tag="fire", array_like=True):
    """The trigger of an order that was held is met: it is matched now."""

    account: int
    slot: int


class CancelEntry(msgspec.Struct, frozen=True, tag="cancel", array_like=True):
    """One order leaves the book."""

    account: int
    slot: int


class CancelAllEntry(msgspec.Struct, frozen=True, tag="cancel_all", array_like=True):
    """An account's orders leave the book; market 0 means all markets."""

    account: int
    market: int


class DeadManEntry(msgspec.Struct, frozen=True, tag="dead_man", array_like=True):
    """An account's orders leave the book when the clock has moved by more than `seconds` without
    another such entry; 0: never."""

    account: int
    seconds: int


class ProtectEntry(msgspec.Struct, frozen=True, tag="protect", array_like=True):
    """An account's quotes on an underlying leave the book, and no new ones are taken, when more
    than `lots` or `fills` of them trade within `seconds`; 0 lots or fills: no such limit, 0
    seconds: no protection."""

    account: int
    underlying: int
    seconds: int
    lots: int
    fills: int


class ResumeEntry(msgspec.Struct, frozen=True, tag="resume", array_like=True):
    """Quotes on an underlying are taken again after its protection has tripped."""

    account: int
    underlying: int


class TransferEntry(msgspec.Struct, frozen=True, tag="transfer", array_like=True):
    """A signed transfer."""

    sender: int
    recipient: int
    amount: bytes
    nonce: int
    signature: bytes


class WithdrawEntry(msgspec.Struct, frozen=True, tag="withdraw", array_like=True):
    """A signed withdrawal."""

    account: int
    recipient: bytes
    amount: bytes
    nonce: int
    signature: bytes


class KeyEntry(msgspec.Struct, frozen=True, tag="key", array_like=True):
    """A signed change of trading key."""

    account: int
    key: bytes
    expiry: int
    nonce: int
    signature: bytes


class ObserveEntry(msgspec.Struct, frozen=True, tag="observe", array_like=True):
    """Signed prices; the marks of the underlying's series follow."""

    market: int
    signers: list[int]
    prices: list[int]
    times: list[int]
    signatures: list[bytes]


class SurfaceEntry(msgspec.Struct, frozen=True, tag="surface", array_like=True):
    """A volatility surface with the signatures of the members whose bits are set."""

    market: int
    signers: int
    ratio: int
    rate: int
    a: int
    b: int
    rho: int
    m: int
    sigma: int
    time: int
    signatures: list[bytes]

    def to_surface(self) -> Surface:
        """Return the surface."""
        return Surface(
            MarketId(self.market),
            self.signers,
            self.ratio,
            self.rate,
            self.a,
            self.b,
            self.rho,
            self.m,
            self.sigma,
            Timestamp(self.time),
        )


class LiquidateEntry(msgspec.Struct, frozen=True, tag="liquidate", array_like=True):
    """A signed bid for a share of a distressed account."""

    account: int
    target: int
    share: int
    reward: int
    nonce: int
    signature: bytes

    def to_liquidate(self) -> Liquidate:
        """Return the liquidation."""
        return Liquidate(
            AccountId(self.account), AccountId(self.target), self.share, self.reward, self.nonce
        )


class PokeEntry(msgspec.Struct, frozen=True, tag="poke", array_like=True):
    """Somebody asks for a transaction that nobody signs: its kind, and what it names."""

    kind: int
    subject: int
    detail: int


class DataFeeEntry(msgspec.Struct, frozen=True, tag="data_fee", array_like=True):
    """What L1 asks for data has changed: the smoothed base fee of the posted head."""

    level: int


class ClockEntry(msgspec.Struct, frozen=True, tag="clock", array_like=True):
    """L1 time has moved."""

    time: int


class MessageEntry(msgspec.Struct, frozen=True, tag="message", array_like=True):
    """A message of the L1 queue, to be consumed now."""

    index: int
    kind: int
    sender: bytes
    time: int
    body: bytes


class SealEntry(msgspec.Struct, frozen=True, tag="seal", array_like=True):
    """The open chunk is closed so that it can be posted."""


class AdoptedChunk(msgspec.Struct, frozen=True, array_like=True):
    """A chunk that somebody else has posted, with what L1 knows about it."""

    data: bytes
    signatures: bytes
    l1_time: int
    queue_end: int
    previous_base_fee: int
    previous_blob_fee: int
    is_first: bool
    is_last: bool


class RebaseEntry(msgspec.Struct, frozen=True, tag="rebase", array_like=True):
    """Chunks that L1 will never hold are undone, and the log goes on from those that it does.

    What was acknowledged in them follows in the log once more, as far as it still can.
    """

    chunk: int
    """Chunks before this one stay."""
    at: int
    """The entry in which the last of them was sealed: from that moment on everything is undone."""
    levels: list[int]
    """Base fee and blob fee level before the first adopted chunk; empty when there is none."""
    messages: list[MessageEntry]
    """Of the queue, that the adopted chunks consume."""
    adopted: list[AdoptedChunk]
    """What L1 holds after the chunks that stay."""


class RevertEntry(msgspec.Struct, frozen=True, tag="revert", array_like=True):
    """What was acknowledged with an entry that was undone does not stand."""

    undone: int
    """Sequence number of that entry."""
    order: OrderEntry | None
    """That was asked for, if it was one."""
    reason: str


Entry = (
    OrderEntry
    | HoldEntry
    | FireEntry
    | CancelEntry
    | CancelAllEntry
    | DeadManEntry
    | ProtectEntry
    | ResumeEntry
    | TransferEntry
    | WithdrawEntry
    | KeyEntry
    | ObserveEntry
    | SurfaceEntry
    | LiquidateEntry
    | PokeEntry
    | DataFeeEntry
    | ClockEntry
    | MessageEntry
    | SealEntry
    | RebaseEntry
    | RevertEntry
)
AMOUNT_BYTES = 12
"""Amounts have 96 bits, more than a MessagePack integer holds."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """Return an entry's bytes."""
    return _encoder.encode(entry)


def decode_entry(encoding: bytes) -> Entry:
    """Return the entry; msgspec.DecodeError for bytes that are none."""
    try:
        entry: Entry = _decoder.decode(encoding)
    except UnicodeDecodeError as problem:
        # A tag that is no text.
        raise msgspec.DecodeError(str(problem)) from problem
    return entry


def to_order_entry(
    account: AccountId,
    slot: SlotId,
    order: Order,
    signature: bytes,
    signer: Address,
    client_id: str = "",
    self_trade: str = "",
    is_quote: bool = False,
) -> OrderEntry:
    """Return the entry of an order."""
    return OrderEntry(
        account,
        slot,
        order.market,
        order.is_buy,
        order.price,
        order.size,
        order.nonce,
        order.epoch,
        order.expiry,
        int(order.time_in_force),
        order.post_only,
        order.reduce_only,
        signature,
        signer,
        client_id,
        self_trade,
        is_quote,
    )


def to_action_entry(
    action: Transfer | Withdraw | SetTradingKey, signature: bytes
) -> TransferEntry | WithdrawEntry | KeyEntry:
    """Return the entry of an owner's action."""
    match action:
        case Transfer():
            amount = action.amount.to_bytes(AMOUNT_BYTES, "big")
            return TransferEntry(action.sender, action.recipient, amount, action.nonce, signature)
        case Withdraw():
            amount = action.amount.to_bytes(AMOUNT_BYTES, "big")
            return WithdrawEntry(action.account, action.recipient, amount, action.nonce, signature)
        case SetTradingKey():
            return KeyEntry(action.account, action.key, action.expiry, action.nonce, signature)


def to_action(
    entry: TransferEntry | WithdrawEntry | KeyEntry,
) -> Transfer | Withdraw | SetTradingKey:
    """Return the action of an entry."""
    match entry:
        case TransferEntry():
            return Transfer(
                AccountId(entry.sender),
                AccountId(entry.recipient),
                int.from_bytes(entry.amount, "big"),
                entry.nonce,
            )
        case WithdrawEntry():
            return Withdraw(
                AccountId(entry.account),
                Address(entry.recipient),
                int.from_bytes(entry.amount, "big"),
                entry.nonce,
            )
        case KeyEntry():
            return SetTradingKey(
                AccountId(entry.account), Address(entry.key), Timestamp(entry.expiry), entry.nonce
            )


def to_observations(entry: ObserveEntry) -> tuple[Observation, ...]:
    """Return the observations of an entry."""
    return tuple(
        Observation(signer, price, Timestamp(time))
        for signer, price, time in zip(entry.signers, entry.prices, entry.times, strict=True)
    )


def to_message(entry: MessageEntry) -> Message:
    """Return the queue message of an entry."""
    return Message(entry.kind, Address(entry.sender), Timestamp(entry.time), entry.body)
