// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IExitWindowTimelock} from "../interfaces/IExitWindowTimelock.sol";
import {IRollupInbox} from "../interfaces/IRollupInbox.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title A timelock that leaves 30 days net to leave in. What it promises: `IExitWindowTimelock`.
contract ExitWindowTimelock is IExitWindowTimelock, TimelockController {
    /// @inheritdoc IExitWindowTimelock
    uint256 public constant EXIT_WINDOW = 30 days;
    /// @inheritdoc IExitWindowTimelock
    uint256 public constant GRACE_PERIOD = 14 days;

    /// @inheritdoc IExitWindowTimelock
    IRollupInbox public immutable inbox;
    /// @inheritdoc IExitWindowTimelock
    uint256 public immutable minimumDelay;

    /// @param inbox_ Deployed.
    /// @param minimumDelay_ Floor under the delay, and the delay to begin with.
    /// @param proposers Who may schedule and cancel.
    constructor(IRollupInbox inbox_, uint256 minimumDelay_, address[] memory proposers)
        TimelockController(minimumDelay_, proposers, _anyone(), address(0))
    {
        uint256 least =
            EXIT_WINDOW + inbox_.forcedDelay() + inbox_.proposerDelay() + inbox_.challengeWindow();
        if (minimumDelay_ < least) revert ExitWindowTimelock_DelayTooShort(minimumDelay_, least);
        if (proposers.length == 0) revert ExitWindowTimelock_NoProposer();
        inbox = inbox_;
        minimumDelay = minimumDelay_;
    }

    /// @inheritdoc TimelockController
    function updateDelay(uint256 newDelay) public override {
        if (newDelay < minimumDelay) {
            revert ExitWindowTimelock_DelayTooShort(newDelay, minimumDelay);
        }
        super.updateDelay(newDelay);
    }

    /// @inheritdoc TimelockController
    function getOperationState(bytes32 id) public view override returns (OperationState state) {
        state = super.getOperationState(id);
        if (state == OperationState.Ready && block.timestamp > getTimestamp(id) + GRACE_PERIOD) {
            return OperationState.Unset;
        }
    }

    /// @dev The zero address stands for everybody.
    function _anyone() private pure returns (address[] memory executors) {
        executors = new address[](1);
    }
}
