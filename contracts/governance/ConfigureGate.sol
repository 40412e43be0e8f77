// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBridge} from "../interfaces/IBridge.sol";
import {Emergency, GuardianBounds, IConfigureGate, Margins} from "../interfaces/IConfigureGate.sol";
import {IExitWindowTimelock} from "../interfaces/IExitWindowTimelock.sol";
import {
    CLOSING_TAG,
    HEAD_BYTES,
    MAX_CLOSING,
    SERIES_BODY_BYTES,
    validateParams
} from "../protocol/Configure.sol";
import {MARKET_DEPTH, PPM} from "../protocol/Constants.sol";
import {copySlice} from "../protocol/Copy.sol";
import {isFault} from "../protocol/Fault.sol";
import {
    PARAMS_BYTES,
    SERIES_TAG,
    UNDERLYING_TAG,
    decodeParams,
    encodeParams
} from "../protocol/Leaf.sol";
import {SeriesStatus, UnderlyingParams} from "../protocol/Types.sol";

/// @title The only sender of `Bridge.configure`. Who may do what, and what nobody can:
/// `IConfigureGate`.
contract ConfigureGate is IConfigureGate {
    /// @inheritdoc IConfigureGate
    uint16 public constant MAX_SERIES = uint16(MAX_CLOSING);
    /// @inheritdoc IConfigureGate
    uint32 public constant MAX_BOUND = 2_000_000;
    /// @inheritdoc IConfigureGate
    uint64 public constant MAX_EMERGENCY_PERIOD = 14 days;
    /// @inheritdoc IConfigureGate
    uint64 public constant MAX_COOLDOWN = 365 days;

    /// @inheritdoc IConfigureGate
    IBridge public immutable bridge;
    /// @inheritdoc IConfigureGate
    IExitWindowTimelock public immutable timelock;
    /// @inheritdoc IConfigureGate
    address public immutable guardian;
    /// @inheritdoc IConfigureGate
    uint32 public immutable maintenanceBound;
    /// @inheritdoc IConfigureGate
    uint32 public immutable initialBound;
    /// @inheritdoc IConfigureGate
    uint64 public immutable emergencyPeriod;
    /// @inheritdoc IConfigureGate
    uint64 public immutable cooldown;

    mapping(uint16 underlying => bytes) private _params;
    /// @inheritdoc IConfigureGate
    mapping(uint16 series => bool) public isClosedByTimelock;
    mapping(uint16 underlying => Emergency) private _tightenings;
    mapping(uint16 series => Emergency) private _closings;

    /// @param bridge_ Deployed, with this address as its governor.
    /// @param timelock_ Deployed, on the bridge's inbox.
    /// @param guardian_ Zero for nobody.
    /// @param bounds Of the guardian.
    /// @param initial Configure bodies that the venue starts with: nobody needs a key for them.
    constructor(
        IBridge bridge_,
        IExitWindowTimelock timelock_,
        address guardian_,
        GuardianBounds memory bounds,
        bytes[] memory initial
    ) {
        if (bridge_.governor() != address(this)) {
            revert ConfigureGate_WrongBridge(address(bridge_));
        }
        if (address(timelock_.inbox()) != address(bridge_.inbox())) {
            revert ConfigureGate_WrongTimelock(address(timelock_));
        }
        if (
            bounds.maintenanceBound < PPM || bounds.maintenanceBound > MAX_BOUND
                || bounds.initialBound < PPM || bounds.initialBound > MAX_BOUND
                || bounds.emergencyPeriod == 0 || bounds.emergencyPeriod > MAX_EMERGENCY_PERIOD
                // Else one emergency after the other would be most of the time.
                || bounds.cooldown < bounds.emergencyPeriod || bounds.cooldown > MAX_COOLDOWN
        ) revert ConfigureGate_InvalidBounds();

        bridge = bridge_;
        timelock = timelock_;
        guardian = guardian_;
        maintenanceBound = bounds.maintenanceBound;
        initialBound = bounds.initialBound;
        emergencyPeriod = bounds.emergencyPeriod;
        cooldown = bounds.cooldown;
        for (uint256 i; i < initial.length; ++i) {
            _configure(initial[i]);
        }
    }

    modifier onlyGuardian() {
        if (msg.sender != guardian) revert ConfigureGate_NotGuardian(msg.sender);
        _;
    }

    /// @inheritdoc IConfigureGate
    function configure(bytes calldata body) external {
        if (msg.sender != address(timelock)) revert ConfigureGate_NotTimelock(msg.sender);
        _configure(body);
    }

    /// @inheritdoc IConfigureGate
    function tighten(uint16 underlying, Margins calldata margins) external onlyGuardian {
        bytes memory base = _params[underlying];
        if (base.length == 0) revert ConfigureGate_UnknownUnderlying(underlying);
        bytes memory params = _encodeTightened(underlying, base, margins);

        uint64 endsAt = _begin(_tightenings[underlying], underlying);
        emit Tightened(underlying, margins, endsAt);
        bridge.configure(_encodeBody(UNDERLYING_TAG, underlying, params));
    }

    /// @inheritdoc IConfigureGate
    function restore(uint16 underlying) external {
        Emergency storage emergency = _tightenings[underlying];
        _requireOver(emergency, underlying);
        _restore(emergency, underlying);
    }

    /// @inheritdoc IConfigureGate
    function close(uint16 first, uint16 count) external onlyGuardian {
        _validateRange(first, count);
        uint64 endsAt;
        for (uint16 i; i < count; ++i) {
            uint16 series = first + i;
            if (isClosedByTimelock[series]) revert ConfigureGate_ClosedByTimelock(series);
            endsAt = _begin(_closings[series], series);
        }
        emit Closed(first, count, endsAt);
        _changeStatus(first, count, SeriesStatus.CLOSING);
    }

    /// @inheritdoc IConfigureGate
    function reopen(uint16 first, uint16 count) external {
        _validateRange(first, count);
        for (uint16 i; i < count; ++i) {
            _requireOver(_closings[first + i], first + i);
        }
        _reopen(first, count);
    }

    /// @inheritdoc IConfigureGate
    function paramsOf(uint16 underlying) external view returns (bytes memory) {
        return _params[underlying];
    }

    /// @inheritdoc IConfigureGate
    function tighteningOf(uint16 underlying) external view returns (Emergency memory) {
        return _tightenings[underlying];
    }

    /// @inheritdoc IConfigureGate
    function closingOf(uint16 series) external view returns (Emergency memory) {
        return _closings[series];
    }

    /// @dev An emergency ends by messages of its own: the body itself may be one that L2 skips.
    function _configure(bytes memory body) private {
        if (body.length < HEAD_BYTES) revert ConfigureGate_InvalidBody();
        uint256 tag = uint8(body[0]);
        uint16 id = (uint16(uint8(body[1])) << 8) | uint8(body[2]);
        bytes memory fields = copySlice(body, HEAD_BYTES, body.length - HEAD_BYTES);
        if (tag == CLOSING_TAG) revert ConfigureGate_InvalidBody();
        if (tag == UNDERLYING_TAG) {
            if (fields.length != PARAMS_BYTES) revert ConfigureGate_InvalidBody();
            _validateParams(id, decodeParams(fields));
            Emergency storage tightening = _tightenings[id];
            if (tightening.endsAt != 0) _restore(tightening, id);
            _params[id] = fields;
        } else if (tag == SERIES_TAG) {
            if (fields.length != SERIES_BODY_BYTES) revert ConfigureGate_InvalidBody();
            if (_closings[id].endsAt != 0) _reopen(id, 1);
            isClosedByTimelock[id] = uint8(fields[1]) == uint8(SeriesStatus.CLOSING);
        }
        bridge.configure(body);
    }

    function _begin(Emergency storage emergency, uint16 market) private returns (uint64 endsAt) {
        if (emergency.endsAt != 0) revert ConfigureGate_Emergency(market, emergency.endsAt);
        if (block.timestamp < emergency.freeAt) {
            revert ConfigureGate_Cooldown(market, emergency.freeAt);
        }
        endsAt = uint64(block.timestamp) + emergencyPeriod;
        emergency.endsAt = endsAt;
    }

    function _end(Emergency storage emergency) private returns (uint64 freeAt) {
        freeAt = uint64(block.timestamp) + cooldown;
        emergency.endsAt = 0;
        emergency.freeAt = freeAt;
    }

    function _restore(Emergency storage emergency, uint16 underlying) private {
        emit Restored(underlying, _end(emergency));
        bridge.configure(_encodeBody(UNDERLYING_TAG, underlying, _params[underlying]));
    }

    function _reopen(uint16 first, uint16 count) private {
        uint64 freeAt;
        for (uint16 i; i < count; ++i) {
            freeAt = _end(_closings[first + i]);
        }
        emit Reopened(first, count, freeAt);
        _changeStatus(first, count, SeriesStatus.ACTIVE);
    }

    function _changeStatus(uint16 first, uint16 count, SeriesStatus status) private {
        bytes memory fields = abi.encodePacked(uint8(status), uint8(count));
        bridge.configure(_encodeBody(CLOSING_TAG, first, fields));
    }

    /// @dev Everything but the margins is as the timelock has set it.
    function _encodeTightened(uint16 underlying, bytes memory base, Margins calldata margins)
        private
        view
        returns (bytes memory encoding)
    {
        UnderlyingParams memory params = decodeParams(base);
        uint256 bound = maintenanceBound;
        params.maintenanceFactor =
            _raise(params.maintenanceFactor, margins.maintenanceFactor, bound);
        params.perpMaintenance = _raise(params.perpMaintenance, margins.perpMaintenance, bound);
        params.optionMaintenance =
            _raise(params.optionMaintenance, margins.optionMaintenance, bound);
        bound = initialBound;
        params.initialFactor = _raise(params.initialFactor, margins.initialFactor, bound);
        params.perpInitial = _raise(params.perpInitial, margins.perpInitial, bound);
        params.optionInitial = _raise(params.optionInitial, margins.optionInitial, bound);
        _validateParams(underlying, params);
        // Every field has come out of its encoding or fits 32 bits.
        (encoding,) = encodeParams(params);
    }

    function _requireOver(Emergency storage emergency, uint16 market) private view {
        uint64 endsAt = emergency.endsAt;
        if (endsAt == 0) revert ConfigureGate_NoEmergency(market);
        if (block.timestamp < endsAt && msg.sender != guardian) {
            revert ConfigureGate_NotOver(market, endsAt);
        }
    }

    /// @dev What L2 would skip is refused here, where it is seen.
    function _validateParams(uint16 underlying, UnderlyingParams memory params) private pure {
        if (isFault(validateParams(params))) revert ConfigureGate_InvalidParams(underlying);
    }

    function _raise(uint256 base, uint256 value, uint256 bound) private pure returns (uint256) {
        if (value < base || value * PPM > base * bound) {
            revert ConfigureGate_OutOfBounds(value, base, bound);
        }
        return value;
    }

    function _validateRange(uint16 first, uint16 count) private pure {
        if (count == 0 || count > MAX_SERIES || uint256(first) + count > 1 << MARKET_DEPTH) {
            revert ConfigureGate_InvalidRange(first, count);
        }
    }

    function _encodeBody(uint256 tag, uint16 market, bytes memory fields)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(uint8(tag), market, fields);
    }
}
