// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divUp} from "./Arithmetic.sol";
import {
    DATA_GAS,
    FILL_BYTES,
    MAX_POSITIONS,
    ORDER_BYTES,
    PPM,
    WEIGHT_FILL_GAS
} from "./Constants.sol";
import {copyAccount, copySeries} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {getExpiryOf, validateFresh} from "./Fresh.sol";
import {computeAccrued, computeCarry} from "./Funding.sol";
import {validateMargin} from "./Margin.sol";
import {processRealise} from "./Realise.sol";
import {
    INT64_BOUND,
    State,
    UINT128_BOUND,
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
    Expiry,
    Fill,
    Order,
    Position,
    Series,
    SeriesKind,
    SeriesStatus,
    Slot,
    TimeInForce,
    Underlying,
    UnderlyingParams,
    hasStatus,
    isKind
} from "./Types.sol";

// Fill: two signed orders trade at the maker's price.
//
// Purchases are paid in full: the buyer's cash falls by price * lots and the seller's rises by it, whatever
// the series; leverage is the margin check's business. Open interest counts the long side. What has settled turns
// into cash first, and funding accrues up to the clock.
//
// Bounds: prices are below 2^63, lots below 2^31 (of a ForceClose below 2^64), sizes within 2^63, cash and carry
// within 2^127, rates below 2^32.

/// @dev The taker and slot of the transaction before, when that was a fill.
struct Streak {
    bool exists;
    uint256 taker;
    uint256 slot;
}

/// @dev What a fill reads and makes.
struct Trade {
    Series series;
    Underlying underlying;
    Expiry expiry; // Of an option.
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

/// @dev Return a fee at `rate` parts per million, rounded up: of a perpetual's notional, or of an option's
/// notional at the index within a part of its premium. A negative rate gives a rebate, a negative fee.
function computeFee(
    Series memory series,
    Underlying memory underlying,
    uint256 price,
    uint256 lots,
    int256 rate
) pure returns (int256 fee) {
    unchecked {
        // Below 2^96 * 2^32.
        int256 premium = int256(price * lots);
        if (isKind(series, SeriesKind.PERPETUAL)) return divUp(premium * rate, int256(PPM));
        int256 cap = premium * int256(underlying.params.optionFeeCap) / int256(PPM);
        fee = divUp(int256(underlying.index * lots) * rate, int256(PPM));
        if (fee > cap) return cap;
        if (fee < -cap) return -cap;
    }
}

/// @dev Return the fees of maker and taker. A maker's rebate is at most what the taker pays.
function computeFees(
    Series memory series,
    Underlying memory underlying,
    uint256 price,
    uint256 lots
) pure returns (int256 maker, int256 taker) {
    UnderlyingParams memory params = underlying.params;
    bool isPerpetual = isKind(series, SeriesKind.PERPETUAL);
    uint256 takerRate = isPerpetual ? params.takerFee : params.optionTakerFee;
    taker = computeFee(series, underlying, price, lots, int256(takerRate));
    maker = computeFee(
        series, underlying, price, lots, isPerpetual ? params.makerFee : params.optionMakerFee
    );
    unchecked {
        if (maker < -taker) maker = -taker;
    }
}

/// @dev Return what `size` bytes on L1 cost, rounded up, at the index of the underlying that prices them.
/// OVERWEIGHT; UNKNOWN_MARKET when that underlying is gone.
function computeDataFee(State memory state, UnderlyingParams memory params, uint256 size)
    pure
    returns (int256 fee, Fault fault)
{
    if (params.gasMarket == 0 || params.gasLot == 0) return (0, Fault.NONE);
    (Underlying memory priced, Fault unknown) = getUnderlying(state, params.gasMarket);
    if (isFault(unknown)) return (0, unknown);
    unchecked {
        // Below 2^12 * 2^64 * 2^64.
        uint256 value = size * DATA_GAS * state.globals.dataFee * priced.index;
        fee = divUp(int256(value), int256(params.gasLot));
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
            cash -= before * (computeCarry(series, before) - positions[place].snapshot);
        }
        change += before;
        if (
            reduceOnly
                && (_abs(change) >= _abs(before) || (change != 0 && (change < 0) != (before < 0)))
        ) return (accountAfter, Fault.REDUCE_ONLY);
    }
    if (!held && positions.length == MAX_POSITIONS) return (accountAfter, Fault.POSITION_LIMIT);
    accountAfter = copyAccount(account);
    accountAfter.cash = cash;
    accountAfter.positions = _replacePosition(
        positions, place, held, Position(market, change, computeCarry(series, change))
    );
    fault = validateAccount(accountAfter);
}

