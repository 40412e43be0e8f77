// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

// Numbers that both twins and every proof depend on. A change here is a new protocol version.

/// @dev Part of the parameter hash in every batch header.
uint256 constant PROTOCOL_VERSION = 2;

/// @dev Levels of the account tree: 16,777,215 accounts, id 0 is never used.
uint256 constant ACCOUNT_DEPTH = 24;
/// @dev Levels of the market tree: underlyings, series, grids and committees share one id space.
uint256 constant MARKET_DEPTH = 16;
/// @dev Levels of the append-only exit tree.
uint256 constant EXIT_DEPTH = 32;
/// @dev Levels of an account's order-slot tree: 4,096 orders alive at once.
uint256 constant SLOT_DEPTH = 12;
/// @dev Levels of the tree of chunk commitments: 256 chunks a batch.
uint256 constant CHUNK_DEPTH = 8;

/// @dev Positions an account may hold; bounds the cost of a margin check.
uint256 constant MAX_POSITIONS = 64;
/// @dev Underlyings and expiries, added up, that an account's positions may be spread over: so that even its
/// liquidation fits a chunk.
uint256 constant MAX_GROUPS = 48;
/// @dev Scenarios of a risk grid (the PMRM_2 family has 33).
uint256 constant MAX_SCENARIOS = 33;
/// @dev Members of an oracle committee.
uint256 constant MAX_SIGNERS = 16;

/// @dev Rates, bands and factors are parts per million.
uint256 constant PPM = 1_000_000;
/// @dev Fractions of the risk model are Q48: value times 2^48.
uint256 constant ONE = 1 << 48;
/// @dev Seconds of a year in pricing.
uint256 constant YEAR = 365 * 86_400;
/// @dev Expiries stand a whole number of days apart.
uint256 constant DAY = 86_400;
/// @dev Seconds after midnight UTC at which options expire.
uint256 constant EXPIRY_TIME = 8 * 3600;
/// @dev Seconds before an expiry whose time-weighted average price settles it.
uint256 constant SETTLEMENT_WINDOW = 1800;
/// @dev Days whose settlement price an underlying remembers.
uint256 constant TWAP_DAYS = 4;
/// @dev Seconds in which a perpetual's premium over the index is paid once.
uint256 constant FUNDING_PERIOD = 8 * 3600;
/// @dev Account that holds what the insurance fund has taken over; its cash is in the globals.
uint256 constant INSURANCE_ACCOUNT = 0;
/// @dev Part of initial margin, parts per million, that a liquidation restores on top of it.
uint256 constant LIQUIDATION_BUFFER = 150_000;
/// @dev The reward of a liquidation rises for this long.
uint256 constant AUCTION_SECONDS = 3600;
/// @dev First reward of a liquidator: parts per million of the maintenance margin taken over.
uint256 constant AUCTION_START = 20_000;
/// @dev Last reward.
uint256 constant AUCTION_END = 1_000_000;
/// @dev Part of a solvent account's payment that goes to the insurance fund, parts per million.
uint256 constant INSURANCE_SHARE = 100_000;
/// @dev Seconds over which a risk multiplier moves by its maximum step at most.
uint256 constant MULTIPLIER_PERIOD = 3600;
/// @dev Time constant in seconds of an underlying's realised variance.
uint256 constant VARIANCE_DECAY = 86_400;
/// @dev Calldata bytes of a fill that the taker pays for.
uint256 constant FILL_BYTES = 14;
/// @dev Calldata bytes of a posted order with its signature that its owner pays for.
uint256 constant ORDER_BYTES = 88;
/// @dev What fills pay for L1 data is at most this many times the smoothed L1 base fee. That level falls by an eighth a
/// batch at most, so a fee at the level stays legal for ten batches not posted yet.
uint256 constant MAX_DATA_FEE = 4;
/// @dev Gas of one byte of calldata (EIP-7623's floor, none of them zero).
uint256 constant DATA_GAS = 40;
/// @dev Seconds that a chunk clock may lag the L1 time of its batch.
uint256 constant MAX_CLOCK_LAG = 4 * 3600;
/// @dev The L1 fee level moves 1/8 of the way to the previous batch's fee.
uint256 constant FEE_LEVEL_SMOOTHING = 8;

/// @dev Prices are unsigned and leave the sign bit free.
uint256 constant MAX_PRICE = 2 ** 63 - 1;
/// @dev Largest amount of money one transaction may name, in collateral units.
uint256 constant MAX_AMOUNT = 2 ** 96 - 1;

/// @dev Width of one scenario lane in a packed risk vector.
uint256 constant LANE_BITS = 128;
/// @dev 256-bit words that hold a packed risk vector on the Solidity side: 17.
uint256 constant LANE_PAIRS = (MAX_SCENARIOS + 1) / 2;

