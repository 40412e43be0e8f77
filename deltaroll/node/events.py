"""What happened: the one stream that feeds the API's channels, the history and the metrics.

Each log entry gives one `Step`: its sequence number, the clock, and what it changed, in order. A
step is published when its entry is durable, never before. The stream follows from the log: whoever
has missed a part of it replays the log with a listener of its own.

Prices and amounts are collateral units, sizes lots, times seconds since 1970.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec


class OrderState(StrEnum):
    """Where an order is. FILLED, CANCELLED, EXPIRED, REJECTED and REVERTED are the ends; every
    order reaches one of them, and stays there unless L1 undoes what the log says (`Rebased`)."""

    HELD = "held"
    """A stop or take-profit order that waits for its trigger; not in the book."""
    TRIGGERED = "triggered"
    """Its trigger was met; the outcome follows in the same step."""
    RESTING = "resting"
    PARTIALLY_FILLED = "partially_filled"
    """The rest is in the book."""
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REVERTED = "reverted"
    """It was acknowledged, L1 has undone that, and it could not be placed again."""


class CancelReason(StrEnum):
    """Why an order is gone, where neither a rule of the protocol nor the engine says so."""

    REQUESTED = "requested"
    REPLACED = "replaced"
    """An order with a higher nonce took its slot."""
    DEAD_MAN = "dead_man"
    """No heartbeat came in time."""
    PROTECTED = "protected"
    """The account's market-maker protection has tripped."""
    STALE = "stale"
    """Its account's keys or epoch changed, or L1 forced a fill of its slot."""


class OrderUpdate(msgspec.Struct, frozen=True, tag="order", gc=False):
    """An order has come to a state. Slot and nonce name an account's order for good."""

    account: int
    slot: int
    nonce: int
    client_id: str
    market: int
    is_buy: bool
    price: int
    size: int
    remaining: int
    """Lots that may still trade; of an order that has ended, those that never did."""
    state: OrderState
    reason: str
    """Why it was cancelled or rejected: a fault's name or another reason; else empty."""


class Trade(msgspec.Struct, frozen=True, tag="trade", gc=False):
    """Two orders have traded at the maker's price."""

    market: int
    price: int
    lots: int
    taker_is_buy: bool
    maker: int
    maker_slot: int
    maker_nonce: int
    maker_client_id: str
    taker: int
    taker_slot: int
    taker_nonce: int
    taker_client_id: str
    maker_fee: int = 0
    """What the maker has paid, its data on L1 included; a rebate is below 0. So the taker's."""
    taker_fee: int = 0


class BookChange(msgspec.Struct, frozen=True, tag="book"):
    """The price levels of a market that this step changed: (price, lots left; 0: none)."""

    market: int
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


class IndexChange(msgspec.Struct, frozen=True, tag="index", gc=False):
    """An underlying was observed."""

    market: int
    index: int
    observed_at: int
    halted_until: int
    """0: it is not halted."""


class MarkChange(msgspec.Struct, frozen=True, tag="mark", gc=False):
    """A series was marked, listed, funded, or changed its status."""

    market: int
    mark: int
    marked_at: int
    status: int
    open_interest: int
    index: int = 0
    """That the mark was computed from."""
    premium: int = 0
    """What longs pay shorts a lot and FUNDING_PERIOD from now on, of a perpetual."""
    carry_long: int = 0
    """What longs have paid a lot since the beginning; what shorts have received a lot."""
    carry_short: int = 0
    accrued_at: int = 0
    """0: there is no funding."""


class AccountChange(msgspec.Struct, frozen=True, tag="account"):
    """An account's leaf, after a step that touched it."""

    account: int
    cash: int
    epoch: int
    nonce: int
    distressed_at: int
    """When its auction began; 0: it is in none."""
    positions: tuple[tuple[int, int], ...]
    """(Series, size)."""


class KeyChange(msgspec.Struct, frozen=True, tag="key", gc=False):
    """Who may trade for an account may have changed."""

    account: int


class Protection(msgspec.Struct, frozen=True, tag="protection", gc=False):
    """An account's market-maker protection on an underlying has tripped, or is open again."""

    account: int
    underlying: int
    is_frozen: bool


class FlowKind(StrEnum):
    """Why an account's cash has changed; what fills pay is theirs to tell."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    """Signed, or forced through L1."""
    TRANSFER = "transfer"
    FUNDING = "funding"
    """Of a position that was touched, since it was touched last; a socialised loss included."""
    SETTLEMENT = "settlement"
    """A position that has expired became cash."""
    LIQUIDATION = "liquidation"
    """What positions taken over were worth at their marks, and the reward."""
    FORCE_CLOSE = "force_close"
    """A position was closed through L1: its value at the mark, less the penalty."""
    SOCIALISED = "socialised"
    """A hole was filled by others."""
    OTHER = "other"


class CashFlow(msgspec.Struct, frozen=True, tag="cash", gc=False):
    """An account's cash has changed by something other than a fill."""

    account: int
    kind: FlowKind
    amount: int
    """Positive: it has received."""
    market: int = 0
    """Of funding, settlement and a forced close."""
    lots: int = 0
    """That have settled or were closed, signed like the position."""
    counterparty: int = 0
    """Of a transfer; 0: the insurance fund."""


class Takeover(msgspec.Struct, frozen=True, gc=False):
    """A part of a position that a liquidation has moved."""

    market: int
    lots: int
    """Signed like the position."""
    mark: int


class Liquidation(msgspec.Struct, frozen=True, tag="liquidation"):
    """A share of an account in distress was taken over."""

    liquidator: int
    account: int
    share: int
    """Parts per million, at most."""
    moves: tuple[Takeover, ...] = ()


class Distressed(msgspec.Struct, frozen=True, tag="distressed", gc=False):
    """An account's auction has begun or ended."""

    account: int
    distressed_at: int
    """0: it has ended."""


class InsuranceChange(msgspec.Struct, frozen=True, tag="insurance", gc=False):
    """The insurance fund's cash has changed."""

    insurance: int


class Rebased(msgspec.Struct, frozen=True, tag="rebased", gc=False):
    """L1 will not hold what steps from `first` on up to this one have told: it is undone. This step
    tells what is left, those after it what could be done again."""

    first: int


Event = (
    OrderUpdate
    | Trade
    | BookChange
    | IndexChange
    | MarkChange
    | AccountChange
    | KeyChange
    | Protection
    | CashFlow
    | Liquidation
    | Distressed
    | InsuranceChange
    | Rebased
)


class Step(msgspec.Struct, frozen=True):
    """What one log entry did."""

    sequence: int
    clock: int
    events: tuple[Event, ...]


Listener = Callable[[Sequence[Step]], None]
"""Takes the steps of one commit, on the sequencer's thread: it must neither wait nor raise."""


def combine(first: Listener | None, second: Listener) -> Listener:
    """Return a listener that tells two."""
    if first is None:
        return second

    def listen(steps: Sequence[Step]) -> None:
        first(steps)
        second(steps)

    return listen
