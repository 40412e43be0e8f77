// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ONE} from "./Constants.sol";
import {
    EXP_0,
    EXP_1,
    EXP_10,
    EXP_11,
    EXP_2,
    EXP_3,
    EXP_4,
    EXP_5,
    EXP_6,
    EXP_7,
    EXP_8,
    EXP_9,
    INVERSE_LN_TWO,
    LN_0,
    LN_1,
    LN_2,
    LN_3,
    LN_4,
    LN_CENTRE_WORD,
    LN_TWO_56,
    LN_TWO_60
} from "./Tables.sol";

// Logarithm, exponential and roots in binary fixed point.
//
// Values are Q48: integers that stand for value / 2^48. Every function is a fixed sequence of integer
// operations, so that any language comes to the same bits. No function reverts inside its domain, and none
// can overflow 256 bits.

uint256 constant MAX_VALUE = (1 << 63) - 1; // Largest value that comes out; results saturate here.
int256 constant MIN_EXPONENT = -34 << 48; // Least exponent worth computing: e^-34 is 0.48 units.
// From here on, 15 * ln(2) or 10.397, e^x is 2^15 or more.
int256 constant MAX_EXPONENT = ((15 * LN_TWO_56) >> 8) + 1;

/// @dev Return the product of two Q48 values, rounded towards minus infinity.
function multiplyDown(int256 left, int256 right) pure returns (int256) {
    unchecked {
        return (left * right) >> 48;
    }
}

/// @dev Return ln(numerator / denominator) in Q56; both from 1 to 2^64 - 1.
///
/// The error is below 2^-50, and 0 where they are equal.
function computeFineLogRatio(uint256 numerator, uint256 denominator) pure returns (int256) {
    uint256 length;
    uint256 mantissa;
    uint256 quarters;
    int256 root;
    assembly ("memory-safe") {
        // numerator / denominator = m * 2^e, where m is cut to 53 bits, Q52, and at least 1.
        let quotient := div(shl(128, numerator), denominator)
        length := shl(7, gt(quotient, 0xffffffffffffffffffffffffffffffff))
        length := or(length, shl(6, gt(shr(length, quotient), 0xffffffffffffffff)))
        length := or(length, shl(5, gt(shr(length, quotient), 0xffffffff)))
        length := or(length, shl(4, gt(shr(length, quotient), 0xffff)))
        length := or(length, shl(3, gt(shr(length, quotient), 0xff)))
        length := or(length, shl(2, gt(shr(length, quotient), 0xf)))
        // The length less 1: that of the last four bits by a table of sixteen.
        length := add(
            length,
            byte(
                shr(length, quotient),
                0x0000010102020202030303030303030300000000000000000000000000000000
            )
        )
        mantissa := shr(sub(length, 52), quotient)
        // ln(m) = ln(c) + 2 * atanh(z) of the nearest quarter c, where z = (m - c) / (m + c). That is
        // |z| <= 1 / 17. It is in Q54, below 2^50, and its square in Q54, below 2^46.
        quarters := shr(50, add(mantissa, 0x2000000000000))
        let centre := shl(50, quarters)
        root := sdiv(shl(54, sub(mantissa, centre)), add(mantissa, centre))
    }
    unchecked {
        uint256 square = uint256(root * root) >> 54;
        // A coefficient and what is added to it have 8 fractional bits less for each power of the
        // square, and the square is cut to what the product can use.
        uint256 value = LN_3 + ((LN_4 * (square >> 2)) >> 44);
        value = LN_2 + ((value * (square >> 11)) >> 35);
        value = LN_1 + ((value * square) >> 46);
        value = LN_0 + ((value * square) >> 46);
        // Twice Q54 * Q54 in Q56, rounded towards 0.
        int256 fraction = root * int256(value);
        assembly ("memory-safe") {
            fraction := sdiv(fraction, 0x8000000000000)
        }
        // Shifted by more than its length for c = 1, the word of logarithms leaves 0.
        uint256 centreLn = (LN_CENTRE_WORD << ((quarters - 5) << 6)) >> 192;
        return (int256(length) - 128) * LN_TWO_56 + int256(centreLn) + fraction;
    }
}

/// @dev Return ln(numerator / denominator) in Q48, rounded to nearest; both from 1 to 2^64 - 1.
///
/// The error is below 0.75 units.
function computeLogRatio(uint256 numerator, uint256 denominator) pure returns (int256) {
    unchecked {
        return (computeFineLogRatio(numerator, denominator) + 128) >> 8;
    }
}

