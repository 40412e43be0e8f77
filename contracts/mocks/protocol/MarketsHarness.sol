// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    validateModel,
    validateParams,
    validateRebate,
    validateRule,
    validateScenario
} from "../../protocol/Configure.sol";
import {
    computeBoundary,
    computeDay,
    computeForward,
    computeForwardParts,
    computeSettlement,
    isBoundary
} from "../../protocol/Expiry.sol";
import {Fault} from "../../protocol/Fault.sol";
import {computeAccrued, computeCarry, computePremium} from "../../protocol/Funding.sol";
import {
    decodeExpiry,
    decodeModel,
    decodeParams,
    decodeSeries,
    decodeUnderlying,
    encodeSeries,
    encodeUnderlying
} from "../../protocol/Leaf.sol";
import {
    computeLowestStrike,
    computeNumber,
    computePlace,
    isFinished
} from "../../protocol/Listing.sol";
import {
    computeMultiplierAfter,
    computeUnderlyingAfter,
    computeVarianceAfter,
    computeWindowAfter
} from "../../protocol/Observe.sol";
import {computeVariance, validateQuorum, validateSurface} from "../../protocol/Surface.sol";
import {
    Committee,
    Globals,
    Scenario,
    Series,
    Surface,
    Underlying,
    UnderlyingParams
} from "../../protocol/Types.sol";

/// @title Opens what underlyings, expiries and series do by themselves to tests. Leaves come and go encoded.
contract MarketsHarness {
    /// @notice Carry of a side, premium of longs, and the series with its funding accrued.
    function accrue(bytes memory leaf, bytes memory parameters, uint256 clock, int256 size)
        external
        pure
        returns (int256, int256, bytes memory encoding, Fault fault)
    {
        Series memory series = decodeSeries(leaf);
        UnderlyingParams memory params = decodeParams(parameters);
        Series memory accrued;
        (accrued, fault) = computeAccrued(series, params, clock);
        (encoding,) = encodeSeries(accrued);
        return (computeCarry(series, size), computePremium(series, params), encoding, fault);
    }

    /// @notice Day, whether a time is a boundary, and the boundary of the day.
    function day(uint256 time) external pure returns (uint256, bool, uint256) {
        return (computeDay(time), isBoundary(time), computeBoundary(computeDay(time)));
    }

    /// @notice Forward, its parts, and the settlement price.
    function forward(bytes memory underlyingLeaf, bytes memory expiryLeaf)
        external
        pure
        returns (uint256 whole, uint256 first, uint256 second, uint256 settlement)
    {
        Underlying memory underlying = decodeUnderlying(underlyingLeaf);
        whole = computeForward(underlying, decodeExpiry(expiryLeaf));
        (first, second) = computeForwardParts(underlying, decodeExpiry(expiryLeaf));
        settlement = computeSettlement(underlying, decodeExpiry(expiryLeaf));
    }

    function variance(bytes memory leaf, int256 moneyness)
        external
        view
        returns (uint256 value, uint256 gas)
    {
        gas = gasleft();
        value = computeVariance(decodeExpiry(leaf), moneyness);
        gas -= gasleft();
    }

    function checkSurface(bytes memory leaf, Surface memory surface) external pure returns (Fault) {
        return validateSurface(decodeExpiry(leaf), surface);
    }

    function checkQuorum(
        bytes memory expiryLeaf,
        bytes memory underlyingLeaf,
        Committee memory committee,
        Surface memory surface,
        uint256 clock
    ) external pure returns (Fault) {
        Underlying memory underlying = decodeUnderlying(underlyingLeaf);
        return validateQuorum(decodeExpiry(expiryLeaf), underlying, committee, surface, clock);
    }

    function window(bytes memory leaf, uint256 price, uint256 time, bool isAccepted)
        external
        pure
        returns (bytes memory encoding, Fault fault)
    {
        return encodeUnderlying(computeWindowAfter(decodeUnderlying(leaf), price, time, isAccepted));
    }

    /// @notice Variance, multiplier for that of the leaf, and the leaf after an observation, with its gas.
    function observe(
        bytes memory leaf,
        uint256 price,
        uint256 time,
        uint256 clock,
        int256 insurance,
        int256 peak
    )
        external
        view
        returns (
            uint256 varianceAfter,
            uint256 multiplier,
            bytes memory encoding,
            Fault fault,
            uint256 gas
        )
    {
        Underlying memory underlying = decodeUnderlying(leaf);
        Globals memory globals;
        globals.clock = clock;
        globals.insurance = insurance;
        globals.insurancePeak = peak;
        varianceAfter = computeVarianceAfter(underlying, price, time);
        multiplier = computeMultiplierAfter(underlying, underlying.variance, time, globals);
        gas = gasleft();
        Underlying memory underlyingAfter = computeUnderlyingAfter(underlying, price, time, globals);
        gas -= gasleft();
        (encoding, fault) = encodeUnderlying(underlyingAfter);
    }

    /// @notice Number of an expiry, its place, and the lowest strike.
    function rule(bytes memory leaf, uint256 clock, uint256 offset)
        external
        pure
        returns (uint256 number, uint256 place, uint256 strike)
    {
        Underlying memory underlying = decodeUnderlying(leaf);
        number = computeNumber(underlying.params, clock, offset);
        place = computePlace(underlying.params, number);
        strike = computeLowestStrike(underlying);
    }

    function finished(bytes memory leaf, uint256 underlying) external pure returns (bool) {
        return isFinished(decodeSeries(leaf), underlying);
    }

    function checkParams(bytes memory encoding) external pure returns (Fault, Fault) {
        UnderlyingParams memory params = decodeParams(encoding);
        return (validateParams(params), validateRule(params));
    }

    function checkRebate(int256 makerFee, uint256 takerFee) external pure returns (Fault) {
        return validateRebate(makerFee, takerFee);
    }

    function checkModel(bytes memory encoding) external pure returns (Fault) {
        return validateModel(decodeModel(encoding));
    }

    function checkScenario(Scenario memory scenario) external pure returns (Fault) {
        return validateScenario(scenario);
    }
}
