// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    Multiproof,
    computeRootFromBranch,
    computeRootFromMultiproof,
    hashPair
} from "../../protocol/Tree.sol";

/// @title Opens Merkle trees to tests.
contract TreeHarness {
    function pair(bytes32 left, bytes32 right) external pure returns (bytes32) {
        return hashPair(left, right);
    }

    function branch(bytes32 leaf, uint256 index, bytes32[] calldata siblings)
        external
        pure
        returns (bytes32)
    {
        return computeRootFromBranch(leaf, index, siblings);
    }

    /// @param level Position, hash before and hash after of each leaf.
    /// @param siblings A count of two bytes, then the nodes.
    function multiproof(uint256[] memory level, bytes calldata siblings, uint256 depth)
        external
        pure
        returns (bytes32 before, bytes32 afterwards)
    {
        uint256 cursor;
        assembly ("memory-safe") {
            cursor := siblings.offset
        }
        return computeRootFromMultiproof(Multiproof(level, cursor, depth));
    }
}
