// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Fault} from "./protocol/Fault.sol";
import {Handover, Task, toHandover, toTransaction} from "./protocol/Handover.sol";
import {processDistress, processLiquidate, processSocialise} from "./protocol/Liquidation.sol";
import {MemoryImage} from "./protocol/MemoryImage.sol";
import {processForceClose, processForceExit} from "./protocol/Messages.sol";
import {processSweep} from "./protocol/Realise.sol";
import {State} from "./protocol/State.sol";
import {Kind, Transaction} from "./protocol/Types.sol";

/// @title What `TransitionExecutor` has no room for and an account's margin is needed for.
/// @dev Stateless, and a module of `TransitionExecutor`: called with a memory image whose root is a
/// `Handover`, it gives back the image with the state changed, and the fault as its result. Anyone
/// may call it; it proves nothing by itself.
contract AccountExecutor {
    // The calldata is an image and has no selector.
    // solhint-disable-next-line payable-fallback, no-complex-fallback
    fallback() external {
        Handover memory handover = toHandover(MemoryImage.receiveImage());
        MemoryImage.returnImage(uint256(_execute(handover)));
    }

    function _execute(Handover memory handover) private pure returns (Fault) {
        State memory state = handover.state;
        Task task = handover.task;
        if (task == Task.FORCE_EXIT) {
            return processForceExit(state, handover.sender, handover.body);
        }
        if (task == Task.FORCE_CLOSE) {
            return processForceClose(state, handover.sender, handover.body);
        }
        return _processAction(state, toTransaction(handover.subject));
    }

    /// @dev The part of `processAction` in `protocol/Messages.sol` that is about accounts in distress.
    function _processAction(State memory state, Transaction memory transaction)
        private
        pure
        returns (Fault)
    {
        Kind kind = transaction.kind;
        if (kind == Kind.SWEEP) return processSweep(state, transaction.sweep);
        if (kind == Kind.DISTRESS) return processDistress(state, transaction.distress);
        if (kind == Kind.LIQUIDATE) return processLiquidate(state, transaction.liquidate);
        return processSocialise(state, transaction.socialise);
    }
}
