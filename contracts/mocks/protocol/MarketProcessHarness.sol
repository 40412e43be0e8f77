// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {processConfigure} from "../../protocol/Configure.sol";
import {Fault} from "../../protocol/Fault.sol";
import {processFund} from "../../protocol/Funding.sol";
import {processList} from "../../protocol/Listing.sol";
import {processObserve} from "../../protocol/Observe.sol";
import {Meter, State, resetMeter} from "../../protocol/State.sol";
import {processSurface} from "../../protocol/Surface.sol";
import {Fund, List, Observe, Surface} from "../../protocol/Types.sol";
import {computeStateRoot, decodeWitness} from "../../protocol/Witness.sol";

/// @title Runs single transactions on a witness for tests: fault, new state root, weight, gas.
contract MarketProcessHarness {
    function runObserve(bytes calldata witness, bytes32 root, Observe memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        State memory state = open(witness);
        gas = gasleft();
        fault = processObserve(state, transaction);
        return close(state, root, fault, gas - gasleft());
    }

    function runSurface(bytes calldata witness, bytes32 root, Surface memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        State memory state = open(witness);
        gas = gasleft();
        fault = processSurface(state, transaction);
        return close(state, root, fault, gas - gasleft());
    }

    function runList(bytes calldata witness, bytes32 root, List memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        State memory state = open(witness);
        gas = gasleft();
        fault = processList(state, transaction);
        return close(state, root, fault, gas - gasleft());
    }

    function runFund(bytes calldata witness, bytes32 root, Fund memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        State memory state = open(witness);
        gas = gasleft();
        fault = processFund(state, transaction);
        return close(state, root, fault, gas - gasleft());
    }

    function runConfigure(bytes calldata witness, bytes32 root, bytes memory body)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        State memory state = open(witness);
        gas = gasleft();
        fault = processConfigure(state, body);
        return close(state, root, fault, gas - gasleft());
    }

    function open(bytes calldata witness) internal pure returns (State memory state) {
        state = decodeWitness(witness);
        resetMeter(state);
    }

    /// @dev What a process came to, then the new state root, the weight, and the gas.
    function close(State memory state, bytes32 root, Fault fault, uint256 gas)
        internal
        pure
        returns (Fault, bytes32 rootAfter, Meter memory, uint256)
    {
        Fault bad;
        (rootAfter, bad) = computeStateRoot(state, root);
        if (bad != Fault.NONE) fault = bad;
        return (fault, rootAfter, state.meter, gas);
    }
}
