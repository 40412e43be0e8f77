// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBridge} from "./interfaces/IBridge.sol";
import {
    BatchInput,
    Bond,
    Chunk,
    Header,
    IRollupInbox,
    Parameters,
    QueueMessage,
    Reward,
    Stage
} from "./interfaces/IRollupInbox.sol";
import {Commitments} from "./libraries/Commitments.sol";
import {CHUNK_DEPTH, PROTOCOL_VERSION} from "./protocol/Constants.sol";
import {EfficientHashLib} from "solady/src/utils/EfficientHashLib.sol";
import {SafeTransferLib} from "solady/src/utils/SafeTransferLib.sol";

/// @title The rollup's log on L1. Rules of proposing and of bonds: `IRollupInbox`.
contract RollupInbox is IRollupInbox {
    /// First word of the preimage of `parameterHash`.
    bytes32 public constant PARAMETERS_DOMAIN = keccak256("deltaroll.parameters.v1");

    /// Bounds that keep every chunk provable in one transaction.
    uint256 public constant MAX_CHUNKS = 2 ** CHUNK_DEPTH;
    uint256 public constant MAX_CHUNK_DATA = 16_384;
    uint256 public constant MAX_CHUNK_SIGNATURES = 32_768;
    /// Most overdue messages that a batch can be asked for. One message fits a chunk, whatever it
    /// says.
    uint256 public constant FORCED_PER_BATCH = MAX_CHUNKS;
    /// Keeps times far from the end of their type: a removal must never overflow.
    uint256 public constant MAX_CHALLENGE_WINDOW = 365 days;
    /// Data mode in which chunks are calldata.
    uint8 public constant CALLDATA = 0;

    /// @inheritdoc IRollupInbox
    IBridge public immutable bridge;
    /// @inheritdoc IRollupInbox
    address public immutable prover;
    /// @inheritdoc IRollupInbox
    address public immutable escapeHatch;
    /// @inheritdoc IRollupInbox
    address public immutable sequencer;
    /// @inheritdoc IRollupInbox
    uint64 public immutable challengeWindow;
    /// @inheritdoc IRollupInbox
    uint64 public immutable forcedDelay;
    /// @inheritdoc IRollupInbox
    uint64 public immutable proposerDelay;
    /// @inheritdoc IRollupInbox
    uint128 public immutable bondAmount;
    /// @inheritdoc IRollupInbox
    bytes32 public immutable parameterHash;

    /// @inheritdoc IRollupInbox
    uint64 public batchCount;
    /// @inheritdoc IRollupInbox
    bool public hasBacklog;
    /// @inheritdoc IRollupInbox
    bool public isFrozen;
    /// @inheritdoc IRollupInbox
    uint64 public removedAt;
    /// Messages in the queue when the last batch came: those from here on are younger than the head.
    uint64 private _knownMessages;
    /// Words from `batchCount` on are left over from removed batches.
    mapping(uint256 index => bytes32) private _headerHashes;
    mapping(address proposer => Bond) private _bonds;
    mapping(address proposer => Reward) private _rewards;

    /// @param parameters The bridge is deployed and names this address; the addresses of prover and escape
    /// hatch are predicted.
    constructor(Parameters memory parameters) {
        if (address(parameters.bridge.inbox()) != address(this)) {
            revert RollupInbox_WrongBridge(address(parameters.bridge));
        }
        if (
            parameters.prover == address(0) || parameters.escapeHatch == address(0)
                || parameters.sequencer == address(0) || parameters.challengeWindow == 0
                || parameters.challengeWindow > MAX_CHALLENGE_WINDOW || parameters.bondAmount == 0
                || parameters.genesisRoot == 0
        ) revert RollupInbox_InvalidParameters();

        bridge = parameters.bridge;
        prover = parameters.prover;
        escapeHatch = parameters.escapeHatch;
        sequencer = parameters.sequencer;
        challengeWindow = parameters.challengeWindow;
        forcedDelay = parameters.forcedDelay;
        proposerDelay = parameters.proposerDelay;
        bondAmount = parameters.bondAmount;
        parameterHash = keccak256(
            abi.encode(
                PARAMETERS_DOMAIN,
                block.chainid,
                address(this),
                parameters.bridge.vault(),
                parameters,
                PROTOCOL_VERSION
            )
        );

        Header memory genesis;
        genesis.postRoot = parameters.genesisRoot;
        _append(genesis, false);
    }

    /// @inheritdoc IRollupInbox
    function submitBatch(BatchInput calldata input) external {
        Header calldata previous = input.previous;
        bytes32 previousHash = Commitments.computeHeaderHash(previous);
        bytes32 head = _headerHashes[batchCount - 1];
        if (isFrozen) revert RollupInbox_Frozen();
        _validateTopLevel();
        if (block.timestamp > input.deadline) revert RollupInbox_DeadlinePassed(input.deadline);
        if (previousHash != head) revert RollupInbox_StaleHead(head, previousHash);
        _validateProposer(previous.l1Time);
        bool leavesBacklog = _validateQueue(input);
        bytes32 chunksRoot = _commitChunks(input.chunks);

        Header memory header;
        header.index = previous.index + 1;
        header.previous = previousHash;
        header.postRoot = input.chunks[input.chunks.length - 1].postRoot;
        header.chunksRoot = chunksRoot;
        header.chunkCount = uint32(input.chunks.length);
        header.queueStart = previous.queueEnd;
        header.queueEnd = input.queueEnd;
        header.queueHash = input.queueHash;
        header.proposer = msg.sender;
        header.dataMode = CALLDATA;
        _bonds[msg.sender].lastBatchTime = uint64(block.timestamp);
        _append(header, leavesBacklog);
    }

    /// @inheritdoc IRollupInbox
    function remove(Header calldata header, uint8 fault, address challenger) external {
        if (msg.sender != prover) revert RollupInbox_NotProver(msg.sender);
        bytes32 hash = Commitments.computeHeaderHash(header);
        if (_stageOf(header, hash) != Stage.Pending) revert RollupInbox_NotPending(hash);

        batchCount = header.index;
        hasBacklog = false;
        removedAt = uint64(block.timestamp);
        emit BatchRemoved(header.index, hash, fault, challenger);
        _slash(header.proposer, challenger);
    }

    /// @inheritdoc IRollupInbox
    function freeze() external {
        if (msg.sender != escapeHatch) revert RollupInbox_NotEscapeHatch(msg.sender);
        isFrozen = true;
        emit InboxFrozen();
    }

    /// @inheritdoc IRollupInbox
    function bond() external payable {
        if (msg.value != bondAmount) revert RollupInbox_WrongBond(bondAmount, msg.value);
        if (_bonds[msg.sender].amount != 0) revert RollupInbox_AlreadyBonded(msg.sender);
        if (_rewards[msg.sender].claimableAt != 0) revert RollupInbox_RewardOpen(msg.sender);

        _bonds[msg.sender].amount = bondAmount;
        emit Bonded(msg.sender, msg.value);
    }

    /// @inheritdoc IRollupInbox
    function withdrawBond() external {
        Bond memory held = _bonds[msg.sender];
        if (held.amount == 0) revert RollupInbox_NotBonded(msg.sender);
        uint256 until = uint256(held.lastBatchTime) + challengeWindow;
        if (block.timestamp <= until) revert RollupInbox_BondLocked(until);

        delete _bonds[msg.sender];
        emit BondWithdrawn(msg.sender, held.amount);
        SafeTransferLib.safeTransferETH(msg.sender, held.amount);
    }

    /// @inheritdoc IRollupInbox
    function claimReward(address proposer) external {
        Reward memory reward = _rewards[proposer];
        if (reward.claimableAt == 0) revert RollupInbox_NoReward(proposer);
        if (block.timestamp <= reward.claimableAt) {
            revert RollupInbox_RewardLocked(reward.claimableAt);
        }

        delete _rewards[proposer];
        uint256 amount = bondAmount / 2;
        emit RewardClaimed(proposer, reward.challenger, amount);
        SafeTransferLib.forceSafeTransferETH(reward.challenger, amount);
    }

    /// @inheritdoc IRollupInbox
    function headerHash(uint64 index) public view returns (bytes32) {
        return index < batchCount ? _headerHashes[index] : bytes32(0);
    }

    /// @inheritdoc IRollupInbox
    function headHeaderHash() external view returns (bytes32) {
        return _headerHashes[batchCount - 1];
    }

    /// @inheritdoc IRollupInbox
    function stageOf(Header calldata header) public view returns (Stage) {
        return _stageOf(header, Commitments.computeHeaderHash(header));
    }

    /// @inheritdoc IRollupInbox
    function isPending(Header calldata header) external view returns (bool) {
        return stageOf(header) == Stage.Pending;
    }

    /// @inheritdoc IRollupInbox
    function isSettled(Header calldata header) external view returns (bool) {
        return stageOf(header) == Stage.Settled;
    }

    /// @inheritdoc IRollupInbox
    function bondOf(address proposer) external view returns (Bond memory) {
        return _bonds[proposer];
    }

    /// @inheritdoc IRollupInbox
    function rewardOf(address proposer) external view returns (Reward memory) {
        return _rewards[proposer];
    }

    /// @dev Completes the header with what L1 knows and makes it the head.
    function _append(Header memory header, bool leavesBacklog) private {
        header.l1Block = uint64(block.number);
        header.l1Time = uint64(block.timestamp);
        header.l1BaseFee = _cap(block.basefee);
        header.l1BlobFee = _cap(block.blobbasefee);
        header.parameterHash = parameterHash;

        bytes32 hash = Commitments.computeNewHeaderHash(header);
        _headerHashes[header.index] = hash;
        batchCount = header.index + 1;
        hasBacklog = leavesBacklog;
        _knownMessages = bridge.queueCount();
        emit BatchSubmitted(header.index, hash, header);
    }

    /// @dev A reward that exists here comes out of the bond that covered this very batch: see the
    /// interface.
    function _slash(address proposer, address challenger) private {
        Reward storage reward = _rewards[proposer];
        if (_bonds[proposer].amount == 0) {
            emit RewardPassed(proposer, reward.challenger, challenger);
            reward.challenger = challenger;
            return;
        }
        delete _bonds[proposer];
        reward.challenger = challenger;
        reward.claimableAt = uint64(block.timestamp) + challengeWindow;
        emit BondSlashed(proposer, challenger, bondAmount / 2, bondAmount - bondAmount / 2);
    }

    function _stageOf(Header calldata header, bytes32 hash) private view returns (Stage) {
        if (headerHash(header.index) != hash) return Stage.Unknown;
        if (header.index == 0 || block.timestamp > uint256(header.l1Time) + challengeWindow) {
            return Stage.Settled;
        }
        return Stage.Pending;
    }

    /// @dev An account with delegated code (EIP-7702) is the origin of its own inner calls, so having
    /// no code is part of it.
    function _validateTopLevel() private view {
        // Nobody is authorised by this.
        // solhint-disable-next-line avoid-tx-origin
        if (msg.sender != tx.origin || msg.sender.code.length != 0) {
            revert RollupInbox_NotTopLevel(msg.sender);
        }
    }

    function _validateProposer(uint64 headTime) private view {
        if (_bonds[msg.sender].amount == 0) revert RollupInbox_NotBonded(msg.sender);
        if (msg.sender == sequencer || hasBacklog) return;
        if (block.timestamp > uint256(headTime) + proposerDelay || _bonds[sequencer].amount == 0) {
            return;
        }
        revert RollupInbox_NotProposer(msg.sender);
    }

    /// @return leavesBacklog Whether an overdue message has to wait for the next batch.
    function _validateQueue(BatchInput calldata input) private view returns (bool leavesBacklog) {
        uint64 start = input.previous.queueEnd;
        uint64 end = input.queueEnd;
        uint64 count = bridge.queueCount();
        if (end < start || end > count) revert RollupInbox_QueueRange(start, end, count);
        bytes32 queueHash = end == 0 ? bytes32(0) : bridge.queueHash(end - 1);
        if (queueHash != input.queueHash) {
            revert RollupInbox_QueueMismatch(queueHash, input.queueHash);
        }
        if (end == count) return false;
        // Whatever came after the head is younger than it, so it cannot be overdue while the head is
        // not. It need not be shown then: it may have come after the proposer signed, and else
        // anybody's message would stop any batch. A removal leaves an older head and as many known
        // messages, which asks for more.
        if (
            end >= _knownMessages && block.timestamp <= uint256(input.previous.l1Time) + forcedDelay
        ) return false;

        QueueMessage calldata next = input.next;
        bytes32 message =
            Commitments.computeMessageHash(next.kind, next.sender, next.time, next.bodyHash);
        if (Commitments.computeQueueHash(queueHash, message) != bridge.queueHash(end)) {
            revert RollupInbox_WrongMessage(end);
        }
        leavesBacklog = block.timestamp > uint256(next.time) + forcedDelay;
        if (leavesBacklog && end - start < FORCED_PER_BATCH) {
            revert RollupInbox_ForcedInclusion(end);
        }
    }

    function _commitChunks(Chunk[] calldata chunks) private pure returns (bytes32) {
        uint256 count = chunks.length;
        if (count == 0 || count > MAX_CHUNKS) revert RollupInbox_ChunkCount(count);
        bytes32[] memory commitments = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            Chunk calldata chunk = chunks[i];
            if (chunk.data.length == 0 || chunk.data.length > MAX_CHUNK_DATA) {
                revert RollupInbox_DataLength(i, chunk.data.length);
            }
            if (chunk.signatures.length > MAX_CHUNK_SIGNATURES) {
                revert RollupInbox_SignaturesLength(i, chunk.signatures.length);
            }
            if (chunk.postRoot == 0) revert RollupInbox_ZeroPostRoot(i);
            commitments[i] = Commitments.computeChunkCommitment(
                EfficientHashLib.hashCalldata(chunk.data),
                EfficientHashLib.hashCalldata(chunk.signatures),
                chunk.postRoot
            );
        }
        return Commitments.computeChunksRoot(commitments);
    }

    function _cap(uint256 value) private pure returns (uint64) {
        return value > type(uint64).max ? type(uint64).max : uint64(value);
    }
}
