// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

// Values of the state and of transactions. Money and prices are integers in collateral units.
//
// Fields are as wide as a memory word, so that intermediate values never overflow; a value is checked
// against the width of its field in the leaf when it is stored. What the Python twin says of each field
// holds here too: `deltaroll/protocol/types.py`.

/// @dev What a series settles to.
enum SeriesKind {
    PERPETUAL
}

/// @dev Whether a series trades.
enum SeriesStatus {
    INACTIVE,
    ACTIVE
}

/// @dev How long an order lives.
enum TimeInForce {
    GTC, // Until cancelled, filled or expired.
    IOC, // Takes at once what it can; never rests.
    FOK // Takes all of its size in one sweep or nothing.
}

/// @dev Four-bit transaction kinds of the codec.
enum Kind {
    END,
    QUEUE,
    FILL,
    TRANSFER,
    WITHDRAW,
    SET_TRADING_KEY,
    OBSERVE,
    MARK
}

/// @dev Kinds of L1 queue messages; numbers of `contracts/Bridge.sol`. A message may hold a kind that is
/// not listed, so `Message.kind` is an integer.
uint256 constant MESSAGE_DEPOSIT = 1;
uint256 constant MESSAGE_FORCE_EXIT = 2;
uint256 constant MESSAGE_CANCEL_ALL = 3;
uint256 constant MESSAGE_FORCED = 4;
uint256 constant MESSAGE_CONFIGURE = 5;

/// @dev A holding in one series.
struct Position {
    uint256 series;
    int256 size; // Signed lots, never 0, int64.
    int256 snapshot; // The series' carry index when the position was last touched, int128.
}

/// @dev An account's leaf, its order slots apart.
struct Account {
    address owner;
    address tradingKey; // May sign orders until `keyExpiry`; never withdraws. Zero: none.
    uint256 keyExpiry;
    uint256 nonce; // Of the last signed action, uint64; the next one must be higher.
    int256 cash; // Collateral units, signed, int128.
    uint256 epoch; // Orders of other epochs are dead, uint32.
    uint256 distressedAt; // When liquidation began; 0: never.
    Position[] positions; // Sorted by series, at most MAX_POSITIONS.
}

/// @dev What a trader signs, account and slot apart.
struct Order {
    uint256 market;
    bool isBuy;
    uint256 price; // Limit, collateral units per lot.
    uint256 size; // Lots, 31 bits.
    uint256 nonce; // 31 bits, above the slot's.
    uint256 epoch; // The account's order epoch when it was signed.
    uint256 expiry; // Last second in which it may fill.
    TimeInForce timeInForce;
    bool postOnly;
    bool reduceOnly;
}

/// @dev An order slot's leaf: the order that it holds and how much of it is filled.
struct Slot {
    Order order;
    uint256 filled; // Lots, at most the order's size.
}

/// @dev One point of a risk grid.
struct Scenario {
    int256 spotShock; // Parts per million of the price, signed, int32.
    int256 volShock; // -1 down, 0 none, 1 up, 2 linear skew, 3 absolute skew; perpetuals ignore it.
    uint256 weight; // Dampening, parts per million.
}

/// @dev A preset of scenarios that underlyings share.
struct Grid {
    Scenario[] scenarios;
}

/// @dev Signers of observations.
struct Committee {
    uint256 threshold;
    address[] signers; // Strictly ascending, at most MAX_SIGNERS.
}

/// @dev What governance sets. Bands, factors and fees are parts per million.
struct UnderlyingParams {
    uint256 committee;
    uint256 grid;
    uint256 tick; // Prices of orders are multiples of it.
    uint256 jumpBand; // A larger move between two observations halts the underlying.
    uint256 moveBand; // A larger move of the index since a mark makes the mark stale.
    uint256 fillBand; // Fills must be this close to the mark.
    uint256 outlierBand; // Observations further from the median are dropped.
    uint256 maintenanceFactor;
    uint256 initialFactor;
    uint256 perpMaintenance; // Contingency on perpetual notional, maintenance.
    uint256 perpInitial; // Added to `perpMaintenance` for initial margin.
    uint256 makerFee;
    uint256 takerFee;
    uint256 riskMultiplier;
    uint256 maxObservationAge; // Seconds; older observations are dropped.
    uint256 maxMarkAge; // Seconds; older marks are stale.
    uint256 haltSeconds; // After this long a halt ends with the next observation, whatever it says.
}

