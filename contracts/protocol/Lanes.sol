// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

// Sums of risk vectors, packed two entries to a word: entry 2i + 2^128 * entry 2i+1, both signed, modulo 2^256.
// Multiplying by a size and adding words works on both at once. Products and sums wrap, word by word; a final
// entry fits its half as long as all sizes added up are below 2^64.

// In front of a sum stand the pairs that it is of: the latest pair, and how many there are. A pair is where a series
// is in memory, a signed size, and the pair before it.

/// @dev Add sizes times risk vectors to the sum at `total`, for all of its pairs.
///
/// Four series at a time while they have equally many entries: then a sum is loaded and stored once for four.
function addLanes(uint256[] memory total) pure {
    assembly ("memory-safe") {
        // Leaving from within a loop keeps the compiler from merging these two with what surrounds them: all they
        // need is at hand then, and a step takes a third less.
        function _addOne(sum, pair) {
            // Lanes are a series' fifteenth word.
            let lanes := mload(add(mload(pair), 0x1c0))
            let size := mload(add(pair, 0x20))
            let end := add(sum, shl(5, mload(lanes)))
            for {} 1 {} {
                if iszero(lt(sum, end)) { leave }
                sum := add(sum, 0x20)
                lanes := add(lanes, 0x20)
                mstore(sum, add(mload(sum), mul(mload(lanes), size)))
                if iszero(lt(sum, end)) { leave }
                sum := add(sum, 0x20)
                lanes := add(lanes, 0x20)
                mstore(sum, add(mload(sum), mul(mload(lanes), size)))
            }
        }
        // Returns the pair before the four, or the latest of them when nothing was added.
        function _addFour(sum, pair) -> rest {
            rest := pair
            let first := mload(add(mload(rest), 0x1c0))
            let firstSize := mload(add(rest, 0x20))
            rest := mload(add(rest, 0x40))
            let second := mload(add(mload(rest), 0x1c0))
            let secondSize := mload(add(rest, 0x20))
            rest := mload(add(rest, 0x40))
            let third := mload(add(mload(rest), 0x1c0))
            let thirdSize := mload(add(rest, 0x20))
            rest := mload(add(rest, 0x40))
            let fourth := mload(add(mload(rest), 0x1c0))
            let fourthSize := mload(add(rest, 0x20))
            rest := mload(add(rest, 0x40))
            let end := mload(first)
            let others := or(xor(end, mload(second)), xor(end, mload(third)))
            if or(others, xor(end, mload(fourth))) {
                rest := pair
                leave
            }
            end := add(sum, shl(5, end))
            for {} 1 {} {
                if iszero(lt(sum, end)) { leave }
                sum := add(sum, 0x20)
                first := add(first, 0x20)
                second := add(second, 0x20)
                third := add(third, 0x20)
                fourth := add(fourth, 0x20)
                let entries := mul(mload(fourth), fourthSize)
                entries := add(mul(mload(third), thirdSize), entries)
                entries := add(mul(mload(second), secondSize), entries)
                entries := add(mul(mload(first), firstSize), entries)
                mstore(sum, add(mload(sum), entries))
            }
        }
        let pair := mload(sub(total, 0x40))
        for { let count := mload(sub(total, 0x20)) } count {} {
            if gt(count, 3) {
                let rest := _addFour(total, pair)
                if xor(rest, pair) {
                    pair := rest
                    count := sub(count, 4)
                    continue
                }
            }
            _addOne(total, pair)
            pair := mload(add(pair, 0x40))
            count := sub(count, 1)
        }
    }
}

/// @dev Return one entry of a sum, which must have it.
function getEntry(uint256[] memory lanes, uint256 place) pure returns (int256 entry) {
    assembly ("memory-safe") {
        let word := mload(add(lanes, add(shl(5, shr(1, place)), 0x20)))
        entry := signextend(15, word)
        if and(place, 1) { entry := sar(128, sub(word, entry)) }
    }
}

/// @dev Return the entries of a sum, one to a word. All are 0 if nothing has been added yet.
function computeLanes(uint256[] memory lanes, bool isAdded) pure returns (int256[] memory entries) {
    assembly ("memory-safe") {
        entries := mload(0x40)
        let count := shl(1, mload(lanes))
        mstore(entries, count)
        let to := entries
        let end := add(entries, shl(5, count))
        mstore(0x40, add(end, 0x20))
        if iszero(isAdded) {
            // What is behind calldata counts as zero.
            calldatacopy(add(entries, 0x20), calldatasize(), shl(5, count))
            to := end
        }
        for {} lt(to, end) {} {
            lanes := add(lanes, 0x20)
            let word := mload(lanes)
            let low := signextend(15, word)
            to := add(to, 0x40)
            mstore(sub(to, 0x20), low)
            mstore(to, sar(128, sub(word, low)))
        }
    }
}

/// @dev Return the largest loss among the entries of a sum, as a non-negative number.
function computeWorst(uint256[] memory lanes) pure returns (int256 worst) {
    assembly ("memory-safe") {
        for { let end := add(lanes, shl(5, mload(lanes))) } lt(lanes, end) {} {
            lanes := add(lanes, 0x20)
            let word := mload(lanes)
            let low := signextend(15, word)
            word := sar(128, sub(word, low))
            if slt(low, worst) { worst := low }
            if slt(word, worst) { worst := word }
        }
        worst := sub(0, worst)
    }
}