/// @dev Bytes: upper bound of calldata that a proof of a legal chunk may need (nodes refuse 131,072).
uint256 constant MAX_CHUNK_WITNESS = 108_000;
/// @dev Gas: upper bound of a legal chunk's transition proof (bar: 10M).
uint256 constant MAX_CHUNK_GAS = 9_000_000;
/// @dev Bytes that a queue message may weigh: all that a chunk with nothing else has for it.
uint256 constant MAX_MESSAGE_WITNESS = 105_150;
/// @dev Gas that a queue message may weigh: likewise. With anything before it there is less, so whether a
/// heavy message is honoured is not up to the proposer.
uint256 constant MAX_MESSAGE_GAS = 8_820_000;

/// @dev Headers, branches, globals and ABI padding of every proof.
uint256 constant WEIGHT_CHUNK_BYTES = 2816;
/// @dev Intrinsic gas, membership, removal and slashing.
uint256 constant WEIGHT_CHUNK_GAS = 120_000;
/// @dev Decoding and dispatch of any transaction.
uint256 constant WEIGHT_TRANSACTION_GAS = 10_000;
/// @dev Order checks and position updates of one fill, margin apart.
uint256 constant WEIGHT_FILL_GAS = 20_000;
/// @dev One margin check, what is held apart.
uint256 constant WEIGHT_MARGIN_GAS = 4000;
/// @dev One position of a margin check.
uint256 constant WEIGHT_MARGIN_POSITION_GAS = 3600;
/// @dev One underlying of a margin check.
uint256 constant WEIGHT_MARGIN_GROUP_GAS = 8000;
/// @dev Pricing one series under the whole grid.
uint256 constant WEIGHT_MARK_GAS = 28_000;
/// @dev Pricing one strike under the whole grid, its call, its put or both.
uint256 constant WEIGHT_MARK_OPTION_GAS = 150_000;
/// @dev One expiry of a margin check.
uint256 constant WEIGHT_MARGIN_EXPIRY_GAS = 12_000;
/// @dev Handing the working memory to the second executor and taking it back.
uint256 constant WEIGHT_MODULE_GAS = 450_000;
/// @dev The part of that memory which one transaction before may have left.
uint256 constant WEIGHT_MODULE_TRANSACTION_GAS = 1200;
/// @dev Making one leaf of a listing.
uint256 constant WEIGHT_LIST_LEAF_GAS = 12_000;
/// @dev Looking at one position for what has settled.
uint256 constant WEIGHT_REALISE_POSITION_GAS = 1500;
/// @dev Moving one position from an account to its liquidator.
uint256 constant WEIGHT_LIQUIDATE_POSITION_GAS = 9000;
/// @dev Turning one settled position into cash; what it leaves in memory is handed over ever after.
uint256 constant WEIGHT_REALISE_GAS = 10_000;
/// @dev Consuming one queue message; a forced one checks signatures inside.
uint256 constant WEIGHT_MESSAGE_GAS = 30_000;
/// @dev Decoding a Forced message, signatures apart.
uint256 constant WEIGHT_FORCED_GAS = 16_000;
/// @dev Every 32 bytes of a Configure message.
uint256 constant WEIGHT_CONFIGURE_WORD_GAS = 4500;
/// @dev Carrying on what an underlying derives from its index, once in an Observe.
uint256 constant WEIGHT_OBSERVE_GAS = 10_000;
/// @dev One observation of an Observe.
uint256 constant WEIGHT_OBSERVATION_GAS = 4600;
/// @dev One signature recovered inside a forced transaction.
uint256 constant WEIGHT_SIGNATURE_GAS = 9000;
/// @dev Calldata gas of one witness byte, none of them zero.
uint256 constant WEIGHT_BYTE_GAS = 16;
/// @dev One inner node of a multiproof, before and after.
uint256 constant WEIGHT_HASH_GAS = 550;
/// @dev Decode, encode and hash of an account, positions apart.
uint256 constant WEIGHT_ACCOUNT_GAS = 7500;
/// @dev The same, of one position.
uint256 constant WEIGHT_POSITION_GAS = 500;
/// @dev Decode, encode and hash of an order slot.
uint256 constant WEIGHT_SLOT_GAS = 5000;
/// @dev Decode, encode and hash of a market leaf, scenarios apart.
uint256 constant WEIGHT_MARKET_GAS = 10_500;
/// @dev The same, of every 32 bytes of the leaf.
uint256 constant WEIGHT_MARKET_WORD_GAS = 1450;
/// @dev Append one exit.
uint256 constant WEIGHT_EXIT_GAS = 3000;
/// @dev Id and length prefixes of a leaf in a witness.
uint256 constant WEIGHT_HOLDER_BYTES = 8;
