// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Fault} from "../../protocol/Fault.sol";
import {processForceClose, processForceExit} from "../../protocol/Messages.sol";
import {processSweep} from "../../protocol/Realise.sol";
import {Checkpoint, Meter, State} from "../../protocol/State.sol";
import {Sweep} from "../../protocol/Types.sol";
import {RunHarness} from "./MoneyHarness.sol";

/// @title Runs sweeps and what users ask for through L1.
contract ForceHarness is RunHarness {
    function runSweep(bytes calldata witness, bytes32 root, Sweep memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        (State memory state, Checkpoint memory checkpoint) = open(witness);
        gas = gasleft();
        fault = processSweep(state, transaction);
        return close(state, checkpoint, root, fault, gas - gasleft());
    }

    function runForceExit(bytes calldata witness, bytes32 root, address sender, bytes memory body)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        (State memory state, Checkpoint memory checkpoint) = open(witness);
        gas = gasleft();
        fault = processForceExit(state, sender, body);
        return close(state, checkpoint, root, fault, gas - gasleft());
    }

    function runForceClose(bytes calldata witness, bytes32 root, address sender, bytes memory body)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        (State memory state, Checkpoint memory checkpoint) = open(witness);
        gas = gasleft();
        fault = processForceClose(state, sender, body);
        return close(state, checkpoint, root, fault, gas - gasleft());
    }
}
