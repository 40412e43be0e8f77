// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Fault, isFault} from "./Fault.sol";

// Bit strings, most significant bit first: the base of the codec.
//
// The first fault sticks to the reader and stops it: what is read after a fault means nothing, and is
// never used, because whoever decodes asks for the fault before anything else.

/// @dev Powers of ten up to 10^15.
uint256 constant DECIMAL_EXPONENT_BITS = 4;
uint256 constant MAX_EXPONENT = 15;

/// @dev Reads fields of up to 248 bits from a byte string in memory. Positions count bits from the start
/// of memory, so that a position is all it takes to read.
struct BitReader {
    uint256 position;
    uint256 end;
    Fault fault;
}

/// @dev Start reading `data`, which must not change while it is read.
function readerOf(bytes memory data) pure returns (BitReader memory reader) {
    uint256 start;
    assembly ("memory-safe") {
        start := shl(3, add(data, 0x20))
    }
    reader.position = start;
    reader.end = start + data.length * 8;
}

/// @dev Bits not read yet.
function remaining(BitReader memory reader) pure returns (uint256) {
    return reader.end - reader.position;
}

/// @dev Note a broken rule, unless one is noted already.
function fail(BitReader memory reader, Fault fault) pure {
    if (!isFault(reader.fault)) reader.fault = fault;
}

/// @dev Read `width` bits as an unsigned integer. TRUNCATED when fewer bits are left.
function decodeBits(BitReader memory reader, uint256 width) pure returns (uint256 value) {
    // No overflow: both are small. The word read starts inside the data and may end past it, but the
    // shift drops all but `width` bits; with at most 7 + 248 bits the field lies within one word.
    unchecked {
        uint256 position = reader.position;
        uint256 next = position + width;
        if (next > reader.end) {
            fail(reader, Fault.TRUNCATED);
            return 0;
        }
        reader.position = next;
        assembly ("memory-safe") {
            value := shr(sub(256, width), shl(and(position, 7), mload(shr(3, position))))
        }
    }
}

/// @dev Read a number below 2^width, 4 <= width < 128: its bit length, then its bits without the leading
/// one.
///
/// The length field is as wide as `width` needs. Zero has length zero. One form per value. TRUNCATED;
/// NON_CANONICAL when the length exceeds `width`.
function decodeNumber(BitReader memory reader, uint256 width) pure returns (uint256) {
    unchecked {
        uint256 lengthBits = 3;
        if (width > 7) ++lengthBits;
        if (width > 15) ++lengthBits;
        if (width > 31) ++lengthBits;
        if (width > 63) ++lengthBits;
        uint256 length = decodeBits(reader, lengthBits);
        if (length > width) {
            fail(reader, Fault.NON_CANONICAL);
            return 0;
        }
        if (length == 0) return 0;
        return (1 << (length - 1)) | decodeBits(reader, length - 1);
    }
}

/// @dev Read mantissa * 10^exponent below 2^width, width < 128; the mantissa carries no factor ten it could
/// shed.
///
/// TRUNCATED; NON_CANONICAL for a reducible mantissa or zero with an exponent; OUT_OF_RANGE when the
/// product needs more than `width` bits.
function decodeDecimal(BitReader memory reader, uint256 width) pure returns (uint256 value) {
    uint256 exponent = decodeBits(reader, DECIMAL_EXPONENT_BITS);
    uint256 mantissa = decodeNumber(reader, width);
    if (mantissa == 0) {
        if (exponent != 0) fail(reader, Fault.NON_CANONICAL);
        return 0;
    }
    if (mantissa % 10 == 0 && exponent < MAX_EXPONENT) {
        fail(reader, Fault.NON_CANONICAL);
        return 0;
    }
    // Below 2^128 * 10^15.
    unchecked {
        value = mantissa * 10 ** exponent;
    }
    if (value >> width != 0) {
        fail(reader, Fault.OUT_OF_RANGE);
        return 0;
    }
}
