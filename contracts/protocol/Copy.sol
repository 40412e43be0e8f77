// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Account, Series} from "./Types.sol";

// What `dataclasses.replace` does in Python: a copy to change, while the leaf stays as it is. Members that
// are not plain words are shared with the original; give them a new value, never write inside them.

/// @dev Return a copy of an account.
function copyAccount(Account memory account) pure returns (Account memory copy) {
    // Eight words.
    assembly ("memory-safe") {
        mcopy(copy, account, 0x100)
    }
}

/// @dev Return a copy of a series.
function copySeries(Series memory series) pure returns (Series memory copy) {
    // Twelve words.
    assembly ("memory-safe") {
        mcopy(copy, series, 0x180)
    }
}
