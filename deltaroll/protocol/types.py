"""Values of the state and of transactions. Money and prices are integers in collateral units."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

Address = NewType("Address", bytes)
"""20 bytes."""
Hash32 = NewType("Hash32", bytes)
"""32 bytes."""
AccountId = NewType("AccountId", int)
"""24 bits, 1 and up."""
MarketId = NewType("MarketId", int)
"""16 bits, one space for underlyings, series, grids and committees."""
SlotId = NewType("SlotId", int)
"""12 bits, an order slot of one account."""
Lots = NewType("Lots", int)
"""Whole lots; signed in positions (long > 0), unsigned in orders."""
Timestamp = NewType("Timestamp", int)
"""Unix seconds, 40 bits."""

ZERO_ADDRESS = Address(bytes(20))


class SeriesKind(IntEnum):
    """What a series settles to."""

    PERPETUAL = 0


class SeriesStatus(IntEnum):
    """Whether a series trades."""

    INACTIVE = 0
    ACTIVE = 1


class TimeInForce(IntEnum):
    """How long an order lives."""

    GTC = 0
    """Until cancelled, filled or expired."""
    IOC = 1
    """Takes at once what it can; never rests."""
    FOK = 2
    """Takes all of its size in one sweep or nothing."""


class Kind(IntEnum):
    """Four-bit transaction kinds of the codec."""

    END = 0
    QUEUE = 1
    FILL = 2
    TRANSFER = 3
    WITHDRAW = 4
    SET_TRADING_KEY = 5
    OBSERVE = 6
    MARK = 7


class MessageKind(IntEnum):
    """Kinds of L1 queue messages; numbers of `contracts/Bridge.sol`."""

    DEPOSIT = 1
    FORCE_EXIT = 2
    CANCEL_ALL = 3
    FORCED = 4
    CONFIGURE = 5


@dataclass(frozen=True, slots=True)
class Position:
    """A holding in one series."""

    series: MarketId
    size: int
    """Signed lots, never 0, int64."""
    snapshot: int
    """The series' carry index when the position was last touched, int128."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account's leaf, its order slots apart."""

    owner: Address
    trading_key: Address
    """May sign orders until `key_expiry`; never withdraws. Zero: none."""
    key_expiry: Timestamp
    nonce: int
    """Of the last signed action, uint64; the next one must be higher."""
    cash: int
    """Collateral units, signed, int128."""
    epoch: int
    """Orders of other epochs are dead, uint32."""
    distressed_at: Timestamp
    """When liquidation began; 0: never."""
    positions: tuple[Position, ...]
    """Sorted by series, at most MAX_POSITIONS."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a trader signs, account and slot apart."""

    market: MarketId
    is_buy: bool
    price: int
    """Limit, collateral units per lot."""
    size: int
    """Lots, 31 bits."""
    nonce: int
    """31 bits, above the slot's."""
    epoch: int
    """The account's order epoch when it was signed."""
    expiry: Timestamp
    """Last second in which it may fill."""
    time_in_force: TimeInForce
    post_only: bool
    reduce_only: bool


@dataclass(frozen=True, slots=True)
class Slot:
    """An order slot's leaf: the order that it holds and how much of it is filled."""

    order: Order
    filled: int
    """Lots, at most the order's size."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One point of a risk grid."""

    spot_shock: int
    """Parts per million of the price, signed, int32."""
    vol_shock: int
    """-1 down, 0 none, 1 up, 2 linear skew, 3 absolute skew; perpetuals ignore it."""
    weight: int
    """Dampening, parts per million."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A preset of scenarios that underlyings share."""

    scenarios: tuple[Scenario, ...]


@dataclass(frozen=True, slots=True)
class Committee:
    """Signers of observations."""

    threshold: int
    signers: tuple[Address, ...]
    """Strictly ascending, at most MAX_SIGNERS."""


@dataclass(frozen=True, slots=True)
class UnderlyingParams:
    """What governance sets. Bands, factors and fees are parts per million."""

    committee: MarketId
    grid: MarketId
    tick: int
    """Prices of orders are multiples of it."""
    jump_band: int
    """A larger move between two observations halts the underlying."""
    move_band: int
    """A larger move of the index since a mark makes the mark stale."""
    fill_band: int
    """Fills must be this close to the mark."""
    outlier_band: int
    """Observations further from the median are dropped."""
    maintenance_factor: int
    initial_factor: int
    perp_maintenance: int
    """Contingency on perpetual notional, maintenance."""
    perp_initial: int
    """Added to `perp_maintenance` for initial margin."""
    maker_fee: int
    taker_fee: int
    risk_multiplier: int
    max_observation_age: int
    """Seconds; older observations are dropped."""
    max_mark_age: int
    """Seconds; older marks are stale."""
    halt_seconds: int
    """After this long a halt ends with the next observation, whatever it says."""


