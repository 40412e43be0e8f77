// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    BitReader,
    decodeBits,
    decodeDecimal,
    decodeNumber,
    fail,
    readerOf,
    remaining
} from "./Bits.sol";
import {ACCOUNT_DEPTH, MARKET_DEPTH, MAX_SIGNERS, SLOT_DEPTH} from "./Constants.sol";
import {Fault, isFault} from "./Fault.sol";
import {
    Fill,
    Kind,
    Liquidate,
    List,
    Mark,
    Observation,
    Observe,
    Order,
    SetTradingKey,
    Surface,
    TimeInForce,
    Transaction,
    Transfer,
    Withdraw
} from "./Types.sol";

// Chunk data: clock, account table, market table, transactions, end mark.
//
// Bit-packed and canonical. Accounts and markets are named by their place in a table at the head of the
// chunk, so a busy account costs a few bits per mention. Tables are strictly ascending and every entry is
// used. Prices and amounts are exact decimals. Nothing needs the state to be decoded, so a signature can be
// checked on its own.
//
// Faults stick to the reader (see `Bits.sol`): `decodeHeader` and `decodeTransaction` report them, what is
// between them goes on with meaningless values, of which none can make it revert.

uint256 constant CLOCK_BITS = 40;
uint256 constant KIND_BITS = 4;
uint256 constant TABLE_BITS = 8;
/// @dev At most 255 accounts and 255 markets a chunk.
uint256 constant MAX_TABLE = (1 << TABLE_BITS) - 1;
uint256 constant LOTS_BITS = 31;
uint256 constant PRICE_BITS = 63;
uint256 constant AMOUNT_BITS = 96;
uint256 constant NONCE_BITS = 31;
uint256 constant EPOCH_BITS = 31;
uint256 constant EXPIRY_BITS = 31;
uint256 constant ACTION_NONCE_BITS = 63;
uint256 constant ADDRESS_BITS = 160;
uint256 constant AGE_BITS = 15;
/// @dev Series of one Mark beyond the first: at most 127 more.
uint256 constant COUNT_BITS = 7;
/// @dev Absolute value of a Q48 number.
uint256 constant FRACTION_BITS = 63;
uint256 constant OFFSET_BITS = 8;
/// @dev Parts per million.
uint256 constant SHARE_BITS = 20;

/// @dev A chunk being read.
struct Decoder {
    BitReader reader;
    uint256 clock;
    uint256[] accounts;
    uint256[] markets;
    uint256 usedAccounts; // Bit i: entry i of the table has been named.
    uint256 usedMarkets;
    // The transaction read last. The next one overwrites it, except for its orders, which are new.
    Transaction transaction;
    bool hasObservations; // `transaction.observe.observations` has its MAX_SIGNERS places in memory.
}

/// @dev Read a strictly ascending table: length, first id, then differences less one. TRUNCATED,
/// NON_CANONICAL, also for more than `most` entries; OUT_OF_RANGE when an id needs more than `width` bits.
function decodeTable(BitReader memory reader, uint256 width, uint256 most)
    pure
    returns (uint256[] memory ids)
{
    unchecked {
        uint256 count = decodeNumber(reader, TABLE_BITS);
        if (count > most) {
            fail(reader, Fault.NON_CANONICAL);
            return ids;
        }
        ids = new uint256[](count);
        uint256 next = 0;
        for (uint256 i; i < count; ++i) {
            uint256 value = next + decodeNumber(reader, width);
            if (value >> width != 0) fail(reader, Fault.OUT_OF_RANGE);
            if (isFault(reader.fault)) return ids;
            ids[i] = value;
            next = value + 1;
        }
    }
}

/// @dev Read the clock and both tables, which may be held to fewer entries than the codec allows: MAX_TABLE.
function decodeHeader(bytes memory data, uint256 mostAccounts, uint256 mostMarkets)
    pure
    returns (Decoder memory decoder, Fault fault)
{
    BitReader memory reader = readerOf(data);
    decoder.reader = reader;
    decoder.clock = decodeBits(reader, CLOCK_BITS);
    decoder.accounts = decodeTable(reader, ACCOUNT_DEPTH, mostAccounts);
    decoder.markets = decodeTable(reader, MARKET_DEPTH, mostMarkets);
    fault = reader.fault;
}

