// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {computeEquityOf} from "./Books.sol";
import {INSURANCE_ACCOUNT, WEIGHT_REALISE_GAS, WEIGHT_REALISE_POSITION_GAS} from "./Constants.sol";
import {copyAccount, copySeries} from "./Copy.sol";
import {Fault, isFault} from "./Fault.sol";
import {
    State,
    UINT128_BOUND,
    charge,
    chargeModule,
    getAccount,
    getSeries,
    setAccount,
    setMarket,
    validateAccount
} from "./State.sol";
import {Account, Globals, Position, Series, SeriesStatus, Sweep, hasStatus} from "./Types.sol";

// Settled positions turn into cash when their account is next touched, or when anyone sweeps it.
//
// Also the insurance fund: its cash stands in the globals, and its account holds positions only.
//
// Bounds: sizes are within 2^63, marks below 2^64, carry within 2^127, and there are 64 positions at most.

/// @dev Change the cash of the insurance fund. INSURANCE when the fund cannot pay; OUT_OF_RANGE.
/// @param gained What the fund has earned, or paid for good when negative.
/// @param swapped What it has received for positions, or paid for them when negative. The peak moves along: the
/// fund is no poorer and no richer for it, and nobody can make it look so.
function addInsurance(State memory state, int256 gained, int256 swapped) pure returns (Fault) {
    Globals memory globals = state.globals;
    unchecked {
        int256 insurance = globals.insurance + gained + swapped;
        if (insurance < 0) return Fault.INSURANCE;
        int256 peak = globals.insurancePeak + swapped;
        if (peak < insurance) peak = insurance;
        if (peak >= int256(UINT128_BOUND)) return Fault.OUT_OF_RANGE;
        globals.insurance = insurance;
        globals.insurancePeak = peak;
    }
    return Fault.NONE;
}

/// @dev Return an account whose settled positions are cash; itself when none is settled. The caller stores it.
/// OVERWEIGHT; UNKNOWN_MARKET when a series held is gone; OUT_OF_RANGE.
///
/// The insurance fund's cash is changed at once. When the fund cannot pay for a loss of its own it keeps what
/// has settled, until somebody adds to it.
function processRealise(State memory state, uint256 accountId, Account memory account)
    pure
    returns (Account memory realised, Fault fault)
{
    // The place that the compiler has made for `realised` is not needed.
    assembly ("memory-safe") {
        mstore(0x40, realised)
    }
    realised = account;
    Position[] memory positions = account.positions;
    uint256 count = positions.length;
    unchecked {
        fault = charge(state, count * WEIGHT_REALISE_POSITION_GAS, 0);
        if (isFault(fault)) return (realised, fault);
        int256 cash;
        uint256 keptCount;
        Position[] memory kept;
        for (uint256 i; i < count; ++i) {
            Position memory position = positions[i];
            (Series memory series, Fault unknown) = getSeries(state, position.series);
            if (isFault(unknown)) return (realised, unknown);
            if (hasStatus(series, SeriesStatus.SETTLED)) {
                // Most accounts hold nothing that has settled.
                if (keptCount == i) kept = _copyPositions(positions);
                cash += computeEquityOf(position.size, position.snapshot, series);
            } else {
                if (keptCount != i) kept[keptCount] = position;
                ++keptCount;
            }
        }
        if (keptCount == count) return (realised, Fault.NONE);
        fault = charge(state, (count - keptCount) * WEIGHT_REALISE_GAS, 0);
        if (isFault(fault)) return (realised, fault);
        if (accountId == INSURANCE_ACCOUNT) {
            if (state.globals.insurance + cash < 0) return (realised, Fault.NONE);
            fault = addInsurance(state, 0, cash);
            if (isFault(fault)) return (realised, fault);
            cash = 0;
        }
        for (uint256 i; i < count; ++i) {
            Position memory position = positions[i];
            (Series memory series,) = getSeries(state, position.series);
            if (hasStatus(series, SeriesStatus.SETTLED)) {
                int256 size = position.size;
                // Counts the lots of either side since the series has settled.
                uint256 lots = uint256(size < 0 ? -size : size);
                series = copySeries(series);
                series.openInterest = series.openInterest > lots ? series.openInterest - lots : 0;
                setMarket(state, position.series, series);
            }
        }
        assembly ("memory-safe") {
            mstore(kept, keptCount)
        }
        realised = copyAccount(account);
        realised.cash += cash;
        realised.positions = kept;
        fault = validateAccount(realised);
    }
}

/// @dev Turn an account's settled positions into cash. UNKNOWN_ACCOUNT; NOT_DUE when there are none; what
/// `processRealise` returns.
function processSweep(State memory state, Sweep memory sweep) pure returns (Fault fault) {
    fault = chargeModule(state, 0);
    if (isFault(fault)) return fault;
    (Account memory account, Fault unknown) = getAccount(state, sweep.account);
    if (isFault(unknown)) return unknown;
    Account memory realised;
    (realised, fault) = processRealise(state, sweep.account, account);
    if (isFault(fault)) return fault;
    if (_isSame(realised, account)) return Fault.NOT_DUE;
    setAccount(state, sweep.account, realised);
}

/// @dev Return a copy of an array of positions, which share them.
function _copyPositions(Position[] memory positions) pure returns (Position[] memory copy) {
    assembly ("memory-safe") {
        let size := shl(5, add(mload(positions), 1))
        copy := mload(0x40)
        mcopy(copy, positions, size)
        mstore(0x40, add(copy, size))
    }
}

/// @dev Whether two accounts are one in memory.
function _isSame(Account memory one, Account memory other) pure returns (bool same) {
    assembly ("memory-safe") {
        same := eq(one, other)
    }
}
