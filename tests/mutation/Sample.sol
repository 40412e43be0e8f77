// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

uint256 constant OFFSET = 7;

/// @title A bit of everything that is mutated.
contract Sample {
    // solhint-disable-next-line payable-fallback, no-complex-fallback
    fallback() external {
        uint256 word;
        assembly ("memory-safe") {
            word := calldataload(0)
        }
        uint256 result = _compute(word);
        assembly ("memory-safe") {
            mstore(0, result)
            return(0, 0x20)
        }
    }

    function _compute(uint256 word) private pure returns (uint256) {
        uint256 total = word + OFFSET;
        if (word > 4 && word != 9) total = total * 3;
        bool isSmall = word < 10;
        total |= isSmall ? uint256(256) : 0;
        uint256[3] memory steps = [uint256(2), 2, 2];
        for (uint256 at; at < steps.length; ++at) {
            total += steps[at];
        }
        assembly ("memory-safe") {
            total := shr(1, add(total, 5))
        }
        return total;
    }
}
