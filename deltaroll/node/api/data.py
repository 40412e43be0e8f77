"""What channels and REST say about the venue."""

from typing import Any

import msgspec

from deltaroll.node.api.messages import Amount
from deltaroll.node.events import (
    Distressed,
    Liquidation,
    OrderUpdate,
    Protection,
    Rebased,
)
from deltaroll.node.queries import MarginAnswer

Level = tuple[int, int]
"""(Price, lots)."""


class BookData(msgspec.Struct, frozen=True):
    """A book, best levels first; in a delta the levels that changed, with the lots that are left
    (0: the level is gone)."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class PublicTrade(msgspec.Struct, frozen=True, gc=False):
    """A trade, without names."""

    market: int
    price: int
    lots: int
    taker_is_buy: bool
    sequence: int
    clock: int


class TradesData(msgspec.Struct, frozen=True, omit_defaults=True):
    """Trades, oldest first; a snapshot has the latest ones."""

    trades: tuple[PublicTrade, ...]
    undone_from: int | None = None
    """L1 has undone the trades from this sequence number on that were told before: those that hold
    are told again, under new numbers."""


class IndexData(msgspec.Struct, frozen=True, gc=False):
    """An underlying's price."""

    market: int
    index: int
    """Per lot; 0: never observed."""
    observed_at: int
    halted_until: int
    """0: it trades."""


class Ticker(msgspec.Struct, frozen=True, gc=False):
    """A series at a glance. Greeks are per lot: delta and gamma Q48 (2^48 is 1), vega in collateral
    units for 1.00 of volatility, theta in collateral units a year."""

    market: int
    kind: str
    """perpetual, call or put."""
    status: str
    underlying: int
    index: int
    mark: int
    marked_at: int
    open_interest: int
    best_bid: int | None
    best_ask: int | None
    last_price: int | None
    last_lots: int | None
    delta: Amount
    gamma: Amount
    vega: Amount
    theta: Amount
    strike: int = 0
    expiry: int = 0
    """When it expires; 0: never."""


class AccountData(msgspec.Struct, frozen=True, tag="account"):
    """An account's leaf."""

    cash: Amount
    epoch: int
    """Of orders: those signed for another one are dead."""
    nonce: int
    """Of the last signed action; the next one's is higher."""
    distressed_at: int
    positions: tuple[tuple[int, int], ...]
    """(Series, size)."""


class Fill(msgspec.Struct, frozen=True, tag="fill", gc=False):
    """A trade as one side sees it."""

    account: int
    slot: int
    nonce: int
    client_id: str
    market: int
    is_buy: bool
    price: int
    lots: int
    is_maker: bool
    fee: Amount
    """Paid, with the fee for data; a rebate is below 0."""


AccountEvent = OrderUpdate | Fill | AccountData | Protection | Rebased


class OpenOrder(msgspec.Struct, frozen=True):
    """An order that is alive."""

    slot: int
    nonce: int
    client_id: str
    market: int
    is_buy: bool
    price: int
    size: int
    remaining: int
    expiry: int
    state: str
    sequence: int
    post_only: bool
    reduce_only: bool
    is_quote: bool
    trigger: str | None = None
    """Of one that is held: `mark >= 50000` and the like."""


class ProtectionData(msgspec.Struct, frozen=True):
    """Market-maker protection on an underlying."""

    underlying: int
    seconds: int
    lots: int
    fills: int
    is_frozen: bool


class AccountSnapshot(msgspec.Struct, frozen=True):
    """An account, its orders and its switches."""

    account: int
    leaf: AccountData
    orders: tuple[OpenOrder, ...]
    protections: tuple[ProtectionData, ...]
    dead_man: int | None
    """L1 time after which its orders are cancelled; None: never."""
    margin: MarginAnswer | None
    """None: there is none now, because a mark is stale."""


class AccountDelta(msgspec.Struct, frozen=True):
    """What happened to an account, in order; and its margin, whenever that has been computed."""

    events: tuple[AccountEvent, ...] = ()
    margin: MarginAnswer | None = None


class LiquidationsData(msgspec.Struct, frozen=True):
    """Take-overs, and auctions that begin or end; a snapshot has the auctions that are running."""

    events: tuple[Liquidation | Distressed, ...]


class InsuranceData(msgspec.Struct, frozen=True):
    """The insurance fund."""

    insurance: Amount


class BatchData(msgspec.Struct, frozen=True):
    """A batch on L1."""

    index: int
    header_hash: str
    stage: str
    """posted, safe, final or settled."""
    chunks: int
    block: int
    l1_time: int


class BatchesData(msgspec.Struct, frozen=True):
    """Batches, newest first: in a snapshot the latest ones, in a delta those that are new or have
    come to another stage."""

    batches: tuple[BatchData, ...]


ChannelData = (
    BookData
    | TradesData
    | IndexData
    | Ticker
    | AccountSnapshot
    | AccountDelta
    | LiquidationsData
    | InsuranceData
    | BatchesData
)


class SlotData(msgspec.Struct, frozen=True, gc=False):
    """An order slot that has been used."""

    slot: int
    nonce: int
    """The highest accepted in it: a new order's is higher."""
    filled_nonce: int
    """Of the last order that traded in it; 0: none has."""
    filled: int
    """Lots that it has traded."""


class OwnedAccounts(msgspec.Struct, frozen=True):
    """The accounts of an owner."""

    accounts: tuple[int, ...]


class ExitProof(msgspec.Struct, frozen=True):
    """What `Bridge.claimExit` takes besides the exit."""

    header: tuple[Any, ...]
    """Of the newest settled batch: the fields of `IRollupInbox.Header`, in order. Numbers that may
    not fit 53 bits are text."""
    globals: str
    sibling_map: int
    siblings: list[str]


class ExitData(msgspec.Struct, frozen=True):
    """A withdrawal on its way to L1."""

    index: int
    recipient: str
    amount: Amount
    proof: ExitProof | None
    """None: it has not settled."""


class MarketInfo(msgspec.Struct, frozen=True):
    """A market's leaf: what kind of leaf, and its fields as `docs/protocol.md` names them."""

    market: int
    leaf: str
    fields: dict[str, Any]


class VenueStatus(msgspec.Struct, frozen=True):
    """Where the venue is."""

    clock: int
    """L1 time as the sequencer knows it."""
    sequence: int
    """Of the log's last entry."""
    domain: str
    """EIP-712 domain separator of everything that is signed."""
    receipt_key: str | None
    """Address that signs receipts; None: there are none."""
    proposer: str | None
    """L1 account that has named it; None: nobody has."""
    proposer_signature: str | None
    """Of EIP-712 `ReceiptKey(address key)`."""
    chunks: int
    """Sealed so far."""
    batches: dict[str, int]
    """Finality stage -> index of the newest batch in it."""


class AccountProof(msgspec.Struct, frozen=True):
    """An account's leaf in the state after a batch. Hash the leaf, then upwards with each sibling:
    the result is `accounts_root`, which `globals` starts with; the hash of `globals` is the batch's
    post state root, which its header commits to on L1."""

    account: int
    batch: int
    header_hash: str
    state_root: str
    globals: str
    leaf: str
    """Empty: there is no such account."""
    branch: list[str]
    """Siblings from the bottom up."""
