// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MockToken} from "./MockToken.sol";

/// @title A token with a list of addresses that it does not pay.
contract RefusingToken is MockToken {
    error RefusingToken_Refused(address to);

    mapping(address who => bool) public isRefused;

    function refuse(address who) external {
        isRefused[who] = true;
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (isRefused[to]) revert RefusingToken_Refused(to);
        super._update(from, to, amount);
    }
}
