// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @dev What the prover offers to theorems: calls to addresses that it knows.
interface IVm {
    /// Cut off all cases in which this is false.
    function assume(bool condition) external pure;

    /// Set the sender of the next call, and its origin.
    function prank(address sender, address origin) external;
    function prank(address sender) external;
    function deal(address account, uint256 balance) external;
    function store(address account, bytes32 slot, bytes32 word) external;
    function warp(uint256 time) external;
}

interface ISvm {
    /// Forget what an account has stored: every word may be anything.
    function enableSymbolicStorage(address account) external;
    function createBytes(uint256 length, string calldata name) external returns (bytes memory);
    function createUint256(string calldata name) external returns (uint256);
}

IVm constant VM = IVm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
ISvm constant SVM = ISvm(0xF3993A62377BCd56AE39D773740A5390411E8BC9);

/// @dev Tell the prover what SDIV and SMOD are; to it they are functions of which it knows nothing.
///
/// Nothing is taken away: for `denominator` > 0 these are the truths of division with truncation, and the last
/// one is that of rings. The planted theorems that must be refuted show that some cases are left.
function assumeDivision(int256 numerator, int256 denominator) pure {
    unchecked {
        int256 quotient = numerator / denominator;
        int256 remainder = numerator % denominator;
        VM.assume(quotient * denominator == numerator - remainder);
        VM.assume(numerator < 0 ? remainder <= 0 : remainder >= 0);
        VM.assume(remainder < denominator && remainder > -denominator);
        VM.assume((quotient + 1) * denominator == quotient * denominator + denominator);
        VM.assume((quotient - 1) * denominator == quotient * denominator - denominator);
    }
}
