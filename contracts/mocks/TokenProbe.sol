// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Moves somebody's tokens in a simulation. Never deployed: its code is put in a holder's
/// place for one call.
contract TokenProbe {
    using SafeERC20 for IERC20;

    address private constant ELSEWHERE = address(uint160(uint256(keccak256("token probe"))));

    /// @return spent What left the holder.
    /// @return arrived What came of it.
    function probe(IERC20 token, uint256 amount) external returns (uint256 spent, uint256 arrived) {
        uint256 held = token.balanceOf(address(this));
        uint256 before = token.balanceOf(ELSEWHERE);
        token.safeTransfer(ELSEWHERE, amount);
        spent = held - token.balanceOf(address(this));
        arrived = token.balanceOf(ELSEWHERE) - before;
    }
}
