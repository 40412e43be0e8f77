// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBridge} from "./IBridge.sol";
import {IMarginVault} from "./IMarginVault.sol";
import {Header, IRollupInbox, QueueMessage} from "./IRollupInbox.sol";

/// @notice What an escaped account gets.
struct Claim {
    /// Owner of the account; not zero once it is registered.
    address owner;
    /// Equity in collateral units, before the ratio; 0 once it is paid.
    uint96 amount;
}

/// @notice A state in which an underlying without a price is shown.
struct Sighting {
    Header header;
    /// Opens the series and its underlying.
    bytes witness;
}

/// @title The way out when nobody proposes any more, or nobody prices.
/// @notice Freezes the rollup for ever, values every account by the protocol's own rules at the last state, and pays
/// each owner its equity, or its share when there is not enough for all.
/// @dev No address has any power here. In this order:
///
/// 1. `freeze`: a message has waited and no batch has come for `freezeDelay`. Or `freezeUnpriced`: somebody holds a
///    series whose underlying no committee has priced for `oracleDelay`. Then no batch and no message is taken any
///    more; pending batches can still be proven wrong.
/// 2. `open`, once the last batch has settled: fixes the final state, and what it holds for its accounts: all
///    deposits that it consumed less all exits that it made. Unclaimed exits and unprocessed deposits are not part of
///    that.
/// 3. `escape`, for `claimWindow`: proves accounts and the series they hold. Equity above zero becomes a claim.
/// 4. `claim`: pays. When claims exceed what there is, each gets the same part of its equity, rounded down.
///
/// An account that is proven after the window gets its equity out of what the others have left, so nobody who proves
/// is refused as long as there is something. An account with negative equity pays nothing and gets nothing. What the
/// insurance fund and the fee pool hold backs the others; it stays in the vault if it is not needed.
///
/// Equity is cash plus size * (mark - (carry - snapshot)) over the positions, at the marks of the final state, be they
/// fresh or not; settled series count what they pay. Funding counts as far as it was accrued.
interface IEscapeHatch {
    /// @notice The rollup is frozen for ever.
    event Frozen(address indexed caller, bytes32 indexed headHash);

    /// @notice The final state is fixed.
    event Opened(bytes32 indexed finalRoot, uint64 batch, uint128 available, uint256 closesAt);

    /// @notice An account's equity was registered.
    event Escaped(uint32 indexed account, address indexed owner, uint96 amount);

    /// @notice A claim was paid.
    event EscapePaid(uint32 indexed account, address indexed to, uint256 amount);

    /// @notice A deposit that the final state does not include went back.
    event DepositRefunded(uint64 indexed index, address indexed to, uint128 amount);

    /// @notice A parameter of the deployment cannot be right.
    error EscapeHatch_InvalidParameters();

    /// @notice The inbox or the vault given at construction does not answer to this contract.
    error EscapeHatch_WrongContract(address given);

    /// @notice The rollup is frozen already.
    error EscapeHatch_AlreadyFrozen();

    /// @notice The rollup is not frozen.
    error EscapeHatch_NotFrozen();

    /// @notice The header is not that of the last batch.
    error EscapeHatch_NotHead(bytes32 head, bytes32 given);

    /// @notice This is not the first message that waits.
    error EscapeHatch_WrongMessage(uint64 index);

    /// @notice A batch or the message came, or a batch was removed, too recently.
    error EscapeHatch_TooEarly(uint256 until);

    /// @notice The header is not that of the newest settled batch.
    error EscapeHatch_NotNewestSettled(uint64 batch);

    /// @notice Nobody holds this series, or it is settled.
    error EscapeHatch_NothingOpen(uint256 series);

    /// @notice The underlying was priced since.
    error EscapeHatch_Priced(uint256 underlying, uint256 observedAt);

    /// @notice The last batch has not settled.
    error EscapeHatch_NotSettled(uint64 batch);

    /// @notice The final state is fixed already.
    error EscapeHatch_AlreadyOpen();

    /// @notice The final state is not fixed yet.
    error EscapeHatch_NotOpen();

    /// @notice The bytes are not the globals of the final state.
    error EscapeHatch_WrongGlobals();

    /// @notice The witness opens no account with an owner, equity above zero, and no claim yet; or nothing is left.
    error EscapeHatch_NothingToRegister();

