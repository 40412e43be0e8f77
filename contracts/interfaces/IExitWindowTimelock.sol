// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IRollupInbox} from "./IRollupInbox.sol";

/// @title OpenZeppelin's TimelockController with a floor under its delay.
/// @notice Whoever dislikes a scheduled change can have left before it can be executed: 30 days are
/// left after the longest that a forced exit takes.
/// @dev What could shorten the delay, and why it does not:
/// - `updateDelay`: never below `minimumDelay`, and only through the timelock itself;
/// - roles: there is no admin but the timelock, so a new proposer waits as long as any change, and
///   no role schedules with less than the delay;
/// - calls: the timelock only calls, it never delegates, so no target can write its storage;
/// - old operations: one that has been ready for `GRACE_PERIOD` is gone as if it had never been
///   scheduled. Else a stock of operations could be scheduled once and each executed years later,
///   without notice to those who have joined since.
///
/// Anyone executes. Whoever may propose may also cancel: that can only keep things as they are.
interface IExitWindowTimelock {
    /// @notice The delay would leave less than the exit window.
    error ExitWindowTimelock_DelayTooShort(uint256 delay, uint256 least);

    /// @notice A timelock that nobody can use is no timelock.
    error ExitWindowTimelock_NoProposer();

    /// @notice Seconds that are left to leave in, the time that leaving itself takes not counted.
    function EXIT_WINDOW() external view returns (uint256);

    /// @notice Seconds for which an operation stays ready.
    function GRACE_PERIOD() external view returns (uint256);

    /// @notice The inbox whose forced delay, proposer delay and challenge window come on top.
    function inbox() external view returns (IRollupInbox);

    /// @notice The delay is never shorter, whatever is decided.
    function minimumDelay() external view returns (uint256);
}
