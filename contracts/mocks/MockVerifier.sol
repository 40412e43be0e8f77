// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Context, ISignatureVerifier, ITransitionVerifier} from "../interfaces/IVerifiers.sol";

/// @title A verifier that does as it is told and tells what it was asked.
/// @dev The witness is the answer: byte 0 the mode, the rest what to return in mode `RETURN`.
contract MockVerifier is ITransitionVerifier, ISignatureVerifier {
    bytes1 public constant RETURN = 0x00;
    bytes1 public constant REVERT = 0x01;
    bytes1 public constant BURN_GAS = 0x02;
    bytes1 public constant REVERT_WITH_CONTEXT = 0x03;

    error MockVerifier_BadWitness();
    error MockVerifier_Asked(
        Context context, bytes32 dataHash, bytes32 signatureHash, uint256 position
    );

    function verifyTransition(Context calldata context, bytes calldata data, bytes calldata witness)
        external
        view
        returns (uint8)
    {
        _answer(context, data, "", 0, witness);
    }

    function verifySignature(
        Context calldata context,
        bytes calldata data,
        bytes calldata signatures,
        uint256 position,
        bytes calldata witness
    ) external view returns (uint8) {
        _answer(context, data, signatures, position, witness);
    }

    function _answer(
        Context calldata context,
        bytes calldata data,
        bytes memory signatures,
        uint256 position,
        bytes calldata witness
    ) private view {
        bytes1 mode = witness[0];
        if (mode == REVERT) revert MockVerifier_BadWitness();
        if (mode == REVERT_WITH_CONTEXT) {
            revert MockVerifier_Asked(context, keccak256(data), keccak256(signatures), position);
        }
        if (mode == BURN_GAS) {
            for (uint256 i = 0; gasleft() > 0;) {
                ++i;
            }
        }
        bytes memory answer = witness[1:];
        // solhint-disable-next-line no-inline-assembly
        assembly ("memory-safe") {
            return(add(answer, 32), mload(answer))
        }
    }
}
