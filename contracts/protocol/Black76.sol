// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ONE} from "./Constants.sol";
import {MAX_VALUE, computeFineLogRatio} from "./Fixed.sol";
import {CERTAINTY, computeCdf, computeDensity} from "./Normal.sol";

// Black's formula for options on a forward, undiscounted, in integers.
//
// Forward and strike are prices from 0 to 2^63 - 1, and so are the results, in the same units. The deviation
// is that of the logarithm at expiry: volatility times the root of the time in years, Q48.
//
//     call = F * N(d1) - K * N(d2),  d1 = ln(F / K) / s + s / 2,  d2 = d1 - s
//
// Whatever error there is in d1 is in d2 as well, and the price does not feel it to first order: there
// F * density(d1) = K * density(d2). So the price is as exact as N: within 2^-54 * (F + K), and half a unit
// of rounding. Where the formula has no value (no forward, no strike, no deviation) the limits stand in: what
// the option is worth at once.

uint256 constant MAX_DEVIATION = 32 * ONE; // Larger ones count as this: N(d1) is 1 and N(d2) is 0 there.
uint256 constant MAX_ROOT_TIME = 8 * ONE; // Longer times count as this, in `computeVega`.
uint256 constant MAX_TIME = 64 * ONE; // Longer times count as this, in `computeTheta`.

/// @dev Return d1 and d2 in Q48; all arguments positive, the deviation at most `MAX_DEVIATION`.
function computeMoments(uint256 forward, uint256 strike, uint256 deviation)
    pure
    returns (int256 d1, int256 d2)
{
    unchecked {
        int256 distance = computeFineLogRatio(forward, strike);
        // Rounded towards 0, which is as good as any.
        assembly ("memory-safe") {
            d1 := add(sdiv(shl(40, distance), deviation), shr(1, deviation))
        }
        d2 = d1 - int256(deviation);
    }
}

/// @dev Return the prices of call and put, rounded to nearest.
///
/// The put is call - forward + strike exactly. Both are at least 0 and at least what they are worth at once;
/// the call is at most the forward, the put at most the strike.
function computePair(uint256 forward, uint256 strike, uint256 deviation)
    pure
    returns (uint256 call, uint256 put)
{
    unchecked {
        if (deviation > MAX_DEVIATION) deviation = MAX_DEVIATION;
        call = forward > strike ? forward - strike : 0;
        // Any of the three is 0: below 2^180.
        if (forward * strike * deviation != 0) {
            (int256 d1, int256 d2) = computeMoments(forward, strike, deviation);
            // Below 2^123 each.
            int256 value = int256(forward * computeCdf(d1)) - int256(strike * computeCdf(d2));
            value = (value + int256(CERTAINTY >> 1)) >> 60;
            if (value > int256(call)) call = uint256(value);
            if (call > forward) call = forward;
        }
        put = call + strike - forward;
    }
}

/// @dev Return the price of the call, as `computePair` does.
function computeCall(uint256 forward, uint256 strike, uint256 deviation)
    pure
    returns (uint256 call)
{
    (call,) = computePair(forward, strike, deviation);
}

/// @dev Return the price of the put, as `computePair` does.
function computePut(uint256 forward, uint256 strike, uint256 deviation) pure returns (uint256 put) {
    (, put) = computePair(forward, strike, deviation);
}

/// @dev Return the call's change of price with the forward, in Q48, rounded to nearest.
///
/// The put's is less by 1. With no deviation it is 0, 1/2 or 1.
function computeDelta(uint256 forward, uint256 strike, uint256 deviation) pure returns (uint256) {
    unchecked {
        if (forward == 0 || strike == 0 || deviation == 0) {
            return forward > strike ? ONE : forward == strike ? ONE / 2 : 0;
        }
        if (deviation > MAX_DEVIATION) deviation = MAX_DEVIATION;
        (int256 d1,) = computeMoments(forward, strike, deviation);
        return (computeCdf(d1) + (1 << 11)) >> 12;
    }
}

/// @dev Return the density at d1 in Q60, 0 where there is no d1. All Greeks but delta have it.
function computeDensityAt(uint256 forward, uint256 strike, uint256 deviation)
    pure
    returns (uint256)
{
    if (forward == 0 || strike == 0 || deviation == 0) return 0;
    if (deviation > MAX_DEVIATION) deviation = MAX_DEVIATION;
    (int256 d1,) = computeMoments(forward, strike, deviation);
    return computeDensity(d1);
}

/// @dev Return the change of delta for a relative change of the forward, in Q48, rounded down.
///
/// That is gamma times the forward; the same for call and put. At most `MAX_VALUE`.
function computeGamma(uint256 forward, uint256 strike, uint256 deviation)
    pure
    returns (uint256 gamma)
{
    unchecked {
        uint256 density = computeDensityAt(forward, strike, deviation);
        if (density == 0) return 0;
        if (deviation > MAX_DEVIATION) deviation = MAX_DEVIATION;
        gamma = (density << 36) / deviation;
        if (gamma > MAX_VALUE) gamma = MAX_VALUE;
    }
}

/// @dev Return the change of price for 1.00 of volatility, rounded down; the same for call and put.
///
/// `rootTime` is the root of the time in years, Q48; with 1 it is the change for 1.00 of deviation. At most
/// `MAX_VALUE`.
function computeVega(uint256 forward, uint256 strike, uint256 deviation, uint256 rootTime)
    pure
    returns (uint256 vega)
{
    unchecked {
        uint256 density = computeDensityAt(forward, strike, deviation);
        if (rootTime > MAX_ROOT_TIME) rootTime = MAX_ROOT_TIME;
        vega = (forward * ((density * rootTime) >> 48)) >> 60;
        if (vega > MAX_VALUE) vega = MAX_VALUE;
    }
}

/// @dev Return the change of price per year that passes, rounded towards 0; the same for call and put.
///
/// `time` is in years, Q48; without any, 0. Never positive, at least `-MAX_VALUE`.
function computeTheta(uint256 forward, uint256 strike, uint256 deviation, uint256 time)
    pure
    returns (int256)
{
    unchecked {
        if (time == 0) return 0;
        if (time > MAX_TIME) time = MAX_TIME;
        uint256 density = computeDensityAt(forward, strike, deviation);
        if (deviation > MAX_DEVIATION) deviation = MAX_DEVIATION;
        // density * deviation / (2 * time): from Q60 to Q48.
        uint256 rate = (((density * deviation) >> 48) << 35) / time;
        if (rate > MAX_VALUE) rate = MAX_VALUE;
        uint256 loss = (forward * rate) >> 48;
        return -int256(loss > MAX_VALUE ? MAX_VALUE : loss);
    }
}
