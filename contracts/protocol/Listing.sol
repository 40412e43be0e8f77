// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MARKET_DEPTH, MAX_PRICE, ONE, WEIGHT_LIST_LEAF_GAS} from "./Constants.sol";
import {computeBoundary, computeDay} from "./Expiry.sol";
import {Fault, isFault} from "./Fault.sol";
import {validateObserved} from "./Fresh.sol";
import {
    MarketEntry,
    MarketType,
    State,
    charge,
    chargeModule,
    getUnderlying,
    setMarket,
    toExpiry,
    toSeries,
    touchMarket
} from "./State.sol";
import {
    Expiry,
    List,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying,
    UnderlyingParams
} from "./Types.sol";

// List: the next expiries of an underlying and their strikes, by a rule that governance has set.
//
// Expiry number e is the boundary `listPeriod * e + 1` days after 1970-01-01, a Thursday: with a period of seven
// days, every Friday. The expiries alive have consecutive numbers and take turns in `listExpiries` places of the id
// space. A place is an expiry's leaf, then the call and the put of each of its strikes, ascending. A place is used
// again when nothing in it is alive any more.
//
// Nothing here overflows: prices and steps have 64 bits, times 40, all else fewer. Where the underlying lists,
// `Configure` has seen to it that step, strikes, expiries and period are not 0.

/// @dev Of one expiry: its series are among the 2 * MAX_STRIKES ids after its own, whoever lists them.
uint256 constant MAX_STRIKES = 16;
uint256 constant TIME_BOUND = 1 << 40;

/// @dev Return the leaf of an expiry without a surface.
function createExpiry(uint256 underlying, uint256 time) pure returns (Expiry memory expiry) {
    expiry.underlying = underlying;
    expiry.time = time;
    expiry.ratio = ONE;
}

/// @dev Return the leaf of a series that was never marked and that nobody holds.
function createSeries(
    SeriesKind kind,
    SeriesStatus status,
    uint256 underlying,
    uint256 expiry,
    uint256 strike
) pure returns (Series memory series) {
    series.kind = kind;
    series.status = status;
    series.underlying = underlying;
    series.expiry = expiry;
    series.strike = strike;
}

/// @dev Return the number of the expiry that is the `offset`-th after `clock`, from 0.
function computeNumber(UnderlyingParams memory params, uint256 clock, uint256 offset)
    pure
    returns (uint256)
{
    unchecked {
        uint256 day = computeDay(clock + 1);
        if (day == 0) day = 1;
        return (day - 1 + params.listPeriod - 1) / params.listPeriod + offset;
    }
}

/// @dev Return the id of the leaf of an expiry by its number.
function computePlace(UnderlyingParams memory params, uint256 number) pure returns (uint256) {
    unchecked {
        return params.listBase + number % params.listExpiries * (1 + 2 * params.listStrikes);
    }
}

/// @dev Return the lowest strike to list: as many are below the index as above, all are multiples of the step, and
/// none is 0.
function computeLowestStrike(Underlying memory underlying) pure returns (uint256) {
    unchecked {
        uint256 step = underlying.params.strikeStep;
        uint256 center = (underlying.index + step / 2) / step * step;
        uint256 below = underlying.params.listStrikes / 2 * step;
        return center < below + step ? step : center - below;
    }
}

/// @dev Return whether a series of an underlying has settled and nobody holds it.
function isFinished(Series memory series, uint256 underlying) pure returns (bool) {
    return series.underlying == underlying && series.status == SeriesStatus.SETTLED
        && series.openInterest == 0;
}

/// @dev Check that an expiry of an underlying may take a place: what was there before is over. OVERWEIGHT; NOT_DUE
/// when anything there is alive, of another type or underlying.
///
/// Before an expiry's leaf is used again, all series that name it have to be finished, also those whose leaves stay
/// as they are.
function validatePlace(State memory state, uint256 underlying, uint256 place, uint256 strikes)
    pure
    returns (Fault)
{
    (MarketEntry memory before, Fault overweight) = touchMarket(state, place);
    if (isFault(overweight)) return overweight;
    bool isNew = before.marketType == MarketType.NONE;
    if (!isNew) {
        if (before.marketType != MarketType.EXPIRY) return Fault.NOT_DUE;
        Expiry memory expiry = toExpiry(before.leaf);
        if (expiry.underlying != underlying || expiry.settlement == 0) return Fault.NOT_DUE;
    }
    unchecked {
        uint256 needed = 2 * strikes;
        uint256 last = isNew ? needed : 2 * MAX_STRIKES;
        uint256 room = (1 << MARKET_DEPTH) - 1 - place;
        if (last > room) last = room;
        for (uint256 offset = 1; offset <= last; ++offset) {
            (MarketEntry memory entry, Fault tooHeavy) = touchMarket(state, place + offset);
            if (isFault(tooHeavy)) return tooHeavy;
            if (entry.marketType == MarketType.NONE) continue;
            bool isSeries = entry.marketType == MarketType.SERIES;
            if (offset > needed && !(isSeries && toSeries(entry.leaf).expiry == place)) continue;
            if (!isSeries || !isFinished(toSeries(entry.leaf), underlying)) return Fault.NOT_DUE;
        }
    }
    return Fault.NONE;
}

/// @dev List an expiry with its series. OVERWEIGHT, UNKNOWN_MARKET; HALTED when there is no price to center the
/// strikes on; NOT_DUE when the underlying lists nothing or not so far ahead, or the expiry's place is not free;
/// OUT_OF_RANGE for a strike that is no price, or a time that no leaf can hold.
function processList(State memory state, List memory listing) pure returns (Fault fault) {
    fault = chargeModule(state, 0);
    if (isFault(fault)) return fault;
    (Underlying memory underlying, Fault unknown) = getUnderlying(state, listing.market);
    if (isFault(unknown)) return unknown;
    UnderlyingParams memory params = underlying.params;
    if (params.listBase == 0 || listing.offset >= params.listExpiries) return Fault.NOT_DUE;
    fault = validateObserved(underlying, state.globals.clock);
    if (isFault(fault)) return fault;
    unchecked {
        uint256 place;
        uint256 strike = computeLowestStrike(underlying);
        {
            uint256 number = computeNumber(params, state.globals.clock, listing.offset);
            uint256 time = computeBoundary(number * params.listPeriod + 1);
            uint256 highest = strike + (params.listStrikes - 1) * params.strikeStep;
            if (time >= TIME_BOUND || highest > MAX_PRICE) return Fault.OUT_OF_RANGE;
            fault = charge(state, (1 + 2 * params.listStrikes) * WEIGHT_LIST_LEAF_GAS, 0);
            if (isFault(fault)) return fault;
            place = computePlace(params, number);
            fault = validatePlace(state, listing.market, place, params.listStrikes);
            if (isFault(fault)) return fault;
            setMarket(state, place, createExpiry(listing.market, time));
        }
        uint256 end = place + 2 * params.listStrikes;
        for (uint256 market = place + 1; market < end; market += 2) {
            _list(state, market, SeriesKind.CALL, listing.market, place, strike);
            _list(state, market + 1, SeriesKind.PUT, listing.market, place, strike);
            strike += params.strikeStep;
        }
    }
}

function _list(
    State memory state,
    uint256 market,
    SeriesKind kind,
    uint256 underlying,
    uint256 expiry,
    uint256 strike
) pure {
    Series memory series = createSeries(kind, SeriesStatus.ACTIVE, underlying, expiry, strike);
    setMarket(state, market, series);
}
