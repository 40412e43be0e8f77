// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MockToken} from "./MockToken.sol";

/// @title Odd in what it says of itself, in what arrives, and in whom it pays.
contract OddToken is MockToken {
    error OddToken_Silent();
    error OddToken_Refused(address who);

    /// What `decimals` answers; the largest number: nothing.
    uint256 private immutable _decimals;
    bool private _isSilent;
    bool private _isShort;
    mapping(address who => bool) private _isRefused;

    constructor(uint256 decimals_) {
        _decimals = decimals_;
    }

    /// Tell no balances.
    function silence() external {
        _isSilent = true;
    }

    /// Let one unit less arrive than was sent, as where balances are shares that round.
    function shorten() external {
        _isShort = true;
    }

    /// Pay somebody no more, or again.
    function refuse(address who, bool isRefused) external {
        _isRefused[who] = isRefused;
    }

    function decimals() public view override returns (uint8) {
        uint256 answer = _decimals;
        if (answer == type(uint256).max) revert OddToken_Silent();
        // solhint-disable-next-line no-inline-assembly
        assembly {
            mstore(0, answer)
            return(0, 32)
        }
    }

    function balanceOf(address who) public view override returns (uint256) {
        if (_isSilent) revert OddToken_Silent();
        return super.balanceOf(who);
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (_isRefused[to]) revert OddToken_Refused(to);
        bool isCut = _isShort && from != address(0) && amount != 0;
        super._update(from, to, isCut ? amount - 1 : amount);
    }
}
