// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Context, ITransitionVerifier} from "./interfaces/IVerifiers.sol";
import {State} from "./protocol/State.sol";
import {computeFault} from "./protocol/Transition.sol";
import {Context as ProtocolContext} from "./protocol/Types.sol";
import {IMessageQueue, decodeWitness, validateMessages} from "./protocol/Witness.sol";

/// @title Re-executes one chunk on the leaves that a witness opens.
/// @dev Stateless. The witness is what `encode_witness` in `deltaroll/protocol/witness.py` writes.
contract TransitionVerifier is ITransitionVerifier {
    /// @inheritdoc ITransitionVerifier
    function verifyTransition(Context calldata context, bytes calldata data, bytes calldata witness)
        external
        view
        returns (uint8 fault)
    {
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
        return uint8(computeFault(state, data, place, context.preRoot, context.postRoot));
    }
}
