// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {isWithinBand} from "./Arithmetic.sol";
import {Fault, isFault} from "./Fault.sol";
import {State, getExpiry} from "./State.sol";
import {
    Expiry,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying,
    UnderlyingParams,
    hasStatus,
    isKind
} from "./Types.sol";

// Whether prices may be relied upon: the observation of an underlying, the surface of an expiry, the mark of a
// series.

/// @dev Check that an underlying has a price to mark from. HALTED when the breaker has tripped or the last
/// observation is too old (or there was none).
function validateObserved(Underlying memory underlying, uint256 clock) pure returns (Fault) {
    unchecked {
        if (
            underlying.pendingIndex != 0 || underlying.index == 0
                || clock > underlying.observedAt + underlying.params.maxMarkAge
        ) return Fault.HALTED;
    }
    return Fault.NONE;
}

/// @dev Check that an expiry has a volatility surface to mark options from. HALTED when it is too old or there
/// was none.
function validateSurfaced(Expiry memory expiry, Underlying memory underlying, uint256 clock)
    pure
    returns (Fault)
{
    unchecked {
        if (expiry.surfacedAt == 0 || clock > expiry.surfacedAt + underlying.params.maxSurfaceAge) {
            return Fault.HALTED;
        }
    }
    return Fault.NONE;
}

/// @dev Check that a mark may be relied upon; what has settled always may be. `expiry` is looked at for options
/// only. HALTED when no mark could be fresh: the breaker has tripped, the observation or the surface is too
/// old, or the option has expired and no observation is from after that; STALE_MARK when a Mark would help:
/// the mark is too old, the index has moved past the band, or the option can settle.
function validateFresh(
    Series memory series,
    Underlying memory underlying,
    Expiry memory expiry,
    uint256 clock
) pure returns (Fault) {
    if (hasStatus(series, SeriesStatus.SETTLED)) return Fault.NONE;
    Fault fault = validateObserved(underlying, clock);
    if (isFault(fault)) return fault;
    if (!isKind(series, SeriesKind.PERPETUAL)) {
        fault = validateAlive(expiry, underlying, clock);
        if (isFault(fault)) return fault;
    }
    return
        isFresh(series.markIndex, series.markedAt, underlying, clock)
            ? Fault.NONE
            : Fault.STALE_MARK;
}

/// @dev The part of `validateFresh` that depends on the expiry.
function validateAlive(Expiry memory expiry, Underlying memory underlying, uint256 clock)
    pure
    returns (Fault)
{
    if (clock >= expiry.time) {
        return underlying.observedAt >= expiry.time ? Fault.STALE_MARK : Fault.HALTED;
    }
    return validateSurfaced(expiry, underlying, clock);
}

/// @dev The part of `validateFresh` that depends on the series: whether a mark from an index, observed at a time, may
/// be relied upon.
function isFresh(uint256 markIndex, uint256 markedAt, Underlying memory underlying, uint256 clock)
    pure
    returns (bool)
{
    UnderlyingParams memory params = underlying.params;
    unchecked {
        if (clock > markedAt + params.maxMarkAge) return false;
    }
    return isWithinBand(underlying.index, markIndex, params.moveBand);
}

/// @dev Return the expiry of a series, and whether there is one: there is none for a perpetual without a
/// premium. OVERWEIGHT, UNKNOWN_MARKET.
function getExpiryOf(State memory state, Series memory series)
    pure
    returns (Expiry memory expiry, bool exists, Fault fault)
{
    exists = series.expiry != 0;
    if (exists) (expiry, fault) = getExpiry(state, series.expiry);
}
