// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {isWithinBand} from "./Arithmetic.sol";
import {Fault, isFault} from "./Fault.sol";
import {State, getCommittee, getUnderlying, setMarket} from "./State.sol";
import {Committee, Observation, Observe, Underlying} from "./Types.sol";

// Observe: the median of independently signed prices moves an underlying's index.
//
// A price beyond the jump band halts the underlying until a second observation confirms it or the halt's time
// has passed.

/// @dev Return the middle price, the lower of the two middle ones of an even number; at least one.
function computeMedian(Observation[] memory observations, uint256 count) pure returns (uint256) {
    uint256[] memory sorted = new uint256[](count);
    // Insertion: at most MAX_SIGNERS of them.
    unchecked {
        for (uint256 i; i < count; ++i) {
            uint256 price = observations[i].price;
            uint256 place = i;
            while (place != 0 && sorted[place - 1] > price) {
                sorted[place] = sorted[place - 1];
                --place;
            }
            sorted[place] = price;
        }
        return sorted[(count - 1) / 2];
    }
}

/// @dev Return the observations that are neither zero, stale, future nor replayed, then within the outlier
/// band of their median: the first `count` of `usable`.
function computeUsable(
    Underlying memory underlying,
    Observation[] memory observations,
    uint256 clock
) pure returns (Observation[] memory usable, uint256 count) {
    usable = new Observation[](observations.length);
    uint256 timely;
    for (uint256 i; i < observations.length; ++i) {
        Observation memory entry = observations[i];
        if (
            entry.price != 0 && underlying.observedAt < entry.time && entry.time <= clock
                && clock <= entry.time + underlying.params.maxObservationAge
        ) usable[timely++] = entry;
    }
    if (timely == 0) return (usable, 0);
    uint256 median = computeMedian(usable, timely);
    for (uint256 i; i < timely; ++i) {
        Observation memory entry = usable[i];
        if (isWithinBand(entry.price, median, underlying.params.outlierBand)) {
            usable[count++] = entry;
        }
    }
}

/// @dev Check that every observation names a member. UNKNOWN_SIGNER.
function validateSigners(Committee memory committee, Observation[] memory observations)
    pure
    returns (Fault)
{
    for (uint256 i; i < observations.length; ++i) {
        if (observations[i].signer >= committee.signers.length) return Fault.UNKNOWN_SIGNER;
    }
    return Fault.NONE;
}

/// @dev Return the underlying after an observation of `price`: moved, halted or resumed.
function computeUnderlyingAfter(
    Underlying memory underlying,
    uint256 price,
    uint256 time,
    uint256 clock
) pure returns (Underlying memory) {
    uint256 band = underlying.params.jumpBand;
    bool halted = underlying.pendingIndex != 0;
    bool confirmed = halted
        && (isWithinBand(price, underlying.pendingIndex, band) || clock >= underlying.haltedUntil);
    bool calm = !halted && (underlying.index == 0 || isWithinBand(price, underlying.index, band));
    if (confirmed || calm) return Underlying(underlying.params, price, time, 0, 0);
    uint256 until = halted ? underlying.haltedUntil : clock + underlying.params.haltSeconds;
    return Underlying(underlying.params, underlying.index, time, price, until);
}

/// @dev Take the median of what is usable. UNKNOWN_MARKET, UNKNOWN_SIGNER; QUORUM when fewer observations are
/// usable than the threshold.
function processObserve(State memory state, Observe memory observe) pure returns (Fault) {
    (Underlying memory underlying, Fault noUnderlying) = getUnderlying(state, observe.market);
    if (isFault(noUnderlying)) return noUnderlying;
    (Committee memory committee, Fault noCommittee) =
        getCommittee(state, underlying.params.committee);
    if (isFault(noCommittee)) return noCommittee;
    Fault fault = validateSigners(committee, observe.observations);
    if (isFault(fault)) return fault;
    uint256 clock = state.globals.clock;
    (Observation[] memory usable, uint256 count) =
        computeUsable(underlying, observe.observations, clock);
    if (count < committee.threshold) return Fault.QUORUM;
    uint256 price = computeMedian(usable, count);
    uint256 time;
    for (uint256 i; i < count; ++i) {
        if (usable[i].time > time) time = usable[i].time;
    }
    setMarket(state, observe.market, computeUnderlyingAfter(underlying, price, time, clock));
    return Fault.NONE;
}
