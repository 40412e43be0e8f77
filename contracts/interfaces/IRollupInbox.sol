// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBridge} from "./IBridge.sol";

/// @notice All that L1 commits to about a batch. Storage keeps its hash.
struct Header {
    /// Place in the chain of batches; 0 is the genesis.
    uint64 index;
    /// Hash of the header before.
    bytes32 previous;
    /// State root after the last chunk.
    bytes32 postRoot;
    /// Root of the tree of chunk commitments.
    bytes32 chunksRoot;
    uint32 chunkCount;
    /// First L1 queue message that the batch consumes.
    uint64 queueStart;
    /// One past the last.
    uint64 queueEnd;
    /// Commitment to the messages before `queueEnd`.
    bytes32 queueHash;
    uint64 l1Block;
    uint64 l1Time;
    /// Wei, capped to 64 bits.
    uint64 l1BaseFee;
    /// Wei, capped to 64 bits.
    uint64 l1BlobFee;
    address proposer;
    /// 0: calldata.
    uint8 dataMode;
    bytes32 parameterHash;
}

/// @notice A piece of a batch, small enough to be proven wrong in one transaction.
struct Chunk {
    bytes data;
    bytes signatures;
    bytes32 postRoot;
}

/// @notice A message of the L1 queue, its body hashed.
struct QueueMessage {
    uint8 kind;
    address sender;
    uint64 time;
    bytes32 bodyHash;
}

/// @notice A batch as posted.
struct BatchInput {
    /// Header of the current head.
    Header previous;
    uint64 queueEnd;
    /// What the proposer saw at `queueEnd`: an L1 reorganisation of the queue makes the transaction
    /// revert.
    bytes32 queueHash;
    /// Last second to land in: later the chunk clocks would be stale.
    uint64 deadline;
    /// The message at `queueEnd`; ignored when the whole queue is consumed, and when that message came
    /// after the head and the head is not older than `forcedDelay`.
    QueueMessage next;
    Chunk[] chunks;
}

/// @notice How far L1 is with a batch.
enum Stage {
    /// Never posted, or removed.
    Unknown,
    /// Inside its challenge window.
    Pending,
    /// Past it: exits can be claimed.
    Settled
}

/// @notice What an inbox is deployed with.
struct Parameters {
    IBridge bridge;
    address prover;
    /// May freeze the rollup.
    address escapeHatch;
    address sequencer;
    /// Seconds in which a batch can be proven wrong.
    uint64 challengeWindow;
    /// Seconds after which a queue message must be consumed.
    uint64 forcedDelay;
    /// Seconds without a batch after which anyone may propose.
    uint64 proposerDelay;
    /// Wei.
    uint128 bondAmount;
    bytes32 genesisRoot;
}

/// @notice A proposer's stake.
struct Bond {
    /// Wei: the bond or 0.
    uint128 amount;
    uint64 lastBatchTime;
}

/// @notice A challenger's share of a slashed bond, on hold.
struct Reward {
    address challenger;
    uint64 claimableAt;
}

/// @title The rollup's log on L1.
/// @notice Orders batches, holds proposers' bonds, says which batches are settled.
/// @dev One word of storage per batch: `batchCount` says how many words count, so removal is one
/// write and words past the count are never trusted.
///
/// Who may propose: the sequencer; anyone when the sequencer has no bond, when no batch came for
/// `proposerDelay`, or when the last batch left an overdue queue message behind.
///
/// Forced inclusion: a batch must consume every message older than `forcedDelay`, but is never
/// asked for more than `FORCED_PER_BATCH`: else a flood of messages, or the removal of a week of
/// batches, would ask for more than fits a batch and stop the rollup for ever.
///
/// Freezing: the escape hatch may end the rollup, for ever, by the rules of `IEscapeHatch`. No batch
/// is taken then; pending ones can still be removed, and bonds and rewards are paid as ever.
///
/// Bonds: a pending batch is always covered by its proposer's bond or by the reward that came out
/// of it. A bond cannot be withdrawn while its owner has a pending batch. Slashing takes it whole:
/// half is burnt (stays here for ever, no call is made), half waits for a challenge window as the
/// challenger's reward. When an earlier batch of the same proposer is removed meanwhile, the reward
/// passes to that challenger: a cheat gains nothing by proving its own later batch first, and a
/// challenger should always prove the earliest bad batch. A slashed proposer cannot bond again
/// before the reward is paid out, so there is at most one reward per proposer and nothing posted
/// after the slashing can touch it.
interface IRollupInbox {
    /// @notice A batch was posted (the genesis, when `index` is 0).
    event BatchSubmitted(uint64 indexed index, bytes32 indexed headerHash, Header header);

