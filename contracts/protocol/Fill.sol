// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divUp, isWithinBand} from "./Arithmetic.sol";
import {MAX_POSITIONS, PPM, WEIGHT_FILL_GAS} from "./Constants.sol";
import {copySeries} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {validateFresh, validateMargin} from "./Margin.sol";
import {
    State,
    UINT128_BOUND,
    UINT64_BOUND,
    charge,
    getAccount,
    getSeries,
    getSlot,
    getUnderlying,
    setAccount,
    setMarket,
    setSlot,
    validateAccount
} from "./State.sol";
import {
    Account,
    Fill,
    Order,
    Position,
    Series,
    SeriesStatus,
    Slot,
    TimeInForce,
    Underlying
} from "./Types.sol";

// Fill: two signed orders trade at the maker's price.
//
// Purchases are paid in full: the buyer's cash falls by price * lots and the seller's rises by it, whatever
// the series; leverage is the margin check's business. Open interest counts the long side.
//
// Bounds: prices are below 2^63, lots below 2^31, sizes within 2^63, cash and carry within 2^127.

/// @dev The taker and slot of the transaction before, when that was a fill.
struct Sweep {
    bool exists;
    uint256 taker;
    uint256 slot;
}

/// @dev What a fill reads and makes.
struct Trade {
    Series series;
    Underlying underlying;
    Account maker;
    Account taker;
    Slot makerSlot; // After the fill. So is all below.
    Slot takerSlot;
    Account makerAfter;
    Account takerAfter;
}

/// @dev Return the signed lots that an account holds of a series.
function computePositionSize(Account memory account, uint256 market) pure returns (int256) {
    (uint256 place, bool held) = _findPosition(account.positions, market);
    return held ? account.positions[place].size : int256(0);
}

/// @dev Check an order that is posted with its first fill. ZERO_AMOUNT, TICK; ORDER_NONCE unless its nonce is
/// above the slot's.
function validateOrder(Order memory order, Slot memory slot, bool slotExists, uint256 tick)
    pure
    returns (Fault)
{
    if (order.price == 0 || order.size == 0) return Fault.ZERO_AMOUNT;
    if (order.price % tick != 0) return Fault.TICK;
    if (order.nonce <= (slotExists ? slot.order.nonce : 0)) return Fault.ORDER_NONCE;
    return Fault.NONE;
}

/// @dev Return one side's slot after the fill: the posted order, or the one that rests there already. What
/// `validateOrder` returns; ORDER_MISMATCH, ORDER_EXPIRED, ORDER_EPOCH, ORDER_OVERFILL.
function computeSlot(
    State memory state,
    Fill memory fill,
    Account memory account,
    bool isMaker,
    uint256 tick
) pure returns (Slot memory slot, Fault fault) {
    // The place that the compiler has made for `slot` is not needed.
    assembly ("memory-safe") {
        mstore(0x40, slot)
    }
    bool exists;
    (slot, exists, fault) = getSlot(
        state, isMaker ? fill.maker : fill.taker, isMaker ? fill.makerSlot : fill.takerSlot
    );
    if (isFault(fault)) return (slot, fault);
    Order memory order = isMaker ? fill.makerOrder : fill.takerOrder;
    uint256 filled;
    if (isMaker ? fill.hasMakerOrder : fill.hasTakerOrder) {
        fault = validateOrder(order, slot, exists, tick);
        if (isFault(fault)) return (slot, fault);
    } else {
        if (!exists) return (slot, Fault.ORDER_MISMATCH);
        order = slot.order;
        if (order.market != fill.market || order.isBuy != (isMaker == fill.makerIsBuy)) {
            return (slot, Fault.ORDER_MISMATCH);
        }
        filled = slot.filled;
    }
    if (state.globals.clock > order.expiry) return (slot, Fault.ORDER_EXPIRED);
    if (order.epoch != account.epoch) return (slot, Fault.ORDER_EPOCH);
    filled += fill.lots;
    if (filled > order.size) return (slot, Fault.ORDER_OVERFILL);
    return (Slot(order, filled), Fault.NONE);
}

/// @dev Return a fee on notional at `rate` parts per million, rounded up.
function computeFee(uint256 notional, uint256 rate) pure returns (uint256) {
    unchecked {
        // Below 2^94 * 2^32.
        return uint256(divUp(int256(notional * rate), int256(PPM)));
    }
}

