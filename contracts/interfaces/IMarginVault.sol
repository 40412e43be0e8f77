// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice How much may leave the vault at once. Fixed at deployment.
struct OutflowLimit {
    /// Share of the vault, in parts per million: 10,000 to 1,000,000; the latter switches the limiter off.
    uint32 ppm;
    /// Seconds in which a full bucket drains: an hour to 30 days.
    uint64 period;
    /// Seconds that a release beyond the bound waits: an hour to 7 days.
    uint64 delay;
}

/// @notice A release that waits.
struct DelayedRelease {
    address to;
    /// From this second on anyone may have it paid; 0: nothing waits.
    uint64 payableAt;
    /// Collateral units.
    uint128 amount;
}

/// @title Custody of the collateral.
/// @notice Holds one ERC-20 and nothing else; only the bridge can move it out, and the escape hatch once the rollup is
/// frozen.
/// @dev Trust assumptions on the token: it moves exactly the amount asked for on the way out (a fee
/// on the way in is refused by the bridge), its balances do not rebase downwards, and whoever can
/// pause it or freeze addresses is trusted not to freeze the vault. A transfer that fails changes
/// nothing: the exit can be claimed again later.
///
/// Releases go through a leaky bucket. It holds what was paid at once; its size is `outflowPpm` of the vault's balance
/// and its own content together, and a full one drains in `outflowPeriod`. In any stretch of time, the sum paid at once
/// is at most the largest size that the bucket had in it, times one plus the number of periods that it lasts. A release
/// that does not fit is not refused: it is recorded, the bridge counts its exit as claimed, and after `outflowDelay` it
/// is payable by anyone, bucket or no bucket. So the limiter delays, and never blocks:
///
/// - A delayed release takes no room: it cannot delay others.
/// - Whoever has exits of the bucket's size can fill it before others, and anyone can claim somebody else's exit while
///   it is full. Either delays an exit by `outflowDelay`, once, and by no more.
/// - One that the token refuses to pay stays, can be tried again, and its recipient can name another one.
/// - What would raise the bound is money sent to the vault. A deposit leaves it again no sooner than a batch settles.
interface IMarginVault {
    /// @notice An exit is beyond the bound: it is paid later.
    event ReleaseDelayed(
        uint32 indexed exitIndex, address indexed to, uint128 amount, uint64 payableAt
    );

    /// @notice A delayed release was paid.
    event DelayedPaid(uint32 indexed exitIndex, address indexed to, uint128 amount);

    /// @notice Only the bridge may ask for a release.
    error MarginVault_NotBridge(address caller);

    /// @notice Only the escape hatch may ask for a release of this kind.
    error MarginVault_NotEscapeHatch(address caller);

    /// @notice The token, the bridge, the escape hatch or the recipient given cannot be right.
    error MarginVault_InvalidAddress(address given);

    /// @notice A number of the limiter is out of its bounds.
    error MarginVault_InvalidLimit();

    /// @notice Collateral has 1 to 18 decimals; 0 also stands for a token that does not say.
    error MarginVault_UnsupportedDecimals(uint256 decimals);

    /// @notice The token tells no balances, or a transfer of nothing fails.
    error MarginVault_UnsupportedToken(address token);

    /// @notice Nothing waits for this exit.
    error MarginVault_NothingDelayed(uint32 exitIndex);

    /// @notice The delay is not over.
    error MarginVault_NotYetPayable(uint32 exitIndex, uint64 payableAt);

    /// @notice Only the recipient of a delayed release may name another one.
    error MarginVault_NotRecipient(address caller);

    /// @notice Sends collateral out of the vault, now or, beyond the bound, after a delay.
    /// @param exitIndex The exit that is paid; the bridge names each at most once.
    /// @param to Recipient.
    /// @param amount Collateral units.
    function release(uint32 exitIndex, address to, uint128 amount) external;

    /// @notice Sends collateral out of the vault of a frozen rollup. Not limited: it has waited for weeks.
    /// @param to Recipient.
    /// @param amount Collateral units.
    function releaseFrozen(address to, uint256 amount) external;

    /// @notice Pays a delayed release to its recipient, whoever calls.
    /// @param exitIndex The exit that it pays.
    function payDelayed(uint32 exitIndex) external;

    /// @notice Pays the caller's delayed release to somebody else.
    /// @param exitIndex The exit that it pays.
    /// @param to New recipient.
    function payDelayedTo(uint32 exitIndex, address to) external;

    /// @notice The collateral.
    function token() external view returns (address);

    /// @notice The only address that may call `release`.
    function bridge() external view returns (address);

    /// @notice The only address that may call `releaseFrozen`.
    function escapeHatch() external view returns (address);

    /// @notice Size of the bucket, in parts per million of the vault; 1,000,000: no limit.
    function outflowPpm() external view returns (uint32);

    /// @notice Seconds in which a full bucket drains.
    function outflowPeriod() external view returns (uint64);

    /// @notice Seconds that a release beyond the bound waits.
    function outflowDelay() external view returns (uint64);

    /// @notice What waits for an exit; all zero for nothing.
    function delayedOf(uint32 exitIndex) external view returns (DelayedRelease memory);

    /// @notice The largest release that would be paid at once now; the largest number without a limit.
    function outflowRoom() external view returns (uint256);
}