    /// @notice A batch was proven wrong; it and all after it are gone.
    event BatchRemoved(
        uint64 indexed index, bytes32 indexed headerHash, uint8 fault, address indexed challenger
    );

    /// @notice A proposer paid its bond.
    event Bonded(address indexed proposer, uint256 amount);

    /// @notice A proposer took its bond back.
    event BondWithdrawn(address indexed proposer, uint256 amount);

    /// @notice A proposer lost its bond.
    event BondSlashed(
        address indexed proposer, address indexed challenger, uint256 reward, uint256 burnt
    );

    /// @notice An earlier bad batch was removed: its challenger takes over the reward.
    event RewardPassed(address indexed proposer, address indexed from, address indexed to);

    /// @notice A reward was paid.
    event RewardClaimed(address indexed proposer, address indexed challenger, uint256 amount);

    /// @notice No batch is taken any more.
    event InboxFrozen();

    /// @notice A parameter of the deployment cannot be right.
    error RollupInbox_InvalidParameters();

    /// @notice The bridge given at construction does not answer to this inbox.
    error RollupInbox_WrongBridge(address bridge);

    /// @notice A batch has to be the calldata of a transaction.
    error RollupInbox_NotTopLevel(address caller);

    /// @notice Not this caller's turn to propose.
    error RollupInbox_NotProposer(address caller);

    /// @notice Proposers need a bond.
    error RollupInbox_NotBonded(address caller);

    /// @notice The transaction landed after its deadline.
    error RollupInbox_DeadlinePassed(uint64 deadline);

    /// @notice The batch does not build on the head.
    error RollupInbox_StaleHead(bytes32 head, bytes32 given);

    /// @notice The queue range goes backwards or past the end of the queue.
    error RollupInbox_QueueRange(uint64 start, uint64 end, uint64 count);

    /// @notice The queue is not the one that the proposer saw.
    error RollupInbox_QueueMismatch(bytes32 expected, bytes32 given);

    /// @notice This is not the message at `queueEnd`.
    error RollupInbox_WrongMessage(uint64 index);

    /// @notice This message is overdue and the batch has to consume it.
    error RollupInbox_ForcedInclusion(uint64 index);

    /// @notice A batch has 1 to 256 chunks.
    error RollupInbox_ChunkCount(uint256 count);

    /// @notice A chunk has 1 to 16,384 bytes of data.
    error RollupInbox_DataLength(uint256 chunk, uint256 length);

    /// @notice A chunk has at most 32,768 bytes of signatures.
    error RollupInbox_SignaturesLength(uint256 chunk, uint256 length);

    /// @notice A state root is never zero.
    error RollupInbox_ZeroPostRoot(uint256 chunk);

    /// @notice Only the prover may remove.
    error RollupInbox_NotProver(address caller);

    /// @notice The header is not that of a batch inside its challenge window.
    error RollupInbox_NotPending(bytes32 headerHash);

    /// @notice The bond is one fixed amount.
    error RollupInbox_WrongBond(uint256 expected, uint256 given);

    /// @notice Only the escape hatch may freeze.
    error RollupInbox_NotEscapeHatch(address caller);

