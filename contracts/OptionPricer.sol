// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Fault, isFault} from "./protocol/Fault.sol";
import {
    Board,
    Quote,
    computeBoard,
    computeDeviation,
    computeDiscounts,
    computeLogMoneyness,
    computePairRisk
} from "./protocol/Risk.sol";
import {Expiry, RiskModel, Scenario} from "./protocol/Types.sol";

/// @title Prices the call and the put of a strike under a whole risk grid.
/// @notice Stateless, and a module of `TransitionExecutor`: the mathematics of options and its tables
/// are longer than one contract may be together with the rest (EIP-170). Anyone may call it.
/// @dev Calldata and return data are words, without a selector; structs are as in Types.sol.
///
/// request:  fixed part of the forward, variable part, seconds to expiry, strike, Expiry (15),
///           RiskModel (22), a Scenario (3) for each of the grid.
/// response: fault, long discount, short discount, basis factor, mark of the call, its lanes
///           (their number, then the words), mark of the put, its lanes.
///
/// A request of another form is no concern: it gets an answer that nobody asks for.
contract OptionPricer {
    uint256 private constant _EXPIRY = 0x80;
    uint256 private constant _MODEL = 0x260;
    uint256 private constant _SCENARIOS = 0x520;
    uint256 private constant _SCENARIO_BYTES = 0x60;

    // The calldata has no selector.
    // solhint-disable-next-line payable-fallback, no-complex-fallback
    fallback() external {
        (Expiry memory expiry, RiskModel memory model, Scenario[] memory scenarios) = _receive();
        uint256 remaining = _word(0x40);
        (Board memory board, Fault fault) =
            computeBoard(_word(0), _word(0x20), remaining, expiry.rate, model);
        if (isFault(fault)) _fail(fault);
        uint256 strike = _word(0x60);
        int256 logMoneyness = computeLogMoneyness(board, strike);
        uint256 deviation = computeDeviation(expiry, remaining, logMoneyness);
        Quote memory ofCall;
        Quote memory ofPut;
        (ofCall, ofPut, fault) = computePairRisk(board, scenarios, strike, logMoneyness, deviation);
        if (isFault(fault)) _fail(fault);
        (uint256 longDiscount, uint256 shortDiscount, uint256 basisFactor) =
            computeDiscounts(remaining, expiry.rate, model);
        assembly ("memory-safe") {
            let head := mload(0x40)
            mstore(head, 0)
            mstore(add(head, 0x20), longDiscount)
            mstore(add(head, 0x40), shortDiscount)
            mstore(add(head, 0x60), basisFactor)
            let place := add(head, 0x80)
            let lanes := mload(add(ofCall, 0x20))
            let length := add(shl(5, mload(lanes)), 0x20)
            mstore(place, mload(ofCall))
            mcopy(add(place, 0x20), lanes, length)
            place := add(add(place, 0x20), length)
            mstore(place, mload(ofPut))
            mcopy(add(place, 0x20), mload(add(ofPut, 0x20)), length)
            return(head, sub(add(add(place, 0x20), length), head))
        }
    }

    /// @dev Copies the request to memory; structs need no more than a pointer to where they are.
    function _receive()
        private
        pure
        returns (Expiry memory expiry, RiskModel memory model, Scenario[] memory scenarios)
    {
        assembly ("memory-safe") {
            let image := mload(0x40)
            calldatacopy(image, 0, calldatasize())
            expiry := add(image, _EXPIRY)
            model := add(image, _MODEL)
            let count := 0
            if gt(calldatasize(), _SCENARIOS) {
                count := div(sub(calldatasize(), _SCENARIOS), _SCENARIO_BYTES)
            }
            scenarios := add(image, calldatasize())
            mstore(scenarios, count)
            let place := add(scenarios, 0x20)
            let end := add(place, shl(5, count))
            mstore(0x40, end)
            for { let scenario := add(image, _SCENARIOS) } lt(place, end) {
                place := add(place, 0x20)
                scenario := add(scenario, _SCENARIO_BYTES)
            } {
                mstore(place, scenario)
            }
        }
    }

    function _word(uint256 offset) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := calldataload(offset)
        }
    }

    /// @dev Ends the call with a fault alone.
    function _fail(Fault fault) private pure {
        assembly ("memory-safe") {
            mstore(0, fault)
            return(0, 0x20)
        }
    }
}
