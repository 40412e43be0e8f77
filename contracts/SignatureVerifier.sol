// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Context, ISignatureVerifier} from "./interfaces/IVerifiers.sol";
import {Fault} from "./protocol/Fault.sol";
import {validateSignatures} from "./protocol/Signatures.sol";
import {State, resetMeter} from "./protocol/State.sol";
import {decodeWitness, validateWitness} from "./protocol/Witness.sol";

/// @title Checks one signature of a chunk against the state before the chunk.
/// @dev Stateless. The witness is what `encode_signature_witness` in `deltaroll/protocol/witness.py` writes:
/// that of a transition which opens only the leaves that name the signer's key.
contract SignatureVerifier is ISignatureVerifier {
    /// @notice The data does not decode, which is for the transition's proof to show.
    error SignatureVerifier_BadData(Fault fault);

    /// @inheritdoc ISignatureVerifier
    function verifySignature(
        Context calldata context,
        bytes calldata data,
        bytes calldata signatures,
        uint256 position,
        bytes calldata witness
    ) external pure returns (uint8) {
        State memory state = decodeWitness(witness);
        validateWitness(state, context.preRoot);
        resetMeter(state);
        Fault fault = validateSignatures(state, data, signatures, context.domainSeparator, position);
        if (fault != Fault.NONE && fault != Fault.SIGNATURE_COUNT && fault != Fault.BAD_SIGNATURE) {
            revert SignatureVerifier_BadData(fault);
        }
        return uint8(fault);
    }
}
