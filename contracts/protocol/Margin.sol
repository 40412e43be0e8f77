// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divUp, isWithinBand} from "./Arithmetic.sol";
import {
    LANE_PAIRS,
    PPM,
    WEIGHT_MARGIN_GAS,
    WEIGHT_MARGIN_GROUP_GAS,
    WEIGHT_MARGIN_POSITION_GAS
} from "./Constants.sol";
import {getFreeMemory, setFreeMemory} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {
    MarketEntry,
    MarketType,
    State,
    UINT64_BOUND,
    charge,
    getLanes,
    getSeries,
    getUnderlying
} from "./State.sol";
import {Account, Position, Series, Underlying, UnderlyingParams} from "./Types.sol";

// Portfolio margin: equity against the worst scenario of each underlying's grid.
//
// The structure is PMRM_2's: factor times worst loss, plus contingencies, summed over underlyings. With risk
// vectors stored in the series leaves a check is a dot product.
//
// Nothing here overflows, so nothing here is checked: marks are below 2^64, sizes and risk entries within
// 2^63, carry within 2^127, rates below 2^32, and there are 64 positions at most.

/// @dev An account against its requirements, collateral units.
struct Margin {
    int256 equity;
    int256 maintenance;
    int256 initial;
}

/// @dev What an account holds on one underlying.
struct Group {
    uint256 key;
    Underlying underlying;
    uint256 notional;
    uint256[] lanes; // Packed as in a series, summed over the positions.
}

/// @dev Return how much equity is missing to initial margin, 0 when none is.
function computeShortfall(Margin memory margin) pure returns (int256) {
    unchecked {
        return margin.initial > margin.equity ? margin.initial - margin.equity : int256(0);
    }
}

/// @dev Check that an underlying has a price to mark from. HALTED when the breaker has tripped or the last
/// observation is too old (or there was none).
function validateObserved(Underlying memory underlying, uint256 clock) pure returns (Fault) {
    unchecked {
        if (
            underlying.pendingIndex != 0 || underlying.index == 0
                || clock > underlying.observedAt + underlying.params.maxMarkAge
        ) return Fault.HALTED;
    }
    return Fault.NONE;
}

/// @dev Check that a mark may be relied upon. HALTED when no mark could be fresh: the breaker has tripped or
/// the observation is too old; STALE_MARK when a Mark would help: the mark is too old or the index has moved
/// past the band.
function validateFresh(Series memory series, Underlying memory underlying, uint256 clock)
    pure
    returns (Fault)
{
    Fault fault = validateObserved(underlying, clock);
    if (isFault(fault)) return fault;
    return _validateMark(series, underlying, clock);
}

/// @dev Return what a position adds to equity: size * (mark - carry since it was touched).
function computeEquityOf(int256 size, int256 snapshot, Series memory series) pure returns (int256) {
    unchecked {
        return size * (int256(series.mark) - (series.carry - snapshot));
    }
}

/// @dev Return the largest loss over the scenarios of packed lanes, as a non-negative number.
function computeWorst(uint256[] memory lanes) pure returns (int256 worst) {
    assembly ("memory-safe") {
        let place := add(lanes, 0x20)
        for { let end := add(place, shl(5, mload(lanes))) } lt(place, end) {
            place := add(place, 0x20)
        } {
            // A word is low + 2^128 * high, both signed.
            let word := mload(place)
            let low := signextend(15, word)
            let high := sar(128, sub(word, low))
            if slt(low, worst) { worst := low }
            if slt(high, worst) { worst := high }
        }
        worst := sub(0, worst)
    }
}

/// @dev Return maintenance and initial margin of what an account holds on one underlying, rounded up.
function computeRequirement(Underlying memory underlying, int256 worst, uint256 perpNotional)
    pure
    returns (int256 maintenance, int256 initial)
{
    UnderlyingParams memory params = underlying.params;
    unchecked {
        int256 loss = worst * int256(params.riskMultiplier);
        maintenance = divUp(loss * int256(params.maintenanceFactor), int256(PPM * PPM))
            + divUp(int256(perpNotional * params.perpMaintenance), int256(PPM));
        initial = divUp(loss * int256(params.initialFactor), int256(PPM * PPM))
            + divUp(
                int256(perpNotional * (params.perpMaintenance + params.perpInitial)), int256(PPM)
            );
    }
}

