// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divAway} from "./Arithmetic.sol";
import {PPM} from "./Constants.sol";
import {Fault} from "./Fault.sol";
import {INT64_BOUND} from "./State.sol";
import {Grid, Scenario, Series, Underlying} from "./Types.sol";

// Marks and risk vectors: what a series is worth now and under every scenario of its grid.

/// @dev Return the mark of a perpetual per lot: the index.
function computePerpetualMark(Underlying memory underlying) pure returns (uint256) {
    return underlying.index;
}

/// @dev Return profit and loss per lot under each scenario: mark * shock * weight, rounded away. Packed as in
/// a series' `lanes`. OUT_OF_RANGE when an entry does not fit int64.
///
/// A perpetual has no volatility: vol shocks leave it alone.
function computePerpetualRisk(uint256 mark, Grid memory grid)
    pure
    returns (uint256[] memory lanes, Fault)
{
    Scenario[] memory scenarios = grid.scenarios;
    uint256 count = scenarios.length;
    lanes = new uint256[]((count + 1) / 2);
    unchecked {
        for (uint256 i; i < count; ++i) {
            Scenario memory scenario = scenarios[i];
            // Below 2^64 * 2^31 * 2^32.
            int256 product = int256(mark) * scenario.spotShock * int256(scenario.weight);
            int256 entry = divAway(product, int256(PPM * PPM));
            if (entry < -INT64_BOUND || entry >= INT64_BOUND) return (lanes, Fault.OUT_OF_RANGE);
            // The upper lane shifts out its own sign extension; the word is their sum modulo 2^256.
            lanes[i / 2] += i % 2 == 0 ? uint256(entry) : uint256(entry) << 128;
        }
    }
    return (lanes, Fault.NONE);
}

/// @dev Return the mark of a series per lot; perpetuals are the only kind.
function computeMark(Series memory, Underlying memory underlying) pure returns (uint256) {
    return computePerpetualMark(underlying);
}

/// @dev Return the risk vector of a series marked at `mark`; perpetuals are the only kind.
function computeRisk(Series memory, uint256 mark, Grid memory grid)
    pure
    returns (uint256[] memory lanes, Fault fault)
{
    return computePerpetualRisk(mark, grid);
}
