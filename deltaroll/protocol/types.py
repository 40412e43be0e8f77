"""Values of the state and of transactions. Money and prices are integers in collateral units."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

Address = NewType("Address", bytes)
"""20 bytes."""
Hash32 = NewType("Hash32", bytes)
"""32 bytes."""
AccountId = NewType("AccountId", int)
"""24 bits, 1 and up; 0 is the insurance fund's."""
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
    CALL = 1
    """European, settled in cash."""
    PUT = 2
    """Likewise. The put of a strike has the id after its call's."""


class SeriesStatus(IntEnum):
    """Whether a series trades."""

    INACTIVE = 0
    ACTIVE = 1
    SETTLED = 2
    """Expired: the mark is what a lot pays, and positions turn into cash when they are touched."""
    CLOSING = 3
    """Trades, but every fill must reduce the positions of both sides."""


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
    SURFACE = 8
    LIST = 9
    FUND = 10
    SWEEP = 11
    DISTRESS = 12
    LIQUIDATE = 13
    SOCIALISE = 14
    DATA_FEE = 15


class MessageKind(IntEnum):
    """Kinds of L1 queue messages; numbers of `contracts/Bridge.sol`."""

    DEPOSIT = 1
    FORCE_EXIT = 2
    CANCEL_ALL = 3
    FORCED = 4
    CONFIGURE = 5
    FORCE_CLOSE = 6


@dataclass(frozen=True, slots=True)
class Position:
    """A holding in one series."""

    series: MarketId
    size: int
    """Signed lots, never 0, int64."""
    snapshot: int
    """The series' carry index of the position's side when it was last touched, int128."""


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
    """Dampening, Q48, unsigned."""


@dataclass(frozen=True, slots=True)
class RiskModel:
    """How options are shocked: the numbers of PMRM_2. All Q48, signed; days and years as said."""

    vol_up: int
    """Relative rise of volatility at 30 days."""
    vol_down: int
    short_power: int
    """Shocks grow with (30 / days)^power; this one up to 30 days."""
    long_power: int
    day_floor: int
    """Fewer days count as this many."""
    min_vol: int
    """A raised volatility is at least this."""
    linear_cap: int
    """The linear skew's largest relative change of volatility: cap + base * sqrt(years)."""
    linear_base: int
    absolute_cap: int
    absolute_base: int
    min_width: int
    """Log-moneyness at which a skew reaches its cap, at least; else the product of
    sqrt(years) * scale * (static + sqrt(years) * slope)."""
    width_scale: int
    width_static: int
    width_slope: int
    long_base: int
    """Value of a long expiry counts base * exp(-years * (rate * rate_scale + rate_add))."""
    long_rate_scale: int
    long_rate_add: int
    short_base: int
    """Value of a short expiry counts base * exp(years * (rate * rate_scale + rate_add)), and no
    more than exp(years * rate)."""
    short_rate_scale: int
    short_rate_add: int
    basis_add: int
    """Basis contingency: this, and `basis_scale` a year, of the loss in the basis scenarios."""
    basis_scale: int


