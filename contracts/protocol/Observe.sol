// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {isWithinBand} from "./Arithmetic.sol";
import {
    MULTIPLIER_PERIOD,
    ONE,
    PPM,
    SETTLEMENT_WINDOW,
    TWAP_DAYS,
    VARIANCE_DECAY,
    WEIGHT_OBSERVATION_GAS,
    WEIGHT_OBSERVE_GAS,
    YEAR
} from "./Constants.sol";
import {copyUnderlying} from "./Copy.sol";
import {computeBoundary, computeDay} from "./Expiry.sol";
import {Fault, isFault} from "./Fault.sol";
import {computeSqrt} from "./Fixed.sol";
import {State, charge, getCommittee, getUnderlying, setMarket} from "./State.sol";
import {Committee, Globals, Observation, Observe, Underlying, UnderlyingParams} from "./Types.sol";

// Observe: the median of independently signed prices moves an underlying's index.
//
// A price beyond the jump band halts the underlying until a second observation confirms it or the halt's time
// has passed. With every observation the underlying also carries on what is derived from its index: the average
// of the settlement window, realised variance and the risk multiplier.
//
// Nothing here overflows: prices have 64 bits, times 40, sums over a window 128.

/// @dev Return the middle price, the lower of the two middle ones of an even number; at least one.
function computeMedian(Observation[] memory observations, uint256 count)
    pure
    returns (uint256 middle)
{
    uint256 half;
    unchecked {
        half = (count - 1) / 2;
    }
    // Insertion of at most MAX_SIGNERS prices, the second word of an observation, into free memory. The lowest
    // one that may be there stops the search: a word that no price is below.
    assembly ("memory-safe") {
        let sorted := mload(0x40)
        mstore(sorted, 0)
        let from := add(observations, 0x20)
        for { let to := add(sorted, 0x20) } count {
            count := sub(count, 1)
            to := add(to, 0x20)
            from := add(from, 0x20)
        } {
            let price := mload(add(mload(from), 0x20))
            let place := to
            for { let below := mload(sub(place, 0x20)) } gt(below, price) {
                below := mload(sub(place, 0x20))
            } {
                mstore(place, below)
                place := sub(place, 0x20)
            }
            mstore(place, price)
        }
        middle := mload(add(sorted, shl(5, add(half, 1))))
    }
}

/// @dev Return the observations that are neither zero, stale, future nor replayed, then within the outlier
/// band of their median: the first `count` of `usable`.
function computeUsable(
    Underlying memory underlying,
    Observation[] memory observations,
    uint256 clock
) pure returns (Observation[] memory usable, uint256 count) {
    uint256 length = observations.length;
    // Places for all of them: pointers to observations, set below.
    assembly ("memory-safe") {
        usable := mload(0x40)
        mstore(usable, length)
        mstore(0x40, add(usable, shl(5, add(length, 1))))
    }
    unchecked {
        uint256 timely;
        uint256 age = underlying.params.maxObservationAge;
        for (uint256 i; i < length; ++i) {
            Observation memory entry = observations[i];
            uint256 time = entry.time;
            if (
                entry.price != 0 && underlying.observedAt < time && time <= clock
                    && clock <= time + age
            ) usable[timely++] = entry;
        }
        if (timely == 0) return (usable, 0);
        uint256 median = computeMedian(usable, timely);
        uint256 band = underlying.params.outlierBand;
        for (uint256 i; i < timely; ++i) {
            Observation memory entry = usable[i];
            if (isWithinBand(entry.price, median, band)) usable[count++] = entry;
        }
    }
}

/// @dev Check that every observation names a member. UNKNOWN_SIGNER.
function validateSigners(Committee memory committee, Observation[] memory observations)
    pure
    returns (Fault)
{
    uint256 members = committee.signers.length;
    uint256 count = observations.length;
    for (uint256 i; i < count; ++i) {
        if (observations[i].signer >= members) return Fault.UNKNOWN_SIGNER;
    }
    return Fault.NONE;
}

/// @dev Return the underlying with its settlement window carried on to `time`.
///
/// Between two observations the index of the first one counts, every second alike, unless they are further apart
/// than `maxMarkAge`: then nobody knows the price of that time. A boundary that has passed is settled at the
/// average of what was observed of its window, or if that is nothing at `price`, the first one known afterwards.
/// While that one is halted the boundary waits.
function computeWindowAfter(
    Underlying memory underlying,
    uint256 price,
    uint256 time,
    bool isAccepted
) pure returns (Underlying memory underlyingAfter) {
    underlyingAfter = copyUnderlying(underlying);
    uint256 index = underlying.index;
    unchecked {
        uint256 coming = computeDay(time + 1);
        if (index == 0) {
            underlyingAfter.day = coming;
            return underlyingAfter;
        }
        uint256 day = underlying.day;
        uint256 sum = underlying.windowSum;
        uint256 count = underlying.windowSeconds;
        // Older boundaries would be overwritten below.
        if (day + TWAP_DAYS < coming) {
            day = coming - TWAP_DAYS;
            sum = count = 0;
        }
        uint256 observedAt = underlying.observedAt;
        bool isKnown = time - observedAt <= underlying.params.maxMarkAge;
        uint256[TWAP_DAYS] memory twaps;
        // Its twaps are the eleventh word of the leaf.
        assembly ("memory-safe") {
            mcopy(twaps, mload(add(underlying, 0x140)), 0x80)
        }
        while (true) {
            uint256 end = computeBoundary(day);
            uint256 start = end - SETTLEMENT_WINDOW;
            if (start < observedAt) start = observedAt;
            if (time < end) end = time;
            if (isKnown && start < end) {
                sum += index * (end - start);
                count += end - start;
            }
            if (day >= coming || (count == 0 && !isAccepted)) break;
            twaps[day % TWAP_DAYS] = count == 0 ? price : sum / count;
            sum = count = 0;
            ++day;
        }
        underlyingAfter.windowSum = sum;
        underlyingAfter.windowSeconds = count;
        underlyingAfter.day = day;
        underlyingAfter.twaps = twaps;
    }
}

