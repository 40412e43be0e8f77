"""What the engine keeps and what it reports: resting orders, trades, outcomes."""

from dataclasses import dataclass, field
from enum import StrEnum

from deltaroll.protocol.fault import Fault
from deltaroll.protocol.types import AccountId, Address, Order, SlotId


class OrderStatus(StrEnum):
    """How a submitted order ends; every one ends in exactly one of these."""

    RESTING = "resting"
    """In the book, nothing filled yet."""
    PARTIALLY_FILLED = "partially_filled"
    """Partly filled, the rest is in the book."""
    FILLED = "filled"
    CANCELLED = "cancelled"
    """It was matched; what is not filled is gone."""
    REJECTED = "rejected"
    """It changed nothing; an order that rests in its slot still does."""


class RejectReason(StrEnum):
    """Why an order ends, where no rule of the protocol says so."""

    NO_LIQUIDITY = "no_liquidity"
    """An immediate order finds no (more) counterparty at its price."""
    PROTECTED = "protected"
    """A quote of an account whose market-maker protection has tripped."""
    TOO_MANY = "too_many"
    """As many orders of the account wait already as may."""


class SelfTradePolicy(StrEnum):
    """Which order goes when both sides have one owner."""

    CANCEL_MAKER = "cancel_maker"
    CANCEL_TAKER = "cancel_taker"
    CANCEL_BOTH = "cancel_both"


Reason = Fault | RejectReason


@dataclass(slots=True)
class RestingOrder:
    """An order at work: taking, or in the book."""

    account: AccountId
    slot: SlotId
    owner: Address
    signer: Address
    """The address that signed it: the owner or a trading key."""
    order: Order
    signature: bytes
    remaining: int
    """Lots."""
    posted: bool
    """Its first fill is executed: fields and signature are on chain."""
    sequence: int
    """The sequencer's number; rises with time priority."""
    client_id: str = ""
    """What the account calls it; empty: nothing."""
    is_quote: bool = False
    """It is under the account's market-maker protection."""


Cancellation = tuple[RestingOrder, Reason]


@dataclass(frozen=True, slots=True)
class TradeReport:
    """One executed fill, as the taker sees it."""

    price: int
    lots: int
    maker: AccountId
    maker_slot: SlotId
    maker_remaining: int
    """Lots of the maker's order after this fill; see `Execution.cancelled_makers` too."""


@dataclass(frozen=True, slots=True)
class Execution:
    """The outcome of a submitted order."""

    status: OrderStatus
    filled: int
    """Lots."""
    fills: tuple[TradeReport, ...]
    reason: Reason | None
    """Why the unfilled lots are gone; None when there are none or they rest."""
    cancelled_makers: tuple[Cancellation, ...]
    """Orders that left the book because they could not trade with this one."""
    replaced: RestingOrder | None = None
    """The order that rested in the slot before and is out of the book now."""
    makers: tuple[RestingOrder, ...] = field(default=(), compare=False, repr=False)
    """The order on the other side of each of `fills`."""


@dataclass(frozen=True, slots=True)
class PriceLevel:
    """All orders of one side at one price."""

    price: int
    lots: int
    orders: int


@dataclass(frozen=True, slots=True)
class Depth:
    """Aggregated price levels of a market, best first."""

    bids: tuple[PriceLevel, ...]
    asks: tuple[PriceLevel, ...]
