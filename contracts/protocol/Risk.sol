// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divAway, divDown} from "./Arithmetic.sol";
import {computePair} from "./Black76.sol";
import {DAY, MAX_PRICE, ONE, PPM, YEAR} from "./Constants.sol";
import {Fault, isFault} from "./Fault.sol";
import {computeExp, computeLogRatio, computeSqrt, multiplyDown} from "./Fixed.sol";
import {INT64_BOUND} from "./State.sol";
import {computeVariance} from "./Surface.sol";
import {Expiry, Grid, RiskModel, Scenario, Underlying} from "./Types.sol";

// Marks and risk vectors: what a series is worth now and under every scenario of its grid.
//
// The formulas are those of PMRM_2; docs/margin.md has them as they are here. Q48 values are rounded down
// step by step, prices to nearest, once.
//
// Nothing here overflows, so nothing here is checked: prices are below 2^63, times below 2^40, what governance
// sets is within 2^54, exponentials are below 2^63, deviations below 2^72.

uint256 constant UINT64_MAX = (1 << 64) - 1;
uint256 constant MONTH = 30 * DAY; // Seconds; the time at which volatility shocks are quoted.

/// @dev What the options of an expiry share while they are priced. Q48 where nothing else is said.
struct Board {
    uint256 fixedPart; // What settlement has fixed of the forward already, per lot.
    uint256 variable; // The rest of the forward, per lot: what shocks move.
    uint256 discount;
    uint256 up; // Factor of a raised volatility.
    uint256 down;
    uint256 least; // Deviation that a raised volatility has at least.
    int256 linearCap;
    int256 absoluteCap;
    int256 width; // Log-moneyness at which a skew reaches its cap.
}

/// @dev A series' mark per lot and its risk vector, packed as in a series' `lanes`.
struct Quote {
    uint256 mark;
    uint256[] lanes;
}

/// @dev Return the mark of a perpetual per lot: the index, times the ratio of its premium leaf if it has one,
/// rounded down. OUT_OF_RANGE when it is no price.
function computePerpetualMark(Underlying memory underlying, bool hasExpiry, Expiry memory expiry)
    pure
    returns (uint256 mark, Fault)
{
    if (!hasExpiry) return (underlying.index, Fault.NONE);
    unchecked {
        mark = (underlying.index * expiry.ratio) >> 48;
    }
    return (mark, mark > MAX_PRICE ? Fault.OUT_OF_RANGE : Fault.NONE);
}

/// @dev Return profit and loss per lot under each scenario: mark * shock * weight, rounded away. Packed as in
/// a series' `lanes`. OUT_OF_RANGE when an entry does not fit int64.
///
/// A perpetual has no volatility: vol shocks leave it alone.
function computePerpetualRisk(uint256 mark, Grid memory grid)
    pure
    returns (uint256[] memory lanes, Fault)
{
    Scenario[] memory scenarios = grid.scenarios;
    uint256 count = scenarios.length;
    lanes = new uint256[]((count + 1) / 2);
    unchecked {
        for (uint256 i; i < count; ++i) {
            Scenario memory scenario = scenarios[i];
            // Below 2^63 * 2^31 * 2^64.
            int256 product = int256(mark) * scenario.spotShock * int256(scenario.weight);
            int256 entry = divAway(product, int256(PPM * ONE));
            if (entry < -INT64_BOUND || entry >= INT64_BOUND) return (lanes, Fault.OUT_OF_RANGE);
            // The upper lane shifts out its own sign extension; the word is their sum modulo 2^256.
            lanes[i / 2] += i % 2 == 0 ? uint256(entry) : uint256(entry) << 128;
        }
    }
    return (lanes, Fault.NONE);
}

/// @dev Return seconds as years, Q48.
function computeYears(uint256 remaining) pure returns (uint256) {
    unchecked {
        return remaining * ONE / YEAR;
    }
}

