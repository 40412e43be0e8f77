// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MARKET_DEPTH, WEIGHT_MARK_GAS} from "./Constants.sol";
import {copySeries} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {validateObserved} from "./Margin.sol";
import {computeMark, computeRisk} from "./Risk.sol";
import {State, charge, getGrid, getSeries, getUnderlying, setMarket} from "./State.sol";
import {Grid, Mark, Series, Underlying} from "./Types.sol";

// Mark: re-price series and their risk vectors from the index. Anyone may; the state decides it all.

/// @dev Mark one series; its age counts from the observation that it is priced from. UNKNOWN_MARKET, HALTED,
/// OUT_OF_RANGE.
function processMarkSeries(State memory state, uint256 market) pure returns (Fault fault) {
    fault = charge(state, WEIGHT_MARK_GAS, 0);
    if (isFault(fault)) return fault;
    (Series memory series, Fault noSeries) = getSeries(state, market);
    if (isFault(noSeries)) return noSeries;
    (Underlying memory underlying, Fault noUnderlying) = getUnderlying(state, series.underlying);
    if (isFault(noUnderlying)) return noUnderlying;
    fault = validateObserved(underlying, state.globals.clock);
    if (isFault(fault)) return fault;
    (Grid memory grid, Fault noGrid) = getGrid(state, underlying.params.grid);
    if (isFault(noGrid)) return noGrid;
    uint256 mark = computeMark(series, underlying);
    (uint256[] memory lanes, Fault tooWide) = computeRisk(series, mark, grid);
    if (isFault(tooWide)) return tooWide;
    Series memory seriesAfter = copySeries(series);
    seriesAfter.mark = mark;
    seriesAfter.markIndex = underlying.index;
    seriesAfter.markedAt = underlying.observedAt;
    seriesAfter.riskCount = grid.scenarios.length;
    seriesAfter.lanes = lanes;
    setMarket(state, market, seriesAfter);
}

/// @dev Mark consecutive series. What `processMarkSeries` returns; UNKNOWN_MARKET when the range leaves the
/// id space.
function processMark(State memory state, Mark memory mark) pure returns (Fault fault) {
    for (uint256 offset; offset < mark.count; ++offset) {
        uint256 market = mark.market + offset;
        if (market >> MARKET_DEPTH != 0) return Fault.UNKNOWN_MARKET;
        fault = processMarkSeries(state, market);
        if (isFault(fault)) return fault;
    }
}
