// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Custody of the collateral.
/// @notice Holds one ERC-20 and nothing else; only the bridge can move it out, and the escape hatch once the rollup is
/// frozen.
/// @dev Trust assumptions on the token: it moves exactly the amount asked for on the way out (a fee
/// on the way in is refused by the bridge), its balances do not rebase downwards, and whoever can
/// pause it or freeze addresses is trusted not to freeze the vault. A transfer that fails changes
/// nothing: the exit can be claimed again later.
interface IMarginVault {
    /// @notice Only the bridge may ask for a release.
    error MarginVault_NotBridge(address caller);

    /// @notice Only the escape hatch may ask for a release of this kind.
    error MarginVault_NotEscapeHatch(address caller);

    /// @notice The token, the bridge or the escape hatch given at construction cannot be right.
    error MarginVault_InvalidAddress(address given);

    /// @notice The collateral.
    function token() external view returns (address);

    /// @notice The only address that may call `release`.
    function bridge() external view returns (address);

    /// @notice The only address that may call `releaseFrozen`.
    function escapeHatch() external view returns (address);

    /// @notice Sends collateral out of the vault.
    /// @param to Recipient.
    /// @param amount Collateral units.
    function release(address to, uint256 amount) external;

    /// @notice Sends collateral out of the vault of a frozen rollup.
    /// @param to Recipient.
    /// @param amount Collateral units.
    function releaseFrozen(address to, uint256 amount) external;
}