    /// @notice Payment starts when the window is over.
    error EscapeHatch_WindowOpen(uint256 until);

    /// @notice The account has no claim, or it was paid.
    error EscapeHatch_NoClaim(uint32 account);

    /// @notice Only the owner may name another recipient.
    error EscapeHatch_NotOwner(address caller);

    /// @notice The zero address cannot be paid.
    error EscapeHatch_ZeroRecipient();

    /// @notice The final state includes this message.
    error EscapeHatch_Processed(uint64 index);

    /// @notice The deposit went back already.
    error EscapeHatch_AlreadyRefunded(uint64 index);

    /// @notice Freezes the rollup because nobody proposes: the oldest waiting message is older than `freezeDelay`, and
    /// so is the last batch.
    /// @dev After a removal the last batch is an old one, so anyone has the inbox's `proposerDelay` to propose first.
    /// @param head Header of the last batch.
    /// @param next The message at its `queueEnd`.
    function freeze(Header calldata head, QueueMessage calldata next) external;

    /// @notice Freezes the rollup because nobody prices an underlying that somebody holds: the newest settled state had
    /// had no price for `oracleDelay` when the next batch came, and the last state has had none for as long by now.
    /// @dev Seen in two states so that neither an unproven batch nor an old failure is enough. Where prices stop while
    /// batches go on, it takes a challenge window more.
    /// @param series Series with open interest.
    /// @param settled The newest settled batch.
    /// @param next Header of the batch after it; ignored when there is none.
    /// @param head The last batch; ignored when it is the settled one.
    function freezeUnpriced(
        uint16 series,
        Sighting calldata settled,
        Header calldata next,
        Sighting calldata head
    ) external;

    /// @notice Fixes the final state.
    /// @param last Header of the last batch, settled.
    /// @param globals The bytes that hash to its post root.
    function open(Header calldata last, bytes calldata globals) external;

    /// @notice Registers the equity of accounts, whoever calls.
    /// @dev Accounts that are registered already, or have nothing, are passed over, so that nobody can make the proof
    /// of many accounts fail by proving one of them first.
    /// @param witness Opens the accounts and all series that they hold against the final state; the format is that of a
    /// transition proof.
    function escape(bytes calldata witness) external;

    /// @notice Pays an account's claim to its owner, whoever calls.
    /// @param account Account id.
    function claim(uint32 account) external;

    /// @notice Pays the caller's claim to somebody else.
    /// @param account Account id.
    /// @param to Recipient.
    function claimTo(uint32 account, address to) external;

    /// @notice Pays back a deposit that the final state does not include: to the owner it names when it asked for a new
    /// account by naming account 0, else to its sender.
    /// @param index Place in the queue.
    /// @param sender Who deposited.
    /// @param time Of the message.
    /// @param owner As deposited.
    /// @param account As deposited.
    /// @param amount As deposited.
    function refundDeposit(
        uint64 index,
        address sender,
        uint64 time,
        address owner,
        uint32 account,
        uint128 amount
    ) external;

    /// @notice Which batches count.
    function inbox() external view returns (IRollupInbox);

    /// @notice Holder of the L1 queue.
    function bridge() external view returns (IBridge);

    /// @notice Where the collateral is.
    function vault() external view returns (IMarginVault);

    /// @notice Seconds without a batch, with a message waiting, after which anyone may freeze.
    function freezeDelay() external view returns (uint64);

    /// @notice Seconds without a price after which anyone may freeze.
    function oracleDelay() external view returns (uint64);

    /// @notice Seconds from `open` to the first payment.
    function claimWindow() external view returns (uint64);

    /// @notice State root that accounts are proven against; 0 before `open`.
    function finalRoot() external view returns (bytes32);

    /// @notice Messages of the queue that the final state includes.
    function finalQueueEnd() external view returns (uint64);

    /// @notice When payment starts; 0 before `open`.
    function closesAt() external view returns (uint64);

    /// @notice What there is for the accounts, in collateral units.
    function available() external view returns (uint128);

    /// @notice Sum of the claims registered.
    function totalClaims() external view returns (uint128);

    /// @notice An account's claim.
    function claimOf(uint32 account) external view returns (Claim memory);

    /// @notice What an account's claim pays: final once the window is over.
    function payoutOf(uint32 account) external view returns (uint256);

    /// @notice Whether a deposit went back.
    function isRefunded(uint64 index) external view returns (bool);
}
