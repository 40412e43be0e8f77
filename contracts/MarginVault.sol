// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMarginVault} from "./interfaces/IMarginVault.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Custody of the collateral. Guarantees and trust assumptions: `IMarginVault`.
contract MarginVault is IMarginVault {
    using SafeERC20 for IERC20;

    /// @inheritdoc IMarginVault
    address public immutable token;
    /// @inheritdoc IMarginVault
    address public immutable bridge;
    /// @inheritdoc IMarginVault
    address public immutable escapeHatch;

    /// @param token_ The collateral.
    /// @param bridge_ Predicted address: the bridge is deployed next and checks it.
    /// @param escapeHatch_ Predicted address: the escape hatch checks it.
    constructor(address token_, address bridge_, address escapeHatch_) {
        if (token_.code.length == 0) revert MarginVault_InvalidAddress(token_);
        if (bridge_ == address(0)) revert MarginVault_InvalidAddress(bridge_);
        if (escapeHatch_ == address(0)) revert MarginVault_InvalidAddress(escapeHatch_);
        token = token_;
        bridge = bridge_;
        escapeHatch = escapeHatch_;
    }

    /// @inheritdoc IMarginVault
    function release(address to, uint256 amount) external {
        if (msg.sender != bridge) revert MarginVault_NotBridge(msg.sender);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc IMarginVault
    function releaseFrozen(address to, uint256 amount) external {
        if (msg.sender != escapeHatch) revert MarginVault_NotEscapeHatch(msg.sender);
        IERC20(token).safeTransfer(to, amount);
    }
}