@dataclass(frozen=True, slots=True)
class Underlying:
    """An underlying's leaf."""

    params: UnderlyingParams
    index: int
    """Median of the last accepted observation, per lot; 0: never observed."""
    observed_at: Timestamp
    """Latest time among the observations used."""
    pending_index: int
    """The price that tripped the breaker; 0: not halted."""
    halted_until: Timestamp


@dataclass(frozen=True, slots=True)
class Series:
    """A series' leaf."""

    kind: SeriesKind
    status: SeriesStatus
    underlying: MarketId
    expiry: MarketId
    """Expiry leaf; 0 for perpetuals."""
    strike: int
    """Per lot; 0 for perpetuals."""
    mark: int
    """Per lot; 0: never marked."""
    mark_index: int
    """The index that the mark was computed from."""
    marked_at: Timestamp
    """The observation time of that index."""
    carry: int
    """Funding and socialised loss per lot, accumulated, int128."""
    open_interest: int
    """Sum of long sizes, uint64."""
    risk: tuple[int, ...]
    """Profit and loss per lot under each scenario of the grid, weighted, int64."""


MarketLeaf = Grid | Committee | Underlying | Series


@dataclass(frozen=True, slots=True)
class Exit:
    """An exit's leaf, claimable on L1 once the batch has settled."""

    asset: int
    """0: the deployment's collateral, uint16."""
    recipient: Address
    amount: int
    """uint128."""


@dataclass(frozen=True, slots=True)
class Globals:
    """What the state root commits to."""

    accounts_root: bytes
    markets_root: bytes
    exits_root: bytes
    account_count: int
    """Accounts opened; ids 1 .. account_count."""
    exit_count: int
    clock: Timestamp
    queue_index: int
    """L1 queue messages consumed."""
    insurance: int
    fee_pool: int
    deposited: int
    """Sum of all deposits ever consumed."""
    withdrawn: int
    """Sum of all exits ever created."""
    skipped: int
    """Queue messages consumed as no-ops."""
    base_fee_level: int
    """Smoothed L1 base fee, wei."""
    blob_fee_level: int
    """Smoothed L1 blob base fee, wei."""


@dataclass(frozen=True, slots=True)
class Message:
    """An L1 queue message."""

    kind: int
    sender: Address
    time: Timestamp
    body: bytes


@dataclass(frozen=True, slots=True)
class Context:
    """What L1 knows about a chunk: its place in a batch and the batch's header."""

    domain: bytes
    """EIP-712 domain separator."""
    l1_time: Timestamp
    queue_end: int
    previous_base_fee: int
    previous_blob_fee: int
    is_first: bool
    is_last: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """Consume the next message of the L1 queue."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Two orders trade at the maker's price."""

    market: MarketId
    maker: AccountId
    taker: AccountId
    maker_slot: SlotId
    taker_slot: SlotId
    maker_is_buy: bool
    lots: int
    maker_order: Order | None
    """Posted with the order's first fill only."""
    taker_order: Order | None


@dataclass(frozen=True, slots=True)
class Transfer:
    """Move cash between accounts."""

    sender: AccountId
    recipient: AccountId
    amount: int
    nonce: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Turn cash into an exit leaf."""

    account: AccountId
    recipient: Address
    amount: int
    nonce: int


@dataclass(frozen=True, slots=True)
class SetTradingKey:
    """Name a key that may sign orders; takes effect for signatures with the next chunk."""

    account: AccountId
    key: Address
    expiry: Timestamp
    nonce: int


@dataclass(frozen=True, slots=True)
class Observation:
    """One committee member's price."""

    signer: int
    """Index in the committee."""
    price: int
    time: Timestamp


@dataclass(frozen=True, slots=True)
class Observe:
    """Prices of an underlying by distinct committee members, ascending by member."""

    market: MarketId
    observations: tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Re-price `count` series with consecutive ids from `market` on."""

    market: MarketId
    count: int


Transaction = Queue | Fill | Transfer | Withdraw | SetTradingKey | Observe | Mark
