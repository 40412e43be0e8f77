// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Header, IRollupInbox} from "./IRollupInbox.sol";
import {ISignatureVerifier, ITransitionVerifier} from "./IVerifiers.sol";

/// @notice Where a chunk is: which batch, which position, between which roots.
struct ChunkProof {
    /// Header of the batch.
    Header header;
    /// Header of the batch before.
    Header previous;
    /// Position of the chunk in the batch.
    uint256 index;
    /// Hash of the chunk's signature section.
    bytes32 signatureHash;
    /// State root that was posted for the chunk.
    bytes32 postRoot;
    /// Siblings of the chunk's commitment, from the leaf up.
    bytes32[8] branch;
    /// The chunk before, ignored when `index` is 0.
    bytes32 priorDataHash;
    bytes32 priorSignatureHash;
    bytes32 priorPostRoot;
    bytes32[8] priorBranch;
}

/// @title One-transaction fraud proofs.
/// @notice Removes a batch of which one chunk is proven wrong.
/// @dev Checks WHERE a chunk is; the verifiers, stateless, check WHAT it does. Nothing but a
/// verifier's successful return of one word that is a known fault removes a batch: a revert, for a
/// bad witness or for want of gas, reverts here as well.
interface IFraudProver {
    /// @notice A chunk was proven wrong and its batch removed.
    event FraudProven(
        bytes32 indexed headerHash,
        uint256 indexed chunkIndex,
        uint8 fault,
        address indexed challenger
    );

    /// @notice The batch is not inside its challenge window (or was removed already).
    error FraudProver_NotPending(uint64 batchIndex);

    /// @notice The second header is not the one before the first.
    error FraudProver_WrongPrevious(bytes32 expected, bytes32 given);

    /// @notice The batch has no chunk of this index.
    error FraudProver_ChunkIndex(uint256 index, uint256 count);

    /// @notice The chunk is not in the batch.
    error FraudProver_WrongChunk(uint256 index);

    /// @notice The signature section is not the chunk's.
    error FraudProver_WrongSignatures();

    /// @notice The verifier returned something that is neither 0 nor a fault.
    error FraudProver_InvalidVerdict();

    /// @notice The chunk is honest.
    error FraudProver_NoFault();

    /// @notice The inbox given at construction does not answer to this prover.
    error FraudProver_WrongInbox(address inbox);

    /// @notice A verifier given at construction has no code.
    error FraudProver_InvalidVerifier(address verifier);

    /// @notice Proves that a chunk breaks a rule of the state transition.
    /// @param proof Where the chunk is.
    /// @param data The chunk's data.
    /// @param witness For the transition verifier.
    function prove(ChunkProof calldata proof, bytes calldata data, bytes calldata witness) external;

    /// @notice Proves that one signature of a chunk is bad.
    /// @param proof Where the chunk is.
    /// @param data The chunk's data.
    /// @param signatures The chunk's signature section.
    /// @param position Which signature.
    /// @param witness For the signature verifier.
    function proveSignature(
        ChunkProof calldata proof,
        bytes calldata data,
        bytes calldata signatures,
        uint256 position,
        bytes calldata witness
    ) external;

    /// @notice Where batches are removed.
    function inbox() external view returns (IRollupInbox);

    /// @notice Holder of the L1 queue.
    function bridge() external view returns (address);

    /// @notice Judge of transitions.
    function transitionVerifier() external view returns (ITransitionVerifier);

    /// @notice Judge of signatures.
    function signatureVerifier() external view returns (ISignatureVerifier);

    /// @notice EIP-712 domain separator of user signatures.
    function domainSeparator() external view returns (bytes32);
}