/// @dev Read a reference into a table of `size` entries. TRUNCATED; BAD_INDEX when there is no such entry.
function decodeIndex(BitReader memory reader, uint256 size) pure returns (uint256 index) {
    unchecked {
        uint256 width = 0;
        // As many bits as the last index needs.
        while (size > 1 << width) ++width;
        index = decodeBits(reader, width);
        if (index >= size) fail(reader, Fault.BAD_INDEX);
    }
}

/// @dev Read an account reference.
function decodeAccount(Decoder memory decoder) pure returns (uint256) {
    uint256[] memory accounts = decoder.accounts;
    uint256 index = decodeIndex(decoder.reader, accounts.length);
    if (index >= accounts.length) return 0;
    decoder.usedAccounts |= 1 << index;
    return accounts[index];
}

/// @dev Read a market reference.
function decodeMarket(Decoder memory decoder) pure returns (uint256) {
    uint256[] memory markets = decoder.markets;
    uint256 index = decodeIndex(decoder.reader, markets.length);
    if (index >= markets.length) return 0;
    decoder.usedMarkets |= 1 << index;
    return markets[index];
}

/// @dev Read the fields of an order that the fill itself does not say. TRUNCATED, NON_CANONICAL (also for
/// time in force 3), OUT_OF_RANGE.
function decodeOrder(Decoder memory decoder, uint256 market, bool isBuy)
    pure
    returns (Order memory order)
{
    unchecked {
        BitReader memory reader = decoder.reader;
        order.market = market;
        order.isBuy = isBuy;
        order.price = decodeDecimal(reader, PRICE_BITS);
        order.size = decodeNumber(reader, LOTS_BITS);
        order.nonce = decodeNumber(reader, NONCE_BITS);
        order.epoch = decodeNumber(reader, EPOCH_BITS);
        uint256 expiry = decoder.clock + decodeNumber(reader, EXPIRY_BITS);
        if (expiry >> CLOCK_BITS != 0) fail(reader, Fault.OUT_OF_RANGE);
        order.expiry = expiry;
        uint256 timeInForce = decodeBits(reader, 2);
        if (timeInForce > uint256(TimeInForce.FOK)) {
            fail(reader, Fault.NON_CANONICAL);
            return order;
        }
        order.timeInForce = TimeInForce(timeInForce);
        order.postOnly = decodeBits(reader, 1) == 1;
        order.reduceOnly = decodeBits(reader, 1) == 1;
    }
}

/// @dev Read a fill: market, accounts, slots, side, lots, then each order that is posted here.
function decodeFill(Decoder memory decoder) pure {
    BitReader memory reader = decoder.reader;
    Fill memory fill = decoder.transaction.fill;
    fill.market = decodeMarket(decoder);
    fill.maker = decodeAccount(decoder);
    fill.taker = decodeAccount(decoder);
    fill.makerSlot = decodeNumber(reader, SLOT_DEPTH);
    fill.takerSlot = decodeNumber(reader, SLOT_DEPTH);
    fill.makerIsBuy = decodeBits(reader, 1) == 1;
    fill.lots = decodeNumber(reader, LOTS_BITS);
    fill.hasMakerOrder = decodeBits(reader, 1) == 1;
    fill.hasTakerOrder = decodeBits(reader, 1) == 1;
    if (fill.hasMakerOrder) fill.makerOrder = decodeOrder(decoder, fill.market, fill.makerIsBuy);
    if (fill.hasTakerOrder) fill.takerOrder = decodeOrder(decoder, fill.market, !fill.makerIsBuy);
}

/// @dev Read a transfer: sender, recipient, amount, nonce.
function decodeTransfer(Decoder memory decoder) pure {
    Transfer memory transfer = decoder.transaction.transfer;
    transfer.sender = decodeAccount(decoder);
    transfer.recipient = decodeAccount(decoder);
    transfer.amount = decodeDecimal(decoder.reader, AMOUNT_BITS);
    transfer.nonce = decodeNumber(decoder.reader, ACTION_NONCE_BITS);
}