/// @dev Return realised variance after the index has moved to `price`, later than `observedAt`.
///
/// What was decays with VARIANCE_DECAY, and what fades gives way to the squared move, annualised. All is rounded
/// down; a move counts as 100 % at most.
function computeVarianceAfter(Underlying memory underlying, uint256 price, uint256 time)
    pure
    returns (uint256 variance)
{
    uint256 index = underlying.index;
    variance = underlying.variance;
    if (index == 0) return variance;
    unchecked {
        uint256 elapsed = time - underlying.observedAt;
        uint256 fading = elapsed < VARIANCE_DECAY ? elapsed : VARIANCE_DECAY;
        uint256 move = (price < index ? index - price : price - index) * ONE / index;
        if (move > ONE) move = ONE;
        variance -= variance * fading / VARIANCE_DECAY;
        variance += move * move * YEAR * fading / (elapsed * VARIANCE_DECAY * ONE);
        if (variance >> 63 != 0) variance = (1 << 63) - 1;
    }
}

/// @dev Return the risk multiplier at `time`, later than `observedAt`.
///
/// It follows realised volatility and the part of the insurance fund that is used, no faster than its step for each
/// MULTIPLIER_PERIOD and always inside its bounds.
function computeMultiplierAfter(
    Underlying memory underlying,
    uint256 variance,
    uint256 time,
    Globals memory globals
) pure returns (uint256 target) {
    UnderlyingParams memory params = underlying.params;
    // The fund's cash has 128 bits, parameters 32.
    unchecked {
        target = PPM;
        uint256 volatility = computeSqrt(variance * ONE) * PPM / ONE;
        if (volatility > params.volReference) {
            target += (volatility - params.volReference) * params.volSlope / PPM;
        }
        int256 used = globals.insurancePeak - globals.insurance;
        if (used > 0) {
            target += uint256(used) * PPM / uint256(globals.insurancePeak) * params.insuranceSlope
            / PPM;
        }
        uint256 elapsed = time - underlying.observedAt;
        if (elapsed > MULTIPLIER_PERIOD) elapsed = MULTIPLIER_PERIOD;
        uint256 step = params.multiplierStep * elapsed / MULTIPLIER_PERIOD;
        uint256 multiplier = underlying.multiplier;
        if (target > multiplier + step) target = multiplier + step;
        else if (target + step < multiplier) target = multiplier - step;
        if (target > params.multiplierMax) target = params.multiplierMax;
        if (target < params.multiplierMin) target = params.multiplierMin;
    }
}

/// @dev Return the underlying after an observation of `price`: moved, halted or resumed.
function computeUnderlyingAfter(
    Underlying memory underlying,
    uint256 price,
    uint256 time,
    Globals memory globals
) pure returns (Underlying memory underlyingAfter) {
    uint256 band = underlying.params.jumpBand;
    bool halted = underlying.pendingIndex != 0;
    bool confirmed = halted
        && (isWithinBand(price, underlying.pendingIndex, band)
            || globals.clock >= underlying.haltedUntil);
    bool calm = !halted && (underlying.index == 0 || isWithinBand(price, underlying.index, band));
    bool isAccepted = confirmed || calm;
    underlyingAfter = computeWindowAfter(underlying, price, time, isAccepted);
    underlyingAfter.observedAt = time;
    if (isAccepted) {
        underlyingAfter.index = price;
        underlyingAfter.pendingIndex = 0;
        underlyingAfter.haltedUntil = 0;
        underlyingAfter.variance = computeVarianceAfter(underlying, price, time);
    } else {
        underlyingAfter.pendingIndex = price;
        if (!halted) {
            underlyingAfter.haltedUntil = globals.clock + underlying.params.haltSeconds;
        }
    }
    underlyingAfter.multiplier =
        computeMultiplierAfter(underlying, underlyingAfter.variance, time, globals);
}

/// @dev Take the median of what is usable. OVERWEIGHT, UNKNOWN_MARKET, UNKNOWN_SIGNER; QUORUM when fewer
/// observations are usable than the threshold.
function processObserve(State memory state, Observe memory observe) pure returns (Fault fault) {
    unchecked {
        uint256 length = observe.observations.length;
        fault = charge(state, WEIGHT_OBSERVE_GAS + length * WEIGHT_OBSERVATION_GAS, 0);
    }
    if (isFault(fault)) return fault;
    (Underlying memory underlying, Fault noUnderlying) = getUnderlying(state, observe.market);
    if (isFault(noUnderlying)) return noUnderlying;
    (Committee memory committee, Fault noCommittee) =
        getCommittee(state, underlying.params.committee);
    if (isFault(noCommittee)) return noCommittee;
    fault = validateSigners(committee, observe.observations);
    if (isFault(fault)) return fault;
    Globals memory globals = state.globals;
    (Observation[] memory usable, uint256 count) =
        computeUsable(underlying, observe.observations, globals.clock);
    if (count < committee.threshold) return Fault.QUORUM;
    uint256 price = computeMedian(usable, count);
    uint256 time;
    for (uint256 i; i < count; ++i) {
        if (usable[i].time > time) time = usable[i].time;
    }
    setMarket(state, observe.market, computeUnderlyingAfter(underlying, price, time, globals));
    return Fault.NONE;
}
