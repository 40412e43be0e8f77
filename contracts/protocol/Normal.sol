// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ONE} from "./Constants.sol";
import {computeExpMantissa} from "./Fixed.sol";
import {INVERSE_ROOT_TWO_PI, getCdfRow} from "./Tables.sol";

// The normal distribution in fixed point.
//
// Arguments are Q48, probabilities and densities Q60. How the tail is evaluated, the sizes of all that comes
// up, and why N is monotone with N(x) + N(-x) = 1 exactly, stands in normal.py.

uint256 constant CERTAINTY = 1 << 60; // Probability 1.
uint256 constant DENSITY_END = 37 * ONE / 4; // From 9.25 on the density is 0: it is 0.12 units of Q60.

/// @dev Return the probability, in Q60, of a value up to x, any integer in Q48 but -2^255.
///
/// The error is below 1e-17.
function computeCdf(int256 x) pure returns (uint256 probability) {
    uint256 distance;
    assembly ("memory-safe") {
        let sign := sar(255, x)
        distance := sub(xor(x, sign), sign)
    }
    // Past the end of the table the row is 0, and so is the tail.
    (
        int256 c0,
        int256 c1,
        int256 c2,
        int256 c3,
        int256 c4,
        int256 c5,
        int256 c6,
        int256 c7,
        int256 c8
    ) = getCdfRow(distance >> 45);
    assembly ("memory-safe") {
        // To the right end of the interval.
        distance := sub(0x200000000000, and(distance, 0x1fffffffffff))
        let value := add(c7, sar(33, mul(c8, shr(12, distance))))
        value := add(c6, sar(45, mul(value, distance)))
        value := add(c5, sar(45, mul(value, distance)))
        value := add(c4, sar(45, mul(value, distance)))
        value := add(c3, sar(45, mul(value, distance)))
        value := add(c2, sar(45, mul(value, distance)))
        value := add(c1, sar(45, mul(value, distance)))
        value := add(c0, sar(47, mul(value, distance)))
        // The tail, or what it lacks to 1.
        probability := shr(3, add(value, 4))
        if sgt(x, not(0)) { probability := sub(CERTAINTY, probability) }
    }
}

/// @dev Return the density at x, any integer in Q48 but -2^255; in Q60, rounded down.
///
/// The error is below 4e-18.
function computeDensity(int256 x) pure returns (uint256) {
    unchecked {
        uint256 distance = uint256(x < 0 ? -x : x);
        if (distance >= DENSITY_END) return 0;
        // -x^2 / 2, from Q96 to Q60.
        (uint256 mantissa, int256 shift) = computeExpMantissa(-int256((distance * distance) >> 37));
        return (mantissa * INVERSE_ROOT_TWO_PI) >> uint256(60 - shift);
    }
}
