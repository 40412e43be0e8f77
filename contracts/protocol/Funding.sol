// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divDown} from "./Arithmetic.sol";
import {FUNDING_PERIOD, PPM} from "./Constants.sol";
import {copySeries} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {INT128_BOUND, State, chargeModule, getSeries, getUnderlying, setMarket} from "./State.sol";
import {
    Fund,
    Series,
    SeriesKind,
    SeriesStatus,
    Underlying,
    UnderlyingParams,
    hasStatus,
    isKind
} from "./Types.sol";

// Funding: the premium of a perpetual's mark over the index, paid from one side to the other.
//
// Every lot pays the premium once in FUNDING_PERIOD: what longs pay, shorts receive. It accrues into the series'
// two carry indexes, so one step does it for the whole market, and any number of steps accrues what one would, to
// the unit.

/// @dev Return the carry index of a position's side.
function computeCarry(Series memory series, int256 size) pure returns (int256 carry) {
    // The longs' is a series' ninth word, the shorts' follows.
    assembly ("memory-safe") {
        carry := mload(add(series, add(0x100, shl(5, slt(size, 1)))))
    }
}

/// @dev Return what longs pay a lot and FUNDING_PERIOD: mark over index, capped either way. Prices have 64 bits,
/// caps 32.
function computePremium(Series memory series, UnderlyingParams memory params)
    pure
    returns (int256 premium)
{
    unchecked {
        int256 cap = int256(series.markIndex * params.fundingCap / PPM);
        premium = int256(series.mark) - int256(series.markIndex);
        if (premium > cap) return cap;
        if (premium < -cap) return -cap;
    }
}

/// @dev Return the series with its funding accrued up to `clock`; itself when nothing changes. OUT_OF_RANGE when a
/// carry index leaves its range.
function computeAccrued(Series memory series, UnderlyingParams memory params, uint256 clock)
    pure
    returns (Series memory accrued, Fault)
{
    if (
        !isKind(series, SeriesKind.PERPETUAL) || hasStatus(series, SeriesStatus.SETTLED)
            || clock <= series.accruedAt
    ) return (series, Fault.NONE);
    accrued = copySeries(series);
    accrued.accruedAt = clock;
    // A series that was never accrued was never marked either: there is no premium yet.
    if (series.accruedAt == 0) return (accrued, Fault.NONE);
    // The premium has 64 bits, times 40, carry indexes 128.
    unchecked {
        int256 total = int256(series.fundingRemainder) + computePremium(series, params)
            * int256(clock - series.accruedAt);
        int256 step = divDown(total, int256(FUNDING_PERIOD));
        int256 carryLong = series.carryLong + step;
        int256 carryShort = series.carryShort + step;
        if (
            carryLong < -INT128_BOUND || carryLong >= INT128_BOUND || carryShort < -INT128_BOUND
                || carryShort >= INT128_BOUND
        ) return (series, Fault.OUT_OF_RANGE);
        accrued.carryLong = carryLong;
        accrued.carryShort = carryShort;
        accrued.fundingRemainder = uint256(total - step * int256(FUNDING_PERIOD));
    }
    return (accrued, Fault.NONE);
}

/// @dev Accrue a perpetual's funding up to the clock. OVERWEIGHT, UNKNOWN_MARKET; INACTIVE for an option;
/// OUT_OF_RANGE.
function processFund(State memory state, Fund memory fund) pure returns (Fault fault) {
    fault = chargeModule(state, 0);
    if (isFault(fault)) return fault;
    (Series memory series, Fault noSeries) = getSeries(state, fund.market);
    if (isFault(noSeries)) return noSeries;
    (Underlying memory underlying, Fault noUnderlying) = getUnderlying(state, series.underlying);
    if (isFault(noUnderlying)) return noUnderlying;
    if (!isKind(series, SeriesKind.PERPETUAL)) return Fault.INACTIVE;
    Series memory accrued;
    (accrued, fault) = computeAccrued(series, underlying.params, state.globals.clock);
    if (isFault(fault)) return fault;
    setMarket(state, fund.market, accrued);
}
