"""What clients send over the WebSocket and by POST, and what they are answered.

One definition for JSON and MessagePack; the OpenAPI and AsyncAPI documents are made from it. Prices
and amounts are collateral units, sizes lots, times seconds since 1970 (of L1). Amounts that may not
fit 53 bits are decimal strings.
"""

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from deltaroll.engine.matching import SelfTradePolicy
from deltaroll.node.queries import Query, Unsigned
from deltaroll.node.requests import (
    HexAddress,
    KeyRequest,
    LiquidateRequest,
    ObserveRequest,
    SurfaceRequest,
    TransferRequest,
    WithdrawRequest,
)

MAX_BATCH = 50
"""Items of one batch."""
Amount = Annotated[str, msgspec.Meta(pattern="^-?[0-9]+$", description="A whole number, in text.")]
Signature = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{128}$")]
Hash = Annotated[str, msgspec.Meta(pattern="^0x[0-9a-f]{64}$")]
ClientId = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._:-]*$", max_length=36)]
RequestId = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Account = Annotated[int, msgspec.Meta(ge=1, lt=2**24)]
AnyAccount = Annotated[int, msgspec.Meta(ge=0, lt=2**24)]
Market = Annotated[int, msgspec.Meta(ge=1, lt=2**16)]
Slot = Annotated[int, msgspec.Meta(ge=0, lt=2**12)]
Price = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Lots = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=86_400)]
Limit = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Time = Annotated[int, msgspec.Meta(ge=0, lt=2**40)]


class TimeInForceName(StrEnum):
    """How long an order lives. Every order also ends with its expiry: `gtd` is another word for
    `gtc`."""

    GTC = "gtc"
    GTD = "gtd"
    IOC = "ioc"
    FOK = "fok"


class OrderKind(StrEnum):
    """A market order is an immediate one: its price is the cap that its owner has signed."""

    LIMIT = "limit"
    MARKET = "market"


class TriggerKind(StrEnum):
    """A stop buys at the level or above and sells at it or below; a take-profit the other way."""

    STOP = "stop"
    TAKE_PROFIT = "take_profit"


class TriggerSource(StrEnum):
    """Which price meets the trigger."""

    MARK = "mark"
    INDEX = "index"


class TriggerTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an order that is held is to be matched."""

    kind: TriggerKind
    level: Price
    source: TriggerSource = TriggerSource.MARK


class OrderFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signed order and what comes with it; the signature covers the first twelve fields."""

    account: Account
    slot: Slot
    market: Market
    is_buy: bool
    price: Price
    size: Lots
    nonce: Limit
    expiry: Time
    signature: Signature
    epoch: Limit = 0
    time_in_force: TimeInForceName = TimeInForceName.GTC
    post_only: bool = False
    reduce_only: bool = False
    kind: OrderKind = OrderKind.LIMIT
    client_id: ClientId = ""
    self_trade: SelfTradePolicy | None = None
    """None: `cancel_maker`."""
    is_quote: bool = False
    """Under the account's market-maker protection."""
    replaces: Limit | None = None
    """Nonce of the order that has to be alive in the slot; it goes when this one is accepted."""
    trigger: TriggerTerms | None = None
    """None: it is matched at once."""


class CancelFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cancels one order: by its slot, or by its client id."""

    account: Account
    slot: Slot | None = None
    client_id: ClientId | None = None


class OrderItem(OrderFields, frozen=True, tag_field="op", tag="order"):
    """An order in a batch."""


class CancelItem(CancelFields, frozen=True, tag_field="op", tag="cancel"):
    """A cancellation in a batch."""


Item = OrderItem | CancelItem
Items = Annotated[list[Item], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]


class BatchFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Orders and cancellations, done in order, each answered on its own."""

    items: Items


class CancelAllFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cancels all of an account's orders, in one market or everywhere."""

    account: Account
    market: Market | None = None


class DeadManFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cancels everything of an account when it is not heard of for so many seconds of L1 time."""

    account: Account
    seconds: Seconds
    """0: the switch is off."""


class ProtectFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits what an account's quotes on an underlying may trade within a window."""

    account: Account
    underlying: Market
    seconds: Seconds
    """0: no protection."""
    lots: Limit = 0
    """0: no such limit; likewise for fills."""
    fills: Limit = 0


class ResumeFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lets an account quote again after its protection has tripped."""

    account: Account
    underlying: Market


class SessionFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shows that whoever sends it may trade for an account; EIP-712, by owner or trading key."""

    account: Account
    key: HexAddress
    """The address that signs."""
    expiry: Time
    nonce: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    signature: Signature


Submission = (
    TransferRequest
    | WithdrawRequest
    | KeyRequest
    | LiquidateRequest
    | ObserveRequest
    | SurfaceRequest
)


class OrderOp(OrderFields, frozen=True, tag_field="op", tag="order", kw_only=True):
    """Places an order."""

    id: RequestId = 0
    """Comes back in the answer."""


class BatchOp(BatchFields, frozen=True, tag_field="op", tag="batch", kw_only=True):
    """Up to fifty orders and cancellations."""

    id: RequestId = 0
    """Comes back in the answer."""


class CancelOp(CancelFields, frozen=True, tag_field="op", tag="cancel", kw_only=True):
    """Cancels an order."""

    id: RequestId = 0
    """Comes back in the answer."""


