// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DAY, EXPIRY_TIME, SETTLEMENT_WINDOW, TWAP_DAYS} from "./Constants.sol";
import {Expiry, Underlying} from "./Types.sol";

// Expiries: when options expire, what their forward is, and what settles them.
//
// Boundaries are the days' expiry times, all of them EXPIRY_TIME after midnight UTC; the one of day d, counted
// from 1970, is at d * DAY + EXPIRY_TIME. The price that settles an expiry is the average of the window of
// SETTLEMENT_WINDOW before its boundary, so inside the window the forward is in part known: its fixed part, which
// no scenario shocks.
//
// Nothing here overflows: times have 40 bits, days fewer, prices and ratios 64, sums over a window 128.

/// @dev Return the expiry time of a day, counted from 1970.
function computeBoundary(uint256 day) pure returns (uint256) {
    unchecked {
        return day * DAY + EXPIRY_TIME;
    }
}

/// @dev Return the day of the first boundary that is not before `time`; of an expiry, its own.
function computeDay(uint256 time) pure returns (uint256) {
    unchecked {
        return (time + (DAY - 1 - EXPIRY_TIME)) / DAY;
    }
}

/// @dev Return whether options may expire at `time`.
function isBoundary(uint256 time) pure returns (bool) {
    return computeBoundary(computeDay(time)) == time;
}

/// @dev Return index times ratio, rounded down: the forward outside the settlement window.
function computeForward(Underlying memory underlying, Expiry memory expiry) pure returns (uint256) {
    unchecked {
        return underlying.index * expiry.ratio >> 48;
    }
}

/// @dev Return the fixed and the variable part of the forward as of the last observation, each rounded down.
///
/// Inside the settlement window, the fixed part is what the seconds observed so far add to the average, and the
/// variable part what the seconds left will add if the index stays. A second that was not observed counts for
/// neither. The ratio no longer counts there.
function computeForwardParts(Underlying memory underlying, Expiry memory expiry)
    pure
    returns (uint256 fixedPart, uint256 variablePart)
{
    unchecked {
        uint256 remaining = expiry.time - underlying.observedAt;
        // A time that has passed, and 0, leave `remaining` far too large.
        if (
            expiry.time == 0 || remaining >= SETTLEMENT_WINDOW
                || underlying.day != computeDay(expiry.time) || remaining == 0
        ) return (0, computeForward(underlying, expiry));
        uint256 total = underlying.windowSeconds + remaining;
        return (underlying.windowSum / total, underlying.index * remaining / total);
    }
}

/// @dev Return the price that settles an expiry that the underlying has passed; at least 1.
///
/// Where no observation knows the price of that boundary any more, or none knew it, the index.
function computeSettlement(Underlying memory underlying, Expiry memory expiry)
    pure
    returns (uint256 price)
{
    uint256 day = computeDay(expiry.time);
    unchecked {
        if (day < underlying.day && underlying.day <= day + TWAP_DAYS) {
            price = underlying.twaps[day % TWAP_DAYS];
        }
    }
    if (price == 0) price = underlying.index;
    if (price == 0) price = 1;
}
