// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Execution} from "./TransitionExecutor.sol";
import {Context, ITransitionVerifier} from "./interfaces/IVerifiers.sol";
import {Fault, isFault} from "./protocol/Fault.sol";
import {MemoryImage} from "./protocol/MemoryImage.sol";
import {State} from "./protocol/State.sol";
import {Context as ProtocolContext} from "./protocol/Types.sol";
import {
    IMessageQueue,
    computeStateRoot,
    decodeWitness,
    validateMessages,
    validateWitness
} from "./protocol/Witness.sol";

/// @title Re-executes one chunk on the leaves that a witness opens.
/// @dev Stateless. The witness is what `encode_witness` in `deltaroll/protocol/witness.py` writes.
/// This contract reads the witness and computes the roots; the transition itself is a module.
contract TransitionVerifier is ITransitionVerifier {
    /// @notice Applies the chunk.
    address public immutable executor;

    /// @notice There is no contract at the address of the executor.
    error TransitionVerifier_InvalidExecutor(address executor);

    /// @param executor_ A `TransitionExecutor`.
    constructor(address executor_) {
        if (executor_.code.length == 0) revert TransitionVerifier_InvalidExecutor(executor_);
        executor = executor_;
    }

    /// @inheritdoc ITransitionVerifier
    function verifyTransition(Context calldata context, bytes calldata data, bytes calldata witness)
        external
        view
        returns (uint8)
    {
        MemoryImage.begin();
        State memory state = decodeWitness(witness);
        validateMessages(state, IMessageQueue(context.bridge));
        ProtocolContext memory place = ProtocolContext(
            context.domainSeparator,
            context.l1Time,
            context.queueEnd,
            context.previousBaseFee,
            context.previousBlobFee,
            context.isFirst,
            context.isLast
        );
        Fault fault = _execute(Execution(state, data, place));
        if (isFault(fault)) {
            validateWitness(state, context.preRoot);
            return uint8(fault);
        }
        bytes32 root;
        (root, fault) = computeStateRoot(state, context.preRoot);
        if (fault == Fault.NONE && root != context.postRoot) fault = Fault.WRONG_POST_ROOT;
        return uint8(fault);
    }

    function _execute(Execution memory execution) private view returns (Fault) {
        uint256 root;
        assembly ("memory-safe") {
            root := execution
        }
        return Fault(MemoryImage.callModule(executor, root));
    }
}