/// @dev Return an account's equity and requirements at current marks. OVERWEIGHT; HALTED, STALE_MARK when a
/// mark it depends on cannot be relied upon; UNKNOWN_MARKET when a series held is gone; OUT_OF_RANGE for 2^64
/// lots or more, long and short added up.
function computeMargin(State memory state, Account memory account, uint256 clock)
    pure
    returns (Margin memory margin, Fault fault)
{
    unchecked {
        Position[] memory positions = account.positions;
        uint256 count = positions.length;
        fault = charge(state, WEIGHT_MARGIN_GAS + count * WEIGHT_MARGIN_POSITION_GAS, 0);
        if (isFault(fault)) return (margin, fault);
        // Whatever is allocated from here on is given back at the end.
        uint256 free = getFreeMemory();
        margin.equity = account.cash;
        Group[] memory groups = _newGroups(count);
        uint256 groupCount;
        Series memory series;
        uint256 next;
        uint256 gross;
        for (uint256 i; i < count; ++i) {
            Position memory position = positions[i];
            int256 size = position.size;
            uint256 lots = uint256(size < 0 ? -size : size);
            // Entries are int64: with this bound no sum of size * entry leaves its lane.
            gross += lots;
            if (gross >= UINT64_BOUND) return (margin, Fault.OUT_OF_RANGE);
            uint256 leaf;
            (leaf, next, fault) = _findSeries(state, position.series, next);
            if (isFault(fault)) return (margin, fault);
            assembly ("memory-safe") {
                series := leaf
            }
            uint256 place = _findGroup(groups, groupCount, series.underlying);
            if (place == groupCount) {
                fault = charge(state, WEIGHT_MARGIN_GROUP_GAS, 0);
                if (isFault(fault)) return (margin, fault);
                (Underlying memory underlying, Fault unknown) =
                    getUnderlying(state, series.underlying);
                if (isFault(unknown)) return (margin, unknown);
                fault = validateObserved(underlying, clock);
                if (isFault(fault)) return (margin, fault);
                groups[groupCount++] =
                    Group(series.underlying, underlying, 0, new uint256[](LANE_PAIRS));
            }
            Group memory group = groups[place];
            fault = _validateMark(series, group.underlying, clock);
            if (isFault(fault)) return (margin, fault);
            margin.equity += computeEquityOf(size, position.snapshot, series);
            _accumulate(group.lanes, getLanes(series), size);
            group.notional += lots * series.mark;
        }
        for (uint256 i; i < groupCount; ++i) {
            Group memory group = groups[i];
            (int256 maintenance, int256 initial) =
                computeRequirement(group.underlying, computeWorst(group.lanes), group.notional);
            margin.maintenance += maintenance;
            margin.initial += initial;
        }
        setFreeMemory(free);
    }
}

/// @dev Check that money that leaves an account leaves initial margin met. MARGIN, and what `computeMargin`
/// returns.
function validateInitialMargin(State memory state, Account memory afterwards, uint256 clock)
    pure
    returns (Fault)
{
    (Margin memory margin, Fault fault) = computeMargin(state, afterwards, clock);
    if (isFault(fault)) return fault;
    return computeShortfall(margin) != 0 ? Fault.MARGIN : Fault.NONE;
}

/// @dev Check that a change leaves initial margin met, or a strictly smaller shortfall than before. MARGIN,
/// and what `computeMargin` returns.
function validateMargin(
    State memory state,
    Account memory before,
    Account memory afterwards,
    uint256 clock
) pure returns (Fault) {
    (Margin memory margin, Fault fault) = computeMargin(state, afterwards, clock);
    if (isFault(fault)) return fault;
    int256 shortfall = computeShortfall(margin);
    if (shortfall == 0) return Fault.NONE;
    (margin, fault) = computeMargin(state, before, clock);
    if (isFault(fault)) return fault;
    return shortfall >= computeShortfall(margin) ? Fault.MARGIN : Fault.NONE;
}

/// @dev The part of `validateFresh` that depends on the series.
function _validateMark(Series memory series, Underlying memory underlying, uint256 clock)
    pure
    returns (Fault)
{
    UnderlyingParams memory params = underlying.params;
    unchecked {
        if (clock > series.markedAt + params.maxMarkAge) return Fault.STALE_MARK;
    }
    if (!isWithinBand(underlying.index, series.markIndex, params.moveBand)) {
        return Fault.STALE_MARK;
    }
    return Fault.NONE;
}