/// @dev Return an account after its position in `market` changed by `change` lots and its cash by `cash`.
/// REDUCE_ONLY, POSITION_LIMIT, OUT_OF_RANGE.
///
/// Carry that has accrued on the old position is paid first.
function computeAccountAfter(
    Account memory account,
    uint256 market,
    int256 change,
    int256 cash,
    Series memory series,
    bool reduceOnly
) pure returns (Account memory accountAfter, Fault fault) {
    Position[] memory positions = account.positions;
    (uint256 place, bool held) = _findPosition(positions, market);
    int256 before;
    unchecked {
        // Far below 2^255: see above.
        cash += account.cash;
        if (held) {
            before = positions[place].size;
            cash -= before * (series.carry - positions[place].snapshot);
        }
        change += before;
        if (
            reduceOnly
                && (_abs(change) >= _abs(before) || (change != 0 && (change < 0) != (before < 0)))
        ) return (accountAfter, Fault.REDUCE_ONLY);
    }
    if (!held && positions.length == MAX_POSITIONS) return (accountAfter, Fault.POSITION_LIMIT);
    accountAfter.owner = account.owner;
    accountAfter.tradingKey = account.tradingKey;
    accountAfter.keyExpiry = account.keyExpiry;
    accountAfter.nonce = account.nonce;
    accountAfter.cash = cash;
    accountAfter.epoch = account.epoch;
    accountAfter.distressedAt = account.distressedAt;
    accountAfter.positions =
        _replacePosition(positions, place, held, Position(market, change, series.carry));
    fault = validateAccount(accountAfter);
}

/// @dev Return how much of a position's change by `change` lots counts as open interest.
function computeLongChange(int256 before, int256 change) pure returns (int256) {
    unchecked {
        int256 afterwards = before + change;
        return (afterwards > 0 ? afterwards : int256(0)) - (before > 0 ? before : int256(0));
    }
}

/// @dev Check the two orders against each other, and the price against the band around the mark.
/// TIME_IN_FORCE, POST_ONLY, PRICE_LIMIT, PRICE_BAND.
function validateSides(
    Slot memory maker,
    Slot memory taker,
    Underlying memory underlying,
    Series memory series,
    bool continues
) pure returns (Fault) {
    Order memory makerOrder = maker.order;
    Order memory takerOrder = taker.order;
    if (makerOrder.timeInForce != TimeInForce.GTC) return Fault.TIME_IN_FORCE;
    if (takerOrder.timeInForce != TimeInForce.GTC && !continues) return Fault.TIME_IN_FORCE;
    if (takerOrder.postOnly) return Fault.POST_ONLY;
    uint256 price = makerOrder.price;
    if (takerOrder.isBuy ? price > takerOrder.price : price < takerOrder.price) {
        return Fault.PRICE_LIMIT;
    }
    if (!isWithinBand(price, series.mark, underlying.params.fillBand)) return Fault.PRICE_BAND;
    return Fault.NONE;
}

/// @dev Trade.
///
/// In this order: OVERWEIGHT wherever a leaf is touched; ZERO_AMOUNT, UNKNOWN_MARKET, INACTIVE, HALTED,
/// STALE_MARK, UNKNOWN_ACCOUNT, SELF_TRADE; the maker's, then the taker's order; the sides; FILL_OR_KILL; the
/// accounts after; MARGIN of maker, then of taker.
///
/// @param sweep The taker and slot of the transaction before this one, when that was a fill: an immediate
/// order goes on only directly after its own last fill.
/// @param isAlone Nothing can follow: a fill-or-kill order must be complete with this fill.
/// @return isIncomplete Whether the taker's order is fill-or-kill and not complete: the next transaction must
/// go on.
/// @return fault The first broken rule.
function processFill(State memory state, Fill memory fill, Sweep memory sweep, bool isAlone)
    pure
    returns (bool isIncomplete, Fault fault)
{
    fault = charge(state, WEIGHT_FILL_GAS, 0);
    if (isFault(fault)) return (false, fault);
    if (fill.lots == 0) return (false, Fault.ZERO_AMOUNT);
    Trade memory trade = _newTrade();
    fault = _openMarket(state, fill, trade);
    if (isFault(fault)) return (false, fault);
    fault = _openSides(state, fill, trade);
    if (isFault(fault)) return (false, fault);
    bool continues = fill.hasTakerOrder
        || (sweep.exists && sweep.taker == fill.taker && sweep.slot == fill.takerSlot);
    fault =
        validateSides(trade.makerSlot, trade.takerSlot, trade.underlying, trade.series, continues);
    if (isFault(fault)) return (false, fault);
    Order memory order = trade.takerSlot.order;
    isIncomplete = order.timeInForce == TimeInForce.FOK && trade.takerSlot.filled < order.size;
    if (isIncomplete && isAlone) return (false, Fault.FILL_OR_KILL);
    fault = _settle(state, fill, trade);
}

/// @dev The start of `processFill`: the series and its underlying.
function _openMarket(State memory state, Fill memory fill, Trade memory trade)
    pure
    returns (Fault fault)
{
    (trade.series, fault) = getSeries(state, fill.market);
    if (isFault(fault)) return fault;
    if (trade.series.status != SeriesStatus.ACTIVE) return Fault.INACTIVE;
    (trade.underlying, fault) = getUnderlying(state, trade.series.underlying);
    if (isFault(fault)) return fault;
    fault = validateFresh(trade.series, trade.underlying, state.globals.clock);
}

