// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MARKET_DEPTH, WEIGHT_MARK_GAS, WEIGHT_MARK_OPTION_GAS} from "./Constants.sol";
import {copyExpiry, copySeries} from "./Copy.sol";
import {computeForwardParts, computeSettlement} from "./Expiry.sol";
import {Fault, isFault} from "./Fault.sol";
import {getExpiryOf, validateObserved, validateSurfaced} from "./Fresh.sol";
import {computeAccrued} from "./Funding.sol";
import {Task, handOver, pointerTo} from "./Handover.sol";
import {Quote, computePerpetualMark, computePerpetualRisk} from "./Risk.sol";
import {
    State,
    UINT64_BOUND,
    charge,
    chargeModule,
    getExpiry,
    getGrid,
    getSeries,
    getUnderlying,
    setMarket
} from "./State.sol";
import {
    Expiry,
    Grid,
    Mark,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying,
    hasStatus,
    isKind
} from "./Types.sol";

// Mark: re-price series and their risk vectors from index and surface. Anyone may; the state decides it all.

/// @dev The option pricer did not answer as it should.
error Mark_BadPricer(uint256 length);

/// @dev A strike's call and put, and what margin needs of their expiry, as the option pricer has them.
struct Pricing {
    uint256 longDiscount;
    uint256 shortDiscount;
    uint256 basisFactor;
    Quote call;
    Quote put;
}

/// @dev What the functions below that work on one option, or on a strike's two, are given.
struct Strike {
    uint256 market; // The id of `first`; the other has the next one.
    Series first;
    bool hasSecond;
    Series second; // The put, if there is one.
    Underlying underlying;
    Expiry expiry;
}

/// @dev Return whether a series and the one with the next id are call and put of one strike, both alive.
function isPair(Series memory call, Series memory other) pure returns (bool) {
    return isKind(call, SeriesKind.CALL) && isKind(other, SeriesKind.PUT)
        && call.expiry == other.expiry && call.strike == other.strike
        && !hasStatus(other, SeriesStatus.SETTLED);
}

/// @dev Return a series with its new mark, for `count` scenarios; its age counts from the observation that it is
/// priced from.
function computeMarked(
    Series memory series,
    Underlying memory underlying,
    Quote memory quote,
    uint256 count
) pure returns (Series memory marked) {
    marked = copySeries(series);
    marked.mark = quote.mark;
    marked.markIndex = underlying.index;
    marked.markedAt = underlying.observedAt;
    marked.riskCount = count;
    marked.lanes = quote.lanes;
}

/// @dev Return an option after its expiry: its mark is what a lot pays, and it has no risk. From here on its
/// open interest counts longs and shorts, who leave one by one. OUT_OF_RANGE when that does not fit uint64.
function computeSettled(Series memory series, Underlying memory underlying, uint256 settlement)
    pure
    returns (Series memory settled, Fault)
{
    unchecked {
        if (2 * series.openInterest >= UINT64_BOUND) return (settled, Fault.OUT_OF_RANGE);
        (uint256 more, uint256 less) = isKind(series, SeriesKind.CALL)
            ? (settlement, series.strike)
            : (series.strike, settlement);
        settled = copySeries(series);
        settled.status = SeriesStatus.SETTLED;
        settled.mark = more > less ? more - less : 0;
        settled.markedAt = underlying.observedAt;
        settled.openInterest = 2 * series.openInterest;
        settled.riskCount = 0;
        settled.lanes = new uint256[](0);
    }
    return (settled, Fault.NONE);
}

/// @dev Mark a perpetual, whose funding is accrued up to the clock by the mark before. OVERWEIGHT,
/// UNKNOWN_MARKET, HALTED, OUT_OF_RANGE.
function processMarkPerpetual(State memory state, uint256 market, Series memory series)
    pure
    returns (Fault fault)
{
    fault = charge(state, WEIGHT_MARK_GAS, 0);
    if (isFault(fault)) return fault;
    (Underlying memory underlying, Fault noUnderlying) = getUnderlying(state, series.underlying);
    if (isFault(noUnderlying)) return noUnderlying;
    fault = validateObserved(underlying, state.globals.clock);
    if (isFault(fault)) return fault;
    Quote memory quote;
    uint256 count;
    {
        (Expiry memory expiry, bool hasExpiry, Fault noExpiry) = getExpiryOf(state, series);
        if (isFault(noExpiry)) return noExpiry;
        (Grid memory grid, Fault noGrid) = getGrid(state, underlying.params.grid);
        if (isFault(noGrid)) return noGrid;
        (series, fault) = computeAccrued(series, underlying.params, state.globals.clock);
        if (isFault(fault)) return fault;
        (quote.mark, fault) = computePerpetualMark(underlying, hasExpiry, expiry);
        if (isFault(fault)) return fault;
        (quote.lanes, fault) = computePerpetualRisk(quote.mark, grid);
        if (isFault(fault)) return fault;
        count = grid.scenarios.length;
    }
    setMarket(state, market, computeMarked(series, underlying, quote, count));
}