/// @dev `getSeries` with a shortcut: what is touched already, and stands at `next` among the opened markets, needs
/// no search and no charge. Returns where the series is in memory, and where its successor's entry stands.
function _findSeries(State memory state, uint256 marketId, uint256 next)
    pure
    returns (uint256 leaf, uint256, Fault fault)
{
    MarketEntry[] memory markets = state.markets;
    uint256 place = _findMarket(markets, marketId, next);
    bool isReady;
    // An entry is its id, type, leaf and whether it is touched, in this order.
    uint256 wanted = uint256(MarketType.SERIES);
    assembly ("memory-safe") {
        if place {
            let entry := mload(place)
            leaf := mload(add(entry, 0x40))
            isReady := and(eq(mload(add(entry, 0x20)), wanted), mload(add(entry, 0x60)))
        }
    }
    if (!isReady) {
        Series memory series;
        (series, fault) = getSeries(state, marketId);
        assembly ("memory-safe") {
            leaf := series
        }
    }
    unchecked {
        return (leaf, place + 0x20, fault);
    }
}

/// @dev Return where the entry of a market stands in an array that ascends by id, 0 when it does not. Looks at
/// `next` first.
function _findMarket(MarketEntry[] memory markets, uint256 marketId, uint256 next)
    pure
    returns (uint256 place)
{
    assembly ("memory-safe") {
        let count := mload(markets)
        let base := add(markets, 0x20)
        let end := add(base, shl(5, count))
        // `next` is 0 or where an entry may follow.
        if and(gt(next, markets), lt(next, end)) {
            if eq(mload(mload(next)), marketId) { place := next }
        }
        if and(iszero(place), gt(count, 0)) {
            // Halves the part that may hold the id until one entry is left.
            for {} gt(count, 1) {} {
                let half := shr(1, count)
                let middle := add(base, shl(5, half))
                if iszero(gt(mload(mload(middle)), marketId)) { base := middle }
                count := sub(count, half)
            }
            if eq(mload(mload(base)), marketId) { place := base }
        }
    }
}

/// @dev Return the place of an underlying's group, or the number of groups when there is none. Series of one
/// underlying are mostly neighbours: the last group comes first.
function _findGroup(Group[] memory groups, uint256 count, uint256 key)
    pure
    returns (uint256 place)
{
    // Groups are pointers, and their first word is the key.
    assembly ("memory-safe") {
        let entry := add(groups, shl(5, count))
        for { place := count } place {} {
            place := sub(place, 1)
            if eq(mload(mload(entry)), key) {
                count := place
                break
            }
            entry := sub(entry, 0x20)
        }
        place := count
    }
}

/// @dev Add `size` times a series' lanes to a group's. Products and sums wrap, word by word; a final lane
/// fits: 64 positions, sizes and entries such that an account can pay for them, are below 2^127.
function _accumulate(uint256[] memory total, uint256[] memory lanes, int256 size) pure {
    assembly ("memory-safe") {
        let to := add(total, 0x20)
        let from := add(lanes, 0x20)
        let end := add(from, shl(5, mload(lanes)))
        // Four words at a time, then one: the loop costs more than the sum.
        for { let last := sub(end, 0x60) } lt(from, last) {
            from := add(from, 0x80)
            to := add(to, 0x80)
        } {
            mstore(to, add(mload(to), mul(mload(from), size)))
            let place := add(to, 0x20)
            mstore(place, add(mload(place), mul(mload(add(from, 0x20)), size)))
            place := add(to, 0x40)
            mstore(place, add(mload(place), mul(mload(add(from, 0x40)), size)))
            place := add(to, 0x60)
            mstore(place, add(mload(place), mul(mload(add(from, 0x60)), size)))
        }
        for {} lt(from, end) {
            from := add(from, 0x20)
            to := add(to, 0x20)
        } {
            mstore(to, add(mload(to), mul(mload(from), size)))
        }
    }
}

/// @dev An array of groups whose places are not filled yet.
function _newGroups(uint256 count) pure returns (Group[] memory groups) {
    assembly ("memory-safe") {
        groups := mload(0x40)
        mstore(groups, count)
        mstore(0x40, add(groups, shl(5, add(count, 1))))
    }
}
