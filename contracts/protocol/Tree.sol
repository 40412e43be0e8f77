// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

// Fixed-depth binary Merkle trees in which every empty subtree hashes to zero.
//
// An inner node hashes 64 bytes, a leaf hashes the 32-byte hash of its encoding (`hashLeaf`): neither can
// pass as the other. A zero hash has no known preimage, so "empty" cannot be faked either.

/// @dev The siblings do not fit the leaves, or a leaf is not below the tree's root.
error Witness_BadSiblings();

/// @dev Return the parent of two nodes; zero when both are zero.
function hashPair(bytes32 left, bytes32 right) pure returns (bytes32 parent) {
    // Scratch space holds the two words.
    assembly ("memory-safe") {
        if or(left, right) {
            mstore(0x00, left)
            mstore(0x20, right)
            parent := keccak256(0x00, 0x40)
        }
    }
}

/// @dev Return the root above `leaf` at `index`; `branch` holds the siblings from the bottom up.
function computeRootFromBranch(bytes32 leaf, uint256 index, bytes32[] calldata branch)
    pure
    returns (bytes32 node)
{
    node = leaf;
    for (uint256 height; height < branch.length; ++height) {
        bytes32 sibling = branch[height];
        node = index & 1 == 1 ? hashPair(sibling, node) : hashPair(node, sibling);
        index >>= 1;
    }
}

/// @dev Leaves of one tree, before and after a change, and what leads from them to the root. It comes as a
/// struct because the compiler would make a copy of the code for each depth.
struct Multiproof {
    // Three words for each leaf, at least one leaf: its position, strictly ascending; its hash before; its
    // hash after. Overwritten on the way.
    uint256[] level;
    // Where in calldata the nodes are that the leaves do not determine: a count of two bytes, then level by
    // level from the bottom, each level from left to right.
    uint256 siblings;
    uint256 depth;
}

/// @dev Return the roots before and after. Reverts unless all siblings are used, and no more.
function computeRootFromMultiproof(Multiproof memory proof)
    pure
    returns (bytes32 before, bytes32 afterwards)
{
    uint256[] memory level = proof.level;
    uint256 siblings = proof.siblings;
    uint256 depth = proof.depth;
    bool isPlace;
    uint256 cursor;
    // Writes only inside `level` and scratch space: parents are never more than the nodes they replace,
    // and each is written behind where nodes are still to be read. Calldata past its end reads as zero.
    // A product with "not both are zero" stands for the zero rule.
    assembly ("memory-safe") {
        cursor := add(siblings, 2)
        let start := add(level, 0x20)
        let end := add(start, shl(5, mload(level)))
        // The last position is the highest: it must be a place of the tree.
        isPlace := iszero(shr(depth, mload(sub(end, 0x60))))
        // While there are several nodes: level by level.
        for {} and(iszero(eq(sub(end, start), 0x60)), gt(depth, 0)) { depth := sub(depth, 1) } {
            let to := start
            for { let from := start } lt(from, end) {} {
                let index := mload(from)
                let left := mload(add(from, 0x20))
                let leftAfter := mload(add(from, 0x40))
                let right
                let rightAfter
                from := add(from, 0x60)
                // Positions ascend, so that an odd one is never followed by itself.
                switch and(lt(from, end), eq(mload(from), or(index, 1)))
                case 1 {
                    right := mload(add(from, 0x20))
                    rightAfter := mload(add(from, 0x40))
                    from := add(from, 0x60)
                }
                default {
                    switch and(index, 1)
                    case 0 {
                        right := calldataload(cursor)
                        rightAfter := right
                    }
                    default {
                        right := left
                        rightAfter := leftAfter
                        left := calldataload(cursor)
                        leftAfter := left
                    }
                    cursor := add(cursor, 0x20)
                }
                mstore(0x00, left)
                mstore(0x20, right)
                let parent := mul(keccak256(0x00, 0x40), iszero(iszero(or(left, right))))
                mstore(to, shr(1, index))
                mstore(add(to, 0x20), parent)
                if or(xor(left, leftAfter), xor(right, rightAfter)) {
                    mstore(0x00, leftAfter)
                    mstore(0x20, rightAfter)
                    parent := mul(keccak256(0x00, 0x40), iszero(iszero(or(leftAfter, rightAfter))))
                }
                mstore(add(to, 0x40), parent)
                to := add(to, 0x60)
            }
            end := to
        }
    }
    (before, afterwards, cursor) = _climbBranch(level, cursor, depth);
    uint256 cursorEnd;
    assembly ("memory-safe") {
        cursorEnd := add(add(siblings, 2), shl(5, shr(240, calldataload(siblings))))
    }
    if (!isPlace || cursor != cursorEnd) revert Witness_BadSiblings();
}

/// @dev Return the roots above the one node that `level` starts with, `depth` levels below them, and where
/// in calldata the siblings end that lead there.
function _climbBranch(uint256[] memory level, uint256 siblings, uint256 depth)
    pure
    returns (bytes32 before, bytes32 afterwards, uint256 cursor)
{
    cursor = siblings;
    // As above, without a walk through memory.
    assembly ("memory-safe") {
        let index := mload(add(level, 0x20))
        before := mload(add(level, 0x40))
        afterwards := mload(add(level, 0x60))
        for {} depth { depth := sub(depth, 1) } {
            let sibling := calldataload(cursor)
            let place := shl(5, and(index, 1))
            let isChanged := xor(before, afterwards)
            cursor := add(cursor, 0x20)
            index := shr(1, index)
            mstore(xor(place, 0x20), sibling)
            mstore(place, before)
            before := mul(keccak256(0x00, 0x40), iszero(iszero(or(before, sibling))))
            switch isChanged
            case 0 { afterwards := before }
            default {
                mstore(place, afterwards)
                afterwards := mul(keccak256(0x00, 0x40), iszero(iszero(or(afterwards, sibling))))
            }
        }
    }
}
