// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {hashLeaf} from "../../contracts/protocol/Leaf.sol";
import {
    Multiproof,
    computeRootFromBranch,
    computeRootFromMultiproof,
    hashPair
} from "../../contracts/protocol/Tree.sol";
import {VM} from "./Prover.sol";

/// @dev Calls the tree's code as the witness reader does: siblings in calldata, with their count before them.
contract TreeHarness {
    function computeRoots(uint256[] memory level, uint256 depth, bytes calldata siblings)
        public
        pure
        returns (bytes32, bytes32)
    {
        uint256 cursor;
        assembly {
            cursor := siblings.offset
        }
        return computeRootFromMultiproof(Multiproof(level, cursor, depth));
    }

    function climb(bytes32 leaf, uint256 index, bytes32[] calldata branch)
        external
        pure
        returns (bytes32)
    {
        return computeRootFromBranch(leaf, index, branch);
    }
}

/// @dev Multiproofs. Domain: depths 1 to 3, all indexes, all hashes; the hash has no collisions and is never 0.
contract TreeTheorems is TreeHarness {
    struct Single {
        uint8 index;
        bytes32 leaf;
        bytes32[3] branch;
    }

    /// One leaf, depth 3: two proofs for one place and one root hold one leaf, whatever their siblings.
    function check_single_binding(
        uint8 index,
        bytes32 a,
        bytes32 b,
        bytes32[3] memory sa,
        bytes32[3] memory sb
    ) external view {
        VM.assume(a != b);
        index = uint8(_split(index, 8));
        assert(_single(index, a, sa, 3) != _single(index, b, sb, 3));
    }

    /// Two leaves at any two places, depth 2, against one leaf at the first: the same leaf.
    function check_pair_binding(
        uint8 first,
        uint8 second,
        bytes32 a,
        bytes32 b,
        bytes32 other,
        bytes32[2] memory sa,
        bytes32[3] memory sb
    ) external view {
        (first, second) = (uint8(_split(first, 4)), uint8(_split(second, 4)));
        VM.assume(first < second);
        bytes32 root = _pair(first, second, [a, a], [b, b], sa, 2);
        VM.assume(root == _single(first, other, sb, 2));
        assert(a == other);
    }

    /// The same of the second place.
    function check_pair_binding_second(
        uint8 first,
        uint8 second,
        bytes32 a,
        bytes32 b,
        bytes32 other,
        bytes32[2] memory sa,
        bytes32[3] memory sb
    ) external view {
        (first, second) = (uint8(_split(first, 4)), uint8(_split(second, 4)));
        VM.assume(first < second);
        bytes32 root = _pair(first, second, [a, a], [b, b], sa, 2);
        VM.assume(root == _single(second, other, sb, 2));
        assert(b == other);
    }

    /// A leaf proven at one place cannot be proven at another with the same siblings, unless tree and leaf look
    /// alike from both: with another index the root is another, or the two places hold the same leaf.
    function check_index_binding(
        uint8 i,
        uint8 j,
        bytes32 leaf,
        bytes32 stranger,
        bytes32[3] memory sa,
        bytes32[3] memory sb
    ) external view {
        (i, j) = (uint8(_split(i, 4)), uint8(_split(j, 4)));
        VM.assume(i != j && leaf != stranger);
        // The tree that has `leaf` at `i` and `stranger` at `j`.
        bytes32 root = i < j
            ? _pair(i, j, [leaf, leaf], [stranger, stranger], [sa[0], sa[1]], 2)
            : _pair(j, i, [stranger, stranger], [leaf, leaf], [sa[0], sa[1]], 2);
        assert(_single(j, leaf, sb, 2) != root);
    }

    /// A change at one place leaves every other place as it was, depth 2.
    function check_frame(
        uint8 i,
        uint8 j,
        bytes32 before,
        bytes32 afterwards,
        bytes32 other,
        bytes32 shown,
        bytes32[2] memory siblings,
        bytes32[3] memory branch
    ) external view {
        (i, j) = (uint8(_split(i, 4)), uint8(_split(j, 4)));
        VM.assume(i < j);
        (bytes32 rootBefore, bytes32 rootAfter) =
            _pairRoots(i, j, [before, afterwards], [other, other], siblings, 2);
        VM.assume(
            _single(j, shown, branch, 2) == rootAfter || _single(j, shown, branch, 2) == rootBefore
        );
        assert(shown == other);
    }

    /// A place outside of the tree is refused.
    function check_place(uint256 index, bytes32 leaf, bytes32[3] memory branch) external view {
        uint256 low = _split(index & 7, 8);
        VM.assume(index >> 3 != 0);
        (bool accepted,) = _trySingle(index & ~uint256(7) | low, leaf, branch, 3);
        assert(!accepted);
    }

    /// A leaf's hash is no inner node's.
    function check_leaf_is_no_node(bytes32 left, bytes32 right, bytes memory encoding)
        external
        pure
    {
        assert(hashLeaf(encoding) != hashPair(left, right));
    }

    /// Planted: two proofs with one root hold one leaf, whatever their places.
    function check_refuted_place(
        uint8 i,
        uint8 j,
        bytes32 a,
        bytes32 b,
        bytes32[3] memory sa,
        bytes32[3] memory sb
    ) external view {
        (i, j) = (uint8(_split(i, 4)), uint8(_split(j, 4)));
        VM.assume(a != b);
        assert(_single(i, a, sa, 2) != _single(j, b, sb, 2));
    }

    /// @dev One case for each value below `bound`; nothing else.
    function _split(uint256 value, uint256 bound) private pure returns (uint256 fixedValue) {
        for (; fixedValue < bound; ++fixedValue) {
            if (value == fixedValue) return fixedValue;
        }
        VM.assume(false);
    }

    function _trySingle(uint256 index, bytes32 leaf, bytes32[3] memory branch, uint256 depth)
        private
        view
        returns (bool accepted, bytes32 root)
    {
        uint256[] memory level = new uint256[](3);
        (level[0], level[1], level[2]) = (index, uint256(leaf), uint256(leaf));
        bytes memory siblings = abi.encodePacked(uint16(depth), branch[0], branch[1], branch[2]);
        bytes memory data;
        (accepted, data) =
            address(this).staticcall(abi.encodeCall(this.computeRoots, (level, depth, siblings)));
        if (accepted) (root,) = abi.decode(data, (bytes32, bytes32));
    }

    function _single(uint256 index, bytes32 leaf, bytes32[3] memory branch, uint256 depth)
        private
        view
        returns (bytes32)
    {
        (bool accepted, bytes32 root) = _trySingle(index, leaf, branch, depth);
        assert(accepted);
        return root;
    }

    function _pair(
        uint256 first,
        uint256 second,
        bytes32[2] memory a,
        bytes32[2] memory b,
        bytes32[2] memory siblings,
        uint256 depth
    ) private view returns (bytes32 root) {
        (root,) = _pairRoots(first, second, a, b, siblings, depth);
    }

    function _pairRoots(
        uint256 first,
        uint256 second,
        bytes32[2] memory a,
        bytes32[2] memory b,
        bytes32[2] memory siblings,
        uint256 depth
    ) private view returns (bytes32, bytes32) {
        uint256[] memory level = new uint256[](6);
        (level[0], level[1], level[2]) = (first, uint256(a[0]), uint256(a[1]));
        (level[3], level[4], level[5]) = (second, uint256(b[0]), uint256(b[1]));
        // Neighbours leave one sibling out.
        uint256 count = first / 2 == second / 2 ? depth - 1 : 2 * depth - 2;
        return
            this.computeRoots(
                level, depth, abi.encodePacked(uint16(count), siblings[0], siblings[1])
            );
    }
}