/// @dev Read a withdrawal: account, recipient, amount, nonce.
function decodeWithdraw(Decoder memory decoder) pure {
    Withdraw memory withdraw = decoder.transaction.withdraw;
    withdraw.account = decodeAccount(decoder);
    withdraw.recipient = address(uint160(decodeBits(decoder.reader, ADDRESS_BITS)));
    withdraw.amount = decodeDecimal(decoder.reader, AMOUNT_BITS);
    withdraw.nonce = decodeNumber(decoder.reader, ACTION_NONCE_BITS);
}

/// @dev Read a change of key: account, key, absolute expiry, nonce.
function decodeSetTradingKey(Decoder memory decoder) pure {
    SetTradingKey memory change = decoder.transaction.setTradingKey;
    change.account = decodeAccount(decoder);
    change.key = address(uint160(decodeBits(decoder.reader, ADDRESS_BITS)));
    change.expiry = decodeBits(decoder.reader, CLOCK_BITS);
    change.nonce = decodeNumber(decoder.reader, ACTION_NONCE_BITS);
}

/// @dev Read observations: market, bitmap of members, then price and age of each.
///
/// An age is seconds before the chunk's clock, so that a price from the future has no encoding; one older
/// than the clock itself is NON_CANONICAL.
function decodeObserve(Decoder memory decoder) pure {
    unchecked {
        BitReader memory reader = decoder.reader;
        Observe memory observe = decoder.transaction.observe;
        observe.market = decodeMarket(decoder);
        uint256 bitmap = decodeBits(reader, MAX_SIGNERS);
        if (!decoder.hasObservations) {
            observe.observations = new Observation[](MAX_SIGNERS);
            decoder.hasObservations = true;
        }
        Observation[] memory observations = observe.observations;
        // The array has MAX_SIGNERS places, whatever its length says. Here it is all of them...
        assembly ("memory-safe") {
            mstore(observations, MAX_SIGNERS)
        }
        uint256 count = 0;
        for (uint256 signer; signer < MAX_SIGNERS; ++signer) {
            if ((bitmap >> signer) & 1 == 0) continue;
            Observation memory entry = observations[count++];
            uint256 price = decodeDecimal(reader, PRICE_BITS);
            uint256 age = decodeNumber(reader, AGE_BITS);
            if (age > decoder.clock) {
                fail(reader, Fault.NON_CANONICAL);
                return;
            }
            entry.signer = signer;
            entry.price = price;
            entry.time = decoder.clock - age;
        }
        // ... and from here on those that were read.
        assembly ("memory-safe") {
            mstore(observations, count)
        }
    }
}

/// @dev Read a mark: first series, number of further ones.
function decodeMark(Decoder memory decoder) pure {
    unchecked {
        Mark memory mark = decoder.transaction.mark;
        mark.market = decodeMarket(decoder);
        mark.count = decodeNumber(decoder.reader, COUNT_BITS) + 1;
    }
}

/// @dev Read a sign bit, then an absolute value below 2^width. TRUNCATED; NON_CANONICAL, also for a negative
/// zero.
function decodeSigned(BitReader memory reader, uint256 width) pure returns (int256) {
    bool isNegative = decodeBits(reader, 1) == 1;
    uint256 value = decodeNumber(reader, width);
    if (!isNegative) return int256(value);
    if (value == 0) fail(reader, Fault.NON_CANONICAL);
    unchecked {
        return -int256(value);
    }
}

/// @dev Read a surface: expiry, bitmap of members, forward ratio, rate, five parameters, age.
///
/// An age is seconds before the chunk's clock; one older than the clock itself is NON_CANONICAL.
function decodeSurface(Decoder memory decoder) pure {
    BitReader memory reader = decoder.reader;
    Surface memory surface = decoder.transaction.surface;
    surface.market = decodeMarket(decoder);
    surface.signers = decodeBits(reader, MAX_SIGNERS);
    surface.ratio = decodeNumber(reader, FRACTION_BITS);
    surface.rate = decodeSigned(reader, FRACTION_BITS);
    surface.a = decodeSigned(reader, FRACTION_BITS);
    surface.b = decodeSigned(reader, FRACTION_BITS);
    surface.rho = decodeSigned(reader, FRACTION_BITS);
    surface.m = decodeSigned(reader, FRACTION_BITS);
    surface.sigma = decodeSigned(reader, FRACTION_BITS);
    uint256 age = decodeNumber(reader, AGE_BITS);
    if (age > decoder.clock) {
        fail(reader, Fault.NON_CANONICAL);
        return;
    }
    unchecked {
        surface.time = decoder.clock - age;
    }
}

