// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MAX_SCENARIOS, MAX_SIGNERS, PPM, WEIGHT_CONFIGURE_WORD_GAS} from "./Constants.sol";
import {copySeries, copySlice} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {
    COMMITTEE_TAG,
    GRID_TAG,
    PARAMS_BYTES,
    SCENARIO_BYTES,
    SERIES_TAG,
    UNDERLYING_TAG,
    decodeCommittee,
    decodeGrid,
    decodeParams
} from "./Leaf.sol";
import {
    MarketEntry,
    MarketType,
    State,
    charge,
    getCommittee,
    getGrid,
    getSeries,
    getUnderlying,
    setMarket,
    touchMarket
} from "./State.sol";
import {
    Committee,
    Grid,
    Scenario,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying,
    UnderlyingParams
} from "./Types.sol";

// Configure: what governance may list and set, as bytes of an L1 message.
//
// Body: type tag of the leaf, market id (2 bytes), then the fields of that type. A body that breaks a rule is
// a no-op, so governance can never stop the queue.

uint256 constant HEAD_BYTES = 3;
uint256 constant SERIES_BODY_BYTES = 4;
/// @dev Bands are at most 100 %.
uint256 constant MAX_BAND = PPM;
/// @dev Fees are at most 1 % of notional.
uint256 constant MAX_FEE = 10_000;
/// @dev Margin factors, contingencies and risk multipliers are at most 100.
uint256 constant MAX_FACTOR = 100 * PPM;
/// @dev Ages and halts are at most a week.
uint256 constant MAX_AGE = 7 * 24 * 3600;

/// @dev Check governed parameters against the bounds that are fixed at deployment. OUT_OF_RANGE.
function validateParams(UnderlyingParams memory params) pure returns (Fault) {
    if (
        params.tick == 0 || params.jumpBand > MAX_BAND || params.moveBand > MAX_BAND
            || params.fillBand > MAX_BAND || params.outlierBand > MAX_BAND
            || params.maintenanceFactor > MAX_FACTOR || params.initialFactor > MAX_FACTOR
            || params.perpMaintenance > MAX_FACTOR || params.perpInitial > MAX_FACTOR
            || params.riskMultiplier > MAX_FACTOR || params.maxObservationAge > MAX_AGE
            || params.maxMarkAge > MAX_AGE || params.haltSeconds > MAX_AGE
            || params.makerFee > MAX_FEE || params.takerFee > MAX_FEE
            || params.initialFactor < params.maintenanceFactor
    ) return Fault.OUT_OF_RANGE;
    return Fault.NONE;
}

/// @dev Set an oracle committee: threshold (1), count (1), addresses strictly ascending. NON_CANONICAL for a
/// wrong length or order, OUT_OF_RANGE for a threshold no committee can meet, UNKNOWN_MARKET when the id holds
/// another type.
function processConfigureCommittee(State memory state, uint256 market, bytes memory body)
    pure
    returns (Fault)
{
    if (body.length < 2 || body.length != 2 + 20 * uint256(uint8(body[1]))) {
        return Fault.NON_CANONICAL;
    }
    // Before anything is decoded, whose cost would grow with the count.
    if (uint8(body[1]) > MAX_SIGNERS) return Fault.OUT_OF_RANGE;
    Committee memory committee = decodeCommittee(bytes.concat(bytes1(uint8(COMMITTEE_TAG)), body));
    address[] memory signers = committee.signers;
    if (committee.threshold == 0 || committee.threshold > signers.length) {
        return Fault.OUT_OF_RANGE;
    }
    address previous;
    for (uint256 i; i < signers.length; ++i) {
        if (signers[i] <= previous) return Fault.NON_CANONICAL;
        previous = signers[i];
    }
    (MarketEntry memory entry, Fault overweight) = touchMarket(state, market);
    if (isFault(overweight)) return overweight;
    if (entry.marketType != MarketType.NONE && entry.marketType != MarketType.COMMITTEE) {
        return Fault.UNKNOWN_MARKET;
    }
    setMarket(state, market, committee);
    return Fault.NONE;
}

/// @dev Add a risk grid: count (1), then its scenarios. Grids never change: marks depend on them. NON_CANONICAL
/// for a wrong length, OUT_OF_RANGE for a shock below -100 %, a weight above 100 % or no scenario,
/// UNKNOWN_MARKET when the id is taken.
function processConfigureGrid(State memory state, uint256 market, bytes memory body)
    pure
    returns (Fault)
{
    if (body.length == 0 || body.length != 1 + SCENARIO_BYTES * uint256(uint8(body[0]))) {
        return Fault.NON_CANONICAL;
    }
    // Before anything is decoded, whose cost would grow with the count.
    if (uint8(body[0]) == 0 || uint8(body[0]) > MAX_SCENARIOS) return Fault.OUT_OF_RANGE;
    Grid memory grid = decodeGrid(bytes.concat(bytes1(uint8(GRID_TAG)), body));
    Scenario[] memory scenarios = grid.scenarios;
    uint256 count = scenarios.length;
    for (uint256 i; i < count; ++i) {
        Scenario memory scenario = scenarios[i];
        if (scenario.spotShock < -int256(PPM) || scenario.weight > PPM) return Fault.OUT_OF_RANGE;
    }
    (MarketEntry memory entry, Fault overweight) = touchMarket(state, market);
    if (isFault(overweight)) return overweight;
    if (entry.marketType != MarketType.NONE) return Fault.UNKNOWN_MARKET;
    setMarket(state, market, grid);
    return Fault.NONE;
}