/// @dev Return how much of a position's change by `change` lots counts as open interest.
function computeLongChange(int256 before, int256 change) pure returns (int256) {
    unchecked {
        int256 afterwards = before + change;
        return (afterwards > 0 ? afterwards : int256(0)) - (before > 0 ? before : int256(0));
    }
}

/// @dev Return a series' open interest after a change of its long lots. OUT_OF_RANGE; half of the leaf's range is
/// kept, because settlement counts both sides.
function computeOpenInterest(Series memory series, int256 change) pure returns (uint256, Fault) {
    unchecked {
        int256 openInterest = int256(series.openInterest) + change;
        bool isFine = openInterest >= 0 && openInterest < INT64_BOUND;
        return (uint256(openInterest), isFine ? Fault.NONE : Fault.OUT_OF_RANGE);
    }
}

/// @dev Return whether a price is close enough to the mark: within a part of it for a perpetual, of the index for
/// an option.
function isWithinFillBand(uint256 price, Series memory series, Underlying memory underlying)
    pure
    returns (bool)
{
    uint256 mark = series.mark;
    uint256 base = isKind(series, SeriesKind.PERPETUAL) ? mark : underlying.index;
    unchecked {
        uint256 distance = price < mark ? mark - price : price - mark;
        return distance * PPM <= underlying.params.fillBand * base;
    }
}

/// @dev Check that an order dies before its option does: the id may get a new meaning then. ORDER_EXPIRED.
function validateLifetime(Order memory order, Series memory series, Expiry memory expiry)
    pure
    returns (Fault)
{
    if (isKind(series, SeriesKind.PERPETUAL)) return Fault.NONE;
    return order.expiry >= expiry.time ? Fault.ORDER_EXPIRED : Fault.NONE;
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
    return isWithinFillBand(price, series, underlying) ? Fault.NONE : Fault.PRICE_BAND;
}

/// @dev Return whether fills in a series are possible at all: ACTIVE, or CLOSING.
function isTrading(Series memory series) pure returns (bool isIt) {
    // The odd ones.
    assembly ("memory-safe") {
        isIt := and(mload(add(series, 0x20)), 1)
    }
}

