// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A contract that refuses ether and makes any call it is asked to.
contract EtherRefuser {
    error EtherRefuser_CallFailed(bytes result);

    function execute(address target, bytes calldata payload) external payable {
        // solhint-disable-next-line avoid-low-level-calls
        (bool success, bytes memory result) = target.call{value: msg.value}(payload);
        if (!success) revert EtherRefuser_CallFailed(result);
    }
}