/// @dev Settle one option or a strike's two; the first of an expiry fixes its settlement price. OUT_OF_RANGE.
function processSettle(State memory state, Strike memory strike) pure returns (Fault fault) {
    Expiry memory expiry = strike.expiry;
    uint256 settlement = expiry.settlement;
    if (settlement == 0) {
        settlement = computeSettlement(strike.underlying, expiry);
        Expiry memory settledExpiry = copyExpiry(expiry);
        settledExpiry.settlement = settlement;
        setMarket(state, strike.first.expiry, settledExpiry);
    }
    Series memory settled;
    (settled, fault) = computeSettled(strike.first, strike.underlying, settlement);
    if (isFault(fault)) return fault;
    setMarket(state, strike.market, settled);
    if (strike.hasSecond) {
        (settled, fault) = computeSettled(strike.second, strike.underlying, settlement);
        if (isFault(fault)) return fault;
        setMarket(state, strike.market + 1, settled);
    }
}

/// @dev Mark one option or a strike's two, and renew what margin needs of their expiry. UNKNOWN_MARKET; HALTED
/// when the expiry's surface is missing or too old; OUT_OF_RANGE.
function processMarkOptions(State memory state, Strike memory strike) view returns (Fault fault) {
    Underlying memory underlying = strike.underlying;
    fault = validateSurfaced(strike.expiry, underlying, state.globals.clock);
    if (isFault(fault)) return fault;
    (Grid memory grid, Fault noGrid) = getGrid(state, underlying.params.grid);
    if (isFault(noGrid)) return noGrid;
    uint256 answer;
    (answer, fault) = _price(state.optionPricer, strike, grid);
    if (isFault(fault)) return fault;
    Pricing memory pricing = _toPricing(answer);
    _renew(state, strike, pricing);
    uint256 count = grid.scenarios.length;
    Series memory first = strike.first;
    setMarket(
        state,
        strike.market,
        computeMarked(
            first, underlying, isKind(first, SeriesKind.CALL) ? pricing.call : pricing.put, count
        )
    );
    if (strike.hasSecond) {
        setMarket(
            state, strike.market + 1, computeMarked(strike.second, underlying, pricing.put, count)
        );
    }
}

/// @dev Mark an option, and the next series with it when `left`, the length of the range, is not 1 and they are
/// call and put of one strike. What has settled stays as it is. Returns how many series that were.
/// OVERWEIGHT, UNKNOWN_MARKET, HALTED, OUT_OF_RANGE.
function processMarkStrike(State memory state, uint256 market, Series memory series, uint256 left)
    view
    returns (uint256, Fault fault)
{
    fault = charge(state, WEIGHT_MARK_OPTION_GAS, 0);
    if (isFault(fault)) return (0, fault);
    if (hasStatus(series, SeriesStatus.SETTLED)) return (1, Fault.NONE);
    (Underlying memory underlying, Fault noUnderlying) = getUnderlying(state, series.underlying);
    if (isFault(noUnderlying)) return (0, noUnderlying);
    fault = validateObserved(underlying, state.globals.clock);
    if (isFault(fault)) return (0, fault);
    (Expiry memory expiry, Fault noExpiry) = getExpiry(state, series.expiry);
    if (isFault(noExpiry)) return (0, noExpiry);
    Strike memory strike = Strike(market, series, false, series, underlying, expiry);
    if (left > 1 && isKind(series, SeriesKind.CALL)) {
        (Series memory following, Fault noFollowing) = getSeries(state, market + 1);
        if (isFault(noFollowing)) return (0, noFollowing);
        if (isPair(series, following)) {
            strike.hasSecond = true;
            strike.second = following;
        }
    }
    fault = underlying.observedAt >= expiry.time
        ? processSettle(state, strike)
        : processMarkOptions(state, strike);
    return (strike.hasSecond ? 2 : 1, fault);
}

/// @dev Mark a series of any kind. Returns what `processMarkStrike` does.
function processMarkSeries(State memory state, uint256 market, uint256 left)
    view
    returns (uint256, Fault)
{
    (Series memory series, Fault noSeries) = getSeries(state, market);
    if (isFault(noSeries)) return (0, noSeries);
    if (isKind(series, SeriesKind.PERPETUAL)) {
        return (1, processMarkPerpetual(state, market, series));
    }
    return processMarkStrike(state, market, series, left);
}

