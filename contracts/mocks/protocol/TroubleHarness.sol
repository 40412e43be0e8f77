// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Fault} from "../../protocol/Fault.sol";
import {processDistress, processLiquidate, processSocialise} from "../../protocol/Liquidation.sol";
import {Checkpoint, Meter, State} from "../../protocol/State.sol";
import {Distress, Liquidate, Socialise} from "../../protocol/Types.sol";
import {RunHarness} from "./MoneyHarness.sol";

/// @title Runs what happens to accounts in trouble.
contract TroubleHarness is RunHarness {
    function runDistress(bytes calldata witness, bytes32 root, Distress memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        (State memory state, Checkpoint memory checkpoint) = open(witness);
        gas = gasleft();
        fault = processDistress(state, transaction);
        return close(state, checkpoint, root, fault, gas - gasleft());
    }

    function runLiquidate(bytes calldata witness, bytes32 root, Liquidate memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        (State memory state, Checkpoint memory checkpoint) = open(witness);
        gas = gasleft();
        fault = processLiquidate(state, transaction);
        return close(state, checkpoint, root, fault, gas - gasleft());
    }

    function runSocialise(bytes calldata witness, bytes32 root, Socialise memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        (State memory state, Checkpoint memory checkpoint) = open(witness);
        gas = gasleft();
        fault = processSocialise(state, transaction);
        return close(state, checkpoint, root, fault, gas - gasleft());
    }
}
