// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBridge} from "./IBridge.sol";
import {IExitWindowTimelock} from "./IExitWindowTimelock.sol";

/// @notice How far the guardian's powers reach. Fixed for ever at deployment.
struct GuardianBounds {
    /// Parts per million of the timelocked value that `maintenanceFactor`, `perpMaintenance` and
    /// `optionMaintenance` may be raised to; 1,000,000: not at all.
    uint32 maintenanceBound;
    /// The same of `initialFactor`, `perpInitial` and `optionInitial`.
    uint32 initialBound;
    /// Seconds after which anyone may end what the guardian did.
    uint64 emergencyPeriod;
    /// Seconds that the guardian leaves a market alone from then on.
    uint64 cooldown;
}

/// @notice The margin parameters of an underlying, parts per million: what the guardian may raise.
struct Margins {
    uint32 maintenanceFactor;
    uint32 initialFactor;
    uint32 perpMaintenance;
    uint32 perpInitial;
    uint32 optionMaintenance;
    uint32 optionInitial;
}

/// @notice What the guardian has done to an underlying or a series, and when that is over.
struct Emergency {
    /// From when on anyone may end it; 0: there is none.
    uint64 endsAt;
    /// From when on the guardian may begin the next one.
    uint64 freeAt;
}

/// @title The only sender of `Bridge.configure`.
/// @notice Passes on what the timelock sends, and lets a guardian raise margins within bounds and
/// close series to new risk, for a while.
/// @dev Who may do what:
/// - the timelock sends any Configure body but the guardian's own type. Where it meets an
///   emergency, that ends first: what the timelock sends is never mixed with it;
/// - the guardian raises the margins of an underlying or closes series, each for `emergencyPeriod`,
///   and then leaves that market alone for `cooldown`, which is never shorter. It may end an
///   emergency early, and cannot prolong or change one;
/// - anyone ends an emergency whose period is over.
///
/// Nobody here can stop deposits, exits, forced messages or observations: all that this contract
/// does is to queue Configure messages, and L2 skips one that breaks a rule.
///
/// The gate does not see L2. It refuses parameters that are out of the protocol's bounds; those
/// whose committee or gas market is not listed yet are skipped on L2, and would be put in force by a
/// later emergency and its end. All of them have passed the timelock. The guardian's type of body
/// closes series that are active and opens series that are closing, and cannot list anything.
interface IConfigureGate {
    /// @notice The guardian raised margins of an underlying.
    event Tightened(uint16 indexed underlying, Margins margins, uint64 endsAt);

    /// @notice The timelocked parameters of an underlying are in force again.
    event Restored(uint16 indexed underlying, uint64 freeAt);

    /// @notice The guardian closed `count` series from `first` on to new risk.
    event Closed(uint16 indexed first, uint16 count, uint64 endsAt);

    /// @notice `count` series from `first` on are open again.
    event Reopened(uint16 indexed first, uint16 count, uint64 freeAt);

    /// @notice The bridge answers to another governor.
    error ConfigureGate_WrongBridge(address bridge);

    /// @notice The timelock measures its exit window by another inbox.
    error ConfigureGate_WrongTimelock(address timelock);

    /// @notice A bound is outside what any deployment may have.
    error ConfigureGate_InvalidBounds();

    /// @notice Only the timelock configures.
    error ConfigureGate_NotTimelock(address caller);

    /// @notice Only the guardian may do this.
    error ConfigureGate_NotGuardian(address caller);

    /// @notice A Configure body that no market can have.
    error ConfigureGate_InvalidBody();

    /// @notice The parameters are out of the protocol's bounds.
    error ConfigureGate_InvalidParams(uint16 underlying);

    /// @notice The timelock has sent no parameters for this id.
    error ConfigureGate_UnknownUnderlying(uint16 underlying);

    /// @notice A margin parameter is below its timelocked value or above its bound.
    error ConfigureGate_OutOfBounds(uint256 value, uint256 base, uint256 bound);

    /// @notice The market is under an emergency already.
    error ConfigureGate_Emergency(uint16 market, uint64 endsAt);

    /// @notice The market's cooldown is not over.
    error ConfigureGate_Cooldown(uint16 market, uint64 freeAt);

    /// @notice The market is not under an emergency.
    error ConfigureGate_NoEmergency(uint16 market);

    /// @notice Until then only the guardian may end this emergency.
    error ConfigureGate_NotOver(uint16 market, uint64 endsAt);

    /// @notice The timelock has closed this series.
    error ConfigureGate_ClosedByTimelock(uint16 series);

    /// @notice A range has 1 to `MAX_SERIES` series, all of them ids.
    error ConfigureGate_InvalidRange(uint16 first, uint16 count);

    /// @notice Sends a Configure body to L2. Only the timelock.
    /// @param body Type tag, market id, fields: as in docs/protocol.md.
    function configure(bytes calldata body) external;

    /// @notice Raises margins of an underlying. Only the guardian.
    /// @param underlying Its market id.
    /// @param margins Each at or above its timelocked value and within its bound.
    function tighten(uint16 underlying, Margins calldata margins) external;

    /// @notice Puts an underlying's timelocked parameters back in force. Anyone once the period is
    /// over, the guardian before.
    /// @param underlying Its market id.
    function restore(uint16 underlying) external;

    /// @notice Closes series to new risk: every fill must then reduce the positions of both sides.
    /// Only the guardian.
    /// @dev Ids that hold no active series on L2 stay as they are there.
    /// @param first The lowest id.
    /// @param count How many ids.
    function close(uint16 first, uint16 count) external;

    /// @notice Opens series that the guardian closed. Anyone once the period is over, the guardian
    /// before.
    /// @param first The lowest id.
    /// @param count How many ids, each of them closed by the guardian.
    function reopen(uint16 first, uint16 count) external;

    /// @notice Most series of one call.
    function MAX_SERIES() external view returns (uint16);

    /// @notice Largest of both bounds, parts per million.
    function MAX_BOUND() external view returns (uint32);

    /// @notice Longest emergency, seconds.
    function MAX_EMERGENCY_PERIOD() external view returns (uint64);

    /// @notice Longest cooldown, seconds.
    function MAX_COOLDOWN() external view returns (uint64);

    /// @notice Where Configure messages are queued.
    function bridge() external view returns (IBridge);

    /// @notice Sender of `configure`.
    function timelock() external view returns (IExitWindowTimelock);

    /// @notice Sender of `tighten` and `close`; zero for nobody.
    function guardian() external view returns (address);

    /// @notice Parts per million of a timelocked maintenance parameter.
    function maintenanceBound() external view returns (uint32);

    /// @notice Parts per million of a timelocked initial parameter.
    function initialBound() external view returns (uint32);

    /// @notice Seconds.
    function emergencyPeriod() external view returns (uint64);

    /// @notice Seconds.
    function cooldown() external view returns (uint64);

    /// @notice The encoded parameters that the timelock sent last for an underlying; empty: none.
    function paramsOf(uint16 underlying) external view returns (bytes memory);

    /// @notice Whether the last status that the timelock sent for a series is CLOSING.
    function isClosedByTimelock(uint16 series) external view returns (bool);

    /// @notice What the guardian has done to the margins of an underlying.
    function tighteningOf(uint16 underlying) external view returns (Emergency memory);

    /// @notice What the guardian has done to a series.
    function closingOf(uint16 series) external view returns (Emergency memory);
}
