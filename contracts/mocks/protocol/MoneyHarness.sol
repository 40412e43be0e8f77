// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {processTransfer, processWithdraw} from "../../protocol/Actions.sol";
import {Fault, isFault} from "../../protocol/Fault.sol";
import {Streak, processFill} from "../../protocol/Fill.sol";
import {
    Checkpoint,
    Meter,
    State,
    begin,
    commit,
    resetMeter,
    rollback
} from "../../protocol/State.sol";
import {Fill, Transfer, Withdraw} from "../../protocol/Types.sol";
import {computeStateRoot, decodeWitness} from "../../protocol/Witness.sol";

/// @title What runs of single transactions on a witness have in common: fault, new state root, weight, gas.
abstract contract RunHarness {
    function open(bytes calldata witness)
        internal
        pure
        returns (State memory state, Checkpoint memory checkpoint)
    {
        state = decodeWitness(witness);
        resetMeter(state);
        checkpoint = begin(state);
    }

    /// @dev What a process came to, then the new state root, the weight, and the gas. What a fault leaves is
    /// rolled back.
    function close(
        State memory state,
        Checkpoint memory checkpoint,
        bytes32 root,
        Fault fault,
        uint256 gas
    ) internal pure returns (Fault, bytes32 rootAfter, Meter memory, uint256) {
        if (isFault(fault)) rollback(state, checkpoint);
        else commit(state);
        Fault bad;
        (rootAfter, bad) = computeStateRoot(state, root);
        if (bad != Fault.NONE) fault = bad;
        return (fault, rootAfter, state.meter, gas);
    }
}

/// @title Runs what moves money between healthy accounts.
contract MoneyHarness is RunHarness {
    function runFill(bytes calldata witness, bytes32 root, Fill memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        (State memory state, Checkpoint memory checkpoint) = open(witness);
        gas = gasleft();
        (, fault) = processFill(state, transaction, Streak(false, 0, 0), false);
        return close(state, checkpoint, root, fault, gas - gasleft());
    }

    function runTransfer(bytes calldata witness, bytes32 root, Transfer memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        (State memory state, Checkpoint memory checkpoint) = open(witness);
        gas = gasleft();
        fault = processTransfer(state, transaction);
        return close(state, checkpoint, root, fault, gas - gasleft());
    }

    function runWithdraw(bytes calldata witness, bytes32 root, Withdraw memory transaction)
        external
        view
        returns (Fault fault, bytes32, Meter memory, uint256 gas)
    {
        (State memory state, Checkpoint memory checkpoint) = open(witness);
        gas = gasleft();
        fault = processWithdraw(state, transaction);
        return close(state, checkpoint, root, fault, gas - gasleft());
    }
}