/// @dev Return the natural logarithm in Q48 of an integer from 1 to 2^64 - 1, not itself in Q48.
function computeLn(uint256 value) pure returns (int256) {
    return computeLogRatio(value, 1);
}

/// @dev Return m in Q60 and n such that m * 2^n is e to an exponent in Q60.
///
/// The mantissa is between 0.70 and 1.42, its relative error below 2^-57. Exponents from -2^67 to 2^67, 128
/// either way.
function computeExpMantissa(int256 exponent) pure returns (uint256 mantissa, int256 shift) {
    unchecked {
        // exponent = n * ln(2) + rest, and n needs no more than the exponent's first 24 fractional bits.
        shift = ((exponent >> 36) * INVERSE_LN_TWO + (1 << 47)) >> 48;
        // |rest| < 0.3466 * 2^60.
        int256 rest = exponent - shift * LN_TWO_60;
        int256 value = EXP_10 + ((EXP_11 * rest) >> 60);
        value = EXP_9 + ((value * rest) >> 60);
        value = EXP_8 + ((value * rest) >> 60);
        value = EXP_7 + ((value * rest) >> 60);
        value = EXP_6 + ((value * rest) >> 60);
        value = EXP_5 + ((value * rest) >> 60);
        value = EXP_4 + ((value * rest) >> 60);
        value = EXP_3 + ((value * rest) >> 60);
        value = EXP_2 + ((value * rest) >> 60);
        value = EXP_1 + ((value * rest) >> 60);
        value = EXP_0 + ((value * rest) >> 60);
        mantissa = uint256(value);
    }
}

/// @dev Return e to an exponent in Q48, any integer; itself in Q48, rounded to nearest.
///
/// 0 below -34, where it is less than half a unit; at most `MAX_VALUE`. The relative error is below 2^-48,
/// that of the exponent's own unit being as large.
function computeExp(int256 exponent) pure returns (uint256 result) {
    if (exponent < MIN_EXPONENT) return 0;
    if (exponent >= MAX_EXPONENT) return MAX_VALUE;
    unchecked {
        (uint256 mantissa, int256 shift) = computeExpMantissa(exponent << 12);
        // Q60 to Q48, with a bit to spare because n may be as large as 15.
        result = (((mantissa << 4) >> uint256(15 - shift)) + 1) >> 1;
        if (result > MAX_VALUE) result = MAX_VALUE;
    }
}

/// @dev Return the square root of an integer from 0 to 2^256 - 1, rounded down.
function computeSqrt(uint256 value) pure returns (uint256 root) {
    assembly ("memory-safe") {
        // A power of two within a factor of 2^0.5 of the root.
        let length := shl(7, gt(value, 0xffffffffffffffffffffffffffffffff))
        length := or(length, shl(6, gt(shr(length, value), 0xffffffffffffffff)))
        length := or(length, shl(5, gt(shr(length, value), 0xffffffff)))
        length := or(length, shl(4, gt(shr(length, value), 0xffff)))
        length := or(length, shl(3, gt(shr(length, value), 0xff)))
        length := or(length, shl(2, gt(shr(length, value), 0xf)))
        length := or(length, shl(1, gt(shr(length, value), 3)))
        length := or(length, gt(shr(length, value), 1))
        root := shl(shr(1, add(length, 1)), 1)
        // Newton's steps square the relative error and halve it: from 0.42 to below 2^-128 in six. After the
        // first one the value is never below the root's floor.
        root := shr(1, add(root, div(value, root)))
        root := shr(1, add(root, div(value, root)))
        root := shr(1, add(root, div(value, root)))
        root := shr(1, add(root, div(value, root)))
        root := shr(1, add(root, div(value, root)))
        root := shr(1, add(root, div(value, root)))
        // It may have come to rest one above.
        root := sub(root, lt(div(value, root), root))
    }
}

/// @dev Return base to an exponent, all in Q48: base from 1 to 2^64 - 1, exponent within 2^127.
///
/// That is e to ln(base) * exponent, saturating as `computeExp` does. The relative error is below 2^-48
/// times the exponent, plus 2^-47.
function computePower(uint256 base, int256 exponent) pure returns (uint256) {
    return computeExp(multiplyDown(computeLogRatio(base, ONE), exponent));
}
