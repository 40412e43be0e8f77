// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMessageQueue} from "../protocol/Witness.sol";

/// @title Stands in for the bridge's queue in tests: holds whatever hashes it is given.
contract MockQueue is IMessageQueue {
    mapping(uint64 index => bytes32) private _hashes;

    error MockQueue_UnknownMessage(uint64 index);

    function setHash(uint64 index, bytes32 hash) external {
        _hashes[index] = hash;
    }

    function queueHash(uint64 index) external view returns (bytes32 hash) {
        hash = _hashes[index];
        if (hash == 0) revert MockQueue_UnknownMessage(index);
    }
}
