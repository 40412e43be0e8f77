// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Exit} from "../interfaces/IBridge.sol";
import {Header} from "../interfaces/IRollupInbox.sol";
import {Commitments} from "../libraries/Commitments.sol";

/// @title Opens the commitment library to tests.
contract CommitmentsHarness {
    function headerHash(Header calldata header) external pure returns (bytes32) {
        return Commitments.computeHeaderHash(header);
    }

    function newHeaderHash(Header memory header) external pure returns (bytes32) {
        return Commitments.computeNewHeaderHash(header);
    }

    function chunksRoot(bytes32[] memory commitments) external pure returns (bytes32) {
        return Commitments.computeChunksRoot(commitments);
    }

    function chunkBranch(bytes32 commitment, uint256 index, bytes32[8] calldata branch)
        external
        pure
        returns (bytes32)
    {
        return Commitments.computeChunkBranch(commitment, index, branch);
    }

    function queueHash(bytes32 previous, uint8 kind, address sender, uint64 time, bytes32 bodyHash)
        external
        pure
        returns (bytes32)
    {
        bytes32 message = Commitments.computeMessageHash(kind, sender, time, bodyHash);
        return Commitments.computeQueueHash(previous, message);
    }

    function exitsRoot(Exit calldata exit, uint32 siblingMap, bytes32[] calldata siblings)
        external
        pure
        returns (bytes32)
    {
        bytes32 leaf = Commitments.computeExitLeaf(exit);
        return Commitments.computeExitBranch(leaf, exit.index, siblingMap, siblings);
    }
}
