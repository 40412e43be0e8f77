// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ChunkProof, IFraudProver} from "./interfaces/IFraudProver.sol";
import {Header, IRollupInbox} from "./interfaces/IRollupInbox.sol";
import {Context, ISignatureVerifier, ITransitionVerifier} from "./interfaces/IVerifiers.sol";
import {Commitments} from "./libraries/Commitments.sol";
import {Fault} from "./protocol/Fault.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";

/// @title One-transaction fraud proofs. What counts as a proof: `IFraudProver`.
contract FraudProver is IFraudProver {
    using Address for address;

    bytes32 private constant DOMAIN_TYPEHASH = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );

    /// @inheritdoc IFraudProver
    IRollupInbox public immutable inbox;
    /// @inheritdoc IFraudProver
    address public immutable bridge;
    /// @inheritdoc IFraudProver
    ITransitionVerifier public immutable transitionVerifier;
    /// @inheritdoc IFraudProver
    ISignatureVerifier public immutable signatureVerifier;
    /// @inheritdoc IFraudProver
    bytes32 public immutable domainSeparator;

    /// @param inbox_ Deployed just before, for the address that this prover gets.
    /// @param transitionVerifier_ Judge of transitions.
    /// @param signatureVerifier_ Judge of signatures.
    constructor(
        IRollupInbox inbox_,
        ITransitionVerifier transitionVerifier_,
        ISignatureVerifier signatureVerifier_
    ) {
        if (inbox_.prover() != address(this)) {
            revert FraudProver_WrongInbox(address(inbox_));
        }
        _requireCode(address(transitionVerifier_));
        _requireCode(address(signatureVerifier_));
        inbox = inbox_;
        bridge = address(inbox_.bridge());
        transitionVerifier = transitionVerifier_;
        signatureVerifier = signatureVerifier_;
        domainSeparator = keccak256(
            abi.encode(
                DOMAIN_TYPEHASH,
                keccak256("Deltaroll"),
                keccak256("1"),
                block.chainid,
                address(inbox_)
            )
        );
    }

    /// @inheritdoc IFraudProver
    function prove(ChunkProof calldata proof, bytes calldata data, bytes calldata witness)
        external
    {
        Context memory context = _open(proof, data);
        bytes memory verdict = address(transitionVerifier)
            .functionStaticCall(
                abi.encodeCall(ITransitionVerifier.verifyTransition, (context, data, witness))
            );
        _remove(proof, verdict);
    }

    /// @inheritdoc IFraudProver
    function proveSignature(
        ChunkProof calldata proof,
        bytes calldata data,
        bytes calldata signatures,
        uint256 position,
        bytes calldata witness
    ) external {
        if (keccak256(signatures) != proof.signatureHash) {
            revert FraudProver_WrongSignatures();
        }
        Context memory context = _open(proof, data);
        bytes memory verdict = address(signatureVerifier)
            .functionStaticCall(
                abi.encodeCall(
                    ISignatureVerifier.verifySignature,
                    (context, data, signatures, position, witness)
                )
            );
        _remove(proof, verdict);
    }

    /// @dev The inbox checks the header again; here it saves a challenger who came second the cost
    /// of the proof.
    function _remove(ChunkProof calldata proof, bytes memory verdict) private {
        if (verdict.length != 32) revert FraudProver_InvalidVerdict();
        uint256 fault = uint256(bytes32(verdict));
        if (fault == 0) revert FraudProver_NoFault();
        if (fault > uint8(type(Fault).max)) revert FraudProver_InvalidVerdict();

        inbox.remove(proof.header, uint8(fault), msg.sender);
        emit FraudProven(
            Commitments.computeHeaderHash(proof.header), proof.index, uint8(fault), msg.sender
        );
    }

    function _open(ChunkProof calldata proof, bytes calldata data)
        private
        view
        returns (Context memory context)
    {
        Header calldata header = proof.header;
        Header calldata previous = proof.previous;
        if (!inbox.isPending(header)) revert FraudProver_NotPending(header.index);
        bytes32 previousHash = Commitments.computeHeaderHash(previous);
        if (previousHash != header.previous) {
            revert FraudProver_WrongPrevious(header.previous, previousHash);
        }
        if (proof.index >= header.chunkCount) {
            revert FraudProver_ChunkIndex(proof.index, header.chunkCount);
        }
        _validateChunk(
            header, proof.index, keccak256(data), proof.signatureHash, proof.postRoot, proof.branch
        );

        context.preRoot = proof.index == 0 ? previous.postRoot : _openPreRoot(proof);
        context.postRoot = proof.postRoot;
        context.domainSeparator = domainSeparator;
        context.bridge = bridge;
        context.l1Time = header.l1Time;
        context.queueEnd = header.queueEnd;
        context.previousBaseFee = previous.l1BaseFee;
        context.previousBlobFee = previous.l1BlobFee;
        context.isFirst = proof.index == 0;
        context.isLast = proof.index == header.chunkCount - 1;
    }

    function _openPreRoot(ChunkProof calldata proof) private pure returns (bytes32) {
        _validateChunk(
            proof.header,
            proof.index - 1,
            proof.priorDataHash,
            proof.priorSignatureHash,
            proof.priorPostRoot,
            proof.priorBranch
        );
        return proof.priorPostRoot;
    }

    function _validateChunk(
        Header calldata header,
        uint256 index,
        bytes32 dataHash,
        bytes32 signatureHash,
        bytes32 postRoot,
        bytes32[8] calldata branch
    ) private pure {
        bytes32 commitment = Commitments.computeChunkCommitment(dataHash, signatureHash, postRoot);
        if (Commitments.computeChunkBranch(commitment, index, branch) != header.chunksRoot) {
            revert FraudProver_WrongChunk(index);
        }
    }

    function _requireCode(address verifier) private view {
        if (verifier.code.length == 0) revert FraudProver_InvalidVerifier(verifier);
    }
}
