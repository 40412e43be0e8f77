// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Book, Chain} from "./Books.sol";
import {addLanes, computeLanes, computeWorst, getEntry} from "./Lanes.sol";
import {Grid} from "./Types.sol";

// What a book loses in each scenario of its grid.
//
// Nothing here overflows, so nothing here is checked: entries of sums are below 2^127, an expiry's value at the
// marks below 2^128, discounts below 2^64, weights at most 2^48.

/// @dev Return what a higher or a lower forward of one expiry alone takes, rounded down and not above 0: the
/// loss in the worse of the two basis scenarios, neither weighted nor discounted, times the expiry's basis factor.
function computeBasis(Chain memory chain, Grid memory grid) pure returns (int256) {
    int256 worst = getEntry(chain.lanes, grid.basisUp);
    int256 down = getEntry(chain.lanes, grid.basisDown);
    unchecked {
        if (down < worst) worst = down;
        return worst < 0 ? (worst * int256(chain.expiry.basisFactor)) >> 48 : int256(0);
    }
}

/// @dev Add up the sums of a book, which is done once. Return its profit and loss under every scenario, their
/// number made even by a 0, and its basis contingency, as a number not above 0.
///
/// A scenario's total is that of the perpetuals and, for each expiry, what its options add, rounded down: their
/// value after it, statically discounted, less their value at the marks, weighted. A skew counts as a loss either
/// way.
function computeScenarios(Book memory book) pure returns (int256[] memory totals, int256 basis) {
    if (book.perpetualLots != 0) addLanes(book.lanes);
    totals = computeLanes(book.lanes, book.perpetualLots != 0);
    Chain[] memory chains = book.chains;
    uint256 count = chains.length;
    if (count == 0) return (totals, basis);
    Grid memory grid = book.grid;
    for (uint256 i; i < count; ++i) {
        Chain memory chain = chains[i];
        addLanes(chain.lanes);
        _addTerms(totals, chain, grid.weights);
        _turnGains(totals, chain, grid);
        unchecked {
            basis += computeBasis(chain, grid);
        }
    }
}

/// @dev Add up the sums of a book, which is done once. Return the worst of its scenarios and of its basis
/// contingency, as a non-negative number.
function computeLoss(Book memory book) pure returns (int256 loss) {
    if (book.chains.length == 0) {
        addLanes(book.lanes);
        return computeWorst(book.lanes);
    }
    (int256[] memory totals, int256 worst) = computeScenarios(book);
    assembly ("memory-safe") {
        let place := add(totals, 0x20)
        for { let end := add(place, shl(5, mload(totals))) } lt(place, end) {} {
            let total := mload(place)
            if slt(total, worst) { worst := total }
            total := mload(add(place, 0x20))
            if slt(total, worst) { worst := total }
            place := add(place, 0x40)
        }
        loss := sub(0, worst)
    }
}

/// @dev Add what the options of an expiry add to each scenario. `weights` are those of the scenarios, their
/// number made even by a 0.
function _addTerms(int256[] memory totals, Chain memory chain, uint256[] memory weights) pure {
    assembly ("memory-safe") {
        // Leaving from within the loop keeps the compiler from merging this with what surrounds it: all it needs is
        // at hand then, and a step takes a third less.
        function _addAll(to, from, weight) {
            let end := add(weight, shl(5, mload(weight)))
            let value := mload(add(from, 0x80))
            let base := shl(48, value)
            let discounts := from
            from := add(from, 0x120)
            for {} 1 {} {
                if iszero(lt(weight, end)) { leave }
                // A word is low + 2^128 * high, both signed.
                let word := mload(from)
                let term := signextend(15, word)
                word := add(sar(128, sub(word, term)), value)
                term := add(term, value)
                // The short discount stands behind the long one: a sign bit moved to where 32 is selects it.
                term := mul(mload(add(discounts, and(shr(250, term), 0x20))), term)
                weight := add(weight, 0x20)
                to := add(to, 0x20)
                mstore(to, add(sar(96, mul(sub(term, base), mload(weight))), mload(to)))
                word := mul(mload(add(discounts, and(shr(250, word), 0x20))), word)
                weight := add(weight, 0x20)
                to := add(to, 0x20)
                mstore(to, add(sar(96, mul(sub(word, base), mload(weight))), mload(to)))
                from := add(from, 0x20)
            }
        }
        _addAll(totals, chain, weights)
    }
}

/// @dev Turn what `_addTerms` has added as a gain to a skew into a loss.
function _turnGains(int256[] memory totals, Chain memory chain, Grid memory grid) pure {
    uint256[] memory skews = grid.skews;
    uint256[] memory weights = grid.weights;
    uint256 count = skews.length;
    for (uint256 i; i < count;) {
        unchecked {
            ++i;
        }
        uint256 place;
        uint256 weight;
        assembly ("memory-safe") {
            place := mload(add(skews, shl(5, i)))
            weight := mload(add(weights, shl(5, add(place, 1))))
        }
        unchecked {
            int256 worth = getEntry(chain.lanes, place) + chain.value;
            uint256 discount = worth < 0 ? chain.shortDiscount : chain.longDiscount;
            int256 term = (worth * int256(discount) - (chain.value << 48)) * int256(weight) >> 96;
            // It has been added once.
            assembly ("memory-safe") {
                let total := add(totals, shl(5, add(place, 1)))
                mstore(total, sub(mload(total), mul(sgt(term, 0), shl(1, term))))
            }
        }
    }
}
