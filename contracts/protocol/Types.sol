// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {TWAP_DAYS} from "./Constants.sol";

// Values of the state and of transactions. Money and prices are integers in collateral units.
//
// Fields are as wide as a memory word, so that intermediate values never overflow; a value is checked
// against the width of its field in the leaf when it is stored. What the Python twin says of each field
// holds here too: `deltaroll/protocol/types.py`.

/// @dev What a series settles to.
enum SeriesKind {
    PERPETUAL,
    CALL, // European, settled in cash.
    PUT // Likewise. The put of a strike has the id after its call's.
}

/// @dev Whether a series trades.
enum SeriesStatus {
    INACTIVE,
    ACTIVE,
    SETTLED, // Expired: the mark is what a lot pays, and positions turn into cash when they are touched.
    CLOSING // Trades, but every fill must reduce the positions of both sides.
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
    MARK,
    SURFACE,
    LIST,
    FUND,
    SWEEP,
    DISTRESS,
    LIQUIDATE,
    SOCIALISE,
    DATA_FEE
}

/// @dev Kinds of L1 queue messages; numbers of `contracts/Bridge.sol`. A message may hold a kind that is
/// not listed, so `Message.kind` is an integer.
uint256 constant MESSAGE_DEPOSIT = 1;
uint256 constant MESSAGE_FORCE_EXIT = 2;
uint256 constant MESSAGE_CANCEL_ALL = 3;
uint256 constant MESSAGE_FORCED = 4;
uint256 constant MESSAGE_CONFIGURE = 5;
uint256 constant MESSAGE_FORCE_CLOSE = 6;

/// @dev A holding in one series.
struct Position {
    uint256 series;
    int256 size; // Signed lots, never 0, int64.
    int256 snapshot; // The series' carry index of the position's side when it was last touched, int128.
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
    uint256 weight; // Dampening, Q48.
}

/// @dev How options are shocked: the numbers of PMRM_2. All Q48, signed, int64; days and years as said.
struct RiskModel {
    int256 volUp; // Relative rise of volatility at 30 days.
    int256 volDown;
    int256 shortPower; // Shocks grow with (30 / days)^power; this one up to 30 days.
    int256 longPower;
    int256 dayFloor; // Fewer days count as this many.
    int256 minVol; // A raised volatility is at least this.
    int256 linearCap; // The linear skew's largest relative change of volatility: cap + base * sqrt(years).
    int256 linearBase;
    int256 absoluteCap;
    int256 absoluteBase;
    // Log-moneyness at which a skew reaches its cap, at least; else the product of
    // sqrt(years) * scale * (static + sqrt(years) * slope).
    int256 minWidth;
    int256 widthScale;
    int256 widthStatic;
    int256 widthSlope;
    int256 longBase; // Value of a long expiry counts base * exp(-years * (rate * rateScale + rateAdd)).
    int256 longRateScale;
    int256 longRateAdd;
    // Value of a short expiry counts base * exp(years * (rate * rateScale + rateAdd)), and no more than
    // exp(years * rate).
    int256 shortBase;
    int256 shortRateScale;
    int256 shortRateAdd;
    int256 basisAdd; // Basis contingency: this, and `basisScale` a year, of the loss in the basis scenarios.
    int256 basisScale;
}

