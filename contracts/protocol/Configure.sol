// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    DAY,
    MARKET_DEPTH,
    MAX_PRICE,
    MAX_SCENARIOS,
    MAX_SIGNERS,
    MULTIPLIER_PERIOD,
    ONE,
    PPM,
    WEIGHT_CONFIGURE_WORD_GAS
} from "./Constants.sol";
import {copySeries, copySlice, copyUnderlying} from "./Copy.sol";
import {isBoundary} from "./Expiry.sol";
import {Fault, isFault} from "./Fault.sol";
import {
    COMMITTEE_TAG,
    EXPIRY_TAG,
    GRID_HEAD_BYTES,
    GRID_TAG,
    PARAMS_BYTES,
    SCENARIO_BYTES,
    SERIES_TAG,
    UNDERLYING_TAG,
    decodeCommittee,
    decodeGrid,
    decodeParams
} from "./Leaf.sol";
import {MAX_STRIKES, createExpiry, createSeries} from "./Listing.sol";
import {
    MarketEntry,
    MarketType,
    State,
    charge,
    chargeModule,
    getCommittee,
    getExpiry,
    getGrid,
    getSeries,
    getUnderlying,
    setMarket,
    touchMarket
} from "./State.sol";
import {
    Committee,
    Expiry,
    Grid,
    RiskModel,
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
uint256 constant EXPIRY_BODY_BYTES = 7;
uint256 constant SERIES_BODY_BYTES = 14;
uint256 constant CLOSING_BODY_BYTES = 2;
/// @dev Of bodies that no leaf is made from.
uint256 constant CLOSING_TAG = 0x50;
/// @dev Series that one body closes.
uint256 constant MAX_CLOSING = 64;
/// @dev Bands, caps on funding and caps on option fees are at most 100 %.
uint256 constant MAX_BAND = PPM;
/// @dev Fees are at most 1 % of notional.
uint256 constant MAX_FEE = 10_000;
/// @dev Margin factors, contingencies and slopes are at most 100.
uint256 constant MAX_FACTOR = 100 * PPM;
uint256 constant MIN_MULTIPLIER = PPM / 2;
/// @dev Risk multipliers, and their steps, are at most 10.
uint256 constant MAX_MULTIPLIER = 10 * PPM;
/// @dev A ForceClose costs at most 20 % of notional.
uint256 constant MAX_PENALTY = 200_000;
/// @dev Ages and halts are at most a week.
uint256 constant MAX_AGE = 7 * 24 * 3600;
/// @dev Days between listed expiries.
uint256 constant MAX_PERIOD = 366;
/// @dev Listed at once.
uint256 constant MAX_EXPIRIES = 16;
/// @dev Seconds to an expiry that governance lists.
uint256 constant MAX_TERM = 16 * MAX_PERIOD * DAY;
/// @dev Of all fields of a risk model.
int256 constant MAX_MODEL = 64 * int256(ONE);
int256 constant MAX_POWER = 2 * int256(ONE);
int256 constant MIN_DAYS = int256(ONE / 24);

/// @dev Check a pair of fees: neither is above the maximum, and a rebate is paid by the other side. OUT_OF_RANGE.
function validateRebate(int256 makerFee, uint256 takerFee) pure returns (Fault) {
    if (makerFee > int256(MAX_FEE) || takerFee > MAX_FEE || makerFee < -int256(takerFee)) {
        return Fault.OUT_OF_RANGE;
    }
    return Fault.NONE;
}

/// @dev Check the rule by which expiries are listed, if there is one: its ids are all in the tree. OUT_OF_RANGE.
function validateRule(UnderlyingParams memory params) pure returns (Fault) {
    if (params.listBase == 0) return Fault.NONE;
    // Fields have 16 bits at most.
    unchecked {
        uint256 end = params.listBase + params.listExpiries * (1 + 2 * params.listStrikes);
        if (
            params.strikeStep == 0 || params.strikeStep > MAX_PRICE || params.listStrikes == 0
                || params.listStrikes > MAX_STRIKES || params.listExpiries == 0
                || params.listExpiries > MAX_EXPIRIES || params.listPeriod == 0
                || params.listPeriod > MAX_PERIOD || end > 1 << MARKET_DEPTH
        ) return Fault.OUT_OF_RANGE;
    }
    return Fault.NONE;
}

/// @dev Check governed parameters against the bounds that are fixed at deployment. OUT_OF_RANGE.
function validateParams(UnderlyingParams memory params) pure returns (Fault fault) {
    uint256 step = params.multiplierStep;
    if (
        params.tick == 0 || params.jumpBand > MAX_BAND || params.moveBand > MAX_BAND
            || params.fillBand > MAX_BAND || params.outlierBand > MAX_BAND
            || params.optionFeeCap > MAX_BAND || params.fundingCap > MAX_BAND
            || params.maintenanceFactor > MAX_FACTOR || params.initialFactor > MAX_FACTOR
            || params.perpMaintenance > MAX_FACTOR || params.perpInitial > MAX_FACTOR
            || params.optionMaintenance > MAX_FACTOR || params.optionInitial > MAX_FACTOR
            || params.volReference > MAX_FACTOR || params.volSlope > MAX_FACTOR
            || params.insuranceSlope > MAX_FACTOR || params.maxObservationAge > MAX_AGE
            || params.maxMarkAge > MAX_AGE || params.maxSurfaceAge > MAX_AGE
            || params.haltSeconds > MAX_AGE || params.initialFactor < params.maintenanceFactor
            || params.multiplierMin < MIN_MULTIPLIER || params.multiplierMin > params.multiplierMax
            || params.multiplierMax > MAX_MULTIPLIER
            // A smaller step would be rounded to nothing by observations a second apart.
            || (step != 0 && (step < MULTIPLIER_PERIOD || step > MAX_MULTIPLIER))
            || params.forcePenalty > MAX_PENALTY || (params.gasMarket != 0 && params.gasLot == 0)
    ) return Fault.OUT_OF_RANGE;
    fault = validateRebate(params.makerFee, params.takerFee);
    if (isFault(fault)) return fault;
    fault = validateRebate(params.optionMakerFee, params.optionTakerFee);
    if (isFault(fault)) return fault;
    return validateRule(params);
}

/// @dev Check one point of a grid: a price never falls below 0, and a skew moves no price. OUT_OF_RANGE.
function validateScenario(Scenario memory scenario) pure returns (Fault) {
    int256 shock = scenario.volShock;
    if (
        scenario.spotShock < -int256(PPM) || shock < -1 || shock > 3 || scenario.weight > ONE
            || (shock >= 2 && scenario.spotShock != 0)
    ) return Fault.OUT_OF_RANGE;
    return Fault.NONE;
}

/// @dev Check that a risk model's numbers are as large as pricing can take them. OUT_OF_RANGE.
function validateModel(RiskModel memory model) pure returns (Fault) {
    bool isBad;
    int256 bound = MAX_MODEL;
    // All twenty-two words.
    assembly ("memory-safe") {
        for { let at := model } lt(at, add(model, 0x2c0)) { at := add(at, 0x20) } {
            let value := mload(at)
            isBad := or(isBad, or(sgt(value, bound), slt(value, sub(0, bound))))
        }
    }
    if (
        isBad || model.volUp < 0 || model.volDown < 0 || model.shortPower < 0
            || model.shortPower > MAX_POWER || model.longPower < 0 || model.longPower > MAX_POWER
            || model.dayFloor < MIN_DAYS || model.minVol < 0 || model.minWidth <= 0
            || model.longBase < 0 || model.shortBase < 0 || model.basisAdd < 0
            || model.basisScale < 0
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

/// @dev Add a risk grid: count (1), basis scenarios (1 each), model, then its scenarios. Grids never change: marks
/// depend on them. NON_CANONICAL for a wrong length, OUT_OF_RANGE for no scenario or one that cannot be, a basis
/// scenario that is not there, or a model out of its bounds; UNKNOWN_MARKET when the id is taken.
function processConfigureGrid(State memory state, uint256 market, bytes memory body)
    pure
    returns (Fault fault)
{
    uint256 head = GRID_HEAD_BYTES - 1;
    if (body.length < head || body.length != head + SCENARIO_BYTES * uint256(uint8(body[0]))) {
        return Fault.NON_CANONICAL;
    }
    // Before anything is decoded, whose cost would grow with the count.
    uint256 count = uint8(body[0]);
    if (count == 0 || count > MAX_SCENARIOS || uint8(body[1]) >= count || uint8(body[2]) >= count) {
        return Fault.OUT_OF_RANGE;
    }
    Grid memory grid = decodeGrid(bytes.concat(bytes1(uint8(GRID_TAG)), body));
    fault = validateModel(grid.model);
    if (isFault(fault)) return fault;
    Scenario[] memory scenarios = grid.scenarios;
    for (uint256 i; i < count; ++i) {
        fault = validateScenario(scenarios[i]);
        if (isFault(fault)) return fault;
    }
    (MarketEntry memory entry, Fault overweight) = touchMarket(state, market);
    if (isFault(overweight)) return overweight;
    if (entry.marketType != MarketType.NONE) return Fault.UNKNOWN_MARKET;
    setMarket(state, market, grid);
}

/// @dev List an underlying or change its parameters; prices and halts stay, the grid stays. The multiplier meets
/// new bounds with the next observation. NON_CANONICAL for a wrong length, OUT_OF_RANGE, UNKNOWN_MARKET when
/// committee, grid or gas market is missing or the id holds another type.
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
    // An underlying may price its own data.
    if (params.gasMarket != 0 && params.gasMarket != market) {
        (, fault) = getUnderlying(state, params.gasMarket);
        if (isFault(fault)) return fault;
    }
    (MarketEntry memory entry, Fault overweight) = touchMarket(state, market);
    if (isFault(overweight)) return overweight;
    Underlying memory underlyingAfter;
    if (entry.marketType == MarketType.NONE) {
        underlyingAfter.multiplier = params.multiplierMin;
    } else {
        (Underlying memory underlying, Fault unknown) = getUnderlying(state, market);
        if (isFault(unknown)) return unknown;
        if (underlying.params.grid != params.grid) return Fault.OUT_OF_RANGE;
        underlyingAfter = copyUnderlying(underlying);
    }
    underlyingAfter.params = params;
    setMarket(state, market, underlyingAfter);
}

/// @dev List an expiry: underlying (2), time (5). With time 0 it holds the premium of perpetuals. NON_CANONICAL for
/// a wrong length; OUT_OF_RANGE for a time that is past, too far away or not a day's expiry time, and for id 0,
/// which means none; UNKNOWN_MARKET when the underlying is missing or the id is taken.
function processConfigureExpiry(State memory state, uint256 market, bytes memory body)
    pure
    returns (Fault fault)
{
    if (body.length != EXPIRY_BODY_BYTES) return Fault.NON_CANONICAL;
    uint256 fields = uint56(bytes7(body));
    uint256 underlying = fields >> 40;
    uint256 time = uint40(fields);
    uint256 clock = state.globals.clock;
    if (
        market == 0
            || (time != 0 && (!isBoundary(time) || time <= clock || time > clock + MAX_TERM))
    ) return Fault.OUT_OF_RANGE;
    (, fault) = getUnderlying(state, underlying);
    if (isFault(fault)) return fault;
    (MarketEntry memory entry, Fault overweight) = touchMarket(state, market);
    if (isFault(overweight)) return overweight;
    if (entry.marketType != MarketType.NONE) return Fault.UNKNOWN_MARKET;
    setMarket(state, market, createExpiry(underlying, time));
}

/// @dev Check where an option is listed: a call an odd number of ids after its expiry, a put of the same strike
/// right after it, none of them further away than listing looks for them. OUT_OF_RANGE; UNKNOWN_MARKET when a
/// put's call is missing.
function validateOption(
    State memory state,
    uint256 market,
    SeriesKind kind,
    uint256 expiry,
    uint256 strike
) pure returns (Fault) {
    unchecked {
        // Ids before the expiry's are far too far away, too.
        uint256 distance = market - expiry;
        if (distance == 0 || distance > 2 * MAX_STRIKES || distance % 2 == uint256(kind) - 1) {
            return Fault.OUT_OF_RANGE;
        }
        if (kind == SeriesKind.PUT) {
            (Series memory call, Fault unknown) = getSeries(state, market - 1);
            if (isFault(unknown)) return unknown;
            if (call.kind != SeriesKind.CALL || call.expiry != expiry || call.strike != strike) {
                return Fault.UNKNOWN_MARKET;
            }
        }
    }
    return Fault.NONE;
}

/// @dev Check what a new series settles to. OUT_OF_RANGE for a strike that does not belong to the kind, or an option
/// in the wrong place; UNKNOWN_MARKET when the expiry is missing, another underlying's, or not one for the kind;
/// INACTIVE when it has passed.
function validateTerms(
    State memory state,
    uint256 market,
    SeriesKind kind,
    uint256 underlying,
    uint256 expiry,
    uint256 strike
) pure returns (Fault) {
    bool isPerpetual = kind == SeriesKind.PERPETUAL;
    if (isPerpetual != (strike == 0) || strike > MAX_PRICE) return Fault.OUT_OF_RANGE;
    if (isPerpetual && expiry == 0) return Fault.NONE;
    (Expiry memory leaf, Fault unknown) = getExpiry(state, expiry);
    if (isFault(unknown)) return unknown;
    if (leaf.underlying != underlying || isPerpetual != (leaf.time == 0)) {
        return Fault.UNKNOWN_MARKET;
    }
    if (isPerpetual) return Fault.NONE;
    if (leaf.settlement != 0 || state.globals.clock >= leaf.time) return Fault.INACTIVE;
    return validateOption(state, market, kind, expiry, strike);
}

/// @dev List a series or change whether it trades: kind (1), status (1), underlying (2), expiry (2), strike (8).
/// All but the status stays as it was listed. NON_CANONICAL for a wrong length; OUT_OF_RANGE for an unknown kind or
/// status, or SETTLED; UNKNOWN_MARKET when the underlying is missing, the id holds another type or the terms differ;
/// INACTIVE when the series has settled; what `validateTerms` returns for a new one.
function processConfigureSeries(State memory state, uint256 market, bytes memory body)
    pure
    returns (Fault fault)
{
    if (body.length != SERIES_BODY_BYTES) return Fault.NON_CANONICAL;
    uint256 fields = uint112(bytes14(body));
    if (
        fields >> 104 > uint256(SeriesKind.PUT)
            || uint8(fields >> 96) > uint256(SeriesStatus.CLOSING)
            || uint8(fields >> 96) == uint256(SeriesStatus.SETTLED)
    ) return Fault.OUT_OF_RANGE;
    SeriesKind kind = SeriesKind(fields >> 104);
    SeriesStatus status = SeriesStatus(uint8(fields >> 96));
    uint256 underlying = uint16(fields >> 80);
    uint256 expiry = uint16(fields >> 64);
    uint256 strike = uint64(fields);
    (, fault) = getUnderlying(state, underlying);
    if (isFault(fault)) return fault;
    (MarketEntry memory entry, Fault overweight) = touchMarket(state, market);
    if (isFault(overweight)) return overweight;
    if (entry.marketType == MarketType.NONE) {
        fault = validateTerms(state, market, kind, underlying, expiry, strike);
        if (isFault(fault)) return fault;
        setMarket(state, market, createSeries(kind, status, underlying, expiry, strike));
        return Fault.NONE;
    }
    (Series memory series, Fault unknown) = getSeries(state, market);
    if (isFault(unknown)) return unknown;
    if (
        series.kind != kind || series.underlying != underlying || series.expiry != expiry
            || series.strike != strike
    ) return Fault.UNKNOWN_MARKET;
    if (series.status == SeriesStatus.SETTLED) return Fault.INACTIVE;
    Series memory seriesAfter = copySeries(series);
    seriesAfter.status = status;
    setMarket(state, market, seriesAfter);
}

/// @dev Close `count` series with consecutive ids to new risk, or open them again: status (1), count (1). CLOSING
/// goes to those that are ACTIVE, ACTIVE to those that are CLOSING, and everything else stays as it is, so nothing
/// is listed, and nothing that was stopped for another reason trades. NON_CANONICAL for a wrong length; OUT_OF_RANGE
/// for another status, for no series or too many, and past the last id; OVERWEIGHT.
function processConfigureClosing(State memory state, uint256 market, bytes memory body)
    pure
    returns (Fault fault)
{
    if (body.length != CLOSING_BODY_BYTES) return Fault.NON_CANONICAL;
    uint256 fields = uint16(bytes2(body));
    uint256 count = uint8(fields);
    uint256 status = fields >> 8;
    if (
        (status != uint256(SeriesStatus.CLOSING) && status != uint256(SeriesStatus.ACTIVE))
            || count == 0 || count > MAX_CLOSING || market + count > 1 << MARKET_DEPTH
    ) return Fault.OUT_OF_RANGE;
    SeriesStatus statusAfter = SeriesStatus(status);
    SeriesStatus statusBefore =
        statusAfter == SeriesStatus.ACTIVE ? SeriesStatus.CLOSING : SeriesStatus.ACTIVE;
    fault = charge(state, count * WEIGHT_CONFIGURE_WORD_GAS, 0);
    if (isFault(fault)) return fault;
    for (uint256 id = market; id < market + count; ++id) {
        (MarketEntry memory entry, Fault overweight) = touchMarket(state, id);
        if (isFault(overweight)) return overweight;
        if (entry.marketType != MarketType.SERIES) continue;
        Series memory series;
        (series, fault) = getSeries(state, id);
        if (series.status != statusBefore) continue;
        Series memory seriesAfter = copySeries(series);
        seriesAfter.status = statusAfter;
        setMarket(state, id, seriesAfter);
    }
}

/// @dev Apply a Configure message. OVERWEIGHT, TRUNCATED, UNKNOWN_KIND, and what the six processes above return.
function processConfigure(State memory state, bytes memory body) pure returns (Fault) {
    // A new leaf is about as long as its body: touching the empty place did not pay for it.
    uint256 words = (body.length + 31) / 32;
    Fault overweight = chargeModule(state, words * WEIGHT_CONFIGURE_WORD_GAS);
    if (isFault(overweight)) return overweight;
    if (body.length < HEAD_BYTES) return Fault.TRUNCATED;
    uint256 head = uint24(bytes3(body));
    uint256 tag = head >> 16;
    uint256 market = uint16(head);
    bytes memory fields = copySlice(body, HEAD_BYTES, body.length - HEAD_BYTES);
    if (tag == COMMITTEE_TAG) return processConfigureCommittee(state, market, fields);
    if (tag == GRID_TAG) return processConfigureGrid(state, market, fields);
    if (tag == UNDERLYING_TAG) return processConfigureUnderlying(state, market, fields);
    if (tag == EXPIRY_TAG) return processConfigureExpiry(state, market, fields);
    if (tag == SERIES_TAG) return processConfigureSeries(state, market, fields);
    if (tag == CLOSING_TAG) return processConfigureClosing(state, market, fields);
    return Fault.UNKNOWN_KIND;
}
