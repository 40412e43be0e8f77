"""Numbers that both twins and every proof depend on. A change here is a new protocol version."""

from typing import Final

PROTOCOL_VERSION: Final = 2
"""Part of the parameter hash in every batch header."""

ACCOUNT_DEPTH: Final = 24
"""Levels of the account tree: 16,777,215 accounts; id 0 is the insurance fund's."""
MARKET_DEPTH: Final = 16
"""Levels of the market tree: underlyings, series, grids and committees share one id space."""
EXIT_DEPTH: Final = 32
"""Levels of the append-only exit tree."""
SLOT_DEPTH: Final = 12
"""Levels of an account's order-slot tree: 4,096 orders alive at once."""
CHUNK_DEPTH: Final = 8
"""Levels of the tree of chunk commitments: 256 chunks a batch."""

MAX_POSITIONS: Final = 64
"""Positions an account may hold; bounds the cost of a margin check."""
MAX_GROUPS: Final = 48
"""Underlyings and expiries, added up, that an account's positions may be spread over: so that even
its liquidation fits a chunk."""
MAX_SCENARIOS: Final = 33
"""Scenarios of a risk grid (the PMRM_2 family has 33)."""
MAX_SIGNERS: Final = 16
"""Members of an oracle committee."""

PPM: Final = 1_000_000
"""Rates, bands and factors are parts per million."""
ONE: Final = 1 << 48
"""Fractions of the risk model are Q48: value times 2^48."""
YEAR: Final = 365 * 86_400
"""Seconds of a year in pricing."""
DAY: Final = 86_400
"""Expiries stand a whole number of days apart."""
EXPIRY_TIME: Final = 8 * 3600
"""Seconds after midnight UTC at which options expire."""
SETTLEMENT_WINDOW: Final = 1_800
"""Seconds before an expiry whose time-weighted average price settles it."""
TWAP_DAYS: Final = 4
"""Days whose settlement price an underlying remembers."""
FUNDING_PERIOD: Final = 8 * 3600
"""Seconds in which a perpetual's premium over the index is paid once."""
INSURANCE_ACCOUNT: Final = 0
"""Account that holds what the insurance fund has taken over; its cash is in the globals."""
LIQUIDATION_BUFFER: Final = 150_000
"""Part of initial margin, parts per million, that a liquidation restores on top of it."""
AUCTION_SECONDS: Final = 3_600
"""The reward of a liquidation rises for this long."""
AUCTION_START: Final = 20_000
"""First reward of a liquidator: parts per million of the maintenance margin taken over."""
AUCTION_END: Final = 1_000_000
"""Last reward."""
INSURANCE_SHARE: Final = 100_000
"""Part of a solvent account's payment that goes to the insurance fund, parts per million."""
MULTIPLIER_PERIOD: Final = 3_600
"""Seconds over which a risk multiplier moves by its maximum step at most."""
VARIANCE_DECAY: Final = 86_400
"""Time constant in seconds of an underlying's realised variance."""
FILL_BYTES: Final = 14
"""Calldata bytes of a fill that the taker pays for."""
ORDER_BYTES: Final = 88
"""Calldata bytes of a posted order with its signature that its owner pays for."""
MAX_DATA_FEE: Final = 4
"""What fills pay for L1 data is at most this many times the smoothed L1 base fee. That level falls
by an eighth a batch at most, so a fee at the level stays legal for ten batches not posted yet."""
DATA_GAS: Final = 40
"""Gas of one byte of calldata (EIP-7623's floor, none of them zero)."""
MAX_CLOCK_LAG: Final = 4 * 3600
"""Seconds that a chunk clock may lag the L1 time of its batch."""
FEE_LEVEL_SMOOTHING: Final = 8
"""The L1 fee level moves 1/8 of the way to the previous batch's fee."""

MAX_PRICE: Final = 2**63 - 1
"""Prices are unsigned and leave the sign bit free."""
MAX_AMOUNT: Final = 2**96 - 1
"""Largest amount of money one transaction may name, in collateral units."""

LANE_BITS: Final = 128
"""Width of one scenario lane in a packed risk vector."""
LANE_PAIRS: Final = (MAX_SCENARIOS + 1) // 2
"""256-bit words that hold a packed risk vector on the Solidity side: 17."""

