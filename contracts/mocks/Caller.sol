// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A contract that makes any call it is asked to and refuses ether unless told otherwise.
contract Caller {
    error Caller_EtherRefused();
    error Caller_Failed(bytes result);

    bool public acceptsEther;
    address private _onReceive;
    bytes private _payload;

    receive() external payable {
        if (!acceptsEther) revert Caller_EtherRefused();
        if (_onReceive != address(0)) _execute(_onReceive, _payload, 0);
    }

    function execute(address target, bytes calldata payload) external payable {
        _execute(target, payload, msg.value);
    }

    function repeat(address target, bytes calldata payload, uint256 times) external {
        for (uint256 i = 0; i < times; ++i) {
            _execute(target, payload, 0);
        }
    }

    function acceptEther() external {
        acceptsEther = true;
    }

    function callOnReceive(address target, bytes calldata payload) external {
        acceptsEther = true;
        _onReceive = target;
        _payload = payload;
    }

    function _execute(address target, bytes memory payload, uint256 value) private {
        // solhint-disable-next-line avoid-low-level-calls
        (bool success, bytes memory result) = target.call{value: value}(payload);
        if (!success) revert Caller_Failed(result);
    }
}
