// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DelayedRelease, IMarginVault, OutflowLimit} from "./interfaces/IMarginVault.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MetadataReaderLib} from "solady/src/utils/MetadataReaderLib.sol";
import {SafeTransferLib} from "solady/src/utils/SafeTransferLib.sol";

/// @title Custody of the collateral. Guarantees and trust assumptions: `IMarginVault`.
contract MarginVault is IMarginVault {
    using SafeERC20 for IERC20;

    /// Of the vault, in parts per million: this share switches the limiter off.
    uint32 public constant NO_LIMIT = 1_000_000;
    /// Below, ordinary exits would be delayed as a rule.
    uint32 public constant MIN_PPM = 10_000;
    /// Below, the limiter would limit nothing.
    uint64 public constant MIN_TIME = 1 hours;
    uint64 public constant MAX_PERIOD = 30 days;
    /// No exit waits longer, whatever else leaves.
    uint64 public constant MAX_DELAY = 7 days;
    uint256 public constant MAX_DECIMALS = 18;

    /// @inheritdoc IMarginVault
    address public immutable token;
    /// @inheritdoc IMarginVault
    address public immutable bridge;
    /// @inheritdoc IMarginVault
    address public immutable escapeHatch;
    /// @inheritdoc IMarginVault
    uint32 public immutable outflowPpm;
    /// @inheritdoc IMarginVault
    uint64 public immutable outflowPeriod;
    /// @inheritdoc IMarginVault
    uint64 public immutable outflowDelay;

    /// What was paid at once and had not drained yet (192 bits) at a time (64 bits).
    uint256 private _bucket;
    mapping(uint32 exitIndex => DelayedRelease) private _delayed;

    /// @param token_ The collateral.
    /// @param bridge_ Predicted address: the bridge is deployed next and checks it.
    /// @param escapeHatch_ Predicted address: the escape hatch checks it.
    /// @param limit What may leave at once.
    constructor(address token_, address bridge_, address escapeHatch_, OutflowLimit memory limit) {
        if (bridge_ == address(0)) revert MarginVault_InvalidAddress(bridge_);
        if (escapeHatch_ == address(0)) revert MarginVault_InvalidAddress(escapeHatch_);
        if (
            limit.ppm < MIN_PPM || limit.ppm > NO_LIMIT || limit.period < MIN_TIME
                || limit.period > MAX_PERIOD || limit.delay < MIN_TIME || limit.delay > MAX_DELAY
        ) revert MarginVault_InvalidLimit();
        _validateToken(token_);
        token = token_;
        bridge = bridge_;
        escapeHatch = escapeHatch_;
        outflowPpm = limit.ppm;
        outflowPeriod = limit.period;
        outflowDelay = limit.delay;
        // Not zero from the start: the first release is no dearer than the others.
        _bucket = block.timestamp;
    }

    /// @inheritdoc IMarginVault
    function release(uint32 exitIndex, address to, uint128 amount) external {
        if (msg.sender != bridge) revert MarginVault_NotBridge(msg.sender);
        if (outflowPpm != NO_LIMIT) {
            (uint256 level, uint256 room) = _computeRoom();
            if (amount > room) {
                // The bridge never names an exit twice, so nothing is overwritten.
                uint64 payableAt = uint64(block.timestamp) + outflowDelay;
                _delayed[exitIndex] = DelayedRelease(to, payableAt, amount);
                emit ReleaseDelayed(exitIndex, to, amount, payableAt);
                return;
            }
            _bucket = (level + amount) << 64 | block.timestamp;
        }
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc IMarginVault
    function releaseFrozen(address to, uint256 amount) external {
        if (msg.sender != escapeHatch) revert MarginVault_NotEscapeHatch(msg.sender);
        IERC20(token).safeTransfer(to, amount);
    }

    /// @inheritdoc IMarginVault
    function payDelayed(uint32 exitIndex) external {
        _payDelayed(exitIndex, _delayed[exitIndex].to);
    }

    /// @inheritdoc IMarginVault
    function payDelayedTo(uint32 exitIndex, address to) external {
        if (_delayed[exitIndex].to != msg.sender) revert MarginVault_NotRecipient(msg.sender);
        if (to == address(0)) revert MarginVault_InvalidAddress(to);
        _payDelayed(exitIndex, to);
    }

    /// @inheritdoc IMarginVault
    function delayedOf(uint32 exitIndex) external view returns (DelayedRelease memory) {
        return _delayed[exitIndex];
    }

    /// @inheritdoc IMarginVault
    function outflowRoom() external view returns (uint256 room) {
        if (outflowPpm == NO_LIMIT) return type(uint256).max;
        (, room) = _computeRoom();
    }

    function _payDelayed(uint32 exitIndex, address to) private {
        DelayedRelease memory delayed = _delayed[exitIndex];
        if (delayed.payableAt == 0) revert MarginVault_NothingDelayed(exitIndex);
        if (block.timestamp < delayed.payableAt) {
            revert MarginVault_NotYetPayable(exitIndex, delayed.payableAt);
        }

        delete _delayed[exitIndex];
        emit DelayedPaid(exitIndex, to, delayed.amount);
        IERC20(token).safeTransfer(to, delayed.amount);
    }

    /// @dev What has left at once counts as still here until it has drained: paying out neither shrinks the bucket
    /// nor, by being split, gets more through it. Rounds against the outflow.
    function _computeRoom() private view returns (uint256 level, uint256 room) {
        (, uint256 held) = SafeTransferLib.checkBalanceOf(token, address(this));
        // No exit is larger. Nothing below overflows, then: 128 and 20 and 64 bits.
        if (held > type(uint128).max) held = type(uint128).max;
        uint256 bucket = _bucket;
        unchecked {
            level = bucket >> 64;
            uint256 elapsed = block.timestamp - uint64(bucket);
            uint256 drained =
                (held + level) * outflowPpm * elapsed / (uint256(outflowPeriod) * NO_LIMIT);
            level = level > drained ? level - drained : 0;
            uint256 capacity = (held + level) * outflowPpm / NO_LIMIT;
            room = capacity > level ? capacity - level : 0;
        }
    }

    /// @dev Refuse what can be seen to be no collateral. A fee shows at the first deposit only.
    function _validateToken(address token_) private {
        if (token_.code.length == 0) revert MarginVault_InvalidAddress(token_);
        uint256 decimals =
            MetadataReaderLib.readUint(token_, abi.encodeCall(IERC20Metadata.decimals, ()));
        if (decimals == 0 || decimals > MAX_DECIMALS) {
            revert MarginVault_UnsupportedDecimals(decimals);
        }
        (bool implemented,) = SafeTransferLib.checkBalanceOf(token_, address(this));
        if (!implemented || !IERC20(token_).trySafeTransfer(address(this), 0)) {
            revert MarginVault_UnsupportedToken(token_);
        }
    }
}
