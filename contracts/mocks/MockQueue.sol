// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMessageQueue} from "../protocol/Witness.sol";

/// @title Stands in for the bridge in tests: its queue holds whatever hashes it is given.
contract MockQueue is IMessageQueue {
    uint64 public queueCount;
    /// What an inbox asks of its bridge when it is deployed.
    address public inbox;
    address public vault;

    mapping(uint64 index => bytes32) private _hashes;

    error MockQueue_UnknownMessage(uint64 index);

    function setInbox(address inbox_) external {
        inbox = inbox_;
    }

    function setHash(uint64 index, bytes32 hash) external {
        _hashes[index] = hash;
        if (index >= queueCount) queueCount = index + 1;
    }

    function queueHash(uint64 index) external view returns (bytes32 hash) {
        hash = _hashes[index];
        if (hash == 0) revert MockQueue_UnknownMessage(index);
    }
}