class CancelAllOp(CancelAllFields, frozen=True, tag_field="op", tag="cancel_all", kw_only=True):
    """Cancels an account's orders."""

    id: RequestId = 0
    """Comes back in the answer."""


class DeadManOp(DeadManFields, frozen=True, tag_field="op", tag="dead_man", kw_only=True):
    """A heartbeat: moves the account's deadline."""

    id: RequestId = 0
    """Comes back in the answer."""


class ProtectOp(ProtectFields, frozen=True, tag_field="op", tag="protect", kw_only=True):
    """Sets market-maker protection."""

    id: RequestId = 0
    """Comes back in the answer."""


class ResumeOp(ResumeFields, frozen=True, tag_field="op", tag="resume", kw_only=True):
    """Resumes quoting."""

    id: RequestId = 0
    """Comes back in the answer."""


class SubmitOp(
    msgspec.Struct,
    frozen=True,
    tag_field="op",
    tag="submit",
    kw_only=True,
    forbid_unknown_fields=True,
):
    """Anything else that is signed: a transfer, a withdrawal, a key, a bid, prices, a surface."""

    id: RequestId = 0
    """Comes back in the answer."""

    request: Submission


class QueryOp(
    msgspec.Struct,
    frozen=True,
    tag_field="op",
    tag="query",
    kw_only=True,
    forbid_unknown_fields=True,
):
    """A question that changes nothing."""

    id: RequestId = 0
    """Comes back in the answer."""

    query: Query


class AuthOp(SessionFields, frozen=True, tag_field="op", tag="auth", kw_only=True):
    """Opens a session on this connection."""

    id: RequestId = 0
    """Comes back in the answer."""


class SubscribeOp(
    msgspec.Struct,
    frozen=True,
    tag_field="op",
    tag="subscribe",
    kw_only=True,
    forbid_unknown_fields=True,
):
    """Asks for a channel: what it holds now, then every change."""

    id: RequestId = 0
    """Comes back in the answer."""

    # One name for each channel: no leading zeros, and no line end, which `$` alone lets by.
    channel: Annotated[str, msgspec.Meta(pattern=r"^[a-z]+(\.(0|[1-9][0-9]{0,7}))?$(?!\n)")]
    after: Unsigned | None = None
    """Sequence number of the last message seen: only what came since is sent, as far as it is still
    remembered; else the channel starts over with a message of kind `resync`."""


class UnsubscribeOp(
    msgspec.Struct,
    frozen=True,
    tag_field="op",
    tag="unsubscribe",
    kw_only=True,
    forbid_unknown_fields=True,
):
    """Ends a subscription."""

    id: RequestId = 0
    """Comes back in the answer."""

    channel: str


class PingOp(
    msgspec.Struct,
    frozen=True,
    tag_field="op",
    tag="ping",
    kw_only=True,
    forbid_unknown_fields=True,
):
    """Asks for an answer."""

    id: RequestId = 0
    """Comes back in the answer."""


Op = (
    OrderOp
    | BatchOp
    | CancelOp
    | CancelAllOp
    | DeadManOp
    | ProtectOp
    | ResumeOp
    | SubmitOp
    | QueryOp
    | AuthOp
    | SubscribeOp
    | UnsubscribeOp
    | PingOp
)


class ReceiptBody(msgspec.Struct, frozen=True):
    """What the sequencer has signed; `docs/trade/api.md` says how to check it."""

    subject: Hash
    account: int
    sequence: int
    clock: int
    outcome: int
    filled: int
    reason: int
    branch: list[Hash]
    signature: Signature


class Status(StrEnum):
    """What became of a request at once. What comes later is told by the account's channel."""

    DONE = "done"
    HELD = "held"
    RESTING = "resting"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class Accepted(msgspec.Struct):
    """A request that is in the log, durably."""

    sequence: int
    """Its place."""
    clock: int
    status: Status
    filled: int = 0
    """Lots, at once."""
    reason: str = ""
    """Why what is not filled is gone: a fault's name, or another reason."""
    receipt: ReceiptBody | None = None


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong with a request; nothing has changed."""

    code: str
    """For programs: a fault's name in lower case, or another word."""
    rule: str
    """For people."""
    field: str = ""
    value: Any = None
    retry_after: float | None = None
    """Seconds, when it is only too early."""


class Failed(msgspec.Struct, frozen=True):
    """The answer to a request that was refused."""

    error: Problem


class ItemAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one item of a batch: a result or an error."""

    result: Accepted | None = None
    error: Problem | None = None


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one request: a result or an error."""

    id: int
    result: Any = None
    error: Problem | None = None


class MessageKind(StrEnum):
    """What a message of a channel is."""

    SNAPSHOT = "snapshot"
    """Everything, as of its sequence number."""
    DELTA = "delta"
    """What changed."""
    RESYNC = "resync"
    """What was asked for is not remembered any more: everything, as of its sequence number."""
    MARGIN = "margin"
    """An account's margin; not part of the numbered messages."""
    CLOSED = "closed"
    """The channel is over for this client: its session has ended. The data is an error."""


class ChannelMessage(msgspec.Struct, frozen=True):
    """A message of a channel that the client has subscribed to."""

    channel: str
    kind: MessageKind
    sequence: int
    """Of the log."""
    previous: int
    """Sequence number of the channel's message before; another number means that one was lost."""
    data: Any
