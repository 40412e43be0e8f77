// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBridge} from "./interfaces/IBridge.sol";
import {Claim, IEscapeHatch, Sighting} from "./interfaces/IEscapeHatch.sol";
import {IMarginVault} from "./interfaces/IMarginVault.sol";
import {Header, IRollupInbox, QueueMessage} from "./interfaces/IRollupInbox.sol";
import {Commitments} from "./libraries/Commitments.sol";
import {computeEquityOf} from "./protocol/Books.sol";
import {MAX_AMOUNT} from "./protocol/Constants.sol";
import {Fault, isFault} from "./protocol/Fault.sol";
import {GLOBALS_BYTES, decodeGlobals} from "./protocol/Leaf.sol";
import {
    AccountEntry,
    MarketType,
    State,
    getLeaf,
    getSeries,
    getUnderlying,
    resetMeter,
    toSeries
} from "./protocol/State.sol";
import {
    Account,
    Globals,
    MESSAGE_DEPOSIT,
    Position,
    Series,
    SeriesStatus,
    Underlying,
    hasStatus
} from "./protocol/Types.sol";
import {decodeWitness, validateWitness} from "./protocol/Witness.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {FixedPointMathLib} from "solady/src/utils/FixedPointMathLib.sol";

/// @title The way out. What it promises, and in which order: `IEscapeHatch`.
contract EscapeHatch is IEscapeHatch {
    /// Keeps times far from the end of their type.
    uint256 public constant MAX_DELAY = 365 days;

    /// @inheritdoc IEscapeHatch
    IRollupInbox public immutable inbox;
    /// @inheritdoc IEscapeHatch
    IBridge public immutable bridge;
    /// @inheritdoc IEscapeHatch
    IMarginVault public immutable vault;
    /// @inheritdoc IEscapeHatch
    uint64 public immutable freezeDelay;
    /// @inheritdoc IEscapeHatch
    uint64 public immutable oracleDelay;
    /// @inheritdoc IEscapeHatch
    uint64 public immutable claimWindow;

    /// @inheritdoc IEscapeHatch
    bytes32 public finalRoot;
    /// @inheritdoc IEscapeHatch
    uint64 public finalQueueEnd;
    /// @inheritdoc IEscapeHatch
    uint64 public closesAt;
    /// @inheritdoc IEscapeHatch
    uint128 public available;
    /// @inheritdoc IEscapeHatch
    uint128 public totalClaims;
    mapping(uint32 account => Claim) private _claims;
    /// 256 messages to a word.
    mapping(uint256 word => uint256 bits) private _refunded;

    /// @param inbox_ Deployed before, like bridge and vault, for the address that this contract gets.
    /// @param freezeDelay_ Longer than open proposing takes to begin.
    /// @param oracleDelay_ Seconds.
    /// @param claimWindow_ Seconds.
    constructor(
        IRollupInbox inbox_,
        uint64 freezeDelay_,
        uint64 oracleDelay_,
        uint64 claimWindow_
    ) {
        IBridge bridge_ = inbox_.bridge();
        IMarginVault vault_ = bridge_.vault();
        if (inbox_.escapeHatch() != address(this)) {
            revert EscapeHatch_WrongContract(address(inbox_));
        }
        if (vault_.escapeHatch() != address(this)) {
            revert EscapeHatch_WrongContract(address(vault_));
        }
        if (
            freezeDelay_ <= inbox_.proposerDelay() || freezeDelay_ > MAX_DELAY || oracleDelay_ == 0
                || oracleDelay_ > MAX_DELAY || claimWindow_ == 0 || claimWindow_ > MAX_DELAY
        ) revert EscapeHatch_InvalidParameters();
        inbox = inbox_;
        bridge = bridge_;
        vault = vault_;
        freezeDelay = freezeDelay_;
        oracleDelay = oracleDelay_;
        claimWindow = claimWindow_;
    }

    /// @inheritdoc IEscapeHatch
    function freeze(Header calldata head, QueueMessage calldata next) external {
        bytes32 headHash = _validateHead(head);
        uint64 index = head.queueEnd;
        if (index >= bridge.queueCount()) revert EscapeHatch_WrongMessage(index);
        bytes32 message =
            Commitments.computeMessageHash(next.kind, next.sender, next.time, next.bodyHash);
        if (Commitments.computeQueueHash(head.queueHash, message) != bridge.queueHash(index)) {
            revert EscapeHatch_WrongMessage(index);
        }
        uint256 until = FixedPointMathLib.max(next.time, head.l1Time) + uint256(freezeDelay);
        // What was built on a removed batch is gone, however recent: others come first with theirs.
        until = FixedPointMathLib.max(until, uint256(inbox.removedAt()) + inbox.proposerDelay());
        if (block.timestamp <= until) revert EscapeHatch_TooEarly(until);
        _freeze(headHash);
    }

    /// @inheritdoc IEscapeHatch
    function freezeUnpriced(
        uint16 series,
        Sighting calldata settled,
        Header calldata next,
        Sighting calldata head
    ) external {
        if (!inbox.isSettled(settled.header)) {
            revert EscapeHatch_NotNewestSettled(settled.header.index);
        }
        bytes32 headHash = inbox.headHeaderHash();
        bytes32 settledHash = Commitments.computeHeaderHash(settled.header);
        if (settledHash != headHash) {
            if (next.previous != settledHash || !inbox.isPending(next)) {
                revert EscapeHatch_NotNewestSettled(settled.header.index);
            }
            _validateHead(head.header);
            _validateUnpriced(series, head, block.timestamp);
        }
        _validateUnpriced(series, settled, settledHash == headHash ? block.timestamp : next.l1Time);
        _freeze(headHash);
    }

    /// @inheritdoc IEscapeHatch
    function open(Header calldata last, bytes calldata globals) external {
        if (!inbox.isFrozen()) revert EscapeHatch_NotFrozen();
        if (finalRoot != 0) revert EscapeHatch_AlreadyOpen();
        _validateHead(last);
        if (!inbox.isSettled(last)) revert EscapeHatch_NotSettled(last.index);
        if (globals.length != GLOBALS_BYTES || keccak256(globals) != last.postRoot) {
            revert EscapeHatch_WrongGlobals();
        }

        Globals memory found = decodeGlobals(globals);
        // The second bound only matters when the token itself has lost something.
        uint256 backing = found.deposited - found.withdrawn;
        uint256 held = IERC20(vault.token()).balanceOf(address(vault));
        uint128 funds = uint128(backing < held ? backing : held);
        uint64 end = uint64(block.timestamp) + claimWindow;
        finalRoot = last.postRoot;
        finalQueueEnd = last.queueEnd;
        closesAt = end;
        available = funds;
        emit Opened(last.postRoot, last.index, funds, end);
    }

    /// @inheritdoc IEscapeHatch
    function escape(bytes calldata witness) external {
        if (finalRoot == 0) revert EscapeHatch_NotOpen();
        State memory state = decodeWitness(witness);
        validateWitness(state, finalRoot);
        // Nothing is weighed: leaves are touched without a limit.
        state.meter.maxGas = type(uint256).max;
        state.meter.maxWitness = type(uint256).max;

        uint256 total = totalClaims;
        uint256 before = total;
        // Late claims share in nothing: they get what is left.
        uint256 room = type(uint128).max;
        if (block.timestamp > closesAt) room = available > total ? available - total : 0;
        for (uint256 i = 0; i < state.accounts.length; ++i) {
            AccountEntry memory entry = state.accounts[i];
            uint32 id = uint32(entry.id);
            address owner = entry.account.owner;
            // The insurance fund's account has no owner.
            if (!entry.exists || owner == address(0) || _claims[id].owner != address(0)) continue;
            uint256 amount = _computeClaim(state, entry.account);
            if (amount > room) amount = room;
            if (amount == 0) continue;

            room -= amount;
            total += amount;
            _claims[id] = Claim(owner, uint96(amount));
            emit Escaped(id, owner, uint96(amount));
        }
        if (total == before) revert EscapeHatch_NothingToRegister();
        totalClaims = uint128(total);
    }

    /// @inheritdoc IEscapeHatch
    function claim(uint32 account) external {
        _claim(account, _claims[account].owner);
    }

    /// @inheritdoc IEscapeHatch
    function claimTo(uint32 account, address to) external {
        if (_claims[account].owner != msg.sender) revert EscapeHatch_NotOwner(msg.sender);
        if (to == address(0)) revert EscapeHatch_ZeroRecipient();
        _claim(account, to);
    }

    /// @inheritdoc IEscapeHatch
    function refundDeposit(
        uint64 index,
        address sender,
        uint64 time,
        address owner,
        uint32 account,
        uint128 amount
    ) external {
        if (finalRoot == 0) revert EscapeHatch_NotOpen();
        if (index < finalQueueEnd) revert EscapeHatch_Processed(index);
        uint256 bit = 1 << (index % 256);
        uint256 refunded = _refunded[index / 256];
        if (refunded & bit != 0) revert EscapeHatch_AlreadyRefunded(index);
        bytes32 message = Commitments.computeMessageHash(
            uint8(MESSAGE_DEPOSIT),
            sender,
            time,
            keccak256(abi.encodePacked(owner, account, amount))
        );
        bytes32 previous = index == 0 ? bytes32(0) : bridge.queueHash(index - 1);
        if (Commitments.computeQueueHash(previous, message) != bridge.queueHash(index)) {
            revert EscapeHatch_WrongMessage(index);
        }

        _refunded[index / 256] = refunded | bit;
        address to = account == 0 ? owner : sender;
        emit DepositRefunded(index, to, amount);
        vault.releaseFrozen(to, amount);
    }

    /// @inheritdoc IEscapeHatch
    function claimOf(uint32 account) external view returns (Claim memory) {
        return _claims[account];
    }

    /// @inheritdoc IEscapeHatch
    function payoutOf(uint32 account) external view returns (uint256) {
        return _computePayout(_claims[account].amount);
    }

    /// @inheritdoc IEscapeHatch
    function isRefunded(uint64 index) external view returns (bool) {
        return (_refunded[index / 256] >> (index % 256)) & 1 == 1;
    }

    function _freeze(bytes32 headHash) private {
        if (inbox.isFrozen()) revert EscapeHatch_AlreadyFrozen();
        emit Frozen(msg.sender, headHash);
        inbox.freeze();
        bridge.freeze();
    }

    function _claim(uint32 account, address to) private {
        if (closesAt == 0) revert EscapeHatch_NotOpen();
        if (block.timestamp <= closesAt) revert EscapeHatch_WindowOpen(closesAt);
        uint256 amount = _claims[account].amount;
        if (amount == 0) revert EscapeHatch_NoClaim(account);

        uint256 payout = _computePayout(amount);
        // The owner stays, so that the account cannot register again.
        _claims[account].amount = 0;
        emit EscapePaid(account, to, payout);
        vault.releaseFrozen(to, payout);
    }

    function _validateHead(Header calldata header) private view returns (bytes32 hash) {
        hash = Commitments.computeHeaderHash(header);
        bytes32 head = inbox.headHeaderHash();
        if (hash != head) revert EscapeHatch_NotHead(head, hash);
    }

    /// @dev Check that in a state somebody holds the series and its underlying has had no price for `oracleDelay`
    /// before `time`.
    function _validateUnpriced(uint16 id, Sighting calldata sighting, uint256 time) private view {
        State memory state = decodeWitness(sighting.witness);
        validateWitness(state, sighting.header.postRoot);
        resetMeter(state);
        (Series memory series, Fault fault) = getSeries(state, id);
        if (isFault(fault) || series.openInterest == 0 || hasStatus(series, SeriesStatus.SETTLED)) {
            revert EscapeHatch_NothingOpen(id);
        }
        // The underlying of a series exists.
        (Underlying memory underlying,) = getUnderlying(state, series.underlying);
        if (underlying.observedAt + oracleDelay >= time) {
            revert EscapeHatch_Priced(series.underlying, underlying.observedAt);
        }
    }

    /// @dev Rounds down, so that payouts never add up to more than there is.
    function _computePayout(uint256 amount) private view returns (uint256) {
        uint256 total = totalClaims;
        uint256 funds = available;
        return total <= funds ? amount : amount * funds / total;
    }

    /// @dev Return an account's equity at the marks of the state, within 0 and MAX_AMOUNT. A witness that does not open
    /// a series that the account holds reverts. Settled series count what they pay: it is their mark.
    function _computeClaim(State memory state, Account memory account)
        private
        pure
        returns (uint256)
    {
        int256 equity = account.cash;
        Position[] memory positions = account.positions;
        uint256 count = positions.length;
        // At most 64 terms of less than 2^192.
        unchecked {
            for (uint256 i = 0; i < count; ++i) {
                Position memory position = positions[i];
                (uint256 leaf, Fault fault) = getLeaf(state, position.series, MarketType.SERIES);
                // No state holds a position in anything else; should one do so, its owner still gets the rest.
                if (isFault(fault)) continue;
                equity += computeEquityOf(position.size, position.snapshot, toSeries(leaf));
            }
        }
        if (equity <= 0) return 0;
        return uint256(equity) > MAX_AMOUNT ? MAX_AMOUNT : uint256(equity);
    }
}