/// @dev The middle of `processFill`: accounts and orders of both sides.
function _openSides(State memory state, Fill memory fill, Trade memory trade)
    pure
    returns (Fault fault)
{
    (trade.maker, fault) = getAccount(state, fill.maker);
    if (isFault(fault)) return fault;
    (trade.taker, fault) = getAccount(state, fill.taker);
    if (isFault(fault)) return fault;
    if (trade.maker.owner == trade.taker.owner) return Fault.SELF_TRADE;
    uint256 tick = trade.underlying.params.tick;
    (trade.makerSlot, fault) = computeSlot(state, fill, trade.maker, true, tick);
    if (isFault(fault)) return fault;
    (trade.takerSlot, fault) = computeSlot(state, fill, trade.taker, false, tick);
}

/// @dev The end of `processFill`: money, positions and margin.
function _settle(State memory state, Fill memory fill, Trade memory trade)
    pure
    returns (Fault fault)
{
    Series memory series = trade.series;
    uint256 openInterest;
    uint256 feePool;
    unchecked {
        // Below 2^94.
        uint256 notional = trade.makerSlot.order.price * fill.lots;
        uint256 makerFee = computeFee(notional, trade.underlying.params.makerFee);
        uint256 takerFee = computeFee(notional, trade.underlying.params.takerFee);
        int256 bought = fill.makerIsBuy ? int256(fill.lots) : -int256(fill.lots);
        int256 paid = fill.makerIsBuy ? int256(notional) : -int256(notional);
        (trade.makerAfter, fault) = computeAccountAfter(
            trade.maker,
            fill.market,
            bought,
            -paid - int256(makerFee),
            series,
            trade.makerSlot.order.reduceOnly
        );
        if (isFault(fault)) return fault;
        (trade.takerAfter, fault) = computeAccountAfter(
            trade.taker,
            fill.market,
            -bought,
            paid - int256(takerFee),
            series,
            trade.takerSlot.order.reduceOnly
        );
        if (isFault(fault)) return fault;
        // Not below zero: open interest counts the long lots that a change takes away.
        openInterest = series.openInterest
            + uint256(
                computeLongChange(computePositionSize(trade.maker, fill.market), bought)
                    + computeLongChange(computePositionSize(trade.taker, fill.market), -bought)
            );
        feePool = state.globals.feePool + makerFee + takerFee;
    }
    if (openInterest >= UINT64_BOUND || feePool >= UINT128_BOUND) return Fault.OUT_OF_RANGE;
    fault = validateMargin(state, trade.maker, trade.makerAfter, state.globals.clock);
    if (isFault(fault)) return fault;
    fault = validateMargin(state, trade.taker, trade.takerAfter, state.globals.clock);
    if (isFault(fault)) return fault;

    setAccount(state, fill.maker, trade.makerAfter);
    setAccount(state, fill.taker, trade.takerAfter);
    setSlot(state, fill.maker, fill.makerSlot, trade.makerSlot);
    setSlot(state, fill.taker, fill.takerSlot, trade.takerSlot);
    Series memory seriesAfter = copySeries(series);
    seriesAfter.openInterest = openInterest;
    setMarket(state, fill.market, seriesAfter);
    state.globals.feePool = feePool;
}

/// @dev A trade whose members are not set yet.
function _newTrade() pure returns (Trade memory trade) {
    // The compiler has made every member at length; eight words are enough.
    assembly ("memory-safe") {
        mstore(0x40, add(trade, 0x100))
    }
}

/// @dev Return where a series is, or would be, among positions, and whether it is there.
function _findPosition(Position[] memory positions, uint256 market)
    pure
    returns (uint256 place, bool held)
{
    uint256 count = positions.length;
    unchecked {
        while (place < count) {
            uint256 series = positions[place].series;
            if (series >= market) return (place, series == market);
            ++place;
        }
    }
}

/// @dev Return positions with the one at `place` replaced (if held) or with another one there. A position of no
/// lots is left out.
function _replacePosition(
    Position[] memory positions,
    uint256 place,
    bool held,
    Position memory position
) pure returns (Position[] memory positionsAfter) {
    bool keeps = position.size != 0;
    // Arrays of structs hold pointers, and positions never change: sharing them is safe.
    assembly ("memory-safe") {
        let count := mload(positions)
        let from := add(add(positions, 0x20), shl(5, place))
        positionsAfter := mload(0x40)
        let to := add(positionsAfter, 0x20)
        mcopy(to, add(positions, 0x20), shl(5, place))
        to := add(to, shl(5, place))
        if keeps {
            mstore(to, position)
            to := add(to, 0x20)
        }
        let rest := shl(5, sub(sub(count, place), held))
        mcopy(to, add(from, shl(5, held)), rest)
        to := add(to, rest)
        mstore(positionsAfter, sub(shr(5, sub(to, positionsAfter)), 1))
        mstore(0x40, to)
    }
}

function _abs(int256 value) pure returns (int256) {
    unchecked {
        return value < 0 ? -value : value;
    }
}
