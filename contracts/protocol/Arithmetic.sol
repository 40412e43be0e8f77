// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {PPM} from "./Constants.sol";

// Division with the rounding in its name. Nothing here overflows: numerators stay far below 2^255, and
// every denominator is a positive constant.

/// @dev Return the quotient rounded towards minus infinity; `denominator` > 0.
function divDown(int256 numerator, int256 denominator) pure returns (int256 quotient) {
    unchecked {
        quotient = numerator / denominator;
        if (numerator % denominator < 0) --quotient;
    }
}

/// @dev Return the quotient rounded towards plus infinity; `denominator` > 0.
function divUp(int256 numerator, int256 denominator) pure returns (int256 quotient) {
    unchecked {
        quotient = numerator / denominator;
        if (numerator % denominator > 0) ++quotient;
    }
}

/// @dev Return the quotient rounded away from zero; `denominator` > 0.
///
/// For profit and loss per lot, whose sign depends on the side that holds it: the loss of either side comes
/// out no smaller than it is.
function divAway(int256 numerator, int256 denominator) pure returns (int256) {
    if (numerator < 0) return divDown(numerator, denominator);
    return divUp(numerator, denominator);
}

/// @dev Return whether |value - base| <= band parts per million of `base`. Prices are below 2^64,
/// bands below 2^32.
function isWithinBand(uint256 value, uint256 base, uint256 band) pure returns (bool) {
    unchecked {
        uint256 distance = value < base ? base - value : value - base;
        return distance * PPM <= band * base;
    }
}