/// @dev An underlying's leaf.
struct Underlying {
    UnderlyingParams params;
    uint256 index; // Median of the last accepted observation, per lot; 0: never observed.
    uint256 observedAt; // Latest time among the observations used.
    uint256 pendingIndex; // The price that tripped the breaker; 0: not halted.
    uint256 haltedUntil;
}

/// @dev A series' leaf.
struct Series {
    SeriesKind kind;
    SeriesStatus status;
    uint256 underlying;
    uint256 expiry; // Expiry leaf; 0 for perpetuals.
    uint256 strike; // Per lot; 0 for perpetuals.
    uint256 mark; // Per lot; 0: never marked.
    uint256 markIndex; // The index that the mark was computed from.
    uint256 markedAt; // The observation time of that index.
    int256 carry; // Funding and socialised loss per lot, accumulated, int128.
    uint256 openInterest; // Sum of long sizes, uint64.
    uint256 riskCount; // Entries of the risk vector.
    // Profit and loss per lot under each scenario, two to a word: entry 2i + 2^128 * entry 2i+1, a sum of
    // signed numbers modulo 2^256. Multiplying by a size and adding words works on both at once.
    uint256[] lanes;
}

/// @dev An exit's leaf, claimable on L1 once the batch has settled.
struct Exit {
    uint256 asset; // 0: the deployment's collateral, uint16.
    address recipient;
    uint256 amount; // uint128.
}

/// @dev What the state root commits to.
struct Globals {
    bytes32 accountsRoot;
    bytes32 marketsRoot;
    bytes32 exitsRoot;
    uint256 accountCount; // Accounts opened; ids 1 .. accountCount.
    uint256 exitCount;
    uint256 clock;
    uint256 queueIndex; // L1 queue messages consumed.
    int256 insurance;
    uint256 feePool;
    uint256 deposited; // Sum of all deposits ever consumed.
    uint256 withdrawn; // Sum of all exits ever created.
    uint256 skipped; // Queue messages consumed as no-ops.
    uint256 baseFeeLevel; // Smoothed L1 base fee, wei.
    uint256 blobFeeLevel; // Smoothed L1 blob base fee, wei.
}

/// @dev An L1 queue message.
struct Message {
    uint256 kind;
    address sender;
    uint256 time;
    bytes body;
}

/// @dev What L1 knows about a chunk: its place in a batch and the batch's header.
struct Context {
    bytes32 domain; // EIP-712 domain separator.
    uint256 l1Time;
    uint256 queueEnd;
    uint256 previousBaseFee;
    uint256 previousBlobFee;
    bool isFirst;
    bool isLast;
}

/// @dev Two orders trade at the maker's price.
struct Fill {
    uint256 market;
    uint256 maker;
    uint256 taker;
    uint256 makerSlot;
    uint256 takerSlot;
    bool makerIsBuy;
    uint256 lots;
    bool hasMakerOrder; // Orders are posted with their first fill only; `makerOrder` means nothing else.
    bool hasTakerOrder;
    Order makerOrder;
    Order takerOrder;
}

/// @dev Move cash between accounts.
struct Transfer {
    uint256 sender;
    uint256 recipient;
    uint256 amount;
    uint256 nonce;
}

/// @dev Turn cash into an exit leaf.
struct Withdraw {
    uint256 account;
    address recipient;
    uint256 amount;
    uint256 nonce;
}

/// @dev Name a key that may sign orders; takes effect for signatures with the next chunk.
struct SetTradingKey {
    uint256 account;
    address key;
    uint256 expiry;
    uint256 nonce;
}

/// @dev One committee member's price.
struct Observation {
    uint256 signer; // Index in the committee.
    uint256 price;
    uint256 time;
}

/// @dev Prices of an underlying by distinct committee members, ascending by member.
struct Observe {
    uint256 market;
    Observation[] observations;
}

/// @dev Re-price `count` series with consecutive ids from `market` on.
struct Mark {
    uint256 market;
    uint256 count;
}

/// @dev One transaction: only the member that `kind` names means anything. QUEUE has no fields.
struct Transaction {
    Kind kind;
    Fill fill;
    Transfer transfer;
    Withdraw withdraw;
    SetTradingKey setTradingKey;
    Observe observe;
    Mark mark;
}