/// @dev List an underlying or change its parameters; prices and halts stay, the grid stays. NON_CANONICAL for
/// a wrong length, OUT_OF_RANGE, UNKNOWN_MARKET when committee or grid is missing or the id holds another
/// type.
function processConfigureUnderlying(State memory state, uint256 market, bytes memory body)
    pure
    returns (Fault fault)
{
    if (body.length != PARAMS_BYTES) return Fault.NON_CANONICAL;
    UnderlyingParams memory params = decodeParams(body);
    fault = validateParams(params);
    if (isFault(fault)) return fault;
    (, fault) = getCommittee(state, params.committee);
    if (isFault(fault)) return fault;
    (, fault) = getGrid(state, params.grid);
    if (isFault(fault)) return fault;
    (MarketEntry memory entry, Fault overweight) = touchMarket(state, market);
    if (isFault(overweight)) return overweight;
    if (entry.marketType == MarketType.NONE) {
        setMarket(state, market, Underlying(params, 0, 0, 0, 0));
        return Fault.NONE;
    }
    (Underlying memory underlying, Fault unknown) = getUnderlying(state, market);
    if (isFault(unknown)) return unknown;
    if (underlying.params.grid != params.grid) return Fault.OUT_OF_RANGE;
    Underlying memory underlyingAfter = Underlying(
        params,
        underlying.index,
        underlying.observedAt,
        underlying.pendingIndex,
        underlying.haltedUntil
    );
    setMarket(state, market, underlyingAfter);
}

/// @dev List a perpetual or change whether it trades: kind (1), status (1), underlying (2). NON_CANONICAL for
/// a wrong length, OUT_OF_RANGE for an unknown kind or status, UNKNOWN_MARKET when the underlying is missing,
/// differs, or the id holds another type.
function processConfigureSeries(State memory state, uint256 market, bytes memory body)
    pure
    returns (Fault fault)
{
    if (body.length != SERIES_BODY_BYTES) return Fault.NON_CANONICAL;
    uint256 fields = uint32(bytes4(body));
    if (
        fields >> 24 > uint256(SeriesKind.PERPETUAL)
            || uint8(fields >> 16) > uint256(SeriesStatus.ACTIVE)
    ) return Fault.OUT_OF_RANGE;
    SeriesKind kind = SeriesKind(fields >> 24);
    SeriesStatus status = SeriesStatus(uint8(fields >> 16));
    uint256 underlying = uint16(fields);
    (, fault) = getUnderlying(state, underlying);
    if (isFault(fault)) return fault;
    (MarketEntry memory entry, Fault overweight) = touchMarket(state, market);
    if (isFault(overweight)) return overweight;
    if (entry.marketType == MarketType.NONE) {
        setMarket(
            state,
            market,
            Series(kind, status, underlying, 0, 0, 0, 0, 0, 0, 0, 0, new uint256[](0))
        );
        return Fault.NONE;
    }
    (Series memory series, Fault unknown) = getSeries(state, market);
    if (isFault(unknown)) return unknown;
    if (series.underlying != underlying || series.kind != kind) return Fault.UNKNOWN_MARKET;
    Series memory seriesAfter = copySeries(series);
    seriesAfter.status = status;
    setMarket(state, market, seriesAfter);
}

/// @dev Apply a Configure message. OVERWEIGHT, TRUNCATED, UNKNOWN_KIND, and what the four processes above return.
function processConfigure(State memory state, bytes memory body) pure returns (Fault) {
    // A new leaf is as long as its body: touching the empty place did not pay for it.
    Fault overweight = charge(state, (body.length + 31) / 32 * WEIGHT_CONFIGURE_WORD_GAS, 0);
    if (isFault(overweight)) return overweight;
    if (body.length < HEAD_BYTES) return Fault.TRUNCATED;
    uint256 head = uint24(bytes3(body));
    uint256 tag = head >> 16;
    uint256 market = uint16(head);
    bytes memory fields = copySlice(body, HEAD_BYTES, body.length - HEAD_BYTES);
    if (tag == COMMITTEE_TAG) return processConfigureCommittee(state, market, fields);
    if (tag == GRID_TAG) return processConfigureGrid(state, market, fields);
    if (tag == UNDERLYING_TAG) return processConfigureUnderlying(state, market, fields);
    if (tag == SERIES_TAG) return processConfigureSeries(state, market, fields);
    return Fault.UNKNOWN_KIND;
}