MAX_CHUNK_WITNESS: Final = 108_000
"""Bytes: upper bound of calldata that a proof of a legal chunk may need (nodes refuse 131,072)."""
MAX_CHUNK_GAS: Final = 9_000_000
"""Gas: upper bound of a legal chunk's transition proof (bar: 10M)."""
MAX_MESSAGE_WITNESS: Final = 105_150
"""Bytes that a queue message may weigh: all that a chunk with nothing else has for it."""
MAX_MESSAGE_GAS: Final = 8_820_000
"""Gas that a queue message may weigh: likewise. With anything before it there is less, so whether a
heavy message is honoured is not up to the proposer."""

WEIGHT_CHUNK_BYTES: Final = 2_816
"""Headers, branches, globals and ABI padding of every proof."""
WEIGHT_CHUNK_GAS: Final = 120_000
"""Intrinsic gas, membership, removal and slashing."""
WEIGHT_TRANSACTION_GAS: Final = 10_000
"""Decoding and dispatch of any transaction."""
WEIGHT_FILL_GAS: Final = 20_000
"""Order checks and position updates of one fill, margin apart."""
WEIGHT_MARGIN_GAS: Final = 4_000
"""One margin check, what is held apart."""
WEIGHT_MARGIN_POSITION_GAS: Final = 3_600
"""One position of a margin check."""
WEIGHT_MARGIN_GROUP_GAS: Final = 8_000
"""One underlying of a margin check."""
WEIGHT_MARK_GAS: Final = 28_000
"""Pricing one series under the whole grid."""
WEIGHT_MARK_OPTION_GAS: Final = 150_000
"""Pricing one strike under the whole grid, its call, its put or both."""
WEIGHT_MARGIN_EXPIRY_GAS: Final = 12_000
"""One expiry of a margin check."""
WEIGHT_MODULE_GAS: Final = 450_000
"""Handing the working memory to the second executor and taking it back."""
WEIGHT_MODULE_TRANSACTION_GAS: Final = 1_200
"""The part of that memory which one transaction before may have left."""
WEIGHT_LIST_LEAF_GAS: Final = 12_000
"""Making one leaf of a listing."""
WEIGHT_REALISE_POSITION_GAS: Final = 1_500
"""Looking at one position for what has settled."""
WEIGHT_REALISE_GAS: Final = 10_000
"""Turning one settled position into cash; what it leaves in memory is handed over ever after."""
WEIGHT_LIQUIDATE_POSITION_GAS: Final = 9_000
"""Moving one position from an account to its liquidator."""
WEIGHT_MESSAGE_GAS: Final = 30_000
"""Consuming one queue message; a forced one checks signatures inside."""
WEIGHT_FORCED_GAS: Final = 16_000
"""Decoding a Forced message, signatures apart."""
WEIGHT_CONFIGURE_WORD_GAS: Final = 4_500
"""Every 32 bytes of a Configure message."""
WEIGHT_OBSERVE_GAS: Final = 10_000
"""Carrying on what an underlying derives from its index, once in an Observe."""
WEIGHT_OBSERVATION_GAS: Final = 4_600
"""One observation of an Observe."""
WEIGHT_SIGNATURE_GAS: Final = 9_000
"""One signature recovered inside a forced transaction."""
WEIGHT_BYTE_GAS: Final = 16
"""Calldata gas of one witness byte, none of them zero."""
WEIGHT_HASH_GAS: Final = 550
"""One inner node of a multiproof, before and after."""
WEIGHT_ACCOUNT_GAS: Final = 7_500
"""Decode, encode and hash of an account, positions apart."""
WEIGHT_POSITION_GAS: Final = 500
"""The same, of one position."""
WEIGHT_SLOT_GAS: Final = 5_000
"""Decode, encode and hash of an order slot."""
WEIGHT_MARKET_GAS: Final = 10_500
"""Decode, encode and hash of a market leaf, scenarios apart."""
WEIGHT_MARKET_WORD_GAS: Final = 1_450
"""The same, of every 32 bytes of the leaf."""
WEIGHT_EXIT_GAS: Final = 3_000
"""Append one exit."""
WEIGHT_HOLDER_BYTES: Final = 8
"""Id and length prefixes of a leaf in a witness."""
