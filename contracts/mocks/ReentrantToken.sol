// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MockToken} from "./MockToken.sol";

/// @title Makes one prepared call in the middle of the next transfer.
contract ReentrantToken is MockToken {
    address private _target;
    bytes private _payload;

    /// Whether the call in the middle succeeded.
    bool public reentered;
    /// What it returned.
    bytes public result;

    function arm(address target, bytes calldata payload) external {
        _target = target;
        _payload = payload;
        _approve(address(this), target, type(uint256).max);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        address target = _target;
        if (target == address(0) || from == address(0)) return;
        _target = address(0);
        // solhint-disable-next-line avoid-low-level-calls
        (reentered, result) = target.call(_payload);
    }
}