    /// @notice The rollup is frozen.
    error RollupInbox_Frozen();

    /// @notice The caller has its bond in place.
    error RollupInbox_AlreadyBonded(address proposer);

    /// @notice The caller was slashed and the reward is not paid out yet.
    error RollupInbox_RewardOpen(address proposer);

    /// @notice A bond answers for every pending batch of its owner.
    error RollupInbox_BondLocked(uint256 until);

    /// @notice Nothing came out of this proposer's bond, or it was paid.
    error RollupInbox_NoReward(address proposer);

    /// @notice An earlier batch of the proposer may still turn out bad.
    error RollupInbox_RewardLocked(uint256 until);

    /// @notice Posts a batch on top of the head.
    /// @dev Only as the outermost call of a transaction by an account without code: whoever has the
    /// blocks has the data then, without tracing calls.
    /// @param input The batch.
    function submitBatch(BatchInput calldata input) external;

    /// @notice Removes a pending batch and all after it, slashes its proposer.
    /// @dev Later batches of other proposers go without a slash: they built on what L1 showed them.
    /// @param header Header of the batch.
    /// @param fault The broken rule.
    /// @param challenger Who proved it.
    function remove(Header calldata header, uint8 fault, address challenger) external;

    /// @notice Takes no batch any more.
    function freeze() external;

    /// @notice Pays the caller's bond.
    function bond() external payable;

    /// @notice Returns the caller's bond once its last batch has left the challenge window.
    function withdrawBond() external;

    /// @notice Pays the reward that came out of a proposer's bond to its challenger, whoever calls.
    /// @dev Cannot be blocked by the challenger: ether is forced onto an address that refuses it.
    /// @param proposer The slashed proposer.
    function claimReward(address proposer) external;

    /// @notice Holder of the L1 queue.
    function bridge() external view returns (IBridge);

    /// @notice The only address that may remove.
    function prover() external view returns (address);

    /// @notice The only address that may freeze.
    function escapeHatch() external view returns (address);

    /// @notice The regular proposer.
    function sequencer() external view returns (address);

    /// @notice Seconds in which a batch can be proven wrong.
    function challengeWindow() external view returns (uint64);

    /// @notice Seconds after which a queue message must be consumed.
    function forcedDelay() external view returns (uint64);

    /// @notice Seconds without a batch after which anyone may propose.
    function proposerDelay() external view returns (uint64);

    /// @notice Wei.
    function bondAmount() external view returns (uint128);

    /// @notice Commitment to the deployment: chain, addresses, times, bond, genesis, protocol
    /// version.
    function parameterHash() external view returns (bytes32);

    /// @notice Batches on the chain, genesis included: the index of the next one.
    function batchCount() external view returns (uint64);

    /// @notice Whether the last batch left an overdue queue message behind, so that anyone may
    /// propose.
    function hasBacklog() external view returns (bool);

    /// @notice Whether batches are refused for ever.
    function isFrozen() external view returns (bool);

    /// @notice When a batch was last proven wrong; 0: never.
    function removedAt() external view returns (uint64);

    /// @notice Hash of the batch of this index; 0 when there is none.
    function headerHash(uint64 index) external view returns (bytes32);

    /// @notice Hash of the last batch.
    function headHeaderHash() external view returns (bytes32);

    /// @notice How far L1 is with a batch.
    function stageOf(Header calldata header) external view returns (Stage);

    /// @notice Whether a batch is on the chain and can still be proven wrong.
    function isPending(Header calldata header) external view returns (bool);

    /// @notice Whether a batch is on the chain for good.
    function isSettled(Header calldata header) external view returns (bool);

    /// @notice A proposer's bond.
    function bondOf(address proposer) external view returns (Bond memory);

    /// @notice The open reward out of a proposer's bond.
    function rewardOf(address proposer) external view returns (Reward memory);
}