/// @dev A preset of scenarios that underlyings share.
struct Grid {
    Scenario[] scenarios;
    uint256 basisUp; // Index of the scenario that stands for a higher forward of one expiry.
    uint256 basisDown;
    RiskModel model;
    // What a margin check needs of the scenarios. Not encoded: these are the scenarios'.
    uint256[] weights; // Their number made even by a 0.
    uint256[] skews; // The places of those that move volatility by strike.
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
    uint256 fillBand; // Fills must be this close to the mark; of options, within this part of the index.
    uint256 outlierBand; // Observations further from the median are dropped.
    uint256 maintenanceFactor;
    uint256 initialFactor;
    uint256 perpMaintenance; // Contingency on perpetual notional, maintenance.
    uint256 perpInitial; // Added to `perpMaintenance` for initial margin.
    uint256 optionMaintenance; // Contingency on the notional of naked short options, maintenance.
    uint256 optionInitial; // Added to `optionMaintenance` for initial margin.
    int256 makerFee; // Of perpetual notional, int32; negative: a rebate out of the taker's fee.
    uint256 takerFee;
    int256 optionMakerFee; // Of option notional, int32; negative: a rebate.
    uint256 optionTakerFee;
    uint256 optionFeeCap; // No option fee is above this part of the premium.
    uint256 fundingCap; // The premium that funding counts, of the index, either way.
    uint256 multiplierMin; // Bounds of the risk multiplier.
    uint256 multiplierMax;
    uint256 multiplierStep; // Its largest change in MULTIPLIER_PERIOD.
    uint256 volReference; // Realised volatility a year above which the multiplier rises.
    uint256 volSlope; // Rise of the multiplier for each unit of volatility above.
    uint256 insuranceSlope; // Rise of the multiplier when all of the insurance fund is used.
    uint256 forcePenalty; // Of notional: what a ForceClose pays to the insurance fund.
    uint256 maxObservationAge; // Seconds; older observations are dropped.
    uint256 maxMarkAge; // Seconds; older marks are stale.
    uint256 maxSurfaceAge; // Seconds; options of an expiry with an older surface cannot be marked.
    uint256 haltSeconds; // After this long a halt ends with the next observation, whatever it says.
    uint256 gasMarket; // Underlying whose index prices L1 data; 0: data is free.
    uint256 gasLot; // Wei in a lot of `gasMarket`.
    uint256 strikeStep; // Distance of listed strikes, per lot.
    uint256 listBase; // First id of the series that List makes; 0: List is off.
    uint256 listStrikes; // Strikes of a listed expiry.
    uint256 listExpiries; // Expiries alive at once.
    uint256 listPeriod; // Days between expiries; 7: Fridays.
}

/// @dev An underlying's leaf.
struct Underlying {
    UnderlyingParams params;
    uint256 index; // Median of the last accepted observation, per lot; 0: never observed.
    uint256 observedAt; // Latest time among the observations used.
    uint256 pendingIndex; // The price that tripped the breaker; 0: not halted.
    uint256 haltedUntil;
    uint256 variance; // Realised variance a year, Q48, decaying over VARIANCE_DECAY.
    uint256 multiplier; // Of scenario losses, parts per million, between the bounds of `params`.
    uint256 windowSum; // Index times seconds inside the settlement window of the coming boundary.
    uint256 windowSeconds; // Seconds of that window that were observed.
    uint256 day; // The boundary before which observations were last taken: days since 1970 + EXPIRY_TIME.
    // Settlement prices of the last TWAP_DAYS boundaries, that of day d at place d % TWAP_DAYS.
    uint256[TWAP_DAYS] twaps;
}

/// @dev An expiry's leaf: forward, rate and volatility surface. Fractions are Q48.
struct Expiry {
    uint256 underlying;
    uint256 time; // 0: perpetuals, of which only `ratio` matters.
    uint256 ratio; // Forward over index, uint64.
    int256 rate; // A year, continuous, int64 like the five below.
    int256 a; // Raw SVI: total variance a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)) at `surfacedAt`.
    int256 b;
    int256 rho;
    int256 m;
    int256 sigma;
    uint256 surfacedAt; // When the surface was signed; 0: never.
    uint256 settlement; // Final price per lot; 0: not settled.
    uint256 longDiscount; // What margin counts of a long expiry's value, as of the last Mark. Q48, uint64.
    uint256 shortDiscount;
    uint256 basisFactor;
    uint256 pricedAt; // The observation that the three above are from.
}

