"""What the history answers. Newest first; amounts that may not fit 53 bits are text."""

from typing import Annotated, Generic, TypeVar

import msgspec

from deltaroll.node.api.messages import Amount

Record = TypeVar("Record")
Cursor = Annotated[str, msgspec.Meta(pattern="^[0-9]+$")]


class Page(msgspec.Struct, Generic[Record], frozen=True):
    """A part of a history."""

    rows: tuple[Record, ...]
    applied: int
    """Sequence number of the log up to which the history is complete."""
    next: Cursor | None = None
    """The `cursor` of the next page; None: this is the last one."""


class FillRecord(msgspec.Struct, frozen=True, gc=False):
    """One side of a trade."""

    sequence: int
    clock: int
    account: int
    slot: int
    nonce: int
    client_id: str
    market: int
    is_buy: bool
    is_maker: bool
    price: int
    lots: int
    fee: Amount
    """Paid, with the fee for data; a rebate is below 0."""
    reverted_by: int | None
    """Step of the log that says that L1 has undone this; None: it holds."""


class TradeRecord(msgspec.Struct, frozen=True, gc=False):
    """A trade, without names. `is_buy`: the taker's side."""

    sequence: int
    clock: int
    market: int
    is_buy: bool
    price: int
    lots: int
    reverted_by: int | None


class OrderRecord(msgspec.Struct, frozen=True):
    """An order, and where it is or has ended."""

    sequence: int
    """Of the log's entry that told of it first."""
    clock: int
    account: int
    slot: int
    nonce: int
    client_id: str
    market: int
    is_buy: bool
    price: int
    size: int
    remaining: int
    state: str
    reason: str
    updated_at: int


class OrderEventRecord(msgspec.Struct, frozen=True):
    """An order has come to a state."""

    sequence: int
    clock: int
    state: str
    reason: str
    remaining: int
    client_id: str
    market: int
    is_buy: bool
    price: int
    size: int
    reverted_by: int | None


class FlowRecord(msgspec.Struct, frozen=True):
    """Cash that an account has received, or paid when it is below 0; fills apart."""

    sequence: int
    clock: int
    account: int
    kind: str
    """deposit, withdrawal, transfer, funding, settlement, liquidation, force_close, socialised or
    other."""
    amount: Amount
    market: int
    """Of funding, settlement and a forced close; else 0."""
    lots: int
    """That have settled or were closed, signed like the position; else 0."""
    counterparty: int
    """Of a transfer; 0 there is the insurance fund."""
    reverted_by: int | None


class BalanceRecord(msgspec.Struct, frozen=True):
    """An account's cash and positions after a step that has changed them."""

    sequence: int
    clock: int
    account: int
    cash: Amount
    positions: tuple[tuple[int, int], ...]
    """(Series, signed lots)."""
    reverted_by: int | None


class LiquidationRecord(msgspec.Struct, frozen=True):
    """A take-over of a share of an account in distress."""

    sequence: int
    clock: int
    account: int
    liquidator: int
    share: int
    """Parts per million."""
    moves: tuple[tuple[int, int, int], ...]
    """(Series, signed lots, mark)."""
    reverted_by: int | None


class AuctionRecord(msgspec.Struct, frozen=True, gc=False):
    """An auction has begun or ended."""

    sequence: int
    clock: int
    account: int
    distressed_at: int
    """0: it has ended."""
    reverted_by: int | None


class FundingRecord(msgspec.Struct, frozen=True, gc=False):
    """A perpetual's funding from here on."""

    sequence: int
    clock: int
    market: int
    mark: int
    index: int
    premium: int
    """What longs pay shorts a lot and funding period, from this moment on."""
    carry_long: Amount
    """What longs have paid a lot since the beginning."""
    carry_short: Amount
    """What shorts have received a lot."""
    reverted_by: int | None


class InsuranceRecord(msgspec.Struct, frozen=True, gc=False):
    """The insurance fund's cash after it has changed."""

    sequence: int
    clock: int
    amount: Amount
    reverted_by: int | None


class RebaseRecord(msgspec.Struct, frozen=True, gc=False):
    """L1 has undone the steps from `first` up to this one."""

    sequence: int
    clock: int
    first: int


class ReceiptRecord(msgspec.Struct, frozen=True):
    """A receipt that is stored: `/v1/accounts/{account}/receipts/{sequence}` has it whole."""

    sequence: int
    clock: int
    account: int
    subject: str
    outcome: int
    filled: int
    reason: int


class CandleRecord(msgspec.Struct, frozen=True, gc=False):
    """What has traded within a time."""

    start: int
    open: int
    high: int
    low: int
    close: int
    lots: int
    trades: int


class StageRecord(msgspec.Struct, frozen=True, gc=False):
    """When the node has last seen a batch come to a stage, by its own clock."""

    stage: str
    noted_at: int


class BatchRecord(msgspec.Struct, frozen=True):
    """A batch on L1."""

    index: int
    header_hash: str
    stage: str
    """posted, safe, final or settled; or removed: L1 does not hold it any more."""
    chunks: int
    block: int
    l1_time: int
    stages: tuple[StageRecord, ...]
