// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Account, Expiry, Series, Underlying} from "./Types.sol";

// Memory. Copies do what `dataclasses.replace` does in Python: they can be changed while the leaf stays as it
// is. Members that are not plain words are shared with the original; give them a new value, never write inside
// them.

/// @dev Return where free memory begins.
function getFreeMemory() pure returns (uint256 free) {
    assembly ("memory-safe") {
        free := mload(0x40)
    }
}

/// @dev Give back all memory from `free` on, which nothing points into any more.
function setFreeMemory(uint256 free) pure {
    assembly ("memory-safe") {
        mstore(0x40, free)
    }
}

/// @dev Return a copy of an account.
function copyAccount(Account memory account) pure returns (Account memory copy) {
    // Eight words.
    assembly ("memory-safe") {
        mcopy(copy, account, 0x100)
    }
}

/// @dev Return a copy of a series.
function copySeries(Series memory series) pure returns (Series memory copy) {
    // Fifteen words.
    assembly ("memory-safe") {
        mcopy(copy, series, 0x1e0)
    }
}

/// @dev Return a copy of an underlying.
function copyUnderlying(Underlying memory underlying) pure returns (Underlying memory copy) {
    // Eleven words; what the compiler has put behind them is not needed.
    assembly ("memory-safe") {
        mstore(0x40, add(copy, 0x160))
        mcopy(copy, underlying, 0x160)
    }
}

/// @dev Return a copy of an expiry.
function copyExpiry(Expiry memory expiry) pure returns (Expiry memory copy) {
    // Fifteen words.
    assembly ("memory-safe") {
        mcopy(copy, expiry, 0x1e0)
    }
}

/// @dev Return `length` bytes from `offset` on; the caller has checked that they are there.
function copySlice(bytes memory data, uint256 offset, uint256 length)
    pure
    returns (bytes memory slice)
{
    assembly ("memory-safe") {
        slice := mload(0x40)
        mstore(slice, length)
        mstore(0x40, add(slice, and(add(length, 0x3f), not(0x1f))))
        mcopy(add(slice, 0x20), add(add(data, 0x20), offset), length)
    }
}