/// @dev Return a series that trades now, its funding accrued and stored, with what its price depends on.
/// OVERWEIGHT; UNKNOWN_MARKET; INACTIVE, also for an option that has expired; HALTED, STALE_MARK; OUT_OF_RANGE.
function openSeries(State memory state, uint256 market, uint256 clock)
    pure
    returns (Series memory accrued, Underlying memory underlying, Expiry memory expiry, Fault fault)
{
    // The places that the compiler has made for leaves are not needed.
    assembly ("memory-safe") {
        mstore(0x40, accrued)
    }
    (accrued, fault) = getSeries(state, market);
    if (isFault(fault)) return (accrued, underlying, expiry, fault);
    if (!isTrading(accrued)) return (accrued, underlying, expiry, Fault.INACTIVE);
    (underlying, fault) = getUnderlying(state, accrued.underlying);
    if (isFault(fault)) return (accrued, underlying, expiry, fault);
    (expiry,, fault) = getExpiryOf(state, accrued);
    if (isFault(fault)) return (accrued, underlying, expiry, fault);
    if (!isKind(accrued, SeriesKind.PERPETUAL) && clock >= expiry.time) {
        return (accrued, underlying, expiry, Fault.INACTIVE);
    }
    fault = validateFresh(accrued, underlying, expiry, clock);
    if (isFault(fault)) return (accrued, underlying, expiry, fault);
    (accrued, fault) = computeAccrued(accrued, underlying.params, clock);
    setMarket(state, market, accrued);
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
function processFill(State memory state, Fill memory fill, Streak memory sweep, bool isAlone)
    pure
    returns (bool isIncomplete, Fault fault)
{
    fault = charge(state, WEIGHT_FILL_GAS, 0);
    if (isFault(fault)) return (false, fault);
    if (fill.lots == 0) return (false, Fault.ZERO_AMOUNT);
    Trade memory trade = _newTrade();
    (trade.series, trade.underlying, trade.expiry, fault) =
        openSeries(state, fill.market, state.globals.clock);
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
    fault = validateLifetime(trade.makerSlot.order, trade.series, trade.expiry);
    if (isFault(fault)) return fault;
    (trade.takerSlot, fault) = computeSlot(state, fill, trade.taker, false, tick);
    if (isFault(fault)) return fault;
    return validateLifetime(trade.takerSlot.order, trade.series, trade.expiry);
}

/// @dev The end of `processFill`: money, positions and margin.
function _settle(State memory state, Fill memory fill, Trade memory trade)
    pure
    returns (Fault fault)
{
    Series memory series = trade.series;
    (trade.maker, fault) = processRealise(state, fill.maker, trade.maker);
    if (isFault(fault)) return fault;
    (trade.taker, fault) = processRealise(state, fill.taker, trade.taker);
    if (isFault(fault)) return fault;
    uint256 openInterest;
    uint256 feePool;
    unchecked {
        uint256 price = trade.makerSlot.order.price;
        (int256 makerFee, int256 takerFee, Fault unpriced) = _computeAllFees(state, fill, trade);
        if (isFault(unpriced)) return unpriced;
        int256 bought = fill.makerIsBuy ? int256(fill.lots) : -int256(fill.lots);
        // Within 2^94.
        int256 paid = int256(price) * bought;
        bool isClosing = hasStatus(series, SeriesStatus.CLOSING);
        (trade.makerAfter, fault) = computeAccountAfter(
            trade.maker,
            fill.market,
            bought,
            -paid - makerFee,
            series,
            trade.makerSlot.order.reduceOnly || isClosing
        );
        if (isFault(fault)) return fault;
        (trade.takerAfter, fault) = computeAccountAfter(
            trade.taker,
            fill.market,
            -bought,
            paid - takerFee,
            series,
            trade.takerSlot.order.reduceOnly || isClosing
        );
        if (isFault(fault)) return fault;
        (openInterest, fault) = computeOpenInterest(
            series,
            computeLongChange(computePositionSize(trade.maker, fill.market), bought)
                + computeLongChange(computePositionSize(trade.taker, fill.market), -bought)
        );
        if (isFault(fault)) return fault;
        // The two fees are not below zero together.
        feePool = state.globals.feePool + uint256(makerFee + takerFee);
    }
    if (feePool >= UINT128_BOUND) return Fault.OUT_OF_RANGE;
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

/// @dev What maker and taker pay for a trade, and for their bytes on L1.
function _computeAllFees(State memory state, Fill memory fill, Trade memory trade)
    pure
    returns (int256 maker, int256 taker, Fault fault)
{
    UnderlyingParams memory params = trade.underlying.params;
    (maker, taker) =
        computeFees(trade.series, trade.underlying, trade.makerSlot.order.price, fill.lots);
    int256 fee;
    (fee, fault) = computeDataFee(state, params, fill.hasMakerOrder ? ORDER_BYTES : 0);
    if (isFault(fault)) return (maker, taker, fault);
    unchecked {
        maker += fee;
        (fee, fault) = computeDataFee(
            state, params, fill.hasTakerOrder ? FILL_BYTES + ORDER_BYTES : FILL_BYTES
        );
        taker += fee;
    }
}

/// @dev A trade whose members are not set yet.
function _newTrade() pure returns (Trade memory trade) {
    // The compiler has made every member at length; nine words are enough.
    assembly ("memory-safe") {
        mstore(0x40, add(trade, 0x120))
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