/// @dev Mark consecutive series. What `processMarkSeries` returns.
function processMarkRange(State memory state, Mark memory mark) view returns (Fault fault) {
    for (uint256 place; place < mark.count;) {
        uint256 done;
        (done, fault) = processMarkSeries(state, mark.market + place, mark.count - place);
        if (isFault(fault)) return fault;
        place += done;
    }
}

/// @dev Mark consecutive series. What `processMarkSeries` returns; UNKNOWN_MARKET when the range leaves the id
/// space.
///
/// `MarketExecutor` goes on from the first option.
function processMark(State memory state, Mark memory mark) view returns (Fault fault) {
    uint256 count = mark.count;
    if (mark.market + count > 1 << MARKET_DEPTH) return Fault.UNKNOWN_MARKET;
    for (uint256 done; done < count; ++done) {
        uint256 market = mark.market + done;
        (Series memory series, Fault noSeries) = getSeries(state, market);
        if (isFault(noSeries)) return noSeries;
        if (!isKind(series, SeriesKind.PERPETUAL)) {
            fault = chargeModule(state, 0);
            if (isFault(fault)) return fault;
            return handOver(state, Task.MARK, pointerTo(Mark(market, count - done)));
        }
        fault = processMarkPerpetual(state, market, series);
        if (isFault(fault)) return fault;
    }
}

/// @dev Let the option pricer price a strike; OptionPricer.sol has the form of request and response. Returns
/// where the response is in memory. A call that fails, for want of gas or whatever, is never a fault.
function _price(address pricer, Strike memory strike, Grid memory grid)
    view
    returns (uint256 answer, Fault fault)
{
    Expiry memory expiry = strike.expiry;
    (uint256 fixedPart, uint256 variable) = computeForwardParts(strike.underlying, expiry);
    uint256 remaining;
    unchecked {
        remaining = expiry.time - strike.underlying.observedAt;
    }
    uint256 price = strike.first.strike;
    uint256 length;
    uint256 expected = ((grid.scenarios.length + 1) / 2) * 0x40 + 0x100;
    assembly ("memory-safe") {
        answer := mload(0x40)
        mstore(answer, fixedPart)
        mstore(add(answer, 0x20), variable)
        mstore(add(answer, 0x40), remaining)
        mstore(add(answer, 0x60), price)
        mcopy(add(answer, 0x80), expiry, 0x1e0)
        // Scenarios are the grid's first word, the model its fourth.
        mcopy(add(answer, 0x260), mload(add(grid, 0x60)), 0x2c0)
        let place := add(answer, 0x520)
        let scenarios := add(mload(grid), 0x20)
        for { let end := add(scenarios, shl(5, mload(mload(grid)))) } lt(scenarios, end) {
            scenarios := add(scenarios, 0x20)
            place := add(place, 0x60)
        } {
            mcopy(place, mload(scenarios), 0x60)
        }
        let succeeds := staticcall(gas(), pricer, answer, sub(place, answer), 0, 0)
        length := returndatasize()
        returndatacopy(answer, 0, length)
        if iszero(succeeds) { revert(answer, length) }
        mstore(0x40, add(answer, length))
        if length { fault := mload(answer) }
    }
    if (length != (isFault(fault) ? 0x20 : expected)) revert Mark_BadPricer(length);
}

/// @dev Return the response of the option pricer, whose arrays stay where they are.
function _toPricing(uint256 answer) pure returns (Pricing memory pricing) {
    assembly ("memory-safe") {
        mcopy(pricing, add(answer, 0x20), 0x60)
        let quote := mload(add(pricing, 0x60))
        let lanes := add(answer, 0xa0)
        mstore(quote, mload(add(answer, 0x80)))
        mstore(add(quote, 0x20), lanes)
        let following := add(lanes, add(shl(5, mload(lanes)), 0x20))
        quote := mload(add(pricing, 0x80))
        mstore(quote, mload(following))
        mstore(add(quote, 0x20), add(following, 0x20))
    }
}

/// @dev Store what margin needs of an expiry, unless it is there already.
function _renew(State memory state, Strike memory strike, Pricing memory pricing) pure {
    Expiry memory expiry = strike.expiry;
    uint256 observedAt = strike.underlying.observedAt;
    if (
        expiry.longDiscount == pricing.longDiscount && expiry.shortDiscount == pricing.shortDiscount
            && expiry.basisFactor == pricing.basisFactor && expiry.pricedAt == observedAt
    ) return;
    Expiry memory renewed = copyExpiry(expiry);
    renewed.longDiscount = pricing.longDiscount;
    renewed.shortDiscount = pricing.shortDiscount;
    renewed.basisFactor = pricing.basisFactor;
    renewed.pricedAt = observedAt;
    setMarket(state, strike.first.expiry, renewed);
}