/// @dev Return what margin counts of an expiry's value when it is long, when it is short, and of its loss in
/// the basis scenarios: Q48, from 0 to 2^64 - 1.
///
/// Arguments are the seconds to expiry and its rate, Q48; a negative rate counts as 0.
function computeDiscounts(uint256 remaining, int256 rate, RiskModel memory model)
    pure
    returns (uint256 longDiscount, uint256 shortDiscount, uint256 basisFactor)
{
    unchecked {
        int256 time = int256(computeYears(remaining));
        if (rate < 0) rate = 0;
        int256 longRate = multiplyDown(rate, model.longRateScale) + model.longRateAdd;
        int256 shortRate = multiplyDown(rate, model.shortRateScale) + model.shortRateAdd;
        longDiscount =
            _limit(multiplyDown(model.longBase, int256(computeExp(-multiplyDown(time, longRate)))));
        int256 plain = int256(computeExp(multiplyDown(time, rate)));
        int256 raised =
            multiplyDown(model.shortBase, int256(computeExp(multiplyDown(time, shortRate))));
        shortDiscount = _limit(plain < raised ? plain : raised);
        basisFactor = _limit(model.basisAdd + multiplyDown(model.basisScale, time));
    }
}

/// @dev Return what the options of an expiry share. OUT_OF_RANGE when the forward is no price.
///
/// Arguments are the two parts of the forward, which counts as 1 when it is 0, the seconds to expiry, 0 and
/// up, and the expiry's rate.
function computeBoard(
    uint256 fixedPart,
    uint256 variable,
    uint256 remaining,
    int256 rate,
    RiskModel memory model
) pure returns (Board memory board, Fault) {
    unchecked {
        // An index of a few units, times a ratio below 1.
        if (fixedPart + variable == 0) variable = 1;
        if (fixedPart + variable > MAX_PRICE) return (board, Fault.OUT_OF_RANGE);
        uint256 time = computeYears(remaining);
        int256 root = int256(computeSqrt(time << 48));
        int256 floorSeconds = (model.dayFloor * int256(DAY) + int256(ONE / 2)) >> 48;
        uint256 counted = floorSeconds > int256(remaining) ? uint256(floorSeconds) : remaining;
        if (counted == 0) counted = 1;
        int256 power = remaining <= MONTH ? model.shortPower : model.longPower;
        int256 growth = int256(computeExp(multiplyDown(computeLogRatio(MONTH, counted), power)));
        int256 width = multiplyDown(
            multiplyDown(root, model.widthScale),
            model.widthStatic + multiplyDown(root, model.widthSlope)
        );
        if (width < model.minWidth) width = model.minWidth;
        if (rate < 0) rate = 0;
        board.fixedPart = fixedPart;
        board.variable = variable;
        board.discount = computeExp(-multiplyDown(rate, int256(time)));
        board.up = _floor(int256(ONE) + multiplyDown(model.volUp, growth));
        board.down = _floor(int256(ONE) - multiplyDown(model.volDown, growth));
        board.least = _floor(multiplyDown(model.minVol, root));
        board.linearCap = multiplyDown(model.linearBase, root) + model.linearCap;
        board.absoluteCap = multiplyDown(model.absoluteBase, root) + model.absoluteCap;
        board.width = width < 1 ? int256(1) : width;
    }
    return (board, Fault.NONE);
}

/// @dev Return ln(strike / forward), Q48; both at least 1 and below 2^64.
function computeLogMoneyness(Board memory board, uint256 strike) pure returns (int256) {
    unchecked {
        return computeLogRatio(strike, board.fixedPart + board.variable);
    }
}

/// @dev Return the standard deviation of the logarithm at expiry, Q48, by the volatility surface.
///
/// Its variance counts for the time from the surface to expiry, more than 0 seconds; what is left of them is
/// the variance's share.
function computeDeviation(Expiry memory expiry, uint256 remaining, int256 logMoneyness)
    pure
    returns (uint256)
{
    uint256 variance = computeVariance(expiry, logMoneyness);
    unchecked {
        return computeSqrt((variance * remaining / (expiry.time - expiry.surfacedAt)) << 48);
    }
}

