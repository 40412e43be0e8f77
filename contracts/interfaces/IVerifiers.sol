// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice What L1 knows about a chunk: the roots around it, its place in the batch and the batch's
/// header.
struct Context {
    /// State root before the chunk.
    bytes32 preRoot;
    /// State root that the proposer posted for the chunk.
    bytes32 postRoot;
    /// EIP-712 domain separator of user signatures.
    bytes32 domainSeparator;
    /// Holder of the L1 queue.
    address bridge;
    /// L1 timestamp of the batch.
    uint64 l1Time;
    /// End of the batch's queue range: no message from here on may be consumed.
    uint64 queueEnd;
    /// L1 base fee in the header before, wei.
    uint64 previousBaseFee;
    /// L1 blob base fee in the header before, wei.
    uint64 previousBlobFee;
    /// Whether the chunk opens its batch (folds the fees of the header before).
    bool isFirst;
    /// Whether the chunk closes its batch (must have reached `queueEnd`).
    bool isLast;
}

/// @title Re-executes one chunk.
interface ITransitionVerifier {
    /// @notice Judges a chunk's state transition, its signatures taken as good.
    /// @dev Reverts on a bad witness: it proves nothing.
    /// @param context The chunk's place.
    /// @param data The chunk's data, bound to the batch by the caller.
    /// @param witness Whatever the verifier needs besides.
    /// @return fault 0 when the chunk is honest, else the number of the broken rule.
    function verifyTransition(Context calldata context, bytes calldata data, bytes calldata witness)
        external
        view
        returns (uint8 fault);
}

/// @title Checks one signature of a chunk.
interface ISignatureVerifier {
    /// @notice Judges one signature (or the length of the signature section) of a chunk.
    /// @dev Reverts on a bad witness: it proves nothing.
    /// @param context The chunk's place.
    /// @param data The chunk's data, bound to the batch by the caller.
    /// @param signatures The chunk's signature section, bound to the batch by the caller.
    /// @param position Which signature.
    /// @param witness Whatever the verifier needs besides.
    /// @return fault 0 when the signature is good, else the number of the broken rule.
    function verifySignature(
        Context calldata context,
        bytes calldata data,
        bytes calldata signatures,
        uint256 position,
        bytes calldata witness
    ) external view returns (uint8 fault);
}
