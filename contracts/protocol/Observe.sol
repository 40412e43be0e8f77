// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {isWithinBand} from "./Arithmetic.sol";
import {WEIGHT_OBSERVATION_GAS} from "./Constants.sol";
import {Fault, isFault} from "./Fault.sol";
import {State, charge, getCommittee, getUnderlying, setMarket} from "./State.sol";
import {Committee, Observation, Observe, Underlying} from "./Types.sol";

// Observe: the median of independently signed prices moves an underlying's index.
//
// A price beyond the jump band halts the underlying until a second observation confirms it or the halt's time
// has passed.

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
function processObserve(State memory state, Observe memory observe) pure returns (Fault fault) {
    unchecked {
        fault = charge(state, observe.observations.length * WEIGHT_OBSERVATION_GAS, 0);
    }
    if (isFault(fault)) return fault;
    (Underlying memory underlying, Fault noUnderlying) = getUnderlying(state, observe.market);
    if (isFault(noUnderlying)) return noUnderlying;
    (Committee memory committee, Fault noCommittee) =
        getCommittee(state, underlying.params.committee);
    if (isFault(noCommittee)) return noCommittee;
    fault = validateSigners(committee, observe.observations);
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