/// @dev Read a listing: underlying, how many expiries ahead.
function decodeList(Decoder memory decoder) pure {
    List memory list = decoder.transaction.list;
    list.market = decodeMarket(decoder);
    list.offset = decodeNumber(decoder.reader, OFFSET_BITS);
}

/// @dev Read a liquidation: liquidator, target, share, least reward, nonce.
function decodeLiquidate(Decoder memory decoder) pure {
    Liquidate memory liquidate = decoder.transaction.liquidate;
    liquidate.account = decodeAccount(decoder);
    liquidate.target = decodeAccount(decoder);
    liquidate.share = decodeNumber(decoder.reader, SHARE_BITS);
    liquidate.reward = decodeNumber(decoder.reader, SHARE_BITS);
    liquidate.nonce = decodeNumber(decoder.reader, ACTION_NONCE_BITS);
}

/// @dev Read a price of data: four zero bits, the fee. TRUNCATED, NON_CANONICAL; UNKNOWN_KIND for other bits: they
/// are kept for kinds to come.
function decodeDataFee(Decoder memory decoder) pure {
    BitReader memory reader = decoder.reader;
    if (decodeBits(reader, KIND_BITS) != 0) fail(reader, Fault.UNKNOWN_KIND);
    decoder.transaction.dataFee.fee = decodeNumber(reader, FRACTION_BITS);
}

/// @dev Check what follows the end mark: zero padding and nothing else, every table entry used.
/// TRAILING_BYTES; NON_CANONICAL for padding that is not zero or an unused table entry.
function decodeEnd(Decoder memory decoder) pure {
    unchecked {
        BitReader memory reader = decoder.reader;
        if (remaining(reader) >= 8) {
            fail(reader, Fault.TRAILING_BYTES);
            return;
        }
        if (
            decodeBits(reader, remaining(reader)) != 0
                || decoder.usedAccounts != (1 << decoder.accounts.length) - 1
                || decoder.usedMarkets != (1 << decoder.markets.length) - 1
        ) fail(reader, Fault.NON_CANONICAL);
    }
}

/// @dev Read the next transaction into `decoder.transaction`; END at the end mark, whose padding is then
/// checked too and which leaves `decoder.transaction` as it is. Any of the decoder's faults.
function decodeTransaction(Decoder memory decoder) pure returns (Kind kind, Fault fault) {
    BitReader memory reader = decoder.reader;
    uint256 number = decodeBits(reader, KIND_BITS);
    if (isFault(reader.fault)) return (Kind.END, reader.fault);
    kind = Kind(number);
    if (kind == Kind.END) {
        decodeEnd(decoder);
        return (kind, reader.fault);
    }
    decoder.transaction.kind = kind;
    if (kind == Kind.FILL) {
        decodeFill(decoder);
    } else if (kind == Kind.TRANSFER) {
        decodeTransfer(decoder);
    } else if (kind == Kind.WITHDRAW) {
        decodeWithdraw(decoder);
    } else if (kind == Kind.SET_TRADING_KEY) {
        decodeSetTradingKey(decoder);
    } else if (kind == Kind.OBSERVE) {
        decodeObserve(decoder);
    } else if (kind == Kind.MARK) {
        decodeMark(decoder);
    } else if (kind == Kind.SURFACE) {
        decodeSurface(decoder);
    } else if (kind == Kind.LIST) {
        decodeList(decoder);
    } else if (kind == Kind.FUND) {
        decoder.transaction.fund.market = decodeMarket(decoder);
    } else if (kind == Kind.SWEEP) {
        decoder.transaction.sweep.account = decodeAccount(decoder);
    } else if (kind == Kind.DISTRESS) {
        decoder.transaction.distress.account = decodeAccount(decoder);
    } else if (kind == Kind.LIQUIDATE) {
        decodeLiquidate(decoder);
    } else if (kind == Kind.SOCIALISE) {
        decoder.transaction.socialise.account = decodeAccount(decoder);
    } else if (kind == Kind.DATA_FEE) {
        decodeDataFee(decoder);
    }
    fault = reader.fault;
}