/// @dev Return the factor that a skew puts on a deviation, Q48: it rises from 1 in proportion to log-moneyness
/// until it is off by `cap`, at `width`.
function computeSkew(int256 logMoneyness, int256 cap, int256 width) pure returns (uint256) {
    unchecked {
        int256 change = divDown(logMoneyness * cap, width);
        if (logMoneyness >= 0) {
            if (change > cap) change = cap;
        } else {
            if (change < -cap) change = -cap;
        }
        return _floor(int256(ONE) + change);
    }
}

/// @dev Return the deviation under vol shocks -1, 0, 1, 2 and 3: one after the other, from -1 on.
function computeShockedDeviations(Board memory board, uint256 deviation, int256 logMoneyness)
    pure
    returns (uint256[5] memory shocked)
{
    unchecked {
        int256 distance = logMoneyness < 0 ? -logMoneyness : logMoneyness;
        uint256 raised = (deviation * board.up) >> 48;
        shocked[0] = (deviation * board.down) >> 48;
        shocked[1] = deviation;
        shocked[2] = raised < board.least ? board.least : raised;
        shocked[3] = (deviation * computeSkew(logMoneyness, board.linearCap, board.width)) >> 48;
        shocked[4] = (deviation * computeSkew(distance, board.absoluteCap, board.width)) >> 48;
    }
}

/// @dev Return what call and put are worth per lot, discounted, rounded to nearest; the shocked forward is
/// rounded down. OUT_OF_RANGE when the shocked forward is no price.
///
/// The put is the call less the discounted forward less strike, itself rounded: a call less its put is worth
/// the same at every volatility, and neither is ever below 0.
function computePairValue(Board memory board, int256 spotShock, uint256 strike, uint256 deviation)
    pure
    returns (uint256 call, uint256 put, Fault)
{
    unchecked {
        // Shocks are -PPM at least.
        uint256 forward = board.fixedPart + board.variable * uint256(int256(PPM) + spotShock) / PPM;
        if (forward > MAX_PRICE) return (0, 0, Fault.OUT_OF_RANGE);
        uint256 discount = board.discount;
        (call,) = computePair(forward, strike, deviation);
        call = (call * discount + ONE / 2) >> 48;
        int256 difference = (int256(forward) - int256(strike)) * int256(discount);
        put = uint256(int256(call) - ((difference + int256(ONE / 2)) >> 48));
    }
    return (call, put, Fault.NONE);
}

/// @dev Return the quotes of a strike's call and put; entries of their risk vectors are not weighted.
/// OUT_OF_RANGE when a shocked forward is no price.
function computePairRisk(
    Board memory board,
    Scenario[] memory scenarios,
    uint256 strike,
    int256 logMoneyness,
    uint256 deviation
) pure returns (Quote memory call, Quote memory put, Fault fault) {
    uint256[5] memory deviations = computeShockedDeviations(board, deviation, logMoneyness);
    (call.mark, put.mark, fault) = computePairValue(board, 0, strike, deviation);
    if (isFault(fault)) return (call, put, fault);
    uint256 count = scenarios.length;
    unchecked {
        call.lanes = new uint256[]((count + 1) / 2);
        put.lanes = new uint256[]((count + 1) / 2);
        for (uint256 i; i < count; ++i) {
            Scenario memory scenario = scenarios[i];
            // Five kinds, as `validateScenario` sees to; a made-up grid must not stop the verifier here.
            uint256 shocked = deviations[uint256(scenario.volShock + 1) % 5];
            uint256 callValue;
            uint256 putValue;
            (callValue, putValue, fault) =
                computePairValue(board, scenario.spotShock, strike, shocked);
            if (isFault(fault)) return (call, put, fault);
            // A price is within 2^63 - 1, so the difference of two is, too.
            callValue -= call.mark;
            putValue -= put.mark;
            uint256 shift = (i % 2) * 128;
            call.lanes[i / 2] += callValue << shift;
            put.lanes[i / 2] += putValue << shift;
        }
    }
}

/// @dev 0 for what is below it.
function _floor(int256 value) pure returns (uint256) {
    return value < 0 ? 0 : uint256(value);
}

/// @dev The nearest number of 64 bits, unsigned.
function _limit(int256 value) pure returns (uint256) {
    uint256 floored = _floor(value);
    return floored > UINT64_MAX ? UINT64_MAX : floored;
}
