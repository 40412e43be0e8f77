// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Exit} from "../interfaces/IBridge.sol";
import {Header} from "../interfaces/IRollupInbox.sol";
import {CHUNK_DEPTH, EXIT_DEPTH} from "../protocol/Constants.sol";
import {EXIT_TAG} from "../protocol/Leaf.sol";
import {EfficientHashLib} from "solady/src/utils/EfficientHashLib.sol";

/// @title Every hash that the contracts commit to.
/// @dev Preimages of different kinds differ in their first word or in their length, so none can
/// pass as another. Empty leaves and empty subtrees hash to 0 at every level; no hash of a real
/// thing is 0.
library Commitments {
    bytes32 internal constant HEADER_DOMAIN = keccak256("deltaroll.header.v1");
    uint256 internal constant HEADER_WORDS = 15;
    bytes32 internal constant CHUNK_DOMAIN = keccak256("deltaroll.chunk.v1");
    bytes32 internal constant MESSAGE_DOMAIN = keccak256("deltaroll.message.v1");

    /// @notice Hash of a header that somebody shows: its words as they came.
    /// @dev A word with surplus bits gives a hash that was never stored.
    function computeHeaderHash(Header calldata header) internal pure returns (bytes32 hash) {
        bytes32 domain = HEADER_DOMAIN;
        uint256 length = 32 * HEADER_WORDS;
        assembly ("memory-safe") {
            let preimage := mload(0x40)
            mstore(preimage, domain)
            calldatacopy(add(preimage, 0x20), header, length)
            hash := keccak256(preimage, add(length, 0x20))
        }
    }

    /// @notice Hash of a header that is being made.
    function computeNewHeaderHash(Header memory header) internal pure returns (bytes32) {
        return keccak256(abi.encode(HEADER_DOMAIN, header));
    }

    function computeChunkCommitment(bytes32 dataHash, bytes32 signatureHash, bytes32 postRoot)
        internal
        pure
        returns (bytes32)
    {
        return EfficientHashLib.hash(CHUNK_DOMAIN, dataHash, signatureHash, postRoot);
    }

    /// @notice Root over 1 to 256 chunk commitments; overwrites the list.
    function computeChunksRoot(bytes32[] memory nodes) internal pure returns (bytes32) {
        uint256 count = nodes.length;
        for (uint256 level = 0; level < CHUNK_DEPTH; ++level) {
            uint256 parents = (count + 1) / 2;
            for (uint256 i = 0; i < parents; ++i) {
                nodes[i] = EfficientHashLib.hash(
                    nodes[2 * i], 2 * i + 1 < count ? nodes[2 * i + 1] : bytes32(0)
                );
            }
            count = parents;
        }
        return nodes[0];
    }

    /// @notice Root that a chunk commitment and its branch lead to.
    /// @dev The caller bounds `index`: bits past the depth would be ignored.
    function computeChunkBranch(bytes32 commitment, uint256 index, bytes32[8] calldata branch)
        internal
        pure
        returns (bytes32 node)
    {
        node = commitment;
        for (uint256 level = 0; level < CHUNK_DEPTH; ++level) {
            node = _hashNode(node, branch[level], index >> level);
        }
    }

    function computeMessageHash(uint8 kind, address sender, uint64 time, bytes32 bodyHash)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(MESSAGE_DOMAIN, kind, sender, time, bodyHash));
    }

    function computeQueueHash(bytes32 previous, bytes32 messageHash)
        internal
        pure
        returns (bytes32)
    {
        return EfficientHashLib.hash(previous, messageHash);
    }

    /// @notice Hashed twice: the 32-byte preimage of the outer hash can never be an inner node's 64
    /// bytes.
    function computeExitLeaf(Exit calldata exit) internal pure returns (bytes32) {
        bytes memory encoding =
            abi.encodePacked(uint8(EXIT_TAG), exit.asset, exit.recipient, exit.amount);
        return EfficientHashLib.hash(keccak256(encoding));
    }

    /// @notice Root that an exit's leaf and its compressed branch lead to.
    /// @dev The caller checks that `siblings` holds one node for each bit of `siblingMap`.
    function computeExitBranch(
        bytes32 leaf,
        uint32 index,
        uint32 siblingMap,
        bytes32[] calldata siblings
    ) internal pure returns (bytes32 node) {
        uint256 path = index;
        uint256 map = siblingMap;
        uint256 above = EXIT_DEPTH;
        // Scratch space holds the two children. Both maps have 32 bits: no more than `above` levels.
        assembly ("memory-safe") {
            node := leaf
            let cursor := siblings.offset
            for {} or(path, map) { above := sub(above, 1) } {
                let place := shl(5, and(path, 1))
                mstore(place, node)
                mstore(xor(place, 0x20), 0)
                if and(map, 1) {
                    mstore(xor(place, 0x20), calldataload(cursor))
                    cursor := add(cursor, 0x20)
                }
                node := keccak256(0x00, 0x40)
                path := shr(1, path)
                map := shr(1, map)
            }
            // Up here the tree is empty but for this path, which keeps to the left. Four levels at a time, then one.
            mstore(0x00, node)
            mstore(0x20, 0)
            for {} gt(above, 3) { above := sub(above, 4) } {
                mstore(0x00, keccak256(0x00, 0x40))
                mstore(0x00, keccak256(0x00, 0x40))
                mstore(0x00, keccak256(0x00, 0x40))
                mstore(0x00, keccak256(0x00, 0x40))
            }
            for {} above { above := sub(above, 1) } {
                mstore(0x00, keccak256(0x00, 0x40))
            }
            node := mload(0x00)
        }
    }

    /// @dev The lowest bit of `path` says that `node` is the right child. `node` is never empty, so
    /// neither is its parent.
    function _hashNode(bytes32 node, bytes32 sibling, uint256 path) private pure returns (bytes32) {
        return
            path & 1 == 0
                ? EfficientHashLib.hash(node, sibling)
                : EfficientHashLib.hash(sibling, node);
    }
}