@dataclass(frozen=True, slots=True)
class Grid:
    """A preset of scenarios that underlyings share."""

    scenarios: tuple[Scenario, ...]
    basis_up: int
    """Index of the scenario that stands for a higher forward of one expiry."""
    basis_down: int
    model: RiskModel


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
    """Fills must be this close to the mark; of options, within this part of the index."""
    outlier_band: int
    """Observations further from the median are dropped."""
    maintenance_factor: int
    initial_factor: int
    perp_maintenance: int
    """Contingency on perpetual notional, maintenance."""
    perp_initial: int
    """Added to `perp_maintenance` for initial margin."""
    option_maintenance: int
    """Contingency on the notional of naked short options, maintenance."""
    option_initial: int
    """Added to `option_maintenance` for initial margin."""
    maker_fee: int
    """Of perpetual notional, int32; negative: a rebate out of the taker's fee."""
    taker_fee: int
    option_maker_fee: int
    """Of option notional, int32; negative: a rebate."""
    option_taker_fee: int
    option_fee_cap: int
    """No option fee is above this part of the premium."""
    funding_cap: int
    """The premium that funding counts, of the index, either way."""
    multiplier_min: int
    """Bounds of the risk multiplier."""
    multiplier_max: int
    multiplier_step: int
    """Its largest change in MULTIPLIER_PERIOD."""
    vol_reference: int
    """Realised volatility a year above which the multiplier rises."""
    vol_slope: int
    """Rise of the multiplier for each unit of volatility above."""
    insurance_slope: int
    """Rise of the multiplier when all of the insurance fund is used."""
    force_penalty: int
    """Of notional: what a ForceClose pays to the insurance fund."""
    max_observation_age: int
    """Seconds; older observations are dropped."""
    max_mark_age: int
    """Seconds; older marks are stale."""
    max_surface_age: int
    """Seconds; options of an expiry with an older surface cannot be marked."""
    halt_seconds: int
    """After this long a halt ends with the next observation, whatever it says."""
    gas_market: MarketId
    """Underlying whose index prices L1 data; 0: data is free."""
    gas_lot: int
    """Wei in a lot of `gas_market`."""
    strike_step: int
    """Distance of listed strikes, per lot."""
    list_base: MarketId
    """First id of the series that List makes; 0: List is off."""
    list_strikes: int
    """Strikes of a listed expiry."""
    list_expiries: int
    """Expiries alive at once."""
    list_period: int
    """Days between expiries; 7: Fridays."""


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
    variance: int
    """Realised variance a year, Q48, decaying over VARIANCE_DECAY."""
    multiplier: int
    """Of scenario losses, parts per million, between the bounds of `params`."""
    window_sum: int
    """Index times seconds inside the settlement window of the coming boundary."""
    window_seconds: int
    """Seconds of that window that were observed."""
    day: int
    """The boundary before which observations were last taken: days since 1970 + EXPIRY_TIME."""
    twaps: tuple[int, ...]
    """Settlement prices of the last TWAP_DAYS boundaries, that of day d at place d % TWAP_DAYS."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """An expiry's leaf: forward, rate and volatility surface. Fractions are Q48."""

    underlying: MarketId
    time: Timestamp
    """0: perpetuals, of which only `ratio` matters."""
    ratio: int
    """Forward over index, uint64."""
    rate: int
    """A year, continuous, signed like the five below."""
    a: int
    """Raw SVI: total variance a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)) at `surfaced_at`."""
    b: int
    rho: int
    m: int
    sigma: int
    surfaced_at: Timestamp
    """When the surface was signed; 0: never."""
    settlement: int
    """Final price per lot; 0: not settled."""
    long_discount: int
    """What margin counts of a long expiry's value, as of the last Mark. Q48, uint64."""
    short_discount: int
    basis_factor: int
    priced_at: Timestamp
    """The observation that the three above are from."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series' leaf."""

    kind: SeriesKind
    status: SeriesStatus
    underlying: MarketId
    expiry: MarketId
    """Expiry leaf; 0 for a perpetual without a premium."""
    strike: int
    """Per lot; 0 for perpetuals."""
    mark: int
    """Per lot; what a lot pays once it is settled."""
    mark_index: int
    """The index that the mark was computed from."""
    marked_at: Timestamp
    """The observation time of that index; 0: never marked."""
    carry_long: int
    """Funding and socialised loss per lot of longs, accumulated, int128."""
    carry_short: int
    """The same of shorts, who pay when it falls."""
    accrued_at: Timestamp
    """Funding is accrued up to here."""
    funding_remainder: int
    """Part of a unit that funding has not accrued yet, in 1/FUNDING_PERIOD."""
    open_interest: int
    """Sum of long sizes; of a settled series, of all sizes still held. uint64."""
    risk: tuple[int, ...]
    """Profit and loss per lot under each scenario of the grid, int64: weighted for a perpetual, as
    it is for an option."""


MarketLeaf = Grid | Committee | Underlying | Expiry | Series


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
    """Cash of the insurance fund."""
    insurance_peak: int
    """The most that it held, moved along when it swaps cash for positions."""
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
    data_fee: int
    """Wei a gas that fills pay for their bytes on L1."""


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


@dataclass(frozen=True, slots=True)
class Surface:
    """Forward, rate and volatility surface of an expiry, signed alike by committee members."""

    market: MarketId
    signers: int
    """Bit i: the committee's member i has signed."""
    ratio: int
    """Q48, 63 bits, like the absolute values of the six below."""
    rate: int
    a: int
    b: int
    rho: int
    m: int
    sigma: int
    time: Timestamp


@dataclass(frozen=True, slots=True)
class List:
    """List the expiry that is the `offset`-th from now by an underlying's rule, with its series."""

    market: MarketId
    offset: int


@dataclass(frozen=True, slots=True)
class Fund:
    """Accrue a perpetual's funding up to the clock."""

    market: MarketId


@dataclass(frozen=True, slots=True)
class Sweep:
    """Turn an account's settled positions into cash."""

    account: AccountId


@dataclass(frozen=True, slots=True)
class Distress:
    """Start an account's auction, or end it when the account has recovered."""

    account: AccountId


@dataclass(frozen=True, slots=True)
class Liquidate:
    """Take over a share of an account below maintenance margin."""

    account: AccountId
    """The liquidator."""
    target: AccountId
    share: int
    """Parts per million, at most."""
    reward: int
    """Parts per million of the maintenance margin taken over, at least."""
    nonce: int


@dataclass(frozen=True, slots=True)
class Socialise:
    """Spread an insolvent account's loss over those who hold the other side."""

    account: AccountId


@dataclass(frozen=True, slots=True)
class DataFee:
    """Set what fills pay for their bytes on L1, within a bound that follows L1's base fee."""

    fee: int
    """Wei a gas."""


Transaction = (
    Queue
    | Fill
    | Transfer
    | Withdraw
    | SetTradingKey
    | Observe
    | Mark
    | Surface
    | List
    | Fund
    | Sweep
    | Distress
    | Liquidate
    | Socialise
    | DataFee
)
