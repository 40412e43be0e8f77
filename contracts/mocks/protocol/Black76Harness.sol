// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    computeCall,
    computeDelta,
    computeDensityAt,
    computeGamma,
    computeMoments,
    computePair,
    computePut,
    computeTheta,
    computeVega
} from "../../protocol/Black76.sol";
import {
    computeExp,
    computeExpMantissa,
    computeLn,
    computeLogRatio,
    computePower,
    computeSqrt,
    multiplyDown
} from "../../protocol/Fixed.sol";
import {computeCdf, computeDensity} from "../../protocol/Normal.sol";

/// @title Opens the mathematics to tests, and tells what gas each function takes.
contract Black76Harness {
    function multiply(int256 left, int256 right) external pure returns (int256) {
        return multiplyDown(left, right);
    }

    function logRatio(uint256 numerator, uint256 denominator)
        external
        view
        returns (int256 result, uint256 gas)
    {
        gas = gasleft();
        result = computeLogRatio(numerator, denominator);
        gas -= gasleft();
    }

    function ln(uint256 value) external view returns (int256 result, uint256 gas) {
        gas = gasleft();
        result = computeLn(value);
        gas -= gasleft();
    }

    function expMantissa(int256 exponent) external pure returns (uint256 mantissa, int256 shift) {
        return computeExpMantissa(exponent);
    }

    function exp(int256 exponent) external view returns (uint256 result, uint256 gas) {
        gas = gasleft();
        result = computeExp(exponent);
        gas -= gasleft();
    }

    function sqrt(uint256 value) external view returns (uint256 result, uint256 gas) {
        gas = gasleft();
        result = computeSqrt(value);
        gas -= gasleft();
    }

    function power(uint256 base, int256 exponent)
        external
        view
        returns (uint256 result, uint256 gas)
    {
        gas = gasleft();
        result = computePower(base, exponent);
        gas -= gasleft();
    }

    function cdf(int256 x) external view returns (uint256 result, uint256 gas) {
        gas = gasleft();
        result = computeCdf(x);
        gas -= gasleft();
    }

    function density(int256 x) external view returns (uint256 result, uint256 gas) {
        gas = gasleft();
        result = computeDensity(x);
        gas -= gasleft();
    }

    function moments(uint256 forward, uint256 strike, uint256 deviation)
        external
        pure
        returns (int256 d1, int256 d2)
    {
        return computeMoments(forward, strike, deviation);
    }

    function pair(uint256 forward, uint256 strike, uint256 deviation)
        external
        view
        returns (uint256 call, uint256 put, uint256 gas)
    {
        gas = gasleft();
        (call, put) = computePair(forward, strike, deviation);
        gas -= gasleft();
    }

    function callPrice(uint256 forward, uint256 strike, uint256 deviation)
        external
        pure
        returns (uint256)
    {
        return computeCall(forward, strike, deviation);
    }

    function putPrice(uint256 forward, uint256 strike, uint256 deviation)
        external
        pure
        returns (uint256)
    {
        return computePut(forward, strike, deviation);
    }

    function delta(uint256 forward, uint256 strike, uint256 deviation)
        external
        view
        returns (uint256 result, uint256 gas)
    {
        gas = gasleft();
        result = computeDelta(forward, strike, deviation);
        gas -= gasleft();
    }

    function densityAt(uint256 forward, uint256 strike, uint256 deviation)
        external
        pure
        returns (uint256)
    {
        return computeDensityAt(forward, strike, deviation);
    }

    function gamma(uint256 forward, uint256 strike, uint256 deviation)
        external
        view
        returns (uint256 result, uint256 gas)
    {
        gas = gasleft();
        result = computeGamma(forward, strike, deviation);
        gas -= gasleft();
    }

    function vega(uint256 forward, uint256 strike, uint256 deviation, uint256 rootTime)
        external
        view
        returns (uint256 result, uint256 gas)
    {
        gas = gasleft();
        result = computeVega(forward, strike, deviation, rootTime);
        gas -= gasleft();
    }

    function theta(uint256 forward, uint256 strike, uint256 deviation, uint256 time)
        external
        view
        returns (int256 result, uint256 gas)
    {
        gas = gasleft();
        result = computeTheta(forward, strike, deviation, time);
        gas -= gasleft();
    }
}
