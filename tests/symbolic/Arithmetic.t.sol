// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {divAway, divDown, divUp} from "../../contracts/protocol/Arithmetic.sol";
import {VM, assumeDivision} from "./Prover.sol";

/// @dev Rounding goes where its name says, by less than one unit. Domain: all words, denominators above 0.
contract ArithmeticTheorems {
    /// 0 <= divUp * denominator - numerator < denominator.
    function check_divUp(int256 numerator, int256 denominator) external pure {
        int256 excess = _excessUp(numerator, denominator);
        assert(excess >= 0);
        assert(excess < denominator);
    }

    /// 0 <= numerator - divDown * denominator < denominator.
    function check_divDown(int256 numerator, int256 denominator) external pure {
        VM.assume(denominator > 0);
        assumeDivision(numerator, denominator);
        unchecked {
            int256 lack = numerator - divDown(numerator, denominator) * denominator;
            assert(lack >= 0);
            assert(lack < denominator);
        }
    }

    /// divAway is as far from zero as divUp of what is above zero and divDown of what is below.
    function check_divAway(int256 numerator, int256 denominator) external pure {
        VM.assume(denominator > 0);
        assumeDivision(numerator, denominator);
        unchecked {
            int256 excess = divAway(numerator, denominator) * denominator - numerator;
            assert(numerator < 0 ? excess <= 0 : excess >= 0);
            assert(excess < denominator && excess > -denominator);
        }
    }

    /// Planted: divUp is exact.
    function check_refuted_divUp(int256 numerator, int256 denominator) external pure {
        assert(_excessUp(numerator, denominator) == 0);
    }

    function _excessUp(int256 numerator, int256 denominator) private pure returns (int256) {
        VM.assume(denominator > 0);
        assumeDivision(numerator, denominator);
        unchecked {
            return divUp(numerator, denominator) * denominator - numerator;
        }
    }
}