/// @dev A series' leaf.
struct Series {
    SeriesKind kind;
    SeriesStatus status;
    uint256 underlying;
    uint256 expiry; // Expiry leaf; 0 for a perpetual without a premium.
    uint256 strike; // Per lot; 0 for perpetuals.
    uint256 mark; // Per lot; what a lot pays once it is settled.
    uint256 markIndex; // The index that the mark was computed from.
    uint256 markedAt; // The observation time of that index; 0: never marked.
    int256 carryLong; // Funding and socialised loss per lot of longs, accumulated, int128.
    int256 carryShort; // The same of shorts, who pay when it falls.
    uint256 accruedAt; // Funding is accrued up to here.
    uint256 fundingRemainder; // Part of a unit that funding has not accrued yet, in 1/FUNDING_PERIOD.
    uint256 openInterest; // Sum of long sizes, uint64.
    uint256 riskCount; // Entries of the risk vector.
    // Profit and loss per lot under each scenario, weighted for a perpetual, as it is for an option. Two to a
    // word: entry 2i + 2^128 * entry 2i+1, a sum of signed numbers modulo 2^256. Multiplying by a size and
    // adding words works on both at once.
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
    int256 insurance; // Cash of the insurance fund, uint128.
    int256 insurancePeak; // The most that it ever held, uint128.
    uint256 feePool;
    uint256 deposited; // Sum of all deposits ever consumed.
    uint256 withdrawn; // Sum of all exits ever created.
    uint256 skipped; // Queue messages consumed as no-ops.
    uint256 baseFeeLevel; // Smoothed L1 base fee, wei.
    uint256 blobFeeLevel; // Smoothed L1 blob base fee, wei.
    uint256 dataFee; // What fills pay for their bytes on L1, wei a gas.
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

/// @dev Forward, rate and volatility surface of an expiry, signed alike by committee members.
struct Surface {
    uint256 market;
    uint256 signers; // Bit i: the committee's member i has signed.
    uint256 ratio; // Q48, 63 bits, like the absolute values of the six below.
    int256 rate;
    int256 a;
    int256 b;
    int256 rho;
    int256 m;
    int256 sigma;
    uint256 time;
}

/// @dev List the expiry that is the `offset`-th from now by an underlying's rule, with its series.
struct List {
    uint256 market;
    uint256 offset;
}

/// @dev Accrue a perpetual's funding up to the clock.
struct Fund {
    uint256 market;
}

/// @dev Turn an account's settled positions into cash.
struct Sweep {
    uint256 account;
}

/// @dev Start an account's auction, or end it when the account has recovered.
struct Distress {
    uint256 account;
}

/// @dev Take over a share of an account below maintenance margin.
struct Liquidate {
    uint256 account; // The liquidator.
    uint256 target;
    uint256 share; // Parts per million, at most.
    uint256 reward; // Parts per million of the maintenance margin taken over, at least.
    uint256 nonce;
}

/// @dev Spread an insolvent account's loss over those who hold the other side.
struct Socialise {
    uint256 account;
}

/// @dev Set what fills pay for their bytes on L1, within a bound that follows L1's base fee.
struct DataFee {
    uint256 fee; // Wei a gas.
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
    Surface surface;
    List list;
    Fund fund;
    Sweep sweep;
    Distress distress;
    Liquidate liquidate;
    Socialise socialise;
    DataFee dataFee;
}

/// @dev Whether a series is of a kind. An operator would make the compiler check each time that the number is a
/// kind at all. Likewise below.
function isKind(Series memory series, SeriesKind kind) pure returns (bool isIt) {
    assembly ("memory-safe") {
        isIt := eq(mload(series), kind)
    }
}

/// @dev Whether a series has a status.
function hasStatus(Series memory series, SeriesStatus status) pure returns (bool hasIt) {
    assembly ("memory-safe") {
        hasIt := eq(mload(add(series, 0x20)), status)
    }
}
